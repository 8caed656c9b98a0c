//! What an archive from outside may hold.

use super::error::{ArchiveError, LimitKind};

/// What an archive may hold. The defaults are far above what jobs use and far below what fills a machine by surprise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries.
    pub entries: u64,
    /// Bytes of content in all.
    pub bytes: u64,
    /// Bytes of content for each byte of the archive. Deflate reaches 1,032, zstd far more on files of zeros.
    pub ratio: u64,
    /// Bytes of content below which the ratio is not looked at: small things may be very compressible.
    pub ratio_from: u64,
    /// Bytes of one path.
    pub path_bytes: u64,
    /// Names in one path.
    pub depth: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 5_000_000,
            bytes: 256 << 30,
            ratio: 2_000,
            ratio_from: 8 << 30,
            path_bytes: 4_096,
            depth: 1_024,
        }
    }
}

/// Counts what one archive has brought so far.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    archive_bytes: u64,
    entries: u64,
    bytes: u64,
}

impl Budget {
    pub(super) fn new(limits: &Limits, archive_bytes: u64) -> Self {
        Self { limits: limits.clone(), archive_bytes: archive_bytes.max(1), entries: 0, bytes: 0 }
    }

    /// One more entry.
    pub(super) fn entry(&mut self) -> Result<(), ArchiveError> {
        self.entries += 1;
        check(self.entries, LimitKind::Entries, self.limits.entries)
    }

    /// So many more bytes of content, before they are written.
    pub(super) fn content(&mut self, bytes: u64) -> Result<(), ArchiveError> {
        self.bytes = self.bytes.saturating_add(bytes);
        check(self.bytes, LimitKind::Bytes, self.limits.bytes)?;
        if self.bytes > self.limits.ratio_from {
            check(self.bytes / self.archive_bytes, LimitKind::Ratio, self.limits.ratio)?;
        }
        Ok(())
    }

    /// A path of this many bytes and names.
    pub(super) fn path(&self, bytes: usize, names: usize) -> Result<(), ArchiveError> {
        check(bytes as u64, LimitKind::PathBytes, self.limits.path_bytes)?;
        check(names as u64, LimitKind::Depth, self.limits.depth)
    }

    /// Bytes of content so far.
    pub(super) fn content_so_far(&self) -> u64 {
        self.bytes
    }
}

fn check(value: u64, kind: LimitKind, limit: u64) -> Result<(), ArchiveError> {
    if value > limit { Err(ArchiveError::Limit { kind, limit }) } else { Ok(()) }
}
