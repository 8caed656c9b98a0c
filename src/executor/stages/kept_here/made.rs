//! Keeping what a job leaves for others, besides the archive that the forge gets.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::wish::{Wish, runs_for};
use super::{ARCHIVE_SIZE, in_words, name_of};
use crate::artifact::fingerprint;
use crate::artifact::retention::{Expiry, Withdrawal};
use crate::artifact::select::Selection;
use crate::artifact::store::{Files, Origin, RecordKey, Store};
use crate::executor::running::Running;
use crate::executor::stages::artifacts::{interruptible, open_project};
use crate::forge::Reporter;
use crate::parser::gitlab::config::duration;
use crate::pipeline::Owner;
use crate::pipeline::definition::{ArtifactFormat, ArtifactSpec};

/// Whether other jobs may depend on it.
pub(in crate::executor::stages) fn is_for_others(artifact: &ArtifactSpec) -> bool {
    matches!(artifact.kind.as_str(), "" | "archive") && artifact.format == ArtifactFormat::Zip
}

/// What is to be kept, as it was packed.
pub(in crate::executor::stages) struct Packed {
    pub(in crate::executor::stages) selection: Selection,
    /// Of the files before they were packed.
    pub(in crate::executor::stages) fingerprint: [u8; 32],
    pub(in crate::executor::stages) archive_size: u64,
}

/// What is kept, until the forge has acknowledged the archive.
pub(in crate::executor::stages) struct KeptHere {
    store: Arc<Store>,
    owner: Owner,
    key: RecordKey,
}

impl KeptHere {
    /// Has other machines find it: the forge has it, too.
    pub(in crate::executor::stages) async fn share(self) {
        let shared = tokio::task::spawn_blocking(move || self.store.share(&self.owner, &self.key)).await;
        if let Ok(Err(error)) = shared {
            tracing::warn!(%error, "the shared store is not told of an artifact");
        }
    }

    /// Forgets it again: the forge does not have it.
    pub(in crate::executor::stages) async fn forget(self) {
        let forgotten =
            tokio::task::spawn_blocking(move || self.store.forget_name(&self.owner, &self.key, Withdrawal::NotTaken))
                .await;
        if let Ok(Err(error)) = forgotten {
            tracing::warn!(%error, "what the forge did not take is still kept here");
        }
    }
}

/// Keeps what was packed, which is called `name` and whose archive is called `file_name`. Nothing hangs on it: where it cannot be kept, the forge has it.
pub(in crate::executor::stages) async fn keep<R: Reporter>(
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
        expires: expiry(&store, &artifact.expire_in),
        producer: Some(run.job.key.clone()),
        job: run.job.name.clone(),
        pipeline: Some(run.job.variables.value("CI_PIPELINE_ID")).filter(|id| !id.is_empty()),
        origin: Origin {
            title: Some(name.to_owned()).filter(|_| !artifact.name.is_empty()),
            pipeline: runs_for(&run.job),
            // With what is another in each run, as the commit's hash, it would be another artifact in each.
            series: format!("{}\n{}", run.job.name, artifact.name),
        },
        metadata: BTreeMap::from([(ARCHIVE_SIZE.to_owned(), packed.archive_size.to_string())]),
    };
    let kept = interruptible(stop, move |interrupt| {
        let root = open_project(&workspace, &dirs)?;
        let kept = wish.put(&store, &owner, &root, Files::Selected(&packed.selection), interrupt);
        let key = kept.map_err(|error| in_words(&error))?.key;
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

/// Until when, in the forge's words; where it says nothing, as the policies say.
fn expiry(store: &Store, text: &str) -> Expiry {
    if text.trim() == "never" {
        return Expiry::Never;
    }
    duration::parse(text).map_or(Expiry::None, |time| store.expiry_after(time))
}
