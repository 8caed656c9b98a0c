//! The job's log on the disk: one file, appended, read by the pump that brings it to the forge.
//!
//! What a later agent makes again must come out as the earlier one wrote it, for the forge may have it already; and a disk
//! without room must not stop the job's other work.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::SystemTime;

use super::service;
use crate::forge::LogDigest;

/// How much of a log is kept in memory while the disk has no room: of output, and of everything. The difference is for the
/// runner's own last words, which say that the disk is full.
pub(super) const OUTPUT_IN_MEMORY: usize = 48 << 10;
pub(super) const MOST_IN_MEMORY: usize = 64 << 10;

/// So much of the log's end is looked at for the last line of the runner's own.
const NEAR: u64 = 16 << 10;

/// The file of one log, and what of it is not there yet.
pub(super) struct LogFile {
    file: File,
    size: u64,
    /// Up to here the file holds what an earlier agent wrote. The forge may have it, so it stays as it is: see
    /// [`LogFile::repeat`].
    written: u64,
    left_at: Option<SystemTime>,
    hasher: crc32fast::Hasher,
    /// The end of the log that is not in the file yet: the disk is full.
    unwritten: Vec<u8>,
    broken: Option<io::Error>,
}

/// A line that belongs to nobody who writes again.
struct Aside {
    /// Where it begins, from where the log is made.
    start: usize,
    length: u64,
}

