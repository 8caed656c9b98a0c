//! A GitLab pipeline: each created job as the response that GitLab would give a runner.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::facts::Facts;
use super::house::Sandbox;
use super::reporter::Shelf;
use super::request::Request;
use super::worker::{LocalEnd, LocalJob};
use crate::emulator::ci::file::{PlainPipeline, read};
use crate::emulator::ci::overlay::overlay;
use crate::emulator::ci::plan;
use crate::emulator::payload::{slug, variable};
use crate::emulator::world::job::RunsWhen;
use crate::executor::pipeline::fixed::Language;
use crate::pipeline::{MayFail, PipelineDefinition, StartCondition};

/// A GitLab that is not there: jobs see its name where the checkout has no remote.
const NOWHERE: &str = "https://gitlab.local.invalid";

/// A pipeline's jobs and what they are made from.
pub struct GitLabJobs {
    plain: PlainPipeline,
    /// The job of the file, by the job's place in the definition.
    order: Vec<usize>,
    numbers: HashMap<String, usize>,
    common: Common,
    shelf: Shelf,
    sandbox: Sandbox,
}

/// What all jobs have in common.
struct Common {
    variables: Vec<Value>,
    git_info: Value,
    project_id: u32,
    project_path: String,
    server: String,
    token: String,
}

impl GitLabJobs {
    /// Reads the file. The error is the file's.
    pub fn new(
        text: &str,
        root: &Path,
        facts: &Facts,
        request: &Request,
        shelf: Shelf,
        sandbox: Sandbox,
    ) -> Result<(PipelineDefinition, Self), String> {
        let plain = read(text).map_err(|error| error.to_string())?;
        let mut definition = plan::plan(&plain).map_err(|error| error.to_string())?;
        let places: HashMap<&str, usize> =
            plain.jobs.iter().enumerate().map(|(index, job)| (job.name.as_str(), index)).collect();
        let mut order = Vec::with_capacity(definition.jobs.len());
        for planned in &mut definition.jobs {
            let Some(index) = places.get(planned.name.as_str()).copied() else { continue };
            let Some(job) = plain.jobs.get(index) else { continue };
            planned.start = match job.runs_when {
                RunsWhen::OnSuccess => StartCondition::OnSuccess,
                RunsWhen::OnFailure => StartCondition::OnFailure,
                RunsWhen::Always => StartCondition::Always,
            };
            planned.may_fail = MayFail::from(job.allow_failure);
            order.push(index);
        }
        let numbers = definition.jobs.iter().enumerate().map(|(index, job)| (job.name.clone(), index + 1)).collect();
        let common = Common::new(root, facts, request);
        Ok((definition, Self { plain, order, numbers, common, shelf, sandbox }))
    }

    /// Leaves only these jobs, by their places in the definition.
    pub(super) fn keep(&mut self, keeps: &dyn Fn(usize) -> bool) {
        let mut index = 0;
        self.order.retain(|_| {
            index += 1;
            keeps(index - 1)
        });
        let names = self.order.iter().enumerate().filter_map(|(at, job)| Some((self.plain.jobs.get(*job)?.name.clone(), at + 1)));
        self.numbers = names.collect();
    }

