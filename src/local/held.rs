//! What a run made for its own later jobs is held until the run ends: jobs that still wait refer to it, and no collection beside the run
//! takes it away.

use std::sync::Arc;

use super::house::blocking;
use crate::artifact::retention::ReferenceCause;
use crate::artifact::store::{Store, StoreError, What};
use crate::artifact::{Interrupt, in_full};
use crate::pipeline::schedule::PipelineEnd;
use crate::pipeline::{ForgeInstance, JobId, JobKey, Owner};

/// Who holds what the jobs of a run made: the run, for those of its jobs that wait.
fn holder(run: &str) -> JobKey {
    JobKey::of(&ForgeInstance::new("local"), &JobId::new("run"), run)
}

/// Holds the artifacts that `producer` left in the store. Nothing hangs on it: what a waiting job does not find there it gets from the run's
/// own archives.
pub async fn hold(store: &Arc<Store>, run: &str, owner: &Owner, producer: &JobKey) {
    let (store, holder, owner, producer) = (store.clone(), holder(run), owner.clone(), producer.clone());
    let held = blocking(move || {
        let hold = || -> Result<(), StoreError> {
            let left =
                store.list(Some(&owner))?.into_iter().map(|listed| listed.info).filter(|info| {
                    info.producer.as_ref() == Some(&producer) && matches!(info.what, What::Artifact { .. })
                });
            let trees: Vec<_> = left.map(|info| info.content_hash).collect();
            if trees.is_empty() { Ok(()) } else { store.hold(&owner, &holder, &trees, &Interrupt::default()) }
        };
        hold().map_err(|error| in_full(&error))
    });
    if let Err(error) = held.await {
        tracing::warn!(error, "what a job left is not held for those that wait");
    }
}

/// Gives back what a run held, by its end; `None`: it was killed. Blocking.
pub fn release(store: &Store, run: &str, end: Option<PipelineEnd>) -> Result<(), StoreError> {
    let cause = match end {
        Some(PipelineEnd::Success) => ReferenceCause::JobSucceeded,
        Some(PipelineEnd::Failed) => ReferenceCause::JobFailed,
        Some(PipelineEnd::Cancelled) | None => ReferenceCause::JobCancelled,
    };
    let holder = holder(run);
    for other in store.holders()? {
        if other.job == holder {
            store.release(&other.owner, &holder, cause)?;
        }
    }
    Ok(())
}

/// Gives back what these jobs held, whose run was killed. Blocking.
pub fn release_jobs(store: &Store, jobs: &[JobKey]) -> Result<(), StoreError> {
    for holder in store.holders()? {
        if jobs.contains(&holder.job) {
            store.release(&holder.owner, &holder.job, ReferenceCause::JobCancelled)?;
        }
    }
    Ok(())
}