impl LogFile {
    /// Opens the file at `path`, behind the first `keep` bytes of what an earlier agent wrote there.
    pub(super) fn open(path: &Path, keep: u64) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let found = file.metadata()?;
        let written = found.len();
        let left_at = if written > 0 { found.modified().ok() } else { None };
        let hasher = crc32fast::Hasher::new();
        let mut this = Self { file, size: 0, written, left_at, hasher, unwritten: Vec::new(), broken: None };
        this.take_as_written(keep.min(written))?;
        Ok(this)
    }

    /// How much of the log is made.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The last line with a time stamp of the runner's own, empty where none is near the end.
    pub(super) fn last_runner_line(&self) -> io::Result<Vec<u8>> {
        let begin = self.size.saturating_sub(NEAR);
        let mut end = vec![0; usize::try_from(self.size - begin).unwrap_or(0)];
        self.file.read_exact_at(&mut end, begin)?;
        let mut lines = end.split(|byte| *byte == b'\n');
        let is_runner = |line: &&[u8]| line.get(28..31) == Some(b"00O");
        Ok(lines.rfind(is_runner).unwrap_or_default().to_vec())
    }

    /// When an earlier agent wrote to it last. `None`: none did.
    pub(super) fn left_at(&self) -> Option<SystemTime> {
        self.left_at
    }

    /// Whether what comes now was written by an earlier agent already.
    pub(super) fn is_made_again(&self) -> bool {
        self.size < self.written
    }

    /// Brings everything to the disk. Returns the size, or the error of any write since the last call.
    pub(super) fn settle(&mut self) -> io::Result<u64> {
        self.write_out();
        match self.broken.take() {
            Some(error) => Err(error),
            None => Ok(self.size),
        }
    }

    /// The size, if all of it is on the disk.
    pub(super) fn settled(&self) -> Option<u64> {
        (self.unwritten.is_empty() && self.broken.is_none()).then_some(self.size)
    }

    /// Nothing more will be made.
    pub(super) fn close(&mut self) {
        self.stand_by_what_is_written();
        self.write_out();
    }

    /// At most `most` bytes from `at`. Fewer, or none, at the end of what is there.
    pub(super) fn read_at(&self, at: u64, most: usize) -> io::Result<Vec<u8>> {
        let there = usize::try_from(self.end().saturating_sub(at)).unwrap_or(usize::MAX).min(most);
        let mut bytes = vec![0; there];
        let on_disk = self.end() - self.unwritten.len() as u64;
        let from_disk = usize::try_from(on_disk.saturating_sub(at)).unwrap_or(usize::MAX).min(there);
        let (written, unwritten) = bytes.split_at_mut(from_disk);
        self.file.read_exact_at(written, at)?;
        let skipped = usize::try_from(at.saturating_sub(on_disk)).unwrap_or(usize::MAX);
        unwritten.copy_from_slice(&self.unwritten[skipped..skipped + unwritten.len()]);
        Ok(bytes)
    }

    /// Adds `bytes` to the file, or to what waits for room there, up to `in_memory` bytes; more is lost.
    pub(super) fn store(&mut self, bytes: &[u8], in_memory: usize) {
        if bytes.is_empty() {
            return;
        }
        let bytes = match self.repeat(bytes) {
            Ok([]) => return,
            Ok(new) => new,
            Err(error) => {
                self.broken = Some(error);
                return;
            }
        };
        self.write_out();
        if self.unwritten.is_empty() {
            match self.file.write_all_at(bytes, self.size) {
                Ok(()) => return self.count(bytes),
                Err(error) => self.broken = Some(error),
            }
        }
        if self.unwritten.len() + bytes.len() <= in_memory {
            self.unwritten.extend_from_slice(bytes);
            self.count(bytes);
        }
    }

    /// Tries to bring what waits for room into the file.
    fn write_out(&mut self) {
        if self.unwritten.is_empty() {
            return;
        }
        match self.file.write_all_at(&self.unwritten, self.size - self.unwritten.len() as u64) {
            Ok(()) => self.unwritten.clear(),
            Err(error) => self.broken = Some(error),
        }
    }

    fn count(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.hasher.update(bytes);
    }

    /// Passes over what an earlier agent wrote as long as `bytes` are the same, but for digits: a section's end carries
    /// the time at which it was written. Lines of services among it are passed over, too: nobody makes them again. Gives
    /// back what is new.
    fn repeat<'b>(&mut self, mut bytes: &'b [u8]) -> io::Result<&'b [u8]> {
        while !bytes.is_empty() && self.size < self.written {
            let left = usize::try_from(self.written - self.size).unwrap_or(usize::MAX);
            let mut known = vec![0; left.min(bytes.len())];
            self.file.read_exact_at(&mut known, self.size)?;
            let is_other = |(old, new): (&u8, &u8)| old != new && !(old.is_ascii_digit() && new.is_ascii_digit());
            let same = known.iter().zip(bytes).position(is_other).unwrap_or(known.len());
            let aside = if same < known.len() { self.service_line(&known, same)? } else { None };
            let passed = aside.as_ref().map_or(same, |line| line.start);
            self.count(&known[..passed]);
            bytes = &bytes[passed..];
            match aside {
                Some(line) => self.take_as_written(self.size + line.length)?,
                None if same < known.len() => self.take_as_written(self.written)?,
                None => {}
            }
        }
        Ok(bytes)
    }

    /// The line of a service that stands where `known`, what the file holds from here, ceases to be the same at `same`.
    fn service_line(&self, known: &[u8], same: usize) -> io::Result<Option<Aside>> {
        let line_start = memchr::memrchr(b'\n', &known[..same]).map_or(0, |end| end + 1);
        for start in [line_start, same] {
            let at = self.size + start as u64;
            let left = usize::try_from(self.written - at).unwrap_or(usize::MAX);
            let mut line = vec![0; left.min(service::LONGEST)];
            self.file.read_exact_at(&mut line, at)?;
            if service::is_line(&line) {
                let length = memchr::memchr(b'\n', &line).map_or(line.len(), |end| end + 1) as u64;
                return Ok(Some(Aside { start, length }));
            }
        }
        Ok(None)
    }

    /// What is written and was not made again stays all the same.
    fn stand_by_what_is_written(&mut self) {
        if self.size < self.written
            && let Err(error) = self.take_as_written(self.written)
        {
            self.broken = Some(error);
        }
    }

    /// Counts what stands in the file up to `end` as this log's.
    fn take_as_written(&mut self, end: u64) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        while self.size < end {
            let most = usize::try_from(end - self.size).unwrap_or(usize::MAX).min(buffer.len());
            self.file.read_exact_at(&mut buffer[..most], self.size)?;
            self.hasher.update(&buffer[..most]);
            self.size += most as u64;
        }
        Ok(())
    }

    /// How much can be read.
    pub(super) fn end(&self) -> u64 {
        self.size.max(self.written)
    }

    /// What the log amounts to so far.
    pub(super) fn digest(&self) -> LogDigest {
        LogDigest { crc32: self.hasher.clone().finalize(), size: self.size }
    }
}
