//! Keeping what was downloaded, so that the next job that depends on the same need not download it again.
//!
//! It is kept for the jobs of the one that downloaded it (its [`Owner`]), whoever made it: what a fork's job downloaded no other
//! finds. Its record is its own: it names no producer, so it takes the place of nothing that the producing job itself has kept on this
//! machine. Other machines are not told of it: they have the forge to ask, which is the truth, and what this machine takes
//! for the forge's answer (a proxy, a certificate of its own) is not theirs.

use std::collections::BTreeMap;
use std::sync::Arc;

use cap_std::fs::Dir;

use super::wish::{Wish, runs_for};
use super::{ARCHIVE_SIZE, name_of};
use crate::artifact::archive::Unpacked;
use crate::artifact::retention::Expiry;
use crate::artifact::store::{Files, Origin, Store, StoreError, Wanted};
use crate::artifact::{Interrupt, in_full};
use crate::executor::running::Running;
use crate::forge::Reporter;
use crate::pipeline::definition::DependencySpec;
use crate::pipeline::{JobKey, Owner};

/// Where it is from, for people.
const SOURCE: (&str, &str) = ("source", "downloaded from the forge");

/// Keeps what a job downloads.
pub(in crate::executor::stages) struct Keeper {
    store: Arc<Store>,
    owner: Owner,
    /// The job that downloads.
    job: JobKey,
    name: String,
    /// The job that made it.
    maker: String,
    runs_for: String,
    /// Bytes of the archive, as the forge says.
    size: u64,
}

impl Keeper {
    /// For what `dependency` left.
    pub(in crate::executor::stages) fn of<R: Reporter>(running: &Running<R>, dependency: &DependencySpec) -> Self {
        let run = &running.run;
        Self {
            store: run.tools.store.clone(),
            owner: run.job.owner.clone(),
            job: run.job.key.clone(),
            name: name_of(run.tools.run.as_deref(), &dependency.id, &dependency.file_name),
            maker: dependency.name.clone(),
            runs_for: runs_for(&run.job),
            size: dependency.size,
        }
    }

    /// For the archive `41/out.zip` of the job `make`.
    #[cfg(test)]
    pub(in crate::executor::stages) fn test(store: Arc<Store>, owner: Owner, size: u64) -> Self {
        let id = crate::pipeline::JobId::new("42");
        Self {
            job: JobKey::of(&owner.forge, &id, "token"),
            store,
            owner,
            name: "41/out.zip".to_owned(),
            maker: "make".to_owned(),
            runs_for: "branch main".to_owned(),
            size,
        }
    }

    /// Keeps what lies in `root`, which was empty before an archive of `size` bytes was unpacked there and which nobody else can
    /// write to. Nothing hangs on it: where it cannot be kept, the next job downloads it, too.
    pub(in crate::executor::stages) fn keep(&self, root: &Dir, size: u64, unpacked: &Unpacked, interrupt: &Interrupt) {
        if size != self.size {
            let said = self.size;
            tracing::warn!(self.name, size, said, "an archive is not as large as the forge says: it is not kept");
            return;
        }
        // What is not all there must not be taken for the whole by the next job.
        if !unpacked.remarks.is_empty() || !unpacked.unnamed.is_complete() {
            return;
        }
        match self.try_keep(root, unpacked, interrupt) {
            Ok(()) | Err(StoreError::Interrupted) => {}
            Err(error) => {
                tracing::warn!(self.name, error = in_full(&error), "what was downloaded is not kept on this machine");
            }
        }
    }

    fn try_keep(&self, root: &Dir, unpacked: &Unpacked, interrupt: &Interrupt) -> Result<(), StoreError> {
        // It must not take the room of what jobs leave here, nor drive caches out.
        if !self.store.has_plenty(&self.owner, unpacked.bytes)? {
            tracing::info!(self.name, "what was downloaded is not kept on this machine: there is little room left");
            return Ok(());
        }
        let files = Files::Unpacked(&unpacked.unnamed);
        self.wish().put(&self.store, &self.owner, root, files, interrupt.clone())?;
        match self.store.find(&self.owner, &Wanted::Named(self.name.clone()))? {
            Some(found) => self.store.used(&found, Some(&self.job)),
            None => Ok(()),
        }
    }

    fn wish(&self) -> Wish {
        let size = (ARCHIVE_SIZE.to_owned(), self.size.to_string());
        let (key, source) = SOURCE;
        Wish {
            name: self.name.clone(),
            // How long the forge keeps it nobody says who depends on it: policies and the matrix decide.
            expires: Expiry::None,
            producer: None,
            job: self.maker.clone(),
            pipeline: None,
            // What `artifacts:name` was is not known either. The run is mostly the same one. A series of its own: counted with what jobs
            // made here, an old one that is downloaded would push out a newer one.
            origin: Origin {
                title: None,
                pipeline: self.runs_for.clone(),
                series: format!("{}\ndownloaded", self.maker),
            },
            metadata: BTreeMap::from([size, (key.to_owned(), source.to_owned())]),
        }
    }
}
