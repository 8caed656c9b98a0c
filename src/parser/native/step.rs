//! The keys of a step.

use super::check::{Check, Place, has_near, listed};
use super::model::{ACTIONS, STEP_TIMEOUT, Step, WORKSPACE};
use super::{codes, parts};
use crate::parser::diagnostics::did_you_mean;
use crate::parser::document::{Mapping, Node, Schema, Typed};
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

fn keys<'a>(check: &mut Check<'a>, node: &'a Node) -> Option<Step> {
    let mapping = check.mapping(node, "a step", &KEYS)?;
    let name = check.required(mapping, node.span, "the step", "name", "add `name:`, unique in its job");
    let name = name.and_then(|node| check.filled(node, "name", Place::Setting));
    let environment =
        mapping.get("environment").map(|node| parts::environment(check, node, "environment", Source::Step));
    match (mapping.entry("script"), mapping.entry("action")) {
        (None, None) if has_near(mapping, &["script", "action"]) => {}
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
    let action = mapping.get("action").and_then(|node| action(check, node));
    let directory = mapping.get("working_directory").and_then(|node| {
        let text = check.filled(node, "working_directory", Place::Setting)?;
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

/// What is done in place of commands.
fn action(check: &mut Check<'_>, node: &Node) -> Option<String> {
    let text = check.filled(node, "action", Place::Setting)?;
    if !text.trim().is_empty() && !text.contains("${") && !ACTIONS.contains(&text.as_str()) {
        let help = did_you_mean(&text, ACTIONS).unwrap_or_else(|| format!("the actions are {}", listed(&ACTIONS)));
        check.warning(codes::UNKNOWN_ACTION, node.span, format!("`{text}` is no action that this version knows"), help);
    }
    Some(text)
}

/// Says which steps may take longer than their job.
pub(super) fn fit(check: &mut Check<'_>, job: &Mapping, timeout: u32) {
    let Some(steps) = job.get("steps").and_then(Node::as_sequence) else { return };
    for step in steps {
        let Some(node) = step.get("timeout") else { continue };
        let Some(Typed::Int(seconds)) = node.typed(Schema::Core) else { continue };
        if seconds > i64::from(timeout) && seconds <= i64::from(STEP_TIMEOUT) {
            let name = step.get("name").and_then(Node::as_scalar).map_or("", |name| name.text.as_str());
            let message = format!("step `{name}` may take {seconds} seconds, and its job is ended after {timeout}");
            let help = format!("raise the job's `timeout` to {seconds} at least, or lower the step's");
            check.warning(codes::TIMELINE, node.span, message, help);
        }
    }
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
