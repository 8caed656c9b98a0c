//! Whether a job runs.

use super::super::condition::{Condition, truth};
use super::super::plan::Leg;
use super::scene::Scene;
use super::{Ended, Run};
use crate::parser::expression::Budget;
use crate::parser::variables::Resolver;
use crate::pipeline::JobStatus;

/// Whether a job runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It does.
    Runs,
    /// It does not: why, one sentence.
    Skipped(String),
}

impl Run {
    /// Whether a job runs, now that all have ended that it waits for. A condition that does not speak of results (`job.NAME`,
    /// `success()`, `failure()`, `always()`, `cancelled()`) holds only where they ended well.
    ///
    /// # Errors
    /// The condition cannot be evaluated, or makes no truth: one sentence. The job fails with it.
    pub fn decide(&self, leg: &Leg, ended: &Ended) -> Result<Decision, String> {
        let condition = self.conditions.get(leg.job).and_then(Option::as_ref);
        let condition = condition.map(Result::as_ref).transpose().map_err(Clone::clone)?;
        if !condition.is_some_and(Condition::asks_for_results)
            && let Some(reason) = self.held_back(leg, ended)
        {
            return Ok(Decision::Skipped(reason));
        }
        let Some(condition) = condition else { return Ok(Decision::Runs) };
        match self.holds(condition, &Scene::new(self, leg, Some(ended)))? {
            true => Ok(Decision::Runs),
            false => Ok(Decision::Skipped(self.is_false(leg))),
        }
    }

    /// Why a job is left out whose condition does not hold.
    pub(super) fn is_false(&self, leg: &Leg) -> String {
        let text = self.pipeline.jobs.get(leg.job).and_then(|job| job.conditional.as_deref()).unwrap_or_default();
        let shown: String = text.chars().take(200).collect();
        format!("its conditional is false: {shown}")
    }

    /// The first of those that the job waits for that did not end well.
    fn held_back(&self, leg: &Leg, ended: &Ended) -> Option<String> {
        let needs = self.pipeline.jobs.get(leg.job).map(|job| job.depends_on.as_slice()).unwrap_or_default();
        needs.iter().find_map(|need| {
            let what = match ended.get(&need.name).map(|end| end.status) {
                Some(JobStatus::Success) => return None,
                Some(JobStatus::Failed) => "failed",
                Some(JobStatus::Cancelled) => "was cancelled",
                Some(JobStatus::Skipped) => "was skipped",
                _ => "has not ended",
            };
            Some(format!("`{}` {what}", need.name))
        })
    }

    /// What a condition comes to in a scene.
    pub(super) fn holds(&self, condition: &Condition, scene: &Scene<'_>) -> Result<bool, String> {
        let hierarchy = scene.hierarchy();
        // A truth tells nothing of a secret that a variable holds.
        let resolver = Resolver::new(&hierarchy, scene, true, Budget::default());
        match condition {
            Condition::Expression(expr) => {
                resolver.evaluate(expr).map(|value| value.truth()).map_err(|error| error.message)
            }
            Condition::Reference(text) => {
                let told = |errors: Vec<crate::parser::variables::VariableError>| {
                    errors.into_iter().map(|error| error.message).next().unwrap_or_default()
                };
                let resolved = resolver.resolve_marked(text).map_err(told)?;
                truth(&resolved.value).ok_or_else(|| {
                    let shown = if resolved.secret { "a secret".to_owned() } else { format!("`{}`", resolved.value) };
                    format!("a condition is true or false, and this one makes {shown}")
                })
            }
        }
    }
}
