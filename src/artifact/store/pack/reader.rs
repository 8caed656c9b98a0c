//! Reading packs. What is read is checked against the pack's own records; the content of an object is checked by whoever
//! asked for it, against its id.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::super::error::StoreError;
use super::super::frame::Decompressor;
use super::super::id::ObjectId;
use super::super::seal::{PackKey, SALT, StoreKey, TAG};
use super::files::Slot;
use super::{ENCRYPTED, FRAME_RECORD, FrameRecord, HEADER, MAGIC, OBJECT_RECORD, ObjectRecord, PackId, TRAILER};

/// Bytes of a footer, at most.
const MAX_FOOTER: u64 = 64 << 20;

/// A pack whose footer was found whole.
pub(in super::super) struct Pack {
    pub(in super::super) id: PackId,
    pub(in super::super) path: PathBuf,
    pub(in super::super) bytes: u64,
    frames: u32,
    objects: u32,
    footer_at: u64,
    /// Open while it is read from.
    file: Arc<Slot>,
    /// Where the footer is encrypted, its content: it cannot be read in parts.
    clear: Option<Sealed>,
}

struct Sealed {
    key: PackKey,
    footer: Vec<u8>,
}

impl Pack {
    /// Reads the footer of the pack at `path`, and gives each object to `seen`, in order.
    ///
    /// # Errors
    /// It is damaged ([`StoreError::Damaged`]), cannot be read, or is encrypted with another key.
    pub(in super::super) fn open(
        path: &Path,
        key: Option<&StoreKey>,
        mut seen: impl FnMut(u32, ObjectRecord),
    ) -> Result<Self, StoreError> {
        let fail = |e| StoreError::file("reading", path, e);
        let damaged = || StoreError::Damaged { what: "a pack", path: path.to_owned() };
        let file = File::open(path).map_err(fail)?;
        let bytes = file.metadata().map_err(fail)?.len();
        let end = bytes.checked_sub(TRAILER as u64).filter(|end| *end >= HEADER as u64).ok_or_else(damaged)?;
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0).map_err(fail)?;
        let mut trailer = [0; TRAILER];
        file.read_exact_at(&mut trailer, end).map_err(fail)?;
        let [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, c4, c5, c6, c7, ..] = trailer;
        let (frames, objects) = (u32::from_le_bytes([a0, a1, a2, a3]), u32::from_le_bytes([b0, b1, b2, b3]));
        let footer_length = u64::from_le_bytes([c0, c1, c2, c3, c4, c5, c6, c7]);
        let fits = |length: &u64| *length <= MAX_FOOTER && *length <= end - HEADER as u64;
        let footer_length = Some(footer_length).filter(fits).ok_or_else(damaged)?;
        let footer_at = end - footer_length;
        let mut footer = vec![0; footer_length as usize];
        file.read_exact_at(&mut footer, footer_at).map_err(fail)?;
        let hash = Sha256::new().chain_update(header).chain_update(&footer).chain_update(&trailer[..16]).finalize();
        if header[..8] != MAGIC || hash[..] != trailer[16..] {
            return Err(damaged());
        }
        let sealed = Self::key_of(&header, key, path)?;
        if let Some(key) = &sealed {
            key.open_footer(&mut footer).ok_or_else(|| wrong_key(path))?;
        }
        let expected = frames as usize * FRAME_RECORD + objects as usize * OBJECT_RECORD;
        if footer.len() != expected {
            return Err(damaged());
        }
        let records = footer[frames as usize * FRAME_RECORD..].as_chunks::<OBJECT_RECORD>().0;
        for (number, record) in (0..).zip(records) {
            seen(number, ObjectRecord::from_bytes(record).ok_or_else(damaged)?);
        }
        let clear = sealed.map(|key| Sealed { key, footer });
        let id = ObjectId::from_bytes(hash.into());
        Ok(Self { id, path: path.to_owned(), bytes, frames, objects, footer_at, file: Arc::default(), clear })
    }

    fn key_of(header: &[u8; HEADER], key: Option<&StoreKey>, path: &Path) -> Result<Option<PackKey>, StoreError> {
        let flags = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        if flags & ENCRYPTED == 0 {
            return Ok(None);
        }
        let key = key.ok_or_else(|| wrong_key(path))?;
        let mut salt = [0; SALT];
        salt.copy_from_slice(&header[HEADER - SALT..]);
        Ok(Some(key.for_pack(&salt)?))
    }

    /// The record of the object of this number.
    pub(in super::super) fn object(&self, number: u32) -> io::Result<ObjectRecord> {
        if number >= self.objects {
            return Err(damage());
        }
        let at = self.frames as usize * FRAME_RECORD + number as usize * OBJECT_RECORD;
        ObjectRecord::from_bytes(&self.footer_part(at)?).ok_or_else(damage)
    }

    /// How many objects there are.
    pub(in super::super) fn objects(&self) -> u32 {
        self.objects
    }

    /// Bytes that the frame of this number takes in the file.
    pub(in super::super) fn stored_length(&self, frame: u32) -> io::Result<u64> {
        Ok(u64::from(self.frame(frame)?.stored))
    }

    fn frame(&self, number: u32) -> io::Result<FrameRecord> {
        if number >= self.frames {
            return Err(damage());
        }
        let record = FrameRecord::from_bytes(&self.footer_part(number as usize * FRAME_RECORD)?).ok_or_else(damage)?;
        let end = record.offset.checked_add(u64::from(record.stored)).ok_or_else(damage)?;
        if end > self.footer_at { Err(damage()) } else { Ok(record) }
    }

    fn footer_part<const N: usize>(&self, at: usize) -> io::Result<[u8; N]> {
        if let Some(sealed) = &self.clear {
            let part = sealed.footer.get(at..at + N).and_then(|part| part.try_into().ok());
            return part.ok_or_else(damage);
        }
        let mut bytes = [0; N];
        self.file()?.read_exact_at(&mut bytes, self.footer_at + at as u64)?;
        Ok(bytes)
    }

    /// The content of a frame in `out`.
    ///
    /// # Errors
    /// It cannot be read, or is not what it was.
    pub(in super::super) fn read_frame(&self, number: u32, buffers: &mut Buffers, out: &mut Vec<u8>) -> io::Result<()> {
        let frame = self.frame(number)?;
        let stored = &mut buffers.stored;
        stored.resize(frame.stored as usize, 0);
        self.file()?.read_exact_at(stored, frame.offset)?;
        if let Some(sealed) = &self.clear {
            sealed.key.open_frame(number, stored).ok_or_else(damage)?;
        }
        buffers.decompressor.decode(frame.encoding, stored, frame.raw as usize, out).ok_or_else(damage)
    }

    fn file(&self) -> io::Result<Arc<File>> {
        self.file.open(&self.path)
    }
}

/// What reading needs room for. One for each thread.
pub(in super::super) struct Buffers {
    decompressor: Decompressor,
    stored: Vec<u8>,
}

impl Buffers {
    pub(in super::super) fn new() -> Result<Self, StoreError> {
        Ok(Self { decompressor: Decompressor::new()?, stored: Vec::with_capacity((256 << 10) + TAG) })
    }
}

fn wrong_key(path: &Path) -> StoreError {
    StoreError::Key(format!(
        "`{}` is encrypted, and not with the key that is set: set `store.key_file` to the key it was written with",
        path.display()
    ))
}

fn damage() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not what was written")
}
