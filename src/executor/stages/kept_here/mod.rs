//! Artifacts that this machine's store has as well as the forge: what a job left is restored from it for the jobs that depend on
//! it, in place of an archive that would have to come over the network.
//!
//! The forge stays the truth. What is kept here is named after the job and the archive that the forge acknowledged, and is only used for
//! a dependency of exactly that job, archive and size; whose job may see it is the store's to say.
//!
//! - `made`: keeping what a job leaves. `downloaded`: keeping what had to come over the network. `wish`: what both say of it.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::artifacts::{disk, interruptible, open_project};
use super::files;
use crate::artifact::retention::ReferenceCause;
use crate::artifact::store::{Listed, Progress, Store, StoreError, Wanted};
use crate::artifact::{Interrupt, Remark, in_full, merge};
use crate::executor::running::Running;
use crate::forge::{Demand, Reporter};
use crate::pipeline::definition::{DependencySpec, JobDirs};
use crate::pipeline::{FailureReason, JobFailure, JobId, Owner};

mod downloaded;
mod made;
mod wish;

pub(super) use downloaded::Keeper;
pub(super) use made::{Packed, is_for_others, keep};

/// Bytes of the archive that the forge has.
const ARCHIVE_SIZE: &str = "archive_size";

/// What an archive of a job is kept as. Where ids of jobs begin anew with each run, the run is part of it: a job of another run has the
/// same id, project and size of archive, and other files.
fn name_of(run: Option<&str>, job: &JobId, file_name: &str) -> String {
    let job = job.as_str();
    run.map_or_else(|| format!("{job}/{file_name}"), |run| format!("{run}/{job}/{file_name}"))
}

/// What of a dependency is kept on this machine.
pub(super) struct Found {
    listed: Listed,
    /// It came from the store that machines share just now.
    is_brought: bool,
}

impl Found {
    /// Where it is restored from, for people.
    pub(super) fn place(&self) -> &'static str {
        if self.is_brought { "the shared store" } else { "this machine" }
    }
}

/// What of a dependency is kept here, or in the store that machines share; it is held until the job is over.
pub(super) async fn find<R: Reporter>(
    running: &Running<R>,
    dependency: &DependencySpec,
    stop: &CancellationToken,
) -> Option<Found> {
    let run = &running.run;
    let (store, owner, holder) = (run.tools.store.clone(), run.job.owner.clone(), run.job.key.clone());
    let wanted = Wanted::Named(name_of(run.tools.run.as_deref(), &dependency.id, &dependency.file_name));
    let size = dependency.size.to_string();
    let found = interruptible(stop, move |interrupt| {
        let mut found = store.find(&owner, &wanted).map_err(|error| in_words(&error))?;
        let is_brought = found.is_none() && is_brought(&store, &owner, &wanted, &interrupt);
        if is_brought {
            found = store.find(&owner, &wanted).map_err(|error| in_words(&error))?;
        }
        let found = found.filter(|found| found.info.metadata.get(ARCHIVE_SIZE) == Some(&size));
        if let Some(found) = &found {
            let trees = [found.info.content_hash];
            store.hold(&found.info.owner, &holder, &trees, &interrupt).map_err(|error| in_words(&error))?;
            // It may have been removed just before it was held.
            let still = store.find(&owner, &wanted).map_err(|error| in_words(&error))?;
            let still = still.filter(|still| still.info == found.info);
            return Ok(still.map(|listed| Found { listed, is_brought }));
        }
        Ok(None)
    });
    found.await.unwrap_or_else(|failure| {
        tracing::warn!(error = failure.message, "the store cannot be asked");
        None
    })
}

/// Holds what is kept here of the job's dependencies from its beginning: it may be long until it needs them. Beside its first stages, which
/// do not wait for it.
pub(in crate::executor) fn hold_ahead<R: Reporter>(running: &Running<R>) -> Option<HeldAhead> {
    let run = &running.run;
    let (store, owner, holder) = (run.tools.store.clone(), run.job.owner.clone(), run.job.key.clone());
    let name = |dependency: &DependencySpec| name_of(run.tools.run.as_deref(), &dependency.id, &dependency.file_name);
    let names: Vec<String> = run.job.dependencies.iter().map(name).collect();
    let interrupt = Interrupt::default();
    let raised = interrupt.clone();
    let hold = move || -> Result<(), StoreError> {
        for name in names {
            if let Some(found) = store.find(&owner, &Wanted::Named(name))? {
                store.hold(&found.info.owner, &holder, &[found.info.content_hash], &raised)?;
            }
        }
        Ok(())
    };
    (!run.job.dependencies.is_empty()).then(|| {
        let task = tokio::task::spawn_blocking(move || match hold() {
            Ok(()) | Err(StoreError::Interrupted) => {}
            Err(error) => {
                tracing::warn!(error = in_full(&error), "what the job needs of others is held only when it needs it");
            }
        });
        HeldAhead { task, interrupt }
    })
}

