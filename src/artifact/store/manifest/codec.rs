//! Entries as bytes.

use super::{MAX_PATH, MAX_XATTRS, Mtime, TreeEntry, TreeNode, is_plain};
use crate::artifact::store::id::ObjectId;

const FOLDER: u8 = 0;
const FILE: u8 = 1;
const SYMLINK: u8 = 2;
const HAS_OWNER: u8 = 1 << 4;
const HAS_XATTRS: u8 = 1 << 5;

pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Writes an entry that comes after the path `before`.
pub(super) fn put_entry(out: &mut Vec<u8>, entry: &TreeEntry, before: &[u8]) {
    let shared = entry.path.iter().zip(before).take_while(|(a, b)| a == b).count();
    put_number(out, shared as u64);
    put_bytes(out, &entry.path[shared..]);
    let flags =
        if entry.owner.is_some() { HAS_OWNER } else { 0 } | if entry.xattrs.is_empty() { 0 } else { HAS_XATTRS };
    out.push(kind(&entry.node) | flags);
    put_number(out, u64::from(entry.mode));
    put_number(out, zigzag(entry.mtime.seconds));
    put_number(out, u64::from(entry.mtime.nanos));
    if let Some((uid, gid)) = entry.owner {
        put_number(out, u64::from(uid));
        put_number(out, u64::from(gid));
    }
    put_xattrs(out, entry);
    put_node(out, &entry.node);
}

/// Writes what of an entry counts for the content id.
pub(super) fn put_content(out: &mut Vec<u8>, entry: &TreeEntry) {
    put_bytes(out, &entry.path);
    out.push(kind(&entry.node));
    put_number(out, u64::from(entry.mode));
    put_number(out, entry.xattrs.len() as u64);
    put_xattrs(out, entry);
    put_node(out, &entry.node);
}

fn kind(node: &TreeNode) -> u8 {
    match node {
        TreeNode::Folder => FOLDER,
        TreeNode::File { .. } => FILE,
        TreeNode::Symlink { .. } => SYMLINK,
    }
}

fn put_xattrs(out: &mut Vec<u8>, entry: &TreeEntry) {
    if entry.xattrs.is_empty() {
        return;
    }
    put_number(out, entry.xattrs.len() as u64);
    for (name, value) in &entry.xattrs {
        put_bytes(out, name);
        put_bytes(out, value);
    }
}

fn put_node(out: &mut Vec<u8>, node: &TreeNode) {
    match node {
        TreeNode::Folder => {}
        TreeNode::File { size, id } => {
            put_number(out, *size);
            if *size > 0 {
                out.extend_from_slice(id.as_bytes());
            }
        }
        TreeNode::Symlink { target } => put_bytes(out, target),
    }
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Takes numbers and bytes off the front of a text.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn id(&mut self) -> Option<ObjectId> {
        self.take(32)?.try_into().ok().map(ObjectId::from_bytes)
    }

    fn small<T: TryFrom<u64>>(&mut self) -> Option<T> {
        T::try_from(self.number()?).ok()
    }

    fn bytes(&mut self, limit: usize) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        if length > limit { None } else { self.take(length) }
    }

    /// The next entry. `None`: this is no entry, or one that no tree can have.
    pub(super) fn entry(&mut self, before: &[u8]) -> Option<TreeEntry> {
        let shared = before.get(..self.small()?)?;
        let path = [shared, self.bytes(MAX_PATH)?].concat();
        if !is_plain(&path) || (!before.is_empty() && path.as_slice() <= before) {
            return None;
        }
        let flags = *self.take(1)?.first()?;
        if flags & !(HAS_OWNER | HAS_XATTRS | 0xf) != 0 {
            return None;
        }
        let mode = self.small::<u32>()?;
        let mtime = Mtime { seconds: unzigzag(self.number()?), nanos: self.small()? };
        let owner = if flags & HAS_OWNER != 0 { Some((self.small()?, self.small()?)) } else { None };
        let xattrs = if flags & HAS_XATTRS != 0 { self.xattrs()? } else { Vec::new() };
        let node = self.node(flags & 0xf)?;
        let fits = mode <= 0o7777 && mtime.nanos < 1_000_000_000;
        fits.then_some(TreeEntry { path, mode, mtime, owner, xattrs, node })
    }

    fn xattrs(&mut self) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
        // Their names have no more bytes than that together.
        let count = self.number().filter(|count| *count <= MAX_XATTRS as u64)?;
        let mut all = Vec::new();
        for _ in 0..count {
            all.push((self.bytes(255)?.to_vec(), self.bytes(MAX_XATTRS)?.to_vec()));
        }
        Some(all)
    }

    fn node(&mut self, kind: u8) -> Option<TreeNode> {
        match kind {
            FOLDER => Some(TreeNode::Folder),
            FILE => {
                let size = self.number()?;
                let id = if size > 0 { self.id()? } else { ObjectId::of(&[]) };
                Some(TreeNode::File { size, id })
            }
            SYMLINK => Some(TreeNode::Symlink { target: self.bytes(MAX_PATH)?.to_vec() }),
            _ => None,
        }
    }
}
