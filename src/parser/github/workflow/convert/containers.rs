//! `container` and `services`.

use super::Converter;
use crate::parser::github::codes;
use crate::parser::github::workflow::token::Token;

impl Converter<'_, '_> {
    pub(super) fn check_container(&mut self, container: &Token) {
        let Some(pairs) = container.as_mapping() else { return };
        let is_computed = pairs.iter().any(|pair| pair.key.is_expression());
        // A key that the schema refused may be a misspelt `image`, which was told already.
        if container.get("image").is_none() && !is_computed && !self.reader.has_error_within(container.span) {
            let help = "name it: `image: node:22`";
            self.error_with(codes::CONTAINER, container.span, "Container image cannot be empty", Some(help));
        }
    }

    pub(super) fn check_services(&mut self, services: &Token) {
        for pair in services.as_mapping().unwrap_or_default() {
            self.check_container(&pair.value);
        }
    }
}
