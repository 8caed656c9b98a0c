//! A GitLab pipeline: each created job as the response that GitLab would give a runner, made by the same front end that `plan`
//! and `lint` ask. [`child`]: the pipelines that its jobs start.

pub mod child;
mod unhonoured;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use smol_str::SmolStr;

use super::coverage::CoveragePattern;
use super::front::gitlab::{load_pipeline, pipeline_context};
use super::house::Sandbox;
use super::project::PipelineFile;
use super::reporter::Shelf;
use super::surroundings::Surroundings;
use super::worker::{GitLabSteps, JobSteps, LocalEnd, LocalJob, LocalWork};
use crate::executor::pipeline::fixed::Language;
use crate::parser::diagnostics::Checked;
use crate::parser::gitlab::LoadOptions;
use crate::parser::gitlab::compose::Unavailable;
use crate::parser::gitlab::config::model::NeedWhat;
use crate::parser::gitlab::pipeline::cache_key::LastCommits;
use crate::parser::gitlab::pipeline::response::{Dependency, JobFacts};
use crate::parser::gitlab::pipeline::variables::Variable;
use crate::parser::gitlab::pipeline::{CreatedJob, Pipeline, dependencies, response};
use crate::pipeline::PipelineDefinition;

/// What a pipeline of this run and the pipelines below it have in common.
struct Common {
    surroundings: Surroundings,
    /// Hidden wherever it is printed, so it must be no word.
    token: String,
    shelf: Shelf,
    sandbox: Sandbox,
    next_id: AtomicU64,
    /// The names that jobs were shown by.
    names: Mutex<HashSet<String>>,
}

/// The ids of a pipeline's jobs by name.
type Ids = Arc<HashMap<SmolStr, u64>>;

/// A pipeline's jobs and what they are made from.
pub struct GitLabJobs {
    pipeline: Pipeline,
    common: Arc<Common>,
    /// The jobs' names by their places in the definition.
    order: Vec<SmolStr>,
    ids: Ids,
    /// Those of the pipeline that started this one, and its id.
    parent: Option<(u64, Ids)>,
    /// How many pipelines are above it.
    depth: u32,
}

impl GitLabJobs {
    /// The pipeline that the surroundings' request creates. No value where the file has errors.
    pub fn new(
        file: &PipelineFile,
        surroundings: Surroundings,
        shelf: Shelf,
        sandbox: Sandbox,
    ) -> Checked<(PipelineDefinition, Self)> {
        if let Some(finding) = super::front::no_text(file) {
            return super::front::refused(file, finding);
        }
        let Checked { value, diagnostics, sources } = match pipeline_context(&surroundings, &file.path) {
            Ok(context) => {
                let options = LoadOptions { unavailable: Unavailable::Error, ..LoadOptions::default() };
                load_pipeline(&surroundings.project, file, &surroundings.request, &context, options)
            }
            Err(problem) => super::front::refused(file, problem),
        };
        let value = value.filter(|_| !diagnostics.has_errors()).map(|pipeline| {
            let common = Common {
                surroundings,
                token: format!("local-{}", uuid::Uuid::new_v4().simple()),
                shelf,
                sandbox,
                next_id: AtomicU64::new(1),
                names: Mutex::default(),
            };
            Self::of(pipeline, Arc::new(common), None, 0)
        });
        Checked { value, diagnostics, sources }
    }

    fn of(
        pipeline: Pipeline,
        common: Arc<Common>,
        parent: Option<(u64, Ids)>,
        depth: u32,
    ) -> (PipelineDefinition, Self) {
        let definition = pipeline.to_definition();
        let order: Vec<SmolStr> = definition.jobs.iter().map(|job| job.name.as_str().into()).collect();
        let count = u64::try_from(order.len()).unwrap_or(0);
        let first = common.next_id.fetch_add(count, Ordering::Relaxed);
        let ids = Arc::new((first..).zip(&order).map(|(id, name)| (name.clone(), id)).collect());
        let mut names = common.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.extend(definition.jobs.iter().map(|job| job.name.clone()));
        drop(names);
        (definition, Self { pipeline, common, order, ids, parent, depth })
    }

    /// Leaves only these jobs, by their places in the definition.
    pub(super) fn keep(&mut self, kept: &[bool]) {
        let mut keeps = kept.iter();
        self.order.retain(|_| keeps.next().copied().unwrap_or(false));
    }

    /// A job's row of its matrix.
    pub(super) fn values(&self, job: usize) -> Vec<(&str, &str)> {
        let created = self.order.get(job).and_then(|name| self.pipeline.job(name));
        let row = created.and_then(|created| created.instance.as_ref());
        row.map(|row| row.variables.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect())
            .unwrap_or_default()
    }

