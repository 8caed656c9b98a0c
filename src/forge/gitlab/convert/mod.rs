//! From the payload of a job to the model. Pure: no I/O, no clock, no chance; the same payload, settings and facts give
//! the same job. What is asked for and cannot be given fails the job by its name; what has no effect is a warning at
//! the head of its log.
//!
//! One file a part of the payload, in the order in which they are made:
//! [`owner`], [`sources`] (folders first, since variables hold them), [`variables`], [`containers`], [`steps`], [`cache`],
//! [`artifacts`], [`timeouts`], [`log`].

use crate::forge::{Assignment, RunnerFacts};
use crate::pipeline::definition::{DependencySpec, JobOptions, RegistryAuth, RegistryCredential};
use crate::pipeline::{FailureReason, JobFailure, JobId, PipelineJob, Variables};

use super::flags::Flags;
use super::settings::{Executor, GitLabSettings};
use super::wire::JobResponse;

pub mod artifacts;
pub mod cache;
pub mod containers;
pub mod log;
pub mod owner;
pub mod sources;
pub mod steps;
pub mod timeouts;
pub mod variables;

#[cfg(test)]
mod corpus_tests;
#[cfg(test)]
mod tests;

/// What all parts of the conversion look at, and where they leave their remarks.
pub(super) struct Context<'a> {
    pub(super) settings: &'a GitLabSettings,
    pub(super) payload: &'a JobResponse,
    pub(super) facts: &'a RunnerFacts,
    pub(super) flags: &'a Flags,
    /// The job's variables, expanded.
    pub(super) variables: &'a Variables,
}

/// Makes the job. (protocols: GitLab 3, 8.1, 8.2, 10.)
pub(super) fn job(
    settings: &GitLabSettings,
    assignment: &Assignment,
    facts: &RunnerFacts,
) -> Result<PipelineJob, JobFailure> {
    let payload = parse(&assignment.payload)?;
    let mut warnings = Vec::new();
    let flags = Flags::resolve(&settings.feature_flags, &payload.variables, &mut warnings);
    refuse_what_is_not_done(&payload, &flags)?;

    let base = variables::base(settings, &payload, facts, &flags, &mut warnings);
    let strategy = sources::strategy(&base, &payload, &mut warnings);
    let dirs = sources::dirs(settings, &payload, facts, &base, strategy)?;
    let variables = variables::all(settings, &payload, facts, &flags, &dirs);
    let cx = Context { settings, payload: &payload, facts, flags: &flags, variables: &variables };

    let image = containers::image(&cx)?;
    let services = containers::services(&cx)?;
    let sources = sources::sources(&cx, strategy, &assignment.correlation_id, &mut warnings)?;
    let steps = steps::steps(&cx);
    let caches = cache::caches(&cx, &mut warnings)?;
    let artifacts = artifacts::artifacts(&cx)?;
    let timeouts = timeouts::timeouts(&cx, &mut warnings);
    let attempts = timeouts::attempts(&cx, &mut warnings);
    let log = log::log(&cx, &mut warnings);
    Ok(PipelineJob {
        key: assignment.key.clone(),
        id: assignment.id.clone(),
        name: payload.job_info.name.clone(),
        stage: payload.job_info.stage.clone(),
        owner: assignment.owner.clone(),
        dirs,
        image,
        services,
        registry_auth: registry_auth(&cx),
        sources,
        steps,
        caches,
        artifacts,
        dependencies: dependencies(&payload),
        timeouts,
        attempts,
        log,
        options: JobOptions {
            check_each_command: flags.is_on("FF_ENABLE_BASH_EXIT_CODE_CHECK"),
            legacy_eval: flags.is_on("FF_USE_LEGACY_BASH_EVAL"),
            clean_up_work_tree: flags.is_on("FF_ENABLE_JOB_CLEANUP"),
            log_images: flags.is_on("FF_LOG_IMAGES_CONFIGURED_FOR_JOB"),
            services_must_be_healthy: false,
            hash_cache_keys: flags.is_on("FF_HASH_CACHE_KEYS"),
        },
        warnings,
        labels: containers::labels(&cx),
        variables,
    })
}

