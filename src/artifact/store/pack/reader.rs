//! Reading packs. What is read is checked against the pack's own records; the content of an object is checked by whoever
//! asked for it, against its id.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::super::error::StoreError;
use super::super::frame::{Decompressor, Encoding};
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
        let (frame_records, records) = footer.split_at(frames as usize * FRAME_RECORD);
        let records = records.as_chunks::<OBJECT_RECORD>().0;
        if !fits_together(frame_records.as_chunks().0, records, footer_at) {
            return Err(damaged());
        }
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

    /// How the frame of this number is stored.
    pub(in super::super) fn encoding(&self, frame: u32) -> io::Result<Encoding> {
        Ok(self.frame(frame)?.encoding)
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

/// Whether frames lie one after the other up to the footer, and objects one after the other in their frames: that is how they are written.
/// A footer that has them lie over each other would have the same bytes unpacked and hashed again and again.
fn fits_together(frames: &[[u8; FRAME_RECORD]], objects: &[[u8; OBJECT_RECORD]], footer_at: u64) -> bool {
    let mut end = HEADER as u64;
    let mut raw = Vec::with_capacity(frames.len());
    for frame in frames {
        let Some(frame) = FrameRecord::from_bytes(frame).filter(|frame| frame.offset == end) else { return false };
        end += u64::from(frame.stored);
        raw.push(u64::from(frame.raw));
    }
    let (mut frame, mut filled) = (0, 0);
    for object in objects {
        let Some(object) = ObjectRecord::from_bytes(object).filter(|object| object.frame >= frame) else {
            return false;
        };
        if object.frame > frame {
            (frame, filled) = (object.frame, 0);
        }
        let is_next = u64::from(object.offset) == filled;
        filled += u64::from(object.length);
        if !is_next || raw.get(frame as usize).is_none_or(|raw| filled > *raw) {
            return false;
        }
    }
    end == footer_at
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

#[cfg(test)]
mod tests {
    use super::super::super::frame::MAX_FRAME;
    use super::super::super::verify::pack_is_sound;
    use super::super::Kind;
    use super::*;
    use crate::artifact::Interrupt;

    /// A pack of somebody who knows the format, and lies. Its hash is right.
    struct Forged {
        content: Vec<u8>,
        frames: Vec<FrameRecord>,
        objects: Vec<ObjectRecord>,
        /// What the trailer says in place of what is true.
        counts: Option<(u32, u32)>,
        footer_length: Option<u64>,
    }

    const TEXT: &[u8] = b"one two";

    impl Forged {
        /// Two frames, three objects: as it should be.
        fn new() -> Self {
            let frame = |offset, length| FrameRecord { offset, stored: length, raw: length, encoding: Encoding::Raw };
            let object = |bytes: &[u8], frame, offset| ObjectRecord {
                id: ObjectId::of(bytes),
                kind: Kind::Data,
                frame,
                offset,
                length: bytes.len() as u32,
            };
            Self {
                content: TEXT.to_vec(),
                frames: vec![frame(32, 3), frame(35, 4)],
                objects: vec![object(b"o", 0, 0), object(b"ne", 0, 1), object(b" two", 1, 0)],
                counts: None,
                footer_length: None,
            }
        }

        fn bytes(&self) -> Vec<u8> {
            let footer: Vec<u8> = self.frames.iter().flat_map(|frame| frame.to_bytes()).collect();
            self.with_footer([footer, self.objects.iter().flat_map(|object| object.to_bytes()).collect()].concat())
        }

        fn with_footer(&self, footer: Vec<u8>) -> Vec<u8> {
            let mut bytes = [&MAGIC[..], &[0; HEADER - MAGIC.len()], &self.content].concat();
            let (frames, objects) = self.counts.unwrap_or((self.frames.len() as u32, self.objects.len() as u32));
            let length = self.footer_length.unwrap_or(footer.len() as u64);
            let mut end = footer;
            end.extend(frames.to_le_bytes());
            end.extend(objects.to_le_bytes());
            end.extend(length.to_le_bytes());
            let hash = Sha256::new().chain_update(&bytes[..HEADER]).chain_update(&end).finalize();
            bytes.extend(end);
            bytes.extend_from_slice(&hash);
            bytes
        }
    }

    fn open(bytes: &[u8]) -> (tempfile::NamedTempFile, Result<Pack, StoreError>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let opened = Pack::open(file.path(), None, |_, _| {});
        (file, opened)
    }

    fn is_refused(forged: &Forged) -> bool {
        matches!(open(&forged.bytes()).1, Err(StoreError::Damaged { .. }))
    }

    #[test]
    fn a_footer_that_says_what_cannot_be_is_damage() {
        let (_file, pack) = open(&Forged::new().bytes());
        assert!(pack_is_sound(&pack.unwrap(), &Interrupt::default()).unwrap());
        type Lie = fn(&mut Forged);
        let lies: [(&str, Lie); 22] = [
            ("a frame behind the end", |of| of.frames[1].offset = 1 << 40),
            ("an offset that overflows", |of| of.frames[1].offset = u64::MAX),
            ("frames that overlap", |of| of.frames[1].offset = 34),
            ("the same frame twice", |of| of.frames[1] = of.frames[0]),
            ("a frame in the header", |of| of.frames[0].offset = 0),
            ("a gap before a frame", |of| of.frames[1].offset = 36),
            ("a frame that reaches into the footer", |of| of.frames[1].stored = 5),
            ("a frame that ends early", |of| of.frames[1].stored = 3),
            ("a frame of 4 GiB on disk", |of| of.frames[1].stored = u32::MAX),
            ("a frame of 4 GiB of content", |of| of.frames[1].raw = u32::MAX),
            ("a frame of more content than is read", |of| of.frames[1].raw = MAX_FRAME as u32 + 1),
            ("an object in no frame", |of| of.objects[2].frame = 2),
            ("an object in a frame far away", |of| of.objects[2].frame = u32::MAX),
            ("an object behind its frame", |of| of.objects[2].offset = 1 << 20),
            ("an object that is longer than its frame", |of| of.objects[2].length = 5),
            ("an object whose end overflows", |of| {
                of.objects[2].offset = u32::MAX;
                of.objects[2].length = u32::MAX;
            }),
            ("objects that overlap", |of| of.objects[1].offset = 0),
            ("objects out of order", |of| of.objects.swap(0, 2)),
            ("more objects than there are", |of| of.counts = Some((2, u32::MAX))),
            ("more frames than there are", |of| of.counts = Some((u32::MAX, 3))),
            ("a footer that is longer than a file can be", |of| of.footer_length = Some(u64::MAX)),
            ("a footer that is longer than the file", |of| of.footer_length = Some(1 << 20)),
        ];
        for (what, lie) in lies {
            let mut forged = Forged::new();
            lie(&mut forged);
            assert!(is_refused(&forged), "{what}");
        }
        for (what, at) in [("no encoding", 16), ("no kind", 2 * FRAME_RECORD + 44)] {
            let forged = Forged::new();
            let mut footer: Vec<u8> = forged.frames.iter().flat_map(|frame| frame.to_bytes()).collect();
            footer.extend(forged.objects.iter().flat_map(|object| object.to_bytes()));
            footer[at] = 9;
            assert!(matches!(open(&forged.with_footer(footer)).1, Err(StoreError::Damaged { .. })), "{what}");
        }
    }

    #[test]
    fn a_footer_is_not_read_where_it_would_fill_the_memory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let length = 100_u64 << 30;
        file.as_file().set_len(length).unwrap();
        file.as_file().write_all_at(&MAGIC, 0).unwrap();
        let said = length - (HEADER + TRAILER) as u64;
        file.as_file().write_all_at(&said.to_le_bytes(), length - TRAILER as u64 + 8).unwrap();
        assert!(matches!(Pack::open(file.path(), None, |_, _| {}), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn content_that_is_not_what_the_footer_says_is_damage() {
        type Lie = fn(&mut Forged);
        let lies: [(&str, Lie); 5] = [
            ("other bytes", |of| of.content[0] ^= 1),
            ("another object", |of| of.objects[0].id = ObjectId::of(b"another")),
            ("more content than bytes", |of| of.frames[0].raw = MAX_FRAME as u32),
            ("what is no Zstandard", |of| of.frames[0].encoding = Encoding::Zstd),
            ("a list that is none", |of| of.objects[0].kind = Kind::List),
        ];
        for (what, lie) in lies {
            let mut forged = Forged::new();
            lie(&mut forged);
            let (_file, pack) = open(&forged.bytes());
            let pack = pack.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(!pack_is_sound(&pack, &Interrupt::default()).unwrap(), "{what}");
        }
    }

    #[test]
    fn no_byte_of_a_footer_makes_a_reader_panic() {
        let forged = Forged::new();
        let length = forged.frames.len() * FRAME_RECORD + forged.objects.len() * OBJECT_RECORD;
        for at in 0..length {
            for value in [0, 1, 2, 3, 4, 5, 0x7f, 0x80, 0xff] {
                let mut footer: Vec<u8> = forged.frames.iter().flat_map(|frame| frame.to_bytes()).collect();
                footer.extend(forged.objects.iter().flat_map(|object| object.to_bytes()));
                let is_other = footer[at] != value;
                footer[at] = value;
                match open(&forged.with_footer(footer)) {
                    (_, Err(error)) => assert!(is_other && matches!(error, StoreError::Damaged { .. }), "{error:?}"),
                    // Bytes that mean nothing change nothing; others are found out by whoever reads what they stand for.
                    (_file, Ok(pack)) => drop(pack_is_sound(&pack, &Interrupt::default()).unwrap()),
                }
            }
        }
    }
}
