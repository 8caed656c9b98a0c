//! A plain job as what is laid over the usual job response.

use serde_json::{Value, json};

use super::file::{PlainJob, PlainPipeline};
use super::plan::sources_of_artifacts;

/// `job` of `pipeline` in the words of the payload (protocols: GitLab 3.6 and 14.2).
pub fn overlay(pipeline: &PlainPipeline, job: &PlainJob) -> Value {
    let mut steps = vec![json!({
        "name": "script", "script": job.script, "timeout": job.timeout, "when": "on_success", "allow_failure": false,
    })];
    if !job.after_script.is_empty() {
        steps.push(json!({
            "name": "after_script", "script": job.after_script, "timeout": job.timeout, "when": "always",
            "allow_failure": true,
        }));
    }
    let own = |variable: &Value| job.variables.iter().any(|own| own["key"] == variable["key"]);
    let inherited = pipeline.variables.iter().filter(|variable| !own(variable));
    let variables: Vec<&Value> = inherited.chain(&job.variables).collect();
    let mut overlay = json!({
        "steps": steps,
        "variables": variables,
        "services": job.services,
        "artifacts": job.artifacts,
        "cache": job.caches,
        "dependencies": sources_of_artifacts(pipeline, job),
        "runner_info": { "timeout": job.timeout },
    });
    if let Some(image) = &job.image {
        overlay["image"] = image.clone();
    }
    // The server turns this variable into the payload's depth; the runner does not read it.
    let depth = variables.iter().rev().find(|variable| variable["key"] == "GIT_DEPTH");
    if let Some(depth) = depth.and_then(|variable| variable["value"].as_str()?.parse::<u64>().ok()) {
        overlay["git_info"] = json!({ "depth": depth });
    }
    overlay
}