    fn work(&self, name: &SmolStr) -> LocalWork {
        let Some(created) = self.pipeline.job(name) else {
            return LocalWork::Refused(format!("`{name}` is no job of this pipeline"));
        };
        match self.pipeline.source(created).is_some_and(|job| job.is_bridge()) {
            true => self.trigger(created),
            false => {
                let coverage = self.pipeline.source(created).and_then(|job| job.coverage.as_ref());
                LocalWork::Steps(JobSteps::GitLab(GitLabSteps {
                    response: self.response(created).to_string(),
                    coverage: coverage.and_then(|pattern| CoveragePattern::new(&pattern.value)),
                }))
            }
        }
    }

    fn response(&self, created: &CreatedJob) -> Value {
        let Common { surroundings, token, shelf, .. } = &*self.common;
        let mut facts = JobFacts {
            id: self.ids.get(&created.name).copied().unwrap_or_default(),
            token: token.clone(),
            started_at: self.pipeline.context.ids.created_at.clone(),
            repo_url: format!("{}/{}.git", self.pipeline.context.server.url, self.pipeline.context.project.path),
            failure_reasons: vec!["script_failure".to_owned()],
            dotenv: self.reports(created),
            ..JobFacts::default()
        };
        for (needed, id) in self.given(created) {
            let kept = shelf.of(&id.to_string());
            let archive = kept.archive.map(|(_, name, size)| (name, size));
            if archive.is_some() {
                facts.dependencies.push(Dependency { id, name: needed.to_string(), token: token.clone(), archive });
            }
        }
        let history = History { surroundings };
        let mut response = response(&self.pipeline, created, &facts, &surroundings.project, &history);
        response["features"]["trace_sections"] = json!(false);
        if let Some(steps) = response["steps"].as_array_mut() {
            // There is no forge to make a release on.
            steps.retain(|step| step["name"] != "release");
        }
        if surroundings.facts.commit.is_none() {
            // Nothing is fetched, but a commit has to look like one.
            response["git_info"]["sha"] = json!("0".repeat(40));
            response["git_info"]["before_sha"] = json!("0".repeat(40));
        }
        if let Some(secrets) = response["secrets"].as_object_mut() {
            // What was given stands in for the vault's.
            let given = &surroundings.request.secrets;
            secrets.retain(|name, _| !given.iter().any(|(known, _)| known == name));
        }
        if self.common.sandbox == Sandbox::Host {
            response["image"] = Value::Null;
            response["services"] = json!([]);
        }
        response
    }

    /// What a job is told about those whose artifacts it should be given.
    fn remarks(&self, name: &SmolStr) -> Vec<String> {
        let given = self.pipeline.job(name).map(|created| self.given(created)).unwrap_or_default();
        given.into_iter().filter_map(|(needed, id)| self.common.shelf.remark(&id.to_string(), &needed)).collect()
    }

    /// The variables of the reports that a job is given.
    fn reports(&self, created: &CreatedJob) -> Vec<Variable> {
        let kept = self.given(created).into_iter().map(|(_, id)| self.common.shelf.of(&id.to_string()));
        kept.flat_map(|kept| kept.dotenv).map(|(key, value)| Variable::public(key, value)).collect()
    }

    /// The jobs whose artifacts and variables a job is given: those of this pipeline, then those of its parent that it names.
    fn given(&self, created: &CreatedJob) -> Vec<(SmolStr, u64)> {
        let own = dependencies(&self.pipeline, created).into_iter();
        let mut all: Vec<_> = own.filter_map(|name| self.ids.get(&name).map(|id| (name.clone(), *id))).collect();
        let source = self.pipeline.source(created);
        let needs = source.iter().flat_map(|job| job.needs.iter()).flat_map(|needs| needs.iter());
        let (Some((parent, ids)), Some(scope)) = (&self.parent, self.pipeline.scope(created)) else { return all };
        for need in needs {
            if let NeedWhat::Pipeline { job, pipeline } = &need.what
                && scope.expand(pipeline) == parent.to_string()
                && let Some(id) = ids.get(&job.value)
            {
                all.push((job.value.clone(), *id));
            }
        }
        all
    }
}

/// The history of the checkout, for cache keys.
struct History<'a> {
    surroundings: &'a Surroundings,
}

impl LastCommits for History<'_> {
    fn last_commit(&self, path: &str) -> Option<String> {
        self.surroundings.last_commit(path)
    }
}

impl Language for GitLabJobs {
    type Job = LocalJob;
    type End = LocalEnd;

    fn make(&mut self, job: usize) -> LocalJob {
        let name = self.order.get(job).cloned().unwrap_or_default();
        let id = self.ids.get(&name).copied().unwrap_or_default();
        LocalJob {
            id: usize::try_from(id).unwrap_or_default(),
            work: self.work(&name),
            remarks: self.remarks(&name),
            project_path: self.pipeline.context.project.path.clone(),
            project: u32::try_from(self.pipeline.context.project.id).unwrap_or_default(),
        }
    }

    fn hear(&mut self, _job: usize, _end: &LocalEnd) {}
}
