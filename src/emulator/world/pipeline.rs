//! Pipelines: which job waits for which, and what becomes of the rest when one ends.

use std::collections::BTreeMap;

use super::Knowledge;
use super::job::{Job, JobView, RunsWhen};
use crate::pipeline::{JobChange, JobStatus, PipelineDefinition};

/// A pipeline.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Its id.
    pub id: u64,
    /// Its project.
    pub project: u64,
    /// The branch or tag it runs for.
    pub git_ref: String,
    /// Its commit.
    pub sha: String,
    /// Its jobs and which waits for which.
    pub definition: PipelineDefinition,
    /// Ids of its jobs by name.
    pub jobs: BTreeMap<String, u64>,
}

/// Where a pipeline stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipelineStatus {
    /// Something is still to come.
    Running,
    /// All that counts ended well.
    Success,
    /// A job failed that may not.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

/// How a pipeline looks from outside at one moment.
#[derive(Clone, Debug)]
pub struct PipelineView {
    /// Its id.
    pub id: u64,
    /// Where it stands.
    pub status: PipelineStatus,
    /// Its jobs in the order of the file.
    pub jobs: Vec<JobView>,
}

impl Knowledge {
    /// How pipeline `id` looks now.
    pub fn pipeline_view(&self, id: u64) -> Option<PipelineView> {
        let pipeline = self.pipelines.get(&id)?;
        let jobs: Vec<&Job> =
            pipeline.definition.jobs.iter().filter_map(|job| self.job_named(pipeline, &job.name)).collect();
        let status = if jobs.iter().any(|job| !job.has_ended()) {
            PipelineStatus::Running
        } else if jobs.iter().any(|job| job.status() == JobStatus::Failed && !job.spec.allow_failure) {
            PipelineStatus::Failed
        } else if jobs.iter().any(|job| job.status() == JobStatus::Cancelled) {
            PipelineStatus::Cancelled
        } else {
            PipelineStatus::Success
        };
        Some(PipelineView { id, status, jobs: jobs.into_iter().map(Job::view).collect() })
    }

    fn job_named<'a>(&'a self, pipeline: &Pipeline, name: &str) -> Option<&'a Job> {
        pipeline.jobs.get(name).and_then(|id| self.jobs.get(id))
    }

    /// Queues or skips every held job of pipeline `id` whose time has come. Call after a job ended.
    pub fn advance(&mut self, id: u64) {
        let Some(pipeline) = self.pipelines.get(&id).cloned() else { return };
        // A job that is skipped may decide about others: go on until nothing changes. Each round settles one at least.
        while self.advance_once(&pipeline) {}
    }

    fn advance_once(&mut self, pipeline: &Pipeline) -> bool {
        for planned in &pipeline.definition.jobs {
            let Some(job) = self.job_named(pipeline, &planned.name) else { continue };
            if !job.spec.held || job.has_ended() {
                continue;
            }
            let needed: Vec<&Job> =
                planned.named_needs().iter().filter_map(|name| self.job_named(pipeline, name)).collect();
            if needed.iter().any(|job| !job.has_ended()) {
                continue;
            }
            let runs = is_due(job.spec.runs_when, &needed);
            let (id, project, only) = (job.id, job.spec.project, job.spec.runner);
            if let Some(job) = self.jobs.get_mut(&id) {
                job.spec.held = false;
                if !runs {
                    // A held job is pending, and what is pending can be skipped.
                    let _ = job.change(JobChange::Skip);
                    return true;
                }
                job.queued_at = std::time::Instant::now();
            }
            self.bump_queues(project, only);
            return true;
        }
        false
    }
}

fn is_due(when: RunsWhen, needed: &[&Job]) -> bool {
    let failed = |job: &&Job| job.status() == JobStatus::Failed && !job.spec.allow_failure;
    match when {
        RunsWhen::Always => true,
        RunsWhen::OnFailure => needed.iter().any(failed),
        RunsWhen::OnSuccess => !needed.iter().any(|job| {
            failed(job)
                || job.status() == JobStatus::Cancelled
                || (job.status() == JobStatus::Skipped && job.spec.runs_when == RunsWhen::OnSuccess)
        }),
    }
}
