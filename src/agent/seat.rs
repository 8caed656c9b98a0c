//! One job from its place in the queue to its end.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::board::Board;
use super::capacity::{Slot, Ticket};
use super::claims::Claim;
use super::job::{JobRunner, JobStart, JobWork, SlotEnded};
use super::numbers::{JobNumbers, Numbers};
use super::registration::Registration;
use crate::forge::{Assignment, Demand, Forge, LogDigest, Reporter};
use crate::state::Journal;

/// What a job needs on its way.
pub struct Seat<F, S, R> {
    /// The registration it came through.
    pub registration: Arc<Registration<F, S>>,
    /// Who runs it.
    pub runner: R,
    /// Where its page is.
    pub journal: Journal,
    /// Where it is shown.
    pub board: Board,
    /// Which number it gets.
    pub numbers: Numbers,
    /// Cancelled when the agent is told to cancel its jobs.
    pub cancel: CancellationToken,
    /// Cancelled when the agent is told to end with its last job.
    pub drain: CancellationToken,
    /// Nobody else works on it.
    pub claim: Claim,
}

/// How a job comes by its slot.
pub enum Place {
    /// It waits for its turn.
    Queued(Ticket),
    /// It had one before the agent was started again, and its numbers with it, where they were journalled.
    Kept(Slot, Option<JobNumbers>),
}

/// What a running job keeps others from. Given up in this order: whoever takes the slot next finds the numbers free.
pub struct Occupied {
    numbers: JobNumbers,
    /// None: its forge does not want it any more, or the agent does not; all that is left is to say so.
    _slot: Option<Slot>,
}

impl Occupied {
    /// Smallest number that no other running job of the registration has (`CI_CONCURRENT_ID`).
    pub fn concurrent_id(&self) -> u32 {
        self.numbers.concurrent_id()
    }

    /// The same among jobs of the registration and project (`CI_CONCURRENT_PROJECT_ID`).
    pub fn concurrent_project_id(&self) -> u32 {
        self.numbers.concurrent_project_id()
    }
}

/// What every line of the log about a job says.
pub(super) fn job_span(assignment: &Assignment, registration: &str) -> tracing::Span {
    tracing::info_span!(
        "job",
        job_id = %assignment.id,
        correlation_id = %assignment.correlation_id,
        project = %assignment.project_path,
        registration,
    )
}

impl<F: Forge, S: Send + Sync + 'static, R: JobRunner<F, S>> Seat<F, S, R> {
    /// Sees the job to its end.
    pub async fn run(self, work: JobWork, place: Place) -> SlotEnded {
        let span = job_span(work.assignment(), &self.registration.name);
        self.see_through(work, place).instrument(span).await
    }

    async fn see_through(self, work: JobWork, place: Place) -> SlotEnded {
        let line = self.board.job(work.assignment(), &self.registration.name);
        let (slot, numbers) = match place {
            Place::Kept(slot, numbers) => (Some(slot), numbers),
            Place::Queued(ticket) => (self.wait(&work, ticket).await, None),
        };
        let numbers =
            numbers.unwrap_or_else(|| self.numbers.take(&self.registration.name, &work.assignment().owner.project));
        line.stage("starting");
        let start = JobStart {
            occupied: Occupied { numbers, _slot: slot },
            page: self.journal.job(work.key()),
            registration: self.registration.clone(),
            cancel: self.cancel.child_token(),
            drain: self.drain.clone(),
            line: line.clone(),
            work,
        };
        let ended = self.runner.run(start).await;
        line.take_off();
        drop(self.claim);
        ended
    }

    /// Waits for a slot. Beyond the first moment the forge hears that the job is alive.
    async fn wait(&self, work: &JobWork, mut ticket: Ticket) -> Option<Slot> {
        if !matches!(work, JobWork::Fresh { .. }) {
            return None; // a word to the forge, no work
        }
        let mut slot = std::pin::pin!(ticket.slot());
        tokio::select! {
            biased;
            slot = &mut slot => return Some(slot),
            () = std::future::ready(()) => {}
        }
        tracing::info!("every slot is taken; the job waits for its turn");
        tokio::select! {
            biased;
            slot = &mut slot => Some(slot),
            () = self.cancel.cancelled() => None,
            () = self.give_signs_of_life(work) => None,
        }
    }

    /// Tells the forge that the job is here and alive; returns when the forge does not want it any more. The runner
    /// hears the same when it begins, and ends the job as the forge wishes.
    async fn give_signs_of_life(&self, work: &JobWork) {
        let Ok(reporter) = self.registration.forge.reporter(work.assignment()) else {
            return std::future::pending().await; // the runner meets the same when it is the job's turn, and says why
        };
        let mut answer = reporter.accept().await;
        loop {
            match answer {
                Ok(Demand::Wanted) => {}
                Ok(Demand::CancelGracefully | Demand::Abort) | Err(crate::forge::ReportError::Final(_)) => return,
                Err(crate::forge::ReportError::Transient(error) | crate::forge::ReportError::NotFound(error)) => {
                    tracing::warn!(error, "the forge was not told that a waiting job is alive; trying again");
                }
            }
            tokio::time::sleep(reporter.keep_alive_interval()).await;
            answer = reporter.keep_alive(LogDigest::default()).await;
        }
    }
}
