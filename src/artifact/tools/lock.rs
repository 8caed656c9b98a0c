//! Who works here. A process that is gone holds nothing.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::ToolError;
use crate::artifact::Interrupt;

/// How long to wait for those who are faster: as long as making large tools lie here may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// Between two looks at a lock.
const STEP: Duration = Duration::from_millis(10);

/// Holds a lock until it is dropped.
pub(super) struct Held {
    _file: File,
}

/// How a lock is held.
#[derive(Clone, Copy)]
pub(super) enum How {
    /// Beside others that do the same.
    Shared,
    /// Alone.
    Exclusive,
}

/// Takes the lock of the file at `path`, waiting for it as long as `patience`. `None`: others have it.
pub(super) fn try_take(
    path: &Path,
    how: How,
    patience: Duration,
    interrupt: &Interrupt,
) -> Result<Option<Held>, ToolError> {
    let failed = |error: std::io::Error| ToolError::file("locking", path, error);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    let operation = match how {
        How::Shared => FlockOperation::NonBlockingLockShared,
        How::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    let mut waited = Duration::ZERO;
    loop {
        match rustix::fs::flock(&file, operation) {
            Ok(()) => return Ok(Some(Held { _file: file })),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if interrupt.is_raised() => return Err(ToolError::Interrupted),
            Err(Errno::WOULDBLOCK) if waited >= patience => return Ok(None),
            Err(Errno::WOULDBLOCK) => {
                std::thread::sleep(STEP);
                waited += STEP;
            }
            Err(error) => return Err(failed(error.into())),
        }
    }
}

/// Holds a folder that is being made, for as long as this lives. Nobody else may look at it yet.
pub(super) fn hold(folder: &Path) -> std::io::Result<Held> {
    let file = File::open(folder)?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(Held { _file: file })
}

/// Whether somebody holds a folder. One that cannot be looked at counts as held.
pub(super) fn is_held(folder: &Path) -> bool {
    match hold(folder) {
        Ok(_) => false,
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

/// [`try_take`], waiting as long as it is worth.
pub(super) fn take(path: &Path, how: How, interrupt: &Interrupt) -> Result<Held, ToolError> {
    try_take(path, how, PATIENCE, interrupt)?.ok_or(ToolError::Busy { seconds: PATIENCE.as_secs() })
}
