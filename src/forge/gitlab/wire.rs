//! What goes over the wire between a GitLab runner and its server: types, nothing else. (protocols: GitLab 1 to 5.)
//!
//! What the server sends is read leniently: any object, list or text may be `null` or missing, unknown keys are
//! ignored, a number may come as text and a text as number where real servers do that. No defaults that the protocol
//! does not have; meaning is given in `convert`.

use serde::{Deserialize, Serialize};

use super::lenient::{flag, int, items, object, optional_flag, optional_texts, secret, text, texts};
use crate::pipeline::Secret;

/// Answer 201 of `POST jobs/request`: one job. (3.1)
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct JobResponse {
    /// Job id.
    #[serde(deserialize_with = "int")]
    pub id: i64,
    /// Job token: authenticates every later call, git and the registry.
    #[serde(deserialize_with = "secret")]
    pub token: Secret,
    /// The default git strategy is `fetch`, not `clone`.
    #[serde(deserialize_with = "flag")]
    pub allow_git_fetch: bool,
    /// Names and ids.
    #[serde(deserialize_with = "object")]
    pub job_info: JobInfo,
    /// The repository.
    #[serde(deserialize_with = "object")]
    pub git_info: GitInfo,
    /// Limits.
    #[serde(deserialize_with = "object")]
    pub runner_info: RunnerInfo,
    /// Job inputs; sent only to runners that advertise them.
    #[serde(deserialize_with = "items")]
    pub inputs: Vec<serde_json::Value>,
    /// In order, with duplicates.
    #[serde(deserialize_with = "items")]
    pub variables: Vec<JobVariable>,
    /// Scripts.
    #[serde(deserialize_with = "items")]
    pub steps: Vec<Step>,
    /// The image.
    #[serde(deserialize_with = "object")]
    pub image: Image,
    /// Services.
    #[serde(deserialize_with = "items")]
    pub services: Vec<Image>,
    /// Files to upload.
    #[serde(deserialize_with = "items")]
    pub artifacts: Vec<Artifact>,
    /// Caches.
    #[serde(deserialize_with = "items")]
    pub cache: Vec<Cache>,
    /// Registry credentials.
    #[serde(deserialize_with = "items")]
    pub credentials: Vec<Credential>,
    /// Jobs whose files this one is given.
    #[serde(deserialize_with = "items")]
    pub dependencies: Vec<Dependency>,
    /// What this server does.
    #[serde(deserialize_with = "object")]
    pub features: Features,
    /// Variable name to provider.
    #[serde(deserialize_with = "object")]
    pub secrets: serde_json::Map<String, serde_json::Value>,
    /// Scripts around the sources.
    #[serde(deserialize_with = "items")]
    pub hooks: Vec<Hook>,
    /// Native steps: JSON in a text.
    #[serde(deserialize_with = "text")]
    pub run: String,
}

/// Enough of [`JobResponse`] to own the job and to report on it, read when the rest cannot be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct JobHead {
    /// See [`JobResponse`].
    #[serde(deserialize_with = "int")]
    pub id: i64,
    /// See [`JobResponse`].
    #[serde(deserialize_with = "secret")]
    pub token: Secret,
}

/// (3.2)
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct JobInfo {
    /// Job name.
    #[serde(deserialize_with = "text")]
    pub name: String,
    /// Stage name.
    #[serde(deserialize_with = "text")]
    pub stage: String,
    /// Pipeline id.
    #[serde(deserialize_with = "int")]
    pub pipeline_id: i64,
    /// Project id.
    #[serde(deserialize_with = "int")]
    pub project_id: i64,
    /// Project name.
    #[serde(deserialize_with = "text")]
    pub project_name: String,
    /// `group/project`.
    #[serde(deserialize_with = "text")]
    pub project_full_path: String,
}

