//! `rules` of jobs and of the workflow.

use std::sync::Arc;

use smol_str::SmolStr;

use super::super::codes;
use super::super::duration::{Allowed, WEEK};
use super::super::model::{AutoCancel, Changes, Exists, Name, Rule, When};
use super::super::place::At;
use super::super::values::{Checker, as_text, is_null, key_text, shown};
use super::needs::AllowedNeeds;
use crate::parser::diagnostics::Diagnostic;
use crate::parser::document::{Mapping, Node, Value};

/// Lists inside each other, the outermost counted.
const DEEPEST: usize = 10;
/// Patterns in one `changes` or `exists`.
const MOST_PATHS: usize = 50;
/// Characters of a `regexp`.
const LONGEST_PATTERN: usize = 255;

/// Whose rules they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum RulesOf {
    /// A job's.
    Job,
    /// The workflow's.
    Workflow,
}

impl RulesOf {
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Job => {
                &["if", "changes", "exists", "when", "start_in", "allow_failure", "variables", "needs", "interruptible"]
            }
            Self::Workflow => {
                &["if", "changes", "exists", "when", "start_in", "allow_failure", "variables", "needs", "auto_cancel"]
            }
        }
    }

    fn when(self) -> &'static [&'static str] {
        match self {
            Self::Job => &["on_success", "on_failure", "always", "never", "manual", "delayed"],
            Self::Workflow => &["always", "never"],
        }
    }
}

