//! Why the store could not do what it was asked for.

use std::io;
use std::path::{Path, PathBuf};

use super::id::ObjectId;
use super::second::LevelError;
use crate::artifact::beneath::is_no_space;
use crate::artifact::retention::Refusal;
use crate::pipeline::FailureCategory;

/// Why the store could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file of the store, or of the tree that was to be read or written, cannot be used.
    #[error("{doing} `{}` failed; check the permissions and the disk", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The disk is full.
    #[error("the disk of the store `{}` is full; free some room, or lower the quota so that old artifacts go earlier", path.display())]
    NoSpace {
        /// The store, or the file.
        path: PathBuf,
    },
    /// The disk that is restored to is full.
    #[error("no space left on the disk for `{}`: free some, and restore again", path.display())]
    NoRoom {
        /// The file that had no room.
        path: PathBuf,
    },
    /// What is said about it is more than a record holds.
    #[error(
        "what is to be known about it, its name and metadata, takes {bytes} bytes, and at most {limit} can be kept: say less"
    )]
    Wordy {
        /// Bytes of the record.
        bytes: usize,
        /// At most.
        limit: u64,
    },
    /// Nothing was to be kept unless all is.
    #[error("it is not kept, since not all of it can be: {what}")]
    NotWhole {
        /// What was left out, or is of no certain state.
        what: String,
    },
    /// The quota would be passed.
    #[error(
        "{whose} quota of {quota} bytes is used up: nothing new is kept; see what `forgehand store gc --dry-run` would let go and when, let more go by a policy (`store.retention`), or raise `{setting}`"
    )]
    Quota {
        /// `the store's`, `the project's`.
        whose: &'static str,
        /// Bytes.
        quota: u64,
        /// What sets it.
        setting: &'static str,
        /// Bytes that would have to be free.
        needed: u64,
    },
    /// The store is so full that it takes nothing new.
    #[error(transparent)]
    Refused(Refusal),
    /// A newer version wrote the store.
    #[error("the store at `{}` has format {found}, and this version knows {known}; use the newer version again, or another state directory", path.display())]
    Newer {
        /// The store.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// What wrote the store cannot be told.
    #[error(
        "`{}` is damaged, and `{}` does not tell either: nobody knows which version wrote the store, and nothing was touched. If it was this one, remove both files and try again", path.display(), copy.display()
    )]
    Format {
        /// The file that says it.
        path: PathBuf,
        /// Its copy.
        copy: PathBuf,
    },
    /// A file of the store is not what its checksum says.
    #[error("{what} of the store is damaged: `{}`; it was put aside. `forgehand store verify` tells what is affected", path.display())]
    Damaged {
        /// What it is.
        what: &'static str,
        /// Where it lies.
        path: PathBuf,
    },
    /// An object is not there, or not what its name says.
    #[error(
        "the object {id} is {how}; `forgehand store verify` tells what else is affected, and putting the same content again mends it"
    )]
    Object {
        /// Its name.
        id: ObjectId,
        /// `missing` or `damaged`.
        how: ObjectTrouble,
    },
    /// A manifest does not say what a manifest says.
    #[error("the manifest {id} cannot be read: {why}")]
    Manifest {
        /// Its name.
        id: ObjectId,
        /// What is wrong.
        why: &'static str,
    },
    /// A tree is larger than the one who wants it has room for.
    #[error("the tree {id} has {found} {what}, and at most {limit} may be restored: nothing of it is used")]
    TooLarge {
        /// The tree.
        id: ObjectId,
        /// `entries`, `bytes of content`, ...
        what: &'static str,
        /// How many.
        found: u64,
        /// How many may be.
        limit: u64,
    },
    /// There is nothing of this name, or nothing that the asker may see.
    #[error("nothing is kept under `{name}`; `forgehand store ls` shows what is")]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The target of a restore is in use.
    #[error("`{}` is there already and not empty: nothing was restored. Name a folder that is absent or empty", path.display())]
    Occupied {
        /// The target.
        path: PathBuf,
    },
    /// Another process keeps the store busy.
    #[error("the store was kept busy by another process for {seconds} seconds; try again")]
    Busy {
        /// How long was waited.
        seconds: u64,
    },
    /// Encryption is set up differently from what the store holds.
    #[error("{0}")]
    Key(String),
    /// The index cannot be used.
    #[error("the store's index `{}` cannot be used", path.display())]
    Index {
        /// Its file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// The second level did not do what it should.
    #[error(transparent)]
    Second(LevelError),
    /// The work was asked to end.
    #[error("interrupted")]
    Interrupted,
}

/// What is the matter with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectTrouble {
    /// No pack has it.
    Missing,
    /// What a pack has is something else.
    Damaged,
}

impl std::fmt::Display for ObjectTrouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ObjectTrouble::Missing => "missing",
            ObjectTrouble::Damaged => "damaged",
        })
    }
}

impl StoreError {
    /// An error of the file system at `path`.
    pub(super) fn file(doing: &'static str, path: &Path, source: io::Error) -> Self {
        if is_no_space(&source) {
            return Self::NoSpace { path: path.to_owned() };
        }
        Self::File { doing, path: path.to_owned(), source }
    }

    /// Whose fault it is.
    pub fn category(&self) -> FailureCategory {
        match self {
            Self::File { .. }
            | Self::NoSpace { .. }
            | Self::NoRoom { .. }
            | Self::Quota { .. }
            | Self::TooLarge { .. }
            | Self::Refused(_)
            | Self::Busy { .. }
            | Self::Index { .. } => FailureCategory::Resource,
            Self::Newer { .. } | Self::Unknown { .. } | Self::Occupied { .. } | Self::Wordy { .. } | Self::Key(_) => {
                FailureCategory::Configuration
            }
            Self::Format { .. } | Self::Damaged { .. } | Self::Object { .. } | Self::Manifest { .. } => {
                FailureCategory::Corruption
            }
            Self::Second(_) | Self::Interrupted | Self::NotWhole { .. } => FailureCategory::Transient,
        }
    }

    /// Whether it says that what is kept is not whole.
    pub fn is_damage(&self) -> bool {
        self.category() == FailureCategory::Corruption
    }
}
