//! Folders kept from job to job under a key.
//!
//! [`CacheStore`] is what the stages of a job see; [`LocalCache`] keeps caches on this machine. A store asks the [`Owner`] on
//! every call: an entry is readable by jobs of the same project at the same forge whose trust is not above its writer's, and
//! is only ever written under the writer's own name. So a fork's job starts from the project's cache and can never change
//! what the project's own jobs will run. That forges append `-protected` to keys of their own accord is another
//! wall, not this one.

use std::io;
use std::path::PathBuf;

use cap_std::fs::Dir;

use super::archive::{ArchiveError, Level, Limits};
use super::select::Selection;
use super::{Interrupt, Remark};
use crate::pipeline::{FailureCategory, JobKey, Owner};

mod disk;
mod evict;
mod local;
mod record;

#[cfg(test)]
mod tests;

pub use local::{CacheSettings, Clock, LocalCache};

/// Which entries a job asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The entry of exactly this key.
    Exact(Vec<u8>),
    /// The newest entry whose key begins like this.
    Prefix(Vec<u8>),
}

/// A job's wish to have a cache restored.
#[derive(Clone, Debug)]
pub struct RestoreRequest<'a> {
    /// On whose behalf.
    pub owner: &'a Owner,
    /// Keys in the order in which they are tried: the key itself, then the fallback keys.
    pub keys: &'a [Wanted],
    /// An empty folder on the file system of the tree. The cache is whole there before any of it gets into the tree.
    pub staging: &'a Dir,
    /// What the archive may hold.
    pub limits: Limits,
    /// Ends the work early.
    pub interrupt: Interrupt,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restored {
    /// An entry was found and is in the tree.
    Hit(Hit),
    /// There is none that this job may read. The remarks tell of damaged ones.
    Miss {
        /// What the user should read.
        remarks: Vec<Remark>,
    },
}

/// An entry that was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Its key.
    pub key: Vec<u8>,
    /// Whose job wrote it.
    pub writer: Owner,
    /// Which job.
    pub job: JobKey,
    /// When.
    pub created_at: jiff::Timestamp,
    /// Entries put into the tree.
    pub entries: u64,
    /// Bytes of their content.
    pub bytes: u64,
    /// Bytes of the archive.
    pub stored_bytes: u64,
    /// What the user should read.
    pub remarks: Vec<Remark>,
}

/// A job's wish to have files kept.
#[derive(Clone, Debug)]
pub struct SaveRequest<'a> {
    /// On whose behalf; the entry is his.
    pub owner: &'a Owner,
    /// The key.
    pub key: &'a [u8],
    /// Which job writes.
    pub job: &'a JobKey,
    /// How hard to compress.
    pub level: Level,
    /// Ends the work early.
    pub interrupt: Interrupt,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// It is kept, and on disk.
    Stored {
        /// Bytes of the archive.
        stored_bytes: u64,
        /// Entries in it.
        entries: u64,
        /// Files that could not be read, entries that had to go.
        remarks: Vec<Remark>,
    },
    /// The entry of this key holds exactly these files already: nothing was written.
    UpToDate,
    /// There are no files.
    Nothing,
    /// It could not be kept, and the job goes on: no space, larger than its quota. The remark says which.
    Refused(Remark),
}

/// Why a store could not do its work. For a job this is a warning: a cache is never needed.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The store's own files cannot be read or written.
    #[error("the cache store: {doing} `{}` failed; check the permissions of the state directory", path.display())]
    Store {
        /// What was being done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The store was written by a newer version.
    #[error("the cache store at `{}` has format {found}, and this version knows {known}; use the newer version again, or another state directory", path.display())]
    Newer {
        /// The store.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Another process keeps the store busy.
    #[error("the cache store was kept busy by another process for {seconds} seconds")]
    Busy {
        /// How long was waited.
        seconds: u64,
    },
    /// The files could not be packed, or an archive that was whole could not be unpacked: the tree may hold a part of it.
    #[error("the cache could not be {doing}")]
    Archive {
        /// `packed` or `unpacked`.
        doing: &'static str,
        /// Why.
        #[source]
        source: ArchiveError,
    },
}

impl CacheError {
    /// Whose fault it is.
    pub fn category(&self) -> FailureCategory {
        match self {
            Self::Store { .. } | Self::Busy { .. } => FailureCategory::Resource,
            Self::Newer { .. } => FailureCategory::Configuration,
            Self::Archive { source, .. } => source.category(),
        }
    }
}

/// Keeps caches. One for all jobs of an agent, perhaps shared with other processes and machines.
///
/// Calls block on disk or network: make them from `spawn_blocking`. Any number may run at the same time, also for the
/// same key; the last save that ends wins, and a restore sees one entry whole, old or new.
///
/// Both calls may be repeated after a crash with the same arguments. A save that returned [`Saved::Stored`] outlives a loss of
/// power; one that was cut leaves the entry as it was.
pub trait CacheStore: Send + Sync {
    /// Puts the first entry found into the tree `into`. The archive is proved whole before the tree is touched; for
    /// each key the owner's own entry comes before those of higher trust.
    fn restore(&self, request: &RestoreRequest<'_>, into: &Dir) -> Result<Restored, CacheError>;

    /// Keeps `selection` of the tree `from` under the owner's own name.
    fn save(&self, request: &SaveRequest<'_>, from: &Dir, selection: &Selection) -> Result<Saved, CacheError>;
}
