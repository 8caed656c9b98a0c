//! gitlab-ci-local's cases: the list of jobs, and what they are after processing.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Folder, Tally, corpus, json as read_json, options, peer_context};
use crate::parser::diagnostics::Severity;
use crate::parser::gitlab::compose::{ForgeLimits, Offline, Unavailable};
use crate::parser::gitlab::pipeline::variables::Variable;
use crate::parser::gitlab::pipeline::{Pipeline, PipelineContext, expand};
use crate::parser::gitlab::{LoadOptions, check, load};

/// Keys that are compared.
const KEYS: [&str; 11] = [
    "stage",
    "script",
    "before_script",
    "after_script",
    "variables",
    "needs",
    "rules",
    "image",
    "services",
    "artifacts",
    "cache",
];

/// Cases whose outcome is the peer's own, and why.
const EXPLAINED: &[(&str, &str)] = &[
    ("interactive-image", "`@Interactive` is the peer's"),
    ("schema-validation-ignore--2--args2", "the peer's editor schema, not the server's rules"),
    ("include-nested--.151-complex-nested-include-gitlab-ci--args", "the peer's own limit by a flag"),
    ("interactive", "`interactive` is the peer's"),
    ("never-needs", "a job whose needed job is never created is listed by the peer"),
    (
        "needs-parallel-matrix-static",
        "GitLab makes one name of the matrix of a need; a part of the variables names no job",
    ),
    ("workflow-rules-variables--no-match", "no rule of the workflow holds: GitLab makes no pipeline"),
    ("reference--1", "GitLab applies extends before references: the job's variables replace the reference"),
    ("include-rules--args", "the peer's preview is of other arguments than its list"),
    ("cache-docker-mount", "GitLab refuses a slash in a cache key"),
];

fn names(text: &str) -> String {
    // The peer leaves out the space behind commas, and GitLab has another name for `parallel: 2`.
    let text = text.replace(", ", ",");
    match text.split_once(": [") {
        Some((job, rest)) if rest.ends_with(']') && rest.contains('/') && !rest.contains(',') => {
            let inner = rest.trim_end_matches(']');
            let is_number = inner.split('/').all(|part| part.parse::<u32>().is_ok());
            if is_number { format!("{job} {inner}") } else { text }
        }
        _ => text,
    }
}

/// The pipeline, its errors, and the processed text. The peer's list is one with arguments, its preview one without.
fn load_case(folder: &Path, expect: &Value) -> (Option<Pipeline>, Vec<String>, String) {
    // The peer saw one commit and no change.
    let mut context = PipelineContext { changes: Arc::new(Vec::<String>::new()), ..peer_context() };
    let limits = ForgeLimits { enforced: true, ..ForgeLimits::default() };
    let options = LoadOptions { unavailable: Unavailable::Error, limits, ..options() };
    let named = expect["source_file"].as_str().filter(|file| folder.join(file).is_file());
    let file = named.unwrap_or(".gitlab-ci.yml");
    let files = Folder(folder.to_owned());
    let processed = check(file, &files, &Offline, &options, &context).value;
    let processed = processed.map(|l| expand::processed(&l.composed, &l.configuration, &[])).unwrap_or_default();
    let args: Vec<&str> = expect["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for pair in args.windows(2).filter(|pair| pair[0] == "--variable") {
        if let Some((key, value)) = pair[1].split_once('=') {
            context.variables.pipeline.push(Variable::public(key, value));
        }
    }
    let loaded = load(file, &files, &Offline, &options, &context);
    let errors = loaded.diagnostics.iter().filter(|found| found.severity == Severity::Error);
    (loaded.value.clone(), errors.map(|found| found.message.clone()).collect(), processed)
}

