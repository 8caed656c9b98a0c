//! Containers for steps that name an image of their own: beside the job's, with its work tree and its network.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, Ordering};

use super::step::{StepImage, StepNumber};
use crate::executor::running::{Running, SHIM_PATIENCE};
use crate::executor::sandbox::place::PlaceRequest;
use crate::executor::sandbox::shim::ShimClient;
use crate::forge::Reporter;
use crate::pipeline::definition::ImageSpec;

/// Where a step runs.
#[derive(Clone)]
pub(super) struct StepPlace {
    pub(super) shim: ShimClient,
    /// Where the step's output lies.
    pub(super) run: PathBuf,
    /// It is not the job's container.
    pub(super) is_own: bool,
    /// Its container, where it is not the job's.
    pub(super) container: Option<String>,
    /// The container was made for this step alone.
    goes: Option<String>,
}

/// The containers beside the job's.
#[derive(Default)]
pub(super) struct Besides {
    /// By image, for all steps of that image.
    shared: tokio::sync::Mutex<Vec<(ImageSpec, StepPlace)>>,
    made: std::sync::Mutex<HashSet<String>>,
    next: AtomicU32,
}

impl Besides {
    /// Where a step with `image` runs. The error is what its user reads.
    pub(super) async fn of<R: Reporter>(
        &self,
        running: &Running<R>,
        image: Option<&StepImage>,
        step: StepNumber,
    ) -> Result<StepPlace, String> {
        let Some(wanted) = image else {
            let shim = running.shim().map_err(|failure| failure.message)?.clone();
            return Ok(StepPlace {
                shim,
                run: running.run.paths.run.clone(),
                is_own: false,
                container: None,
                goes: None,
            });
        };
        if wanted.fresh {
            let mut place = self.make(running, &wanted.image, step).await?;
            place.0.goes = Some(place.1);
            return Ok(place.0);
        }
        let mut shared = self.shared.lock().await;
        if let Some((_, place)) = shared.iter().find(|(image, _)| *image == wanted.image) {
            return Ok(place.clone());
        }
        let (place, _container) = self.make(running, &wanted.image, step).await?;
        shared.push((wanted.image.clone(), place.clone()));
        Ok(place)
    }

    async fn make<R: Reporter>(
        &self,
        running: &Running<R>,
        image: &ImageSpec,
        step: StepNumber,
    ) -> Result<(StepPlace, String), String> {
        let run = &running.run;
        let record = run.sandbox.as_ref().ok_or("the job has no place of its own")?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut job = run.job.clone();
        (job.image, job.services) = (Some(image.clone()), Vec::new());
        let stop = tokio_util::sync::CancellationToken::new();
        let _stops_with_us = stop.clone().drop_guard();
        let request = PlaceRequest {
            job: &job,
            paths: &run.paths,
            env: running.environment.without_gitlab(),
            log: &run.log,
            stop,
        };
        tracing::debug!(step = step.0, image = image.name, "a container for a step");
        let made = run.tools.place.prepare_beside(request, record, number).await.map_err(|failure| failure.message)?;
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(made.container.clone());
        let container = Some(made.container.clone());
        Ok((StepPlace { shim: made.shim, run: made.run, is_own: true, container, goes: None }, made.container))
    }

    /// The step at `place` has ended.
    pub(super) async fn release<R: Reporter>(&self, running: &Running<R>, place: StepPlace) {
        if let Some(container) = place.goes {
            running.run.tools.place.remove_beside(&container).await;
            self.made.lock().unwrap_or_else(PoisonError::into_inner).remove(&container);
        }
    }

    /// The containers that are still there.
    pub(super) fn made(&self) -> Vec<String> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Returns when the place of `shim` has ended by itself, with what to tell.
pub(super) async fn gone(shim: &ShimClient) -> String {
    match shim.watch().await {
        Ok(mut watch) => watch.gone().await,
        Err(error) => tracing::warn!(%error, "the shim of a step cannot be watched"),
    }
    if shim.ping(tokio::time::Instant::now() + SHIM_PATIENCE).await.is_err() {
        return "the step's container is gone; run the job again".to_owned();
    }
    std::future::pending().await
}
