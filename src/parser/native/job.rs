//! The keys of a job.

use super::check::{Check, Place};
use super::model::{JOB_TIMEOUT, Job, Need};
use super::{codes, condition, parts, step};
use crate::parser::document::{Entry, Mapping, Node};
use crate::parser::expression::{self, Dialect};
use crate::parser::variables::{Segment, Source, Style, Text};

const KEYS: [&str; 15] = [
    "name",
    "steps",
    "depends_on",
    "artifacts",
    "environment",
    "timeout",
    "retry_count",
    "conditional",
    "image",
    "matrix",
    "resources",
    "services",
    "cache",
    "deployment",
    "estimated_duration",
];

pub(super) fn job<'a>(check: &mut Check<'a>, at: usize, name: &'a str, entry: &'a Entry) -> Job {
    check.job = Some(name);
    check.job_at = Some(at);
    check.hierarchy.clear(Source::Job);
    check.axes = Some(parts::axis_names(&entry.value));
    let job = keys(check, name, entry);
    check.hierarchy.clear(Source::Job);
    check.axes = None;
    check.job = None;
    check.job_at = None;
    job
}

fn keys<'a>(check: &mut Check<'a>, name: &'a str, entry: &'a Entry) -> Job {
    let node = &entry.value;
    check.name(name, entry.key.span, "a job", true);
    let Some(mapping) = check.mapping(node, "a job", &KEYS) else { return Job::bare(name, entry.key.span) };
    if let Some(written) = mapping.get("name")
        && let Some(text) = check.text(written, "name")
        && text != name
    {
        let help = format!("remove `name`, or write `name: {name}`");
        check.error(
            codes::NAME_DIFFERS,
            written.span,
            format!("the name `{text}` differs from the job's key `{name}`"),
            help,
        );
    }
    // Before all else: other texts refer to it.
    let environment =
        mapping.get("environment").map(|node| parts::environment(check, node, "environment", Source::Job));
    let matrix = mapping.get("matrix").and_then(|node| parts::matrix(check, node));
    let help = "add `steps:` with `- name: ...` and `script: [...]`";
    let steps = check.required(mapping, entry.key.span, "the job", "steps", help).map(|node| steps(check, node));
    let depends_on = mapping.get("depends_on").map(|node| needs(check, node)).unwrap_or_default();
    let artifacts = mapping.get("artifacts").and_then(|node| parts::artifacts(check, node));
    let mut integer = |key: &str, range| mapping.get(key).and_then(|node| check.integer(node, key, range));
    let timeout = integer("timeout", 1..=JOB_TIMEOUT).unwrap_or(JOB_TIMEOUT);
    let retry_count = integer("retry_count", 0..=5);
    let estimated_duration = integer("estimated_duration", 1..=u32::MAX);
    step::fit(check, mapping, timeout);
    if let (Some(estimate), Some(node)) = (estimated_duration, mapping.get("estimated_duration"))
        && estimate > timeout
    {
        let message = format!("`estimated_duration` is {estimate}, and the job is ended after {timeout} seconds");
        let help = format!("raise `timeout` to {estimate} at least, or correct the estimate");
        check.warning(codes::TIMELINE, node.span, message, help);
    }
    Job {
        name: name.to_owned(),
        span: entry.key.span,
        steps: steps.unwrap_or_default(),
        depends_on,
        artifacts,
        environment: environment.unwrap_or_default(),
        timeout,
        retry_count,
        conditional_span: mapping.get("conditional").map_or(entry.key.span, |node| node.span),
        conditional: mapping.get("conditional").and_then(|node| conditional(check, node)),
        image: mapping.get("image").and_then(|node| parts::image(check, node)),
        matrix,
        resources: mapping.get("resources").map(|node| parts::resources(check, node, "resources")).unwrap_or_default(),
        services: services(check, mapping),
        cache: mapping.get("cache").map(|node| parts::caches(check, node)).unwrap_or_default(),
        deployment: mapping.get("deployment").and_then(|node| parts::deployment(check, node)),
        estimated_duration,
    }
}

