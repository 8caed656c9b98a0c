//! Folders kept from job to job under a key.
//!
//! [`CacheStore`] is what the stages of a job see; [`LocalCache`] keeps caches in the content-addressed store, [`RunnerCache`] in a
//! bucket that gitlab-runner uses, too, and says itself what holds there. The store asks the [`Owner`] on
//! every call: an entry is readable by jobs of the same project at the same forge whose trust is not above its writer's, and
//! is only ever written under the writer's own name. So a fork's job starts from the project's cache and can never change
//! what the project's own jobs will run. That forges append `-protected` to keys of their own accord is another
//! wall, not this one.

use std::io;

use cap_std::fs::Dir;

use super::archive::{ArchiveError, Level, Limits};
use super::select::Selection;
use super::store::{LevelError, StoreError};
use super::{Interrupt, Remark};
use crate::pipeline::definition::ArtifactFormat;
use crate::pipeline::{FailureCategory, JobKey, Owner};

mod attempt;
mod local;
mod runner;

#[cfg(test)]
mod tests;

pub use local::LocalCache;
pub use runner::RunnerCache;

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
    /// Which job reads.
    pub job: &'a JobKey,
    /// Keys in the order in which they are tried: the key itself, then the fallback keys.
    pub keys: &'a [Wanted],
    /// An empty folder on the file system of the tree. The cache is whole there before any of it gets into the tree.
    pub staging: &'a Dir,
    /// How large a cache may be.
    pub limits: Limits,
    /// What the job says about how caches are kept.
    pub style: CacheStyle,
    /// Ends the work early.
    pub interrupt: Interrupt,
}

/// What a job says about how its caches are kept. Of meaning for stores that keep an archive for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStyle {
    /// The archive's format. `None`: the store's own.
    pub format: Option<ArtifactFormat>,
    /// How hard it is compressed.
    pub level: Level,
    /// Keys are SHA-256 sums, and spread over folders.
    pub hashed_keys: bool,
}

impl CacheStyle {
    /// The format of this name in `CACHE_COMPRESSION_FORMAT`; what is none is zip. (protocols: GitLab 7.5.)
    pub fn format_named(name: &str) -> ArtifactFormat {
        match name.to_ascii_lowercase().as_str() {
            "tarzstd" => ArtifactFormat::TarZstd,
            "zipzstd" => ArtifactFormat::ZipZstd,
            _ => ArtifactFormat::Zip,
        }
    }
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
    /// Whose job wrote it, where the store knows.
    pub writer: Option<Owner>,
    /// Which job, where the store knows.
    pub job: Option<JobKey>,
    /// When.
    pub created_at: jiff::Timestamp,
    /// Entries put into the tree.
    pub entries: u64,
    /// Bytes of their content.
    pub bytes: u64,
    /// What the user should read.
    pub remarks: Vec<Remark>,
}

impl Hit {
    /// Who kept it and when, for people: the end of a sentence.
    pub fn origin(&self) -> String {
        let at = self.created_at.strftime("%Y-%m-%d %H:%M UTC");
        let job = self.job.as_ref().map(|job| format!(" by job {}", job.forge_id())).unwrap_or_default();
        let trust = self.writer.as_ref().map(|writer| format!(" ({})", writer.trust)).unwrap_or_default();
        format!("kept{job}{trust} at {at}")
    }
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
    /// What the job says about how caches are kept.
    pub style: CacheStyle,
    /// Ends the work early.
    pub interrupt: Interrupt,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// It is kept, and on disk.
    Stored {
        /// Bytes that the store has more than before: what its owner keeps already is not written again.
        stored_bytes: u64,
        /// Files, folders and symlinks in it.
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
    /// The store could not do it. The tree is as it was.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bucket could not be asked, or refused. The tree is as it was.
    #[error("the cache's bucket could not be used")]
    Remote(#[from] LevelError),
    /// The archive could not be made or unpacked. The tree is as it was.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The folder in which a cache is put together cannot be used. The tree is as it was.
    #[error("the folder in which a cache is put together cannot be used; check the permissions and the disk")]
    Staging(#[source] io::Error),
    /// A cache that was whole could not be moved into the tree, which may hold a part of it.
    #[error("what was restored of the cache could not be moved into the work tree")]
    Merge(#[source] io::Error),
}

impl CacheError {
    /// Whose fault it is.
    pub fn category(&self) -> FailureCategory {
        match self {
            Self::Store(error) => error.category(),
            Self::Remote(_) => FailureCategory::Transient,
            Self::Archive(error) => error.category(),
            Self::Staging(_) | Self::Merge(_) => FailureCategory::Resource,
        }
    }
}

/// Keeps caches. One for all jobs of an agent, perhaps shared with other processes and machines.
///
/// Calls block on disk or network: make them from `spawn_blocking`. Any number may run at the same time, also for the
/// same key; the last save that ends wins, and a restore sees one entry whole, old or new.
///
/// Both calls may be repeated after a crash with the same arguments. A save that returned [`Saved::Stored`] outlives a loss of
/// power; one that was cut leaves the entry as it was, unless there is no room for both: then the old one may go first.
pub trait CacheStore: Send + Sync {
    /// Puts the first entry found into the tree `into`. It is proved and whole before the tree is touched; for each key the
    /// owner's own entry comes before those of higher trust. What is damaged is told of and counts as not there.
    fn restore(&self, request: &RestoreRequest<'_>, into: &Dir) -> Result<Restored, CacheError>;

    /// Keeps `selection` of the tree `from` under the owner's own name.
    fn save(&self, request: &SaveRequest<'_>, from: &Dir, selection: &Selection) -> Result<Saved, CacheError>;
}
