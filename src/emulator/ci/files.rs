//! The files and the history of one commit of a bare repository. Everything here blocks.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::emulator::repository::{self, RepositoryError};
use crate::parser::document::{FileError, Files};
use crate::parser::gitlab::pipeline::cache_key::LastCommits;
use crate::parser::gitlab::pipeline::context::{ChangedFiles, UnknownRef};

/// The files of one commit.
#[derive(Debug)]
pub struct RepositoryFiles {
    repository: PathBuf,
    sha: String,
    list: OnceLock<Result<Arc<[String]>, FileError>>,
}

impl RepositoryFiles {
    /// Those of commit `sha`.
    pub fn new(repository: PathBuf, sha: String) -> Self {
        Self { repository, sha, list: OnceLock::new() }
    }

    /// The commit.
    pub fn sha(&self) -> &str {
        &self.sha
    }

    /// Whether there is a file of this path.
    pub fn has(&self, path: &str) -> Result<bool, RepositoryError> {
        let listed = self.list().map_err(|error| RepositoryError::Git {
            command: "ls-tree".to_owned(),
            place: error.path,
            message: error.problem,
        })?;
        Ok(listed.binary_search_by(|known| known.as_str().cmp(path)).is_ok())
    }

    fn failed(&self, path: &str, error: &RepositoryError) -> FileError {
        FileError { path: path.to_owned(), problem: error.to_string() }
    }
}

impl Files for RepositoryFiles {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
        let path = path.trim_start_matches('/');
        if !self.has(path).map_err(|error| self.failed(path, &error))? {
            return Ok(None);
        }
        repository::read_bytes(&self.repository, &self.sha, path).map(Some).map_err(|error| self.failed(path, &error))
    }

    fn list(&self) -> Result<Arc<[String]>, FileError> {
        let scan = || {
            let mut paths = repository::paths(&self.repository, &self.sha).map_err(|error| self.failed("", &error))?;
            paths.sort_unstable();
            Ok(paths.into())
        };
        self.list.get_or_init(scan).clone()
    }
}

impl LastCommits for RepositoryFiles {
    fn last_commit(&self, path: &str) -> Option<String> {
        repository::last_commit(&self.repository, &self.sha, path).ok().filter(|hash| !hash.is_empty())
    }
}

/// What the commits of a pipeline changed.
#[derive(Debug)]
pub struct RepositoryChanges {
    /// The commits.
    pub files: Arc<RepositoryFiles>,
    /// What they are compared with; `None`: everything counts as changed.
    pub base: Option<String>,
}

impl RepositoryChanges {
    fn between(&self, base: &str) -> Option<Arc<[String]>> {
        repository::changed(&self.files.repository, base, &self.files.sha).ok().map(Into::into)
    }
}

impl ChangedFiles for RepositoryChanges {
    fn changed(&self) -> Option<Arc<[String]>> {
        self.between(self.base.as_deref()?)
    }

    fn since(&self, reference: &str) -> Result<Option<Arc<[String]>>, UnknownRef> {
        let name = reference.strip_prefix("refs/heads/").unwrap_or(reference);
        let sha = repository::resolve(&self.files.repository, name).map_err(|_| UnknownRef(reference.into()))?;
        let base = repository::merge_base(&self.files.repository, &sha, &self.files.sha).unwrap_or(sha);
        Ok(self.between(&base))
    }
}
