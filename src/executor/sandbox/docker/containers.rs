//! What is done with a container whoever it is for: looked at, waited for, removed.

use std::collections::HashMap;
use std::time::Duration;

use bollard::errors::Error as Bollard;
use bollard::models::{ContainerInspectResponse, ContainerSummary};
use bollard::query_parameters::{ListContainersOptions, RemoveContainerOptions, WaitContainerOptions};
use futures_util::StreamExt;
use tokio::time::Instant;

use super::Engine;
use super::engine::{CHANGE, LOOK};
use super::error::EngineError;

/// The exit code of a container that is gone, which nobody knows.
pub(super) const GONE: i32 = -1;
/// How long a removal that another call has begun may take.
const REMOVAL: Duration = Duration::from_secs(120);
/// How often such a removal is looked at.
const REMOVAL_PAUSE: Duration = Duration::from_millis(200);

impl Engine {
    /// Waits until the container has ended and returns its exit code, [`GONE`] where it is gone. No deadline of its own: the caller
    /// waits beside something else. Cancel-safe.
    pub async fn wait_exit(&self, container: &str) -> Result<i32, EngineError> {
        let options = WaitContainerOptions { condition: "not-running".into() };
        let waited = std::pin::pin!(self.api().wait_container(container, Some(options))).next().await;
        match waited {
            Some(Ok(ended)) => Ok(ended.status_code as i32), // the 32 bits that the kernel gave
            Some(Err(Bollard::DockerContainerWaitError { code, .. })) => Ok(code as i32),
            Some(Err(error)) => match self.explain("waiting for the container's end", error) {
                error if error.is_not_found() => Ok(GONE),
                error => Err(error),
            },
            None => Err(EngineError::Protocol {
                what: "waiting for the container's end".into(),
                message: "the answer was empty".into(),
            }),
        }
    }

    /// Removes a container by id or name, running or not, with its anonymous volumes. One that is gone is no error.
    pub async fn remove_container(&self, id: &str) -> Result<(), EngineError> {
        let deadline = Instant::now() + REMOVAL;
        loop {
            let options = RemoveContainerOptions { v: true, force: true, link: false };
            let call = self.api().remove_container(id, Some(options));
            match self.call("removing a container", CHANGE, call).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_not_found() => return Ok(()),
                // Another call is removing it; removed it is only when the engine does not know it any more.
                Err(EngineError::Conflict { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(REMOVAL_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What the engine knows of a container; `None`: it is gone.
    pub(super) async fn inspect(&self, id: &str) -> Result<Option<ContainerInspectResponse>, EngineError> {
        match self.call("looking at a container", LOOK, self.api().inspect_container(id, None)).await {
            Ok(inspect) => Ok(Some(inspect)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Containers that pass the filters, running or not.
    pub(super) async fn containers(
        &self,
        filters: HashMap<String, Vec<String>>,
    ) -> Result<Vec<ContainerSummary>, EngineError> {
        let options = ListContainersOptions { all: true, filters: Some(filters), ..ListContainersOptions::default() };
        self.call("listing containers", LOOK, self.api().list_containers(Some(options))).await
    }
}
