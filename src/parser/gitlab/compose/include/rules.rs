//! `include:rules`: whether an include counts.

use crate::parser::diagnostics::{Diagnostic, Diagnostics, did_you_mean};
use crate::parser::document::{Node, Schema, Typed};
use crate::parser::expression::regex::Pattern;

use super::super::condition::Condition;
use super::super::{ComposeContext, codes, variables};
use super::pattern;
use super::place::{Absent, Place, Stores};

const KEYS: [&str; 4] = ["if", "exists", "when", "changes"];

/// What rules come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The include counts.
    Include,
    /// It does not.
    LeaveOut,
    /// The rules are wrong; the findings say how.
    Wrong,
}

/// Evaluates the rules of an include that stands in a file at `place`.
pub(super) fn evaluate(
    rules: &Node,
    place: &Place,
    stores: Stores<'_>,
    context: &ComposeContext,
    diagnostics: &mut Diagnostics,
) -> Verdict {
    let Some(items) = rules.as_sequence() else {
        diagnostics.push(Diagnostic::error(codes::INCLUDE_RULES, rules.span, "`include:rules` is a list of mappings"));
        return Verdict::Wrong;
    };
    let mut check = Check { place, stores, context, diagnostics, wrong: false };
    let mut verdict = None;
    // A list in the list is what a `!reference` brings.
    let flat = items.iter().flat_map(|item| item.as_sequence().unwrap_or(std::slice::from_ref(item)));
    for rule in flat {
        let holds = check.rule(rule);
        if verdict.is_none() && holds.is_some_and(|(holds, _)| holds) {
            verdict = holds.map(|(_, include)| include);
        }
    }
    match (check.wrong, verdict) {
        (true, _) => Verdict::Wrong,
        (false, Some(true)) => Verdict::Include,
        (false, Some(false) | None) => Verdict::LeaveOut,
    }
}

struct Check<'a> {
    place: &'a Place,
    stores: Stores<'a>,
    context: &'a ComposeContext,
    diagnostics: &'a mut Diagnostics,
    wrong: bool,
}

