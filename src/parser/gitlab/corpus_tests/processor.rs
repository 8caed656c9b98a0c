//! GitLab's own configurations: verdicts and asserted values.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Tally, cases, official_context};
use crate::parser::diagnostics::Diagnostics;
use crate::parser::gitlab::compose::{ComposeContext, IncludeVariable, Offline, compose_bytes};
use crate::parser::gitlab::config;
use crate::parser::gitlab::config::model::{AllowFailure, Job};
use crate::parser::gitlab::pipeline::create;

fn case(case: &Value) -> Option<Result<(), String>> {
    if case.get("disputed").is_some() || case.get("project_includes").is_some() || case["ok"] == false {
        return None;
    }
    let context = &case["context"];
    if context.get("requires").is_some()
        || case["includes"].as_object().is_some_and(|files| files.keys().any(|path| path.contains("://")))
    {
        return None;
    }
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for (path, text) in case["includes"].as_object().into_iter().flatten() {
        files.insert(path.clone(), text.as_str().unwrap_or_default().to_owned());
    }
    for path in context["files"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        files.entry(path.to_owned()).or_default();
    }
    let text = case["yaml"].as_str()?;
    let variables = super::variables(&context["variables"]);
    let compose_context = ComposeContext {
        variables: variables.iter().map(|v| (v.key.to_string(), IncludeVariable::from(v.value.as_str()))).collect(),
        is_child: context["child_pipeline"] == true,
        ..ComposeContext::default()
    };
    let composed = compose_bytes("case", text.as_bytes(), &files, &Offline, &compose_context);
    let mut found = composed.diagnostics;
    let Some(composed) = composed.value else { return Some(Err("nothing composed".into())) };
    let configuration = config::check(&composed.root, &mut found);
    let words: Vec<&str> = found.iter().map(|found| found.message.as_str()).collect();
    if found.has_errors() {
        return Some(Err(format!("refused: {}", words.join("; "))));
    }
    let configuration = configuration?;
    Some(values(case, configuration, &files))
}

fn values(case: &Value, configuration: config::Configuration, files: &BTreeMap<String, String>) -> Result<(), String> {
    if case["context"]["level"] == "pipeline" {
        let context = official_context(&case["context"]);
        let pipeline = create(configuration.into(), context.into(), files, &mut Diagnostics::new());
        let mut got: Vec<&str> = pipeline.jobs.iter().map(|job| job.name.as_str()).collect();
        let mut want: Vec<&str> =
            case["jobs"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        got.sort_unstable();
        want.sort_unstable();
        return if got == want { Ok(()) } else { Err(format!("jobs {got:?}, want {want:?}")) };
    }
    for (name, want) in case["jobs"].as_object().into_iter().flatten() {
        let base = configuration.jobs.iter().find(|job| is_of(job, name));
        let Some(job) = base else { return Err(format!("no job {name}")) };
        asserted(name, job, want)?;
    }
    Ok(())
}

fn is_of(job: &Job, name: &str) -> bool {
    job.name == name || crate::parser::gitlab::pipeline::scope::group_name(name) == job.name && job.parallel.is_some()
}

fn asserted(name: &str, job: &Job, want: &Value) -> Result<(), String> {
    let lines = |script: &Option<config::model::Script>| json!(script.as_ref().map(|script| script.lines.to_vec()));
    let may_fail = match &job.allow_failure {
        Some(AllowFailure::Is(is)) => *is,
        Some(AllowFailure::ExitCodes(_)) => return Ok(()),
        None => job.when.as_ref().is_some_and(|when| when.value.as_str() == "manual"),
    };
    let got = json!({
        "stage": job.stage.value,
        "when": job.when.as_ref().map_or("on_success", |when| when.value.as_str()),
        "allow_failure": may_fail,
        "script": lines(&job.script),
        "before_script": lines(&job.before_script),
        "after_script": lines(&job.after_script),
        "interruptible": job.interruptible,
        "resource_group": job.resource_group.as_ref().map(|group| &group.value),
        "timeout": job.timeout.as_ref().and_then(|t| t.duration).map(|duration| duration.as_secs()),
    });
    for (key, got) in got.as_object().unwrap() {
        let Some(want) = want.get(key) else { continue };
        let is_text = want.is_string() && got.is_array();
        if got != want && !(is_text && got == &json!([want])) {
            return Err(format!("{name}.{key}: got {got}, want {want}"));
        }
    }
    Ok(())
}

#[test]
fn gitlabs_configurations_have_their_asserted_values() {
    let mut tally = Tally::default();
    for one in cases("gitlab/official/yaml_processor.json") {
        if let Some(result) = case(&one) {
            tally.add(one["name"].as_str().unwrap(), result);
        }
    }
    tally.end("yaml_processor", 99.0);
}
