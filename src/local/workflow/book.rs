//! The jobs of a workflow run, for the loop that runs pipelines.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::job::{WorkflowJob, published};
use super::steps::WorkflowSteps;
use crate::executor::pipeline::playbook::{Action, Ended, JobEnd as _, LegId, Playbook, Task};
use crate::local::worker::{JobSteps, LocalEnd, LocalJob, LocalWork};
use crate::parser::github::run::{self as rules, Conclusion, LegEnd, Move, Place};
use crate::parser::github::workflow::model::Workflow;
use crate::pipeline::schedule::PipelineEnd;
use crate::pipeline::{JobOutcome, JobStatus};

/// What all jobs of a run have in common.
#[derive(Clone, Debug)]
pub struct Common {
    /// The project's path, `owner/name`.
    pub project_path: String,
    /// The project's number.
    pub project: u32,
}

/// The jobs of a run.
pub struct WorkflowBook {
    book: rules::Playbook,
    common: Common,
    /// The steps of jobs that were started.
    steps: HashMap<rules::LegId, Arc<Mutex<WorkflowSteps>>>,
}

impl WorkflowBook {
    /// Nothing has begun.
    pub fn new(book: rules::Playbook, common: Common) -> Self {
        Self { book, common, steps: HashMap::new() }
    }

    /// The refs that caches of the run belong to: its own, then those where it may look, too.
    pub fn cache_scopes(&self) -> (String, Vec<String>) {
        self.book.cache_scopes()
    }

    /// The workflow that runs.
    pub(super) fn workflow(&self) -> &Workflow {
        self.book.workflow()
    }

    fn actions(&mut self, moves: Vec<Move>) -> Vec<Action<LocalJob>> {
        moves.into_iter().filter_map(|next| self.action(next)).collect()
    }

    fn action(&mut self, next: Move) -> Option<Action<LocalJob>> {
        Some(match next {
            Move::Start(id) => {
                let leg = self.book.leg(id)?.clone();
                let program = self.book.program(id, Place::default())?;
                let services =
                    leg.services.iter().map(|(name, container)| (name.clone(), published(container))).collect();
                let steps = Arc::new(Mutex::new(WorkflowSteps::new(program, services)));
                self.steps.insert(id, Arc::clone(&steps));
                Action::Start(Task {
                    leg: LegId(id.0),
                    name: leg.name.clone(),
                    attempt: 1,
                    job: LocalJob {
                        id: usize::try_from(id.0).unwrap_or_default() + 1,
                        project_path: self.common.project_path.clone(),
                        project: self.common.project,
                        remarks: Vec::new(),
                        work: LocalWork::Steps(JobSteps::Workflow(Box::new(WorkflowJob { leg, steps }))),
                    },
                })
            }
            Move::Never(never) => {
                let status = status(never.conclusion);
                Action::Never { name: never.name, status, reason: never.reason }
            }
            Move::Cancel { leg, reason } => Action::Cancel { leg: LegId(leg.0), reason },
        })
    }
}

impl Playbook for WorkflowBook {
    type Job = LocalJob;
    type End = LocalEnd;

    fn start(&mut self) -> Vec<Action<LocalJob>> {
        let moves = self.book.start();
        self.actions(moves)
    }

    fn ended(&mut self, leg: LegId, end: LocalEnd, _dice: f64) -> Ended<LocalJob> {
        let id = rules::LegId(leg.0);
        let of_steps =
            self.steps.remove(&id).and_then(|steps| steps.lock().unwrap_or_else(PoisonError::into_inner).take_end());
        let (of_job, reason) = match end.outcome() {
            JobOutcome::Success => (Conclusion::Success, None),
            JobOutcome::Failed(failure) => (Conclusion::Failure, Some(failure.message.clone())),
            JobOutcome::Cancelled => (Conclusion::Cancelled, Some("it was cancelled".to_owned())),
        };
        let mut end = of_steps.unwrap_or_else(|| LegEnd::without_steps(of_job));
        // Steps that went well do not help a job whose sandbox broke, or that was not wanted any more.
        if end.conclusion == Conclusion::Success {
            end.conclusion = of_job;
        }
        let status = status(end.conclusion);
        let moves = self.book.ended(id, end);
        Ended {
            status: Some(status),
            reason: reason.filter(|_| status != JobStatus::Success),
            actions: self.actions(moves),
        }
    }

    fn due(&mut self, _leg: LegId) -> Vec<Action<LocalJob>> {
        Vec::new()
    }

    fn cancel(&mut self, reason: &str) -> Vec<Action<LocalJob>> {
        let moves = self.book.cancel(reason);
        self.actions(moves)
    }

    fn end(&self) -> PipelineEnd {
        match self.book.conclusion() {
            Conclusion::Success | Conclusion::Skipped => PipelineEnd::Success,
            Conclusion::Failure => PipelineEnd::Failed,
            Conclusion::Cancelled => PipelineEnd::Cancelled,
        }
    }
}

fn status(conclusion: Conclusion) -> JobStatus {
    match conclusion {
        Conclusion::Success => JobStatus::Success,
        Conclusion::Failure => JobStatus::Failed,
        Conclusion::Cancelled => JobStatus::Cancelled,
        Conclusion::Skipped => JobStatus::Skipped,
    }
}
