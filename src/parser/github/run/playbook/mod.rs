//! The jobs of one run: which exist, which may start, what became of them.
//!
//! A run is a tree of *flows*: the workflow itself and, for each job that calls another workflow, that one. A flow has jobs, a job has
//! *members*: legs, or called flows, one for each combination of its matrix. What ends is told upwards: member, job, flow, the
//! member that called it; what a job's end makes ready goes into one queue, so that nothing recurses deeper than calls are nested.
//!
//! - [`state`]: what is remembered. [`naming`]: what jobs are called. [`decide`]: whether a job runs, and as what. [`advance`]: what follows from an end.

mod advance;
mod decide;
mod naming;
mod state;

use std::collections::VecDeque;
use std::sync::Arc;

use super::concurrency::Groups;
use super::{Conclusion, Leg, LegId, Move, NeverRan, Place, Program, Trouble};
use crate::parser::github::contexts::Run;
use crate::parser::github::workflow::model::Workflow;
use crate::pipeline::definition::JobGroup;
pub use naming::Naming;
pub(super) use state::JobId;
use state::{Flow, FlowId, LegState, Member};

/// The jobs of one run.
pub struct Playbook {
    run: Arc<Run>,
    flows: Vec<Flow>,
    legs: Vec<LegState>,
    groups: Groups<Member>,
    naming: Naming,
    /// Jobs of a rehearsal that cannot be made.
    troubles: Vec<Trouble>,
    /// Jobs all of whose needs have ended.
    ready: VecDeque<JobId>,
    moves: Vec<Move>,
    /// Why the run is not wanted any more.
    cancelled: Option<String>,
    /// Nothing is executed: what only a run can tell is taken to be well.
    is_rehearsal: bool,
}

impl Playbook {
    /// A run that begins.
    pub fn new(run: Arc<Run>) -> Self {
        Self::with(run, false)
    }

    /// A run in which nothing is executed: conditions that ask for the results of jobs hold, a matrix that comes from outputs is not expanded.
    pub(super) fn rehearsal(run: Arc<Run>) -> Self {
        Self::with(run, true)
    }

    /// The same with names that a rehearsal gave: whose end comes first must not decide who is called what.
    #[must_use]
    pub fn named(mut self, naming: Naming) -> Self {
        self.naming = naming;
        self
    }

    /// The names and what could not be made, of a rehearsal that is over.
    pub(super) fn into_findings(self) -> (Naming, Vec<Trouble>) {
        (self.naming, self.troubles)
    }

    fn with(run: Arc<Run>, is_rehearsal: bool) -> Self {
        let root = Flow::root(&run);
        Self {
            run,
            legs: Vec::with_capacity(root.jobs.len()),
            naming: Naming::with_capacity(root.jobs.len()),
            flows: vec![root],
            groups: Groups::default(),
            troubles: Vec::new(),
            ready: VecDeque::new(),
            moves: Vec::new(),
            cancelled: None,
            is_rehearsal,
        }
    }

    /// The workflow's name as the forge shows it.
    pub fn name(&self) -> &str {
        self.run.workflow_name()
    }

    /// The workflow that runs.
    pub fn workflow(&self) -> &Workflow {
        &self.run.root_scope().workflow
    }

    /// The refs that caches of the run belong to: its own, then those where it may look, too.
    pub fn cache_scopes(&self) -> (String, Vec<String>) {
        self.run.cache_scopes()
    }

    /// Begins.
    pub fn start(&mut self) -> Vec<Move> {
        self.enter(FlowId(0));
        self.settle()
    }

    /// A leg that was started has ended, or could not be started.
    pub fn ended(&mut self, leg: LegId, end: super::LegEnd) -> Vec<Move> {
        self.leg_ended(leg, end);
        self.settle()
    }

    /// The run is not wanted any more: what runs is ended but for jobs whose condition still holds, what has not begun never will.
    pub fn cancel(&mut self, reason: &str) -> Vec<Move> {
        if self.cancelled.is_none() && !self.is_over() {
            self.cancelled = Some(reason.to_owned());
            self.cancel_all();
        }
        self.settle()
    }

    /// Whether all jobs have ended.
    pub fn is_over(&self) -> bool {
        self.flows.first().is_none_or(|root| root.left == 0)
    }

    /// What has become of the run: `Failure` if a job failed that may not, `Cancelled` if one was cancelled, else `Success`.
    pub fn conclusion(&self) -> Conclusion {
        let results =
            self.flows.first().map(|root| root.jobs.iter().filter_map(|job| job.result)).into_iter().flatten();
        match state::worst(results) {
            Conclusion::Skipped => Conclusion::Success,
            worst => worst,
        }
    }

    /// A leg that was started.
    pub fn leg(&self, id: LegId) -> Option<&Leg> {
        self.state(id).map(|state| &state.leg)
    }

    /// A leg that is over, of which nothing will be asked but its name.
    pub(super) fn take_leg(&mut self, id: LegId) -> Option<Leg> {
        let state = self.legs.get_mut(id.0 as usize)?;
        let rest = Leg::unknown(id, state.leg.name.clone(), Vec::new(), state.leg.span);
        Some(std::mem::replace(&mut state.leg, rest))
    }

    /// The steps of a leg, for whoever runs it at `place`.
    pub fn program(&self, id: LegId, place: Place) -> Option<Program> {
        let state = self.state(id)?;
        Some(Program::new(state.scene.clone()?, place))
    }

    /// The matrix that a leg belongs to.
    pub(super) fn group_of(&self, id: LegId) -> Option<(JobId, JobGroup)> {
        let id = self.state(id)?.job;
        let job = self.job(id)?;
        let max_parallel = (job.max_parallel < job.members.len()).then_some(job.max_parallel);
        Some((id, JobGroup { name: job.name.clone(), fail_fast: job.fail_fast, max_parallel }))
    }

    /// Whether a condition is written on a leg's job.
    pub(super) fn has_condition(&self, id: LegId) -> bool {
        self.state(id).is_some_and(|state| state.has_condition)
    }

    fn state(&self, id: LegId) -> Option<&LegState> {
        self.legs.get(id.0 as usize)
    }

    /// Decides on all jobs that are ready; what the scheduler is to do.
    fn settle(&mut self) -> Vec<Move> {
        while let Some(job) = self.ready.pop_front() {
            self.decide(job);
        }
        std::mem::take(&mut self.moves)
    }

    /// Plays the whole run, in which each leg succeeds as soon as it starts: `over` gets those legs, `never` what is known never to
    /// run. One job after the other, so that what is made of a job is still at hand when it is over.
    pub(super) fn rehearse(&mut self, mut over: impl FnMut(&mut Self, LegId), mut never: impl FnMut(NeverRan)) {
        self.enter(FlowId(0));
        let mut moves = VecDeque::new();
        loop {
            moves.extend(self.moves.drain(..));
            match moves.pop_front() {
                Some(Move::Start(leg)) => {
                    self.leg_ended(leg, super::LegEnd::without_steps(Conclusion::Success));
                    over(self, leg);
                }
                Some(Move::Never(job)) => never(job),
                Some(Move::Cancel { .. }) => {}
                None => match self.ready.pop_front() {
                    Some(job) => self.decide(job),
                    None => return,
                },
            }
        }
    }
}
