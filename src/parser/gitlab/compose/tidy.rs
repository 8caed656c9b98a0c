//! One look at every node after reading: what Ruby's loader makes of keys, and what is surely a mistake.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use smol_str::SmolStr;

use crate::parser::diagnostics::{Diagnostic, Diagnostics};
use crate::parser::document::{Entry, Node, Schema, Span, Style, Typed, Value};

use super::codes;
use super::context::ForgeLimits;

/// Below so many entries each is compared with those before it.
const FEW: usize = 10;

/// The look.
pub(super) struct Tidy<'a> {
    limits: &'a ForgeLimits,
    diagnostics: &'a mut Diagnostics,
    /// What several places share, and was looked at.
    seen: HashSet<*const ()>,
    /// Whether a `!reference` was seen.
    pub(super) has_references: bool,
    /// Whether a key was seen that is not what it seems.
    untidy: bool,
    too_deep: Option<Span>,
}

impl<'a> Tidy<'a> {
    pub(super) fn new(limits: &'a ForgeLimits, diagnostics: &'a mut Diagnostics) -> Self {
        Self { limits, diagnostics, seen: HashSet::new(), has_references: false, untidy: false, too_deep: None }
    }

    /// The document with unique keys that mean what they say; nearly always the very same.
    pub(super) fn document(&mut self, document: Node) -> Node {
        self.look(&document, 0);
        if let Some(span) = self.too_deep.take() {
            let message = format!("too deep: GitLab's limit is {} levels", self.limits.depth);
            self.diagnostics.push(self.limits.exceeded(span, message));
        }
        match std::mem::take(&mut self.untidy) {
            false => document,
            true => tidied(&document),
        }
    }

    fn look(&mut self, node: &Node, depth: usize) {
        if depth > self.limits.depth && self.too_deep.is_none() {
            self.too_deep = Some(node.span);
        }
        if let Some(tag) = &node.tag {
            self.tag(tag, node.span);
        }
        match &node.value {
            Value::Scalar(_) => {}
            Value::Sequence(items) => {
                if Arc::strong_count(items) == 1 || self.seen.insert(items.as_ptr().cast()) {
                    items.iter().for_each(|item| self.look(item, depth + 1));
                }
            }
            Value::Mapping(mapping) => {
                if !mapping.is_shared() || self.seen.insert(mapping.address().cast()) {
                    self.keys(mapping.entries());
                    mapping.entries().iter().for_each(|entry| self.look(&entry.value, depth + 1));
                }
            }
        }
    }

    fn tag(&mut self, tag: &str, span: Span) {
        if tag == super::reference::TAG {
            self.has_references = true;
        } else if tag != "!" && !tag.starts_with("tag:yaml.org,2002:") {
            let help = match tag {
                "!include" => "other files come in by the keyword `include` at the top of the file",
                _ => "GitLab's only own tag is `!reference [job, key]`",
            };
            let message = format!("unknown tag `{tag}`");
            self.diagnostics.push(Diagnostic::error(codes::UNKNOWN_TAG, span, message).help(help));
        }
    }

    fn keys(&mut self, entries: &[Entry]) {
        for entry in entries {
            let Some(key) = entry.key.as_scalar() else { continue };
            if key.text == "<<" && entry.key.tag.as_deref() != Some("tag:yaml.org,2002:str") {
                let message = format!(
                    "the merge key `<<` takes a mapping or a list of mappings, this is {}",
                    entry.value.kind(Schema::Ruby)
                );
                let help = "give it the alias of a mapping: `<<: *name`";
                self.diagnostics.push(Diagnostic::error(codes::MERGE_KEY, entry.value.span, message).help(help));
            }
            self.untidy |= key.style == Style::Plain && key.text.starts_with(':');
        }
        if entries.len() < FEW {
            for (at, entry) in entries.iter().enumerate().skip(1) {
                let Some(key) = entry.key.as_scalar() else { continue };
                let is_it = |before: &&Entry| before.key.as_scalar().is_some_and(|other| other.text == key.text);
                if let Some(first) = entries.get(..at).and_then(|before| before.iter().find(is_it)) {
                    self.duplicate(&key.text, entry.key.span, first.key.span);
                }
            }
            return;
        }
        let mut known: HashMap<&str, Span> = HashMap::with_capacity(entries.len());
        for entry in entries {
            let Some(key) = entry.key.as_scalar() else { continue };
            if let Some(first) = known.get(key.text.as_str()) {
                self.duplicate(&key.text, entry.key.span, *first);
            } else {
                known.insert(&key.text, entry.key.span);
            }
        }
    }

    fn duplicate(&mut self, key: &str, span: Span, first: Span) {
        self.untidy = true;
        let message = format!("`{key}` is defined twice (first on line {}); the last one counts", first.line);
        let help = "remove one of them, or give it another name";
        self.diagnostics
            .push(Diagnostic::warning(codes::DUPLICATE_KEY, span, message).help(help).related(first, "first here"));
    }
}

/// The node with symbols as keys written plainly, and of equal keys the last, where the first stood.
fn tidied(node: &Node) -> Node {
    let value = match &node.value {
        Value::Scalar(_) => return node.clone(),
        Value::Sequence(items) => Value::Sequence(items.iter().map(tidied).collect()),
        Value::Mapping(mapping) => {
            let mut entries: Vec<Entry> = Vec::with_capacity(mapping.len());
            let mut known: HashMap<SmolStr, usize> = HashMap::new();
            for entry in mapping.entries() {
                let entry = Entry { key: plain_key(&entry.key), value: tidied(&entry.value) };
                let Some(key) = entry.key.as_scalar().map(|key| key.text.clone()) else {
                    entries.push(entry);
                    continue;
                };
                match known.get(&key).and_then(|at| entries.get_mut(*at)) {
                    Some(before) => *before = entry,
                    None => {
                        known.insert(key, entries.len());
                        entries.push(entry);
                    }
                }
            }
            Value::Mapping(entries.into())
        }
    };
    Node { span: node.span, tag: node.tag.clone(), value }
}

fn plain_key(key: &Node) -> Node {
    match key.typed(Schema::Ruby) {
        Some(Typed::Symbol(name)) => Node::text(name.as_ref(), key.span),
        _ => key.clone(),
    }
}
