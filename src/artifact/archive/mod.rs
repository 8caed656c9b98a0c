//! Packing files of a work tree and unpacking them again, in the forges' formats. (protocols: GitLab 6.3, 6.5.)
//!
//! Packing: [`pack`] writes the same bytes for the same tree: sorted entries, no clock, no random number, however many
//! threads compress. Unpacking: [`unpack`] knows the format by its first bytes, keeps within [`Limits`], and every name goes
//! through `place`, the only code that writes into a work tree.
//!
//! - `chunks`: compressing pieces on several threads, in order.
//! - `zip_write`, `zip_read`, `tar`, `gzip`: the formats. Zip is written and read by own code: the `zip` crate cannot keep names
//!   that are not UTF-8, has no way to take parts compressed elsewhere, and holds the whole directory of an
//!   archive in memory. Tests hold it against that crate, both ways.
//! - [`provenance`]: the statement that goes with an artifact.

use std::fs::File;
use std::io::{self, Write};

use cap_std::fs::Dir;

use super::select::Selection;
use super::{Interrupt, Remark, Unnamed};
use crate::pipeline::definition::ArtifactFormat;

mod chunks;
mod error;
mod gzip;
mod limits;
mod place;
pub mod provenance;
pub(super) mod source;
pub(super) mod tar;
mod zip_read;
mod zip_write;

#[cfg(test)]
mod tests;

pub use error::{ArchiveError, LimitKind};
pub use limits::Limits;

/// How hard to compress. `ARTIFACT_COMPRESSION_LEVEL` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Level {
    /// Zip entries are stored.
    Fastest,
    /// Little work.
    Fast,
    /// The usual.
    #[default]
    Default,
    /// Much work.
    Slow,
    /// As small as it gets.
    Slowest,
}

impl Level {
    /// The level of this name; what is not one is the default.
    pub fn named(name: &str) -> Self {
        match name {
            "fastest" => Level::Fastest,
            "fast" => Level::Fast,
            "slow" => Level::Slow,
            "slowest" => Level::Slowest,
            _ => Level::Default,
        }
    }

    /// Deflate: 0 stands for stored.
    fn deflate(self) -> u32 {
        match self {
            Level::Fastest => 0,
            Level::Fast => 1,
            Level::Default => 5,
            Level::Slow => 7,
            Level::Slowest => 9,
        }
    }

    /// Zstandard. The names are of another implementation's levels; these are its nearest.
    fn zstd(self) -> i32 {
        match self {
            Level::Fastest | Level::Fast => 1,
            Level::Default => 3,
            Level::Slow => 8,
            Level::Slowest => 12,
        }
    }
}

/// How to pack.
#[derive(Clone, Debug, Default)]
pub struct Packing {
    /// The format.
    pub format: ArtifactFormat,
    /// How hard to compress.
    pub level: Level,
    /// Ends the work early.
    pub interrupt: Interrupt,
}

/// What was packed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Entries in the archive, folders and symlinks included.
    pub entries: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Bytes of file content before compression.
    pub content_bytes: u64,
    /// Files that could not be read or were gone.
    pub remarks: Vec<Remark>,
}

/// What was unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Entries put into the tree.
    pub entries: u64,
    /// Those of them that are no folders.
    pub files: u64,
    /// Bytes of file content.
    pub bytes: u64,
    /// Folders that had to be made for entries and have none of their own.
    pub unnamed: Unnamed,
    /// Entries that could not be put there, and what had to give way.
    pub remarks: Vec<Remark>,
}

/// How to unpack.
#[derive(Clone, Debug, Default)]
pub struct Unpacking {
    /// What the archive may hold.
    pub limits: Limits,
    /// Ends the work early.
    pub interrupt: Interrupt,
}

/// Packs `selection` of the tree `root` into `out`, in many small writes, none of which changes what was written before. Blocking.
///
/// A file that grew is packed as long as it was when opened; one that shrank or went is packed as far as it is there, or
/// left out with a remark. The same tree gives the same bytes.
pub fn pack(
    root: &Dir,
    selection: &Selection,
    format: ArtifactFormat,
    level: Level,
    out: &mut impl Write,
) -> Result<Packed, ArchiveError> {
    pack_with(root, selection, &Packing { format, level, interrupt: Interrupt::default() }, out)
}

/// [`pack`], to be interrupted.
pub fn pack_with(
    root: &Dir,
    selection: &Selection,
    packing: &Packing,
    out: &mut impl Write,
) -> Result<Packed, ArchiveError> {
    match packing.format {
        ArtifactFormat::Zip | ArtifactFormat::ZipZstd => zip_write::pack(root, selection, packing, out),
        ArtifactFormat::TarZstd => tar::pack(root, selection, packing, out),
        ArtifactFormat::Gzip => gzip::pack(root, selection, packing, out),
        ArtifactFormat::Raw => gzip::pack_raw(root, selection, packing, out),
    }
}

/// Unpacks the archive `file`, from its start, into the tree `root`. Blocking.
///
/// The format is told by the first bytes: a tar in zstd, else a zip; one gzip stream is refused, as nobody knows what it is
/// the compression of. Existing files and symlinks give way, existing folders stay; no symlink is followed, not even one that
/// the archive itself brings; sockets, pipes and devices are left out. Modes (without setuid, setgid and sticky bits), times
/// and, for root, owners are restored; folders that no entry names are open to every user.
///
/// # Errors
/// A damaged archive, a name that leads out, a limit passed, a full disk. What was unpacked before stays. Trouble
/// with one file is a remark.
pub fn unpack(file: &mut File, root: &Dir, limits: &Limits) -> Result<Unpacked, ArchiveError> {
    unpack_with(file, root, &Unpacking { limits: limits.clone(), interrupt: Interrupt::default() })
}

/// [`unpack`], to be interrupted.
pub fn unpack_with(file: &mut File, root: &Dir, unpacking: &Unpacking) -> Result<Unpacked, ArchiveError> {
    use std::os::unix::fs::FileExt;

    let length = file.metadata().map_err(|e| ArchiveError::io("reading the archive", e))?.len();
    let mut magic = [0; 4];
    let got = file.read_at(&mut magic, 0).map_err(|e| ArchiveError::io("reading the archive", e))?;
    match &magic[..got] {
        [0x28, 0xb5, 0x2f, 0xfd] => tar::unpack(file, length, root, unpacking),
        [0x1f, 0x8b, ..] => Err(ArchiveError::Unsupported("a gzip stream has no files to unpack".to_owned())),
        _ => zip_read::unpack(file, length, root, unpacking),
    }
}

/// The name under which an archive is uploaded: the last part of `name` (`default` where there is none) and what the
/// format adds. (protocols: GitLab 6.1.)
pub fn file_name(name: &str, format: ArtifactFormat) -> String {
    let base = match name.trim_end_matches('/').rsplit('/').next() {
        None | Some("" | ".") => "default",
        Some(base) => base,
    };
    let extension = match format {
        ArtifactFormat::Zip | ArtifactFormat::ZipZstd => ".zip",
        ArtifactFormat::TarZstd => ".tar.zst",
        ArtifactFormat::Gzip => ".gz",
        ArtifactFormat::Raw => "",
    };
    // The name goes into a header line.
    format!("{base}{extension}").replace('\n', "%0A").replace('\r', "%0D")
}

/// A writer that counts, so that formats know where they are without asking the file.
struct Counted<'a, W> {
    inner: &'a mut W,
    bytes: u64,
}

impl<'a, W> Counted<'a, W> {
    fn new(inner: &'a mut W) -> Self {
        Self { inner, bytes: 0 }
    }
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buf)?;
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
