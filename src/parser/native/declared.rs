//! `variables`: what is known of variables that are given from outside.

use super::check::{Check, Place};
use super::codes;
use super::model::{Environment, Variable};
use crate::parser::document::{Node, Schema, Span};
use crate::parser::variables::Source;

pub(super) fn variables<'a>(check: &mut Check<'a>, node: &'a Node) -> Vec<Variable> {
    let Some(mapping) = node.as_mapping() else {
        let message =
            format!("`variables` is a mapping of names to what is known of them, not {}", node.kind(Schema::Core));
        check.error(codes::WRONG_TYPE, node.span, message, "write `NAME: {required: true}`".to_owned());
        return Vec::new();
    };
    let entries = check.entries(mapping);
    let mut variables = Vec::with_capacity(entries.len());
    for entry in entries {
        let Some(name) = check.key(entry) else { continue };
        if !check.name(name, entry.key.span, "a variable", false) {
            check.bad_names.insert(name);
        }
        variables.extend(variable(check, name, entry.key.span, &entry.value));
    }
    variables
}

fn variable(check: &mut Check<'_>, name: &str, span: Span, node: &Node) -> Option<Variable> {
    let mapping = check.mapping(node, "a variable", &["description", "required", "default", "format"])?;
    let description = mapping.get("description").and_then(|node| check.text(node, "description"));
    let required = mapping.get("required").and_then(|node| check.boolean(node, "required")).unwrap_or(false);
    let default = mapping.get("default").and_then(|node| check.checked_text(node, "default", Place::Setting));
    let format = mapping.get("format").and_then(|node| {
        let text = check.text(node, "format")?;
        if let Err(problem) = pattern(&text) {
            let help = "write a regular expression that the whole value matches: `v[0-9]+`".to_owned();
            check.error(codes::BAD_PATTERN, node.span, format!("`{text}` is no regular expression: {problem}"), help);
            return None;
        }
        Some(text)
    });
    if let (true, Some(entry)) = (default.is_some(), mapping.entry("required")) {
        let help = "remove `required`, or the default".to_owned();
        check.error(codes::USELESS_KEY, entry.key.span, "`required` says nothing beside a `default`", help);
    }
    let variable = Variable { name: name.to_owned(), span, description, required, default, format };
    if let Some(node) = mapping.get("default") {
        of_format(check, &variable, variable.default.as_deref(), node.span);
    }
    match &variable.default {
        Some(value) => check.hierarchy.set(Source::Default, name, value.as_str()),
        // There will be a value, or the run does not begin.
        None if variable.required => check.hierarchy.set(Source::Default, name, ""),
        None => {}
    }
    Some(variable)
}

/// Checks the values that are known against what is declared.
pub(super) fn values(check: &mut Check<'_>, variables: &[Variable], global_env: Option<&Environment>) {
    for variable in variables {
        let value = check.hierarchy.get(&variable.name).filter(|value| !value.contains("${")).map(str::to_owned);
        let is_default = value.as_deref() == variable.default.as_deref()
            && global_env.is_none_or(|known| !known.contains_key(&variable.name));
        let is_open = variable.required && value.as_deref() == Some("");
        if !is_default && !is_open {
            of_format(check, variable, value.as_deref(), variable.span);
        }
    }
}

fn of_format(check: &mut Check<'_>, variable: &Variable, value: Option<&str>, span: Span) {
    let (Some(format), Some(value)) = (&variable.format, value.filter(|value| !value.contains("${"))) else { return };
    if pattern(format).is_ok_and(|pattern| !pattern.is_match(value)) {
        let shown: String = value.chars().take(60).collect();
        let message = format!("variable `{}` is `{shown}`, which is not of its format `{format}`", variable.name);
        check.error(
            codes::BAD_VARIABLE,
            span,
            message,
            "give it a value that matches, or correct the format".to_owned(),
        );
    }
}

/// A regular expression for a whole value.
fn pattern(text: &str) -> Result<regex::Regex, String> {
    let whole = format!("^(?:{text})$");
    let told = |error: regex::Error| error.to_string().lines().last().unwrap_or_default().trim().to_owned();
    regex::RegexBuilder::new(&whole).size_limit(1 << 20).build().map_err(told)
}

/// What a run lacks: declared variables that need a value and have none, and values that are not of their format.
pub(super) fn missing(variables: &[Variable], value: impl Fn(&str) -> bool) -> Vec<(Span, String, String)> {
    let lacking = variables.iter().filter(|variable| variable.required && !value(&variable.name));
    let told = |variable: &Variable| {
        let why = variable.description.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
        let message = format!("variable `{}` needs a value{why}", variable.name);
        (variable.span, message, format!("give it with `--var {}=VALUE`", variable.name))
    };
    lacking.map(told).collect()
}
