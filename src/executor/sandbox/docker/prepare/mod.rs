//! Makes a job's sandbox: network, images and services, container, shim.
//!
//! What does not depend on each other happens at the same time. An error without a reason (the engine's own) is tried
//! again, as often as it takes where the engine is away: it comes back, and the job waits for it until its time is up. One
//! with a reason is the job's end. Whatever the end, nothing that was made stays behind.

mod attempt;
mod job_container;

use std::path::Path;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::attempt::Preparation;
use super::Docker;
use super::error::EngineError;
use super::image::pull::{ImageError, JobImages, OnBehalf};
use super::settings::DockerSettings;
use crate::artifact::tools::JobTools;
use crate::executor::evidence::ContainerEvidence;
use crate::executor::log::{StageLog, Tone};
use crate::executor::sandbox::{JobPaths, SandboxRecord};
use crate::pipeline::{FailureReason, JobFailure, JobKey, PipelineJob, Secret};

/// How often an error without a reason is tried, and the pause between.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(3);
/// How often an engine that is away is looked for.
const LOOK_FOR_ENGINE: Duration = Duration::from_secs(3);
/// How long the removal of a failed attempt may hold its job up.
const UNDO: Duration = Duration::from_secs(90);

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
    /// The shim on the machine, mounted at [`super::SHIM`].
    pub shim: &'a Path,
    /// The container's command, after the entrypoint: the shim's path in the container alone.
    pub command: Vec<String>,
    /// Tools of earlier jobs, where the job has a folder for them.
    pub tools: Option<JobTools>,
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
        /// What it was, not masked.
        container: Option<Box<ContainerEvidence>>,
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
    EntrypointEnded { exit_code: i32, output: Vec<u8>, container: Option<Box<ContainerEvidence>> },
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
                ended = tokio::time::timeout_at(deadline, Box::pin(preparation.run(hooks))) => match ended {
                    Ok(Ok(prepared)) => Ended::Ready(prepared),
                    Ok(Err(error)) => Ended::Badly(error),
                    Err(_elapsed) => Ended::TimedOut,
                },
            };
            if matches!(&ended, Ended::Badly(Attempt::Engine(error)) if !error.is_engine_gone()) {
                Box::pin(preparation.distrust_network()).await;
            }
            if !matches!(ended, Ended::Ready(_)) {
                Box::pin(preparation.undo()).await;
            }
            match ended {
                Ended::Ready(prepared) => return Ok(prepared),
                Ended::Cancelled => return Err(PrepareError::Cancelled),
                Ended::TimedOut => return Err(timed_out(patience).into()),
                Ended::Badly(Attempt::Failure(failure)) => return Err(failure.into()),
                Ended::Badly(Attempt::EntrypointEnded { exit_code, output, container }) => {
                    return Err(PrepareError::EntrypointEnded { exit_code, output, container });
                }
                Ended::Badly(Attempt::Engine(error)) => {
                    let again = self.before_next(error, attempt, &spec.job.key, log);
                    attempt = tokio::select! {
                        biased;
                        () = cancel.cancelled() => return Err(PrepareError::Cancelled),
                        () = tokio::time::sleep_until(deadline) => return Err(timed_out(patience).into()),
                        next = again => next?,
                    };
                }
            }
        }
    }

    /// Makes a container of `spec`'s image that shares work tree and network of the container `beside.0`, the `beside.1`-th
    /// further one of its job. An error leaves nothing of it.
    pub async fn prepare_beside<'f, S>(
        &self,
        spec: &SandboxSpec<'_>,
        beside: (&str, u32),
        log: &dyn StageLog,
        cancel: &CancellationToken,
        connect: &(dyn Fn() -> BoxFuture<'f, Result<S, JobFailure>> + Send + Sync),
    ) -> Result<(String, S), JobFailure> {
        let patience = spec.job.timeouts.prepare.unwrap_or(spec.job.timeouts.job);
        // What only the first container of a network may say.
        let settings = DockerSettings {
            dns: Vec::new(),
            dns_search: Vec::new(),
            extra_hosts: Vec::new(),
            links: Vec::new(),
            ..spec.settings.clone()
        };
        let spec = SandboxSpec { settings: &settings, ..spec.clone() };
        let behalf = OnBehalf { owner: &spec.job.owner, auth: &spec.job.registry_auth };
        let images = JobImages::new(self.engine(), self.image_owners(), self.machine_auth(), behalf, log);
        let on_created = |_record| -> BoxFuture<'f, Result<(), JobFailure>> { Box::pin(async { Ok(()) }) };
        let hooks = Hooks { on_created: &on_created, connect };
        let mut preparation = Preparation::new(self, &spec, log, &images);
        preparation.beside = Some(beside.1);
        let ended = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(PrepareError::Cancelled.into()),
            ended = tokio::time::timeout(patience, preparation.run_beside(beside.0, &hooks)) => match ended {
                Ok(Ok(made)) => return Ok(made),
                Ok(Err(Attempt::Failure(failure))) => Err(failure),
                Ok(Err(Attempt::Engine(error))) => {
                    Err(JobFailure::system(format!("the step's container could not be made: {error}")))
                }
                Ok(Err(Attempt::EntrypointEnded { exit_code, output, container })) => {
                    log.output(&output);
                    Err(PrepareError::EntrypointEnded { exit_code, output, container }.into())
                }
                Err(_elapsed) => Err(timed_out(patience)),
            },
        };
        preparation.undo_beside().await;
        ended
    }

    /// Removes one container, with its anonymous volumes. One that is gone is no error.
    pub async fn remove_one(&self, container: &str) -> Result<(), EngineError> {
        self.engine().remove_container(container).await
    }

    /// Waits until it is worth trying again after `error` and returns the number of the next attempt. Those that an engine
    /// spoiled which is away do not count.
    async fn before_next(
        &self,
        error: EngineError,
        attempt: u32,
        job: &JobKey,
        log: &dyn StageLog,
    ) -> Result<u32, JobFailure> {
        if self.answers().await.is_err() {
            log.say(Tone::Warning, &format!("Preparation failed: {error}"));
            log.say(Tone::Plain, "The job waits for the engine until its time limit ...");
            self.return_of_engine().await;
            log.say(Tone::Plain, "The engine is back; the preparation begins again.");
            // Nothing could be removed while it was away.
            if let Err(error) = self.remove_job(job).await {
                tracing::warn!(job_id = %job, %error, "what was made for the job stays for the sweeper");
            }
            return Ok(attempt);
        }
        if attempt == ATTEMPTS {
            return Err(JobFailure::system(format!("preparation failed {ATTEMPTS} times: {error}")));
        }
        log.say(Tone::Warning, &format!("Preparation failed: {error}"));
        log.say(Tone::Plain, &format!("Will be retried in {}s ...", PAUSE.as_secs()));
        tokio::time::sleep(PAUSE).await;
        Ok(attempt + 1)
    }

    async fn return_of_engine(&self) {
        loop {
            tokio::time::sleep(LOOK_FOR_ENGINE).await;
            if self.answers().await.is_ok() {
                return;
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
