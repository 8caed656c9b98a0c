//! Caches, artifacts and those of other jobs.

use super::step::When;
use crate::pipeline::id::JobId;
use crate::pipeline::secret::Secret;

/// Folders kept from job to job under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSpec {
    /// The key, expanded; sanitised where the forge's rules ask for it. Empty: it comes to nothing, and nothing is kept.
    pub key: String,
    /// Keys to try, in order, when nothing is kept under `key`.
    pub fallback_keys: Vec<String>,
    /// What is kept.
    pub files: FileSelection,
    /// Whether it is restored before the steps.
    pub pull: bool,
    /// Whether it is saved after them.
    pub push: bool,
    /// After which results it is saved.
    pub when: When,
}

/// Which files of the work tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSelection {
    /// Globs relative to the work tree; variables in them are expanded when the files are looked for.
    pub paths: Vec<String>,
    /// Globs of what is left out again.
    pub exclude: Vec<String>,
    /// Also what git does not track, ignored files included.
    pub untracked: bool,
}

/// Files that a job gives away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactSpec {
    /// The base name of the archive, before variables in it are expanded; empty: the forge's default.
    pub name: String,
    /// Which files.
    pub files: FileSelection,
    /// After which results.
    pub when: When,
    /// `archive` or a kind of report.
    pub kind: String,
    /// How they are packed.
    pub format: ArtifactFormat,
    /// The format's name exactly as the forge sent it, empty where it sent none.
    pub format_on_wire: String,
    /// How long the forge is to keep it, in the forge's words; empty: its default.
    pub expire_in: String,
}

/// How files are packed for the forge or into a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ArtifactFormat {
    /// A zip archive.
    #[default]
    Zip,
    /// A zip archive whose entries are compressed with zstd (method 93).
    ZipZstd,
    /// A tar archive in one zstd stream.
    TarZstd,
    /// One gzip member a file.
    Gzip,
    /// One file as it is.
    Raw,
}

/// Another job whose files this one is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DependencySpec {
    /// The other job's id.
    pub id: JobId,
    /// Its name, for the log.
    pub name: String,
    /// The token its files are fetched with.
    pub token: Secret,
    /// The archive's name.
    pub file_name: String,
    /// The archive's size in bytes as the forge says.
    pub size: u64,
}
