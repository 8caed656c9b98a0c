//! Manifests: what a tree consists of. The id of a tree is the id of its manifest's root.
//!
//! ```text
//! root      "fhtree\0\1", entries, bytes of content (numbers), content id (32), number of segments, and for each segment its
//!           id (32) and length
//! segment   entries, in the order of their paths, bytes compared
//! entry     length of the beginning of the path that it shares with the entry before in the segment, length of the rest, the
//!           rest; kind (1): 0 folder, 1 file, 2 symlink, with bit 4 when an owner and bit 5 when extended attributes follow;
//!           mode; seconds (zigzag) and nanoseconds of its time; [uid, gid]; [number of attributes, and for each: length
//!           of the name, name, length of the value, value]; of a file: size, id (32), which an empty one lacks;
//!           of a symlink: length of the target, target
//! ```
//!
//! Numbers are LEB128. A segment ends behind an entry whose path's hash says so, so that a change to one entry makes one new
//! segment and not all that follow.
//!
//! The content id is the SHA-256 of the entries written one after the other without sharing beginnings, and without times and
//! owners: two builds that made the same files have the same one.

use super::id::ObjectId;

mod codec;
pub(super) mod read;
pub(super) mod write;

#[cfg(test)]
mod tests;

/// The first bytes of a root.
const MAGIC: [u8; 8] = *b"fhtree\0\x01";

/// Bytes of a path, at most. (`PATH_MAX`)
pub(super) const MAX_PATH: usize = 4096;

/// Bytes of the value of an extended attribute, at most, and of all of one entry. (`XATTR_SIZE_MAX`)
pub(super) const MAX_XATTRS: usize = 64 << 10;

/// Bytes of the paths of a segment, which is closed when it has so many: what they begin with is left out, so that few bytes could stand for
/// very long ones.
const MAX_PATHS: usize = 8 << 20;

/// Entries of a segment and their attributes, at most: none that is closed when it has [`write::MAX_SEGMENT`] bytes has so many, as they
/// take three bytes at least.
const MAX_PARTS: usize = 128 << 10;

/// One file, folder or symlink of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TreeEntry {
    /// Relative, of plain names only.
    pub(super) path: Vec<u8>,
    /// Permission bits, with setuid and the like.
    pub(super) mode: u32,
    /// When it was changed last.
    pub(super) mtime: Mtime,
    /// User and group, where they were asked for.
    pub(super) owner: Option<(u32, u32)>,
    /// Names and values, where they were asked for.
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) node: TreeNode,
}

/// A time of a file system: since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mtime {
    pub(super) seconds: i64,
    pub(super) nanos: u32,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TreeNode {
    Folder,
    File { size: u64, id: ObjectId },
    Symlink { target: Vec<u8> },
}

/// What the root says of the whole tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) entries: u64,
    /// Bytes of all files.
    pub(super) bytes: u64,
    pub(super) content_id: ObjectId,
    /// Ids and lengths.
    pub(super) segments: Vec<(ObjectId, u32)>,
}

/// Whether a path is one that a tree may have: relative, plain names, not too long.
pub(super) fn is_plain(path: &[u8]) -> bool {
    let is_plain = |name: &[u8]| !name.is_empty() && name.len() <= 255 && name != b"." && name != b"..";
    path.len() < MAX_PATH && !path.contains(&0) && path.split(|b| *b == b'/').all(is_plain)
}