impl Checker<'_> {
    /// `rules`; nested lists flattened.
    pub fn rules(&mut self, node: &Node, at: At<'_>, of: RulesOf) -> Option<Arc<[Rule]>> {
        let Some(items) = node.as_sequence() else {
            if !is_null(node) {
                self.wrong_type(node, at, "a list of mappings");
            }
            return None;
        };
        if items.is_empty() {
            self.empty_rules(node, at, of);
        }
        let mut rules = Vec::with_capacity(items.len());
        self.rule_list(items, DEEPEST - 1, at, of, &mut rules);
        Some(rules.into())
    }

    /// GitLab's server refuses both as blank. Cases of its job class have a job's, which can be read: no rule holds.
    fn empty_rules(&mut self, node: &Node, at: At<'_>, of: RulesOf) {
        let message = format!("{at} is empty, which GitLab's server refuses");
        self.out.push(match of {
            RulesOf::Job => Diagnostic::warning(codes::EMPTY_RULES, node.span, format!("{message}: no rule can hold"))
                .help("remove it; a job that never runs has `rules: [{when: never}]`"),
            RulesOf::Workflow => Diagnostic::error(codes::EMPTY_RULES, node.span, message)
                .help("remove it, or say when there is a pipeline: `rules: [{when: always}]`"),
        });
    }

    fn rule_list(&mut self, items: &[Node], deeper: usize, at: At<'_>, of: RulesOf, rules: &mut Vec<Rule>) {
        for item in items {
            match &item.value {
                Value::Mapping(mapping) => rules.extend(self.rule(item, mapping, at, of)),
                Value::Sequence(items) if deeper > 0 => self.rule_list(items, deeper - 1, at, of, rules),
                Value::Sequence(_) => {
                    let what = format!("has lists inside each other more than {DEEPEST} deep");
                    self.error(codes::TOO_MANY, item.span, at, what);
                }
                Value::Scalar(_) => self.wrong_type(item, at, "a list of mappings: a rule is a mapping"),
            }
        }
    }

    fn rule(&mut self, node: &Node, mapping: &Mapping, at: At<'_>, of: RulesOf) -> Option<Rule> {
        if mapping.is_empty() {
            self.error(codes::MISSING, node.span, at, "has an empty rule");
            return None;
        }
        let mut rule = Rule {
            span: node.span,
            condition: None,
            changes: None,
            exists: None,
            when: None,
            start_in: None,
            allow_failure: None,
            variables: None,
            needs: None,
            interruptible: None,
            auto_cancel: None,
        };
        let mut start_in = None;
        for entry in mapping.entries() {
            let key = key_text(&entry.key);
            let (below, value) = (at.key(key), &entry.value);
            match key {
                "if" => rule.condition = self.condition(value, below),
                "changes" => rule.changes = self.changes(value, below).map(Box::new),
                "exists" => rule.exists = self.exists(value, below).map(Box::new),
                "when" => rule.when = self.when(value, below, of.when()),
                "start_in" => start_in = Some(entry),
                "allow_failure" => rule.allow_failure = self.boolean(value, below),
                "variables" => rule.variables = self.plain_variables(value, below),
                "needs" => rule.needs = self.needs(value, below, AllowedNeeds::RULE),
                "interruptible" if of == RulesOf::Job => rule.interruptible = self.boolean(value, below),
                "auto_cancel" if of == RulesOf::Workflow => {
                    rule.auto_cancel = self.auto_cancel(value, below).map(Box::new)
                }
                _ => self.unknown_key(entry, at, of.keys()),
            }
        }
        let delayed = rule.when.as_ref().is_some_and(|when| when.value == When::Delayed);
        match start_in {
            Some(entry) if !delayed => {
                let help = Some("`start_in` belongs to `when: delayed`".to_owned());
                self.error_help(codes::CONFLICT, entry.key.span, at.key("start_in"), "is not allowed here", help);
            }
            Some(entry) if !is_null(&entry.value) => {
                let allowed = Allowed { limit: Some(WEEK), ..Allowed::default() };
                rule.start_in = self.duration(&entry.value, at.key("start_in"), allowed).map(Box::new);
            }
            _ if delayed => {
                let span = rule.when.as_ref().map_or(node.span, |when| when.span);
                self.error(codes::MISSING, span, at.key("start_in"), "is missing: `when: delayed` needs it");
            }
            _ => {}
        }
        Some(rule)
    }

    /// `changes`.
    fn changes(&mut self, node: &Node, at: At<'_>) -> Option<Changes> {
        match &node.value {
            Value::Sequence(_) => Some(Changes { paths: self.paths(node, at)?, compare_to: None, regexp: None }),
            Value::Mapping(mapping) => {
                self.mapping_of(node, at, &["paths", "regexp", "compare_to"]);
                self.exactly_one(mapping, node, at);
                let paths = mapping.get("paths");
                if let Some(paths) = paths.filter(|paths| is_null(paths)) {
                    self.error(codes::MISSING, paths.span, at.key("paths"), "should be a list of texts");
                }
                Some(Changes {
                    paths: paths.and_then(|node| self.paths(node, at.key("paths"))).unwrap_or_default(),
                    compare_to: self.named(mapping, "compare_to", at),
                    regexp: self.regexp(mapping, at),
                })
            }
            Value::Scalar(_) if is_null(node) => None,
            Value::Scalar(_) => {
                self.wrong_type(node, at, "a list of texts or a mapping");
                None
            }
        }
    }

    /// `exists`.
    fn exists(&mut self, node: &Node, at: At<'_>) -> Option<Exists> {
        match &node.value {
            Value::Sequence(_) => Some(Exists { paths: self.paths(node, at)?, ..Exists::default() }),
            Value::Mapping(mapping) => {
                self.mapping_of(node, at, &["paths", "regexp", "project", "ref"]);
                self.exactly_one(mapping, node, at);
                if let Some(reference) = mapping.entry("ref").filter(|entry| !is_null(&entry.value))
                    && mapping.get("project").is_none()
                {
                    let what = "is missing: `ref` is a ref of that project";
                    self.error(codes::MISSING, reference.key.span, at.key("project"), what);
                }
                Some(Exists {
                    paths: mapping.get("paths").and_then(|node| self.paths(node, at.key("paths"))).unwrap_or_default(),
                    project: self.named(mapping, "project", at),
                    reference: self.named(mapping, "ref", at),
                    regexp: self.regexp(mapping, at),
                })
            }
            Value::Scalar(_) if is_null(node) => None,
            Value::Scalar(_) => match as_text(node) {
                Some(path) => Some(Exists { paths: Arc::from([path]), ..Exists::default() }),
                None => {
                    self.wrong_type(node, at, "a text, a list of texts or a mapping");
                    None
                }
            },
        }
    }

    fn exactly_one(&mut self, mapping: &Mapping, node: &Node, at: At<'_>) {
        match (mapping.entry("paths"), mapping.entry("regexp")) {
            (Some(_), Some(regexp)) => {
                self.error(codes::CONFLICT, regexp.key.span, at, "must have exactly one of `paths` and `regexp`");
            }
            (None, None) => {
                self.error(codes::MISSING, node.span, at, "must have exactly one of `paths` and `regexp`");
            }
            _ => {}
        }
    }

    fn paths(&mut self, node: &Node, at: At<'_>) -> Option<Arc<[SmolStr]>> {
        let paths = self.texts(node, at)?;
        if paths.len() > MOST_PATHS {
            self.error(
                codes::TOO_MANY,
                node.span,
                at,
                format_args!("has {} entries, more than the limit of {MOST_PATHS}", paths.len()),
            );
        }
        Some(paths)
    }

    fn named(&mut self, mapping: &Mapping, key: &str, at: At<'_>) -> Option<Name> {
        self.name(mapping.get(key)?, at.key(key))
    }

    fn regexp(&mut self, mapping: &Mapping, at: At<'_>) -> Option<Name> {
        let name = self.named(mapping, "regexp", at)?;
        let at = at.key("regexp");
        if name.value.chars().count() > LONGEST_PATTERN {
            let what = format!("is longer than {LONGEST_PATTERN} characters");
            self.error(codes::WRONG_PATTERN, name.span, at, what);
            return None;
        }
        // Look-ahead is allowed here: Ruby's own engine matches these, not RE2.
        self.path_pattern(&name, at).then_some(name)
    }

    /// `auto_cancel`.
    pub fn auto_cancel(&mut self, node: &Node, at: At<'_>) -> Option<AutoCancel> {
        let mapping = self.mapping_of(node, at, &["on_new_commit", "on_job_failure"])?;
        let mut one = |key: &str, known: &[&str]| {
            let value = mapping.get(key)?;
            if as_text(value).is_none() && !is_null(value) {
                let what = format!("must be one of {}, not {}", known.join(", "), shown(value));
                self.error(codes::WRONG_VALUE, value.span, at.key(key), what);
                return None;
            }
            self.choice(value, at.key(key), known)
        };
        Some(AutoCancel {
            on_new_commit: one("on_new_commit", &["conservative", "interruptible", "none"]),
            on_job_failure: one("on_job_failure", &["none", "all"]),
        })
    }
}
