//! Steps that run beside others, and the steps that wait for them or end them.
//!
//! Source: actions/runner `BackgroundStepCoordinator.cs`.

use super::super::{Conclusion, Next, Remark, StepId};
use super::{Phase, Program};
use crate::parser::github::workflow::model::{Control, Step};

/// So many background steps run at once; the next one waits.
pub(super) const LIMIT: usize = 10;

impl Program {
    /// The turn of a `wait`, `wait-all` or `cancel` step. It has no condition.
    pub(super) fn control(&mut self, id: StepId, control: &Control, running: Vec<StepId>) -> Next {
        let meant = self.meant(control);
        let left: Vec<StepId> = running.into_iter().filter(|id| meant.contains(id)).collect();
        if matches!(control, Control::Cancel(_)) {
            if !left.is_empty() {
                return Next::Cancel(left);
            }
        } else if !left.is_empty() {
            return Next::Wait(left);
        }
        self.at += 1;
        let mut conclusion = Conclusion::Success;
        let mut remarks = Vec::new();
        for step in &meant {
            let Some(state) = self.steps.get(step.0 as usize) else { continue };
            remarks.push(Remark::Note(format!("{}: {}", state.name, state.outcome.as_str())));
            if state.conclusion == Conclusion::Failure && !matches!(control, Control::Cancel(_)) {
                conclusion = Conclusion::Failure;
            }
            self.publish(*step);
        }
        self.set_phase(id, Phase::Published);
        if let Some(state) = self.steps.get_mut(id.0 as usize) {
            (state.outcome, state.conclusion) = (conclusion, conclusion);
        }
        let mut report = self.report(id, conclusion, conclusion);
        report.remarks = remarks;
        if conclusion == Conclusion::Failure {
            report.reason = Some("a step that it waited for failed".into());
        }
        Next::Over(report)
    }

    /// The steps that a control step is about and that have begun.
    fn meant(&self, control: &Control) -> Vec<StepId> {
        let steps = self.scene.job_steps();
        let begun = |at: usize| {
            self.steps
                .get(at)
                .is_some_and(|step| matches!(step.phase, Phase::Running | Phase::Ended | Phase::Published))
        };
        let all = steps.iter().enumerate().filter(|(at, step)| step.background() && begun(*at));
        let is_meant = |at: usize, step: &Step| match control {
            Control::WaitAll => self.steps.get(at).is_some_and(|step| step.phase != Phase::Published),
            Control::Wait(ids) | Control::Cancel(ids) => {
                // Those of a `parallel` block have no other id.
                ids.iter().any(|wanted| wanted.eq_ignore_ascii_case(&step.unique_id))
            }
        };
        let meant = all.filter(|(at, step)| is_meant(*at, step));
        meant.map(|(at, _)| StepId(u32::try_from(at).unwrap_or(u32::MAX))).collect()
    }

    /// Takes over what the background steps left that nobody waited for.
    pub(super) fn publish_all(&mut self) {
        for at in 0..self.steps.len() {
            self.publish(StepId(u32::try_from(at).unwrap_or(u32::MAX)));
        }
    }
}
