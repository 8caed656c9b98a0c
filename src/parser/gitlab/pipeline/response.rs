//! A created job as the JSON that a runner is handed.
//!
//! Source: protocols of GitLab's runner API; gitlabhq `lib/api/entities/ci/job_request`, `app/presenters/ci/build_runner_presenter.rb`.

use serde_json::{Map, Value, json};
use smol_str::SmolStr;

use super::super::config::model::{self, Image, Job, NeedWhat, Script, Service};
use super::cache_key::{LastCommits, key};
use super::create::{CreatedJob, Pipeline, dependency_names};
use super::job_variables;
use super::variables::{Collection, Expansion, Variable};
use crate::parser::document::{Files, Node, Schema, Typed};

/// What is known of a job only when a runner asks for it.
#[derive(Clone, Debug, Default)]
pub struct JobFacts {
    /// Its id.
    pub id: u64,
    /// Its token.
    pub token: String,
    /// When it starts, as ISO 8601.
    pub started_at: String,
    /// Where its sources are fetched from, credentials in it.
    pub repo_url: String,
    /// The jobs whose artifacts it is given, of those that [`dependencies`] names.
    pub dependencies: Vec<Dependency>,
    /// Variables from reports of earlier jobs.
    pub dotenv: Vec<Variable>,
    /// The reasons for failures that the server takes.
    pub failure_reasons: Vec<String>,
}

/// An earlier job.
#[derive(Clone, Debug, Default)]
pub struct Dependency {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its token.
    pub token: String,
    /// Name and size of its archive, where it left one.
    pub archive: Option<(String, u64)>,
}

/// The names of the jobs whose artifacts and dotenv variables a job is given.
pub fn dependencies(pipeline: &Pipeline, created: &CreatedJob) -> Vec<SmolStr> {
    let Some(job) = pipeline.source(created) else { return Vec::new() };
    let needed = created.needs.as_ref();
    if let Some(names) = &job.dependencies {
        let mut names = dependency_names(pipeline, names);
        if let Some(needs) = needed {
            names.retain(|name| needs.iter().any(|need| need.name == *name && need.artifacts));
        }
        return names;
    }
    if let Some(needs) = needed {
        return needs.iter().filter(|need| need.artifacts).map(|need| need.name.clone()).collect();
    }
    let stage_of = |name: &str| pipeline.configuration.stages.iter().position(|stage| stage.value == name);
    let own = stage_of(&job.stage.value);
    let is_earlier =
        |other: &&CreatedJob| pipeline.source(other).is_some_and(|other| stage_of(&other.stage.value) < own);
    pipeline.jobs.iter().filter(is_earlier).map(|other| other.name.clone()).collect()
}

/// The response for a job. Null where the job is none of this pipeline.
pub fn response(
    pipeline: &Pipeline,
    created: &CreatedJob,
    facts: &JobFacts,
    files: &dyn Files,
    history: &dyn LastCommits,
) -> Value {
    let Some(job) = pipeline.source(created) else { return Value::Null };
    let all = job_variables::of_job(pipeline, created, job, facts);
    let (all, _) = all.sort_and_expand_all(Expansion::FOR_RUNNER);
    let timeout = job.timeout.as_ref().and_then(|timeout| timeout.duration).map(|duration| duration.as_secs());
    let timeout =
        timeout.unwrap_or(if pipeline.context.project.timeout == 0 { 3600 } else { pipeline.context.project.timeout });
    let mut response = json!({
        "id": facts.id,
        "token": facts.token,
        "allow_git_fetch": true,
        "job_info": job_info(pipeline, created, job, facts),
        "git_info": git_info(pipeline, facts, &all),
        "runner_info": { "timeout": timeout, "runner_session_url": null },
        "inputs": inputs(job),
        "variables": all.iter().map(wire).collect::<Vec<_>>(),
        "steps": steps(job, timeout),
        "hooks": hooks(job),
        "image": job.image.as_deref().map(image),
        "services": job.services.iter().flat_map(|list| list.iter()).map(service).collect::<Vec<_>>(),
        "artifacts": artifacts(job),
        "cache": caches(pipeline, job, files, history),
        "credentials": credentials(pipeline, facts),
        "dependencies": facts.dependencies.iter().map(dependency).collect::<Vec<_>>(),
        "features": { "trace_sections": true, "token_mask_prefixes": ["glpat-"], "failure_reasons": facts.failure_reasons },
        "secrets": job.secrets.as_deref().map_or_else(|| json!({}), to_json),
        "policy_options": { "execution_policy_job": false, "policy_name": "" },
    });
    if let Some(run) = &job.run {
        response["run"] = Value::String(to_json(run).to_string());
        response["steps"] = json!([]);
    }
    response
}

