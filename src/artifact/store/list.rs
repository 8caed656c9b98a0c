//! Chunk lists: what a file that is cut consists of.
//!
//! ```text
//! list     level (1): 0 the entries are chunks, 1 they are lists of level 0
//!          entries: id (32), bytes of the file that it stands for (8)
//!          SHA-256 of what comes before (32): a list is named after the file, so its id does not prove it
//! ```
//!
//! Lists of level 0 that belong to one of level 1 are objects of their own, named after their bytes. So a list is never larger than
//! a part of it, whatever the size of the file.

use sha2::{Digest as _, Sha256};

use super::catalog::Catalog;
use super::error::{ObjectTrouble, StoreError};
use super::id::ObjectId;
use super::pack::reader::Buffers;
use super::pack::{Kind, PackId};

const ENTRY: usize = 40;

/// Entries of a list. 2 GiB of chunks.
const MAX_ENTRIES: usize = 32_768;

/// A chunk of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) id: ObjectId,
    pub(super) length: u64,
}

/// Makes the list of a file.
pub(super) struct ListWriter {
    chunks: Vec<Chunk>,
    parts: Vec<Chunk>,
}

/// A file as its list.
pub(super) enum Listed {
    /// It has one chunk, which is named as the file is.
    Single,
    /// The list's bytes.
    List(Vec<u8>),
}

impl ListWriter {
    pub(super) fn new() -> Self {
        Self { chunks: Vec::new(), parts: Vec::new() }
    }

    /// Takes the next chunk. `store` gets the parts of long lists as they are done; false from it is passed on.
    pub(super) fn push(&mut self, id: ObjectId, length: u32, store: impl FnOnce(Vec<u8>) -> bool) -> bool {
        if self.chunks.len() == MAX_ENTRIES {
            let length = self.chunks.iter().map(|chunk| chunk.length).sum();
            let bytes = encode(0, &std::mem::take(&mut self.chunks));
            self.parts.push(Chunk { id: ObjectId::of(&bytes), length });
            if !store(bytes) {
                return false;
            }
        }
        self.chunks.push(Chunk { id, length: u64::from(length) });
        true
    }

    /// The list. What is left of a long one has to be stored, too.
    pub(super) fn finish(mut self, store: impl FnOnce(Vec<u8>) -> bool) -> Listed {
        if self.parts.is_empty() {
            return if self.chunks.len() == 1 { Listed::Single } else { Listed::List(encode(0, &self.chunks)) };
        }
        let length = self.chunks.iter().map(|chunk| chunk.length).sum();
        let bytes = encode(0, &self.chunks);
        self.parts.push(Chunk { id: ObjectId::of(&bytes), length });
        // Whoever stores it tells of failures.
        let _ = store(bytes);
        Listed::List(encode(1, &self.parts))
    }
}

fn encode(level: u8, entries: &[Chunk]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + entries.len() * ENTRY + 32);
    bytes.push(level);
    for entry in entries {
        bytes.extend_from_slice(entry.id.as_bytes());
        bytes.extend_from_slice(&entry.length.to_le_bytes());
    }
    let hash = Sha256::digest(&bytes);
    bytes.extend_from_slice(&hash);
    bytes
}

/// The level and the entries. `None`: it is no list, or not what was written.
fn decode(bytes: &[u8]) -> Option<(u8, Vec<Chunk>)> {
    let (body, hash) = bytes.split_last_chunk::<32>()?;
    if Sha256::digest(body)[..] != *hash {
        return None;
    }
    let (level, entries) = body.split_first()?;
    let (entries, rest) = entries.as_chunks::<ENTRY>();
    let read = |entry: &[u8; ENTRY]| {
        let (id, length) = entry.split_first_chunk::<32>()?;
        Some(Chunk { id: ObjectId::from_bytes(*id), length: u64::from_le_bytes(*length.first_chunk()?) })
    };
    let entries = entries.iter().map(read).collect::<Option<Vec<_>>>()?;
    (rest.is_empty() && *level <= 1).then_some((*level, entries))
}

/// Whether the bytes are a list as it was written.
pub(super) fn is_sound(bytes: &[u8]) -> bool {
    decode(bytes).is_some()
}

