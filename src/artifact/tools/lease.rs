//! Which layers jobs use. A job uses its layer as long as its own folder is there: that goes with the job, however it ends and
//! whoever clears up after it.

use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::{ToolCache, ToolError};
use crate::artifact::store::ObjectId;

/// Bytes of a path.
const MAX_PATH: u64 = 4096;

impl ToolCache {
    /// Notes that the job whose folder is `job` uses a layer. The lock is held.
    pub(super) fn lease(&self, layer: &str, job: &Path) -> Result<(), ToolError> {
        let folder = self.leases().join(layer);
        let path = folder.join(ObjectId::of(job.as_os_str().as_bytes()).to_string());
        let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, job.as_os_str().as_bytes()));
        written.map_err(|error| ToolError::file("writing", &path, error))
    }

    /// Whether a job uses a layer. Notes of jobs that are over are removed. The lock is held by nobody else.
    pub(super) fn is_leased(&self, layer: &str) -> Result<bool, ToolError> {
        let folder = self.leases().join(layer);
        let mut is_leased = false;
        for path in names(&folder)? {
            let is_used = match read(&path) {
                // Half written by somebody who then was killed: the job never had the layer.
                Ok(job) => !job.as_os_str().is_empty() && job.exists(),
                Err(_) => false,
            };
            is_leased |= is_used;
            if !is_used && let Err(error) = std::fs::remove_file(&path) {
                return Err(ToolError::file("removing", &path, error));
            }
        }
        if !is_leased {
            // Not empty, or not there: nothing hangs on it.
            let _ = std::fs::remove_dir(&folder);
        }
        Ok(is_leased)
    }
}

fn read(path: &Path) -> std::io::Result<PathBuf> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_PATH).read_to_end(&mut bytes)?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

/// What lies in a folder. One that is not there is empty.
pub(super) fn names(folder: &Path) -> Result<Vec<PathBuf>, ToolError> {
    let failed = |error| ToolError::file("listing", folder, error);
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    entries.map(|entry| Ok(entry.map_err(failed)?.path())).collect()
}
