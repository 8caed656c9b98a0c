//! What we tell the server about ourselves. (protocols: GitLab 1.6.)

use std::collections::BTreeMap;

use serde::Serialize;

use super::settings::{Executor, GitLabSettings};
use crate::outbound::go_arch;

/// The `info` object of registration, verification, job requests and job updates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Info {
    /// This program.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The commit it was built from, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<&'static str>,
    /// The operating system as Go names it.
    pub platform: &'static str,
    /// The processor as Go names it.
    pub architecture: &'static str,
    /// The executor as GitLab names it.
    pub executor: &'static str,
    /// The shell that runs scripts.
    pub shell: &'static str,
    /// What we can do; every key is sent, false ones too.
    pub features: Features,
    /// Configuration the server shows.
    pub config: InfoConfig,
    /// Labels of this machine.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// (1.6, `config`)
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InfoConfig {
    /// GPUs of the containers.
    pub gpus: String,
}

/// What is implemented, key by key as GitLab names it. A job that needs more is failed by the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, clippy::struct_excessive_bools, reason = "the names are the protocol's, explained in 1.6")]
pub struct Features {
    pub variables: bool,
    pub image: bool,
    pub services: bool,
    pub artifacts: bool,
    pub cache: bool,
    pub fallback_cache_keys: bool,
    pub shared: bool,
    pub upload_multiple_artifacts: bool,
    pub upload_raw_artifacts: bool,
    pub session: bool,
    pub terminal: bool,
    pub refspecs: bool,
    pub masking: bool,
    pub proxy: bool,
    pub raw_variables: bool,
    pub artifacts_exclude: bool,
    pub multi_build_steps: bool,
    pub trace_reset: bool,
    pub trace_checksum: bool,
    pub trace_size: bool,
    pub vault_secrets: bool,
    pub cancelable: bool,
    pub return_exit_code: bool,
    pub service_variables: bool,
    pub service_multiple_aliases: bool,
    pub image_executor_opts: bool,
    pub service_executor_opts: bool,
    pub cancel_gracefully: bool,
    pub native_steps_integration: bool,
    pub two_phase_job_commit: bool,
    pub job_inputs: bool,
}

impl Info {
    /// What a registration says of itself.
    pub fn of(settings: &GitLabSettings) -> Self {
        Self {
            name: "forgehand",
            version: crate::VERSION,
            revision: crate::REVISION,
            platform: std::env::consts::OS,
            architecture: go_arch(),
            executor: settings.executor.on_wire(),
            shell: "bash",
            features: Features::of(settings.executor),
            config: InfoConfig { gpus: settings.gpus.clone() },
            labels: valid_labels(&settings.labels),
        }
    }
}

impl Features {
    fn of(executor: Executor) -> Self {
        let containers = executor == Executor::Docker;
        Self {
            variables: true,
            image: containers,
            services: containers,
            artifacts: true,
            cache: true,
            fallback_cache_keys: true,
            shared: !containers,
            upload_multiple_artifacts: true,
            upload_raw_artifacts: true,
            session: false,
            terminal: false,
            refspecs: true,
            masking: true,
            proxy: false,
            raw_variables: true,
            artifacts_exclude: true,
            multi_build_steps: true,
            trace_reset: true,
            trace_checksum: true,
            trace_size: true,
            vault_secrets: false,
            cancelable: true,
            return_exit_code: true,
            service_variables: containers,
            service_multiple_aliases: containers,
            image_executor_opts: containers,
            service_executor_opts: containers,
            cancel_gracefully: true,
            native_steps_integration: false,
            // Kept by `Reporter::accept`: the first thing the server hears of a job is `PUT state=running`.
            two_phase_job_commit: true,
            job_inputs: false,
        }
    }
}

/// The labels GitLab takes, at most 32. The others are left out: a request with one of them would be refused.
fn valid_labels(labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let valid_key = |key: &str| (3..=65).contains(&key.len()) && key.chars().all(word) && !key.starts_with(['.', '-']);
    let valid_value = |value: &str| (1..=256).contains(&value.len()) && value.chars().all(word);
    labels
        .iter()
        .filter(|(key, value)| valid_key(key) && valid_value(value))
        .take(32)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_advertised_is_what_is_there() {
        let docker = serde_json::to_value(Features::of(Executor::Docker)).unwrap();
        let no: Vec<_> =
            docker.as_object().unwrap().iter().filter(|(_, v)| *v == false).map(|(k, _)| k.as_str()).collect();
        let absent =
            ["shared", "session", "terminal", "proxy", "vault_secrets", "native_steps_integration", "job_inputs"];
        assert_eq!(no, absent);
        let host = Features::of(Executor::Host);
        assert!(host.shared && !host.image && !host.services && !host.service_variables);
    }

    #[test]
    fn labels_that_gitlab_refuses_stay_at_home() {
        let labels = [("region", "eu-1"), ("a", "x"), ("bad key", "x"), ("empty", ""), (".dot", "x")];
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(valid_labels(&labels).keys().collect::<Vec<_>>(), ["region"]);
    }
}
