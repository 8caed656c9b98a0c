//! What a GitLab pipeline asks for and a local run cannot give.

use super::GitLabJobs;
use crate::local::house::Sandbox;
use crate::local::unhonoured::Unhonoured;
use crate::parser::gitlab::config::model::{Job, NeedWhat, TriggerTarget};

impl GitLabJobs {
    /// What the jobs of this pipeline ask for in vain.
    pub fn unhonoured(&self) -> Unhonoured {
        let mut found = Unhonoured::default();
        for created in self.order.iter().filter_map(|name| self.pipeline.job(name)) {
            if let Some(job) = self.pipeline.source(created) {
                self.of_job(job, &created.name, &mut found);
            }
        }
        found
    }

    /// Whether a secret of a job's vaults was not given.
    fn lacks_secrets(&self, job: &Job) -> bool {
        let given = &self.common.surroundings.request.secrets;
        let names = job.secrets.as_deref().and_then(|node| node.as_mapping()).into_iter().flat_map(|all| all.entries());
        names
            .filter_map(|entry| entry.key.as_scalar())
            .any(|name| !given.iter().any(|(known, _)| known == name.text.as_str()))
    }

    fn of_job(&self, job: &Job, name: &str, found: &mut Unhonoured) {
        let mut add = |is_there: bool, what: &str, why: &str| {
            if is_there {
                found.add(what, why, name);
            }
        };
        add(
            self.lacks_secrets(job),
            "secrets",
            "no vault is asked; the job fails. Give all of its secrets with --secret NAME=VALUE instead",
        );
        add(job.id_tokens.is_some(), "id_tokens", "no forge is there to sign them; the variables are empty");
        add(job.identity.is_some(), "identity", "no forge is there to sign tokens");
        add(job.run.is_some(), "run", "steps of the functions' runner are not run; the job fails");
        add(
            job.environment.is_some(),
            "environment",
            "no forge is told; nothing is stopped by `on_stop` or `auto_stop_in`",
        );
        add(job.release.is_some(), "release", "no release is made");
        add(
            job.publish.is_some() || job.deploys_pages(),
            "pages",
            "nothing is published; the files are among the artifacts",
        );
        add(job.dast_configuration.is_some(), "dast_configuration", "profiles lie on the forge");
        if self.common.sandbox == Sandbox::Host {
            add(job.services.as_ref().is_some_and(|all| !all.is_empty()), "services", "the host executor starts none");
        }
        if let Some(TriggerTarget::Project { .. }) = job.trigger().map(|trigger| &trigger.target) {
            add(true, "trigger: project", "a local run has this project only; nothing is started, the job succeeds");
        }
        for need in job.needs.iter().flat_map(|needs| needs.iter()) {
            let of_elsewhere = matches!(need.what, NeedWhat::Project { .. } | NeedWhat::Upstream { .. });
            add(of_elsewhere, "needs: project", "artifacts and states of other projects are not fetched");
        }
    }
}