fn compare_case(folder: &Path) -> Result<(), String> {
    let expect = read_json(&folder.join("expect.json"));
    let (pipeline, errors, processed) = load_case(folder, &expect);
    if expect["ok"] == false {
        return if errors.is_empty() { Err(format!("accepted; the peer says {}", expect["error"])) } else { Ok(()) };
    }
    if !errors.is_empty() {
        return Err(format!("refused: {}", errors.join("; ")));
    }
    let pipeline = pipeline.ok_or("no pipeline")?;
    let mut want: Vec<Value> = Vec::new();
    for job in expect["jobs"].as_array().into_iter().flatten().filter(|job| job["in_pipeline"] == true) {
        let may_fail = job["allow_failure"] != false;
        want.push(json!([names(job["name"].as_str().unwrap()), job["stage"], job["when"], may_fail]));
    }
    let mut got: Vec<Value> = Vec::new();
    for job in &pipeline.jobs {
        let source = pipeline.source(job).unwrap();
        let may_fail = job.allow_failure != crate::parser::gitlab::config::model::AllowFailure::Is(false);
        got.push(json!([names(&job.name), source.stage.value, job.when.as_str(), may_fail]));
    }
    let sort = |list: &mut Vec<Value>| list.sort_by_key(Value::to_string);
    sort(&mut want);
    sort(&mut got);
    if want != got {
        let missing: Vec<_> = want.iter().filter(|job| !got.contains(job)).map(Value::to_string).collect();
        let extra: Vec<_> = got.iter().filter(|job| !want.contains(job)).map(Value::to_string).collect();
        return Err(format!("jobs: missing {missing:?}, extra {extra:?}"));
    }
    if let Ok(preview) = std::fs::read_to_string(folder.join("preview.yml")) {
        compare_preview(&processed, &preview)?;
    }
    Ok(())
}

/// `None`: no YAML; the peer's writer does not quote all that needs it.
fn yaml(text: &str) -> Option<Value> {
    let yaml: serde_yaml::Value = serde_yaml::from_str(text).ok()?;
    serde_json::to_value(yaml).ok()
}

/// Numbers and truths are text where it does not matter which they are; lists of one are no lists.
fn normal(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().map(normal).collect(),
        // A variable with `expand`: the peer doubles its dollar signs.
        Value::Object(map) if map.contains_key("value") => {
            let value = normal(&map["value"]);
            let raw = map.get("expand") == Some(&json!(false));
            if raw { json!(value.as_str().unwrap_or_default().replace('$', "$$")) } else { value }
        }
        Value::Object(map) => Value::Object(map.iter().map(|(key, value)| (key.clone(), normal(value))).collect()),
        Value::String(text) => json!(text.trim_end()),
        other => json!(other.to_string()),
    }
}

fn compare_preview(processed: &str, preview: &str) -> Result<(), String> {
    let Some(want) = yaml(preview) else { return Ok(()) };
    let got = yaml(processed).ok_or("the processed text is no YAML")?;
    for (name, job) in want.as_object().unwrap() {
        let is_job = ["script", "trigger", "run"].iter().any(|key| job.get(key).is_some());
        if !is_job {
            continue;
        }
        let Some(own) = got.get(name) else { return Err(format!("{name} is not in the processed text")) };
        for key in KEYS {
            let usual = if key == "stage" { json!("test") } else { Value::Null };
            let (want, got) = (job.get(key).unwrap_or(&usual), own.get(key).unwrap_or(&usual));
            if normal(want) != normal(got) {
                return Err(format!("{name}.{key}: got {got}, want {want}"));
            }
        }
    }
    Ok(())
}

#[test]
fn the_peers_cases_give_the_same_jobs() {
    let Some(root) = corpus("gitlab/gitlab-ci-local") else { return };
    let mut folders: Vec<_> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let mut tally = Tally::default();
    for folder in folders {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        if EXPLAINED.iter().any(|(case, _)| *case == name) {
            continue;
        }
        // Values from files that only the peer reads.
        if read_json(&folder.join("expect.json")).get("peer_only_files").is_some() {
            continue;
        }
        tally.add(&name, compare_case(&folder));
    }
    tally.end("gitlab-ci-local", 97.0);
}
