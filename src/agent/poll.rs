//! One poll loop: asks one registration's forge for work, for as long as the agent takes jobs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::{Backoff, Random};
use super::board::{Activity, LaneHandle};
use super::capacity::{Capacity, Question, Ticket};
use super::claims::{Claim, Claims};
use super::events;
use super::job::JobWork;
use super::pulse::{Pulse, PulseWatch};
use super::registration::{Readiness, Registration};
use super::seat::job_span;
use crate::forge::{Assignment, Forge, PollError, Polled};
use crate::pipeline::{FlowEvent, JobFailure};
use crate::state::{Accepted, JobPhase, Journal};

/// No question takes longer than this: a forge may hold it for a minute or two, a slow one may take ten minutes to
/// answer, five times in a row (protocols: GitLab 0). Later the loop counts as stuck.
const LONGEST_QUESTION: Duration = Duration::from_secs(65 * 60);

/// Keeping an assignment takes some fsyncs.
const LONGEST_TAKING: Duration = Duration::from_secs(120);

/// How often a full disk is looked at again.
const ROOM_PAUSE: Duration = Duration::from_secs(5);

/// How often what jobs need is looked for where it is not there, and how long one look may take.
const READY_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// A forge that answers at once and wants to be asked at once is asked this often at most.
const SHORTEST_ROUND: Duration = Duration::from_millis(100);

/// A job that a poll loop hands to the agent.
pub struct Assigned<F, S> {
    /// The registration it came through.
    pub registration: Arc<Registration<F, S>>,
    /// What is due for it.
    pub work: JobWork,
    /// Its place in the queue for a slot.
    pub ticket: Ticket,
    /// Nobody else works on it.
    pub claim: Claim,
}

/// What a poll loop needs.
pub struct Poller<F, S> {
    /// Whom to ask.
    pub registration: Arc<Registration<F, S>>,
    /// Which of the registration's loops this is. The first always asks; the others only while it is busy.
    pub index: u32,
    /// Shared by the loops of the registration.
    pub pulse: Arc<Pulse>,
    /// Who may ask when.
    pub capacity: Capacity,
    /// Where jobs are made ours.
    pub journal: Journal,
    /// Who works on what.
    pub claims: Claims,
    /// Cancelled when the registration is not to be asked any more.
    pub stop: CancellationToken,
    /// Where jobs go. Bounded: full means that the agent's loop is behind, and asking for more would not help.
    pub assigned: mpsc::Sender<Assigned<F, S>>,
    /// The loop's place on the board.
    pub lane: LaneHandle,
    /// How long a registration that is refused is left alone.
    pub unhealthy_interval: Duration,
    /// For jitter.
    pub random: Random,
}

/// Whether a loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Ask,
    End,
}

impl<F: Forge, S: Readiness> Poller<F, S> {
    /// Runs until told to stop.
    pub async fn run(self) {
        let mut backoff = Backoff::new(self.random);
        // Slot first, question second: nobody asks for a job that could not start.
        while let Some(question) = self.turn().await {
            let asked_at = Instant::now();
            // From here on, or what happens while the forge answers would be missed.
            let mut watch = self.pulse.watch();
            let (answer, question) = self.ask(question).await;
            let next = match answer {
                Ok(Polled::Job(assignment)) => {
                    backoff.reset();
                    self.lane.heard();
                    self.take(*assignment, question).await
                }
                Ok(Polled::Nothing { pause }) => {
                    backoff.reset();
                    self.lane.heard();
                    self.rest(pause, asked_at, question, &mut watch).await
                }
                Err(error) => {
                    drop(question); // nothing is reserved while we wait
                    self.back_off(&mut backoff, error, &mut watch).await
                }
            };
            if next == Next::End {
                return;
            }
        }
    }

    /// Waits until this loop may ask; `None` when it is to end.
    async fn turn(&self) -> Option<Question> {
        if self.index > 0 {
            self.lane.does(Activity::Resting, None);
            self.stop.run_until_cancelled(self.pulse.busy()).await?;
        }
        let mut is_told = false;
        loop {
            self.lane.does(Activity::WaitingForSlot, None);
            self.stop.run_until_cancelled(self.room()).await?;
            if is_told {
                self.stop.run_until_cancelled(self.readiness()).await?;
            }
            let question = self.capacity.ask(&self.registration.name, &self.stop).await?;
            // Only now, for it may have waited long for its turn.
            match self.is_ready().await {
                Ok(()) => {
                    if is_told {
                        tracing::info!(registration = %self.registration.name, "jobs are taken again");
                    }
                    return Some(question);
                }
                Err(why) => {
                    drop(question);
                    if !is_told {
                        let error = format!("no jobs are taken: {why}");
                        tracing::error!(registration = %self.registration.name, "{error}");
                        self.lane.failed(&error, false);
                    }
                    is_told = true;
                }
            }
        }
    }

    /// Whether a job that came now could run.
    async fn is_ready(&self) -> Result<(), String> {
        let looked = tokio::time::timeout(LONGEST_LOOK, self.registration.settings.is_ready()).await;
        looked.unwrap_or_else(|_late| Err("the place of jobs does not answer".to_owned()))
    }

    /// Waits until what jobs need is there. Nothing is reserved meanwhile.
    async fn readiness(&self) {
        loop {
            self.lane.does(Activity::BackingOff, Some(Instant::now() + READY_PAUSE + LONGEST_LOOK));
            tokio::time::sleep(READY_PAUSE).await;
            if self.is_ready().await.is_ok() {
                return;
            }
        }
    }

