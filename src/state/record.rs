//! What the journal knows about a job.

use rusqlite::Row;

use super::phase::JobPhase;
use super::transition::Transition;
use crate::executor::sandbox::{JobPaths, SandboxRecord};
use crate::forge::{Assignment, LogDigest, RunnerFacts};
use crate::pipeline::{JobId, JobKey, JobOutcome, JobStatus};

/// A job that something is still owed for: all that the next agent needs to go on.
#[derive(Clone, Debug)]
pub struct OpenJob {
    /// What the forge handed over.
    pub assignment: Assignment,
    /// The name of the registration it came through.
    pub registration: String,
    /// How far it has come.
    pub phase: JobPhase,
    /// What was decided when work began.
    pub facts: Option<RunnerFacts>,
    /// Its folders.
    pub paths: Option<JobPaths>,
    /// Its sandbox, as soon as there is one.
    pub sandbox: Option<SandboxRecord>,
    /// What the executor wrote down about its stages.
    pub progress: Option<serde_json::Value>,
    /// How many bytes of the log the forge has.
    pub acked: u64,
    /// How it ended, in phase [`JobPhase::Ended`].
    pub outcome: Option<JobOutcome>,
    /// What its log amounts to, once it is complete.
    pub digest: Option<LogDigest>,
    /// When it came.
    pub accepted_at: jiff::Timestamp,
}

/// A job that is over, kept so that its last word can be said again when the forge hands it over once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedJob {
    /// How it ended.
    pub outcome: JobOutcome,
    /// What its log amounted to.
    pub digest: Option<LogDigest>,
}

/// A line about a job, for people.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct JobRecord {
    /// What makes it unique here.
    pub key: JobKey,
    /// The forge's id.
    pub id: JobId,
    /// The name the forge shows.
    pub name: String,
    /// `group/project`.
    pub project_path: String,
    /// The registration it came through.
    pub registration: String,
    /// What stands in the log lines about it.
    pub correlation_id: String,
    /// How far it has come.
    pub phase: JobPhase,
    /// What became of it.
    pub status: JobStatus,
    /// Why it failed, when it did.
    pub reason: Option<String>,
    /// When it came.
    pub accepted_at: jiff::Timestamp,
    /// When work began.
    pub started_at: Option<jiff::Timestamp>,
    /// When its outcome was settled.
    pub ended_at: Option<jiff::Timestamp>,
    /// When the forge acknowledged that.
    pub closed_at: Option<jiff::Timestamp>,
}

/// What is known of a job beyond its line, for whoever looks what went wrong. Without secrets.
#[derive(Clone, Debug, Default)]
pub struct JobDetails {
    /// What happened, in order.
    pub transitions: Vec<Transition>,
    /// What the executor wrote down about its stages, while it runs.
    pub progress: Option<serde_json::Value>,
    /// Its sandbox, once it had one.
    pub sandbox: Option<SandboxRecord>,
    /// Its folders, while it runs.
    pub paths: Option<JobPaths>,
    /// How it ended.
    pub outcome: Option<JobOutcome>,
}

/// Columns of [`JobRecord`], in the order in which [`JobRecord::from_row`] reads them.
pub(super) const RECORD_COLUMNS: &str = "key, id, name, project_path, registration, correlation_id, phase, status, \
     outcome, accepted_at, started_at, ended_at, closed_at";

impl JobRecord {
    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let outcome: Option<JobOutcome> = json(row, 8)?;
        Ok(Self {
            key: json_text(row, 0)?,
            id: JobId::new(row.get::<_, String>(1)?),
            name: row.get(2)?,
            project_path: row.get(3)?,
            registration: row.get(4)?,
            correlation_id: row.get(5)?,
            phase: phase(row, 6)?,
            status: json_text(row, 7)?,
            reason: outcome.and_then(|outcome| match outcome {
                JobOutcome::Failed(failure) => Some(format!("{}: {}", failure.reason, failure.message)),
                JobOutcome::Success | JobOutcome::Cancelled => None,
            }),
            accepted_at: time(row, 9)?.unwrap_or_default(),
            started_at: time(row, 10)?,
            ended_at: time(row, 11)?,
            closed_at: time(row, 12)?,
        })
    }
}

/// A column that holds JSON or nothing.
pub(super) fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| serde_json::from_str(&text).map_err(|e| unreadable(column, e))).transpose()
}

/// A column that holds a plain text which is a JSON string in its type: a key, a status.
pub(super) fn json_text<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_value(serde_json::Value::String(text)).map_err(|e| unreadable(column, e))
}

/// A column that holds a phase.
pub(super) fn phase(row: &Row<'_>, column: usize) -> rusqlite::Result<JobPhase> {
    let text: String = row.get(column)?;
    JobPhase::from_name(&text).ok_or_else(|| unreadable(column, format!("`{text}` is no phase")))
}

/// A column that holds milliseconds since 1970 or nothing.
pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<jiff::Timestamp>> {
    let milliseconds: Option<i64> = row.get(column)?;
    milliseconds.map(|ms| jiff::Timestamp::from_millisecond(ms).map_err(|e| unreadable(column, e))).transpose()
}

fn unreadable(column: usize, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, cause.into())
}
