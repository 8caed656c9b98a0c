//! What a playbook remembers.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use smol_str::{SmolStr, StrExt as _};

use super::super::{Conclusion, Leg, LegId};
use crate::parser::expression::Value;
use crate::parser::github::contexts::{JobScene, Run, Scope};

/// A flow: a workflow with what it was called with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::parser::github::run) struct FlowId(pub usize);

/// A job of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::parser::github::run) struct JobId {
    pub flow: FlowId,
    pub at: usize,
}

/// What a job consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Member {
    Leg(LegId),
    Call(FlowId),
}

pub(super) struct Flow {
    pub scope: Arc<Scope>,
    /// The job that called it.
    pub caller: Option<JobId>,
    pub jobs: Vec<JobState>,
    /// The places of its jobs by their keys in lower case.
    pub index: HashMap<SmolStr, usize>,
    /// Jobs that have not ended.
    pub left: usize,
    /// Its first jobs were made ready.
    pub has_begun: bool,
    /// Why it is not wanted any more.
    pub cancelled: Option<String>,
}

#[derive(Default)]
pub(super) struct JobState {
    pub needs: Vec<usize>,
    pub dependents: Vec<usize>,
    /// Needs that have not ended.
    pub waits_for: usize,
    /// The name the forge shows, without its legs.
    pub name: String,
    pub members: Vec<Member>,
    /// Members that may start when there is room.
    pub pending: VecDeque<Member>,
    pub running: usize,
    pub over: usize,
    pub fail_fast: bool,
    pub max_parallel: usize,
    /// What became of each member that is over, after `continue-on-error`.
    pub results: Vec<Conclusion>,
    pub outputs: Vec<(String, String)>,
    /// What became of it, once it is over.
    pub result: Option<Conclusion>,
    /// The same as those see it that need it: its key, its result and its outputs. Made once for all of them.
    pub shown: Option<(Arc<str>, Value)>,
    /// All jobs before it, and theirs, were successes.
    pub chain_succeeded: bool,
    /// One of them failed.
    pub chain_failed: bool,
}

pub(super) struct LegState {
    pub leg: Leg,
    pub job: JobId,
    /// What its steps are evaluated with; a rehearsal has no use for it.
    pub scene: Option<Arc<JobScene>>,
    /// Whether a condition is written on its job.
    pub has_condition: bool,
    pub phase: Phase,
}

/// Where a leg stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waits for room or for its concurrency group.
    Waiting,
    /// The scheduler has it.
    Started,
    /// The scheduler has it and was told to end it.
    Ending,
    Over,
}

impl Flow {
    pub fn root(run: &Arc<Run>) -> Self {
        Self::new(Arc::clone(run.root_scope()), None)
    }

    pub fn new(scope: Arc<Scope>, caller: Option<JobId>) -> Self {
        let keys = scope.workflow.jobs.iter().enumerate();
        let index = keys.map(|(at, job)| (job.key().to_lowercase_smolstr(), at)).collect();
        let jobs = links(&scope, &index);
        Self { left: jobs.len(), scope, caller, jobs, index, has_begun: false, cancelled: None }
    }
}

/// The jobs of a workflow with who needs whom. What is unknown or the job itself was refused when the workflow was checked.
fn links(scope: &Scope, index: &HashMap<SmolStr, usize>) -> Vec<JobState> {
    let jobs = &scope.workflow.jobs;
    let mut states: Vec<JobState> =
        jobs.iter().map(|_| JobState { chain_succeeded: true, ..JobState::default() }).collect();
    for (at, job) in jobs.iter().enumerate() {
        let mut needs: Vec<usize> = Vec::new();
        for name in job.needs() {
            match index.get(lower(name).as_ref()) {
                Some(need) if *need != at && !needs.contains(need) => needs.push(*need),
                _ => {}
            }
        }
        for need in &needs {
            if let Some(state) = states.get_mut(*need) {
                state.dependents.push(at);
            }
        }
        if let Some(state) = states.get_mut(at) {
            state.waits_for = needs.len();
            state.needs = needs;
        }
    }
    states
}

/// In lower case, copied only where it is not.
fn lower(id: &str) -> Cow<'_, str> {
    let is_lower = id.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    if is_lower { Cow::Borrowed(id) } else { Cow::Owned(id.to_lowercase()) }
}

/// The result of many: a failure before a cancellation before a success; skipped where all are.
pub(super) fn worst(results: impl Iterator<Item = Conclusion>) -> Conclusion {
    let rank = |conclusion: &Conclusion| match conclusion {
        Conclusion::Skipped => 0,
        Conclusion::Success => 1,
        Conclusion::Cancelled => 2,
        Conclusion::Failure => 3,
    };
    results.max_by_key(rank).unwrap_or(Conclusion::Skipped)
}
