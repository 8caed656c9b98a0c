//! Who works with a store, and who may remove from it.
//!
//! Whoever puts or gets holds `lock` shared, as long as its objects must not go; whoever removes a pack holds it
//! exclusively, for as long as that takes. So that those who come and go do not keep a collector out for ever, everybody passes
//! `gate` first, and a collector closes it from time to time while it waits ([`super::alone`]). All are `flock`s: a process that is
//! gone holds none.
//!
//! What a process writes before it has a name lies in a folder of its own below `sessions/`, whose lock it holds. A folder that nobody
//! holds belongs to one that is gone: it is removed, and the index is held against the files, since that process may have
//! named something that the index was not told of.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;

use super::alone::Patience;
use super::disk;
use super::error::StoreError;
use super::layout::Layout;
use crate::artifact::Interrupt;

/// How long to wait for those who are faster.
pub(super) const WAIT: Duration = Duration::from_secs(60);

/// Between two looks at a lock.
const STEP: Duration = Duration::from_millis(5);

/// Holds a lock until dropped, or until the process is gone.
#[derive(Debug)]
pub(super) struct Held {
    file: File,
}

impl Held {
    /// Whether the name still means the file that is locked.
    fn is_at(&self, path: &Path) -> bool {
        match (self.file.metadata(), fs::symlink_metadata(path)) {
            (Ok(locked), Ok(named)) => (locked.dev(), locked.ino()) == (named.dev(), named.ino()),
            _ => false,
        }
    }
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Shared,
    Exclusive,
}

/// Takes a lock, waiting for it as long as `wait`. `None`: others have it.
pub(super) fn take(path: &Path, how: How, wait: Duration, interrupt: &Interrupt) -> Result<Option<Held>, StoreError> {
    let file = open(path, how).map_err(|e| StoreError::file("opening", path, e))?;
    take_open(file, path, how, wait, interrupt)
}

/// Takes the lock that the file stands for.
fn take_open(
    file: File,
    path: &Path,
    how: How,
    wait: Duration,
    interrupt: &Interrupt,
) -> Result<Option<Held>, StoreError> {
    Ok(acquire(&file, path, how, wait, interrupt)?.then_some(Held { file }))
}

/// Locks a file that is open, waiting for it as long as `wait`. False: others have it.
pub(super) fn acquire(
    file: &File,
    path: &Path,
    how: How,
    wait: Duration,
    interrupt: &Interrupt,
) -> Result<bool, StoreError> {
    let operation = match how {
        How::Shared => FlockOperation::NonBlockingLockShared,
        How::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    let mut waited = Duration::ZERO;
    loop {
        match rustix::fs::flock(file, operation) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::WOULDBLOCK) if interrupt.is_raised() => return Err(StoreError::Interrupted),
            Err(rustix::io::Errno::WOULDBLOCK) if waited < wait => {
                std::thread::sleep(STEP);
                waited += STEP;
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(StoreError::file("locking", path, error.into())),
        }
    }
}

/// A description of its own for each holder, so that threads keep each other out as processes do. Whoever only reads need not be allowed to
/// write.
pub(super) fn open(path: &Path, how: How) -> std::io::Result<File> {
    let mut options = File::options();
    if how == How::Shared {
        match options.read(true).open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            opened => return opened,
        }
    }
    options.create(true).truncate(false).write(true).open(path)
}

/// Takes the lock of the store together with others: nothing is removed as long as it is held.
pub(super) fn share(layout: &Layout, interrupt: &Interrupt) -> Result<Held, StoreError> {
    let busy = || StoreError::Busy { seconds: WAIT.as_secs() };
    let gate = take(&layout.gate(), How::Shared, WAIT, interrupt)?.ok_or_else(busy)?;
    let held = take(&layout.lock(), How::Shared, WAIT, interrupt)?.ok_or_else(busy)?;
    drop(gate);
    Ok(held)
}

/// A lock that nobody waits for. `None`: somebody else has it.
pub(super) fn try_alone(path: &Path) -> Result<Option<Held>, StoreError> {
    take(path, How::Exclusive, Duration::ZERO, &Interrupt::default())
}

