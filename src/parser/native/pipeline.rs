//! The keys of a pipeline.

use super::check::{Check, Given, Place};
use super::model::{Event, PIPELINE_TIMEOUT, Pipeline, RetryPolicy, Trigger};
use super::start::{EVENTS, compile};
use super::{codes, declared, job, order, parts};
use crate::parser::diagnostics::Diagnostics;
use crate::parser::document::{Mapping, Node, Schema};
use crate::parser::variables::Source;

const KEYS: [&str; 9] =
    ["name", "jobs", "global_env", "timeout", "retry_policy", "artifacts", "triggers", "variables", "limits"];

pub(super) fn pipeline<'a>(root: &'a Node, given: &Given, diagnostics: &'a mut Diagnostics) -> Option<Pipeline> {
    let mut check = Check::new(given, diagnostics);
    let mapping = check.mapping(root, "a pipeline", &KEYS)?;
    let jobs_node = check.required(mapping, root.span, "the pipeline", "jobs", "add `jobs:` with one job at least");
    let name = check
        .required(mapping, root.span, "the pipeline", "name", "add `name:` with what people call it")
        .and_then(|node| check.filled(node, "name", Place::Setting));
    // All names first: anything may refer to any of them.
    let jobs_mapping = jobs_node.and_then(|node| node.as_mapping());
    if let Some(jobs) = jobs_mapping {
        let keys = jobs.entries().iter().filter_map(|entry| entry.key.as_scalar());
        check.jobs = keys.map(|key| key.text.as_str()).collect();
        check.jobs.sort_unstable();
    }
    let variables = mapping.get("variables").map(|node| declared::variables(&mut check, node)).unwrap_or_default();
    let global_env =
        mapping.get("global_env").map(|node| parts::environment(&mut check, node, "global_env", Source::Global));
    let timeout = mapping.get("timeout").and_then(|node| check.integer(node, "timeout", 1..=u32::MAX));
    let retry_policy = mapping.get("retry_policy").and_then(|node| retry_policy(&mut check, node));
    let artifacts = mapping.get("artifacts").and_then(|node| parts::artifacts(&mut check, node));
    let triggers = mapping.get("triggers").map(|node| triggers(&mut check, node)).unwrap_or_default();
    let jobs = jobs_node.map(|node| jobs(&mut check, node)).unwrap_or_default();
    let limits = mapping.get("limits").map(|node| parts::resources(&mut check, node, "limits")).unwrap_or_default();
    declared::values(&mut check, &variables, global_env.as_ref());
    let results = std::mem::take(&mut check.results);
    order::results(check.diagnostics, &jobs, results);
    Some(Pipeline {
        variables,
        limits,
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
        check.error(codes::WRONG_TYPE, node.span, message, "write `build: {steps: [...]}`".to_owned());
        return Vec::new();
    };
    if mapping.is_empty() {
        check.error(codes::EMPTY, node.span, "`jobs` has no job", "add one".to_owned());
    }
    let entries = check.entries(mapping);
    let mut jobs = Vec::with_capacity(entries.len());
    for (at, entry) in entries.iter().enumerate() {
        let Some(name) = check.key(entry) else { continue };
        let job = job::job(check, jobs.len(), name, entry);
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
    let mut globs = |key: &str| mapping.get(key).map(|node| globs(check, node, key)).unwrap_or_default();
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
    if let Some(event) = event {
        useless(check, mapping, event);
    }
    Some(Trigger { event: event?, branches, tags, paths, cron })
}

/// Keys that say nothing beside this event.
fn useless(check: &mut Check<'_>, mapping: &Mapping, event: Event) {
    let rules = [
        ("cron", event == Event::Schedule, "`cron` belongs to `event: schedule`"),
        ("tags", event == Event::Tag, "`tags` belongs to `event: tag`"),
        ("branches", event != Event::Tag, "a tag is on no branch; `tags` says which"),
    ];
    for (key, _, help) in rules.into_iter().filter(|(_, means_something, _)| !means_something) {
        if let Some(entry) = mapping.entry(key) {
            let message = format!("`{key}` says nothing for `{}`", event.name());
            check.error(codes::USELESS_KEY, entry.key.span, message, help.to_owned());
        }
    }
}

/// Globs that can be read.
fn globs(check: &mut Check<'_>, node: &Node, key: &str) -> Vec<String> {
    for item in node.as_sequence().unwrap_or(&[]) {
        let Some(text) = item.as_scalar().map(|text| text.text.as_str()).filter(|text| !text.contains("${")) else {
            continue;
        };
        if let Err(error) = compile(text) {
            let help = "`*` stands for anything but `/`, `**` for anything, `?` for one sign, `[ab]` for one of these, `{a,b}` for either".to_owned();
            check.error(codes::BAD_PATTERN, item.span, format!("`{text}` is no glob: {}", error.kind()), help);
        }
    }
    check.texts(node, key, true, Place::Setting)
}
