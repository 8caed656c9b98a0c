//! Jobs: what they are, where they stand, what their runners said and gave.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::trace::Trace;
use crate::pipeline::{InvalidTransition, JobChange, JobStatus, MayFail};

/// What a job of a pipeline waits for while it is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waiting {
    /// Other jobs.
    #[default]
    Others,
    /// Its delay.
    Clock,
    /// Somebody who starts it.
    Person,
}

/// What a job is made of.
#[derive(Clone, Debug)]
pub struct JobSpec {
    /// Its project.
    pub project: u64,
    /// The only runner that gets it; `None`: any that serves the project.
    pub runner: Option<u64>,
    /// Its name.
    pub name: String,
    /// Its stage.
    pub stage: String,
    /// The branch or tag; empty: the project's default branch.
    pub git_ref: String,
    /// What is laid over the usual job response (see [`crate::emulator::payload`]). An object.
    pub overlay: Value,
    /// Sent as it is in place of a job response, whatever it says.
    pub verbatim: Option<String>,
    /// The job is cancelled once its log holds this text.
    pub cancel_on: Option<String>,
    /// Whether `CI_RUNNER_*` variables are sent, as GitLab does. The recorded job cases were without.
    pub runner_variables: bool,
    /// Its pipeline, where it has one.
    pub pipeline: Option<u64>,
    /// Which failures do not fail its pipeline.
    pub may_fail: MayFail,
    /// The tags that its runner must have.
    pub tags: Vec<String>,
    /// Whether it starts a pipeline and is no runner's.
    pub bridge: bool,
    /// Whether it waits for something before it is queued.
    pub held: bool,
}

impl JobSpec {
    /// A job of `project` made by laying `overlay` over the usual response.
    pub fn new(project: u64, name: impl Into<String>, overlay: Value) -> Self {
        Self {
            project,
            runner: None,
            name: name.into(),
            stage: "test".to_owned(),
            git_ref: String::new(),
            overlay,
            verbatim: None,
            cancel_on: None,
            runner_variables: true,
            pipeline: None,
            may_fail: MayFail::Never,
            tags: Vec::new(),
            bridge: false,
            held: false,
        }
    }

    /// A job that runs these commands.
    pub fn script(project: u64, name: impl Into<String>, commands: &[&str]) -> Self {
        let step = serde_json::json!({
            "name": "script", "script": commands, "timeout": 3600, "when": "on_success", "allow_failure": false,
        });
        Self::new(project, name, serde_json::json!({ "steps": [step] }))
    }
}

/// A job.
#[derive(Debug)]
pub struct Job {
    /// Its id.
    pub id: u64,
    /// Its token.
    pub token: String,
    /// What it is.
    pub spec: JobSpec,
    /// Where it stands. Changed by [`Job::change`] only.
    status: JobStatus,
    /// Its commit.
    pub commit: Commit,
    /// What it waits for while it is held.
    pub waiting: Waiting,
    /// Somebody wants it to end tidily; it is running still.
    pub is_canceling: bool,
    /// Handed out, but not yet accepted by the runner (two-phase commit).
    pub awaits_ack: bool,
    /// The runner that has it.
    pub runner: Option<u64>,
    /// The runner's machine.
    pub system_id: String,
    /// The features its runner advertised.
    pub features: Value,
    /// Why it failed.
    pub failure_reason: Option<String>,
    /// What its script exited with.
    pub exit_code: Option<i64>,
    /// When it was queued.
    pub queued_at: Instant,
    /// When it was handed out.
    pub started_at: Option<Instant>,
    /// When it ended.
    pub finished_at: Option<Instant>,
    /// Its log.
    pub trace: Arc<Trace>,
    /// The pieces in which its log came.
    pub pieces: Vec<TracePiece>,
    /// The updates its runner sent.
    pub updates: Vec<Update>,
    /// What its runner uploaded.
    pub artifacts: Vec<Artifact>,
    /// Variables of its dotenv report.
    pub dotenv: Vec<(String, String)>,
    /// What was handed out, byte for byte.
    pub response: Option<String>,
    /// How often it was handed out.
    pub deliveries: u32,
    /// How many last updates were answered with 202 so far.
    pub persisting: u32,
}

/// What git says about a job's commit, asked once when the job is queued.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Its hash.
    pub sha: String,
    /// The first line of its message.
    pub title: String,
    /// Whether the job's ref is a tag.
    pub is_tag: bool,
    /// The commit of the tag `v1.0`; empty when there is no such tag.
    pub tag_v1: String,
}

/// A piece of log as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracePiece {
    /// When.
    pub at: Instant,
    /// Where it begins, as the runner said.
    pub start: u64,
    /// Its length.
    pub length: u64,
    /// What it was answered with.
    pub status: u16,
}

/// An update as it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// When.
    pub at: Instant,
    /// The body.
    pub body: Value,
    /// What it was answered with.
    pub status: u16,
}

/// An upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// `archive`, `junit`, ...
    pub artifact_type: String,
    /// `zip`, `gzip`, `raw`, ...
    pub format: String,
    /// The file's name as uploaded.
    pub filename: String,
    /// How long it is to be kept, as the runner said.
    pub expire_in: String,
    /// Where the bytes lie.
    pub path: PathBuf,
    /// How many bytes.
    pub size: u64,
    /// SHA-256 of the bytes, hexadecimal.
    pub sha256: String,
}

