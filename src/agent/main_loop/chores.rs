//! What the agent does besides its loop, in tasks that come back as events.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use super::{Agent, LOOK_AGAIN};
use crate::agent::claims::Claim;
use crate::agent::control::Answer;
use crate::agent::recovery::{self, Owed};
use crate::agent::registration::{Plan, PlanError};
use crate::agent::seat::Place;
use crate::agent::{Found, JobRunner, Registrar, Repair, ShimState, Sweeper};
use crate::pipeline::{JobFailure, JobKey, JobOutcome};
use crate::state::OpenJob;

/// How long the engine may take to say what is there.
const LOOK_WITHIN: Duration = Duration::from_secs(30);

/// How long a job waits for its registration to come back into the configuration.
const ORPHANS_WAIT: Duration = Duration::from_secs(7 * 24 * 3600);

/// A job that was left by an agent before this one, or by a slot that broke, and is ours to go on with.
pub struct Taken {
    /// Nobody else works on it.
    pub claim: Claim,
    /// Its slot and numbers.
    pub place: Place,
    /// All that is known of it.
    pub job: OpenJob,
}

/// What a task came back with.
pub enum Chore<F, S> {
    /// The configuration was read.
    Planned {
        /// What it says.
        plan: Result<Plan<F, S>, PlanError>,
        /// Who asked for it.
        reply: Option<oneshot::Sender<Answer>>,
    },
    /// A registration has a new token.
    TokenReplaced,
    /// The jobs that something is owed for.
    Listed {
        /// All of them, also those that are being worked on.
        open: Vec<OpenJob>,
    },
    /// Jobs that are ours to go on with, and how.
    LookedAt {
        /// Each with what closes the gap.
        jobs: Vec<(Taken, Repair)>,
    },
    /// Nothing that anybody waits for.
    Over,
}

