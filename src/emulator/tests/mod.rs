//! The emulator seen from outside, over plain HTTP and with real git, by a runner made of `reqwest` calls.

mod artifacts;
mod faults;
mod git;
mod jobs;
mod pipelines;
mod runners;

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use super::{Emulator, EmulatorOptions, JobSpec, Repository, RunnerSpec};
use crate::emulator::repository::RepositoryFile;

/// An emulator with one project and one runner, and a client that speaks as a well-made runner does.
struct House {
    forge: Emulator,
    http: reqwest::Client,
    project: u64,
    runner: u64,
    token: String,
}

const CI: &str = "\
stages: [build, test]
variables: {GREETING: hello}
compile: {stage: build, script: [make], artifacts: {paths: [out]}}
check: {stage: test, script: [./check]}
lint: {stage: test, needs: [], allow_failure: true, script: lint}
mourn: {stage: test, when: on_failure, script: sob}
";

impl House {
    async fn new(options: EmulatorOptions) -> Self {
        // A second test of the process finds the provider installed: that is what is wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let forge = Emulator::start(options).await.unwrap();
        let files = vec![
            RepositoryFile::text("README", "a repository\n"),
            RepositoryFile::text("big.txt", "0123456789abcdef\n".repeat(200_000)),
            RepositoryFile::text(".gitlab-ci.yml", CI),
        ];
        let project = forge.add_project("team/one", &Repository::Files(files)).unwrap();
        let (runner, token) = forge.add_runner(RunnerSpec { description: "test".to_owned(), ..RunnerSpec::default() });
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { forge, http, project, runner, token }
    }

    fn call(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/api/v4/{path}", self.forge.url());
        let expected_back = if method == Method::PUT { "*/*" } else { "application/json" };
        let request = self.http.request(method, url).timeout(Duration::from_secs(30));
        request
            .header("User-Agent", "gitlab-runner 19.3.0 (main; go1.26.0; linux/amd64)")
            .header("Accept", expected_back)
            .header("X-Request-Id", "0123456789abcdef0123456789abcdef")
    }

    async fn runner_call(&self, method: Method, path: &str, body: Value) -> Response {
        let token = body["token"].as_str().unwrap_or_default().to_owned();
        self.call(method, path).header("RUNNER-TOKEN", token).json(&body).send().await.unwrap()
    }

    async fn poll(&self, last_update: &str) -> Response {
        let mut body = json!({ "token": self.token, "system_id": "s_0123456789ab", "info": info() });
        if !last_update.is_empty() {
            body["last_update"] = json!(last_update);
        }
        self.runner_call(Method::POST, "jobs/request", body).await
    }

    /// Queues a job, takes it and says that it runs: its id and token.
    async fn running_job(&self, spec: JobSpec) -> (u64, String) {
        let id = self.forge.queue(spec).unwrap();
        let job: Value = self.poll("").await.json().await.unwrap();
        assert_eq!(job["id"], json!(id));
        let token = job["token"].as_str().unwrap().to_owned();
        assert_eq!(self.update(id, &token, json!({ "state": "running" })).await.status(), 200);
        (id, token)
    }

    fn script(&self) -> JobSpec {
        JobSpec::script(self.project, "job", &["true"])
    }

    async fn update(&self, id: u64, token: &str, state: Value) -> Response {
        let mut body = json!({ "token": token, "info": info(), "output": {} });
        for (key, value) in state.as_object().unwrap() {
            body[key] = value.clone();
        }
        self.call(Method::PUT, &format!("jobs/{id}")).header("JOB-TOKEN", token).json(&body).send().await.unwrap()
    }

    async fn finish(&self, id: u64, token: &str, state: &str) -> Response {
        let log = self.forge.log(id);
        let checksum = format!("crc32:{:08x}", crc32fast::hash(&log));
        let mut body =
            json!({ "state": state, "checksum": checksum, "output": { "checksum": checksum, "bytesize": log.len() } });
        if state == "failed" {
            body["failure_reason"] = json!("script_failure");
            body["exit_code"] = json!(37);
        }
        self.update(id, token, body).await
    }

    async fn append(&self, id: u64, token: &str, start: usize, text: &'static str) -> Response {
        let end = (start + text.len()).saturating_sub(1);
        self.call(Method::PATCH, &format!("jobs/{id}/trace?debug_trace=false"))
            .header("JOB-TOKEN", token)
            .header("Content-Type", "text/plain")
            .header("Content-Range", format!("{start}-{end}"))
            .body(text)
            .send()
            .await
            .unwrap()
    }

    /// What the rules broken so far are, and forgets nothing.
    fn rules_broken(&self) -> Vec<String> {
        self.forge.violations().into_iter().map(|violation| violation.rule).collect()
    }
}

fn info() -> Value {
    let features: serde_json::Map<String, Value> = crate::emulator::api::FEATURES
        .iter()
        .map(|name| ((*name).to_owned(), json!(*name != "two_phase_job_commit")))
        .collect();
    json!({ "name": "gitlab-runner", "version": "19.3.0", "revision": "abc", "platform": "linux", "architecture": "amd64",
        "executor": "docker", "shell": "bash", "features": features, "config": { "gpus": "" } })
}

fn text(response: &Response, header: &str) -> String {
    response.headers().get(header).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}
