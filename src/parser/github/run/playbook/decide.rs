//! Whether a job runs, and as what.

use std::sync::{Arc, LazyLock};

use super::super::{Conclusion, Fault, Leg, LegId, Move, NeverRan, Trouble};
use super::Playbook;
use super::advance::Verdict;
use super::state::{Flow, FlowId, JobId, LegState, Member, Phase};
use crate::parser::expression::Value;
use crate::parser::github::contexts::{JobResults, JobScene, Status, Strategy};

/// Calls inside calls, the run's own workflow not counted.
const CALL_DEPTH: usize = 10;

impl Playbook {
    /// All that a job needs has ended: it runs, is skipped, or fails for what is written in it.
    pub(super) fn decide(&mut self, id: JobId) {
        if self.job(id).is_none_or(|job| job.result.is_some() || !job.members.is_empty()) {
            return;
        }
        let scene = self.scene(id);
        let name = scene.plain_name();
        if let Some(job) = self.job_mut(id) {
            job.name.clone_from(&name);
        }
        let strategy = match self.condition_in(id, &scene) {
            Ok(Verdict::Runs) => scene.strategy(),
            Ok(Verdict::Skipped(reason)) => {
                let conclusion =
                    if self.why_cancelled(id.flow).is_some() { Conclusion::Cancelled } else { Conclusion::Skipped };
                return self.job_never(id, &scene, conclusion, reason);
            }
            Err(fault) => Err(fault),
        };
        match strategy {
            Ok(strategy) => self.make_members(id, &scene, &strategy),
            Err(fault) if self.is_rehearsal => {
                let scene = Arc::new(scene.leg(&Strategy::none(), 0));
                self.rehearse_unknown(id, scene, fault);
                self.fill(id);
            }
            Err(fault) => self.job_never(id, &scene, Conclusion::Failure, fault.message),
        }
    }

    fn make_members(&mut self, id: JobId, scene: &JobScene, strategy: &Strategy) {
        let total = strategy.legs.len();
        let mut has_failed = false;
        for at in 0..total {
            let scene = Arc::new(scene.leg(strategy, at));
            let made = if scene.is_call() {
                self.make_call(id, &scene)
            } else {
                scene.to_leg(self.next_leg()).map(|leg| self.add_leg(id, leg, Arc::clone(&scene)))
            };
            match made {
                Ok(member) => self.add_member(id, member),
                Err(fault) if self.is_rehearsal => self.rehearse_unknown(id, scene, fault),
                Err(fault) => {
                    let name = self.naming.give(scene.name(), &scene.path(), scene.index());
                    let (conclusion, reason) = (Conclusion::Failure, fault.message);
                    self.moves.push(Move::Never(NeverRan { name, conclusion, reason }));
                    self.job_mut(id).into_iter().for_each(|job| job.results.push(Conclusion::Failure));
                    has_failed = true;
                }
            }
        }
        if let Some(job) = self.job_mut(id) {
            job.fail_fast = strategy.fail_fast;
            job.max_parallel = strategy.max_parallel.unwrap_or(total).max(1);
        }
        if self.job(id).is_some_and(|job| job.members.is_empty()) {
            let result = if has_failed { Conclusion::Failure } else { Conclusion::Skipped };
            return self.job_over(id, result);
        }
        self.fill(id);
    }

    /// A job that cannot be made stands in a plan all the same: on the forge it is a job of the run too.
    fn rehearse_unknown(&mut self, id: JobId, scene: Arc<JobScene>, fault: Fault) {
        let member = self.add_leg(id, scene.to_unknown_leg(self.next_leg()), scene);
        let leg = self.legs.last().map(|state| &state.leg);
        let trouble = leg.map(|leg| Trouble { job: leg.name.clone(), span: leg.span, fault });
        self.troubles.extend(trouble);
        self.add_member(id, member);
        if let Some(job) = self.job_mut(id) {
            job.max_parallel = job.max_parallel.max(1);
        }
    }

    fn next_leg(&self) -> LegId {
        LegId(u32::try_from(self.legs.len()).unwrap_or(u32::MAX))
    }

    fn add_leg(&mut self, id: JobId, mut leg: Leg, scene: Arc<JobScene>) -> Member {
        let shown = std::mem::take(&mut leg.name);
        leg.name = self.naming.give(shown, &leg.path, scene.index());
        leg.needs = self.shown_needs(id);
        let member = Member::Leg(leg.id);
        let has_condition = scene.condition_text().is_some();
        let scene = Some(scene).filter(|_| !self.is_rehearsal);
        self.legs.push(LegState { leg, job: id, scene, has_condition, phase: Phase::Waiting });
        member
    }

