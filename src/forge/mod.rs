//! The seam between forges and the rest: wire on one side, [`crate::pipeline`] on the other.
//!
//! Each forge has a room: `wire` (what goes over the wire, nothing else), `client` (HTTP: status codes to typed
//! answers), `convert` (wire to model; pure), `report` ([`Reporter`]). Wire types never leave their room. Nothing here
//! knows the executor; both meet in `agent`.
//!
//! The life of a registration:
//! 1. [`Forge::poll`] is called again and again, one call at a time per request slot, until told to stop.
//! 2. An [`Assignment`] is journalled before anything else happens with it. Its payload is all that is needed to go on
//!    after a crash: what follows is derived from it, and derived again by the next agent.
//! 3. [`Forge::reporter`] gives the way back; [`Reporter::accept`] tells the forge that the job begins.
//! 4. [`Forge::define`] makes the [`PipelineJob`], once the agent has found it a slot and folders ([`RunnerFacts`]).
//! 5. Log, signs of life, artifacts go through the reporter while the job runs.
//! 6. [`Reporter::finish`] says the last word, as often as it takes.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::pipeline::definition::{ArtifactSpec, DependencySpec};
use crate::pipeline::{JobFailure, JobId, JobKey, JobOutcome, Owner, PipelineJob, Secret};

mod archive_file;
pub mod detect;
pub mod gitlab;

pub use archive_file::{ArchiveFile, ArchiveWriter, begin as begin_archive};

/// One registration at one forge.
pub trait Forge: Send + Sync + 'static {
    /// How jobs of this forge are reported on.
    type Reporter: Reporter;

    /// Asks for one job. May wait at the forge as long as the protocol lets it; returns early with
    /// [`Polled::Nothing`] when `stop` is cancelled, but never drops an answer that is already on its way.
    fn poll(&self, stop: &CancellationToken) -> impl Future<Output = Result<Polled, PollError>> + Send;

    /// The way back for a job, from its payload.
    fn reporter(&self, assignment: &Assignment) -> Result<Self::Reporter, JobFailure>;

    /// The job in the words of the model. Pure: the same payload and facts give the same job, today and after a
    /// restart. An error is the job's end: it asks for what this agent refuses or does not understand.
    fn define(&self, assignment: &Assignment, facts: &RunnerFacts) -> Result<PipelineJob, JobFailure>;
}

/// What a poll brought.
#[derive(Debug)]
pub enum Polled {
    /// A job. It is ours now: nobody else will run it.
    Job(Box<Assignment>),
    /// None now. Ask again after this pause (zero: at once; the forge held the request open).
    Nothing {
        /// How long to wait before the next poll.
        pause: Duration,
    },
}

/// One job a forge handed us.
#[derive(Clone)]
pub struct Assignment {
    /// Unique for this agent for ever.
    pub key: JobKey,
    /// The forge's id.
    pub id: JobId,
    /// The name the forge shows.
    pub name: String,
    /// The project's path as people write it, `group/project`.
    pub project_path: String,
    /// On whose behalf the job runs.
    pub owner: Owner,
    /// The answer of the forge, byte for byte. Full of secrets: kept in a file only the agent can read, gone when the
    /// job is.
    pub payload: Bytes,
    /// The id under which the forge logged the request that brought the job, where it told one.
    pub correlation_id: String,
}

impl std::fmt::Debug for Assignment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assignment").field("key", &self.key).field("name", &self.name).finish_non_exhaustive()
    }
}

/// What the agent has decided about a job before it is defined. Journalled, so that a restart decides the same.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RunnerFacts {
    /// Smallest number that no other running job of this registration has (`CI_CONCURRENT_ID`).
    pub concurrent_id: u32,
    /// The same among jobs of this registration and project (`CI_CONCURRENT_PROJECT_ID`).
    pub concurrent_project_id: u32,
    /// Root of the work trees as the job sees it: `/builds` in a container, a path of the machine on the host.
    pub builds_dir: String,
    /// Whether the job's processes share the machine with others (host sandbox).
    pub shared_environment: bool,
}

