//! Why the journal could not do what was asked of it.

use std::io;
use std::path::{Path, PathBuf};

use super::durable;
use super::payload::PayloadError;
use super::phase::InvalidPhase;
use super::schema;
use crate::pipeline::{FailureCategory, InvalidTransition, JobKey};

/// Why the journal could not do what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// There is no room for what must be kept.
    #[error("no room left for {path} ({cause}); free some space on that file system", path = .path.display())]
    DiskFull {
        /// What was written.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file or folder could not be used.
    #[error("{path} cannot be used: {cause}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The database could not be used.
    #[error("the journal {path} cannot be used: {cause}", path = .path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        cause: rusqlite::Error,
    },
    /// The database is damaged.
    #[error("the journal {path} is damaged: {what}", path = .path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// A newer forgehand wrote the database.
    #[error("the journal {path} was written by a newer forgehand than this one ({version}); run that one, or start with another --state-dir", path = .path.display(), version = crate::VERSION)]
    Newer {
        /// The database.
        path: PathBuf,
    },
    /// The job is not in the journal.
    #[error("job {0} is not in the journal")]
    Unknown(JobKey),
    /// The job is not where it would have to be for this.
    #[error("job {key}: {cause}")]
    Phase {
        /// Which job.
        key: JobKey,
        /// What was asked of it.
        #[source]
        cause: InvalidPhase,
    },
    /// The job's status cannot take this.
    #[error("job {key}: {cause}")]
    Status {
        /// Which job.
        key: JobKey,
        /// What was asked of it.
        #[source]
        cause: InvalidTransition,
    },
    /// A value cannot be written as JSON.
    #[error("job {key}: what was to be kept of it cannot be written down: {cause}")]
    Unwritable {
        /// Which job.
        key: JobKey,
        /// What is wrong with the value.
        #[source]
        cause: serde_json::Error,
    },
    /// The program ends and takes no more work.
    #[error("the journal is closed: the agent ends")]
    Closed,
}

impl JournalError {
    /// What kind of trouble it is. Exhaustive on purpose.
    pub fn category(&self) -> FailureCategory {
        match self {
            Self::DiskFull { .. } => FailureCategory::Resource,
            Self::File { .. } | Self::Database { .. } | Self::Closed => FailureCategory::Transient,
            Self::Damaged { .. } => FailureCategory::Corruption,
            Self::Newer { .. } => FailureCategory::Configuration,
            Self::Unknown(_) | Self::Phase { .. } | Self::Status { .. } | Self::Unwritable { .. } => {
                FailureCategory::Catastrophic
            }
        }
    }

    pub(super) fn from_io(path: &Path, cause: io::Error) -> Self {
        if durable::is_disk_full(&cause) {
            Self::DiskFull { path: path.to_owned(), cause: Box::new(cause) }
        } else {
            Self::File { path: path.to_owned(), cause }
        }
    }

    pub(super) fn from_sqlite(path: &Path, cause: rusqlite::Error) -> Self {
        if schema::is_disk_full(&cause) {
            Self::DiskFull { path: path.to_owned(), cause: Box::new(cause) }
        } else if schema::is_damage(&cause) {
            Self::Damaged { path: path.to_owned(), what: cause.to_string() }
        } else {
            Self::Database { path: path.to_owned(), cause }
        }
    }

    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}

impl From<PayloadError> for JournalError {
    fn from(error: PayloadError) -> Self {
        Self::from_io(&error.path, error.cause)
    }
}
