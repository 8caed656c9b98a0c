//! A GitLab pipeline: each created job as the response that GitLab would give a runner, made by the same front end that `plan`
//! and `lint` ask.

use std::collections::HashMap;

use serde_json::{Value, json};
use smol_str::SmolStr;

use super::front::gitlab::{load_pipeline, pipeline_context};
use super::house::Sandbox;
use super::project::PipelineFile;
use super::reporter::Shelf;
use super::surroundings::Surroundings;
use super::worker::{LocalEnd, LocalJob, LocalWork};
use crate::executor::pipeline::fixed::Language;
use crate::parser::diagnostics::Checked;
use crate::parser::gitlab::compose::Unavailable;
use crate::parser::gitlab::pipeline::cache_key::LastCommits;
use crate::parser::gitlab::pipeline::response::{Dependency, JobFacts};
use crate::parser::gitlab::pipeline::variables::Variable;
use crate::parser::gitlab::pipeline::{Pipeline, dependencies, response};
use crate::pipeline::PipelineDefinition;

/// A pipeline's jobs and what they are made from.
pub struct GitLabJobs {
    pipeline: Pipeline,
    surroundings: Surroundings,
    /// The jobs' names by their places in the definition.
    order: Vec<SmolStr>,
    /// The jobs' ids by name.
    ids: HashMap<SmolStr, u64>,
    /// Hidden wherever it is printed, so it must be no word.
    token: String,
    shelf: Shelf,
    sandbox: Sandbox,
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
                load_pipeline(&surroundings.project, file, &surroundings.request, &context, Unavailable::Error)
            }
            Err(problem) => super::front::refused(file, problem),
        };
        let value = value.filter(|_| !diagnostics.has_errors()).map(|pipeline| {
            let definition = pipeline.to_definition();
            let order: Vec<SmolStr> = definition.jobs.iter().map(|job| job.name.as_str().into()).collect();
            let ids = (1..).zip(&order).map(|(id, name)| (name.clone(), id)).collect();
            let token = format!("local-{}", uuid::Uuid::new_v4().simple());
            (definition, Self { pipeline, surroundings, order, ids, token, shelf, sandbox })
        });
        Checked { value, diagnostics, sources }
    }

    /// Leaves only these jobs, by their places in the definition.
    pub(super) fn keep(&mut self, keeps: &dyn Fn(usize) -> bool) {
        let mut index = 0;
        self.order.retain(|_| {
            index += 1;
            keeps(index - 1)
        });
    }

    fn work(&self, name: &SmolStr) -> LocalWork {
        let source = self.pipeline.job(name).and_then(|created| self.pipeline.source(created));
        match source.is_some_and(|job| job.is_bridge()) {
            true => LocalWork::Refused(
                "`trigger`: a local run does not start downstream pipelines; run the child's file by itself, with \
                 `forgehand exec FILE --event parent_pipeline`"
                    .to_owned(),
            ),
            false => LocalWork::GitLab(self.response(name).to_string()),
        }
    }

    fn response(&self, name: &SmolStr) -> Value {
        let Some(created) = self.pipeline.job(name) else { return Value::Null };
        let mut facts = JobFacts {
            id: self.ids.get(name).copied().unwrap_or_default(),
            token: self.token.clone(),
            started_at: self.pipeline.context.ids.created_at.clone(),
            repo_url: format!("{}/{}.git", self.pipeline.context.server.url, self.pipeline.context.project.path),
            failure_reasons: vec!["script_failure".to_owned()],
            ..JobFacts::default()
        };
        for needed in dependencies(&self.pipeline, created) {
            let Some(id) = self.ids.get(&needed).copied() else { continue };
            let kept = self.shelf.of(&id.to_string());
            let reported = kept.dotenv.iter().map(|(key, value)| Variable::public(key.as_str(), value.as_str()));
            facts.dotenv.extend(reported);
            let archive = kept.archive.map(|(_, name, size)| (name, size));
            if archive.is_some() {
                facts.dependencies.push(Dependency {
                    id,
                    name: needed.to_string(),
                    token: self.token.clone(),
                    archive,
                });
            }
        }
        let history = History { surroundings: &self.surroundings };
        let mut response = response(&self.pipeline, created, &facts, &self.surroundings.project, &history);
        response["features"]["trace_sections"] = json!(false);
        if self.surroundings.facts.commit.is_none() {
            // Nothing is fetched, but a commit has to look like one.
            response["git_info"]["sha"] = json!("0".repeat(40));
            response["git_info"]["before_sha"] = json!("0".repeat(40));
        }
        if self.sandbox == Sandbox::Host {
            response["image"] = Value::Null;
            response["services"] = json!([]);
        }
        response
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
            project_path: self.pipeline.context.project.path.clone(),
            project: u32::try_from(self.pipeline.context.project.id).unwrap_or_default(),
        }
    }

    fn hear(&mut self, _job: usize, _end: &LocalEnd) {}
}