impl<G, R, W> Agent<G, R, W>
where
    G: Registrar,
    R: JobRunner<G::Forge, G::Settings>,
    W: Sweeper,
{
    pub(super) fn chore_ended(&mut self, chore: Chore<G::Forge, G::Settings>) {
        match chore {
            Chore::Planned { plan, reply } => self.planned(plan, reply),
            Chore::TokenReplaced => self.reload(None),
            Chore::Listed { open } => {
                let taken = open.into_iter().filter_map(|job| self.take_up(job)).collect();
                self.start_polls();
                self.look_at(taken);
            }
            Chore::LookedAt { jobs } => self.go_on(jobs),
            Chore::Over => {}
        }
    }

    pub(super) fn chore_broke(&mut self, error: &JoinError) {
        if error.is_panic() {
            tracing::error!(%error, "a defect of forgehand ended one of its own tasks");
            self.look_again_in(LOOK_AGAIN);
        }
    }

    /// Compares, after a while, what is owed with what is being done.
    pub(super) fn look_again_in(&mut self, pause: Duration) {
        let journal = self.journal.clone();
        self.chores.spawn(async move {
            tokio::time::sleep(pause).await;
            match journal.open_jobs().await {
                Ok(open) => Chore::Listed { open },
                Err(error) => {
                    tracing::error!(%error, "the journal cannot be read");
                    Chore::Over
                }
            }
        });
    }

    /// Finds out how to go on with these jobs. They are claimed: what is read now stays true.
    pub(super) fn look_at(&mut self, taken: Vec<Taken>) {
        if taken.is_empty() {
            return self.sweep_up();
        }
        let (sweeper, journal) = (self.sweeper.clone(), self.journal.clone());
        self.looks.spawn(async move {
            let mut current = Vec::with_capacity(taken.len());
            for taken in taken {
                // Between the list and the claim the job may have come to its end.
                match journal.open_job(&taken.job.assignment.key).await {
                    Ok(Some(job)) => current.push(Taken { job, ..taken }),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::error!(job_id = %taken.job.assignment.id, %error, "a job cannot be taken up")
                    }
                }
            }
            let open: Vec<OpenJob> = current.iter().map(|taken| taken.job.clone()).collect();
            let found = find(&*sweeper, &open).await;
            Chore::LookedAt { jobs: with_repairs(current, &found) }
        });
        self.sweep_up();
    }

    /// Removes what nobody needs: sandboxes of no job, folders, old rows and logs, what is kept for later jobs.
    pub(super) fn sweep_up(&mut self) {
        let idle = self.idle_token();
        let (sweeper, journal, claims) = (self.sweeper.clone(), self.journal.clone(), self.claims.clone());
        self.chores.spawn(async move {
            if let Err(error) = journal.sweep().await {
                tracing::warn!(%error, "the state directory cannot be swept now");
            }
            // Jobs that nobody can take up at the moment are known all the same. They do not become more.
            let open = match journal.open_jobs().await {
                Ok(open) => open,
                Err(error) => {
                    tracing::warn!(%error, "sandboxes are not swept: the journal cannot be read");
                    return Chore::Over;
                }
            };
            let open: Vec<JobKey> = open.into_iter().map(|job| job.assignment.key).collect();
            let known = move || claims.keys().into_iter().chain(open.iter().cloned()).collect();
            if let Err(error) = sweeper.sweep(&known).await {
                tracing::warn!(error, "sandboxes cannot be swept now");
            }
            if let Err(error) = sweeper.tidy(&idle).await {
                tracing::warn!(error, "what is kept for later jobs cannot be looked after now");
            }
            Chore::Over
        });
    }

    /// Cancelled as soon as a job is here.
    fn idle_token(&mut self) -> CancellationToken {
        if !self.slots.is_empty() || !self.looks.is_empty() {
            self.idle.cancel();
        } else if self.idle.is_cancelled() {
            self.idle = CancellationToken::new();
        }
        self.idle.clone()
    }

    /// A job whose slot broke fails, loudly; then it is looked at like any other.
    pub(super) fn fail_broken(&mut self, key: JobKey) {
        let page = self.journal.job(&key);
        let journal = self.journal.clone();
        self.looks.spawn(async move {
            let failure = JobFailure::system("a defect of the runner ended the job; its log says more");
            if let Err(error) = page.set_outcome(&JobOutcome::Failed(failure)).await {
                tracing::debug!(job_key = %key, %error, "the job had its outcome already");
            }
            match journal.open_job(&key).await {
                Ok(open) => Chore::Listed { open: open.into_iter().collect() },
                Err(error) => {
                    tracing::error!(job_key = %key, %error, "the journal cannot be read");
                    Chore::Over
                }
            }
        });
    }

    /// A job whose registration is gone from the configuration: nobody can speak to its forge. It waits for the
    /// registration to come back, but not for ever.
    pub(super) fn leave_or_give_up(&mut self, job: &OpenJob, claim: Claim) {
        let waited = (self.clock)().as_second().saturating_sub(job.accepted_at.as_second());
        let registration = &job.registration;
        if waited < ORPHANS_WAIT.as_secs() as i64 {
            tracing::warn!(
                job_id = %job.assignment.id,
                registration,
                "a job cannot be taken up again: its registration is gone from the configuration"
            );
            return;
        }
        tracing::error!(job_id = %job.assignment.id, registration, "a job is given up: its registration did not come back");
        let page = self.journal.job(&job.assignment.key);
        let failure = JobFailure::system("the registration that the job came through was removed");
        self.looks.spawn(async move {
            if let Err(error) = page.set_outcome(&JobOutcome::Failed(failure)).await {
                tracing::debug!(%error, "the job had its outcome already");
            }
            if let Err(error) = page.close().await {
                tracing::error!(%error, "a job cannot be given up");
            }
            drop(claim);
            Chore::Over
        });
    }
}

/// What is there. Where the engine cannot be asked, everything is assumed to be: the jobs look for themselves.
async fn find<W: Sweeper>(sweeper: &W, open: &[OpenJob]) -> Vec<Found> {
    let error = match tokio::time::timeout(LOOK_WITHIN, sweeper.find(open)).await {
        Ok(Ok(found)) => return found,
        Ok(Err(error)) => error,
        Err(_late) => format!("no answer within {} s", LOOK_WITHIN.as_secs()),
    };
    tracing::warn!(error, "it cannot be seen which sandboxes are there; jobs look for their own");
    open.iter().map(|job| Found { job: job.assignment.key.clone(), shim: ShimState::Unknown }).collect()
}

fn with_repairs(taken: Vec<Taken>, found: &[Found]) -> Vec<(Taken, Repair)> {
    let owed: Vec<Owed> = taken.iter().map(|taken| Owed::of(&taken.job)).collect();
    // Without /proc no boot can be told from another: what is found decides.
    let boot = crate::state::boot_id().unwrap_or_default();
    let mut repairs = recovery::repairs(&owed, found, &boot);
    let mut jobs = Vec::with_capacity(taken.len());
    for taken in taken {
        let is_its_own =
            |repair: &Repair| repair.job() == &taken.job.assignment.key && !matches!(repair, Repair::Remove { .. });
        if let Some(at) = repairs.iter().position(is_its_own) {
            jobs.push((taken, repairs.swap_remove(at)));
        }
    }
    jobs
}
