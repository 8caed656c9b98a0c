//! Where further files of a project come from.

use std::sync::Arc;

/// The files of one project, by paths relative to its root, with `/` and without a leading one.
///
/// What is committed or not ignored is there; nothing outside the root is, whatever the path says.
pub trait Files: Send + Sync {
    /// The content of a file; `None` where there is none.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError>;

    /// The paths of all files, sorted. May cost a walk through the project once.
    fn list(&self) -> Result<Arc<[String]>, FileError>;

    /// Whether there is a file or a folder of this name.
    fn exists(&self, path: &str) -> Result<bool, FileError> {
        let path = path.trim_end_matches('/');
        let list = self.list()?;
        let at = list.partition_point(|known| known.as_str() < path);
        // Files of a folder sort behind its name, with `/` after it; other names may come between.
        Ok(list.get(at).is_some_and(|known| known == path) || {
            let folder = format!("{path}/");
            let at = list.partition_point(|known| known.as_str() < folder.as_str());
            list.get(at).is_some_and(|known| known.starts_with(&folder))
        })
    }
}

/// A file that is there and cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct FileError {
    /// Which.
    pub path: String,
    /// Why.
    pub problem: String,
}

/// A project without files.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &str) -> Result<Option<Vec<u8>>, FileError> {
        Ok(None)
    }

    fn list(&self) -> Result<Arc<[String]>, FileError> {
        Ok(Arc::new([]))
    }
}

impl Files for std::collections::BTreeMap<String, String> {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
        Ok(self.get(path).map(|text| text.as_bytes().to_vec()))
    }

    fn list(&self) -> Result<Arc<[String]>, FileError> {
        Ok(self.keys().cloned().collect())
    }
}
