//! The `spec:` header.

use std::collections::{BTreeMap, BTreeSet};

use smol_str::SmolStr;

use crate::parser::diagnostics::{Code, Diagnostic, Diagnostics, did_you_mean};
use crate::parser::document::{Entry, Mapping, Node, Schema, Typed};

use super::super::codes;
use super::{Declared, Kind, Rule, Spec, rules};

const INPUT_KEYS: [&str; 6] = ["default", "description", "options", "regex", "rules", "type"];
const RULE_KEYS: [&str; 3] = ["if", "options", "default"];
const SPEC_KEYS: [&str; 3] = ["inputs", "include", "component"];
const COMPONENT_FACTS: [&str; 4] = ["name", "sha", "version", "reference"];

/// The most options of an input or of one of its rules.
const MOST_OPTIONS: usize = 50;

/// What a header says; `None` where it says it wrongly. `inputs` is what `spec:inputs` is with those of `spec:include` below it.
pub(in super::super) fn spec(header: &Node, inputs: Option<&Node>, diagnostics: &mut Diagnostics) -> Option<Spec> {
    let mut check = Check { diagnostics, failed: false };
    check.keys(header, &["spec"], codes::SPEC, "the header");
    let mut spec = Spec::default();
    if let Some(body) = header.get("spec").filter(|body| !body.is_null(Schema::Ruby)) {
        check.keys(body, &SPEC_KEYS, codes::SPEC, "`spec`");
        if let Some(component) = body.get("component") {
            spec.component = check.component(component);
        }
    }
    if let Some(inputs) = inputs.filter(|inputs| !inputs.is_null(Schema::Ruby)) {
        match inputs.as_mapping() {
            Some(inputs) => spec.inputs = inputs.entries().iter().filter_map(|entry| check.input(entry)).collect(),
            None => check.error(codes::SPEC, inputs, "`spec:inputs` is a mapping of names to declarations"),
        }
    }
    check.failed |= rules::check(&spec, check.diagnostics);
    (!check.failed).then_some(spec)
}

struct Check<'a> {
    diagnostics: &'a mut Diagnostics,
    failed: bool,
}