    /// Waits until the state directory's disk has room for a job. A runner that fails every job it gets takes them away from
    /// those that could run them.
    async fn room(&self) {
        let dir = self.journal.dir();
        let mut is_told = false;
        while dir.is_short_of_room() {
            if !is_told {
                let error =
                    format!("the disk of {} is full: no jobs are taken until there is room", dir.root().display());
                tracing::error!(registration = %self.registration.name, "{error}");
                self.lane.failed(&error, false);
                is_told = true;
            }
            tokio::time::sleep(ROOM_PAUSE).await;
        }
        if is_told {
            tracing::info!(registration = %self.registration.name, "the disk has room again: jobs are taken");
        }
    }

    /// Asks the forge. Not raced against any stop: an answer dropped half-read is a job that nobody runs. The forge
    /// itself gives up on the question's stop, and only where the protocol makes that safe.
    async fn ask(&self, question: Question) -> (Result<Polled, PollError>, Question) {
        self.lane.does(Activity::Asking, Some(Instant::now() + LONGEST_QUESTION));
        let stop = question.stop().clone();
        let mut answer = std::pin::pin!(self.registration.forge.poll(&stop));
        if let Ok(answer) = tokio::time::timeout(self.capacity.grace(), answer.as_mut()).await {
            return (answer, question);
        }
        question.is_held();
        (answer.await, question)
    }

    /// Makes a job ours, on disk, before anybody acts on it.
    async fn take(&self, assignment: Assignment, question: Question) -> Next {
        self.lane.does(Activity::TakingJob, Some(Instant::now() + LONGEST_TAKING));
        self.pulse.set_busy(true);
        let ticket = question.brought_job();
        let Some(claim) = self.claims.take(&assignment.key) else {
            tracing::info!(job_id = %assignment.id, "the forge handed over a job again that is being worked on");
            return Next::Ask;
        };
        let Some(work) = self.enter(assignment).await else { return Next::Ask };
        let assigned = Assigned { registration: self.registration.clone(), work, ticket, claim };
        match self.assigned.send(assigned).await {
            Ok(()) => Next::Ask,
            Err(_agent_is_gone) => Next::End, // the journal hands the job to the next one
        }
    }

    /// What is due for a job that the forge handed over; `None` for one that is known and not over.
    async fn enter(&self, assignment: Assignment) -> Option<JobWork> {
        let id = assignment.id.clone();
        let ended = match self.journal.accept(&assignment, &self.registration.name).await {
            Ok(Accepted::New) => {
                let (job, name) = (assignment.key.clone(), assignment.name.clone());
                job_span(&assignment, &self.registration.name)
                    .in_scope(|| events::log(&FlowEvent::JobAssigned { job, name }));
                return Some(JobWork::Fresh { assignment });
            }
            Ok(Accepted::Known(JobPhase::Acknowledged)) => self.journal.ended(&assignment.key).await,
            Ok(Accepted::Known(phase)) => {
                tracing::info!(job_id = %id, %phase, "the forge handed over a job again that is not over here");
                return None;
            }
            Err(error) => Err(error),
        };
        match ended {
            Ok(Some(ended)) => {
                tracing::info!(job_id = %id, "the forge handed over a job again that is over; it is told once more");
                Some(JobWork::Repeated { assignment, ended })
            }
            Ok(None) => None,
            Err(error) => {
                tracing::error!(job_id = %id, %error, "a job cannot be taken: the journal cannot be written");
                let failure =
                    JobFailure::system(format!("the runner could not write down that it has the job: {error}"));
                Some(JobWork::Refused { assignment, failure })
            }
        }
    }

    /// There was no job: waits as long as the forge wants, or until a job of this registration ends, for its successors
    /// may be there then.
    async fn rest(&self, pause: Duration, asked_at: Instant, question: Question, watch: &mut PulseWatch) -> Next {
        self.pulse.set_busy(false);
        if question.stop().is_cancelled() {
            return Next::Ask; // withdrawn: the next turn waits for a slot, or ends
        }
        drop(question); // nothing is reserved while we wait
        let shortest = SHORTEST_ROUND.saturating_sub(asked_at.elapsed());
        let pause = self.pulse.pause(pause).max(shortest);
        self.pause(Activity::Pausing, pause, watch.job_ended()).await
    }

    async fn back_off(&self, backoff: &mut Backoff, error: PollError, watch: &mut PulseWatch) -> Next {
        self.pulse.set_busy(false);
        let (pause, is_unhealthy) = match &error {
            PollError::Refused(_) => {
                let refusal = backoff.after_refusal(self.unhealthy_interval);
                (refusal.pause, refusal.is_unhealthy)
            }
            PollError::Unavailable { retry_after, .. } => (backoff.after_failure(*retry_after), false),
        };
        self.lane.failed(&error.to_string(), is_unhealthy);
        let registration = &self.registration.name;
        if is_unhealthy {
            tracing::error!(registration, %error, ?pause, "the forge refuses this registration; it is left alone for a while");
        } else {
            tracing::warn!(registration, %error, ?pause, "the forge did not answer as it should; asking again");
        }
        if is_unhealthy {
            self.pause(Activity::BackingOff, pause, watch.reloaded()).await
        } else {
            self.pause(Activity::BackingOff, pause, std::future::pending()).await
        }
    }

    /// Waits for `pause`, or until something happens that ends it.
    async fn pause(&self, activity: Activity, pause: Duration, ends: impl Future<Output = ()>) -> Next {
        if pause.is_zero() {
            return Next::Ask;
        }
        self.lane.does(activity, Some(Instant::now() + pause));
        match self.stop.run_until_cancelled(tokio::time::timeout(pause, ends)).await {
            Some(Ok(()) | Err(_)) => Next::Ask,
            None => Next::End,
        }
    }
}
