//! `only` and `except`.

use std::sync::Arc;

use super::super::codes;
use super::super::model::{Condition, Name, Policy, Spanned};
use super::super::place::At;
use super::super::values::{Checker, as_string, as_text, is_null, key_text};
use crate::parser::document::{Node, Value};
use crate::parser::expression::regex::Pattern;

const KEYS: [&str; 4] = ["refs", "variables", "changes", "kubernetes"];

impl Checker<'_> {
    /// `only` or `except`.
    pub fn policy(&mut self, node: &Node, at: At<'_>) -> Option<Arc<Policy>> {
        match &node.value {
            Value::Sequence(_) => Some(Arc::new(Policy { refs: self.refs(node, at), ..Policy::default() })),
            Value::Mapping(mapping) => {
                if mapping.is_empty() {
                    self.error(codes::MISSING, node.span, at, "is empty");
                    return None;
                }
                let mut policy = Policy::default();
                for entry in mapping.entries() {
                    let key = key_text(&entry.key);
                    let (below, value) = (at.key(key), &entry.value);
                    match key {
                        "refs" => policy.refs = self.refs(value, below),
                        "variables" => policy.variables = self.conditions(value, below),
                        "changes" => policy.changes = self.texts(value, below),
                        "kubernetes" => policy.kubernetes = self.kubernetes_active(value, below),
                        _ => self.unknown_key(entry, at, &KEYS),
                    }
                }
                Some(Arc::new(policy))
            }
            Value::Scalar(_) if is_null(node) => None,
            Value::Scalar(_) => {
                self.wrong_type(node, at, "a list of conditions or a mapping");
                None
            }
        }
    }

    fn refs(&mut self, node: &Node, at: At<'_>) -> Option<Arc<[Name]>> {
        if is_null(node) {
            return None;
        }
        let Some(items) = node.as_sequence() else {
            self.wrong_type(node, at, "a list of texts or patterns");
            return None;
        };
        let mut refs = Vec::with_capacity(items.len());
        for item in items {
            match as_text(item) {
                Some(text) if Pattern::looks_slashed(&text) && !self.pattern(&text, item, at) => {}
                Some(value) => refs.push(Spanned { value, span: item.span }),
                None => self.wrong_type(item, at, "a list of texts or patterns: an item of it is no text"),
            }
        }
        Some(refs.into())
    }

    fn conditions(&mut self, node: &Node, at: At<'_>) -> Option<Arc<[Condition]>> {
        if is_null(node) {
            return None;
        }
        let Some(items) = node.as_sequence() else {
            self.wrong_type(node, at, "a list of expressions");
            return None;
        };
        let mut conditions = Vec::with_capacity(items.len());
        for item in items {
            if as_text(item).is_none() {
                self.wrong_type(item, at, "a list of expressions: an item of it is no text");
            }
            conditions.extend(self.condition(item, at));
        }
        Some(conditions.into())
    }

    fn kubernetes_active(&mut self, node: &Node, at: At<'_>) -> bool {
        if is_null(node) {
            return false;
        }
        let active = as_string(node).is_some_and(|text| text == "active");
        if !active {
            self.error(codes::WRONG_VALUE, node.span, at, "has one value alone: `active`");
        }
        active
    }
}