/// A variable as it goes over the wire.
pub fn wire(variable: &Variable) -> Value {
    json!({
        "key": variable.key, "value": variable.value, "public": variable.public, "file": variable.file,
        "masked": variable.masked, "raw": variable.raw,
    })
}

fn job_info(pipeline: &Pipeline, created: &CreatedJob, job: &Job, facts: &JobFacts) -> Value {
    let context = &pipeline.context;
    let name = context.project.path.rsplit('/').next().unwrap_or_default();
    json!({
        "id": facts.id, "name": created.name, "stage": job.stage.value, "pipeline_id": context.ids.id,
        "project_id": context.project.id, "project_name": name, "project_full_path": context.project.path,
        "namespace_id": 1, "root_namespace_id": 1, "organization_id": 1, "instance_id": "", "instance_uuid": "",
        "user_id": context.user.id, "scoped_user_id": null, "time_in_queue_seconds": 0.0,
        "project_jobs_running_on_instance_runners_count": "0", "queue_size": 0, "queue_depth": 0,
    })
}

fn git_info(pipeline: &Pipeline, facts: &JobFacts, all: &Collection) -> Value {
    let context = &pipeline.context;
    let name = context.git_ref.name();
    let own_depth = if context.project.git_depth == 0 { 20 } else { context.project.git_depth };
    let depth = all.get("GIT_DEPTH").map_or(own_depth, |depth| depth.value.trim().parse().unwrap_or(0));
    let id = context.ids.id;
    let mut refspecs = vec![format!("+refs/pipelines/{id}:refs/pipelines/{id}")];
    match (depth, context.git_ref.is_tag(), &context.merge_request) {
        (0, ..) => {
            refspecs.extend(["+refs/heads/*:refs/remotes/origin/*".to_owned(), "+refs/tags/*:refs/tags/*".to_owned()])
        }
        (_, true, _) => refspecs.push(format!("+refs/tags/{name}:refs/tags/{name}")),
        (_, false, None) => refspecs.push(format!("+refs/heads/{name}:refs/remotes/origin/{name}")),
        (_, false, Some(_)) => {}
    }
    let reference = match &context.merge_request {
        Some(request) => format!("refs/merge-requests/{}/head", request.iid),
        None => name.to_owned(),
    };
    let none = super::context::Commit::default();
    let commit = context.commit.as_ref().unwrap_or(&none);
    json!({
        "repo_url": facts.repo_url, "repo_object_format": if commit.sha.len() == 64 { "sha256" } else { "sha1" },
        "ref": reference, "sha": commit.sha, "before_sha": commit.before_sha,
        "ref_type": if context.git_ref.is_tag() { "tag" } else { "branch" },
        "refspecs": refspecs, "depth": depth, "protected": context.is_protected,
    })
}

fn steps(job: &Job, timeout: u64) -> Vec<Value> {
    let lines =
        |script: &Option<Script>| script.iter().flat_map(|script| script.lines.iter().cloned()).collect::<Vec<_>>();
    let mut commands = lines(&job.before_script);
    commands.extend(lines(&job.script));
    let mut steps = vec![json!({
        "name": "script", "script": commands, "timeout": timeout, "when": "on_success", "allow_failure": false,
    })];
    if let Some(release) = &job.release {
        steps.push(json!({
            "name": "release", "script": release_commands(release), "timeout": timeout, "when": "on_success",
            "allow_failure": false,
        }));
    }
    let after = lines(&job.after_script);
    if !after.is_empty() {
        steps.push(json!({
            "name": "after_script", "script": after, "timeout": timeout, "when": "always", "allow_failure": true,
        }));
    }
    steps
}

