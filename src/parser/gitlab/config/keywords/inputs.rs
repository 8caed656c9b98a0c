//! `inputs` of a job.

use std::sync::Arc;

use smol_str::SmolStr;

use super::super::codes;
use super::super::model::{JobInput, Spanned};
use super::super::place::At;
use super::super::values::{Checker, is_null, key_text, shown};
use crate::parser::document::{Entry, Mapping, Node, Schema, Typed, Value};

const KEYS: [&str; 5] = ["default", "description", "options", "regex", "type"];
const TYPES: [&str; 4] = ["string", "number", "boolean", "array"];
const MOST_OPTIONS: usize = 50;

impl Checker<'_> {
    /// `inputs`.
    pub fn job_inputs(&mut self, node: &Node, at: At<'_>) -> Option<Arc<[JobInput]>> {
        let mapping = self.mapping(node, at)?;
        Some(mapping.entries().iter().filter_map(|entry| self.job_input(entry, at)).collect())
    }

    fn job_input(&mut self, entry: &Entry, at: At<'_>) -> Option<JobInput> {
        let name = SmolStr::from(key_text(&entry.key));
        let (at, node) = (at.key(&name), &entry.value);
        if is_null(node) {
            self.error(codes::MISSING, entry.key.span, at, "must have a default value");
            return None;
        }
        let mapping = self.mapping_of(node, at, &KEYS)?;
        let kind = match mapping.get("type") {
            Some(kind) if !is_null(kind) => self.choice(kind, at.key("type"), &TYPES)?,
            _ => SmolStr::new_static("string"),
        };
        for key in ["description", "regex"] {
            if let Some(value) = mapping.get(key) {
                self.text(value, at.key(key));
            }
        }
        let Some(default) = mapping.get("default").filter(|default| !is_null(default)) else {
            self.error(codes::MISSING, node.span, at, "must have a default value");
            return None;
        };
        self.input_options(mapping, default, at);
        self.input_default(default, &kind, at);
        Some(JobInput {
            name: Spanned { value: name.clone(), span: entry.key.span },
            kind,
            default: default.clone(),
            node: node.clone(),
        })
    }

    fn input_options(&mut self, mapping: &Mapping, default: &Node, at: At<'_>) {
        let Some(options) = mapping.get("options").filter(|options| !is_null(options)) else { return };
        let at = at.key("options");
        let Some(items) = options.as_sequence() else { return self.wrong_type(options, at, "a list") };
        if items.len() > MOST_OPTIONS {
            let what = format!("has {} entries, more than the limit of {MOST_OPTIONS}", items.len());
            return self.error(codes::TOO_MANY, options.span, at, what);
        }
        if let Some(null) = items.iter().find(|item| is_null(item)) {
            self.error(codes::WRONG_VALUE, null.span, at, "cannot contain nothing");
        }
        if !items.iter().any(|item| item.same(default, Schema::Ruby)) {
            let what = format!("does not contain the default, {}", shown(default));
            self.error(codes::WRONG_VALUE, default.span, at, what);
        }
    }

    fn input_default(&mut self, default: &Node, kind: &str, at: At<'_>) {
        let right = matches!(
            (kind, default.typed(Schema::Ruby), &default.value),
            ("string", Some(Typed::Text(_) | Typed::Symbol(_)), _)
                | ("number", Some(Typed::Int(_) | Typed::Float(_)), _)
                | ("boolean", Some(Typed::Bool(_)), _)
                | ("array", None, Value::Sequence(_))
        );
        if !right {
            let article = if kind == "array" { "an" } else { "a" };
            let what = format!("is not {article} {kind}, but {}", default.kind(Schema::Ruby));
            self.error(codes::WRONG_TYPE, default.span, at.key("default"), what);
        }
    }
}
