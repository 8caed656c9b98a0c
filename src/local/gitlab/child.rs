//! Child pipelines of a local run.

use std::collections::HashSet;
use std::io::Read as _;
use std::sync::{Arc, PoisonError};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::{GitLabJobs, Ids};
use crate::executor::pipeline::fixed::FixedPlaybook;
use crate::executor::pipeline::{Control, drive};
use crate::forge::Demand;
use crate::local::reporter::Shelf;
use crate::local::worker::{LocalWork, LocalWorker};
use crate::parser::diagnostics::Diagnostics;
use crate::parser::gitlab::LoadOptions;
use crate::parser::gitlab::compose::{Fetched, Remote, RemoteError, RemoteFile};
use crate::parser::gitlab::config::model::{Trigger, TriggerTarget};
use crate::parser::gitlab::downstream::{self, Place, Reading};
use crate::parser::gitlab::pipeline::CreatedJob;
use crate::pipeline::schedule::{PipelineEnd, Schedule};
use crate::pipeline::{FailureReason, JobFailure, JobOutcome, PipelineDefinition, Waits};

/// Bytes that a generated configuration may have.
const BIGGEST: u64 = 32 << 20;

/// A pipeline that a job started.
pub struct ChildPipeline {
    /// Its jobs by the names that they are shown by, each once in the run.
    pub definition: PipelineDefinition,
    /// Its jobs.
    pub jobs: GitLabJobs,
    /// Whether the job that started it waits for it and ends as it does.
    pub is_awaited: bool,
}

impl GitLabJobs {
    /// What a job with `trigger` does.
    pub(super) fn trigger(&self, created: &CreatedJob) -> LocalWork {
        let Some(trigger) = self.pipeline.source(created).and_then(|job| job.trigger()) else {
            return LocalWork::Refused("the job starts nothing".to_owned());
        };
        if let TriggerTarget::Project { project, .. } = &trigger.target {
            return LocalWork::Nothing(format!(
                "the pipeline of `{}` is not started: a local run has this project only",
                project.value
            ));
        }
        match self.child(created, trigger) {
            Ok(child) => LocalWork::Child(Box::new(child)),
            Err(problem) => LocalWork::Refused(format!("the child pipeline cannot be created: {problem}")),
        }
    }

    fn child(&self, created: &CreatedJob, trigger: &Trigger) -> Result<ChildPipeline, String> {
        let includes = &self.common.surroundings.request.includes;
        let elsewhere = includes.of_server(|| self.pipeline.context.server.url.clone());
        let remote = WithArtifacts { remote: &elsewhere, shelf: &self.common.shelf, ids: &self.ids };
        let options = LoadOptions::default();
        let reading = Reading { files: &self.common.surroundings.project, remote: &remote, options: &options };
        let mut found = Diagnostics::new();
        let reports = self.reports(created);
        let place = Place { depth: self.depth + 1, reports: &reports };
        let child = downstream::child(&self.pipeline, created, reading, place, &mut found)?;
        if child.jobs.is_empty() {
            return Err("it has no jobs".to_owned());
        }
        let names = self.common.names.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let parent = (self.pipeline.context.ids.id, Arc::clone(&self.ids));
        let (mut definition, jobs) = Self::of(child, Arc::clone(&self.common), Some(parent), self.depth + 1);
        rename(&mut definition, &created.name, &names);
        let shown = definition.jobs.iter().map(|job| job.name.clone());
        self.common.names.lock().unwrap_or_else(PoisonError::into_inner).extend(shown);
        let is_awaited = matches!(trigger.strategy.as_deref(), Some("depend" | "mirror"));
        Ok(ChildPipeline { definition, jobs, is_awaited })
    }
}

impl LocalWorker {
    /// Runs a child pipeline; where nobody waits for it, beside everything else.
    pub(in crate::local) fn start_child(
        &self,
        child: ChildPipeline,
        demand: watch::Receiver<Demand>,
    ) -> BoxFuture<'_, JobOutcome> {
        let ChildPipeline { definition, jobs, is_awaited } = child;
        let worker = self.clone();
        async move {
            let schedule = match Schedule::new(definition, &|_| false) {
                Ok(schedule) => schedule,
                Err(error) => return JobOutcome::Failed(JobFailure::configuration(error.to_string())),
            };
            let book = FixedPlaybook::new(schedule, jobs);
            if is_awaited {
                let control = worker.inner.control.below();
                let end = run(book, worker.clone(), control.clone());
                return outcome(end_with(end, demand, &control).await);
            }
            let control = worker.inner.control.clone();
            let children = Arc::clone(&worker.inner);
            let mut children = children.children.lock().unwrap_or_else(PoisonError::into_inner);
            children.spawn(async move {
                let _end_of_its_own = run(book, worker, control).await;
            });
            JobOutcome::Success
        }
        .boxed()
    }
}

