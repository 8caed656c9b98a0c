//! Making a manifest of entries that come one after the other.

use super::codec::{put_content, put_entry, put_number};
use super::{MAGIC, MAX_PATHS, Root, TreeEntry, TreeNode};
use crate::artifact::store::error::StoreError;
use crate::artifact::store::id::ObjectId;
use crate::artifact::store::sha256::Hasher;

/// A segment is closed behind one path in so many ...
const MEAN_ENTRIES: u64 = 512;

/// ... and when it has so many bytes.
pub(super) const MAX_SEGMENT: usize = 256 << 10;

/// Makes a manifest.
pub(in super::super) struct ManifestWriter {
    segment: Vec<u8>,
    /// Bytes of the paths in it.
    paths: usize,
    before: Vec<u8>,
    content: Hasher,
    scratch: Vec<u8>,
    root: Root,
}

impl ManifestWriter {
    pub(in super::super) fn new() -> Self {
        let root = Root { entries: 0, bytes: 0, content_id: ObjectId::of(&[]), segments: Vec::new() };
        Self { segment: Vec::new(), paths: 0, before: Vec::new(), content: Hasher::new(), scratch: Vec::new(), root }
    }

    /// Takes the next entry, whose path comes after those before. `full` gets each segment that is done.
    pub(in super::super) fn push(
        &mut self,
        entry: &TreeEntry,
        full: &mut impl FnMut(ObjectId, Vec<u8>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let before = if self.segment.is_empty() { &[] } else { self.before.as_slice() };
        put_entry(&mut self.segment, entry, before);
        self.scratch.clear();
        put_content(&mut self.scratch, entry);
        self.content.update(&self.scratch);
        self.before.clone_from(&entry.path);
        self.paths += entry.path.len();
        self.root.entries += 1;
        if let TreeNode::File { size, .. } = entry.node {
            self.root.bytes = self.root.bytes.saturating_add(size);
        }
        let is_full = self.segment.len() >= MAX_SEGMENT || self.paths >= MAX_PATHS;
        if is_full || ends_segment(&entry.path) {
            self.close(full)?;
        }
        Ok(())
    }

    /// The root, and its bytes; its id is the tree's.
    pub(in super::super) fn finish(
        mut self,
        full: &mut impl FnMut(ObjectId, Vec<u8>) -> Result<(), StoreError>,
    ) -> Result<(Root, Vec<u8>), StoreError> {
        if !self.segment.is_empty() {
            self.close(full)?;
        }
        let mut root = self.root;
        root.content_id = self.content.finish();
        let mut bytes = MAGIC.to_vec();
        put_number(&mut bytes, root.entries);
        put_number(&mut bytes, root.bytes);
        bytes.extend_from_slice(root.content_id.as_bytes());
        put_number(&mut bytes, root.segments.len() as u64);
        for (id, length) in &root.segments {
            bytes.extend_from_slice(id.as_bytes());
            put_number(&mut bytes, u64::from(*length));
        }
        Ok((root, bytes))
    }

    fn close(&mut self, full: &mut impl FnMut(ObjectId, Vec<u8>) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let segment = std::mem::take(&mut self.segment);
        self.paths = 0;
        let id = ObjectId::of(&segment);
        self.root.segments.push((id, segment.len() as u32));
        full(id, segment)
    }
}

/// Whether a segment ends behind this path: FNV-1a of its bytes, so that it hangs on nothing else.
fn ends_segment(path: &[u8]) -> bool {
    let hash = path
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    // The low bits of FNV are poor.
    (hash ^ (hash >> 32)) % MEAN_ENTRIES == 0
}
