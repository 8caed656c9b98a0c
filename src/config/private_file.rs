//! Files that only their owner may read, replaced whole or not at all.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// Who may read a file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Its owner only (0600).
    Owner,
    /// As the file it replaces; everybody (0644) where there is none.
    AsBefore,
}

/// Replaces a file by a new one with `bytes`: after a crash at any moment the old or the new one is there, whole.
/// A symlink is followed, so that a linked configuration stays linked. Folders are made when missing (0700).
pub fn replace(file: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    let target = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folder = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_folder(folder)?;
    // In the same folder, since a rename does not cross file systems; created 0600 before a byte is in it.
    let mut new = tempfile::Builder::new().prefix(".forgehand-").tempfile_in(folder)?;
    new.write_all(bytes)?;
    if readers == Readers::AsBefore {
        let mode = fs::metadata(&target).map(|before| before.permissions());
        let mode = mode.unwrap_or_else(|_| std::os::unix::fs::PermissionsExt::from_mode(0o644));
        new.as_file().set_permissions(mode)?;
    }
    new.as_file().sync_all()?;
    new.persist(&target).map_err(|error| error.error)?;
    // The rename is on disk only when the folder is.
    File::open(folder)?.sync_all()
}

/// Makes a folder and those above it, for their owner only.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Holds others off the files of a folder for as long as it lives. Taken on the folder: the files themselves are
/// replaced, and a lock file beside them would only lie around.
#[derive(Debug)]
pub struct FolderLock {
    _folder: File,
}

impl FolderLock {
    /// Waits for the lock. Writers hold it for the length of one small file, so the wait is short; it ends with the
    /// holder's process at the latest.
    pub fn exclusive(folder: &Path) -> io::Result<Self> {
        create_folder(folder)?;
        let folder = File::open(folder)?;
        flock(&folder, FlockOperation::LockExclusive)?;
        Ok(Self { _folder: folder })
    }
}