    fn response(&self, job: usize) -> Option<Value> {
        let plain = self.plain.jobs.get(*self.order.get(job)?)?;
        let id = job + 1;
        let mut response = json!({
            "id": id, "token": self.common.token, "allow_git_fetch": true,
            "job_info": {
                "id": id, "name": plain.name, "stage": plain.stage, "pipeline_id": 1, "project_id": self.common.project_id,
                "project_name": self.common.project_path.rsplit('/').next(),
                "project_full_path": self.common.project_path,
            },
            "git_info": self.common.git_info, "runner_info": {}, "inputs": [], "hooks": [], "image": null, "services": [],
            "artifacts": null, "cache": [], "credentials": [], "dependencies": [],
            "features": { "trace_sections": false, "failure_reasons": ["script_failure"] }, "secrets": {},
        });
        let mut variables = self.common.variables.clone();
        for (key, value) in [
            ("CI_JOB_ID", id.to_string()),
            ("CI_JOB_NAME", plain.name.clone()),
            ("CI_JOB_NAME_SLUG", slug(&plain.name)),
            ("CI_JOB_STAGE", plain.stage.clone()),
            ("CI_JOB_URL", format!("{}/{}/-/jobs/{id}", self.common.server, self.common.project_path)),
            ("CI_NODE_TOTAL", "1".to_owned()),
        ] {
            variables.push(variable(key, value, true, false));
        }
        let Value::Object(over) = overlay(&self.plain, plain) else { return None };
        let mut dotenv = Vec::new();
        for (key, value) in over {
            match key.as_str() {
                // What was given on the command line comes after these, and counts.
                "variables" => variables.splice(0..0, value.as_array().cloned().unwrap_or_default()).for_each(drop),
                "dependencies" => response["dependencies"] = self.dependencies(&value, &mut dotenv),
                "git_info" => response["git_info"]["depth"] = value["depth"].clone(),
                "image" | "services" if self.sandbox == Sandbox::Host => {}
                _ => response[key.as_str()] = value,
            }
        }
        let reported = dotenv.into_iter().map(|(key, value)| variable(&key, value, true, false));
        variables.extend(reported);
        response["variables"] = Value::Array(variables);
        Some(response)
    }

    fn dependencies(&self, names: &Value, dotenv: &mut Vec<(String, String)>) -> Value {
        let mut list = Vec::new();
        for name in names.as_array().into_iter().flatten().filter_map(Value::as_str) {
            let Some(id) = self.numbers.get(name) else { continue };
            let kept = self.shelf.of(&id.to_string());
            dotenv.extend(kept.dotenv);
            if let Some((_, file_name, size)) = kept.archive {
                let file = json!({ "filename": file_name, "size": size });
                list.push(json!({ "id": id, "name": name, "token": self.common.token, "artifacts_file": file }));
            }
        }
        Value::Array(list)
    }
}

impl Language for GitLabJobs {
    type Job = LocalJob;
    type End = LocalEnd;

    fn make(&mut self, job: usize) -> LocalJob {
        let payload = self.response(job).unwrap_or(Value::Null).to_string();
        LocalJob { id: job + 1, payload, project_path: self.common.project_path.clone(), project: self.common.project_id }
    }

    fn hear(&mut self, _job: usize, _end: &LocalEnd) {}
}