impl Check<'_> {
    fn error(&mut self, node: &Node, message: impl Into<String>, help: Option<String>) {
        self.wrong = true;
        self.diagnostics.push(Diagnostic::error(codes::INCLUDE_RULES, node.span, message).maybe_help(help));
    }

    /// Whether a rule holds, and whether it then includes.
    fn rule(&mut self, rule: &Node) -> Option<(bool, bool)> {
        let mapping = match rule.as_mapping().filter(|mapping| !mapping.is_empty()) {
            Some(mapping) => mapping,
            None => {
                self.error(rule, "a rule of `include` is a mapping with `if`, `exists`, `changes` or `when`", None);
                return None;
            }
        };
        for entry in mapping.entries() {
            let name = entry.key.as_scalar().map_or("", |key| key.text.as_str());
            if !KEYS.contains(&name) {
                let help = did_you_mean(name, KEYS).unwrap_or_else(|| format!("it knows {}", KEYS.join(", ")));
                self.error(&entry.key, format!("a rule of `include` has no key `{name}`"), Some(help));
            }
        }
        let present = |key: &str| mapping.get(key).filter(|node| !node.is_null(Schema::Ruby));
        let include = present("when").is_none_or(|when| self.when(when));
        let holds = present("if").is_none_or(|node| self.condition(node));
        let holds = present("exists").is_none_or(|node| self.exists(node)) && holds;
        let holds = present("changes").is_none_or(|node| self.changes(node)) && holds;
        Some((holds, include))
    }

    fn when(&mut self, when: &Node) -> bool {
        let text = when.as_scalar().map_or("", |scalar| scalar.text.as_str());
        if !["always", "never"].contains(&text) {
            let help =
                did_you_mean(text, ["always", "never"]).unwrap_or_else(|| "it is `always` or `never`".to_owned());
            self.error(when, format!("`when` of an include's rule cannot be `{text}`"), Some(help));
        }
        text != "never"
    }

    fn condition(&mut self, node: &Node) -> bool {
        let Some(Typed::Text(text)) = node.typed(Schema::Ruby) else {
            let message = format!("`if` is an expression, not {}", node.kind(Schema::Ruby));
            self.error(node, message, None);
            return false;
        };
        match Condition::parse(text) {
            Ok(condition) => condition.holds(&self.context.variables, &std::collections::BTreeMap::new()),
            Err(error) => {
                self.error(node, format!("`if: {text}`: {}", error.message), None);
                false
            }
        }
    }

    /// The texts of `exists` and `changes`: a text, a list, or a mapping with `paths`.
    fn paths(&mut self, node: &Node, key: &str) -> Vec<String> {
        let list = node.get("paths").unwrap_or(node);
        let items = match list.as_sequence() {
            Some(items) => items,
            None if list.as_scalar().is_some() => std::slice::from_ref(list),
            None => {
                self.error(list, format!("`{key}` is a list of paths"), None);
                return Vec::new();
            }
        };
        let mut paths = Vec::new();
        for item in items.iter().flat_map(|item| item.as_sequence().unwrap_or(std::slice::from_ref(item))) {
            match item.as_scalar() {
                Some(scalar) => {
                    let value = |name: &str| Some(self.context.variables.get(name)?.value.clone());
                    paths.push(variables::expand(&scalar.text, value).into_owned());
                }
                None => self.error(item, format!("`{key}` is a list of paths"), None),
            }
        }
        paths
    }

    /// The regular expression of `exists` and `changes`, which stands in the place of paths.
    fn regexp(&mut self, node: &Node) -> Option<Option<Pattern>> {
        let regexp = node.get("regexp")?;
        let pattern = regexp.as_scalar().map_or("", |scalar| scalar.text.as_str());
        let compiled = Pattern::ruby(pattern);
        if let Err(error) = &compiled {
            self.error(regexp, format!("`{pattern}` is no regular expression: {error}"), None);
        }
        Some(compiled.ok())
    }

    fn exists(&mut self, node: &Node) -> bool {
        if let Some(pattern) = self.regexp(node) {
            let list = self.stores.list(self.place).unwrap_or_else(|_| [].into());
            return pattern.is_some_and(|pattern| list.iter().any(|path| pattern.is_match(path)));
        }
        let paths = self.paths(node, "exists");
        let place = match self.other_project(node) {
            Some(place) => place,
            None => self.place.clone(),
        };
        match self.stores.list(&place) {
            Ok(list) => paths.iter().any(|path| is_among(path.trim_start_matches('/'), &list)),
            Err(Absent::Missing(_) | Absent::Unavailable(_)) => false,
        }
    }

    fn other_project(&self, node: &Node) -> Option<Place> {
        let text = |key: &str| {
            let scalar = node.get(key)?.as_scalar()?;
            let value = |name: &str| Some(self.context.variables.get(name)?.value.clone());
            Some(variables::expand(&scalar.text, value).into_owned())
        };
        let project = text("project")?;
        Some(Place::Project {
            project: project.into(),
            commit: text("ref").unwrap_or_else(|| "HEAD".to_owned()).into(),
        })
    }

    fn changes(&mut self, node: &Node) -> bool {
        let context = self.context;
        let regexp = self.regexp(node);
        let paths = if regexp.is_some() { Vec::new() } else { self.paths(node, "changes") };
        let Some(changes) = &context.changes else { return true };
        if let Some(pattern) = regexp {
            return pattern.is_some_and(|pattern| changes.iter().any(|path| pattern.is_match(path)));
        }
        paths.iter().any(|path| matches_any(path, changes))
    }
}

/// Whether a file, or a file of a folder's name, is there, or one that a pattern names.
fn is_among(path: &str, list: &[String]) -> bool {
    if pattern::is_pattern(path) {
        return matches_any(path, list);
    }
    list.binary_search_by(|known| known.as_str().cmp(path)).is_ok()
}

fn matches_any(path: &str, list: &[String]) -> bool {
    match pattern::of_rules(path) {
        Some(glob) => list.iter().any(|known| glob.is_match(known)),
        None => list.iter().any(|known| known == path),
    }
}
