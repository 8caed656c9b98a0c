//! `runs-on`.

use super::Converter;
use crate::parser::github::codes;
use crate::parser::github::workflow::token::Token;

impl Converter<'_, '_> {
    pub(super) fn check_runs_on(&mut self, token: &Token) {
        let Some(group) = token.get("group") else { return };
        let Some(name) = group.as_text() else { return };
        let parts: Vec<&str> = name.split('/').collect();
        let message = match parts.as_slice() {
            [_] => return,
            ["org" | "organization" | "ent" | "enterprise", rest] if !rest.is_empty() => return,
            ["org" | "organization" | "ent" | "enterprise", _] => format!("Invalid runs-on group name '{name}'."),
            _ => format!(
                "Invalid runs-on group name '{name}'. Please use 'organization/' or 'enterprise/' prefix to target a single \
                 runner group."
            ),
        };
        self.error(codes::RUNNER_GROUP, group.span, message);
    }
}
