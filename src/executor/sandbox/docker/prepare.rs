//! Makes a job's sandbox: network, images and services, container, shim.
//!
//! What does not depend on each other happens at the same time. An error without a reason (the engine's own) is tried
//! again; one with a reason is the job's end. Whatever the end, nothing that was made stays behind.

use std::path::Path;
use std::time::Duration;

use bollard::models::ContainerCreateBody;
use futures_util::future::{BoxFuture, join_all, try_join_all};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::changes::Changes;
use super::container::isolation::{is_privileged, security_options};
use super::container::mounts::{self, Mounts, MountsOf};
use super::container::{self, Parts, Role};
use super::error::EngineError;
use super::image::pull::{ImageError, JobImages, OnBehalf, Wanted, policies};
use super::image::{LocalImage, allow};
use super::network::pool::Shape;
use super::network::{BUILD_ALIAS, Connection};
use super::service::health;
use super::service::plan::{self, ServicePlan, is_environment_name};
use super::service::start::{StartedService, Surroundings};
use super::settings::{DockerSettings, NetworkMode};
use super::{Docker, labels, names};
use crate::executor::log::{StageLog, Tone};
use crate::executor::sandbox::{JobPaths, SandboxRecord};
use crate::pipeline::{FailureReason, JobFailure, PipelineJob, Secret};

/// How often an error without a reason is tried, and the pause between.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(3);
/// How long the removal of a failed attempt may hold its job up.
const UNDO: Duration = Duration::from_secs(90);
/// Bytes of what a container prints before its shim says hello.
pub const ENTRYPOINT_OUTPUT: usize = 256 * 1024;

/// What a sandbox is made for.
#[derive(Clone)]
pub struct SandboxSpec<'a> {
    /// The job.
    pub job: &'a PipelineJob,
    /// Its folders on the machine.
    pub paths: &'a JobPaths,
    /// What the operator decided.
    pub settings: &'a DockerSettings,
    /// The container's environment. Steps get theirs with their message; this is what an entrypoint sees.
    pub env: &'a [(String, Secret)],
    /// The shim on the machine, mounted at [`mounts::SHIM`].
    pub shim: &'a Path,
    /// The container's command, after the entrypoint: the shim's path in the container alone.
    pub command: Vec<String>,
}

/// How the rest of the agent takes part.
pub struct Hooks<'h, 'f, S> {
    /// Journals the record, before anything runs in the job's container.
    pub on_created: &'h (dyn Fn(SandboxRecord) -> BoxFuture<'f, Result<(), JobFailure>> + Send + Sync + 'h),
    /// Says hello to the shim. Raced against the container's end and the prepare timeout.
    pub connect: &'h (dyn Fn() -> BoxFuture<'f, Result<S, JobFailure>> + Send + Sync + 'h),
}

/// A sandbox that is ready.
#[derive(Debug)]
pub struct Prepared<S> {
    /// How to find it again.
    pub record: SandboxRecord,
    /// What `connect` gave.
    pub shim: S,
    /// What the container printed before, not masked.
    pub entrypoint_output: Vec<u8>,
    /// The container's host name.
    pub hostname: Option<String>,
    /// The names of each service, in the order of the record's service ids.
    pub services: Vec<Vec<String>>,
}

/// Why there is no sandbox. What had been made is removed.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The job ends with this failure.
    #[error(transparent)]
    Failed(#[from] JobFailure),
    /// The container ended before its shim said hello.
    #[error(
        "the container ended with exit code {exit_code} before the first step; its entrypoint must run its arguments"
    )]
    EntrypointEnded {
        /// The container's exit code.
        exit_code: i32,
        /// What it printed, not masked.
        output: Vec<u8>,
    },
    /// The caller's token was cancelled.
    #[error("the preparation was cancelled")]
    Cancelled,
}

impl From<PrepareError> for JobFailure {
    fn from(error: PrepareError) -> Self {
        let message = error.to_string();
        match error {
            PrepareError::Failed(failure) => failure,
            PrepareError::EntrypointEnded { exit_code, .. } => {
                JobFailure { exit_code: Some(exit_code), ..JobFailure::new(FailureReason::ScriptFailure, message) }
            }
            PrepareError::Cancelled => JobFailure::new(FailureReason::JobCanceled, message),
        }
    }
}

