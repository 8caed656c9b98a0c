//! What a native pipeline asks for and a local run cannot give.

use super::NativeJobs;
use crate::local::house::Sandbox;
use crate::local::unhonoured::Unhonoured;
use crate::parser::native::model::ACTIONS;
use crate::parser::native::model::CHECKOUT;

impl NativeJobs {
    /// What the jobs ask for in vain.
    pub fn unhonoured(&self) -> Unhonoured {
        let mut found = Unhonoured::default();
        let mut last = None;
        for leg in &self.legs {
            let Some(job) = self.run.pipeline().jobs.get(leg.job).filter(|_| last != Some(leg.job)) else { continue };
            last = Some(leg.job);
            if job.deployment.is_some() {
                found.add("deployment", "nothing is deployed or told a forge; the job's steps run", &job.name);
            }
            if self.sandbox == Sandbox::Host && !job.services.is_empty() {
                found.add("services", "the host executor starts none", &job.name);
            }
            let unknown = |action: &&String| !ACTIONS.contains(&action.as_str());
            for action in job
                .steps
                .iter()
                .filter_map(|step| step.action.as_ref())
                .filter(|action| *action != CHECKOUT)
                .filter(unknown)
            {
                found.add(format!("action: {action}"), "there is no such action; the step fails", &job.name);
            }
        }
        found
    }
}
