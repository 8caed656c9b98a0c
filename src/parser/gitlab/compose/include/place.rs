//! Where a file lies.

use std::sync::Arc;

use crate::parser::document::Files;

use super::super::{Remote, RemoteError, RemoteFile};

/// Where a file lies: what a local include in it means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum Place {
    /// In the checkout.
    Checkout,
    /// In another project, at a commit.
    Project { project: Arc<str>, commit: Arc<str> },
    /// At an address or among GitLab's templates: nothing is local there.
    Nowhere,
}

/// Why a file is not there.
pub(super) enum Absent {
    /// It does not exist.
    Missing(Option<String>),
    /// It cannot be asked for.
    Unavailable(String),
}

impl From<RemoteError> for Absent {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Missing(why) => Self::Missing(Some(why)),
            RemoteError::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

/// What can be asked for files.
#[derive(Clone, Copy)]
pub(super) struct Stores<'a> {
    pub(super) files: &'a dyn Files,
    pub(super) remote: &'a dyn Remote,
}

impl Stores<'_> {
    /// The bytes of a local file.
    pub(super) fn read(&self, place: &Place, path: &str) -> Result<Vec<u8>, Absent> {
        match place {
            Place::Checkout => match self.files.read(path) {
                Ok(Some(bytes)) => Ok(bytes),
                Ok(None) => Err(Absent::Missing(None)),
                Err(error) => Err(Absent::Missing(Some(error.problem))),
            },
            Place::Project { project, commit } => {
                let file = RemoteFile::Project {
                    project: project.to_string(),
                    reference: Some(commit.to_string()),
                    file: path.to_owned(),
                };
                Ok(self.remote.fetch(&file)?.bytes)
            }
            Place::Nowhere => Err(Absent::Missing(Some(
                "the including file is not in a project, so nothing is local to it".to_owned(),
            ))),
        }
    }

    /// The paths of all files there, sorted.
    pub(super) fn list(&self, place: &Place) -> Result<Arc<[String]>, Absent> {
        match place {
            Place::Checkout => self.files.list().map_err(|error| Absent::Missing(Some(error.to_string()))),
            Place::Project { project, commit } => Ok(self.remote.list(project, commit)?),
            Place::Nowhere => Ok(Arc::new([])),
        }
    }
}
