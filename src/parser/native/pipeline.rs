//! The keys of a pipeline.

use super::check::{Check, Given, Place};
use super::model::{Event, PIPELINE_TIMEOUT, Pipeline, RetryPolicy, Trigger};
use super::start::EVENTS;
use super::{codes, job, parts};
use crate::parser::diagnostics::Diagnostics;
use crate::parser::document::{Node, Schema};
use crate::parser::variables::Source;

const KEYS: [&str; 7] = ["name", "jobs", "global_env", "timeout", "retry_policy", "artifacts", "triggers"];

pub(super) fn pipeline(root: &Node, given: &Given, diagnostics: &mut Diagnostics) -> Option<Pipeline> {
    let mut check = Check::new(given, diagnostics);
    let mapping = check.mapping(root, "a pipeline", &KEYS)?;
    let jobs_node = check.required(mapping, root.span, "the pipeline", "jobs", "add `jobs:` with one job at least");
    let name = check
        .required(mapping, root.span, "the pipeline", "name", "add `name:` with what people call it")
        .and_then(|node| check.text(node, "name"));
    // All names first: anything may refer to any of them.
    let jobs_mapping = jobs_node.and_then(|node| node.as_mapping());
    if let Some(jobs) = jobs_mapping {
        let keys = jobs.entries().iter().filter_map(|entry| entry.key.as_scalar());
        check.jobs = keys.map(|key| key.text.as_str()).collect();
        check.jobs.sort_unstable();
    }
    let global_env =
        mapping.get("global_env").map(|node| parts::environment(&mut check, node, "global_env", Source::Global));
    let timeout = mapping.get("timeout").and_then(|node| check.integer(node, "timeout", 1..=u32::MAX));
    let retry_policy = mapping.get("retry_policy").and_then(|node| retry_policy(&mut check, node));
    let artifacts = mapping.get("artifacts").and_then(|node| parts::artifacts(&mut check, node));
    let triggers = mapping.get("triggers").map(|node| triggers(&mut check, node)).unwrap_or_default();
    let jobs = jobs_node.map(|node| jobs(&mut check, node)).unwrap_or_default();
    Some(Pipeline {
        name: name.unwrap_or_default(),
        jobs,
        global_env: global_env.unwrap_or_default(),
        timeout: timeout.unwrap_or(PIPELINE_TIMEOUT),
        retry_policy: retry_policy.unwrap_or_default(),
        artifacts,
        triggers,
    })
}

fn jobs<'a>(check: &mut Check<'a>, node: &'a Node) -> Vec<super::model::Job> {
    let Some(mapping) = node.as_mapping() else {
        let message = format!("`jobs` is a mapping of names to jobs, not {}", node.kind(Schema::Core));
        check.error(codes::WRONG_TYPE, node.span, message, None);
        return Vec::new();
    };
    if mapping.is_empty() {
        check.error(codes::EMPTY, node.span, "`jobs` has no job", "add one".to_owned());
    }
    let entries = check.entries(mapping);
    let mut jobs = Vec::with_capacity(entries.len());
    for (at, entry) in entries.iter().enumerate() {
        let Some(name) = check.key(entry) else { continue };
        let job = job::job(check, name, entry);
        // Of a key that comes twice the last counts, as everywhere.
        if mapping.position(name) == Some(at) {
            jobs.push(job);
        }
    }
    jobs
}

fn retry_policy(check: &mut Check<'_>, node: &Node) -> Option<RetryPolicy> {
    let mapping = check.mapping(node, "`retry_policy`", &["max_attempts"])?;
    let attempts = check.required(mapping, node.span, "`retry_policy`", "max_attempts", "add `max_attempts: 1`")?;
    check.integer(attempts, "max_attempts", 1..=6).map(|max_attempts| RetryPolicy { max_attempts })
}

fn triggers(check: &mut Check<'_>, node: &Node) -> Vec<Trigger> {
    let items = check.list(node, "triggers", false);
    items.iter().filter_map(|item| trigger(check, item)).collect()
}

fn trigger(check: &mut Check<'_>, node: &Node) -> Option<Trigger> {
    let mapping = check.mapping(node, "a trigger", &["event", "branches", "tags", "paths", "cron"])?;
    let event = check.required(mapping, node.span, "the trigger", "event", "add `event: push`");
    let event = event.and_then(|node| check.word(node, "event", &EVENTS));
    let mut globs =
        |key: &str| mapping.get(key).map(|node| check.texts(node, key, true, Place::Setting)).unwrap_or_default();
    let (branches, tags, paths) = (globs("branches"), globs("tags"), globs("paths"));
    let cron = mapping.get("cron").and_then(|node| {
        let text = check.text(node, "cron")?;
        match text.parse::<croner::Cron>() {
            Ok(_) => Some(text),
            Err(error) => {
                let help = "five fields: minute, hour, day of the month, month, day of the week, as in `30 4 * * 1-5`";
                check.error(codes::BAD_CRON, node.span, format!("`{text}` is no schedule: {error}"), help.to_owned());
                None
            }
        }
    });
    if event == Some(Event::Schedule) && mapping.get("cron").is_none() {
        let help = "add `cron: '30 4 * * 1-5'`".to_owned();
        check.error(codes::MISSING_KEY, node.span, "a trigger for `schedule` has no `cron`", help);
    }
    Some(Trigger { event: event?, branches, tags, paths, cron })
}
