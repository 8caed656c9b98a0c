//! A folder of its own for each candidate: what is left of one must not be taken for the next one's.

use cap_std::fs::Dir;

use super::CacheError;

/// A folder in which one cache is put together.
pub(super) struct Attempt<'a> {
    staging: &'a Dir,
    name: String,
    /// The folder.
    pub(super) folder: Dir,
}

impl<'a> Attempt<'a> {
    pub(super) fn begin(staging: &'a Dir) -> Result<Self, CacheError> {
        let name = uuid::Uuid::new_v4().simple().to_string();
        staging.create_dir(&name).map_err(CacheError::Staging)?;
        let folder = staging.open_dir(&name).map_err(CacheError::Staging)?;
        Ok(Self { staging, name, folder })
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        // Best effort, so that the next candidate has room: whoever made the staging folder removes it with all that is in it.
        let _ = self.staging.remove_dir_all(&self.name);
    }
}
