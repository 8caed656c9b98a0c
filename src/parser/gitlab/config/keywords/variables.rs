//! `variables`, at the top, in jobs, in rules and in services.

use std::collections::HashMap;
use std::sync::Arc;

use smol_str::{SmolStr, ToSmolStr};

use super::super::codes;
use super::super::model::{Variable, Variables};
use super::super::place::At;
use super::super::values::{Checker, as_int, as_string, as_text, is_null, key_text};
use crate::parser::diagnostics::Diagnostic;
use crate::parser::document::{Entry, Node, Schema, Typed, Value};

const GLOBAL_KEYS: [&str; 4] = ["value", "description", "expand", "options"];
const JOB_KEYS: [&str; 2] = ["value", "expand"];

impl Checker<'_> {
    /// Those at the top of the file.
    pub fn global_variables(&mut self, node: &Node, at: At<'_>) -> Option<Arc<Variables>> {
        self.variables(node, at, &GLOBAL_KEYS)
    }

    /// Those of a job.
    pub fn job_variables(&mut self, node: &Node, at: At<'_>) -> Option<Arc<Variables>> {
        self.variables(node, at, &JOB_KEYS)
    }

    /// Those of rules and services, that have values alone.
    pub fn plain_variables(&mut self, node: &Node, at: At<'_>) -> Option<Arc<Variables>> {
        self.variables(node, at, &[])
    }

    fn variables(&mut self, node: &Node, at: At<'_>, keys: &[&str]) -> Option<Arc<Variables>> {
        let mapping = self.mapping(node, at)?;
        let mut list: Vec<Variable> = Vec::with_capacity(mapping.len());
        let mut known: HashMap<SmolStr, usize> = HashMap::new();
        for entry in mapping.entries() {
            let Some(variable) = self.variable(entry, at, keys) else { continue };
            // A name that comes twice has the last value; few have so many that a search is dear.
            let before = if list.len() < 12 {
                list.iter().position(|other| other.name == variable.name)
            } else {
                if known.is_empty() {
                    known.extend(list.iter().enumerate().map(|(at, other)| (other.name.clone(), at)));
                }
                known.get(&variable.name).copied()
            };
            match before.and_then(|at| list.get_mut(at)) {
                Some(place) => *place = variable,
                None => {
                    if !known.is_empty() {
                        known.insert(variable.name.clone(), list.len());
                    }
                    list.push(variable);
                }
            }
        }
        Some(Arc::new(Variables { list }))
    }

    fn variable(&mut self, entry: &Entry, at: At<'_>, keys: &[&str]) -> Option<Variable> {
        let name = self.variable_name(&entry.key, at)?;
        let mut variable = Variable {
            name: name.clone(),
            span: entry.key.span,
            value: SmolStr::default(),
            expand: None,
            description: None,
            options: None,
        };
        let at = at.key(&name);
        match &entry.value.value {
            Value::Mapping(_) if !keys.is_empty() => self.detailed(&entry.value, at, keys, &mut variable)?,
            _ if is_null(&entry.value) && !keys.is_empty() => {}
            _ => match as_string(&entry.value) {
                Some(value) => variable.value = value,
                None if keys.is_empty() => {
                    self.wrong_type(&entry.value, at, "a text here");
                    return None;
                }
                None => {
                    self.wrong_type(&entry.value, at, "a text or a mapping with `value`");
                    return None;
                }
            },
        }
        Some(variable)
    }

    fn variable_name(&mut self, key: &Node, at: At<'_>) -> Option<SmolStr> {
        let name = match key.typed(Schema::Ruby) {
            Some(Typed::Text(_) | Typed::Symbol(_)) => SmolStr::from(key_text(key)),
            Some(Typed::Int(number)) => number.to_smolstr(),
            _ => {
                self.error(codes::WRONG_NAME, key.span, at, "has a key that is no name: it should be text");
                return None;
            }
        };
        let usable = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !name.starts_with(|c: char| c.is_ascii_digit());
        if !usable && as_int(key).is_none() {
            let message = format!("{at} has the name `{name}`, which a shell cannot use");
            self.out.push(
                Diagnostic::warning(codes::VARIABLE_NAME, key.span, message)
                    .help("names of variables have letters, digits and `_`, and do not begin with a digit"),
            );
        }
        Some(name)
    }

    fn detailed(&mut self, node: &Node, at: At<'_>, keys: &[&str], variable: &mut Variable) -> Option<()> {
        let before = self.out.len();
        let mapping = self.mapping_of(node, at, keys)?;
        for entry in mapping.entries() {
            let key = key_text(&entry.key);
            let (below, value) = (at.key(key), &entry.value);
            match key {
                "value" | "description" if is_null(value) => {}
                "value" => match as_string(value) {
                    Some(text) => variable.value = text,
                    None => self.wrong_type(value, below, "a text"),
                },
                "description" => {
                    variable.description =
                        as_text(value).or_else(|| as_string(value).filter(|_| as_int(value).is_some()));
                    if variable.description.is_none() {
                        self.wrong_type(value, below, "a text");
                    }
                }
                "expand" => variable.expand = self.boolean(value, below),
                "options" => variable.options = self.texts(value, below),
                _ => {}
            }
        }
        if let Some(options) = variable.options.as_deref().filter(|options| !options.is_empty())
            && !options.contains(&variable.value)
        {
            let span = mapping.get("value").map_or(node.span, |value| value.span);
            let what = format!("has the value `{}`, which is not among its options", variable.value);
            let help = format!("options: {}", options.join(", "));
            self.error_help(codes::WRONG_VALUE, span, at, what, Some(help));
        }
        (self.out.len() == before).then_some(())
    }
}