/// How one attempt ended badly.
#[derive(Debug)]
pub(super) enum Attempt {
    /// The engine's error, without a reason of the job's: may be repeated.
    Engine(EngineError),
    /// With a reason.
    Failure(JobFailure),
    /// See [`PrepareError::EntrypointEnded`].
    EntrypointEnded { exit_code: i32, output: Vec<u8> },
}

impl From<EngineError> for Attempt {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<JobFailure> for Attempt {
    fn from(failure: JobFailure) -> Self {
        Self::Failure(failure)
    }
}

impl From<ImageError> for Attempt {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Engine(error) => Self::Engine(error),
            ImageError::Failure(failure) => Self::Failure(failure),
        }
    }
}

/// One attempt's end, seen from outside of it.
enum Ended<S> {
    Ready(Prepared<S>),
    Badly(Attempt),
    TimedOut,
    Cancelled,
}

impl Docker {
    /// Makes the sandbox of a job. Honours `cancel` and the job's prepare timeout at every wait.
    pub async fn prepare<S>(
        &self,
        spec: &SandboxSpec<'_>,
        log: &dyn StageLog,
        cancel: &CancellationToken,
        hooks: &Hooks<'_, '_, S>,
    ) -> Result<Prepared<S>, PrepareError> {
        let patience = spec.job.timeouts.prepare.unwrap_or(spec.job.timeouts.job);
        let deadline = Instant::now() + patience;
        let behalf = OnBehalf { owner: &spec.job.owner, auth: &spec.job.registry_auth };
        let images = JobImages::new(self.engine(), self.image_owners(), self.machine_auth(), behalf, log);
        let mut attempt = 1;
        loop {
            let preparation = Preparation::new(self, spec, log, &images);
            let ended = tokio::select! {
                biased;
                () = cancel.cancelled() => Ended::Cancelled,
                ended = tokio::time::timeout_at(deadline, preparation.run(hooks)) => match ended {
                    Ok(Ok(prepared)) => Ended::Ready(prepared),
                    Ok(Err(error)) => Ended::Badly(error),
                    Err(_elapsed) => Ended::TimedOut,
                },
            };
            if !matches!(ended, Ended::Ready(_)) {
                preparation.undo().await;
            }
            match ended {
                Ended::Ready(prepared) => return Ok(prepared),
                Ended::Cancelled => return Err(PrepareError::Cancelled),
                Ended::TimedOut => return Err(timed_out(patience).into()),
                Ended::Badly(Attempt::Failure(failure)) => return Err(failure.into()),
                Ended::Badly(Attempt::EntrypointEnded { exit_code, output }) => {
                    return Err(PrepareError::EntrypointEnded { exit_code, output });
                }
                Ended::Badly(Attempt::Engine(error)) if attempt == ATTEMPTS => {
                    return Err(JobFailure::system(format!("preparation failed {ATTEMPTS} times: {error}")).into());
                }
                Ended::Badly(Attempt::Engine(error)) => {
                    log.say(Tone::Warning, &format!("Preparation failed: {error}"));
                    log.say(Tone::Plain, &format!("Will be retried in {}s ...", PAUSE.as_secs()));
                }
            }
            attempt += 1;
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(PrepareError::Cancelled),
                () = tokio::time::sleep_until(deadline) => return Err(timed_out(patience).into()),
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
}

fn timed_out(patience: Duration) -> JobFailure {
    JobFailure::new(
        FailureReason::JobExecutionTimeout,
        format!("the sandbox was not ready within {} s (prepare timeout)", patience.as_secs()),
    )
}

/// One attempt to make a sandbox.
struct Preparation<'a> {
    docker: &'a Docker,
    spec: &'a SandboxSpec<'a>,
    log: &'a dyn StageLog,
    images: &'a JobImages<'a>,
    changes: Changes,
    /// The job's own network, once it has one.
    network: std::sync::OnceLock<String>,
}

impl<'a> Preparation<'a> {
    fn new(docker: &'a Docker, spec: &'a SandboxSpec<'a>, log: &'a dyn StageLog, images: &'a JobImages<'a>) -> Self {
        let changes = Changes::new(docker.clone());
        Self { docker, spec, log, images, changes, network: std::sync::OnceLock::new() }
    }

