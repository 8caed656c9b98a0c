//! Image and services. (protocols: GitLab 3.7, 3.8, 9.5, 9.6.)

use serde_json::{Map, Value};

use super::{Context, on_host, refuse, variables};
use crate::forge::gitlab::wire::Image;
use crate::pipeline::definition::{ContainerOptions, ImageSpec, PullPolicy, ServiceSpec};
use crate::pipeline::duration::in_words;
use crate::pipeline::{JobFailure, Variable, Variables};

/// The image of the steps; none on the host.
pub(super) fn image(cx: &Context<'_>) -> Result<Option<ImageSpec>, JobFailure> {
    let options = options(&cx.payload.image.executor_opts, "image", cx.variables)?;
    if on_host(cx) {
        return Ok(None);
    }
    let own = cx.variables.expand(cx.payload.image.name.trim());
    let name = if own.is_empty() {
        cx.variables.expand(cx.settings.default_image.as_deref().unwrap_or_default().trim())
    } else {
        own
    };
    if name.is_empty() {
        return Err(JobFailure::configuration(
            "the job names no image and the runner has none; add `image:` to the job or `docker.image` to the runner",
        ));
    }
    Ok(Some(ImageSpec {
        name,
        entrypoint: entrypoint(cx.payload.image.entrypoint.as_ref()),
        pull_policies: pull_policies(&cx.payload.image)?,
        platform: options.platform,
        user: options.user,
        options: ContainerOptions::default(),
    }))
}

/// The job's own services; the operator's are added where containers are made.
pub(super) fn services(cx: &Context<'_>) -> Result<Vec<ServiceSpec>, JobFailure> {
    if on_host(cx) {
        return Ok(Vec::new());
    }
    cx.payload.services.iter().map(|service| job_service(cx, service)).collect()
}

fn job_service(cx: &Context<'_>, service: &Image) -> Result<ServiceSpec, JobFailure> {
    let name = cx.variables.expand(service.name.trim());
    if name.is_empty() {
        return Err(JobFailure::configuration(format!(
            "a service of the job has no image (`services: name` {:?}, expanded, is empty)",
            service.name
        )));
    }
    let options = options(&service.executor_opts, &format!("service {name}"), cx.variables)?;
    let own = service.variables.iter().filter(|v| variables::unfit(v).is_none()).map(variables::from_wire).collect();
    Ok(ServiceSpec {
        image: ImageSpec {
            name,
            entrypoint: entrypoint(service.entrypoint.as_ref()),
            pull_policies: pull_policies(service)?,
            platform: options.platform,
            user: options.user,
            options: ContainerOptions::default(),
        },
        command: service.command.clone(),
        aliases: aliases(&cx.variables.expand(&service.alias)),
        variables: service_variables(cx, own),
        ports: Vec::new(),
    })
}

/// The job's public variables, then the service's own, which may refer to all of the job's and to each other. What is
/// not public stays in the job. (9.5)
fn service_variables(cx: &Context<'_>, own: Vec<Variable>) -> Vec<Variable> {
    let job = cx.variables;
    let mut together: Vec<Variable> = job
        .iter()
        .map(|variable| Variable { value: as_seen(job, variable), file: false, raw: true, ..variable.clone() })
        .collect();
    together.extend(own.iter().cloned());
    let expanded = Variables::new(together, None);
    let public = job.iter().filter(|variable| variable.public).map(|variable| Variable {
        value: as_seen(job, variable),
        file: false,
        raw: true,
        ..variable.clone()
    });
    let own = own.into_iter().map(|variable| {
        let value = if variable.raw { variable.value.clone() } else { expanded.expand(variable.value.expose()).into() };
        Variable { value, file: false, raw: true, ..variable }
    });
    public.chain(own).collect()
}

/// A file variable is its path in a service, too.
fn as_seen(all: &Variables, variable: &Variable) -> crate::pipeline::Secret {
    if variable.file { all.file_path(&variable.key).into() } else { variable.value.clone() }
}

