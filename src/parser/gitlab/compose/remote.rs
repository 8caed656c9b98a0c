//! Files that are not in the checkout.

use std::sync::Arc;

/// A file elsewhere, by the kind of include that names it. Variables in it are expanded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RemoteFile {
    /// `project:` and `file:`.
    Project {
        /// The project's path, `group/project`.
        project: String,
        /// A branch, a tag or a commit; `None`: the default branch.
        reference: Option<String>,
        /// The path in the project, without a leading slash.
        file: String,
    },
    /// `remote:`.
    Url {
        /// The address.
        url: String,
    },
    /// `template:` (GitLab's own).
    Template {
        /// The name, `Jobs/Build.gitlab-ci.yml`.
        name: String,
    },
    /// `component:`.
    Component {
        /// The server's name.
        host: String,
        /// The project's path and the component's name, `group/project/name`.
        path: String,
        /// A commit, a tag, a branch, `~latest`, `1`, `1.2`.
        version: String,
    },
}

/// A file that was had.
#[derive(Clone, Debug, Default)]
pub struct Fetched {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The project it lies in, with the commit: local includes in it mean that project's files. `None` for templates and
    /// addresses, which can include nothing local.
    pub project: Option<(Arc<str>, Arc<str>)>,
    /// For a component, the version that its address came to.
    pub version: Option<String>,
}

/// Why a file could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// It does not exist, or may not be read.
    #[error("{0}")]
    Missing(String),
    /// It could not be asked for: nothing is fetched, it is not on the allow-list, or the network fails.
    #[error("{0}")]
    Unavailable(String),
}

/// Where files come from that are not in the checkout.
pub trait Remote: Send + Sync {
    /// One file.
    ///
    /// # Errors
    /// [`RemoteError`], with a sentence a developer can act on.
    fn fetch(&self, file: &RemoteFile) -> Result<Fetched, RemoteError>;

    /// The paths of a project at a commit, sorted, for patterns and `exists`.
    ///
    /// # Errors
    /// [`RemoteError`].
    fn list(&self, project: &str, commit: &str) -> Result<Arc<[String]>, RemoteError>;

    /// A file that a job of the parent pipeline gave away, for child pipelines that are made while a pipeline runs.
    ///
    /// # Errors
    /// [`RemoteError`]; [`RemoteError::Unavailable`] where nothing runs.
    fn artifact(&self, job: &str, path: &str) -> Result<Vec<u8>, RemoteError> {
        let _ = path;
        Err(RemoteError::Unavailable(format!("the job `{job}` that makes it has not run")))
    }
}

/// Nothing is fetched.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offline;

impl Remote for Offline {
    fn fetch(&self, _: &RemoteFile) -> Result<Fetched, RemoteError> {
        Err(RemoteError::Unavailable("nothing is fetched here".to_owned()))
    }

    fn list(&self, _: &str, _: &str) -> Result<Arc<[String]>, RemoteError> {
        Err(RemoteError::Unavailable("nothing is fetched here".to_owned()))
    }
}