    fn add_member(&mut self, id: JobId, member: Member) {
        if let Some(job) = self.job_mut(id) {
            job.members.push(member);
            job.pending.push_back(member);
        }
    }

    fn make_call(&mut self, id: JobId, scene: &Arc<JobScene>) -> Result<Member, Fault> {
        if self.depth(id.flow) >= CALL_DEPTH {
            return Err(format!("workflows call each other more than {CALL_DEPTH} levels deep").into());
        }
        let scope = scene.called()?;
        let flow = FlowId(self.flows.len());
        self.flows.push(Flow::new(Arc::new(scope), Some(id)));
        Ok(Member::Call(flow))
    }

    fn depth(&self, flow: FlowId) -> usize {
        let mut depth = 0;
        let mut at = self.flows.get(flow.0).and_then(|flow| flow.caller);
        while let Some(caller) = at {
            depth += 1;
            at = self.flows.get(caller.flow.0).and_then(|flow| flow.caller);
        }
        depth
    }

    /// The names, as shown, of what a job waited for; in a called workflow that of its caller where the job itself waits for nobody.
    fn shown_needs(&self, id: JobId) -> Vec<String> {
        let Some(flow) = self.flows.get(id.flow.0) else { return Vec::new() };
        let Some(job) = flow.jobs.get(id.at) else { return Vec::new() };
        if job.needs.is_empty() {
            return flow.caller.map(|caller| self.shown_needs(caller)).unwrap_or_default();
        }
        let mut names = Vec::with_capacity(job.needs.len());
        for need in &job.needs {
            self.leg_names(JobId { flow: id.flow, at: *need }, &mut names);
        }
        names
    }

    /// The names of all legs of a job, those of called workflows too.
    fn leg_names(&self, id: JobId, names: &mut Vec<String>) {
        for member in self.job(id).map(|job| job.members.as_slice()).unwrap_or_default() {
            match member {
                Member::Leg(leg) => names.extend(self.leg(*leg).map(|leg| leg.name.clone())),
                Member::Call(flow) => {
                    let count = self.flows.get(flow.0).map_or(0, |flow| flow.jobs.len());
                    (0..count).for_each(|at| self.leg_names(JobId { flow: *flow, at }, names));
                }
            }
        }
    }

    fn job_never(&mut self, id: JobId, scene: &JobScene, conclusion: Conclusion, reason: String) {
        let shown = self.job(id).map(|job| job.name.clone()).unwrap_or_default();
        let name = self.naming.give(shown, &scene.path(), None);
        self.moves.push(Move::Never(NeverRan { name, conclusion, reason }));
        self.job_over(id, conclusion);
    }

    /// Whether the condition of a job holds.
    pub(super) fn condition(&self, id: JobId) -> Result<Verdict, Fault> {
        self.condition_in(id, &self.scene(id))
    }

    fn condition_in(&self, id: JobId, scene: &JobScene) -> Result<Verdict, Fault> {
        let (Some(flow), Some(job)) = (self.flows.get(id.flow.0), self.job(id)) else {
            return Ok(Verdict::Skipped(String::new()));
        };
        let cancelled = self.why_cancelled(id.flow);
        let status = match (cancelled.is_some(), job.chain_failed, job.chain_succeeded) {
            (true, ..) => Status::CANCELLED,
            (false, failed, succeeded) => Status { success: succeeded, failure: failed, cancelled: false },
        };
        let holds = match scene.condition().filter(|_| scene.condition_text().is_some()) {
            // Nothing is written: `success()`.
            None => status.success,
            Some(condition) => {
                let names = scene.condition_names().status(status).results(flow);
                names.condition(condition).map_err(|problem| scene.fault_of_condition(&problem))?
            }
        };
        if holds || (self.is_rehearsal && scene.asks_for_results()) {
            return Ok(Verdict::Runs);
        }
        Ok(Verdict::Skipped(self.why_skipped(id, scene, cancelled)))
    }