/// Why a poll failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PollError {
    /// The forge does not accept this registration: token revoked, runner deleted. Said some times in a row, asking again
    /// at the usual pace cannot help; the poll loop slows down.
    #[error("{0}")]
    Refused(String),
    /// The forge did not answer as it should. Ask again later.
    #[error("{message}")]
    Unavailable {
        /// What happened.
        message: String,
        /// When the forge wants to be asked again, if it said so.
        retry_after: Option<Duration>,
    },
}

/// Whether the forge still wants a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Demand {
    /// It does.
    Wanted,
    /// It wants the job to end tidily: the steps stop, the after-step and uploads still run.
    CancelGracefully,
    /// It does not: everything stops now, nothing more is reported.
    Abort,
}

/// The forge's answer to a piece of log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogAck {
    /// Where the forge wants the next piece to begin. Smaller than what was sent when it lost some.
    pub next: u64,
    /// Whether the job is still wanted.
    pub demand: Demand,
}

/// What a log amounts to, so that the forge can check that it has all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogDigest {
    /// CRC-32 (IEEE) of all bytes.
    pub crc32: u32,
    /// How many bytes.
    pub size: u64,
}

/// The forge's answer to the last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishAck {
    /// Acknowledged: the job is over.
    Done,
    /// Heard, but the forge is still busy with the log: say it again after the pause.
    Again {
        /// How long to wait.
        pause: Duration,
    },
    /// The forge's copy of the log is wrong: send it again from the beginning, then say it again.
    ResendLog,
}

/// Why a report did not get through.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReportError {
    /// Try again later; nothing is lost.
    #[error("{0}")]
    Transient(String),
    /// The forge does not find the job. While it runs that may pass; once it has ended there is nobody left to tell.
    #[error("{0}")]
    NotFound(String),
    /// The forge does not know the job any more or does not take this from us. Trying again cannot help.
    #[error("{0}")]
    Final(String),
}

/// How a job tells its forge what happens. One per job.
///
/// Calls may come from two tasks (the log pump, the stages) and may be repeated after a crash with the same arguments:
/// an implementation makes the repetition harmless. Short retries of single requests happen inside; every call has a
/// deadline.
pub trait Reporter: Send + Sync + 'static {
    /// Tells the forge that the job begins here. Called once before anything is done for the job, and again by the
    /// agent that takes over after a crash.
    fn accept(&self) -> impl Future<Output = Result<Demand, ReportError>> + Send;

    /// Appends `bytes`, already masked, that begin at offset `at` of the log. Never empty.
    fn append_log(&self, at: u64, bytes: Bytes) -> impl Future<Output = Result<LogAck, ReportError>> + Send;

    /// Says that the job is alive, and learns whether it is still wanted.
    fn keep_alive(&self, so_far: LogDigest) -> impl Future<Output = Result<Demand, ReportError>> + Send;

    /// Says the last word. Called only when the forge has the whole log; again until it answers [`FinishAck::Done`].
    fn finish(
        &self,
        outcome: &JobOutcome,
        log: LogDigest,
    ) -> impl Future<Output = Result<FinishAck, ReportError>> + Send;

    /// How long to collect log before it is sent, as the forge wishes at the moment.
    fn update_interval(&self) -> Duration;

    /// How long the forge may hear nothing before a sign of life is due.
    fn keep_alive_interval(&self) -> Duration;

    /// Gives the forge one packed artifact, which may still be being written. Retries inside.
    fn upload_artifact(
        &self,
        artifact: &ArtifactSpec,
        file_name: &str,
        file: &ArchiveFile,
    ) -> impl Future<Output = Result<(), TransferError>> + Send;

    /// Writes the files of another job, as the forge keeps them, to `to`. Retries inside.
    fn download_artifact(
        &self,
        dependency: &DependencySpec,
        to: &Path,
    ) -> impl Future<Output = Result<(), TransferError>> + Send;
}

/// Why an artifact did not go through.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct TransferError {
    /// What happened, for the job's log; no URL with credentials.
    pub message: String,
    /// Whether this machine's own disk is the reason, and not the forge, its answer or the way there.
    pub is_own_disk: bool,
}

/// A token and when it must be replaced.
#[derive(Clone, Debug)]
pub struct RunnerToken {
    /// The token.
    pub token: Secret,
    /// When it was obtained.
    pub obtained_at: jiff::Timestamp,
    /// When it stops working; `None`: never.
    pub expires_at: Option<jiff::Timestamp>,
}
