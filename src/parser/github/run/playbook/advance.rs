//! What follows when something ends.

use std::sync::Arc;

use super::super::concurrency::Admission;
use super::super::{Conclusion, LegEnd, LegId, Move, NeverRan};
use super::Playbook;
use super::decide::result_value;
use super::state::{FlowId, JobId, JobState, Member, Phase, worst};

impl Playbook {
    /// Makes the jobs of a flow ready that need nobody.
    pub(super) fn enter(&mut self, flow: FlowId) {
        let Some(state) = self.flows.get_mut(flow.0) else { return };
        state.has_begun = true;
        if state.jobs.is_empty() {
            self.flow_over(flow);
            return;
        }
        let free = state.jobs.iter().enumerate().filter(|(_, job)| job.waits_for == 0);
        self.ready.extend(free.map(|(at, _)| JobId { flow, at }));
    }

    pub(super) fn job(&self, id: JobId) -> Option<&JobState> {
        self.flows.get(id.flow.0)?.jobs.get(id.at)
    }

    pub(super) fn job_mut(&mut self, id: JobId) -> Option<&mut JobState> {
        self.flows.get_mut(id.flow.0)?.jobs.get_mut(id.at)
    }

    /// Starts members of a job as far as `max-parallel` allows.
    pub(super) fn fill(&mut self, id: JobId) {
        loop {
            let Some(job) = self.job_mut(id) else { return };
            if job.running >= job.max_parallel {
                return;
            }
            let Some(member) = job.pending.pop_front() else { return };
            job.running += 1;
            self.admit(member);
        }
    }

    /// Starts a member, or lets it wait for its concurrency group.
    fn admit(&mut self, member: Member) {
        let concurrency = match member {
            Member::Leg(leg) => self.state(leg).and_then(|state| state.leg.concurrency.clone()),
            Member::Call(flow) => self.flows.get(flow.0).and_then(|flow| flow.scope.concurrency.clone()),
        };
        let Some(concurrency) = concurrency.filter(|_| !self.is_rehearsal) else { return self.go(member) };
        if self.is_held_by_caller(member, &concurrency.group) {
            let group = &concurrency.group;
            let reason = format!("it is in the concurrency group `{group}` of the very run or job that waits for it");
            return self.never(member, Conclusion::Cancelled, &reason);
        }
        match self.groups.ask(&concurrency, member) {
            Admission::Go => self.go(member),
            Admission::Full => {
                let group = &concurrency.group;
                let reason = format!("as many jobs as may wait in the concurrency group `{group}` wait already");
                self.never(member, Conclusion::Cancelled, &reason);
            }
            Admission::Wait { cancel, superseded } => {
                let reason = format!("a newer job of the concurrency group `{}` takes its place", concurrency.group);
                if let Some(superseded) = superseded {
                    self.never(superseded, Conclusion::Cancelled, &reason);
                }
                if let Some(running) = cancel {
                    self.stop(running, &reason);
                }
            }
        }
    }

    /// Whether the group is that of the run itself or of a call that this member is part of: it would wait for ever.
    fn is_held_by_caller(&self, member: Member, group: &str) -> bool {
        if self.run.concurrency().is_some_and(|own| own.group.eq_ignore_ascii_case(group)) {
            return true;
        }
        let Some(holder) = self.groups.running(group) else { return false };
        let mut at = self.job_of(member).map(|job| job.flow);
        while let Some(flow) = at {
            if holder == Member::Call(flow) && member != holder {
                return true;
            }
            at = self.flows.get(flow.0).and_then(|flow| flow.caller).map(|caller| caller.flow);
        }
        false
    }

    fn job_of(&self, member: Member) -> Option<JobId> {
        match member {
            Member::Leg(leg) => self.state(leg).map(|state| state.job),
            Member::Call(flow) => self.flows.get(flow.0)?.caller,
        }
    }

    fn go(&mut self, member: Member) {
        match member {
            Member::Leg(leg) => {
                if let Some(state) = self.legs.get_mut(leg.0 as usize) {
                    state.phase = Phase::Started;
                    self.moves.push(Move::Start(leg));
                }
            }
            Member::Call(flow) => self.enter(flow),
        }
    }

    /// A member ends that never began.
    fn never(&mut self, member: Member, conclusion: Conclusion, reason: &str) {
        match member {
            Member::Leg(leg) => {
                let Some(state) = self.legs.get_mut(leg.0 as usize).filter(|state| state.phase == Phase::Waiting)
                else {
                    return;
                };
                let name = state.leg.name.clone();
                self.moves.push(Move::Never(NeverRan { name, conclusion, reason: reason.to_owned() }));
                self.leg_ended(leg, LegEnd::without_steps(conclusion));
            }
            Member::Call(flow) => {
                let Some(state) = self.flows.get_mut(flow.0).filter(|state| state.left > 0) else { return };
                state.left = 0;
                let name = self.naming.give(state.scope.name.clone(), &state.scope.path, None);
                self.moves.push(Move::Never(NeverRan { name, conclusion, reason: reason.to_owned() }));
                self.member_over(Member::Call(flow), conclusion, Vec::new());
            }
        }
    }

    /// A member is to end: what runs of it is cancelled, what waits never runs.
    fn stop(&mut self, member: Member, reason: &str) {
        match member {
            Member::Leg(leg) => match self.state(leg).map(|state| state.phase) {
                Some(Phase::Waiting) => self.never(member, Conclusion::Cancelled, reason),
                Some(Phase::Started) => {
                    if let Some(state) = self.legs.get_mut(leg.0 as usize) {
                        state.phase = Phase::Ending;
                    }
                    self.moves.push(Move::Cancel { leg, reason: reason.to_owned() });
                }
                Some(Phase::Ending | Phase::Over) | None => {}
            },
            Member::Call(flow) => {
                let Some(state) = self.flows.get_mut(flow.0).filter(|state| state.left > 0) else { return };
                if !state.has_begun {
                    return self.never(member, Conclusion::Cancelled, reason);
                }
                state.cancelled.get_or_insert_with(|| reason.to_owned());
                let at = 0..state.jobs.len();
                at.for_each(|at| self.stop_job(JobId { flow, at }, reason));
            }
        }
    }

