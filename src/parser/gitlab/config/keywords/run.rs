//! `run`: functions in place of a script.

use super::super::codes;
use super::super::place::At;
use super::super::values::{Checker, as_text, is_blank, key_text};
use crate::parser::document::{Mapping, Node, Value};

impl Checker<'_> {
    /// `run`.
    pub fn run(&mut self, node: &Node, at: At<'_>) -> Option<Node> {
        let Some(items) = node.as_sequence() else {
            self.wrong_type(node, at, "a list of functions");
            return None;
        };
        items.iter().for_each(|item| self.function(item, at));
        Some(node.clone())
    }

    fn function(&mut self, node: &Node, at: At<'_>) {
        let Some(mapping) = node.as_mapping() else {
            return self.wrong_type(node, at, "a list of functions: an item, which is a mapping,");
        };
        self.function_name(node, mapping, at);
        let of_script: [&str; 3] = ["name", "env", "script"];
        let of_step: [&str; 5] = ["name", "env", "inputs", "step", "func"];
        match (mapping.get("script"), mapping.get("step"), mapping.get("func")) {
            (Some(script), None, None) => {
                self.mapping_of(node, at, &of_script);
                self.required_text(Some(script), script.span, at.key("script"));
            }
            (None, Some(step), None) => self.function_of(node, "step", step, at, &of_step),
            (None, None, Some(step)) => self.function_of(node, "func", step, at, &of_step),
            (None, None, None) => {
                self.mapping_of(node, at, &["name", "env", "script", "inputs", "step", "func"]);
                self.error(codes::MISSING, node.span, at, "has a function without `script`, `step` or `func`");
            }
            _ => {
                let mut second =
                    mapping.entries().iter().filter(|entry| matches!(key_text(&entry.key), "script" | "step" | "func"));
                let span = second.next_back().map_or(node.span, |entry| entry.key.span);
                let what = "has a function with more than one of `script`, `step` and `func`";
                self.error(codes::CONFLICT, span, at, what);
            }
        }
        if let Some(env) = mapping.get("env") {
            self.env(env, at.key("env"));
        }
        if let Some(inputs) = mapping.get("inputs")
            && let Some(inputs) = self.mapping(inputs, at.key("inputs"))
        {
            self.identifiers(inputs, at.key("inputs"));
        }
    }

    fn function_name(&mut self, node: &Node, mapping: &Mapping, at: At<'_>) {
        let at = at.key("name");
        let Some(name) = self.required_text(mapping.get("name"), node.span, at) else { return };
        if !is_identifier(&name) {
            let span = mapping.get("name").map_or(node.span, |name| name.span);
            let what = "can contain only letters, digits and `_`, and cannot start with a digit";
            self.error(codes::WRONG_NAME, span, at, what);
        }
    }

    fn function_of(&mut self, node: &Node, key: &str, step: &Node, at: At<'_>, known: &[&str]) {
        self.mapping_of(node, at, known);
        let at = at.key(key);
        match &step.value {
            Value::Mapping(reference) => self.reference(step, reference, at),
            _ if as_text(step).is_some() => {}
            _ => self.wrong_type(step, at, "a text or a mapping with `git` or `oci`"),
        }
    }

    fn reference(&mut self, node: &Node, reference: &Mapping, at: At<'_>) {
        self.mapping_of(node, at, &["git", "oci"]);
        let (key, required, known): (_, &[&str], &[&str]) = match (reference.get("git"), reference.get("oci")) {
            (Some(_), None) => ("git", &["url", "rev"], &["url", "dir", "rev", "file"]),
            (None, Some(_)) => {
                ("oci", &["registry", "repository", "tag"], &["registry", "repository", "tag", "dir", "file"])
            }
            _ => return self.error(codes::MISSING, node.span, at, "must have exactly one of `git` and `oci`"),
        };
        let at = at.key(key);
        let Some(below) = reference.get(key) else { return };
        let Some(mapping) = self.mapping_of(below, at, known) else { return };
        for key in known {
            match mapping.get(key) {
                Some(value) => drop(self.text(value, at.key(key))),
                None if required.contains(key) => self.error(codes::MISSING, below.span, at.key(key), "is missing"),
                None => {}
            }
        }
    }

    fn env(&mut self, node: &Node, at: At<'_>) {
        let Some(mapping) = self.mapping(node, at) else { return };
        self.identifiers(mapping, at);
        for entry in mapping.entries() {
            if as_text(&entry.value).is_none() {
                self.wrong_type(&entry.value, at.key(key_text(&entry.key)), "text");
            }
        }
    }

    fn identifiers(&mut self, mapping: &Mapping, at: At<'_>) {
        for entry in mapping.entries() {
            let key = key_text(&entry.key);
            if !is_identifier(key) {
                let what = format!("has the name `{key}`: letters, digits and `_`, not a digit first");
                self.error(codes::WRONG_NAME, entry.key.span, at, what);
            }
        }
    }
}

fn is_identifier(name: &str) -> bool {
    !is_blank(name)
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
