//! Calls that change the engine for one job.
//!
//! The engine finishes a creation whose caller has gone away. So such a call is a task that runs to its end even if its
//! caller is cancelled, and whoever cleans up waits for these tasks first: nothing is made behind its back.

use std::time::Duration;

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::CreateContainerOptions;
use tokio_util::task::TaskTracker;

use super::Docker;
use super::engine::CHANGE;
use super::error::EngineError;
use super::prepare::Attempt;
use crate::pipeline::JobFailure;

/// How long a clean-up waits for what is under way. What comes later is the sweeper's.
const PATIENCE: Duration = Duration::from_secs(30);

/// The changes made for one job.
pub(super) struct Changes {
    docker: Docker,
    tasks: TaskTracker,
}

impl Changes {
    pub(super) fn new(docker: Docker) -> Self {
        Self { docker, tasks: TaskTracker::new() }
    }

    pub(super) fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Makes a container and returns its id. One of the same name is what an earlier agent, or an earlier attempt, left of
    /// the same job: it is removed, so that a job never has two.
    pub(super) async fn create(&self, name: String, body: ContainerCreateBody) -> Result<String, Attempt> {
        let docker = self.docker.clone();
        let made = self.to_the_end(async move {
            match create(&docker, &name, body.clone()).await {
                Err(EngineError::Conflict { .. }) => {
                    docker.engine().remove_container(&name).await?;
                    create(&docker, &name, body).await
                }
                answer => answer,
            }
        });
        made.await.map_err(|error| refused("the container cannot be made", error))
    }

    /// Starts a container.
    pub(super) async fn start(&self, container: String) -> Result<(), Attempt> {
        let docker = self.docker.clone();
        let started = self.to_the_end(async move {
            let engine = docker.engine();
            engine.call("starting the container", CHANGE, engine.api().start_container(&container, None)).await
        });
        started.await.map_err(|error| refused("the container cannot be started", error))
    }

    /// Waits until nothing is under way any more.
    pub(super) async fn settle(&self) {
        self.tasks.close();
        if tokio::time::timeout(PATIENCE, self.tasks.wait()).await.is_err() {
            tracing::warn!("the engine is still at work on a job that was given up; the sweeper removes what it makes");
        }
        self.tasks.reopen();
    }

    async fn to_the_end<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    ) -> Result<T, EngineError> {
        match self.tasks.spawn(change).await {
            Ok(answer) => answer,
            Err(error) => {
                Err(EngineError::Protocol { what: "changing a container".into(), message: error.to_string() })
            }
        }
    }
}

async fn create(docker: &Docker, name: &str, body: ContainerCreateBody) -> Result<String, EngineError> {
    let engine = docker.engine();
    let options = CreateContainerOptions { name: Some(name.to_owned()), platform: String::new() };
    let made = engine.call("making the container", CHANGE, engine.api().create_container(Some(options), body)).await?;
    for warning in made.warnings {
        tracing::warn!(container = name, warning, "the engine warns");
    }
    Ok(made.id)
}

/// What the engine calls invalid stays so: it comes from the job's or the operator's options.
fn refused(what: &str, error: EngineError) -> Attempt {
    match error {
        EngineError::Refused { message, .. } => Attempt::Failure(JobFailure::configuration(format!(
            "{what}: {message}; check the job's image and `docker` options"
        ))),
        // The engine finds this out late and calls it its own failure; the next attempt would find the same.
        EngineError::Failed { message, .. }
            if message.contains("unable to find user") || message.contains("unable to find group") =>
        {
            Attempt::Failure(JobFailure::configuration(format!(
                "{what}: {message}; the user must exist in the image, or be given as a number"
            )))
        }
        error => Attempt::Engine(error),
    }
}