impl Common {
    fn new(root: &Path, facts: &Facts, request: &Request) -> Self {
        let project_path = facts.project_path(root);
        let server = facts.remote.as_ref().map_or_else(|| NOWHERE.to_owned(), |url| url.origin().ascii_serialization());
        let host = server.split("://").nth(1).unwrap_or_default();
        let digest = Sha256::digest(root.as_os_str().as_encoded_bytes());
        let project_id = digest.iter().take(4).fold(0u32, |id, byte| id << 8 | u32::from(*byte)) >> 2;
        let (name, is_tag) = match request.ref_name.as_deref() {
            Some(name) => match name.strip_prefix("refs/tags/") {
                Some(tag) => (tag.to_owned(), true),
                None => (name.strip_prefix("refs/heads/").unwrap_or(name).to_owned(), false),
            },
            None => (facts.branch.clone(), false),
        };
        let url = format!("{server}/{project_path}");
        let namespace = project_path.rsplit_once('/').map_or(project_path.as_str(), |(namespace, _)| namespace);
        let title = facts.message.lines().next().unwrap_or_default();
        let login = facts.author_email.split('@').next().unwrap_or_default();
        let short = facts.sha.get(..8).unwrap_or(&facts.sha);
        let mut list: Vec<(&str, String)> = vec![
            ("CI", "true".into()),
            ("GITLAB_CI", "true".into()),
            ("CI_SERVER", "yes".into()),
            ("CI_SERVER_NAME", "GitLab".into()),
            ("CI_SERVER_URL", server.clone()),
            ("CI_SERVER_HOST", host.split(':').next().unwrap_or_default().to_owned()),
            ("CI_API_V4_URL", format!("{server}/api/v4")),
            ("CI_PROJECT_ID", project_id.to_string()),
            ("CI_PROJECT_NAME", project_path.rsplit('/').next().unwrap_or_default().to_owned()),
            ("CI_PROJECT_PATH", project_path.clone()),
            ("CI_PROJECT_PATH_SLUG", slug(&project_path)),
            ("CI_PROJECT_NAMESPACE", namespace.to_owned()),
            ("CI_PROJECT_ROOT_NAMESPACE", project_path.split('/').next().unwrap_or_default().to_owned()),
            ("CI_PROJECT_URL", url.clone()),
            ("CI_DEFAULT_BRANCH", facts.default_branch.clone()),
            ("CI_PIPELINE_ID", "1".into()),
            ("CI_PIPELINE_IID", "1".into()),
            ("CI_PIPELINE_SOURCE", request.event.clone().unwrap_or_else(|| "push".into())),
            ("CI_PIPELINE_URL", format!("{url}/-/pipelines/1")),
            ("CI_COMMIT_SHA", facts.sha.clone()),
            ("CI_COMMIT_SHORT_SHA", short.to_owned()),
            ("CI_COMMIT_BEFORE_SHA", facts.before_sha.clone()),
            ("CI_COMMIT_REF_NAME", name.clone()),
            ("CI_COMMIT_REF_SLUG", slug(&name)),
            ("CI_COMMIT_MESSAGE", facts.message.clone()),
            ("CI_COMMIT_TITLE", title.to_owned()),
            ("CI_COMMIT_AUTHOR", format!("{} <{}>", facts.author_name, facts.author_email)),
            ("CI_COMMIT_TIMESTAMP", facts.timestamp.clone()),
            ("CI_COMMIT_REF_PROTECTED", (!is_tag && name == facts.default_branch).to_string()),
            ("GITLAB_USER_LOGIN", login.to_owned()),
            ("GITLAB_USER_NAME", facts.author_name.clone()),
            ("GITLAB_USER_EMAIL", facts.author_email.clone()),
        ];
        list.push((if is_tag { "CI_COMMIT_TAG" } else { "CI_COMMIT_BRANCH" }, name.clone()));
        // Hidden wherever it is printed, so it must be no word.
        let token = format!("local-{}", uuid::Uuid::new_v4().simple());
        let mut variables: Vec<Value> =
            list.into_iter().map(|(key, value)| variable(key, value, true, false)).map(raw).collect();
        variables.push(variable("CI_JOB_TOKEN", token.as_str(), false, true));
        let secrets = request.secrets.iter();
        variables.extend(secrets.map(|(key, value)| raw(variable(key, value.expose(), false, true))));
        variables.extend(request.variables.iter().map(|(key, value)| variable(key, value.as_str(), true, false)));
        // Outside git there is no commit to name, and nothing is fetched; the engine wants the form of one.
        let sha = if facts.sha.is_empty() { "0".repeat(40) } else { facts.sha.clone() };
        let git_info = json!({
            "repo_url": format!("{url}.git"), "repo_object_format": "sha1", "ref": name, "sha": sha,
            "before_sha": facts.before_sha, "ref_type": if is_tag { "tag" } else { "branch" }, "refspecs": [], "depth": 20,
            "protected": !is_tag && name == facts.default_branch,
        });
        Self { variables, git_info, project_id, project_path, server, token }
    }
}

/// A value in which `$` is just a dollar sign.
fn raw(mut variable: Value) -> Value {
    variable["raw"] = Value::Bool(true);
    variable
}