    async fn run<S>(&self, hooks: &Hooks<'_, '_, S>) -> Result<Prepared<S>, Attempt> {
        let (job, settings) = (self.spec.job, self.spec.settings);
        let plan = plan::plan(job, settings)?;
        let mounts = self.mounts().await?;
        for remark in plan.remarks.iter().chain(&mounts.remarks) {
            self.log.say(Tone::Warning, remark);
        }
        let connection = self.connect_network(plan.services.len()).await?;
        if !plan.services.is_empty() && !connection.reaches_services() {
            let words = "The job's network mode is `none`: its services cannot be reached by it";
            self.log.say(Tone::Warning, words);
        }
        let (services, (container, image)) = self.containers(&plan, &connection, &mounts).await?;
        let record = SandboxRecord::Docker {
            container: container.clone(),
            services: services.iter().map(|service| service.container.clone()).collect(),
            network: self.network.get().cloned(),
            boot_id: self.docker.boot_id().to_owned(),
        };
        (hooks.on_created)(record.clone()).await?;
        self.changes.start(container.clone()).await?;
        let shim = self.hello(&container, hooks).await?;
        let entrypoint_output = match self.entrypoint_of(&image).is_empty() {
            true => Vec::new(),
            false => self.docker.output_of(&container, ENTRYPOINT_OUTPUT).await?,
        };
        Ok(Prepared {
            record,
            shim,
            entrypoint_output,
            hostname: self.hostname(),
            services: services.into_iter().map(|service| service.aliases).collect(),
        })
    }

