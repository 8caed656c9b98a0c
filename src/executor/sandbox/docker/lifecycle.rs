//! A sandbox after it was made: found again, looked at, ended, removed.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::container::LogOutput;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{LogsOptions, StopContainerOptions};
use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use futures_util::{Stream, StreamExt, stream};

use super::engine::{CHANGE, LOOK};
use super::error::EngineError;
use super::{Docker, labels};
use crate::executor::sandbox::SandboxRecord;
use crate::pipeline::JobKey;

/// What became of a sandbox while nobody looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reattached {
    /// Its container runs: connect to its shim.
    Running,
    /// Its container has ended or is gone. What the shim left in the run directory counts all the same.
    Gone {
        /// Why, for the job's log.
        cause: String,
    },
}

/// How a container stands or ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndState {
    /// Whether it runs.
    pub is_running: bool,
    /// Its exit code, once it has ended.
    pub exit_code: Option<i32>,
    /// Whether the kernel ended a process of it at its memory limit.
    pub oom_killed: bool,
    /// The engine's words about a failed start.
    pub error: Option<String>,
}

/// A piece of a service's output.
#[derive(Clone, Debug)]
pub struct ServiceOutput {
    /// The service's names.
    pub aliases: Vec<String>,
    /// What it printed, not masked.
    pub bytes: Bytes,
}

impl Docker {
    /// Looks for the sandbox of `record`. The engine away is an error, not [`Reattached::Gone`].
    pub async fn reattach(&self, record: &SandboxRecord) -> Result<Reattached, EngineError> {
        let SandboxRecord::Docker { container, boot_id, .. } = record else {
            return Ok(Reattached::Gone { cause: "its record is of another kind of sandbox".into() });
        };
        if boot_id != self.boot_id() {
            return Ok(Reattached::Gone { cause: "the machine was restarted while the job ran".into() });
        }
        let Some(inspect) = self.engine().inspect(container).await? else {
            return Ok(Reattached::Gone { cause: "its container was removed by another program".into() });
        };
        let state = end_state_of(&inspect);
        if state.is_running {
            return Ok(Reattached::Running);
        }
        let cause = match (state.oom_killed, state.exit_code) {
            (true, _) => "its container was ended at its memory limit".to_owned(),
            (false, Some(code)) => format!("its container has ended with exit code {code}"),
            (false, None) => "its container was made, but never started".to_owned(),
        };
        Ok(Reattached::Gone { cause })
    }

    /// How the job's container stands or ended. `None`: it is gone.
    pub async fn end_state(&self, record: &SandboxRecord) -> Result<Option<EndState>, EngineError> {
        let SandboxRecord::Docker { container, .. } = record else { return Ok(None) };
        Ok(self.engine().inspect(container).await?.as_ref().map(end_state_of))
    }

    /// The last `most` bytes of what a container printed so far, both streams in order. Empty where it is gone.
    pub async fn output_of(&self, container: &str, most: usize) -> Result<Vec<u8>, EngineError> {
        let options = LogsOptions { stdout: true, stderr: true, tail: "all".into(), ..LogsOptions::default() };
        let mut kept = VecDeque::new();
        let read = self.engine().drain(
            "reading the container's output",
            LOOK,
            self.engine().api().logs(container, Some(options)),
            |output| {
                kept.extend(output.into_bytes());
                let surplus = kept.len().saturating_sub(most);
                kept.drain(..surplus);
            },
        );
        match read.await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(kept.into()),
        }
    }

    /// What the services of a sandbox print, from their start or from the first whole second after `since`, until each has
    /// ended. For jobs that ask for it.
    pub async fn service_logs(
        &self,
        record: &SandboxRecord,
        since: Option<SystemTime>,
    ) -> Result<impl Stream<Item = ServiceOutput> + Send + use<>, EngineError> {
        let SandboxRecord::Docker { services, .. } = record else { return Ok(stream::select_all(Vec::new())) };
        let since = since.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map_or(0, |since| since.as_secs() + 1);
        let since = i32::try_from(since).unwrap_or(i32::MAX);
        let follow = |container: &String| {
            let (docker, container) = (self.clone(), container.clone());
            async move {
                let inspect = docker.engine().inspect(&container).await?;
                let names = inspect.and_then(|i| i.config?.labels?.remove(labels::SERVICE)).unwrap_or_default();
                let aliases: Vec<String> = names.split(',').map(str::to_owned).collect();
                let options = LogsOptions {
                    follow: true,
                    stdout: true,
                    stderr: true,
                    since,
                    tail: "all".into(),
                    ..LogsOptions::default()
                };
                let lines = docker.engine().api().logs(&container, Some(options)).filter_map(move |output| {
                    let piece = output.ok().map(LogOutput::into_bytes);
                    std::future::ready(piece.map(|bytes| ServiceOutput { aliases: aliases.clone(), bytes }))
                });
                Ok::<_, EngineError>(lines.boxed())
            }
        };
        Ok(stream::select_all(try_join_all(services.iter().map(follow)).await?))
    }

    /// Asks the job's container to end: SIGTERM, and SIGKILL after `grace`. One that is gone or has ended is no error.
    pub async fn stop(&self, record: &SandboxRecord, grace: Duration) -> Result<(), EngineError> {
        let SandboxRecord::Docker { container, .. } = record else { return Ok(()) };
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptions { t: Some(seconds), signal: None };
        let call = self.engine().api().stop_container(container, Some(options));
        match self.engine().call("stopping the container", CHANGE + grace, call).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes everything of a sandbox: containers with their anonymous volumes, then the network. May be called at any time
    /// and repeatedly.
    pub async fn remove(&self, record: &SandboxRecord) -> Result<(), EngineError> {
        let SandboxRecord::Docker { container, services, network, .. } = record else { return Ok(()) };
        let removals = services.iter().chain([container]).map(|id| self.engine().remove_container(id));
        // All are tried, whatever becomes of one.
        join_all(removals).await.into_iter().collect::<Result<Vec<()>, _>>()?;
        match network {
            Some(network) if !self.networks().release(network) => self.networks().remove(network).await,
            _ => Ok(()),
        }
    }

    /// Removes every container that carries the job's label, known or not.
    pub async fn remove_job(&self, job: &JobKey) -> Result<(), EngineError> {
        let found = self.engine().containers(labels::made_for(self.agent(), job)).await?;
        let ids = found.into_iter().filter_map(|container| container.id);
        join_all(ids.map(|id| async move { self.engine().remove_container(&id).await })).await.into_iter().collect()
    }
}

pub(super) fn end_state_of(inspect: &ContainerInspectResponse) -> EndState {
    let state = inspect.state.clone().unwrap_or_default();
    let is_running = state.running.unwrap_or(false);
    // One that was never started has no end, but an exit code of 0.
    let has_ended = !is_running && state.finished_at.as_deref().is_some_and(|at| !at.starts_with("0001-"));
    EndState {
        is_running,
        exit_code: state.exit_code.filter(|_| has_ended).map(|code| code as i32), // the 32 bits that the kernel gave
        oom_killed: state.oom_killed.unwrap_or(false),
        error: state.error.filter(|error| !error.is_empty()),
    }
}
