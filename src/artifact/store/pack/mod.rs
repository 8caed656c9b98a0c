//! Packs: files that hold objects, written once.
//!
//! ```text
//! header   32 bytes   "fhpack\0\1", flags (4 bytes; bit 0: encrypted), 4 bytes zero, salt (16 bytes)
//! frames              one after the other, each compressed, and encrypted where there is a key
//! footer              20 bytes a frame:  offset (8), stored (4) and raw length (4), encoding (1), 3 bytes zero
//!                     48 bytes an object: id (32), frame (4), offset in it (4), length (4), kind (1), 3 bytes zero
//!                     encrypted as a whole where there is a key
//! trailer  48 bytes   number of frames (4) and objects (4), stored length of the footer (8), SHA-256 (32) of header, footer and
//!                     what of the trailer comes before it
//! ```
//!
//! Numbers are little-endian. The hash in the trailer is the pack's name. It covers the footer, and the footer has the hash of each
//! object's content: so every byte is covered, and none is hashed again for it.

use super::frame::{Encoding, MAX_FRAME};
use super::id::ObjectId;

pub(super) mod files;
pub(super) mod reader;
pub(super) mod writer;

/// The first bytes of a pack.
const MAGIC: [u8; 8] = *b"fhpack\0\x01";
const HEADER: usize = 32;
const TRAILER: usize = 48;
const FRAME_RECORD: usize = 20;
const OBJECT_RECORD: usize = 48;
/// In the header's flags.
const ENCRYPTED: u32 = 1;

/// A pack is closed when it has so many bytes. Large enough that few files are made, small enough to be copied again.
pub(super) const PACK_SIZE: u64 = 64 << 20;

/// ... or so many objects: its footer is read as a whole.
pub(super) const PACK_OBJECTS: usize = 100_000;

/// The name of a pack: the hash in its trailer.
pub(super) type PackId = ObjectId;

/// What an object's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A file, or a chunk of one. Its id is their hash.
    Data,
    /// The chunks of a file. Its id is the hash of the file.
    List,
    /// The root of a tree's manifest.
    Tree,
    /// A part of a manifest.
    Segment,
}

impl Kind {
    fn to_byte(self) -> u8 {
        match self {
            Kind::Data => 0,
            Kind::List => 1,
            Kind::Tree => 2,
            Kind::Segment => 3,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Kind::Data, Kind::List, Kind::Tree, Kind::Segment].into_iter().find(|kind| kind.to_byte() == byte)
    }
}

/// Where a frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameRecord {
    offset: u64,
    stored: u32,
    raw: u32,
    encoding: Encoding,
}

impl FrameRecord {
    fn to_bytes(self) -> [u8; FRAME_RECORD] {
        let mut bytes = [0; FRAME_RECORD];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.stored.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.raw.to_le_bytes());
        bytes[16] = self.encoding.to_byte();
        bytes
    }

    /// `None`: no version of this program wrote it.
    fn from_bytes(bytes: &[u8; FRAME_RECORD]) -> Option<Self> {
        let [o0, o1, o2, o3, o4, o5, o6, o7, s0, s1, s2, s3, r0, r1, r2, r3, encoding, ..] = *bytes;
        let record = Self {
            offset: u64::from_le_bytes([o0, o1, o2, o3, o4, o5, o6, o7]),
            stored: u32::from_le_bytes([s0, s1, s2, s3]),
            raw: u32::from_le_bytes([r0, r1, r2, r3]),
            encoding: Encoding::from_byte(encoding)?,
        };
        let fits = record.raw as usize <= MAX_FRAME && record.stored as usize <= MAX_FRAME + super::seal::TAG;
        fits.then_some(record)
    }
}

/// Where an object lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ObjectRecord {
    pub(super) id: ObjectId,
    pub(super) kind: Kind,
    /// The frame's number.
    pub(super) frame: u32,
    /// In the frame's content.
    pub(super) offset: u32,
    pub(super) length: u32,
}

impl ObjectRecord {
    fn to_bytes(self) -> [u8; OBJECT_RECORD] {
        let mut bytes = [0; OBJECT_RECORD];
        bytes[..32].copy_from_slice(self.id.as_bytes());
        bytes[32..36].copy_from_slice(&self.frame.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.offset.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.length.to_le_bytes());
        bytes[44] = self.kind.to_byte();
        bytes
    }

    /// `None`: no version of this program wrote it.
    fn from_bytes(bytes: &[u8; OBJECT_RECORD]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk::<32>()?;
        let [f0, f1, f2, f3, o0, o1, o2, o3, l0, l1, l2, l3, kind, ..] = *rest.first_chunk::<16>()?;
        Some(Self {
            id: ObjectId::from_bytes(*id),
            kind: Kind::from_byte(kind)?,
            frame: u32::from_le_bytes([f0, f1, f2, f3]),
            offset: u32::from_le_bytes([o0, o1, o2, o3]),
            length: u32::from_le_bytes([l0, l1, l2, l3]),
        })
    }
}
