//! Where the index lies: opening it, and putting another in its place while others have it open.
//!
//! Whoever uses the index holds `index.lock` shared for as long as that takes, and first looks whether the file that he has open is still
//! the one of that name. Whoever makes it anew is alone with it. So nobody writes into a file that others do not see any more, nobody
//! opens one half of an index and the other half of another, and of several who find it damaged one makes it anew.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use rusqlite::Connection;

use super::super::disk;
use super::super::error::StoreError;
use super::super::session::{self, How};
use super::{BUSY, Index, STEP, is_busy, is_damage, is_out_of_room};
use crate::artifact::Interrupt;

/// Device and number of a file.
pub(super) type Identity = (u64, u64);

/// The index, while it is used: nobody puts another in its place meanwhile.
pub(in super::super) struct InUse<'a> {
    /// Given back before another thread may use the index: the lock is that of all threads.
    _shared: Option<Claim>,
    index: MutexGuard<'a, Index>,
}

impl<'a> InUse<'a> {
    /// Begins to use the index that lies there now.
    ///
    /// # Errors
    /// It was replaced, and what lies there now cannot be opened; somebody is alone with it for long.
    pub(in super::super) fn begin(mut index: MutexGuard<'a, Index>) -> Result<Self, StoreError> {
        let shared = index.come_up()?;
        Ok(Self { _shared: shared, index })
    }
}

impl Deref for InUse<'_> {
    type Target = Index;

    fn deref(&self) -> &Index {
        &self.index
    }
}

/// Holds the lock of the index until dropped.
pub(super) struct Claim {
    file: Arc<File>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // It cannot fail on a file that is open and locked; and closed, it is unlocked.
        let _ = rustix::fs::flock(&*self.file, rustix::fs::FlockOperation::Unlock);
    }
}

