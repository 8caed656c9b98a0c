//! The keys of a step.

use super::check::{Check, Place};
use super::model::{STEP_TIMEOUT, Step, WORKSPACE};
use super::{codes, parts};
use crate::parser::document::Node;
use crate::parser::variables::Source;

const KEYS: [&str; 9] = [
    "name",
    "script",
    "action",
    "image",
    "environment",
    "working_directory",
    "timeout",
    "retry_count",
    "continue_on_failure",
];

pub(super) fn step<'a>(check: &mut Check<'a>, node: &'a Node) -> Option<Step> {
    let name = node.get("name").and_then(|name| name.as_scalar()).map(|name| name.text.as_str());
    check.step = name;
    let step = keys(check, node);
    check.hierarchy.clear(Source::Step);
    step
}

fn keys(check: &mut Check<'_>, node: &Node) -> Option<Step> {
    let mapping = check.mapping(node, "a step", &KEYS)?;
    let name = check.required(mapping, node.span, "the step", "name", "add `name:`, unique in its job");
    let name = name.and_then(|node| check.text(node, "name"));
    let environment =
        mapping.get("environment").map(|node| parts::environment(check, node, "environment", Source::Step));
    match (mapping.entry("script"), mapping.entry("action")) {
        (None, None) => {
            let help = "add `script: [\"echo hello\"]`".to_owned();
            check.error(codes::SCRIPT_OR_ACTION, node.span, "the step has neither `script` nor `action`", help);
        }
        (Some(_), Some(action)) => {
            let help = "make it two steps, or remove one of them".to_owned();
            check.error(codes::SCRIPT_OR_ACTION, action.key.span, "the step has both `script` and `action`", help);
        }
        _ => {}
    }
    let script = mapping.get("script").map(|node| script(check, node)).unwrap_or_default();
    let action = mapping.get("action").and_then(|node| check.checked_text(node, "action", Place::Setting));
    let directory = mapping.get("working_directory").and_then(|node| {
        let text = check.checked_text(node, "working_directory", Place::Setting)?;
        if text.split('/').any(|part| part == "..") {
            let help = "write it without `..`".to_owned();
            check.error(codes::BAD_PATH, node.span, format!("`{text}` leads out of the workspace"), help);
        }
        Some(text)
    });
    let mut integer = |key: &str, range| mapping.get(key).and_then(|node| check.integer(node, key, range));
    let (timeout, retry_count) = (integer("timeout", 1..=STEP_TIMEOUT), integer("retry_count", 0..=3));
    let continue_on_failure =
        mapping.get("continue_on_failure").and_then(|node| check.boolean(node, "continue_on_failure"));
    let image = mapping.get("image").and_then(|node| parts::image(check, node));
    Some(Step {
        name: name?,
        script,
        action,
        image,
        environment: environment.unwrap_or_default(),
        working_directory: directory.unwrap_or_else(|| WORKSPACE.to_owned()),
        timeout: timeout.unwrap_or(STEP_TIMEOUT),
        retry_count: retry_count.unwrap_or(0),
        continue_on_failure: continue_on_failure.unwrap_or(false),
    })
}

/// One text or a list of them.
fn script(check: &mut Check<'_>, node: &Node) -> Vec<String> {
    if node.as_sequence().is_some() {
        return check.texts(node, "script", true, Place::Script);
    }
    match check.checked_text(node, "script", Place::Script) {
        Some(text) if text.trim().is_empty() => {
            check.error(codes::EMPTY, node.span, "`script` has no command", "add one".to_owned());
            Vec::new()
        }
        text => text.into_iter().collect(),
    }
}
