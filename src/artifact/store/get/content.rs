//! The content of objects, proved before it is handed out.

use std::sync::LazyLock;

use super::super::catalog::{Catalog, slice};
use super::super::chunks;
use super::super::error::{ObjectTrouble, StoreError};
use super::super::id::ObjectId;
use super::super::list::Chunk;
use super::super::pack::reader::Buffers;
use super::super::pack::{Kind, ObjectRecord, PackId};
use super::super::sha256;
use super::trouble;

/// The id of a chunk as long holes of a file have them.
static HOLE: LazyLock<ObjectId> = LazyLock::new(|| ObjectId::of(&vec![0; chunks::MAX as usize]));

/// Reads objects. One for each thread.
pub(super) struct Contents<'c> {
    catalog: &'c Catalog,
    buffers: Buffers,
    frames: [Frame; 2],
    /// A copy that was read because the one that is used first is damaged.
    spare: Vec<u8>,
    pub(super) damaged: Vec<PackId>,
}

/// The content of a frame, kept for its neighbours.
#[derive(Default)]
struct Frame {
    /// The pack's number and the frame's.
    of: Option<(u32, u32)>,
    content: Vec<u8>,
}

impl<'c> Contents<'c> {
    pub(super) fn new(catalog: &'c Catalog) -> Result<Self, StoreError> {
        let frames = [Frame::default(), Frame::default()];
        Ok(Self { catalog, buffers: Buffers::new()?, frames, spare: Vec::new(), damaged: Vec::new() })
    }

    /// The content of an object that stands for `size` bytes of a file.
    pub(super) fn one(&mut self, id: &ObjectId, size: u64) -> Result<&[u8], StoreError> {
        let found = self.load(0, id)?;
        if self.bytes(0, found).is_none_or(|bytes| ObjectId::of(bytes) != *id) {
            return self.other_copy(id, size);
        }
        sized(self.bytes(0, found), id, size)
    }

    /// The contents of one or two chunks; of long holes there is nothing to write.
    pub(super) fn pair(&mut self, chunks: &[Chunk]) -> Result<[Option<&[u8]>; 2], StoreError> {
        let is_hole = |chunk: &Chunk| chunk.id == *HOLE && chunk.length == u64::from(chunks::MAX);
        let (Some(one), Some(other)) = (chunks.first(), chunks.get(1)) else {
            let Some(one) = chunks.first().filter(|chunk| !is_hole(chunk)) else { return Ok([None, None]) };
            return Ok([Some(self.one(&one.id, one.length)?), None]);
        };
        if is_hole(one) && is_hole(other) {
            return Ok([None, None]);
        }
        let (first, second) = (self.load(0, &one.id)?, self.load(1, &other.id)?);
        let is_sound = match (self.bytes(0, first), self.bytes(1, second)) {
            (Some(first), Some(second)) => sha256::hash_two(first, second) == (one.id, other.id),
            _ => false,
        };
        if is_sound {
            let first = sized(self.bytes(0, first), &one.id, one.length)?;
            return Ok([Some(first), Some(sized(self.bytes(1, second), &other.id, other.length)?)]);
        }
        // One of them is damaged: each by itself, from whatever copy is sound.
        let first = self.one(&one.id, one.length)?.to_vec();
        let second = self.one(&other.id, other.length)?.to_vec();
        self.frames = [Frame { of: None, content: first }, Frame { of: None, content: second }];
        Ok([Some(&self.frames[0].content), Some(&self.frames[1].content)])
    }

    /// What [`Contents::load`] found, in its frame.
    fn bytes(&self, frame: usize, found: Option<ObjectRecord>) -> Option<&[u8]> {
        slice(&self.frames.get(frame)?.content, &found?)
    }

    /// Reads the frame of an object. `None`: it cannot be read.
    fn load(&mut self, frame: usize, id: &ObjectId) -> Result<Option<ObjectRecord>, StoreError> {
        let found = self.catalog.find(id)?;
        if found.record.kind != Kind::Data {
            return Err(trouble(*id, ObjectTrouble::Damaged));
        }
        let of = (found.place.pack, found.record.frame);
        let Frame { of: kept, content } = &mut self.frames[frame];
        if *kept != Some(of) {
            *kept = None;
            if found.pack.read_frame(found.record.frame, &mut self.buffers, content).is_err() {
                return Ok(None);
            }
            *kept = Some(of);
        }
        Ok(Some(found.record))
    }

    fn other_copy(&mut self, id: &ObjectId, size: u64) -> Result<&[u8], StoreError> {
        self.spare = self.catalog.read(id, Kind::Data, &mut self.buffers, &mut self.damaged)?;
        sized(Some(&self.spare), id, size)
    }
}

/// The size is checked as well as the hash.
fn sized<'b>(bytes: Option<&'b [u8]>, id: &ObjectId, size: u64) -> Result<&'b [u8], StoreError> {
    bytes.filter(|bytes| bytes.len() as u64 == size).ok_or(trouble(*id, ObjectTrouble::Damaged))
}
