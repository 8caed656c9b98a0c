//! The seam between a language's rules, the loop, and what runs a job.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;

use crate::forge::Demand;
use crate::pipeline::schedule::PipelineEnd;
use crate::pipeline::{JobOutcome, JobStatus};

/// One job that runs or could: what the forge shows as a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId(pub u32);

/// What a playbook wants done.
#[derive(Debug)]
pub enum Action<L> {
    /// Run this when there is room, and tell [`Playbook::ended`].
    Start(Task<L>),
    /// Tell [`Playbook::due`] after this time.
    Wait {
        /// Which.
        leg: LegId,
        /// How long.
        delay: Duration,
        /// Its name.
        name: String,
        /// Why, one sentence.
        reason: String,
    },
    /// It ends without having run, or without running again.
    Never {
        /// Its name.
        name: String,
        /// `Skipped`, `Cancelled` or `Failed`.
        status: JobStatus,
        /// Why, one sentence.
        reason: String,
    },
    /// End it: it was started.
    Cancel {
        /// Which.
        leg: LegId,
        /// Why, one sentence.
        reason: String,
    },
}

/// One job to run.
#[derive(Clone, Debug)]
pub struct Task<L> {
    /// Which.
    pub leg: LegId,
    /// The name the forge shows.
    pub name: String,
    /// Which try, from 1.
    pub attempt: u32,
    /// What its worker needs to know.
    pub job: L,
}

/// How a job ended, as everybody understands it; a worker's own result comes with it.
pub trait JobEnd: Send + 'static {
    /// One that never got to begin: it was cancelled while it waited for room.
    fn cancelled(reason: &str) -> Self;
    /// How it ended.
    fn outcome(&self) -> &JobOutcome;
}

/// The rules of a language for one pipeline. Pure: what is random or takes time is handed in or asked for.
pub trait Playbook: Send {
    /// What a worker needs of a job.
    type Job: Send + 'static;
    /// What a worker makes of it.
    type End: JobEnd;

    /// Begins.
    fn start(&mut self) -> Vec<Action<Self::Job>>;
    /// A started job has ended. `dice`: a random number from 0 to 1.
    fn ended(&mut self, leg: LegId, end: Self::End, dice: f64) -> Ended<Self::Job>;
    /// The time of an [`Action::Wait`] is over.
    fn due(&mut self, leg: LegId) -> Vec<Action<Self::Job>>;
    /// The pipeline is not wanted any more.
    fn cancel(&mut self, reason: &str) -> Vec<Action<Self::Job>>;
    /// Nothing goes on by itself any more: what waits for a person gets its end.
    fn give_up_held(&mut self) -> Vec<Action<Self::Job>> {
        Vec::new()
    }
    /// How it ended.
    fn end(&self) -> PipelineEnd;
}

/// What follows from a job's end.
#[derive(Debug)]
pub struct Ended<L> {
    /// Its final status; `None` when it is tried again.
    pub status: Option<JobStatus>,
    /// Why it failed or was cancelled.
    pub reason: Option<String>,
    /// What is due now.
    pub actions: Vec<Action<L>>,
}

/// Runs single jobs.
pub trait Worker<L, E>: Clone + Send + Sync + 'static {
    /// Runs one. `demand` says when it is not wanted any more.
    fn run(&self, task: Task<L>, demand: watch::Receiver<Demand>) -> impl Future<Output = E> + Send;
}

/// Something happened to a job or to the pipeline. Steps and lines come from the job's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PipelineEvent {
    /// A job begins.
    JobStarted {
        /// Its name.
        job: String,
        /// Which try, from 1.
        attempt: u32,
    },
    /// A job waits: for its delay, or for its next try.
    JobWaits {
        /// Its name.
        job: String,
        /// How long.
        delay: Duration,
        /// Why.
        reason: String,
    },
    /// A job has its final status. Told once for each job.
    JobFinished {
        /// Its name.
        job: String,
        /// Success, failed, cancelled or skipped.
        status: JobStatus,
        /// Why, where it is not success.
        reason: Option<String>,
        /// How long it ran, all tries; zero for one that never did.
        took: Duration,
    },
}