/// (3.3)
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct GitInfo {
    /// With credentials.
    #[serde(deserialize_with = "secret")]
    pub repo_url: Secret,
    /// `sha1` (also empty) or `sha256`.
    #[serde(deserialize_with = "text")]
    pub repo_object_format: String,
    /// Branch, tag, or `refs/merge-requests/N/head`.
    #[serde(deserialize_with = "text", rename = "ref")]
    pub ref_name: String,
    /// Commit.
    #[serde(deserialize_with = "text")]
    pub sha: String,
    /// The commit before the push.
    #[serde(deserialize_with = "text")]
    pub before_sha: String,
    /// Exact refspecs to fetch.
    #[serde(deserialize_with = "texts")]
    pub refspecs: Vec<String>,
    /// 0: whole history.
    #[serde(deserialize_with = "int")]
    pub depth: i64,
    /// Protected ref; absent on old servers.
    #[serde(deserialize_with = "optional_flag")]
    pub protected: Option<bool>,
}

/// (3.4)
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RunnerInfo {
    /// Job timeout in seconds.
    #[serde(deserialize_with = "int")]
    pub timeout: i64,
}

/// (3.5)
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct JobVariable {
    /// Name.
    #[serde(deserialize_with = "text")]
    pub key: String,
    /// Value; `null` is empty.
    #[serde(deserialize_with = "secret")]
    pub value: Secret,
    /// May be given to services.
    #[serde(deserialize_with = "flag")]
    pub public: bool,
    /// The value is a file's content.
    #[serde(deserialize_with = "flag")]
    pub file: bool,
    /// Hidden in the log.
    #[serde(deserialize_with = "flag")]
    pub masked: bool,
    /// Not expanded.
    #[serde(deserialize_with = "flag")]
    pub raw: bool,
}

/// (3.6)
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Step {
    /// `script`, `after_script`, `release`, others.
    #[serde(deserialize_with = "text")]
    pub name: String,
    /// Commands.
    #[serde(deserialize_with = "texts")]
    pub script: Vec<String>,
}

/// `image` (3.7) and each of `services` (3.8).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Image {
    /// Reference.
    #[serde(deserialize_with = "text")]
    pub name: String,
    /// Space or comma separated.
    #[serde(deserialize_with = "text")]
    pub alias: String,
    /// Entrypoint.
    #[serde(deserialize_with = "optional_texts")]
    pub entrypoint: Option<Vec<String>>,
    /// Command, services only.
    #[serde(deserialize_with = "texts")]
    pub command: Vec<String>,
    /// Services only.
    #[serde(deserialize_with = "items")]
    pub variables: Vec<JobVariable>,
    /// Pull policies.
    #[serde(deserialize_with = "texts")]
    pub pull_policy: Vec<String>,
    /// Options by executor; an unknown key fails the job, so it is kept as it came.
    #[serde(deserialize_with = "object")]
    pub executor_opts: serde_json::Map<String, serde_json::Value>,
}

/// (3.9)
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Artifact {
    /// Base name of the archive.
    #[serde(deserialize_with = "text")]
    pub name: String,
    /// Also untracked files.
    #[serde(deserialize_with = "flag")]
    pub untracked: bool,
    /// Globs.
    #[serde(deserialize_with = "texts")]
    pub paths: Vec<String>,
    /// Globs.
    #[serde(deserialize_with = "texts")]
    pub exclude: Vec<String>,
    /// `on_success`, `on_failure`, `always`.
    #[serde(deserialize_with = "text")]
    pub when: String,
    /// `archive` or a report type.
    #[serde(deserialize_with = "text")]
    pub artifact_type: String,
    /// Empty, `zip`, `gzip`, `raw`, `zipzstd`, `tarzstd`.
    #[serde(deserialize_with = "text")]
    pub artifact_format: String,
    /// Passed through.
    #[serde(deserialize_with = "text")]
    pub expire_in: String,
}

/// (3.10)
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Cache {
    /// Key.
    #[serde(deserialize_with = "text")]
    pub key: String,
    /// Keys tried after it.
    #[serde(deserialize_with = "texts")]
    pub fallback_keys: Vec<String>,
    /// Also untracked files.
    #[serde(deserialize_with = "flag")]
    pub untracked: bool,
    /// Globs.
    #[serde(deserialize_with = "texts")]
    pub paths: Vec<String>,
    /// Empty, `pull-push`, `pull`, `push`; may hold variables.
    #[serde(deserialize_with = "text")]
    pub policy: String,
    /// Empty, `on_success`, `on_failure`, `always`.
    #[serde(deserialize_with = "text")]
    pub when: String,
}

