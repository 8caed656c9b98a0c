//! `script`, `before_script`, `after_script`, `hooks`.

use std::sync::Arc;

use smol_str::SmolStr;

use super::super::codes;
use super::super::model::{Hooks, Script};
use super::super::place::At;
use super::super::values::{Checker, as_text, is_blank, is_null, key_text};
use crate::parser::document::{Node, Value};

/// Lists inside each other, the outermost counted.
const DEEPEST: usize = 10;

impl Checker<'_> {
    /// Lines that may be none.
    pub fn script(&mut self, node: &Node, at: At<'_>) -> Option<Script> {
        let mut lines = Vec::new();
        let mut problems = Vec::new();
        match &node.value {
            Value::Sequence(items) => {
                lines.reserve(items.len());
                flatten(items, DEEPEST - 1, &mut lines, &mut problems);
            }
            _ if is_null(node) => return None,
            _ => match as_text(node) {
                Some(text) => lines.push(text),
                None => problems.push(node),
            },
        }
        problems.iter().for_each(|problem| self.not_a_line(problem, at));
        problems.is_empty().then(|| Script { lines: lines.into(), span: node.span })
    }

    /// Lines of which there has to be one.
    pub fn filled_script(&mut self, node: &Node, at: At<'_>) -> Option<Script> {
        let blank = match &node.value {
            Value::Sequence(items) => items.is_empty(),
            Value::Mapping(entries) => entries.is_empty(),
            Value::Scalar(scalar) => is_null(node) || is_blank(&scalar.text),
        };
        if blank {
            self.error(codes::MISSING, node.span, at, "is blank: it needs at least one line");
            return None;
        }
        self.script(node, at)
    }

    fn not_a_line(&mut self, node: &Node, at: At<'_>) {
        let help = match &node.value {
            Value::Mapping(entries) => entries.entries().first().map(|entry| {
                format!("`{}: ` makes a mapping of the line; put the whole line in quotes", key_text(&entry.key))
            }),
            Value::Sequence(_) => Some(format!("lists inside each other go {DEEPEST} deep at most")),
            Value::Scalar(scalar) => Some(format!("put it in quotes: `\"{}\"`", scalar.text)),
        };
        let kind = node.kind(crate::parser::document::Schema::Ruby);
        let what = format!("should be a text or a list of texts up to {DEEPEST} levels deep; here is {kind}");
        self.error_help(codes::WRONG_TYPE, node.span, at, what, help);
    }

    /// `hooks`.
    pub fn hooks(&mut self, node: &Node, at: At<'_>) -> Option<Arc<Hooks>> {
        const KEYS: [&str; 1] = ["pre_get_sources_script"];
        let mapping = self.mapping_of(node, at, &KEYS)?;
        let script = mapping.get(KEYS[0]).and_then(|node| self.script(node, at.key(KEYS[0])));
        Some(Arc::new(Hooks { pre_get_sources_script: script }))
    }
}

fn flatten<'n>(items: &'n [Node], deeper: usize, lines: &mut Vec<SmolStr>, problems: &mut Vec<&'n Node>) {
    for item in items {
        match (&item.value, as_text(item)) {
            (_, Some(text)) => lines.push(text),
            (Value::Sequence(items), None) if deeper > 0 => flatten(items, deeper - 1, lines, problems),
            _ => problems.push(item),
        }
    }
}
