//! `inherit`.

use super::super::codes;
use super::super::model::{Inherit, Inherited};
use super::super::place::At;
use super::super::root::DEFAULT_KEYS;
use super::super::values::{Checker, as_text};
use crate::parser::diagnostics::did_you_mean;
use crate::parser::document::{Node, Schema, Typed};

impl Checker<'_> {
    /// `inherit`.
    pub fn inherit(&mut self, node: &Node, at: At<'_>) -> Inherit {
        let Some(mapping) = self.mapping_of(node, at, &["default", "variables"]) else { return Inherit::default() };
        let default = mapping.get("default").map(|node| self.inherited(node, at.key("default")));
        let variables = mapping.get("variables").map(|node| self.inherited(node, at.key("variables")));
        if let Some(Inherited::Only(_)) = &default {
            self.default_keys(mapping.get("default"), at.key("default"));
        }
        Inherit { default: default.unwrap_or_default(), variables: variables.unwrap_or_default() }
    }

    fn inherited(&mut self, node: &Node, at: At<'_>) -> Inherited {
        match node.typed(Schema::Ruby) {
            Some(Typed::Bool(true) | Typed::Null) => Inherited::All,
            Some(Typed::Bool(false)) => Inherited::Nothing,
            None if node.as_sequence().is_some() => self.texts(node, at).map_or(Inherited::All, Inherited::Only),
            _ => {
                self.wrong_type(node, at, "true, false or a list of texts");
                Inherited::All
            }
        }
    }

    fn default_keys(&mut self, node: Option<&Node>, at: At<'_>) {
        for item in node.and_then(Node::as_sequence).unwrap_or_default() {
            let Some(text) = as_text(item) else { continue };
            if !DEFAULT_KEYS.contains(&text.as_str()) {
                let help = did_you_mean(&text, DEFAULT_KEYS)
                    .unwrap_or_else(|| format!("keys of `default`: {}", DEFAULT_KEYS.join(", ")));
                let what = format!("has the unknown value `{text}`");
                self.error_help(codes::WRONG_VALUE, item.span, at, what, Some(help));
            }
        }
    }
}