/// (3.11)
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Credential {
    /// Only `registry` counts.
    #[serde(deserialize_with = "text", rename = "type")]
    pub kind: String,
    /// Host of the registry.
    #[serde(deserialize_with = "text")]
    pub url: String,
    /// User name.
    #[serde(deserialize_with = "text")]
    pub username: String,
    /// Password.
    #[serde(deserialize_with = "secret")]
    pub password: Secret,
}

/// (3.11)
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Dependency {
    /// The other job's id.
    #[serde(deserialize_with = "int")]
    pub id: i64,
    /// Its name.
    #[serde(deserialize_with = "text")]
    pub name: String,
    /// The token for the download.
    #[serde(deserialize_with = "secret")]
    pub token: Secret,
    /// Its archive.
    #[serde(deserialize_with = "object")]
    pub artifacts_file: ArtifactsFile,
}

/// (3.11)
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ArtifactsFile {
    /// Empty: the job left none.
    #[serde(deserialize_with = "text")]
    pub filename: String,
    /// Bytes.
    #[serde(deserialize_with = "int")]
    pub size: i64,
}

/// (3.12)
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Features {
    /// Emit section markers.
    #[serde(deserialize_with = "flag")]
    pub trace_sections: bool,
    /// Further token prefixes to mask.
    #[serde(deserialize_with = "texts")]
    pub token_mask_prefixes: Vec<String>,
    /// Failure reasons this server knows.
    #[serde(deserialize_with = "texts")]
    pub failure_reasons: Vec<String>,
}

/// (3.1, `hooks`)
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Hook {
    /// `pre_get_sources_script`, `post_get_sources_script`.
    #[serde(deserialize_with = "text")]
    pub name: String,
    /// Commands.
    #[serde(deserialize_with = "texts")]
    pub script: Vec<String>,
}

/// Answer of register, verify and reset. (1.2)
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RunnerResponse {
    /// Runner id.
    #[serde(deserialize_with = "int")]
    pub id: i64,
    /// Authentication token.
    #[serde(deserialize_with = "secret")]
    pub token: Secret,
    /// RFC 3339.
    #[serde(deserialize_with = "text")]
    pub token_expires_at: String,
}

/// Body of `POST jobs/request`. (2.1)
#[derive(Debug, Serialize)]
pub struct JobRequest<'a> {
    /// What we are.
    pub info: &'a super::info::Info,
    /// Runner token.
    pub token: &'a str,
    /// This machine.
    pub system_id: &'a str,
    /// The queue's version as the server told it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update: Option<&'a str>,
}

/// Body of `PUT jobs/:id`. (5.1)
#[derive(Debug, Serialize)]
pub struct JobUpdate<'a> {
    /// What we are.
    pub info: &'a super::info::Info,
    /// Job token.
    pub token: &'a str,
    /// `running`, `success`, `failed`.
    pub state: &'static str,
    /// Only when failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<&'static str>,
    /// Not 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Deprecated copy of `output.checksum`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// The log so far; always present.
    pub output: JobOutput,
}

/// (5.1, `output`)
#[derive(Debug, Default, Serialize)]
pub struct JobOutput {
    /// `crc32:` and eight hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytesize: Option<u64>,
}

/// Body of `POST runners/verify`. (1.2)
#[derive(Debug, Serialize)]
pub struct VerifyRequest<'a> {
    /// What we are; sent so that the server knows of graceful cancellation from the first job on. (1.2)
    pub info: &'a super::info::Info,
    /// Runner token.
    pub token: &'a str,
    /// This machine.
    pub system_id: &'a str,
}

/// Body of `POST runners`. (1.3)
#[derive(Debug, Serialize)]
pub struct RegisterRequest<'a> {
    /// What we are.
    pub info: &'a super::info::Info,
    /// Registration token.
    pub token: &'a str,
    /// Name shown to people.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub description: &'a str,
    /// Comma separated.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub tag_list: &'a str,
    /// Takes jobs without tags.
    pub run_untagged: bool,
    /// Only for the project it was registered with.
    pub locked: bool,
    /// Takes no jobs yet.
    pub paused: bool,
}

/// Body of `DELETE runners` and `DELETE runners/managers`, and of the reset. (1.2)
#[derive(Debug, Serialize)]
pub struct TokenBody<'a> {
    /// Runner token.
    pub token: &'a str,
    /// This machine, for managers only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_id: Option<&'a str>,
}