/// An empty list is the image's own entrypoint; a list of one empty text clears it. (9.7)
fn entrypoint(given: Option<&Vec<String>>) -> Option<Vec<String>> {
    given.filter(|words| !words.is_empty()).cloned()
}

fn aliases(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in text.split(|c: char| c == ',' || c.is_whitespace()).filter(|name| !name.is_empty()) {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

fn pull_policies(image: &Image) -> Result<Vec<PullPolicy>, JobFailure> {
    let policy = |text: &String| match text.as_str() {
        "always" => Ok(PullPolicy::Always),
        "if-not-present" => Ok(PullPolicy::IfNotPresent),
        "never" => Ok(PullPolicy::Never),
        other => Err(JobFailure::configuration(format!(
            "`pull_policy: {other}` of {} is unknown; use always, if-not-present or never",
            image.name
        ))),
    };
    image.pull_policy.iter().map(policy).collect()
}

#[derive(Default)]
struct Options {
    platform: Option<String>,
    user: Option<String>,
}

/// `executor_opts`. A key that nobody here knows may be a promise that we would break, so it fails the job. (2.6)
fn options(given: &Map<String, Value>, of: &str, variables: &Variables) -> Result<Options, JobFailure> {
    let mut found = Options::default();
    for (executor, options) in given {
        let known: &[&str] = match executor.as_str() {
            "docker" => &["platform", "user"],
            "kubernetes" => &["user"],
            _ => return Err(refuse(format!("the job sets `{executor}` in the options of its {of}, which is unknown"))),
        };
        let Some(options) = options.as_object() else {
            if options.is_null() {
                continue;
            }
            return Err(refuse(format!("the options `{executor}` of the job's {of} are no object")));
        };
        for (key, value) in options {
            if !known.contains(&key.as_str()) {
                return Err(refuse(format!(
                    "the job sets `{executor}: {key}` for its {of}, which this runner does not support"
                )));
            }
            if executor != "docker" {
                continue;
            }
            let value = match value {
                Value::String(text) => variables.expand(text),
                Value::Number(number) => number.to_string(),
                Value::Null => continue,
                Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                    return Err(refuse(format!("`docker: {key}` of the job's {of} is neither a text nor a number")));
                }
            };
            if !value.is_empty() {
                *(if key == "platform" { &mut found.platform } else { &mut found.user }) = Some(value);
            }
        }
    }
    Ok(found)
}

/// What users of GitLab look for on containers. (9.3) `managed` is not among them: clean-up scripts of the official
/// runner would take the container for one of theirs.
pub(super) fn labels(cx: &Context<'_>) -> Vec<(String, String)> {
    let (info, git) = (&cx.payload.job_info, &cx.payload.git_info);
    let timeout = super::timeouts::job_timeout(cx.payload);
    let mut labels: Vec<(String, String)> = [
        ("job.id", cx.payload.id.to_string()),
        ("job.url", format!("{}/-/jobs/{}", cx.variables.value("CI_PROJECT_URL"), cx.payload.id)),
        ("job.sha", git.sha.clone()),
        ("job.before_sha", git.before_sha.clone()),
        ("job.ref", git.ref_name.clone()),
        ("job.timeout", in_words(timeout)),
        ("project.id", info.project_id.to_string()),
        ("project.runner_id", cx.facts.concurrent_project_id.to_string()),
        ("pipeline.id", info.pipeline_id.to_string()),
        ("runner.id", cx.settings.short_token()),
        ("runner.local_id", cx.facts.concurrent_id.to_string()),
        ("runner.system_id", cx.settings.system_id.clone()),
    ]
    .into_iter()
    .map(|(key, value)| (format!("com.gitlab.gitlab-runner.{key}"), value))
    .collect();
    labels.retain(|(_, value)| !value.is_empty());
    labels
}
