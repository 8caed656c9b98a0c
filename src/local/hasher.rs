//! `hashFiles` over a checkout: the files of its pipeline, that is those that are not ignored.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use sha2::{Digest as _, Sha256};

use super::project::Project;
use crate::parser::document::Files as _;
use crate::parser::expression::FileHasher;

/// The checkout around a folder, looked for when its files are first asked for.
pub struct CheckoutHasher {
    around: PathBuf,
    project: OnceLock<Result<Project, String>>,
}

impl CheckoutHasher {
    /// The checkout that a folder lies in.
    pub fn around(folder: &Path) -> Self {
        Self { around: folder.to_owned(), project: OnceLock::new() }
    }

    fn project(&self) -> Result<&Project, String> {
        let project = self.project.get_or_init(|| Project::containing(&self.around).map_err(|error| error.to_string()));
        project.as_ref().map_err(Clone::clone)
    }
}

impl FileHasher for CheckoutHasher {
    fn files(&self) -> Result<Arc<[String]>, String> {
        self.project()?.list().map_err(|error| error.problem)
    }

    fn sha256(&self, path: &str) -> Result<Option<[u8; 32]>, String> {
        match self.project()?.read(path) {
            Ok(Some(bytes)) => Ok(Some(Sha256::digest(bytes).into())),
            Ok(None) => Ok(None),
            Err(error) => Err(format!("{path} cannot be read: {}", error.problem)),
        }
    }

    fn workspace(&self) -> Option<&str> {
        self.project().ok()?.root().to_str()
    }
}