fn services<'a>(check: &mut Check<'a>, mapping: &'a Mapping) -> Vec<super::model::Service> {
    let Some(node) = mapping.get("services") else { return Vec::new() };
    let items = check.list(node, "services", false);
    items.iter().filter_map(|item| parts::service(check, item)).collect()
}

fn steps<'a>(check: &mut Check<'a>, node: &'a Node) -> Vec<super::model::Step> {
    let items = check.list(node, "steps", true);
    let mut steps = Vec::with_capacity(items.len());
    let mut seen = std::collections::HashMap::new();
    for item in items {
        let name = item.get("name");
        if let Some((node, text)) = name.and_then(|node| Some((node, node.as_scalar()?.text.as_str())))
            && let Some(first) = seen.insert(text, node.span)
        {
            let help = "rename one of them: logs are found by the step's name".to_owned();
            let message = format!("two steps are called `{text}`, the first in line {}", first.line);
            check.error(codes::DUPLICATE_STEP, node.span, message, help);
        }
        steps.extend(step::step(check, item));
        check.step = None;
    }
    steps
}

/// Whether the jobs exist is a matter of the graph, which knows them all.
fn needs(check: &mut Check<'_>, node: &Node) -> Vec<Need> {
    let items = check.list(node, "depends_on", false);
    let mut needs = Vec::with_capacity(items.len());
    for item in items {
        needs.extend(check.text(item, "depends_on[]").map(|name| Need { name, span: item.span }));
    }
    needs
}

/// Whether a condition that begins with a reference is that reference alone.
fn reference(check: &mut Check<'_>, node: &Node, text: &str) -> bool {
    check.references(node, text, Place::Condition);
    let parsed = Text::parse(text, Style::Value);
    let is_one = matches!(parsed.as_ref().map(|parsed| parsed.segments.as_slice()), Ok([Segment::Reference { .. }]));
    if parsed.is_ok() && !is_one {
        let message = "a condition is one reference, or one expression";
        let help = "write it as an expression, where a variable is `env.NAME`: `env.STAGE == 'prod'`".to_owned();
        check.error(codes::BAD_EXPRESSION, node.span, message, help);
        return false;
    }
    if let Some(known) = check.known(text).filter(|known| condition::truth(known).is_none()) {
        let message = format!("a condition is true or false, and `{text}` makes `{known}`");
        check.error(codes::NO_TRUTH, node.span, message, "compare it: `env.NAME == 'value'`".to_owned());
    }
    is_one
}

/// A condition that always holds, whatever it is about.
fn no_truth(check: &mut Check<'_>, node: &Node, expr: &expression::Expr) {
    use expression::analysis::{Type, static_type};
    let what = match static_type(expr) {
        Type::Text => "text",
        Type::Array => "a list",
        Type::Object => "an object",
        Type::Number => "a number",
        Type::Null => "nothing",
        Type::Bool | Type::Any => return,
    };
    let message = format!("a condition is true or false, and this one makes {what}");
    check.error(codes::NO_TRUTH, node.span, message, "compare it: `env.NAME == 'value'`".to_owned());
}

/// An expression, in `${{ }}` or bare, or a reference.
fn conditional(check: &mut Check<'_>, node: &Node) -> Option<String> {
    let text = check.text(node, "conditional")?;
    let trimmed = text.trim();
    if condition::is_reference(trimmed) {
        return reference(check, node, trimmed).then(|| trimmed.to_owned());
    }
    let inner = trimmed.strip_prefix("${{").and_then(|inner| inner.strip_suffix("}}")).unwrap_or(trimmed);
    let offset = inner.as_ptr().addr() - text.as_ptr().addr() + (inner.len() - inner.trim_start().len());
    match expression::parse(inner.trim(), Dialect::Native) {
        Ok(expr) => {
            check.names(node, &expr, offset, Place::Condition);
            no_truth(check, node, &expr);
            Some(inner.trim().to_owned())
        }
        Err(error) => {
            check.expression_error(node, offset, error);
            None
        }
    }
}