/// The command that makes a release (gitlabhq `lib/gitlab/ci/build/releaser.rb`).
fn release_commands(release: &Node) -> Vec<String> {
    let mut command = String::from("release-cli create");
    let mut flag = |name: &str, value: &str| {
        command.push_str(&format!(
            " --{name} \"{}\"",
            value.replace('\\', "\\\\").replace('"', "\\\"").replace('`', "\\`")
        ));
    };
    for (key, name) in [
        ("name", "name"),
        ("description", "description"),
        ("tag_name", "tag-name"),
        ("tag_message", "tag-message"),
        ("ref", "ref"),
        ("released_at", "released-at"),
    ] {
        if let Some(value) = release.get(key).and_then(Node::as_scalar) {
            flag(name, &value.text);
        }
    }
    for milestone in release.get("milestones").and_then(Node::as_sequence).unwrap_or_default() {
        if let Some(value) = milestone.as_scalar() {
            flag("milestone", &value.text);
        }
    }
    let links = release.get("assets").and_then(|assets| assets.get("links")).and_then(Node::as_sequence);
    for link in links.unwrap_or_default() {
        flag("assets-link", &to_json(link).to_string());
    }
    vec![command]
}

fn hooks(job: &Job) -> Vec<Value> {
    let script = job.hooks.as_ref().and_then(|hooks| hooks.pre_get_sources_script.as_ref());
    script.map(|script| json!({ "name": "pre_get_sources_script", "script": &*script.lines })).into_iter().collect()
}

fn inputs(job: &Job) -> Vec<Value> {
    let inputs = job.inputs.iter().flat_map(|inputs| inputs.iter());
    inputs
        .map(|input| {
            json!({ "key": input.name.value, "value": {
                "type": input.kind, "content": to_json(&input.default), "sensitive": false } })
        })
        .collect()
}

fn image(image: &Image) -> Value {
    let mut options = Map::new();
    for (name, node) in [("docker", &image.docker), ("kubernetes", &image.kubernetes)] {
        if let Some(node) = node {
            options.insert(name.to_owned(), to_json(node));
        }
    }
    json!({
        "name": image.name.value, "entrypoint": image.entrypoint.as_deref(),
        "ports": image.ports.as_ref().map_or_else(|| json!([]), to_json),
        "pull_policy": image.pull_policy.as_deref(), "executor_opts": options,
    })
}

fn service(service: &Service) -> Value {
    let mut all = image(&service.image);
    let variables = service.variables.iter().flat_map(|variables| &variables.list);
    all["alias"] = json!(service.alias);
    all["command"] = json!(service.command.as_deref());
    all["variables"] = variables.map(|variable| wire(&Variable::from(variable))).collect();
    all
}

fn artifacts(job: &Job) -> Value {
    let Some(artifacts) = &job.artifacts else { return publish_only(job) };
    let mut list = Vec::new();
    let expire_in = artifacts.expire_in.as_ref().map(|expire| &expire.text);
    let mut paths: Vec<SmolStr> = artifacts.paths.iter().flat_map(|paths| paths.iter().cloned()).collect();
    add_published(job, &mut paths);
    if !paths.is_empty() || artifacts.untracked == Some(true) {
        list.push(json!({
            "name": artifacts.name, "untracked": artifacts.untracked, "paths": paths,
            "exclude": artifacts.exclude.as_deref(), "when": artifacts.when.map(model::When::as_str),
            "expire_in": expire_in, "artifact_type": "archive", "artifact_format": "zip",
        }));
    }
    for report in &artifacts.reports {
        let kind = report.format.as_deref().unwrap_or(&report.kind.value);
        let (format, name) = report_format(kind);
        list.push(json!({
            "name": name, "paths": &*report.paths, "when": "always", "expire_in": expire_in, "artifact_type": kind,
            "artifact_format": format,
        }));
    }
    Value::Array(list)
}

fn publish_only(job: &Job) -> Value {
    let mut paths = Vec::new();
    add_published(job, &mut paths);
    if paths.is_empty() {
        return Value::Null;
    }
    json!([{ "paths": paths, "artifact_type": "archive", "artifact_format": "zip" }])
}

/// What pages publishes is part of the archive, said or not.
fn add_published(job: &Job, paths: &mut Vec<SmolStr>) {
    if !job.deploys_pages() {
        return;
    }
    let named = job.pages.as_ref().and_then(|pages| pages.get("publish")).and_then(Node::as_scalar);
    let named = named.map(|scalar| scalar.text.clone()).or_else(|| job.publish.as_ref().map(|name| name.value.clone()));
    let path = named.unwrap_or_else(|| SmolStr::new_static("public"));
    if !paths.contains(&path) {
        paths.push(path);
    }
}