/// The right to look at what all have and have promised, and to add to it: a matter of milliseconds.
pub(super) fn quota(layout: &Layout) -> Result<Held, StoreError> {
    let busy = || StoreError::Busy { seconds: WAIT.as_secs() };
    take(&layout.quota(), How::Exclusive, WAIT, &Interrupt::default())?.ok_or_else(busy)
}

/// The right to collect. `None`: somebody else does.
pub(super) fn collector(layout: &Layout) -> Result<Option<Held>, StoreError> {
    take(&layout.collector(), How::Exclusive, Duration::ZERO, &Interrupt::default())
}

/// The right to collect, as soon as nobody else does.
pub(super) fn collector_patiently(
    layout: &Layout,
    patience: Patience,
    interrupt: &Interrupt,
) -> Result<Held, StoreError> {
    take(&layout.collector(), How::Exclusive, patience.in_all, interrupt)?.ok_or_else(|| patience.busy())
}

/// The folder of a process that writes.
#[derive(Debug)]
pub(super) struct Session {
    folder: PathBuf,
    held: Option<Held>,
}

impl Session {
    pub(super) fn begin(layout: &Layout) -> Result<Self, StoreError> {
        loop {
            let folder = layout.sessions().join(uuid::Uuid::new_v4().simple().to_string());
            fs::create_dir(&folder).map_err(|e| StoreError::file("making", &folder, e))?;
            match take(&folder.join("lock"), How::Exclusive, Duration::ZERO, &Interrupt::default()) {
                Ok(Some(held)) if held.is_at(&folder.join("lock")) => return Ok(Self { folder, held: Some(held) }),
                // Somebody found it without a lock, took it for left behind, and has it or has removed it.
                Ok(_) => {}
                Err(StoreError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Where its files lie until they have a name.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// When it began by the clock of the file system, in nanoseconds since 1970.
    pub(super) fn began(&self) -> Result<i128, StoreError> {
        let path = self.folder.join("lock");
        let at = fs::metadata(&path).and_then(|file| file.modified());
        let at = at.map_err(|e| StoreError::file("looking at", &path, e))?;
        let since = at.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(i128::try_from(since.as_nanos()).unwrap_or(i128::MAX))
    }

    /// A name in it that nobody uses.
    pub(super) fn new_file(&self) -> PathBuf {
        self.folder.join(uuid::Uuid::new_v4().simple().to_string())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.held.is_some() {
            // Best effort: the next that opens the store does it. Removed while it is held, so that nobody takes it for left behind.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Whether somebody works in this folder.
pub(super) fn is_alive(folder: &Path) -> Result<bool, StoreError> {
    let lock = folder.join("lock");
    match File::options().write(true).open(&lock) {
        Ok(file) => Ok(!acquire(&file, &lock, How::Exclusive, Duration::ZERO, &Interrupt::default())?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::file("opening", &lock, error)),
    }
}

/// Says that an agent works with the store. Shared: an agent that is just ending does not keep the next from starting.
pub(super) fn agent(layout: &Layout, id: &str) -> Result<Held, StoreError> {
    let busy = || StoreError::Busy { seconds: WAIT.as_secs() };
    take(&layout.agent(id), How::Shared, WAIT, &Interrupt::default())?.ok_or_else(busy)
}

/// Whether the agent of this id works with the store.
pub(super) fn agent_is_alive(layout: &Layout, id: &str) -> Result<bool, StoreError> {
    let lock = layout.agent(id);
    match File::open(&lock) {
        Ok(file) => Ok(!acquire(&file, &lock, How::Exclusive, Duration::ZERO, &Interrupt::default())?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::file("opening", &lock, error)),
    }
}

/// Has whoever looks next hold the index against the records. Best effort: it is done after a start of the machine, too.
pub(super) fn leave_behind(layout: &Layout) {
    let _ = fs::create_dir(layout.sessions().join(uuid::Uuid::new_v4().simple().to_string()));
}

/// Removes the folders of those who are gone. True: there were some.
pub(super) fn sweep(layout: &Layout) -> Result<bool, StoreError> {
    let mut found = false;
    for folder in disk::names(&layout.sessions())? {
        let lock = folder.join("lock");
        // Never made here: it would stand in the way of whoever is just removing the folder.
        let file = match File::options().write(true).open(&lock) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                found |= sweep_unlocked(&folder);
                continue;
            }
            Err(error) => return Err(StoreError::file("opening", &lock, error)),
        };
        let held = take_open(file, &lock, How::Exclusive, Duration::ZERO, &Interrupt::default())?;
        let Some(held) = held.filter(|held| held.is_at(&lock)) else { continue };
        found = true;
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::file("removing", &folder, error));
            }
            _ => drop(held),
        }
    }
    Ok(found)
}

/// Removes a folder that has no lock. The lock is the first file of a session: so where there are others without it, it is being
/// removed, or its remover died; and one that begins in an empty folder that goes takes another. True: it is gone.
fn sweep_unlocked(folder: &Path) -> bool {
    let names = disk::names(folder).unwrap_or_default();
    if names.iter().any(|name| name.ends_with("lock")) {
        return false;
    }
    // Whoever else removes it may be faster.
    if names.is_empty() { fs::remove_dir(folder).is_ok() } else { fs::remove_dir_all(folder).is_ok() }
}

#[cfg(test)]
mod tests {
    use super::super::alone::alone;
    use super::*;

    fn layout() -> (tempfile::TempDir, Layout) {
        let temp = tempfile::tempdir().unwrap();
        let layout = Layout::new(temp.path());
        fs::create_dir(layout.sessions()).unwrap();
        (temp, layout)
    }

    #[test]
    fn readers_share_and_a_collector_is_alone() {
        let (_temp, layout) = layout();
        let none = Interrupt::default();
        let one = share(&layout, &none).unwrap();
        let other = share(&layout, &none).unwrap();
        let stopped = Interrupt::default();
        stopped.raise();
        assert!(matches!(alone(&layout, Patience::JOB, &stopped), Err(StoreError::Interrupted)));
        drop((one, other));
        let alone = alone(&layout, Patience::JOB, &none).unwrap().unwrap();
        assert!(matches!(share(&layout, &stopped), Err(StoreError::Interrupted)));
        drop(alone);
        share(&layout, &none).unwrap();
    }

    #[test]
    fn a_collector_that_waits_is_not_passed_by_others() {
        let (_temp, layout) = layout();
        let none = Interrupt::default();
        let reader = share(&layout, &none).unwrap();
        let waiting = {
            let layout = layout.clone();
            std::thread::spawn(move || alone(&layout, Patience::JOB, &Interrupt::default()).map(drop))
        };
        let stopped = Interrupt::default();
        stopped.raise();
        // As soon as it waits, the gate is closed.
        while share(&layout, &stopped).is_ok() {
            std::thread::yield_now();
        }
        drop(reader);
        waiting.join().unwrap().unwrap();
        share(&layout, &none).unwrap();
    }

    #[test]
    fn only_what_nobody_holds_is_swept() {
        let (_temp, layout) = layout();
        let living = Session::begin(&layout).unwrap();
        fs::write(living.new_file(), "x").unwrap();
        let dead = layout.sessions().join("dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("lock"), "").unwrap();
        fs::write(dead.join("half a pack"), "").unwrap();
        let (empty, without_lock) = (layout.sessions().join("empty"), layout.sessions().join("without-lock"));
        fs::create_dir(&empty).unwrap();
        fs::create_dir(&without_lock).unwrap();
        fs::write(without_lock.join("half a pack"), "").unwrap();
        assert!(sweep(&layout).unwrap());
        assert!(![dead, empty, without_lock].iter().any(|folder| folder.exists()) && living.folder().exists());
        assert!(!sweep(&layout).unwrap());
        let folder = living.folder().to_owned();
        drop(living);
        assert!(!folder.exists());
    }
}
