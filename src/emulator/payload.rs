//! The job response (protocols: GitLab 3, 14 and 15.2). Of a job of a pipeline it is [`super::ci::response`]'s; of one that was
//! queued by itself a usual one, with what the job says laid over it.
//!
//! The overlay is the one of the recorded job cases: `variables` are added after the predefined ones; `git_info`,
//! `runner_info`, `features` and `image` are merged; every other key replaces. `dependencies` may name earlier jobs of
//! the same project; a `sha` of `$TAG` is the commit of the tag `v1.0`.

use serde_json::{Map, Value, json};

use super::world::job::Job;
use super::world::project::Project;
use super::world::{Knowledge, World};

/// How long a job may take unless it says otherwise, in seconds.
const TIMEOUT: u64 = 600;
/// Keys of the overlay that are merged into what is there.
const MERGED: [&str; 5] = ["git_info", "runner_info", "features", "image", "job_info"];

/// The failure reasons a runner may send here.
pub const FAILURE_REASONS: [&str; 9] = [
    "unknown_failure",
    "script_failure",
    "runner_system_failure",
    "job_execution_timeout",
    "image_pull_failure",
    "runner_configuration_error",
    "runner_external_dependency_failure",
    "runner_interrupted",
    "job_canceled",
];

/// The response for job `id` as runner `runner` gets it. Null when the job or its project is unknown.
pub fn build(know: &Knowledge, world: &World, id: u64, runner: u64) -> Value {
    let Some(job) = know.jobs.get(&id) else { return Value::Null };
    let Some(project) = know.projects.get(&job.spec.project) else { return Value::Null };
    if let Some(mut response) = super::ci::response::build(know, world, project, job) {
        if let Some(Value::Array(variables)) = response.get_mut("variables") {
            // The first are the weakest: a file may set them.
            variables.splice(0..0, of_the_runner(know, runner));
        }
        return response;
    }
    let mut response = usual(job, project, world);
    let mut variables = predefined(job, project, world);
    if job.spec.runner_variables {
        variables.extend(of_the_runner(know, runner));
    }
    variables.extend(project.variables.iter().cloned());
    let Value::Object(overlay) = &job.spec.overlay else {
        response["variables"] = Value::Array(variables);
        return response;
    };
    for (key, value) in overlay {
        match key.as_str() {
            "variables" => variables.extend(value.as_array().cloned().unwrap_or_default().into_iter().map(complete)),
            "dependencies" => response["dependencies"] = dependencies(know, job, value),
            key if MERGED.contains(&key) => merge(&mut response[key], value),
            key => response[key] = value.clone(),
        }
    }
    variables.extend(from_reports(know, &response["dependencies"]));
    response["variables"] = Value::Array(variables);
    if response["git_info"]["sha"] == json!("$TAG") {
        response["git_info"]["sha"] = json!(job.commit.tag_v1);
    }
    response
}

fn usual(job: &Job, project: &Project, world: &World) -> Value {
    let pipeline = job.spec.pipeline.unwrap_or(job.id);
    let git_ref = &job.spec.git_ref;
    let own_ref = if job.commit.is_tag {
        format!("+refs/tags/{git_ref}:refs/tags/{git_ref}")
    } else {
        format!("+refs/heads/{git_ref}:refs/remotes/origin/{git_ref}")
    };
    json!({
        "id": job.id,
        "token": job.token,
        "allow_git_fetch": true,
        "job_info": job_info(job, project),
        "git_info": {
            "repo_url": repository_url(world, project, &job.token), "repo_object_format": "sha1",
            "ref": git_ref, "sha": job.commit.sha, "before_sha": "0".repeat(40),
            "ref_type": if job.commit.is_tag { "tag" } else { "branch" },
            "refspecs": [format!("+refs/pipelines/{pipeline}:refs/pipelines/{pipeline}"), own_ref],
            "depth": 20, "protected": true,
        },
        "runner_info": { "timeout": TIMEOUT, "runner_session_url": null },
        "inputs": [],
        "steps": [],
        "hooks": [],
        "image": null,
        "services": [],
        "artifacts": null,
        "cache": [],
        "credentials": [],
        "dependencies": [],
        "features": { "trace_sections": true, "token_mask_prefixes": ["glpat-"], "failure_reasons": FAILURE_REASONS },
        "secrets": {},
        "policy_options": { "execution_policy_job": false, "policy_name": "" },
    })
}

/// What the server says of a job, its project and its queue.
pub fn job_info(job: &Job, project: &Project) -> Value {
    json!({
        "id": job.id, "name": job.spec.name, "stage": job.spec.stage, "pipeline_id": job.spec.pipeline.unwrap_or(job.id),
        "project_id": project.id, "project_name": project.name(), "project_full_path": project.path,
        "namespace_id": 7, "root_namespace_id": 7, "organization_id": 1,
        "instance_id": "ea8bf810", "instance_uuid": "5f0c2d3e-0000-4000-8000-000000000001",
        "user_id": 15, "scoped_user_id": null,
        "time_in_queue_seconds": job.queued_at.elapsed().as_secs_f64(),
        "project_jobs_running_on_instance_runners_count": "+Inf", "queue_size": 1, "queue_depth": 1,
    })
}

