//! The playbook of a pipeline whose jobs are all known before it starts.

use super::playbook::{Action, Ended, JobEnd, LegId, Playbook, Task};
use crate::pipeline::schedule::{JobIndex, Move, NeverRan, PipelineEnd, Schedule};
use crate::pipeline::{JobOutcome, JobStatus};

/// What the language says of jobs that it decides on just before they start, and hears of each end.
pub trait Language: Send {
    /// What a worker needs of a job.
    type Job: Send + 'static;
    /// What a worker makes of it.
    type End: JobEnd;

    /// Whether a job with [`StartCondition::Decided`](crate::pipeline::StartCondition::Decided) runs; an error is the reason why not.
    fn decide(&mut self, job: usize, schedule: &Schedule) -> Result<(), String> {
        let _ = (job, schedule);
        Ok(())
    }
    /// The job, made just before it starts.
    fn make(&mut self, job: usize) -> Self::Job;
    /// A try of a job has ended.
    fn hear(&mut self, job: usize, end: &Self::End);
}

/// A [`Schedule`] and the language that its jobs are made by.
pub struct FixedPlaybook<L> {
    schedule: Schedule,
    language: L,
}

impl<L: Language> FixedPlaybook<L> {
    /// Nothing has begun.
    pub fn new(schedule: Schedule, language: L) -> Self {
        Self { schedule, language }
    }

    fn name(&self, job: JobIndex) -> String {
        self.schedule.definition().jobs.get(job.0).map(|job| job.name.clone()).unwrap_or_default()
    }

    fn actions(&mut self, moves: Vec<Move>) -> Vec<Action<L::Job>> {
        let mut actions = Vec::with_capacity(moves.len());
        let mut moves = std::collections::VecDeque::from(moves);
        while let Some(one) = moves.pop_front() {
            match one {
                Move::Start { job, attempt } => actions.push(Action::Start(Task {
                    leg: leg(job),
                    name: self.name(job),
                    attempt,
                    job: self.language.make(job.0),
                })),
                Move::Decide(job) => {
                    let decision = self.language.decide(job.0, &self.schedule);
                    moves.extend(self.schedule.decided(job, decision));
                }
                Move::Wait { job, delay, reason } => {
                    actions.push(Action::Wait { leg: leg(job), delay, name: self.name(job), reason });
                }
                Move::Hold(_) => {}
                Move::Never { job, end, reason } => {
                    let status = match end {
                        NeverRan::Skipped => JobStatus::Skipped,
                        NeverRan::Cancelled => JobStatus::Cancelled,
                    };
                    actions.push(Action::Never { name: self.name(job), status, reason });
                }
                Move::Cancel { job, reason } => actions.push(Action::Cancel { leg: leg(job), reason }),
            }
        }
        actions
    }
}

fn leg(job: JobIndex) -> LegId {
    LegId(u32::try_from(job.0).unwrap_or(u32::MAX))
}

fn job(leg: LegId) -> JobIndex {
    JobIndex(leg.0 as usize)
}

impl<L: Language> Playbook for FixedPlaybook<L> {
    type Job = L::Job;
    type End = L::End;

    fn start(&mut self) -> Vec<Action<L::Job>> {
        let moves = self.schedule.start();
        self.actions(moves)
    }

    fn ended(&mut self, leg: LegId, end: L::End, dice: f64) -> Ended<L::Job> {
        let index = job(leg);
        self.language.hear(index.0, &end);
        let moves = self.schedule.ended(index, end.outcome(), dice);
        let status = self.schedule.status(index).filter(|status| *status != JobStatus::Retry);
        let reason = match end.outcome() {
            JobOutcome::Failed(failure) => Some(failure.message.clone()),
            JobOutcome::Cancelled | JobOutcome::Success => None,
        };
        Ended { status, reason, actions: self.actions(moves) }
    }

    fn due(&mut self, leg: LegId) -> Vec<Action<L::Job>> {
        let moves = self.schedule.due(job(leg));
        self.actions(moves)
    }

    fn cancel(&mut self, reason: &str) -> Vec<Action<L::Job>> {
        let moves = self.schedule.cancel(reason);
        self.actions(moves)
    }

    fn give_up_held(&mut self) -> Vec<Action<L::Job>> {
        let moves = self.schedule.give_up_held();
        self.actions(moves)
    }

    fn end(&self) -> PipelineEnd {
        self.schedule.end()
    }
}