/// Calls `each` with the chunks of a file, in order, part after part.
///
/// # Errors
/// A list is missing or damaged, or `each` fails. The sizes do not add up to `size`.
pub(super) fn chunks(
    catalog: &Catalog,
    id: &ObjectId,
    size: u64,
    buffers: &mut Buffers,
    damaged: &mut Vec<PackId>,
    each: &mut impl FnMut(&[Chunk]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let wrong = || StoreError::Object { id: *id, how: ObjectTrouble::Damaged };
    let (level, entries) = decode(&catalog.read(id, Kind::List, buffers, damaged)?).ok_or_else(wrong)?;
    let total = |entries: &[Chunk]| entries.iter().try_fold(0_u64, |sum, entry| sum.checked_add(entry.length));
    if total(&entries) != Some(size) {
        return Err(wrong());
    }
    if level == 0 {
        return each(&entries);
    }
    for part in entries {
        let bytes = catalog.read(&part.id, Kind::Data, buffers, damaged)?;
        match decode(&bytes) {
            Some((0, chunks)) if total(&chunks) == Some(part.length) => each(&chunks)?,
            _ => return Err(wrong()),
        }
    }
    Ok(())
}

/// Whether all that a file consists of is there: its list, where it has one, and what that names. The content is not read.
///
/// # Errors
/// The list is missing, damaged, or of a file of another size.
pub(super) fn is_whole(catalog: &Catalog, id: &ObjectId, size: u64, buffers: &mut Buffers) -> Result<bool, StoreError> {
    if catalog.find(id)?.record.kind != Kind::List {
        return Ok(true);
    }
    let mut has_all = true;
    chunks(catalog, id, size, buffers, &mut Vec::new(), &mut |chunks| {
        has_all &= chunks.iter().all(|chunk| catalog.has(&chunk.id));
        Ok(())
    })?;
    Ok(has_all)
}

/// Whether the list in these bytes is that of the file that it is named after: by the hash of the file's content. `None`: something of it is
/// not there.
pub(super) fn proves_file(
    catalog: &Catalog,
    id: &ObjectId,
    bytes: &[u8],
    buffers: &mut Buffers,
) -> Result<Option<bool>, StoreError> {
    let Some((level, entries)) = decode(bytes) else { return Ok(Some(false)) };
    let mut hash = Sha256::new();
    let mut read = |id: &ObjectId, length: u64| match catalog.read(id, Kind::Data, buffers, &mut Vec::new()) {
        Ok(bytes) if bytes.len() as u64 == length || level == 1 => Ok(Some(bytes)),
        Ok(_) => Ok(None),
        Err(StoreError::Object { .. }) => Ok(None),
        Err(error) => Err(error),
    };
    for entry in entries {
        let Some(content) = read(&entry.id, entry.length)? else { return Ok(None) };
        if level == 0 {
            hash.update(&content);
            continue;
        }
        let Some((0, chunks)) = decode(&content) else { return Ok(Some(false)) };
        for chunk in chunks {
            let Some(content) = read(&chunk.id, chunk.length)? else { return Ok(None) };
            hash.update(&content);
        }
    }
    Ok(Some(hash.finalize()[..] == *id.as_bytes()))
}

/// The parts of a list of level 1: objects that it needs besides the chunks.
pub(super) fn parts(
    catalog: &Catalog,
    id: &ObjectId,
    buffers: &mut Buffers,
    damaged: &mut Vec<PackId>,
) -> Result<Vec<ObjectId>, StoreError> {
    let bytes = catalog.read(id, Kind::List, buffers, damaged)?;
    match decode(&bytes) {
        Some((1, parts)) => Ok(parts.into_iter().map(|part| part.id).collect()),
        Some(_) => Ok(Vec::new()),
        None => Err(StoreError::Object { id: *id, how: ObjectTrouble::Damaged }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_a_list_counts() {
        let chunks: Vec<Chunk> =
            (1..9_u8).map(|n| Chunk { id: ObjectId::of(&[n]), length: u64::from(n) * 1000 }).collect();
        let bytes = encode(0, &chunks);
        assert_eq!(decode(&bytes), Some((0, chunks)));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn a_long_list_is_a_list_of_lists() {
        let mut writer = ListWriter::new();
        let mut stored = Vec::new();
        for n in 0..MAX_ENTRIES as u32 * 2 + 5 {
            writer.push(ObjectId::of(&n.to_le_bytes()), 10, |part| {
                stored.push(part);
                true
            });
        }
        let Listed::List(top) = writer.finish(|part| {
            stored.push(part);
            true
        }) else {
            panic!("a list")
        };
        let (level, entries) = decode(&top).unwrap();
        assert_eq!((level, entries.len(), stored.len()), (1, 3, 3));
        for (entry, part) in entries.iter().zip(&stored) {
            assert_eq!(entry.id, ObjectId::of(part));
            assert_eq!(decode(part).unwrap().1.iter().map(|chunk| chunk.length).sum::<u64>(), entry.length);
        }
    }
}