impl Job {
    /// A new job, queued now.
    pub fn new(id: u64, token: String, spec: JobSpec, commit: Commit, trace: Trace) -> Self {
        Self {
            id,
            token,
            spec,
            status: JobStatus::Pending,
            commit,
            waiting: Waiting::Others,
            is_canceling: false,
            awaits_ack: false,
            runner: None,
            system_id: String::new(),
            features: Value::Null,
            failure_reason: None,
            exit_code: None,
            queued_at: Instant::now(),
            started_at: None,
            finished_at: None,
            trace: Arc::new(trace),
            pieces: Vec::new(),
            updates: Vec::new(),
            artifacts: Vec::new(),
            dotenv: Vec::new(),
            response: None,
            deliveries: 0,
            persisting: 0,
        }
    }

    /// Where it stands.
    pub fn status(&self) -> JobStatus {
        self.status
    }

    /// Moves it by the one transition function there is.
    pub fn change(&mut self, change: JobChange) -> Result<(), InvalidTransition> {
        self.status = self.status.after(change)?;
        match change {
            JobChange::Start => self.started_at = Some(Instant::now()),
            JobChange::Succeed | JobChange::Fail | JobChange::Cancel | JobChange::Skip => {
                self.finished_at = Some(Instant::now());
                self.is_canceling = false;
                self.awaits_ack = false;
            }
            JobChange::GrantRetry => {}
        }
        Ok(())
    }

    /// Whether nothing will happen to it any more. This server grants no retries.
    pub fn has_ended(&self) -> bool {
        self.status.is_final() || self.status == JobStatus::Failed
    }

    /// Whether a runner may be handed it.
    pub fn is_queued(&self) -> bool {
        self.status == JobStatus::Pending && !self.spec.held && !self.awaits_ack
    }

    /// Whether its pipeline puts up with its failure.
    pub fn may_fail(&self) -> bool {
        self.spec.may_fail.covers(self.exit_code.and_then(|code| i32::try_from(code).ok()))
    }

    /// Whether a cancellation is for its runner to carry out.
    pub fn ends_tidily(&self) -> bool {
        self.status == JobStatus::Running && self.features["cancel_gracefully"] == Value::Bool(true)
    }

    /// Where it stands in GitLab's words, as `Job-Status` says it.
    pub fn word(&self) -> &'static str {
        match self.status {
            JobStatus::Pending | JobStatus::Retry if self.awaits_ack => "waiting_for_runner_ack",
            JobStatus::Pending | JobStatus::Retry if self.spec.held => match self.waiting {
                Waiting::Others => "created",
                Waiting::Clock => "scheduled",
                Waiting::Person => "manual",
            },
            JobStatus::Pending | JobStatus::Retry => "pending",
            JobStatus::Running if self.is_canceling => "canceling",
            JobStatus::Running => "running",
            JobStatus::Success => "success",
            JobStatus::Failed => "failed",
            JobStatus::Cancelled => "canceled",
            JobStatus::Skipped => "skipped",
        }
    }

    /// The artifact of this type.
    pub fn artifact(&self, artifact_type: &str) -> Option<&Artifact> {
        self.artifacts.iter().find(|artifact| artifact.artifact_type == artifact_type)
    }

    /// How it looks from outside now.
    pub fn view(&self) -> JobView {
        let until = self.finished_at.unwrap_or_else(Instant::now);
        JobView {
            id: self.id,
            token: self.token.clone(),
            name: self.spec.name.clone(),
            stage: self.spec.stage.clone(),
            project: self.spec.project,
            status: self.status,
            state: self.word(),
            failure_reason: self.failure_reason.clone(),
            exit_code: self.exit_code,
            runner: self.runner,
            queued_at: self.queued_at,
            started_at: self.started_at,
            duration: self.started_at.map(|started| until.saturating_duration_since(started)),
            log_size: self.trace.size(),
            pieces: self.pieces.clone(),
            updates: self.updates.clone(),
            artifacts: self.artifacts.clone(),
            deliveries: self.deliveries,
            allow_failure: self.may_fail(),
        }
    }
}

/// How a job looks from outside at one moment.
#[derive(Clone, Debug)]
pub struct JobView {
    /// Its id.
    pub id: u64,
    /// Its token.
    pub token: String,
    /// Its name.
    pub name: String,
    /// Its stage.
    pub stage: String,
    /// Its project.
    pub project: u64,
    /// Where it stands.
    pub status: JobStatus,
    /// The same in GitLab's words: `running`, `canceling`, `canceled`, `failed`, ...
    pub state: &'static str,
    /// Why it failed, as its runner said.
    pub failure_reason: Option<String>,
    /// What its script exited with.
    pub exit_code: Option<i64>,
    /// The runner that has or had it.
    pub runner: Option<u64>,
    /// When it was queued.
    pub queued_at: Instant,
    /// When it was handed out.
    pub started_at: Option<Instant>,
    /// From the hand-out to the end, or to now.
    pub duration: Option<Duration>,
    /// Bytes of log.
    pub log_size: u64,
    /// The pieces in which the log came.
    pub pieces: Vec<TracePiece>,
    /// The updates its runner sent.
    pub updates: Vec<Update>,
    /// What its runner uploaded.
    pub artifacts: Vec<Artifact>,
    /// How often it was handed out.
    pub deliveries: u32,
    /// Whether its failure leaves its pipeline alone.
    pub allow_failure: bool,
}

impl JobView {
    /// Whether nothing will happen to it any more.
    pub fn has_ended(&self) -> bool {
        self.status.is_final() || self.status == JobStatus::Failed
    }

    /// The artifact of this type.
    pub fn artifact(&self, artifact_type: &str) -> Option<&Artifact> {
        self.artifacts.iter().find(|artifact| artifact.artifact_type == artifact_type)
    }
}
