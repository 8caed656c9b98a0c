//! A job's log as the server keeps it: a file, its size and its checksum.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What came of a piece of log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is kept; the log is this long now.
    Kept {
        /// Bytes in all.
        size: u64,
    },
    /// It does not begin where the log ends.
    Misplaced {
        /// Bytes in all.
        size: u64,
    },
}

/// A log. Blocking: use off the runtime.
#[derive(Debug)]
pub struct Trace {
    path: PathBuf,
    inner: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    file: Option<File>,
    size: u64,
    crc: crc32fast::Hasher,
    /// The last bytes, so that a text can be found across two pieces.
    tail: Vec<u8>,
}

impl Trace {
    /// An empty log that will be kept at `path`.
    pub fn new(path: PathBuf) -> Self {
        let kept = Kept { file: None, size: 0, crc: crc32fast::Hasher::new(), tail: Vec::new() };
        Self { path, inner: Mutex::new(kept) }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file; absent while the log is empty.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes in all.
    pub fn size(&self) -> u64 {
        self.lock().size
    }

    /// Size and CRC-32 of all bytes.
    pub fn digest(&self) -> (u64, u32) {
        let kept = self.lock();
        (kept.size, kept.crc.clone().finalize())
    }

    /// Appends `bytes` if the log ends at `start`. Says too whether `looked_for` stands in what came in.
    pub fn append(&self, start: u64, bytes: &[u8], looked_for: Option<&str>) -> io::Result<(Appended, bool)> {
        let mut kept = self.lock();
        if start != kept.size {
            return Ok((Appended::Misplaced { size: kept.size }, false));
        }
        if kept.file.is_none() {
            kept.file = Some(File::options().create(true).append(true).read(true).open(&self.path)?);
        }
        if let Some(file) = kept.file.as_mut() {
            file.write_all(bytes)?;
        }
        kept.crc.update(bytes);
        kept.size += bytes.len() as u64;
        let found = looked_for.is_some_and(|text| kept.finds(bytes, text.as_bytes()));
        Ok((Appended::Kept { size: kept.size }, found))
    }

    /// Forgets all of it: the runner is to send it again.
    pub fn restart(&self) -> io::Result<()> {
        let mut kept = self.lock();
        *kept = Kept { file: None, size: 0, crc: crc32fast::Hasher::new(), tail: Vec::new() };
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The bytes from `offset` on, at most `limit`.
    pub fn read(&self, offset: u64, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match File::open(&self.path) {
            Ok(mut file) => {
                file.seek(SeekFrom::Start(offset))?;
                file.take(limit).read_to_end(&mut bytes)?;
                Ok(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(bytes),
            Err(error) => Err(error),
        }
    }
}

impl Kept {
    fn finds(&mut self, bytes: &[u8], text: &[u8]) -> bool {
        if text.is_empty() {
            return true;
        }
        let mut window = std::mem::take(&mut self.tail);
        window.extend_from_slice(bytes);
        let found = window.windows(text.len()).any(|part| part == text);
        let keep = window.len().min(text.len() - 1);
        self.tail = window.split_off(window.len() - keep);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_across_two_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let trace = Trace::new(dir.path().join("log"));
        assert_eq!(trace.append(0, b"please-", Some("please-cancel")).unwrap(), (Appended::Kept { size: 7 }, false));
        assert_eq!(trace.append(7, b"cancel\n", Some("please-cancel")).unwrap(), (Appended::Kept { size: 14 }, true));
    }

    #[test]
    fn a_piece_that_begins_elsewhere_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let trace = Trace::new(dir.path().join("log"));
        trace.append(0, b"12345", None).unwrap();
        assert_eq!(trace.append(3, b"45", None).unwrap().0, Appended::Misplaced { size: 5 });
        assert_eq!(trace.append(9, b"x", None).unwrap().0, Appended::Misplaced { size: 5 });
        assert_eq!(trace.digest(), (5, crc32fast::hash(b"12345")));
        assert_eq!(trace.read(3, 100).unwrap(), b"45");
        trace.restart().unwrap();
        assert_eq!(trace.digest(), (0, 0));
    }
}
