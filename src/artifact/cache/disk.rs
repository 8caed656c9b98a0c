//! Files of the store: the lock, durable writes, checked reads. The store's folder is the agent's own; no job can reach it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};

use super::CacheError;
use crate::artifact::Interrupt;

/// How long to wait for the lock. It is held while records and names change, never while files are packed.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// Between two looks at the lock.
const LOCK_STEP: Duration = Duration::from_millis(10);

/// How the store is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lock {
    /// To read, and to add.
    Shared,
    /// To remove.
    Exclusive,
}

/// Holds the lock until dropped, or until the process is gone.
#[derive(Debug)]
pub(super) struct Locked {
    _file: File,
}

pub(super) fn lock(path: &Path, how: Lock) -> Result<Locked, CacheError> {
    let fail = |source| store_error("opening", path, source);
    // A description of its own for each holder, so that threads keep each other out as processes do.
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(fail)?;
    let operation = match how {
        Lock::Shared => FlockOperation::NonBlockingLockShared,
        Lock::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    let mut waited = Duration::ZERO;
    loop {
        match rustix::fs::flock(&file, operation) {
            Ok(()) => return Ok(Locked { _file: file }),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::WOULDBLOCK) if waited < LOCK_WAIT => {
                std::thread::sleep(LOCK_STEP);
                waited += LOCK_STEP;
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(CacheError::Busy { seconds: LOCK_WAIT.as_secs() }),
            Err(error) => return Err(store_error("locking", path, error.into())),
        }
    }
}

pub(super) fn store_error(doing: &'static str, path: &Path, source: io::Error) -> CacheError {
    CacheError::Store { doing, path: path.to_owned(), source }
}

pub(super) fn make_folder(path: &Path) -> Result<(), CacheError> {
    fs::create_dir_all(path).map_err(|e| store_error("making", path, e))
}

/// Gives a written file its name so that it is there after a loss of power: content, then name.
pub(super) fn settle(file: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    file.persist(path).map_err(|e| e.error)?;
    File::open(folder)?.sync_all()
}

/// Replaces `path` by `bytes`, whole or not at all. `tmp` is on the same file system.
pub(super) fn replace(tmp: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(tmp)?;
    file.write_all(bytes)?;
    settle(file, path)
}

/// The content of a small file; `None` where there is none.
pub(super) fn read_small(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, CacheError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(store_error("opening", path, error)),
    };
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(|e| store_error("reading", path, e))?;
    Ok(Some(bytes))
}

/// The names in a folder; none where it is not there.
pub(super) fn names(path: &Path) -> Result<Vec<PathBuf>, CacheError> {
    let fail = |e| store_error("reading", path, e);
    let listing = match fs::read_dir(path) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut names = listing.map(|entry| entry.map(|e| e.path())).collect::<io::Result<Vec<_>>>().map_err(fail)?;
    names.sort();
    Ok(names)
}

/// SHA-256 of an open file from its start, hexadecimal; `None` when interrupted.
pub(super) fn hash(file: &mut File, interrupt: &Interrupt) -> io::Result<Option<String>> {
    io::Seek::rewind(file)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        if interrupt.is_raised() {
            return Ok(None);
        }
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => hash.update(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(hex::encode(hash.finalize())))
}

/// Bytes that are free for us on the disk of `path`.
pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Hashes what it passes on, and has no room beyond a limit.
pub(super) struct HashingWriter<W> {
    pub(super) inner: W,
    hash: Sha256,
    left: u64,
    /// The limit was met: the error is about it and not about the disk.
    pub(super) over: bool,
}

impl<W: Write> HashingWriter<W> {
    pub(super) fn new(inner: W, limit: u64) -> Self {
        Self { inner, hash: Sha256::new(), left: limit, over: false }
    }

    pub(super) fn finish(self) -> (W, String) {
        (self.inner, hex::encode(self.hash.finalize()))
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if buf.len() as u64 > self.left {
            self.over = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        let n = self.inner.write(buf)?;
        self.hash.update(&buf[..n]);
        self.left -= n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
