//! Reading a manifest. Its bytes were found to be what their ids say; that they make sense is checked here.

use super::codec::Cursor;
use super::{MAGIC, MAX_PARTS, MAX_PATH, MAX_PATHS, Root, TreeEntry};

/// Reads a root. `None`: it is none.
pub(in super::super) fn root(bytes: &[u8]) -> Option<Root> {
    let mut cursor = Cursor(bytes.strip_prefix(&MAGIC)?);
    let (entries, bytes) = (cursor.number()?, cursor.number()?);
    let content_id = cursor.id()?;
    let count = cursor.number()?;
    let mut segments = Vec::new();
    for _ in 0..count {
        segments.push((cursor.id()?, u32::try_from(cursor.number()?).ok()?));
    }
    cursor.0.is_empty().then_some(Root { entries, bytes, content_id, segments })
}

/// Reads a segment. `None`: it is none, or none that was written here: it must not take more memory than those do.
pub(in super::super) fn segment(bytes: &[u8]) -> Option<Vec<TreeEntry>> {
    let mut cursor = Cursor(bytes);
    let mut entries: Vec<TreeEntry> = Vec::new();
    let (mut paths, mut parts) = (0, 0);
    while !cursor.0.is_empty() {
        let before = entries.last().map_or(&[] as &[u8], |entry| &entry.path);
        let entry = cursor.entry(before)?;
        paths += entry.path.len();
        parts += 1 + entry.xattrs.len();
        if paths > MAX_PATHS + MAX_PATH || parts > MAX_PARTS {
            return None;
        }
        entries.push(entry);
    }
    Some(entries)
}
