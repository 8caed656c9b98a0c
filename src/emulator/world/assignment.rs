//! Handing out jobs, and taking them back: queue, pick, cancel.

use serde_json::Value;

use super::job::{Commit, Job, JobSpec};
use super::trace::Trace;
use super::{Knowledge, World, random_text};
use crate::emulator::payload;
use crate::emulator::repository::{self, RepositoryError};
use crate::pipeline::JobChange;

/// A job as it goes out.
#[derive(Clone, Debug)]
pub struct HandedOut {
    /// Its id.
    pub id: u64,
    /// The body of the answer.
    pub body: String,
}

impl World {
    /// Queues a job. Blocking: asks git for its commit and makes the pipeline's own ref.
    pub fn queue(&self, spec: JobSpec) -> Result<u64, RepositoryError> {
        let (repository, git_ref) = {
            let know = self.know();
            let project = know.projects.get(&spec.project).ok_or(RepositoryError::UnknownProject(spec.project))?;
            let git_ref = if spec.git_ref.is_empty() { project.default_branch.clone() } else { spec.git_ref.clone() };
            (project.repository.clone(), git_ref)
        };
        let sha = repository::resolve(&repository, &git_ref)?;
        let commit = Commit {
            title: repository::title(&repository, &sha)?,
            is_tag: repository::is_tag(&repository, &git_ref),
            tag_v1: repository::resolve(&repository, "v1.0").unwrap_or_default(),
            sha,
        };
        let id = self.know().next_id();
        repository::set_ref(&repository, &format!("refs/pipelines/{}", spec.pipeline.unwrap_or(id)), &commit.sha)?;
        let mut know = self.know();
        let trace = Trace::new(self.dir.join("traces").join(id.to_string()));
        let (project, only, held) = (spec.project, spec.runner, spec.held);
        let spec = JobSpec { git_ref, ..spec };
        know.jobs.insert(id, Job::new(id, format!("glcbt-64_{}", random_text(20)), spec, commit, trace));
        if !held {
            know.bump_queues(project, only);
        }
        drop(know);
        self.changed();
        Ok(id)
    }

    /// Picks the oldest job that runner `runner` may have and hands it out. `None`: there is none.
    pub fn hand_out(&self, runner: u64, system_id: &str, info: &Value) -> Option<HandedOut> {
        let two_phase = self.options().two_phase_commit;
        let mut know = self.know();
        if let Some(again) = know.redeliver(runner) {
            return Some(again);
        }
        loop {
            let id = know.next_for(runner)?;
            let features = info.get("features").cloned().unwrap_or_default();
            let response = payload::build(&know, self, id, runner);
            let unsupported = payload::unsupported(&response, &features);
            let acknowledged = !(two_phase && features["two_phase_job_commit"] == Value::Bool(true));
            let job = know.jobs.get_mut(&id)?;
            job.runner = Some(runner);
            job.system_id = system_id.to_owned();
            job.features = features;
            if job.spec.verbatim.is_none() && unsupported.is_some() {
                // The server fails such a job itself and looks for the next (protocols: GitLab 1.6).
                job.failure_reason = Some("runner_unsupported".to_owned());
                let _ = job.change(JobChange::Start).and_then(|()| job.change(JobChange::Fail));
                know.after_end(id);
                continue;
            }
            if acknowledged {
                job.change(JobChange::Start).ok()?;
            } else {
                job.awaits_ack = true;
            }
            job.deliveries += 1;
            let body = job.spec.verbatim.clone().unwrap_or_else(|| response.to_string());
            job.response = Some(body.clone());
            drop(know);
            self.changed();
            return Some(HandedOut { id, body });
        }
    }

    /// Cancels a job: tidily where its runner can, at once where not. `false`: there was nothing to cancel.
    pub fn cancel(&self, id: u64) -> bool {
        let mut know = self.know();
        let Some(job) = know.jobs.get_mut(&id) else { return false };
        if job.ends_tidily() {
            job.is_canceling = true;
            drop(know);
            self.changed();
            return true;
        }
        drop(know);
        self.force_cancel(id)
    }

    /// Cancels a job at once. `false`: there was nothing to cancel.
    pub fn force_cancel(&self, id: u64) -> bool {
        let mut know = self.know();
        let Some(job) = know.jobs.get_mut(&id) else { return false };
        let done = job.change(JobChange::Cancel).is_ok();
        if done {
            know.after_end(id);
        }
        drop(know);
        self.changed();
        done
    }
}

impl Knowledge {
    fn next_for(&self, runner: u64) -> Option<u64> {
        let runner = self.runners.get(&runner)?;
        self.jobs
            .values()
            .find(|job| {
                job.is_queued()
                    && job.spec.runner.is_none_or(|only| only == runner.id)
                    && runner.serves(job.spec.project)
                    && runner.takes(&job.spec.tags)
            })
            .map(|job| job.id)
    }

    fn redeliver(&mut self, runner: u64) -> Option<HandedOut> {
        let at = self
            .redeliveries
            .iter()
            .position(|id| self.jobs.get(id).is_some_and(|job| job.runner == Some(runner) && job.response.is_some()))?;
        let id = self.redeliveries.remove(at);
        let job = self.jobs.get_mut(&id)?;
        job.deliveries += 1;
        Some(HandedOut { id, body: job.response.clone()? })
    }
}
