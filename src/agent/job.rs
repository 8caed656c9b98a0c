//! The seam between the agent's loop and what runs a job.

use std::future::Future;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::board::JobLine;
use super::recovery::Repair;
use super::registration::Registration;
use super::seat::Occupied;
use crate::forge::Assignment;
use crate::pipeline::{JobFailure, JobKey};
use crate::state::{EndedJob, JobJournal, OpenJob};

/// Runs jobs. Cloned for each of them; `run` is called once for each start.
///
/// When it is called the job is journalled, it has a slot, and its numbers are its own. The runner tells the forge
/// ([`Reporter::accept`](crate::forge::Reporter::accept) first, also after a crash), journals what it does before it
/// does it, says the last word and closes the journal's page. It may be dropped at any await, when the agent ends at
/// once: what it has journalled is what the next agent goes on from.
pub trait JobRunner<F, S>: Clone + Send + Sync + 'static {
    /// Does what is due for the job. Does not fail: what went wrong with the job is its outcome, and a job that could
    /// not be closed is [`SlotEnded::Open`].
    fn run(&self, start: JobStart<F, S>) -> impl Future<Output = SlotEnded> + Send;
}

/// What a runner is given for one job.
pub struct JobStart<F, S> {
    /// What is due.
    pub work: JobWork,
    /// The registration the job came through.
    pub registration: Arc<Registration<F, S>>,
    /// What other jobs have to do without while it runs: let go of when nothing of it runs any more.
    pub occupied: Occupied,
    /// The journal's page on the job.
    pub page: JobJournal,
    /// Cancelled when the agent is told to cancel its jobs: the job ends tidily, as `runner_interrupted`.
    pub cancel: CancellationToken,
    /// Cancelled when the agent takes no more jobs and ends with its last: a word that the forge does not take is left to
    /// the next agent.
    pub drain: CancellationToken,
    /// Where `status` reads what the job does now.
    pub line: JobLine,
}

/// What is due for a job.
#[derive(Debug)]
pub enum JobWork {
    /// To run it from the beginning.
    Fresh {
        /// What the forge handed over.
        assignment: Assignment,
    },
    /// To go on where an agent before this one stopped.
    Recovered {
        /// All that is known of it.
        open_job: Box<OpenJob>,
        /// How to close the gap between what is owed and what is there. Never [`Repair::Remove`].
        repair: Repair,
    },
    /// To say its last word again: it ended, its forge acknowledged that, and handed it over once more.
    Repeated {
        /// What the forge handed over now.
        assignment: Assignment,
        /// How it ended.
        ended: EndedJob,
    },
    /// To tell the forge that it cannot be run. The journal has no page on it and keeps none.
    Refused {
        /// What the forge handed over.
        assignment: Assignment,
        /// Why.
        failure: JobFailure,
    },
}

impl JobWork {
    /// The assignment, whichever way it came.
    pub fn assignment(&self) -> &Assignment {
        match self {
            JobWork::Fresh { assignment }
            | JobWork::Repeated { assignment, .. }
            | JobWork::Refused { assignment, .. } => assignment,
            JobWork::Recovered { open_job, .. } => &open_job.assignment,
        }
    }

    /// Which job.
    pub fn key(&self) -> &JobKey {
        &self.assignment().key
    }
}

/// How a runner left a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotEnded {
    /// Nothing is owed any more.
    Closed,
    /// Something is owed and could not be done now (the disk is full, the journal cannot be written). The agent looks at
    /// the job again after a while, as it does after a restart.
    Open {
        /// What stood in the way, for the log.
        why: String,
    },
}
