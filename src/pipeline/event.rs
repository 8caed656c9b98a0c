//! Something happened.

use std::time::Duration;

use super::id::JobKey;
use super::outcome::JobOutcome;
use super::status::JobStatus;

/// What the parts of the agent tell whoever listens: the log, the metrics, a live view. Listeners may miss events and
/// must not decide anything by them; what counts is in the journal.
#[derive(Clone, Debug)]
pub enum FlowEvent {
    /// A forge handed us a job.
    JobAssigned {
        /// Which.
        job: JobKey,
        /// The name the forge shows.
        name: String,
    },
    /// A job's status changed.
    JobStatusChanged {
        /// Which.
        job: JobKey,
        /// What it was.
        from: JobStatus,
        /// What it is.
        to: JobStatus,
    },
    /// A stage of a job begins.
    StageStarted {
        /// Which job.
        job: JobKey,
        /// The stage's name.
        stage: &'static str,
    },
    /// A stage of a job ended.
    StageFinished {
        /// Which job.
        job: JobKey,
        /// The stage's name.
        stage: &'static str,
        /// Whether it ended well.
        ok: bool,
        /// How long it took.
        took: Duration,
    },
    /// A job ended and its forge knows.
    JobFinished {
        /// Which.
        job: JobKey,
        /// How.
        outcome: JobOutcome,
    },
}
