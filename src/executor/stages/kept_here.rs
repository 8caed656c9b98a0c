//! Artifacts that this machine's store has as well as the forge: what a job left is restored from it for the jobs that depend on
//! it, in place of an archive that would have to come over the network.
//!
//! The forge stays the truth. What is kept here is named after the job and the archive that the forge acknowledged, and is only used for
//! a dependency of exactly that job, archive and size; whose job may see it is the store's to say.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::artifacts::{disk, interruptible, open_project};
use super::files;
use crate::artifact::retention::{Expiry, ReferenceCause, Withdrawal};
use crate::artifact::select::Selection;
use crate::artifact::store::{
    Files, Keep, Listed, Origin, Progress, PutOptions, RecordKey, Store, StoreError, Wanted, What,
};
use crate::artifact::{Interrupt, Remark, fingerprint, in_full, merge};
use crate::executor::running::Running;
use crate::forge::{Demand, Reporter};
use crate::parser::gitlab::config::duration;
use crate::pipeline::definition::{ArtifactFormat, ArtifactSpec, DependencySpec, JobDirs, PipelineJob};
use crate::pipeline::{FailureReason, JobFailure, JobId, JobKey, Owner};

/// Bytes of the archive that the forge has.
const ARCHIVE_SIZE: &str = "archive_size";

/// What an archive of a job is kept as. Where ids of jobs begin anew with each run, the run is part of it: a job of another run has the
/// same id, project and size of archive, and other files.
fn name_of(run: Option<&str>, job: &JobId, file_name: &str) -> String {
    let job = job.as_str();
    run.map_or_else(|| format!("{job}/{file_name}"), |run| format!("{run}/{job}/{file_name}"))
}

/// Whether other jobs may depend on it.
pub(super) fn is_for_others(artifact: &ArtifactSpec) -> bool {
    matches!(artifact.kind.as_str(), "" | "archive") && artifact.format == ArtifactFormat::Zip
}

/// What is to be kept, as it was packed.
pub(super) struct Packed {
    pub(super) selection: Selection,
    /// Of the files before they were packed.
    pub(super) fingerprint: [u8; 32],
    pub(super) archive_size: u64,
}

/// What is kept, until the forge has acknowledged the archive.
pub(super) struct KeptHere {
    store: Arc<Store>,
    owner: Owner,
    key: RecordKey,
}

impl KeptHere {
    /// Has other machines find it: the forge has it, too.
    pub(super) async fn share(self) {
        let shared = tokio::task::spawn_blocking(move || self.store.share(&self.owner, &self.key)).await;
        if let Ok(Err(error)) = shared {
            tracing::warn!(%error, "the shared store is not told of an artifact");
        }
    }

    /// Forgets it again: the forge does not have it.
    pub(super) async fn forget(self) {
        let forgotten =
            tokio::task::spawn_blocking(move || self.store.forget_name(&self.owner, &self.key, Withdrawal::NotTaken))
                .await;
        if let Ok(Err(error)) = forgotten {
            tracing::warn!(%error, "what the forge did not take is still kept here");
        }
    }
}

/// Keeps what was packed, which is called `name` and whose archive is called `file_name`. Nothing hangs on it: where it cannot be kept, the forge has it.
pub(super) async fn keep<R: Reporter>(
    running: &Running<R>,
    artifact: &ArtifactSpec,
    (name, file_name): (&str, &str),
    packed: Packed,
    stop: &CancellationToken,
) -> Option<KeptHere> {
    let run = &running.run;
    let (store, owner) = (run.tools.store.clone(), run.job.owner.clone());
    let (workspace, dirs) = (run.paths.workspace.clone(), run.job.dirs.clone());
    let wish = Wish {
        name: name_of(run.tools.run.as_deref(), &run.job.id, file_name),
        expires: expiry(&artifact.expire_in),
        producer: run.job.key.clone(),
        job: run.job.name.clone(),
        pipeline: Some(run.job.variables.value("CI_PIPELINE_ID")).filter(|id| !id.is_empty()),
        origin: origin(&run.job, artifact, name),
    };
    let kept = interruptible(stop, move |interrupt| {
        let root = open_project(&workspace, &dirs)?;
        let key = wish.put(&store, &owner, &root, &packed, interrupt).map_err(|error| in_words(&error))?;
        if fingerprint(&root, &packed.selection) != packed.fingerprint {
            // Something of the job still writes: what is kept may not be what the archive has.
            store.forget_name(&owner, &key, Withdrawal::Changed).map_err(|error| in_words(&error))?;
            return Ok(None);
        }
        Ok(Some(KeptHere { store, owner, key }))
    });
    match kept.await {
        Ok(kept) => kept,
        Err(failure) => {
            tracing::warn!(error = failure.message, "an artifact is not kept on this machine");
            None
        }
    }
}

/// What a job wants kept, and what is to be known of it.
struct Wish {
    name: String,
    expires: Expiry,
    producer: JobKey,
    job: String,
    pipeline: Option<String>,
    origin: Origin,
}

/// Where an artifact called `name` comes from, for retention policies.
fn origin(job: &PipelineJob, artifact: &ArtifactSpec, name: &str) -> Origin {
    let variable = |name| Some(job.variables.value(name)).filter(|value| !value.is_empty());
    let pipeline = match (variable("CI_MERGE_REQUEST_IID"), variable("CI_COMMIT_TAG")) {
        (Some(number), _) => format!("merge request {number}"),
        (None, Some(tag)) => format!("tag {tag}"),
        (None, None) => format!("branch {}", job.sources.ref_name),
    };
    Origin {
        title: Some(name.to_owned()).filter(|_| !artifact.name.is_empty()),
        pipeline,
        // With what is another in each run, as the commit's hash, it would be another artifact in each.
        series: format!("{}\n{}", job.name, artifact.name),
    }
}

impl Wish {
    fn put(
        self,
        store: &Store,
        owner: &Owner,
        root: &cap_std::fs::Dir,
        packed: &Packed,
        interrupt: Interrupt,
    ) -> Result<RecordKey, StoreError> {
        let kept = store.put(&Keep {
            owner,
            what: What::Artifact { name: Some(self.name) },
            root,
            files: Files::Selected(&packed.selection),
            options: PutOptions { owners: true, xattrs: false },
            expires: self.expires,
            producer: Some(self.producer),
            job: Some(self.job),
            pipeline: self.pipeline,
            origin: Some(self.origin),
            metadata: BTreeMap::from([(ARCHIVE_SIZE.to_owned(), packed.archive_size.to_string())]),
            interrupt,
            progress: &Progress::default(),
        })?;
        Ok(kept.key)
    }
}

/// Until when, in the forge's words; where it says nothing, as the policies say.
fn expiry(text: &str) -> Expiry {
    if text.trim() == "never" {
        return Expiry::Never;
    }
    let until = duration::parse(text).and_then(|time| jiff::Timestamp::now().checked_add(time).ok());
    until.map_or(Expiry::None, Expiry::At)
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
            store.hold(&found.info.owner, &holder, &[found.info.content_hash]).map_err(|error| in_words(&error))?;
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
    let remarks = merge::move_into(&staging, root).map_err(|error| disk("artifacts cannot be moved", &error))?;
    Ok((got.entries, remarks))
}

/// Gives back what the job held, however it ended.
pub(in crate::executor) async fn release<R: Reporter>(running: &Running<R>) {
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