/// Work that holds what a job needs.
pub(in crate::executor) struct HeldAhead {
    task: JoinHandle<()>,
    interrupt: Interrupt,
}

impl HeldAhead {
    /// Comes back when it holds nothing more. What went wrong is in the log.
    async fn end(self) {
        self.interrupt.raise();
        let _ = self.task.await;
    }
}

/// Whether another machine has told the shared store of it, and it came.
fn is_brought(store: &Store, owner: &Owner, wanted: &Wanted, interrupt: &Interrupt) -> bool {
    match store.bring(owner, wanted, interrupt) {
        Ok(brought) => brought.is_some(),
        Err(error) => {
            tracing::warn!(error = in_full(&error), "the shared store cannot be asked");
            false
        }
    }
}

/// Restores what was found into the work tree, all of it or nothing. `Err`: it is fetched from the forge.
pub(super) async fn restore<R: Reporter>(
    running: &Running<R>,
    Found { listed: found, .. }: Found,
    stop: &CancellationToken,
) -> Result<(u64, Vec<Remark>), JobFailure> {
    let run = &running.run;
    let (store, job) = (run.tools.store.clone(), run.job.key.clone());
    let (workspace, dirs) = (run.paths.workspace.clone(), run.job.dirs.clone());
    interruptible(stop, move |interrupt| {
        let root = open_project(&workspace, &dirs)?;
        let restored = restore_staged(&store, &found, &workspace, &dirs, &root, &interrupt);
        if let Err(error) = files::take_staging_away(&workspace, &dirs) {
            tracing::warn!(%error, "what was restored of an artifact stays until the job's end");
        }
        let restored = restored?;
        store.used(&found, Some(&job)).map_err(|error| in_words(&error))?;
        Ok(restored)
    })
    .await
}

fn restore_staged(
    store: &Store,
    found: &Listed,
    workspace: &std::path::Path,
    dirs: &JobDirs,
    root: &cap_std::fs::Dir,
    interrupt: &Interrupt,
) -> Result<(u64, Vec<Remark>), JobFailure> {
    let staging = files::staging(workspace, dirs).map_err(|error| disk("artifacts cannot be restored", &error))?;
    let (owner, id) = (&found.info.owner, &found.info.content_hash);
    let got = store.restore(owner, id, &staging, &Progress::default(), interrupt).map_err(|error| in_words(&error))?;
    let remarks =
        merge::move_into(&staging, root, &got.unnamed).map_err(|error| disk("artifacts cannot be moved", &error))?;
    Ok((got.entries, remarks))
}

/// Gives back what the job held, however it ended.
pub(in crate::executor) async fn release<R: Reporter>(running: &mut Running<R>) {
    if let Some(ahead) = running.held_ahead.take() {
        ahead.end().await;
    }
    let run = &running.run;
    if run.job.dependencies.is_empty() {
        return;
    }
    let cause = release_cause(*run.halt.demand.borrow(), run.progress.failure.as_ref());
    let (store, owner, holder) = (run.tools.store.clone(), run.job.owner.clone(), run.job.key.clone());
    let released = tokio::task::spawn_blocking(move || store.release_readable(&owner, &holder, cause)).await;
    if let Ok(Err(error)) = released {
        tracing::warn!(%error, "what the job held is given back later");
    }
}

/// How a job ended that needs nothing any more.
fn release_cause(demand: Demand, failure: Option<&JobFailure>) -> ReferenceCause {
    match failure {
        // Whoever gave it up does not hear how it ended.
        _ if demand == Demand::Abort => ReferenceCause::JobCancelled,
        Some(failure) if failure.reason == FailureReason::JobCanceled => ReferenceCause::JobCancelled,
        Some(_) => ReferenceCause::JobFailed,
        None => ReferenceCause::JobSucceeded,
    }
}

fn in_words(error: &StoreError) -> JobFailure {
    JobFailure::system(in_full(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audit_is_told_how_a_job_ended() {
        let (failed, cancelled) = (JobFailure::exit(1), JobFailure::new(FailureReason::JobCanceled, "canceled"));
        assert_eq!(release_cause(Demand::Wanted, None), ReferenceCause::JobSucceeded);
        assert_eq!(release_cause(Demand::Wanted, Some(&failed)), ReferenceCause::JobFailed);
        assert_eq!(release_cause(Demand::CancelGracefully, Some(&cancelled)), ReferenceCause::JobCancelled);
        assert_eq!(release_cause(Demand::Abort, None), ReferenceCause::JobCancelled);
    }
}
