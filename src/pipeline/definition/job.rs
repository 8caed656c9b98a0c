//! One job, ready to run.

use std::time::Duration;

use super::files::{ArtifactSpec, CacheSpec, DependencySpec};
use super::image::{ImageSpec, RegistryAuth, ServiceSpec};
use super::log::LogSpec;
use super::source::SourceSpec;
use super::step::PipelineStep;
use crate::pipeline::id::{JobId, JobKey};
use crate::pipeline::owner::Owner;
use crate::pipeline::variable::Variables;

/// One job, ready to run.
#[derive(Clone, Debug)]
pub struct PipelineJob {
    /// What makes it unique for this agent.
    pub key: JobKey,
    /// The forge's id of it.
    pub id: JobId,
    /// The name the forge shows.
    pub name: String,
    /// The stage the forge shows.
    pub stage: String,
    /// On whose behalf it runs.
    pub owner: Owner,
    /// Its variables, the runner's own among them, expanded.
    pub variables: Variables,
    /// Where it works.
    pub dirs: JobDirs,
    /// The image its steps run in; `None` where the sandbox has none (host).
    pub image: Option<ImageSpec>,
    /// Containers that run beside it, in the order in which they were named.
    pub services: Vec<ServiceSpec>,
    /// Credentials for image registries.
    pub registry_auth: RegistryAuth,
    /// The repository it works on.
    pub sources: SourceSpec,
    /// Its steps in order, the after-step last.
    pub steps: Vec<PipelineStep>,
    /// Folders kept from job to job.
    pub caches: Vec<CacheSpec>,
    /// Files it gives away.
    pub artifacts: Vec<ArtifactSpec>,
    /// Files it is given.
    pub dependencies: Vec<DependencySpec>,
    /// How long its parts may take.
    pub timeouts: Timeouts,
    /// How often its stages are tried.
    pub attempts: Attempts,
    /// What its log looks like and what is hidden in it.
    pub log: LogSpec,
    /// What its author switched on.
    pub options: JobOptions,
    /// Lines the user should read at the head of the log: settings without effect, corrected values.
    pub warnings: Vec<String>,
    /// What the forge's own UI and its users know the machine's parts by: container labels, host name.
    pub labels: Vec<(String, String)>,
}

/// Folders as the job's processes see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobDirs {
    /// The root of all work trees, `/builds` in a container. The workspace is mounted here.
    pub builds: String,
    /// The work tree, below `builds`.
    pub project: String,
    /// What belongs to the job but not into its work tree (file variables), below `builds`.
    pub temp: String,
    /// Where else a container shows the work tree: the folder of the native language, `/workspace`.
    pub also_at: Option<String>,
    /// Where tools lie that earlier jobs installed, and where the job installs its own (`RUNNER_TOOL_CACHE`); `None`: it has
    /// no such folder.
    pub tool_cache: Option<String>,
}

/// How long the parts of a job may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// The whole job.
    pub job: Duration,
    /// Preparing the sandbox.
    pub prepare: Option<Duration>,
    /// Getting the sources.
    pub get_sources: Option<Duration>,
    /// All main steps together.
    pub script: Option<Duration>,
    /// The after-step.
    pub after_script: Duration,
    /// Waiting for services to answer; `None`: not at all.
    pub services: Option<Duration>,
}

/// How often a stage is tried, 1 to 10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// Getting the sources.
    pub get_sources: u32,
    /// Restoring caches.
    pub restore_cache: u32,
    /// Downloading artifacts.
    pub download_artifacts: u32,
    /// Steps that the engine, not the script, broke.
    pub executor: u32,
}

/// What a job's author can switch on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobOptions {
    /// A command that fails ends the script even where the shell would go on.
    pub check_each_command: bool,
    /// Scripts run at the end of a pipe, as those of the official runner did before 18.11.
    pub legacy_eval: bool,
    /// The work tree is cleaned after the job, too.
    pub clean_up_work_tree: bool,
    /// The runner's own log names the images that the job asks for.
    pub log_images: bool,
    /// A service whose health check fails is the job's failure, and one that is being checked is waited for.
    pub services_must_be_healthy: bool,
    /// Keys of caches are SHA-256 sums.
    pub hash_cache_keys: bool,
}
