//! Files that only their owner may read, replaced whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Who may read a file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Its owner only (0600).
    Owner,
    /// As the file it replaces; its owner only where there is none.
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
    if readers == Readers::AsBefore
        && let Ok(before) = fs::metadata(&target)
    {
        new.as_file().set_permissions(before.permissions())?;
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

/// How long a lock is waited for. Holders change one small file, so that longer means that one hangs.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

/// Holds others off for as long as it lives; ends with its process at the latest.
#[derive(Debug)]
pub struct Lock {
    _held: File,
}

impl Lock {
    /// On a folder: for a file that is replaced in a folder where no lock file should lie around.
    pub fn on_folder(folder: &Path) -> io::Result<Self> {
        create_folder(folder)?;
        Self::take(File::open(folder)?)
    }

    /// On a file made for it. Its folder is made when missing.
    pub fn on_file(file: &Path) -> io::Result<Self> {
        if let Some(folder) = file.parent() {
            create_folder(folder)?;
        }
        Self::take(OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(file)?)
    }

    /// Tries until the patience ends: the kernel's own waiting has no limit.
    fn take(file: File) -> io::Result<Self> {
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _held: file }),
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(Errno::WOULDBLOCK) => {
                    let message = format!("another process has held the lock for {} s", LOCK_PATIENCE.as_secs());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, message));
                }
                Err(cause) => return Err(cause.into()),
            }
        }
    }
}
