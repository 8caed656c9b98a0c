//! Jobs on their way through slots.

use std::sync::Arc;

use tokio::task::{Id, JoinError};

use super::chores::Taken;
use super::{Agent, LOOK_AGAIN};
use crate::agent::claims::Claim;
use crate::agent::poll::Assigned;
use crate::agent::seat::{Place, Seat};
use crate::agent::{JobRunner, JobWork, Registrar, Registration, Repair, SlotEnded, Sweeper};
use crate::state::OpenJob;

impl<G, R, W> Agent<G, R, W>
where
    G: Registrar,
    R: JobRunner<G::Forge, G::Settings>,
    W: Sweeper,
{
    pub(super) fn seat(&mut self, job: Assigned<G::Forge, G::Settings>) {
        self.idle.cancel();
        let what = (job.work.key().clone(), job.registration.name.clone());
        let seat = self.make_seat(job.registration, job.claim);
        let task = self.slots.spawn(seat.run(job.work, Place::Queued(job.ticket)));
        self.slot_tasks.insert(task.id(), what);
    }

    fn make_seat(
        &self,
        registration: Arc<Registration<G::Forge, G::Settings>>,
        claim: Claim,
    ) -> Seat<G::Forge, G::Settings, R> {
        Seat {
            registration,
            runner: self.runner.clone(),
            journal: self.journal.clone(),
            board: self.board.clone(),
            numbers: self.numbers.clone(),
            cancel: self.cancel.clone(),
            drain: self.drain.clone(),
            claim,
        }
    }

    pub(super) fn slot_ended(&mut self, ended: Result<(Id, SlotEnded), JoinError>) {
        match ended {
            Ok((id, ended)) => {
                let Some((key, registration)) = self.slot_tasks.remove(&id) else { return };
                if let SlotEnded::Open { why } = ended {
                    tracing::error!(job_key = %key, why, "a job could not be brought to its end; it is tried again");
                    self.look_again_in(LOOK_AGAIN);
                }
                if let Some(served) = self.served.get(&registration) {
                    served.pulse.job_has_ended();
                }
            }
            Err(error) => {
                let Some((key, _)) = self.slot_tasks.remove(&error.id()) else { return };
                if !error.is_cancelled() {
                    tracing::error!(job_key = %key, %error, "a defect of forgehand ended a job");
                    self.board.remove_job(&key);
                    self.fail_broken(key);
                }
            }
        }
    }

    /// The slots and numbers of a job that is taken up, and the right to work on it; `None` when somebody does, or
    /// nobody can.
    pub(super) fn take_up(&mut self, job: OpenJob) -> Option<Taken> {
        let claim = self.claims.take(&job.assignment.key)?;
        if !self.served.contains_key(&job.registration) {
            self.leave_or_give_up(&job, claim);
            return None;
        }
        let numbers = job.facts.as_ref().map(|facts| {
            let numbers = [facts.concurrent_id, facts.concurrent_project_id];
            self.numbers.restore(&job.registration, &job.assignment.owner.project, numbers)
        });
        let slot = self.capacity.occupy(&job.registration);
        Some(Taken { claim, place: Place::Kept(slot, numbers), job })
    }

    /// Starts the jobs that were looked at.
    pub(super) fn go_on(&mut self, jobs: Vec<(Taken, Repair)>) {
        for (taken, repair) in jobs {
            let Some(served) = self.served.get(&taken.job.registration) else { continue };
            self.idle.cancel();
            let what = (taken.job.assignment.key.clone(), taken.job.registration.clone());
            tracing::info!(job_id = %taken.job.assignment.id, ?repair, "a job is taken up again");
            let seat = self.make_seat(served.registration.clone(), taken.claim);
            let work = JobWork::Recovered { open_job: Box::new(taken.job), repair };
            let task = self.slots.spawn(seat.run(work, taken.place));
            self.slot_tasks.insert(task.id(), what);
        }
    }
}
