//! Projects: a path, a repository, who may read it.

use std::path::PathBuf;

/// A project.
#[derive(Clone, Debug)]
pub struct Project {
    /// Its id.
    pub id: u64,
    /// Its full path, `group/project`.
    pub path: String,
    /// Its bare repository.
    pub repository: PathBuf,
    /// The branch that counts when none is named.
    pub default_branch: String,
    /// Whether jobs of other projects may read the repository (the job token allowlist).
    pub open_to_jobs: bool,
    /// Variables of the project's settings, as the payload has them.
    pub variables: Vec<serde_json::Value>,
}

impl Project {
    /// The last part of the path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The path without the last part.
    pub fn namespace(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(namespace, _)| namespace)
    }
}
