//! Payloads as real servers send them.

use super::wire::{JobRequest, JobResponse};

const JOB: &str = include_str!("../../../fixtures/gitlab/job.json");
const NULLS: &str = include_str!("../../../fixtures/gitlab/nulls.json");

#[test]
fn null_and_missing_are_nothing_anywhere() {
    let job: JobResponse = serde_json::from_str(NULLS).unwrap();
    assert_eq!((job.id, job.job_info.project_id), (17, 9), "numbers may be text");
    assert_eq!(job.variables.len(), 2);
    assert_eq!(job.variables[1].value.expose(), "7");
    assert_eq!(job.steps[0].script, ["true"]);
    assert_eq!(job.git_info.protected, None);
    let empty: JobResponse = serde_json::from_str("{}").unwrap();
    assert!(empty.steps.is_empty() && empty.token.is_empty());
}

#[test]
fn every_key_of_a_payload_may_be_null_or_unknown() {
    let full: serde_json::Value = serde_json::from_str(JOB).unwrap();
    for key in full.as_object().unwrap().keys() {
        let mut value = full.clone();
        value[key] = serde_json::Value::Null;
        serde_json::from_value::<JobResponse>(value).unwrap_or_else(|error| panic!("{key}: {error}"));
    }
    let with_more = add_unknown_keys(full);
    serde_json::from_value::<JobResponse>(with_more).unwrap();
}

fn add_unknown_keys(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(map) => {
            let is_map_of_executors = map.contains_key("docker") || map.contains_key("platform");
            let mut map: serde_json::Map<_, _> = map.into_iter().map(|(k, v)| (k, add_unknown_keys(v))).collect();
            if !is_map_of_executors {
                map.insert("of_a_later_version".into(), serde_json::json!([{"x": null}]));
            }
            map.into()
        }
        serde_json::Value::Array(list) => list.into_iter().map(add_unknown_keys).collect(),
        other => other,
    }
}

#[test]
fn tokens_do_not_show_when_a_payload_is_printed() {
    let job: JobResponse = serde_json::from_str(JOB).unwrap();
    let printed = format!("{job:?}");
    assert!(!printed.contains("examplejobtoken") && !printed.contains("hunter2"), "{printed}");
}

#[test]
fn a_job_request_stays_far_below_the_servers_limit() {
    let mut settings =
        super::GitLabSettings::new("r", url::Url::parse("https://g").unwrap(), "t".into(), "s_0123456789ab");
    settings.labels = (0..100).map(|n| (format!("label-{n}"), "v".repeat(256))).collect();
    let info = super::info::Info::of(&settings);
    let last_update = "x".repeat(1024);
    let request = JobRequest { info: &info, token: "t", system_id: "s", last_update: Some(&last_update) };
    assert!(serde_json::to_vec(&request).unwrap().len() < 32 * 1024);
}