async fn run(book: FixedPlaybook<GitLabJobs>, worker: LocalWorker, control: Control) -> PipelineEnd {
    let (limits, narrator) = (worker.inner.limits, Arc::clone(&worker.inner.narrator));
    drive(book, &worker, limits, &control, |event| narrator.pipeline(&event), rand::random::<f64>).await
}

/// Hands on what is wanted of the job that started the pipeline.
async fn end_with(
    end: impl Future<Output = PipelineEnd>,
    mut demand: watch::Receiver<Demand>,
    control: &Control,
) -> PipelineEnd {
    let mut end = std::pin::pin!(end);
    let mut seen = Demand::Wanted;
    loop {
        let changed = async {
            let now = demand.wait_for(|now| *now > seen).await.ok().map(|now| *now);
            match now {
                Some(now) => now,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            end = &mut end => return end,
            now = changed => {
                seen = now;
                control.stop();
                if now == Demand::Abort {
                    control.stop();
                }
            }
        }
    }
}

fn outcome(end: PipelineEnd) -> JobOutcome {
    match end {
        PipelineEnd::Success => JobOutcome::Success,
        PipelineEnd::Failed => {
            JobOutcome::Failed(JobFailure::new(FailureReason::ScriptFailure, "the child pipeline failed"))
        }
        PipelineEnd::Cancelled => JobOutcome::Cancelled,
    }
}

/// Gives jobs whose names are taken others, with the name of what started them before their own.
fn rename(definition: &mut PipelineDefinition, bridge: &str, taken: &HashSet<String>) {
    let own: HashSet<String> = definition.jobs.iter().map(|job| job.name.clone()).collect();
    let shown = |name: &String| {
        if !taken.contains(name) {
            return name.clone();
        }
        let mut shown = format!("{bridge} / {name}");
        let mut number = 1;
        while taken.contains(&shown) || own.contains(&shown) {
            number += 1;
            shown = format!("{bridge} #{number} / {name}");
        }
        shown
    };
    for job in &mut definition.jobs {
        job.name = shown(&job.name);
        if let Waits::Jobs(needs) = &mut job.waits {
            needs.iter_mut().for_each(|need| *need = shown(need));
        }
    }
}

/// Files from elsewhere, and those that jobs of this run gave away.
struct WithArtifacts<'a> {
    remote: &'a dyn Remote,
    shelf: &'a Shelf,
    ids: &'a Ids,
}

impl Remote for WithArtifacts<'_> {
    fn fetch(&self, file: &RemoteFile) -> Result<Fetched, RemoteError> {
        self.remote.fetch(file)
    }

    fn list(&self, project: &str, commit: &str) -> Result<Arc<[String]>, RemoteError> {
        self.remote.list(project, commit)
    }

    fn artifact(&self, job: &str, path: &str) -> Result<Vec<u8>, RemoteError> {
        let missing = |why: String| RemoteError::Missing(why);
        let id = self.ids.get(job).ok_or_else(|| missing(format!("this pipeline has no job `{job}`")))?;
        let kept = self.shelf.of(&id.to_string());
        let Some(folder) = kept.folder else {
            return Err(missing(format!("the job `{job}` left no artifacts in this run")));
        };
        let read = || {
            // By handle: a link in what a job left is not followed out.
            let file = Dir::open_ambient_dir(&folder, ambient_authority())?.open(path)?;
            let mut bytes = Vec::new();
            file.take(BIGGEST).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|error: std::io::Error| missing(format!("among the artifacts of `{job}`: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::PlannedJob;

    #[test]
    fn a_job_of_a_child_is_shown_by_its_own_name_unless_that_is_taken() {
        let job = |name: &str, needs: &[&str]| PlannedJob {
            name: name.to_owned(),
            waits: Waits::Jobs(needs.iter().map(|need| (*need).to_owned()).collect()),
            ..PlannedJob::default()
        };
        let mut definition = PipelineDefinition {
            jobs: vec![job("build", &[]), job("check", &["build"])],
            ..PipelineDefinition::default()
        };
        let taken = ["build", "down", "down / build"].map(str::to_owned).into();
        rename(&mut definition, "down", &taken);
        let shown: Vec<&str> = definition.jobs.iter().map(|job| job.name.as_str()).collect();
        assert_eq!(shown, ["down #2 / build", "check"]);
        assert_eq!(definition.jobs[1].waits, Waits::Jobs(vec!["down #2 / build".to_owned()]));
    }
}
