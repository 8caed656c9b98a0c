//! Every job of the corpus, laid over a usual one, is understood.

use std::path::Path;

use serde_json::{Value, json};

use super::job;
use super::tests::{assignment, facts, settings};

const JOB: &str = include_str!("../../../../fixtures/gitlab/job.json");

#[test]
fn every_job_of_the_corpus_is_understood() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus/gitlab-jobs");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("skipped: the corpus is not there ({})", folder.display());
        return;
    };
    let mut jobs = 0;
    let mut settings = settings();
    settings.default_image = Some("case/bash:1".into());
    for path in entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "json"))
    {
        let case: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for one in case["jobs"].as_array().unwrap() {
            let payload = laid_over(&one["response"]);
            let made = job(&settings, &assignment(&payload), &facts());
            let made = made.unwrap_or_else(|failure| panic!("{}: {failure}", path.display()));
            assert_eq!(made.steps.len(), payload["steps"].as_array().unwrap().len(), "{}", path.display());
            jobs += 1;
        }
    }
    assert!(jobs > 100, "only {jobs} jobs in {}", folder.display());
}

/// As the corpus says: variables are added, some objects merged, everything else replaces.
fn laid_over(response: &Value) -> Value {
    let mut payload: Value = serde_json::from_str(JOB).unwrap();
    for key in ["services", "artifacts", "cache", "dependencies", "hooks"] {
        payload[key] = json!([]);
    }
    for (key, value) in response.as_object().unwrap() {
        match key.as_str() {
            "variables" => {
                let more = value.as_array().unwrap().iter().cloned();
                payload["variables"].as_array_mut().unwrap().extend(more);
            }
            "git_info" | "runner_info" | "features" | "image" => {
                for (field, value) in value.as_object().unwrap() {
                    payload[key][field] = value.clone();
                }
            }
            "dependencies" => {
                let named = value.as_array().unwrap().iter().map(|name| {
                    json!({"id": 1, "name": name, "token": "t", "artifacts_file": {"filename": "artifacts.zip", "size": 1}})
                });
                payload[key] = named.collect();
            }
            _ => payload[key] = value.clone(),
        }
    }
    if payload["git_info"]["sha"] == "$TAG" {
        payload["git_info"]["sha"] = json!("1f0e3dad99908345f7439f8ffabdffc4b8a3d2c1");
    }
    payload
}