impl Check<'_> {
    fn error(&mut self, code: Code, node: &Node, message: impl Into<String>) {
        self.push(Diagnostic::error(code, node.span, message));
    }

    fn push(&mut self, finding: Diagnostic) {
        self.failed = true;
        self.diagnostics.push(finding);
    }

    /// Whether the node is a mapping; complains about keys that are not among these.
    fn keys(&mut self, node: &Node, known: &[&str], code: Code, what: &str) -> bool {
        let Some(mapping) = node.as_mapping() else {
            self.error(code, node, format!("{what} is a mapping, not {}", node.kind(Schema::Ruby)));
            return false;
        };
        for entry in mapping.entries() {
            let name = entry.key.as_scalar().map_or("", |key| key.text.as_str());
            if !known.contains(&name) {
                let help = did_you_mean(name, known.iter().copied());
                let help = help.unwrap_or_else(|| format!("it knows {}", known.join(", ")));
                self.push(Diagnostic::error(code, entry.key.span, format!("{what} has no key `{name}`")).help(help));
            }
        }
        true
    }

    fn component(&mut self, node: &Node) -> BTreeSet<SmolStr> {
        let Some(items) = node.as_sequence() else {
            self.error(codes::SPEC, node, "`spec:component` is a list");
            return BTreeSet::new();
        };
        let mut facts = BTreeSet::new();
        for item in items {
            match item.typed(Schema::Ruby) {
                Some(Typed::Text(text)) if COMPONENT_FACTS.contains(&text) => {
                    facts.insert(SmolStr::from(text));
                }
                Some(Typed::Text(text)) => {
                    let message = format!("`spec:component` does not know `{text}`");
                    let help = did_you_mean(text, COMPONENT_FACTS)
                        .unwrap_or_else(|| format!("it knows {}", COMPONENT_FACTS.join(", ")));
                    self.push(Diagnostic::error(codes::SPEC, item.span, message).help(help));
                }
                _ => self.error(codes::SPEC, item, "`spec:component` is a list of texts"),
            }
        }
        facts
    }

    fn input(&mut self, entry: &Entry) -> Option<Declared> {
        let name = entry.key.as_scalar()?.text.clone();
        let what = format!("the input `{name}`");
        let body = &entry.value;
        let mut declared = Declared {
            name,
            span: entry.key.span,
            kind: Kind::String,
            default: None,
            options: None,
            regex: None,
            rules: Vec::new(),
        };
        if body.is_null(Schema::Ruby) {
            return Some(declared);
        }
        if !self.keys(body, &INPUT_KEYS, codes::INPUT_SPEC, &what) {
            return None;
        }
        let body = body.as_mapping()?;
        declared.kind = self.kind(body, &what)?;
        declared.default = body.get("default").cloned();
        declared.options = body.get("options").filter(|node| !node.is_null(Schema::Ruby)).cloned();
        declared.regex = body.get("regex").cloned();
        if let Some(options) = &declared.options {
            self.options(options, &what);
        }
        if let Some(regex) = declared.regex.as_ref().filter(|regex| regex.as_scalar().is_none()) {
            self.error(codes::INPUT_SPEC, regex, format!("`regex` of {what} is text"));
        }
        if let Some(description) = body.get("description").filter(|node| !is_words(node)) {
            self.error(codes::INPUT_SPEC, description, format!("`description` of {what} is text"));
        }
        if let Some(node) = body.get("rules").filter(|node| !node.is_null(Schema::Ruby)) {
            for key in ["options", "default"] {
                if let Some(entry) = body.entry(key) {
                    let message = format!("{what} has `rules` and `{key}`: with rules, each rule brings its own");
                    self.error(codes::INPUT_SPEC, &entry.key, message);
                }
            }
            match node.as_sequence() {
                Some(items) => declared.rules = items.iter().filter_map(|item| self.rule(item, &what)).collect(),
                None => self.error(codes::INPUT_SPEC, node, format!("`rules` of {what} is a list")),
            }
        }
        Some(declared)
    }

    fn kind(&mut self, body: &Mapping, what: &str) -> Option<Kind> {
        let Some(node) = body.get("type").filter(|node| !node.is_null(Schema::Ruby)) else {
            return Some(Kind::String);
        };
        let text = node.as_scalar().map_or("", |scalar| scalar.text.as_str());
        let kind = Kind::ALL.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind);
        if kind.is_none() {
            let names = Kind::ALL.map(|(name, _)| name);
            let help = did_you_mean(text, names).unwrap_or_else(|| format!("types are {}", names.join(", ")));
            let message = format!("{what} has the unknown type `{text}`");
            self.push(Diagnostic::error(codes::INPUT_SPEC, node.span, message).help(help));
        }
        kind
    }

    fn options(&mut self, options: &Node, what: &str) {
        match options.as_sequence() {
            None => self.error(codes::INPUT_SPEC, options, format!("`options` of {what} is a list")),
            Some(items) if items.len() > MOST_OPTIONS => {
                let message = format!("{what} has {} options; GitLab's limit is {MOST_OPTIONS}", items.len());
                self.error(codes::INPUT_SPEC, options, message);
            }
            Some(_) => {}
        }
    }

    fn rule(&mut self, node: &Node, what: &str) -> Option<Rule> {
        let what = format!("a rule of {what}");
        if !self.keys(node, &RULE_KEYS, codes::INPUT_SPEC, &what) {
            return None;
        }
        let present = |key: &str| node.get(key).filter(|value| !value.is_null(Schema::Ruby)).cloned();
        let rule =
            Rule { condition: present("if"), options: present("options"), default: node.get("default").cloned() };
        if let Some(condition) = &rule.condition
            && !matches!(condition.typed(Schema::Ruby), Some(Typed::Text(_)))
        {
            self.error(
                codes::INPUT_SPEC,
                condition,
                format!("`if` of {what} is an expression, not {}", condition.kind(Schema::Ruby)),
            );
        }
        if let Some(options) = &rule.options {
            self.options(options, &what);
        }
        let choices = rule.options.as_ref().and_then(Node::as_sequence).unwrap_or_default();
        let complete = !choices.is_empty() && rule.default.is_some();
        let default_alone = rule.condition.is_some() && rule.options.is_none() && rule.default.is_some();
        match &rule.default {
            Some(default)
                if !choices.is_empty() && !choices.iter().any(|choice| choice.same(default, Schema::Ruby)) =>
            {
                let message = format!("the default of {what} is not among its options");
                self.error(codes::INPUT_SPEC, default, message);
            }
            _ if !complete && !default_alone => {
                let message = format!("{what} must have `options` with at least one value, and a `default`");
                self.error(codes::INPUT_SPEC, node, message);
            }
            _ => {}
        }
        Some(rule)
    }
}

/// The facts about a component that a header asks for.
pub(in super::super) fn asked(spec: &Spec, facts: &BTreeMap<SmolStr, Node>) -> BTreeMap<SmolStr, Node> {
    facts.iter().filter(|(name, _)| spec.component.contains(*name)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// What a description may be: text, a whole number, or nothing.
fn is_words(node: &Node) -> bool {
    matches!(
        node.typed(Schema::Ruby),
        Some(Typed::Null | Typed::Int(_) | Typed::Symbol(_) | Typed::Text(_) | Typed::Time(_))
    )
}