    fn why_skipped(&self, id: JobId, scene: &JobScene, cancelled: Option<&str>) -> String {
        if let Some(reason) = cancelled {
            return reason.to_owned();
        }
        let needs = self.job(id).map(|job| job.needs.as_slice()).unwrap_or_default();
        let result = |at: usize| self.job(JobId { flow: id.flow, at }).and_then(|job| job.result);
        let bad = needs.iter().find(|at| result(**at) != Some(Conclusion::Success));
        let keys = |at: usize| {
            self.flows.get(id.flow.0).and_then(|flow| flow.scope.workflow.jobs.get(at)).map(|job| job.key())
        };
        let blame = bad.and_then(|at| Some((keys(*at)?, result(*at)?)));
        match (scene.condition_text(), blame) {
            (None, Some((need, result))) => format!("it needs `{need}`, which {}", told(result)),
            (None, None) => "a job before those that it needs did not succeed".to_owned(),
            (Some(text), Some((need, result))) if self.job(id).is_some_and(|job| !job.chain_succeeded) => {
                format!("its condition `{text}` does not hold; it needs `{need}`, which {}", told(result))
            }
            (Some(text), _) => format!("its condition `{text}` does not hold"),
        }
    }

    /// Why a flow is not wanted any more, itself or one around it.
    pub(super) fn why_cancelled(&self, flow: FlowId) -> Option<&str> {
        let mut at = Some(flow);
        while let Some(flow) = at.and_then(|at| self.flows.get(at.0)) {
            if let Some(reason) = &flow.cancelled {
                return Some(reason);
            }
            at = flow.caller.map(|caller| caller.flow);
        }
        self.cancelled.as_deref()
    }

    /// What a job sees before it is decided: its needs among it.
    fn scene(&self, id: JobId) -> JobScene {
        let needs = self.needs(id);
        let scope =
            self.flows.get(id.flow.0).map_or_else(|| Arc::clone(self.run.root_scope()), |flow| flow.scope.clone());
        JobScene::new(Arc::clone(&self.run), scope, id.at, needs, self.is_rehearsal)
    }

    /// The `needs` context: the jobs that it names itself.
    fn needs(&self, id: JobId) -> Value {
        let Some(flow) = self.flows.get(id.flow.0) else { return Value::Null };
        let needs = flow.jobs.get(id.at).map(|job| job.needs.as_slice()).unwrap_or_default();
        if needs.is_empty() {
            return Value::object::<Arc<str>>([]);
        }
        Value::object(needs.iter().filter_map(|at| flow.jobs.get(*at)?.shown.clone()))
    }

    /// The outputs of a called workflow.
    pub(super) fn call_outputs(&self, id: FlowId) -> Result<Vec<(String, String)>, String> {
        let Some(flow) = self.flows.get(id.0) else { return Ok(Vec::new()) };
        let outputs = flow.scope.call_outputs();
        let jobs = flow.scope.workflow.jobs.iter().zip(&flow.jobs);
        let jobs =
            Value::object(jobs.map(|(job, state)| (job.key().to_owned(), result_value(state.result, &state.outputs))));
        let names = self.run.names(&flow.scope).with("jobs", jobs);
        let pairs = outputs.map(|(key, value)| names.text(value).map(|value| (key.to_owned(), value)));
        let pairs: Result<Vec<_>, String> = pairs.collect();
        pairs.map_err(|problem| format!("the outputs of the called workflow cannot be evaluated: {problem}"))
    }
}

impl JobResults for Flow {
    fn of(&self, key: &str) -> Option<Conclusion> {
        self.jobs.get(*self.index.get(key.to_lowercase().as_str())?)?.result
    }
}

/// What most jobs come to that have outputs for nobody.
static SUCCEEDED: LazyLock<Value> = LazyLock::new(|| made_value(Some(Conclusion::Success), &[]));

/// The result and the outputs of a job as others see them.
pub(super) fn result_value(result: Option<Conclusion>, outputs: &[(String, String)]) -> Value {
    match (result, outputs) {
        (Some(Conclusion::Success), []) => SUCCEEDED.clone(),
        _ => made_value(result, outputs),
    }
}

fn made_value(result: Option<Conclusion>, outputs: &[(String, String)]) -> Value {
    let outputs = outputs.iter().map(|(key, value)| (key.as_str(), Value::text(value.as_str())));
    Value::object([("result", Value::text(result.map_or("", Conclusion::as_str))), ("outputs", Value::object(outputs))])
}

fn told(result: Conclusion) -> &'static str {
    match result {
        Conclusion::Success => "succeeded",
        Conclusion::Failure => "failed",
        Conclusion::Cancelled => "was cancelled",
        Conclusion::Skipped => "was skipped",
    }
}