    /// Ends the members of a job that are not over.
    fn stop_job(&mut self, id: JobId, reason: &str) {
        // Those that wait for room go first: the end of another would start them.
        let waiting = self.job_mut(id).map(|job| std::mem::take(&mut job.pending)).unwrap_or_default();
        for member in waiting {
            if let Some(job) = self.job_mut(id) {
                job.running += 1;
            }
            self.never(member, Conclusion::Cancelled, reason);
        }
        for member in self.job(id).map(|job| job.members.clone()).unwrap_or_default() {
            self.stop(member, reason);
        }
    }

    /// The run is cancelled: jobs whose condition still holds go on.
    pub(super) fn cancel_all(&mut self) {
        let reason = self.cancelled.clone().unwrap_or_default();
        let Some(root) = self.flows.first() else { return };
        for at in 0..root.jobs.len() {
            let id = JobId { flow: FlowId(0), at };
            let has_begun = self.job(id).is_some_and(|job| job.result.is_none() && !job.members.is_empty());
            if has_begun && !matches!(self.condition(id), Ok(Verdict::Runs)) {
                self.stop_job(id, &reason);
            }
        }
    }

    /// A leg has ended.
    pub(super) fn leg_ended(&mut self, id: LegId, end: LegEnd) {
        let Some(state) = self.legs.get_mut(id.0 as usize).filter(|state| state.phase != Phase::Over) else { return };
        // A leg that was told to end and had an end of its own before that keeps it.
        state.phase = Phase::Over;
        let conclusion = match end.conclusion {
            Conclusion::Failure if state.leg.continue_on_error => Conclusion::Success,
            other => other,
        };
        self.member_over(Member::Leg(id), conclusion, end.outputs);
    }

    /// A member is over: its group goes on, its job may be over or start others.
    fn member_over(&mut self, member: Member, conclusion: Conclusion, outputs: Vec<(String, String)>) {
        let group = match member {
            Member::Leg(leg) => self.state(leg).and_then(|state| state.leg.concurrency.clone()),
            Member::Call(flow) => self.flows.get(flow.0).and_then(|flow| flow.scope.concurrency.clone()),
        };
        let next = group.and_then(|concurrency| self.groups.leave(&concurrency.group, member));
        if let Some(next) = next {
            self.go(next);
        }
        let Some(id) = self.job_of(member) else { return };
        let Some(job) = self.job_mut(id) else { return };
        job.over += 1;
        job.running = job.running.saturating_sub(1);
        job.results.push(conclusion);
        for (key, value) in outputs {
            set(&mut job.outputs, key, value);
        }
        let fails_others = conclusion == Conclusion::Failure && job.fail_fast && job.over < job.members.len();
        if fails_others {
            let name = job.name.clone();
            self.stop_job(id, &format!("another leg of `{name}` failed, and its strategy is to fail fast"));
        }
        self.fill(id);
        let Some(job) = self.job(id) else { return };
        if job.result.is_none() && job.over == job.members.len() {
            let result = worst(job.results.iter().copied());
            self.job_over(id, result);
        }
    }

    /// A job is over: those that need it come closer.
    pub(super) fn job_over(&mut self, id: JobId, result: Conclusion) {
        let Some(flow) = self.flows.get_mut(id.flow.0) else { return };
        let Some(job) = flow.jobs.get_mut(id.at) else { return };
        job.result = Some(result);
        if !job.dependents.is_empty() {
            let key = flow.scope.workflow.jobs.get(id.at).map_or("", |job| job.key());
            job.shown = Some((Arc::from(key), result_value(Some(result), &job.outputs)));
        }
        let (succeeded, failed) =
            (job.chain_succeeded && result == Conclusion::Success, job.chain_failed || result == Conclusion::Failure);
        for at in std::mem::take(&mut job.dependents) {
            let Some(dependent) = flow.jobs.get_mut(at) else { continue };
            dependent.waits_for = dependent.waits_for.saturating_sub(1);
            dependent.chain_succeeded &= succeeded;
            dependent.chain_failed |= failed;
            if dependent.waits_for == 0 {
                self.ready.push_back(JobId { flow: id.flow, at });
            }
        }
        flow.left = flow.left.saturating_sub(1);
        if flow.left == 0 {
            self.flow_over(id.flow);
        }
    }

    /// A flow is over: so is the member that called it.
    fn flow_over(&mut self, id: FlowId) {
        let Some(flow) = self.flows.get(id.0).filter(|flow| flow.caller.is_some()) else { return };
        let conclusion = worst(flow.jobs.iter().filter_map(|job| job.result));
        let (conclusion, outputs) = match self.call_outputs(id) {
            Ok(outputs) => (conclusion, outputs),
            Err(reason) => {
                let name = self.naming.give(flow.scope.name.clone(), &flow.scope.path, None);
                self.moves.push(Move::Never(NeverRan { name, conclusion: Conclusion::Failure, reason }));
                (Conclusion::Failure, Vec::new())
            }
        };
        self.member_over(Member::Call(id), conclusion, outputs);
    }
}

/// Whether a job runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Runs,
    /// It does not: why.
    Skipped(String),
}

fn set(pairs: &mut Vec<(String, String)>, key: String, value: String) {
    match pairs.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(&key)) {
        Some(known) => known.1 = value,
        None => pairs.push((key, value)),
    }
}