/// The file whose lock says who is at the index. `None`: the disk has no room for it, and then the index is not made anew either.
fn lock_file(path: &Path) -> Result<Option<Arc<File>>, StoreError> {
    let path = beside(path, ".lock");
    match session::open(&path, How::Shared).map_err(|e| StoreError::file("opening", &path, e)) {
        Ok(file) => Ok(Some(Arc::new(file))),
        Err(StoreError::NoSpace { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn claim(lock: Option<&Arc<File>>, path: &Path, how: How) -> Result<Option<Claim>, StoreError> {
    let Some(file) = lock else { return Ok(None) };
    if session::acquire(file, path, how, BUSY, &Interrupt::default())? {
        Ok(Some(Claim { file: Arc::clone(file) }))
    } else {
        Err(StoreError::Busy { seconds: BUSY.as_secs() })
    }
}

/// Beside a damaged index, so that whoever opens it next makes it anew.
fn mark(path: &Path) -> PathBuf {
    beside(path, ".damaged")
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Which file has the name. `None`: none has.
fn identity(path: &Path) -> Result<Option<Identity>, StoreError> {
    match std::fs::metadata(path) {
        Ok(file) => Ok(Some((file.dev(), file.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::file("looking at", path, error)),
    }
}

impl Index {
    /// Opens the index. The flag says that it is new: it must be filled.
    pub(in super::super) fn open(path: &Path) -> Result<(Self, bool), StoreError> {
        let lock = lock_file(path)?;
        let opened = {
            let _shared = claim(lock.as_ref(), path, How::Shared)?;
            if mark(path).exists() { None } else { none_if_damaged(Self::try_open(path, lock.clone())) }
        };
        let opened = opened.unwrap_or_else(|| Self::make_anew(path, lock, None));
        in_memory_without_room(path, opened)
    }

    /// Takes the lock, and opens what lies there now where that is not what is open.
    fn come_up(&mut self) -> Result<Option<Claim>, StoreError> {
        loop {
            if self.is_in_memory {
                return Ok(None);
            }
            let shared = claim(self.lock.as_ref(), &self.path, How::Shared)?;
            if identity(&self.path)? == self.identity {
                return Ok(shared);
            }
            drop(shared);
            let there = Self::make_anew(&self.path, self.lock.clone(), None);
            self.give_way(in_memory_without_room(&self.path, there)?.0);
        }
    }

    /// Makes it anew where it was found to be damaged, unless somebody else has. False: it was not.
    pub(in super::super) fn mend(&mut self) -> Result<bool, StoreError> {
        if !self.is_damaged() {
            return Ok(false);
        }
        tracing::warn!("the store's index is damaged, and is made again from the records");
        let there = Self::make_anew(&self.path, self.lock.clone(), self.identity);
        self.give_way(in_memory_without_room(&self.path, there)?.0);
        Ok(true)
    }

    /// Takes another in its place, which has to be filled.
    pub(in super::super) fn give_way(&mut self, other: Self) {
        *self = other;
        self.is_other.set(true);
    }

    /// Whether this process has seen to it that it says what the records say. Not so where another was put in its place just now.
    pub(in super::super) fn is_filled(&self) -> bool {
        !self.is_damaged() && !self.is_other.get()
    }

    /// Which file it is.
    pub(in super::super) fn which(&self) -> Option<Identity> {
        self.identity
    }

    /// It was seen to, unless it is another than that by now.
    pub(in super::super) fn was_filled(&self, which: Option<Identity>) {
        if self.identity == which {
            self.is_other.set(false);
        }
    }

    /// An index that ends with this process, where the disk is too full to open the one that lies there: what is kept can be read all the
    /// same, and cleaned up.
    fn open_in_memory(path: &Path) -> Result<(Self, bool), StoreError> {
        let fail = |source| StoreError::Index { path: path.to_owned(), source };
        let db = Connection::open_in_memory().map_err(fail)?;
        let mut index = Self::of(db, path, None);
        index.is_in_memory = true;
        index.prepare().map_err(fail)?;
        Ok((index, true))
    }

    /// Whether nobody else will know what it is told.
    pub(in super::super) fn is_in_memory(&self) -> bool {
        self.is_in_memory
    }

    /// Opens an empty index in place of one that is damaged or gone. `bad`: this one is, whatever it looks like. Where another lies there
    /// by now, somebody was faster, and that one is opened.
    fn make_anew(path: &Path, lock: Option<Arc<File>>, bad: Option<Identity>) -> Result<(Self, bool), StoreError> {
        let Some(_alone) = claim(lock.as_ref(), path, How::Exclusive)? else { return Self::open_in_memory(path) };
        let there = identity(path)?;
        let is_another = there.is_some() && there != bad && !mark(path).exists();
        if is_another && let Some(opened) = none_if_damaged(Self::try_open(path, lock.clone())) {
            return opened;
        }
        for suffix in ["", "-wal", "-shm"] {
            disk::remove(&beside(path, suffix))?;
        }
        let opened = Self::try_open(path, lock)?;
        disk::remove(&mark(path))?;
        Ok(opened)
    }

    /// Notes that something in it is wrong: [`super::super::Store::heal`] makes it anew.
    pub(in super::super) fn note_damage(&self) {
        self.is_damaged.set(true);
        // Best effort: this process knows, and another one will find out.
        let _ = std::fs::write(mark(&self.path), "");
    }

    fn of(db: Connection, path: &Path, lock: Option<Arc<File>>) -> Self {
        Self {
            db,
            path: path.to_owned(),
            lock,
            closing: None,
            identity: None,
            is_damaged: Cell::new(false),
            is_in_memory: false,
            is_other: Cell::new(false),
        }
    }

    fn try_open(path: &Path, lock: Option<Arc<File>>) -> Result<(Self, bool), StoreError> {
        let fail = |source| StoreError::Index { path: path.to_owned(), source };
        let db = Connection::open(path).map_err(fail)?;
        let mut index = Self::of(db, path, None);
        let mut waited = Duration::ZERO;
        let is_new = loop {
            match index.prepare() {
                // While somebody else makes the database, it does not wait by itself.
                Err(error) if is_busy(&error) && waited < BUSY => {
                    std::thread::sleep(STEP);
                    waited += STEP;
                }
                prepared => break prepared.map_err(fail)?,
            }
        };
        index.identity = identity(path)?;
        // Whoever opens it has the lock; it closes itself with the lock from here on.
        index.lock = lock;
        Ok((index, is_new))
    }
}

impl Drop for Index {
    /// The last connection to a database removes the files beside it, by their names: they must not be those of another index by now.
    fn drop(&mut self) {
        // Best effort: without it, only somebody who makes the index anew in this moment is disturbed.
        self.closing = claim(self.lock.as_ref(), &self.path, How::Shared).ok().flatten();
    }
}

fn none_if_damaged(opened: Result<(Index, bool), StoreError>) -> Option<Result<(Index, bool), StoreError>> {
    match opened {
        Err(StoreError::Index { source, .. }) if is_damage(&source) => None,
        opened => Some(opened),
    }
}

fn in_memory_without_room(path: &Path, opened: Result<(Index, bool), StoreError>) -> Result<(Index, bool), StoreError> {
    match opened {
        Err(StoreError::Index { source, .. }) if is_out_of_room(&source) => Index::open_in_memory(path),
        opened => opened,
    }
}