    /// Removes what this attempt made, whatever was under way. An engine that hangs does not hold the job up: then the sweeper
    /// finds it by its labels.
    async fn undo(&self) {
        let removal = async {
            self.changes.settle().await;
            self.docker.remove_job(&self.spec.job.key).await
        };
        let networks = self.docker.networks();
        let why = match tokio::time::timeout(UNDO, removal).await {
            Ok(Ok(())) => {
                if let Some(network) = self.network.get() {
                    networks.release(network);
                }
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "the engine does not answer".to_owned(),
        };
        tracing::warn!(job_id = %self.spec.job.key, why, "what was made for the job stays for the sweeper");
        if let Some(network) = self.network.get() {
            networks.forget(network);
        }
    }

    async fn mounts(&self) -> Result<Mounts, Attempt> {
        let mounts = mounts::plan(&MountsOf {
            agent: self.docker.agent(),
            job: self.spec.job,
            paths: self.spec.paths,
            settings: self.spec.settings,
            kept: self.docker.kept_volumes(),
            shim: self.spec.shim,
        })?;
        if mounts.folders.is_empty() {
            return Ok(mounts);
        }
        let folders = mounts.folders.clone();
        let made = tokio::task::spawn_blocking(move || mounts::make_folders(&folders)).await;
        match made {
            Ok(Ok(())) => Ok(mounts),
            Ok(Err(why)) => Err(JobFailure::system(why).into()),
            Err(error) => Err(JobFailure::system(format!("making folders for volumes: {error}")).into()),
        }
    }

    async fn connect_network(&self, services: usize) -> Result<Connection, Attempt> {
        let settings = self.spec.settings;
        if settings.network_mode != NetworkMode::Job {
            return Ok(Connection::of(&settings.network_mode, None));
        }
        let shape = Shape { mtu: settings.network_mtu, ipv6: settings.enable_ipv6 };
        let owner = self.spec.job.owner.slug();
        let network = match self.docker.networks().take(&owner, &shape, services + 1).await {
            // No room, in the range or in one network: trying again does not make any.
            Err(EngineError::Unsupported(words)) => return Err(JobFailure::system(words).into()),
            taken => taken?,
        };
        self.network.get_or_init(|| network.id.clone());
        Ok(Connection::of(&settings.network_mode, Some(&network.name)))
    }

    /// Services up and answering, and the job's container made. At the same time, where the job's container does not need
    /// to know the services' addresses.
    async fn containers(
        &self,
        plan: &ServicePlan,
        connection: &Connection,
        mounts: &Mounts,
    ) -> Result<(Vec<StartedService>, (String, LocalImage)), Attempt> {
        let services = self.services(plan, connection, mounts);
        if !connection.needs_addresses() {
            let hosts = local_hosts(plan, connection);
            return tokio::try_join!(services, self.job_container(connection, mounts, hosts));
        }
        let (services, _image) = tokio::try_join!(services, self.job_image())?;
        let hosts = self.bridge_hosts(&services).await?;
        let container = self.job_container(connection, mounts, hosts).await?;
        Ok((services, container))
    }

    async fn services(
        &self,
        plan: &ServicePlan,
        connection: &Connection,
        mounts: &Mounts,
    ) -> Result<Vec<StartedService>, Attempt> {
        let surroundings =
            Surroundings { changes: &self.changes, spec: self.spec, images: self.images, connection, mounts };
        let starts = plan.services.iter().enumerate().map(|(index, service)| surroundings.start(index, service));
        let started = try_join_all(starts).await?;
        if connection.reaches_services() {
            let waits = started.iter().map(|service| health::wait(self.docker, connection, service, self.log));
            if started.iter().any(|service| service.patience.is_some()) {
                self.log.say(Tone::Plain, "Waiting for services to be up and running...");
            }
            join_all(waits).await;
        }
        Ok(started)
    }

    async fn bridge_hosts(&self, services: &[StartedService]) -> Result<Vec<String>, Attempt> {
        let mut hosts = Vec::new();
        for service in services {
            let found = self.docker.inspect(&service.container).await?.map(|inspect| health::Found::of(&inspect));
            let Some(address) = found.and_then(|found| found.address) else { continue };
            let id: String = service.container.chars().take(12).collect();
            hosts.extend(service.aliases.iter().chain([&id]).map(|name| format!("{name}:{address}")));
        }
        Ok(hosts)
    }

    async fn job_image(&self) -> Result<LocalImage, Attempt> {
        let (name, settings) = (self.image_name()?, self.spec.settings);
        let image = self.spec.job.image.clone().unwrap_or_default();
        if !allow::is_allowed(&settings.allowed_images, self.configured_image().as_deref(), &name) {
            return Err(JobFailure::configuration(format!(
                "the image \"{name}\" is not allowed on this runner (`docker.allowed_images`: {})",
                settings.allowed_images.join(", ")
            ))
            .into());
        }
        let policies =
            policies(&image.pull_policies, &settings.pull_policies, settings.allowed_pull_policies.as_deref())?;
        let platform = image.platform.as_deref().or(settings.platform.as_deref());
        Ok(self.images.obtain(&Wanted { name: &name, policies: &policies, platform }).await?)
    }

    async fn job_container(
        &self,
        connection: &Connection,
        mounts: &Mounts,
        hosts: Vec<String>,
    ) -> Result<(String, LocalImage), Attempt> {
        let user = user_of(self.spec)?;
        let image = self.job_image().await?;
        let body = self.body(&image, user, connection, mounts, hosts).await?;
        let name = names::job_container(self.docker.agent(), &self.spec.job.key);
        Ok((self.changes.create(name, body).await?, image))
    }

    async fn body(
        &self,
        image: &LocalImage,
        user: Option<String>,
        connection: &Connection,
        mounts: &Mounts,
        hosts: Vec<String>,
    ) -> Result<ContainerCreateBody, Attempt> {
        let (job, settings) = (self.spec.job, self.spec.settings);
        let image_name = self.image_name()?;
        if settings.privileged && !is_privileged(settings, Role::Job, &image_name) {
            let words = format!("{image_name} is not among `docker.allowed_privileged_images`: it runs unprivileged");
            self.log.say(Tone::Plain, &words);
        }
        let mut labels = labels::of_job(self.docker.agent(), job, "job");
        labels::add_configured(&mut labels, &settings.container_labels, job, false);
        let env = self.spec.env.iter().filter(|(name, _)| is_environment_name(name));
        Ok(container::body(Parts {
            role: Role::Job,
            settings,
            image_name: &image_name,
            image,
            labels,
            env: env.map(|(name, value)| format!("{name}={}", value.expose())).collect(),
            hostname: self.hostname(),
            entrypoint: self.entrypoint_override(),
            command: Some(self.spec.command.clone()),
            working_dir: None,
            user,
            attachment: connection.attach(vec![BUILD_ALIAS.to_owned()], hosts),
            mounts: mounts.shared.iter().chain(&mounts.job).cloned().collect(),
            binds: mounts.shared_binds.clone(),
            security_opt: security_options(settings, Role::Job).await?,
        })?)
    }

    fn configured_image(&self) -> Option<String> {
        let configured = self.spec.settings.image.as_deref()?;
        Some(self.spec.job.variables.expand(configured)).filter(|name| !name.is_empty())
    }

    fn image_name(&self) -> Result<String, JobFailure> {
        let of_job = self.spec.job.image.as_ref().map(|image| image.name.trim().to_owned());
        of_job.filter(|name| !name.is_empty()).or_else(|| self.configured_image()).ok_or_else(|| {
            JobFailure::configuration(
                "the job names no image and this runner has no default: add `image:` to the job, or `docker.image` to \
                 the runner's configuration",
            )
        })
    }

    fn hostname(&self) -> Option<String> {
        Some(self.spec.settings.hostname.clone().unwrap_or_else(|| names::host_name(&self.spec.job.key)))
    }

    /// The job's word about the entrypoint, where it has one and may have it (protocols: GitLab 9.7).
    fn entrypoint_override(&self) -> Option<Vec<String>> {
        let entrypoint = self.spec.job.image.as_ref()?.entrypoint.clone().filter(|list| !list.is_empty())?;
        if self.spec.settings.disable_entrypoint_overwrite {
            self.log.say(Tone::Warning, "Entrypoint override disabled");
            return None;
        }
        Some(entrypoint)
    }

    fn entrypoint_of(&self, image: &LocalImage) -> Vec<String> {
        let overridden = self.spec.job.image.as_ref().and_then(|image| image.entrypoint.clone());
        let may = !self.spec.settings.disable_entrypoint_overwrite;
        let entrypoint = overridden.filter(|list| may && !list.is_empty()).unwrap_or_else(|| image.entrypoint.clone());
        if entrypoint == [""] { Vec::new() } else { entrypoint }
    }

    /// Waits for the shim's hello, or for the container's end.
    async fn hello<S>(&self, container: &str, hooks: &Hooks<'_, '_, S>) -> Result<S, Attempt> {
        let mut connect = (hooks.connect)();
        let ended = tokio::select! {
            biased;
            shim = &mut connect => return Ok(shim?),
            ended = self.docker.wait_exit(container) => ended,
        };
        match ended {
            Ok(exit_code) => {
                let output = self.docker.output_of(container, ENTRYPOINT_OUTPUT).await.unwrap_or_default();
                Err(Attempt::EntrypointEnded { exit_code, output })
            }
            // The shim needs no engine; only the watch over the container's end is lost.
            Err(error) => {
                tracing::warn!(%error, "the container's end cannot be watched while its shim is awaited");
                Ok(connect.await?)
            }
        }
    }
}

/// On the machine's own network every service is at the loopback address.
fn local_hosts(plan: &ServicePlan, connection: &Connection) -> Vec<String> {
    match connection {
        Connection::Host => {
            plan.services.iter().flat_map(|s| &s.aliases).map(|alias| format!("{alias}:127.0.0.1")).collect()
        }
        Connection::UserDefined(_) | Connection::Bridge | Connection::Unnamed(_) => Vec::new(),
    }
}

/// The user the job's container starts as: the operator's, else the job's where it is allowed, else the image's
/// (protocols: GitLab 9.7).
fn user_of(spec: &SandboxSpec<'_>) -> Result<Option<String>, JobFailure> {
    let settings = spec.settings;
    let filled = |user: Option<&String>| user.filter(|user| !user.is_empty()).cloned();
    let of_job = filled(spec.job.image.as_ref().and_then(|image| image.user.as_ref()));
    let of_operator = filled(settings.user.as_ref());
    let Some(user) = of_operator.or(of_job) else { return Ok(None) };
    // With no list there is nothing to check: the operator's user comes first, and without one any may be asked for.
    if settings.allowed_users.is_empty() || settings.allowed_users.contains(&user) {
        return Ok(Some(user));
    }
    Err(JobFailure::configuration(format!(
        "the user \"{user}\" is not allowed on this runner (`docker.allowed_users`: {})",
        settings.allowed_users.join(", ")
    )))
}