/// How a report is packed, and its default name.
fn report_format(kind: &str) -> (&'static str, String) {
    let (format, name) = match kind {
        "junit" => ("gzip", "junit.xml"),
        "dotenv" => ("gzip", ".env"),
        "cobertura" => ("gzip", "cobertura-coverage.xml"),
        "jacoco" => ("gzip", "jacoco-coverage.xml"),
        "metrics" => ("gzip", "metrics.txt"),
        "cyclonedx" => ("gzip", "gl-sbom.cdx.json"),
        "annotations" => ("gzip", "gl-annotations.json"),
        "repository_xray" => ("gzip", "gl-repository-xray.json"),
        "cluster_applications" => ("gzip", "gl-cluster-applications.json"),
        "lsif" => ("zip", "lsif.json"),
        "scip" => ("zip", "index.scip"),
        "codequality" => ("raw", "gl-code-quality-report.json"),
        "coverage_fuzzing" => ("raw", "gl-coverage-fuzzing.json"),
        "accessibility" => ("raw", "gl-accessibility.json"),
        "terraform" => ("raw", "tfplan.json"),
        "performance" => ("raw", "performance.json"),
        "browser_performance" => ("raw", "browser-performance.json"),
        "load_performance" => ("raw", "load-performance.json"),
        "requirements" => ("raw", "requirements.json"),
        "requirements_v2" => ("raw", "requirements_v2.json"),
        "sarif" => ("raw", "gl-sarif-report.sarif"),
        other => return ("raw", format!("gl-{}-report.json", other.replace('_', "-"))),
    };
    (format, name.to_owned())
}

fn caches(pipeline: &Pipeline, job: &Job, files: &dyn Files, history: &dyn LastCommits) -> Vec<Value> {
    let caches = job.cache.as_deref().unwrap_or_default();
    let separate = if pipeline.context.is_protected { "protected" } else { "non_protected" };
    caches
        .iter()
        .enumerate()
        .map(|(index, cache)| {
            let suffix = if cache.unprotect == Some(true) { "protected" } else { separate };
            let fallback = cache.fallback_keys.iter().flat_map(|keys| keys.iter());
            json!({
                "key": format!("{}-{suffix}", key(cache, index, files, history)),
                "untracked": cache.untracked, "policy": cache.policy.as_deref().unwrap_or("pull-push"),
                "paths": cache.paths.as_deref(), "when": cache.when.map_or("on_success", model::When::as_str),
                "fallback_keys": fallback.map(|key| format!("{key}-{suffix}")).collect::<Vec<_>>(),
            })
        })
        .collect()
}

fn credentials(pipeline: &Pipeline, facts: &JobFacts) -> Vec<Value> {
    let registry = &pipeline.context.server.registry;
    if registry.is_empty() || facts.token.is_empty() {
        return Vec::new();
    }
    vec![json!({ "type": "registry", "url": registry, "username": "gitlab-ci-token", "password": facts.token })]
}

fn dependency(dependency: &Dependency) -> Value {
    let mut value = json!({ "id": dependency.id, "name": dependency.name, "token": dependency.token });
    if let Some((filename, size)) = &dependency.archive {
        value["artifacts_file"] = json!({ "filename": filename, "size": size });
    }
    value
}

/// Whether a job waits for artifacts that are not in its own pipeline.
pub fn needs_elsewhere(job: &Job) -> bool {
    job.needs.iter().flat_map(|needs| needs.iter()).any(|need| !matches!(need.what, NeedWhat::Job { .. }))
}

/// A node as JSON. The depth of documents is limited where they are read.
pub fn to_json(node: &Node) -> Value {
    if let Some(items) = node.as_sequence() {
        return items.iter().map(to_json).collect();
    }
    if let Some(mapping) = node.as_mapping() {
        let named = mapping.entries().iter().filter_map(|entry| Some((entry.key.as_scalar()?, &entry.value)));
        return Value::Object(named.map(|(key, value)| (key.text.to_string(), to_json(value))).collect());
    }
    match node.typed(Schema::Ruby) {
        None | Some(Typed::Null) => Value::Null,
        Some(Typed::Bool(is)) => Value::Bool(is),
        Some(Typed::Int(number)) => json!(number),
        Some(Typed::Float(number)) => json!(number),
        Some(_) => Value::String(node.as_scalar().map(|scalar| scalar.text.to_string()).unwrap_or_default()),
    }
}