/// Where a project's sources are, for a job with this token.
pub fn repository_url(world: &World, project: &Project, token: &str) -> String {
    let (scheme, host) = world.base_url.split_once("://").unwrap_or(("http", &world.base_url));
    format!("{scheme}://gitlab-ci-token:{token}@{host}/{}.git", project.path)
}

/// A variable as it goes over the wire.
pub fn variable(key: &str, value: impl Into<String>, public: bool, masked: bool) -> Value {
    let value: String = value.into();
    json!({ "key": key, "value": value, "public": public, "file": false, "masked": masked, "raw": false })
}

/// A variable of an overlay with the flags it leaves out.
fn complete(variable: Value) -> Value {
    let Value::Object(mut fields) = variable else { return variable };
    for flag in ["public", "file", "masked", "raw"] {
        fields.entry(flag).or_insert(Value::Bool(false));
    }
    Value::Object(fields)
}

/// The variables GitLab defines for every job.
fn predefined(job: &Job, project: &Project, world: &World) -> Vec<Value> {
    let url = url::Url::parse(&world.base_url).ok();
    let port = url.as_ref().and_then(url::Url::port).unwrap_or_default().to_string();
    let base = &world.base_url;
    let pipeline = job.spec.pipeline.unwrap_or(job.id).to_string();
    let commit = &job.commit;
    let title = commit.title.clone();
    let git_ref = job.spec.git_ref.as_str();
    let short = commit.sha.get(..8).unwrap_or(&commit.sha).to_owned();
    let host = "127.0.0.1".to_owned();
    let mut list: Vec<(&str, String)> = vec![
        ("CI", "true".into()),
        ("GITLAB_CI", "true".into()),
        ("CI_SERVER_URL", base.clone()),
        ("CI_SERVER_HOST", host.clone()),
        ("CI_SERVER_FQDN", format!("{host}:{port}")),
        ("CI_SERVER_PORT", port.clone()),
        ("CI_SERVER_PROTOCOL", "http".into()),
        ("CI_SERVER_SHELL_SSH_HOST", host),
        ("CI_SERVER_SHELL_SSH_PORT", "22".into()),
        ("CI_SERVER_NAME", "GitLab".into()),
        ("CI_SERVER_VERSION", "19.3.0".into()),
        ("CI_SERVER_VERSION_MAJOR", "19".into()),
        ("CI_SERVER_VERSION_MINOR", "3".into()),
        ("CI_API_V4_URL", format!("{base}/api/v4")),
        ("CI_PROJECT_ID", project.id.to_string()),
        ("CI_PROJECT_NAME", project.name().to_owned()),
        ("CI_PROJECT_TITLE", project.name().to_owned()),
        ("CI_PROJECT_PATH", project.path.clone()),
        ("CI_PROJECT_PATH_SLUG", slug(&project.path)),
        ("CI_PROJECT_NAMESPACE", project.namespace().to_owned()),
        ("CI_PROJECT_ROOT_NAMESPACE", project.path.split('/').next().unwrap_or_default().to_owned()),
        ("CI_PROJECT_URL", format!("{base}/{}", project.path)),
        ("CI_PROJECT_VISIBILITY", "private".into()),
        ("CI_DEFAULT_BRANCH", project.default_branch.clone()),
        ("CI_CONFIG_PATH", ".gitlab-ci.yml".into()),
        ("CI_PIPELINE_ID", pipeline.clone()),
        ("CI_PIPELINE_IID", pipeline.clone()),
        ("CI_PIPELINE_SOURCE", "push".into()),
        ("CI_PIPELINE_URL", format!("{base}/{}/-/pipelines/{pipeline}", project.path)),
        ("CI_COMMIT_SHA", commit.sha.clone()),
        ("CI_COMMIT_SHORT_SHA", short),
        ("CI_COMMIT_BEFORE_SHA", "0".repeat(40)),
        ("CI_COMMIT_REF_NAME", git_ref.to_owned()),
        ("CI_COMMIT_REF_SLUG", slug(git_ref)),
        (if commit.is_tag { "CI_COMMIT_TAG" } else { "CI_COMMIT_BRANCH" }, git_ref.to_owned()),
        ("CI_COMMIT_MESSAGE", title.clone()),
        ("CI_COMMIT_TITLE", title),
        ("CI_COMMIT_REF_PROTECTED", "true".into()),
        ("CI_JOB_ID", job.id.to_string()),
        ("CI_JOB_NAME", job.spec.name.clone()),
        ("CI_JOB_NAME_SLUG", slug(&job.spec.name)),
        ("CI_JOB_STAGE", job.spec.stage.clone()),
        ("CI_JOB_URL", format!("{base}/{}/-/jobs/{}", project.path, job.id)),
        ("CI_NODE_TOTAL", "1".into()),
        ("GITLAB_USER_LOGIN", "ada".into()),
        ("GITLAB_USER_NAME", "Ada Example".into()),
        ("GITLAB_USER_EMAIL", "ada@example.com".into()),
        ("GITLAB_USER_ID", "15".into()),
    ];
    list.sort_by_key(|(key, _)| !key.starts_with("CI_PIPELINE"));
    let mut variables: Vec<Value> = list.into_iter().map(|(key, value)| variable(key, value, true, false)).collect();
    variables.push(variable("CI_JOB_TOKEN", job.token.clone(), false, true));
    variables.push(variable("CI_REGISTRY_USER", "gitlab-ci-token", true, false));
    variables.push(variable("CI_REGISTRY_PASSWORD", job.token.clone(), false, true));
    variables.push(variable("CI_REPOSITORY_URL", repository_url(world, project, &job.token), false, false));
    variables
}