/// Reads the payload; what cannot be read fails the job.
pub(super) fn parse(payload: &[u8]) -> Result<JobResponse, JobFailure> {
    serde_json::from_slice(payload).map_err(|error| {
        JobFailure::system(format!(
            "the job as GitLab sent it cannot be read: {error}; report this to the runner's operator"
        ))
    })
}

/// What the official runner refuses with the same reason and code. (2.6)
fn refuse(what: impl Into<String>) -> JobFailure {
    JobFailure { reason: FailureReason::RunnerSystemFailure, exit_code: Some(3), message: what.into() }
}

fn refuse_what_is_not_done(payload: &JobResponse, flags: &Flags) -> Result<(), JobFailure> {
    let run = payload.run.trim();
    if !run.is_empty() && run != "null" && run != "[]" {
        return Err(refuse(
            "the job uses the keyword `run` (native steps), which this runner does not support; use `script`",
        ));
    }
    if let Some(name) = payload.secrets.keys().next() {
        return Err(refuse(format!(
            "the job uses the keyword `secrets` (for `{name}`), which this runner does not support; use CI/CD variables"
        )));
    }
    if !payload.inputs.is_empty() {
        return Err(refuse("the job has `inputs` of its own, which this runner does not support; use variables"));
    }
    if let Some(flag) = flags.refused() {
        return Err(refuse(format!("the job sets {}, which this runner does not support: {}", flag.name, flag.note)));
    }
    Ok(())
}

/// (3.11, 9.6)
fn registry_auth(cx: &Context<'_>) -> RegistryAuth {
    let docker_config = cx.variables.content("DOCKER_AUTH_CONFIG").filter(|text| !text.is_empty()).cloned();
    let job = cx
        .payload
        .credentials
        .iter()
        .filter(|credential| credential.kind == "registry" && !credential.url.is_empty())
        .map(|credential| RegistryCredential {
            registry: credential.url.clone(),
            username: credential.username.clone(),
            password: credential.password.clone(),
        })
        .collect();
    RegistryAuth { docker_config, job }
}

/// Jobs that left no archive are passed over. (3.11)
fn dependencies(payload: &JobResponse) -> Vec<DependencySpec> {
    payload
        .dependencies
        .iter()
        .filter(|dependency| !dependency.artifacts_file.filename.is_empty())
        .map(|dependency| DependencySpec {
            id: JobId::new(dependency.id.to_string()),
            name: dependency.name.clone(),
            token: dependency.token.clone(),
            file_name: dependency.artifacts_file.filename.clone(),
            size: u64::try_from(dependency.artifacts_file.size).unwrap_or_default(),
        })
        .collect()
}

/// Whether the job's sandbox shares the machine.
fn on_host(cx: &Context<'_>) -> bool {
    cx.settings.executor == Executor::Host
}

/// A yes or no as GitLab's users write it: true and false in any case, Go's short forms, 1 and 0. (10.3)
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    let text = text.trim();
    match text.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" => Some(true),
        "0" | "f" | "false" => Some(false),
        _ => text.parse::<i64>().ok().map(|number| number == 1),
    }
}

/// What the variable `name` says, or `default`; what is no answer is told.
fn bool_of(variables: &Variables, name: &str, default: bool, warnings: &mut Vec<String>) -> bool {
    let Some(text) = variables.content(name).filter(|text| !text.expose().trim().is_empty()) else { return default };
    parse_bool(text.expose()).unwrap_or_else(|| {
        warnings.push(format!("{name} is neither true nor false; {default} is used"));
        default
    })
}

/// The words of a variable, or nothing where it is not set or empty.
fn words_of(variables: &Variables, name: &str) -> Option<Vec<String>> {
    let text = variables.content(name)?;
    let words: Vec<String> = text.expose().split_whitespace().map(str::to_owned).collect();
    (!words.is_empty()).then_some(words)
}

/// (3.9, 3.10)
fn when_of(text: &str, of: &str) -> Result<crate::pipeline::definition::When, JobFailure> {
    use crate::pipeline::definition::When;
    match text {
        "" | "on_success" => Ok(When::OnSuccess),
        "on_failure" => Ok(When::OnFailure),
        "always" => Ok(When::Always),
        other => Err(JobFailure::configuration(format!(
            "`when: {other}` of {of} is unknown; use on_success, on_failure or always"
        ))),
    }
}
