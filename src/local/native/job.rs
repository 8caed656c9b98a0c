//! One job of a native pipeline in the words of the model.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::steps::NativeSteps;
use crate::forge::{Assignment, RunnerFacts};
use crate::local::house::Sandbox;
use crate::parser::native::model::{Artifacts, ArtifactsWhen, Cache, CachePolicy, WORKSPACE};
use crate::parser::native::run::{JobSettings, ServiceSettings};
use crate::pipeline::definition::{
    ArtifactFormat, ArtifactSpec, Attempts, CacheSpec, DependencySpec, FileSelection, ImageSpec, JobDirs, JobOptions,
    LogSpec, RegistryAuth, ServiceSpec, SourceSpec, SourceStrategy, Timeouts, When,
};
use crate::pipeline::{JobId, PipelineJob, Secret, Variable, Variables};

/// How long the machine may take to make a job's place.
const PREPARE: Duration = Duration::from_secs(30 * 60);

/// A job and the steps that were made for it.
pub struct NativeJob {
    /// What it asks for.
    pub settings: JobSettings,
    /// The archives of jobs before it.
    pub given: Vec<Given>,
    /// How long it may take.
    pub timeout: Duration,
    /// What is hidden in its log.
    pub secrets: Vec<Secret>,
    /// Its steps.
    pub steps: Arc<Mutex<NativeSteps>>,
}

/// What an earlier job left.
pub struct Given {
    /// That job's number.
    pub id: usize,
    /// Its name.
    pub job: String,
    /// The archive's name.
    pub file_name: String,
    /// The archive's size in bytes.
    pub size: u64,
}

/// The job in the words of the model.
///
/// `tool_cache`: where it finds and installs tools.
pub fn define(
    job: &NativeJob,
    assignment: &Assignment,
    facts: &RunnerFacts,
    sandbox: Sandbox,
    tool_cache: Option<String>,
) -> PipelineJob {
    let builds = facts.builds_dir.clone();
    let repository = assignment.project_path.rsplit('/').next().unwrap_or("project");
    let project = format!("{builds}/{repository}/{repository}");
    let in_containers = sandbox == Sandbox::Docker;
    let settings = &job.settings;
    let tools = tool_cache.iter().map(|path| Variable::plain("RUNNER_TOOL_CACHE", path.as_str()));
    // The job's own variables come behind it, and so they count.
    let variables = tools.chain(settings.environment.iter().cloned()).collect();
    PipelineJob {
        key: assignment.key.clone(),
        id: assignment.id.clone(),
        name: assignment.name.clone(),
        stage: String::new(),
        owner: assignment.owner.clone(),
        variables: Variables::new(variables, None),
        dirs: JobDirs {
            builds,
            temp: format!("{project}.tmp"),
            project,
            also_at: in_containers.then(|| WORKSPACE.to_owned()),
            tool_cache,
        },
        image: in_containers.then(|| ImageSpec { name: settings.image.clone(), ..ImageSpec::default() }),
        services: match in_containers {
            true => settings.services.iter().map(service).collect(),
            false => Vec::new(),
        },
        registry_auth: RegistryAuth::default(),
        sources: SourceSpec { strategy: SourceStrategy::None, begins_empty: false, ..SourceSpec::none() },
        steps: Vec::new(),
        caches: settings.caches.iter().map(cache).collect(),
        artifacts: settings.artifacts.iter().map(artifact).collect(),
        dependencies: job.given.iter().map(dependency).collect(),
        timeouts: Timeouts {
            job: job.timeout,
            prepare: Some(PREPARE),
            get_sources: None,
            script: None,
            after_script: Duration::from_secs(300),
            services: Some(Duration::from_secs(30)),
        },
        attempts: Attempts { get_sources: 1, restore_cache: 1, download_artifacts: 1, executor: 1 },
        // A local run is the user's own: its log is not cut.
        log: LogSpec { mask: job.secrets.clone(), ..LogSpec::plain(u64::MAX / 2) },
        options: JobOptions::default(),
        warnings: Vec::new(),
        labels: Vec::new(),
    }
}

fn service(service: &ServiceSettings) -> ServiceSpec {
    ServiceSpec {
        image: ImageSpec { name: service.image.clone(), ..ImageSpec::default() },
        command: service.command.clone(),
        aliases: service.alias.iter().cloned().collect(),
        variables: service.environment.clone(),
        ports: Vec::new(),
    }
}

fn cache(cache: &Cache) -> CacheSpec {
    CacheSpec {
        key: cache.key.clone(),
        fallback_keys: cache.fallback_keys.clone(),
        files: FileSelection { paths: cache.paths.clone(), ..FileSelection::default() },
        pull: cache.policy != CachePolicy::Push,
        push: cache.policy != CachePolicy::Pull,
        when: When::OnSuccess,
    }
}

fn artifact(artifacts: &Artifacts) -> ArtifactSpec {
    ArtifactSpec {
        name: artifacts.name.clone().unwrap_or_default(),
        files: FileSelection { paths: artifacts.paths.clone(), exclude: artifacts.exclude.clone(), untracked: false },
        when: match artifacts.when {
            ArtifactsWhen::OnSuccess => When::OnSuccess,
            ArtifactsWhen::OnFailure => When::OnFailure,
            ArtifactsWhen::Always => When::Always,
        },
        kind: "archive".to_owned(),
        format: ArtifactFormat::Zip,
        format_on_wire: String::new(),
        expire_in: artifacts.expire_in.clone().unwrap_or_default(),
    }
}

fn dependency(given: &Given) -> DependencySpec {
    DependencySpec {
        id: JobId::new(given.id.to_string()),
        name: given.job.clone(),
        token: Secret::new(String::new()),
        file_name: given.file_name.clone(),
        size: given.size,
    }
}