fn of_the_runner(know: &Knowledge, runner: u64) -> Vec<Value> {
    let Some(runner) = know.runners.get(&runner) else { return Vec::new() };
    vec![
        variable("CI_RUNNER_ID", runner.id.to_string(), true, false),
        variable("CI_RUNNER_DESCRIPTION", runner.spec.description.clone(), true, false),
        variable("CI_RUNNER_TAGS", json!(runner.spec.tags).to_string(), true, false),
    ]
}

/// Lower case, everything but letters and digits a dash, at most 63 characters, no dash at either end.
pub fn slug(text: &str) -> String {
    let dashed: String =
        text.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(63).collect();
    dashed.trim_matches('-').to_owned()
}

fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                base.insert(key.clone(), value.clone());
            }
        }
        (base, over) => *base = over.clone(),
    }
}

/// Names of earlier jobs as the list the runner gets; what is an object already stays.
fn dependencies(know: &Knowledge, job: &Job, named: &Value) -> Value {
    let Some(list) = named.as_array() else { return named.clone() };
    let resolved = list.iter().filter_map(|entry| match entry {
        Value::String(name) => know
            .jobs
            .values()
            .rev()
            .find(|other| {
                other.spec.name == *name
                    && other.spec.project == job.spec.project
                    && other.spec.pipeline == job.spec.pipeline
                    && other.id != job.id
            })
            .map(|other| dependency(other, &job.token)),
        other => Some(other.clone()),
    });
    Value::Array(resolved.collect())
}

fn dependency(other: &Job, token: &str) -> Value {
    let mut fields = Map::new();
    fields.insert("id".to_owned(), json!(other.id));
    fields.insert("name".to_owned(), json!(other.spec.name));
    fields.insert("token".to_owned(), json!(token));
    if let Some(archive) = other.artifact("archive") {
        fields.insert("artifacts_file".to_owned(), json!({ "filename": archive.filename, "size": archive.size }));
    }
    Value::Object(fields)
}

/// Variables that needed jobs left in a dotenv report.
fn from_reports(know: &Knowledge, dependencies: &Value) -> Vec<Value> {
    let ids = dependencies.as_array().into_iter().flatten().filter_map(|entry| entry["id"].as_u64());
    ids.filter_map(|id| know.jobs.get(&id))
        .flat_map(|job| &job.dotenv)
        .map(|(key, value)| variable(key, value.clone(), true, false))
        .collect()
}

/// The feature a job needs and its runner did not claim (protocols: GitLab 1.6).
pub fn unsupported(response: &Value, features: &Value) -> Option<&'static str> {
    let artifacts: Vec<&Value> = response["artifacts"].as_array().map(|list| list.iter().collect()).unwrap_or_default();
    let filled = |value: &Value| value.as_array().is_some_and(|list| !list.is_empty());
    let steps = response["steps"].as_array().map_or(0, |steps| {
        steps.iter().filter(|step| !["script", "after_script"].iter().any(|known| step["name"] == *known)).count()
    });
    let needs = [
        ("refspecs", true),
        ("upload_multiple_artifacts", artifacts.len() > 1),
        ("upload_raw_artifacts", artifacts.iter().any(|a| a["artifact_format"] == "raw")),
        ("artifacts_exclude", artifacts.iter().any(|a| filled(&a["exclude"]))),
        ("multi_build_steps", steps > 0),
        (
            "fallback_cache_keys",
            response["cache"].as_array().into_iter().flatten().any(|c| filled(&c["fallback_keys"])),
        ),
    ];
    needs.into_iter().find(|(name, needed)| *needed && features[*name] != Value::Bool(true)).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_host_names() {
        assert_eq!(slug("Feature/Foo_Bar"), "feature-foo-bar");
        assert_eq!(slug("--x--"), "x");
        assert_eq!(slug(&"a".repeat(80)).len(), 63);
    }

    #[test]
    fn a_runner_gets_no_job_that_needs_what_it_does_not_claim() {
        let features = json!({ "refspecs": true });
        assert_eq!(unsupported(&json!({ "steps": [{ "name": "script" }] }), &features), None);
        let release = json!({ "steps": [{ "name": "script" }, { "name": "release" }] });
        assert_eq!(unsupported(&release, &features), Some("multi_build_steps"));
    }
}
