//! Writing a pack, from several threads at the same time.

use std::fs::{self, File};
use std::io::{IoSlice, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::super::disk;
use super::super::error::StoreError;
use super::super::frame::Encoding;
use super::super::id::ObjectId;
use super::super::seal::{PackKey, SALT, StoreKey, TAG};
use super::{ENCRYPTED, FRAME_RECORD, FrameRecord, HEADER, Kind, MAGIC, OBJECT_RECORD, ObjectRecord, PackId};

/// The disk begins to write when it has so much to do, so that it is nearly done when the pack is full.
const WRITE_BACK: u64 = 8 << 20;

/// A part of a frame: an object.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Part {
    pub(in super::super) id: ObjectId,
    pub(in super::super) kind: Kind,
    pub(in super::super) length: u32,
}

/// A frame that is ready to be written.
pub(in super::super) struct Frame<'a> {
    pub(in super::super) encoding: Encoding,
    /// Bytes of the content.
    pub(in super::super) raw: u32,
    /// The content, compressed.
    pub(in super::super) bytes: &'a [u8],
    /// The objects in it, one after the other.
    pub(in super::super) parts: &'a [Part],
}

impl Frame<'_> {
    /// Bytes that it takes in a pack, with its records.
    pub(in super::super) fn taken(&self) -> u64 {
        (self.bytes.len() + FRAME_RECORD + self.parts.len() * OBJECT_RECORD) as u64
    }
}

/// A pack that is being written. It has no name yet; dropped, it is gone.
pub(in super::super) struct OpenPack {
    file: File,
    path: PathBuf,
    header: [u8; HEADER],
    key: Option<PackKey>,
    tables: Mutex<Tables>,
    is_finished: bool,
}

#[derive(Default)]
struct Tables {
    end: u64,
    /// Up to here the disk was told to write.
    told: u64,
    frames: Vec<FrameRecord>,
    objects: Vec<ObjectRecord>,
}

/// How large a pack has become.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Extent {
    pub(in super::super) bytes: u64,
    pub(in super::super) objects: usize,
}

/// Room in a pack that is one's own to write to.
pub(in super::super) struct Reserved {
    offset: u64,
    /// Of the first frame.
    number: u32,
}

/// A pack that is whole and on disk, under a name that does not last.
pub(in super::super) struct Finished {
    pub(in super::super) id: PackId,
    pub(in super::super) path: PathBuf,
    pub(in super::super) bytes: u64,
    pub(in super::super) objects: Vec<ObjectRecord>,
}

impl OpenPack {
    /// Begins a pack in the file `path`.
    pub(in super::super) fn create(path: &Path, key: Option<&StoreKey>) -> Result<Self, StoreError> {
        let fail = |e| StoreError::file("writing", path, e);
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(&MAGIC);
        let key = match key {
            None => None,
            Some(key) => {
                header[8..12].copy_from_slice(&ENCRYPTED.to_le_bytes());
                let salt: [u8; SALT] = rand::random();
                header[HEADER - SALT..].copy_from_slice(&salt);
                Some(key.for_pack(&salt)?)
            }
        };
        let mut file = File::options().read(true).write(true).create_new(true).open(path).map_err(fail)?;
        file.write_all(&header).map_err(fail)?;
        let tables = Mutex::new(Tables { end: HEADER as u64, ..Tables::default() });
        Ok(Self { file, path: path.to_owned(), header, key, tables, is_finished: false })
    }

    /// Takes room for frames, one after the other. Must be followed by [`OpenPack::write`].
    pub(in super::super) fn reserve(&self, frames: &[Frame<'_>]) -> Result<(Reserved, Extent), StoreError> {
        let too_many = || StoreError::file("writing", &self.path, std::io::Error::other("too many frames"));
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let reserved =
            Reserved { offset: tables.end, number: u32::try_from(tables.frames.len()).map_err(|_| too_many())? };
        let tag = if self.key.is_some() { TAG } else { 0 };
        for frame in frames {
            let number = u32::try_from(tables.frames.len()).map_err(|_| too_many())?;
            let stored = u32::try_from(frame.bytes.len() + tag).map_err(|_| too_many())?;
            let record = FrameRecord { offset: tables.end, stored, raw: frame.raw, encoding: frame.encoding };
            tables.end += u64::from(stored);
            tables.frames.push(record);
            let mut offset = 0;
            for part in frame.parts {
                tables.objects.push(ObjectRecord {
                    id: part.id,
                    kind: part.kind,
                    frame: number,
                    offset,
                    length: part.length,
                });
                offset += part.length;
            }
        }
        let extent = Extent { bytes: tables.end, objects: tables.objects.len() };
        Ok((reserved, extent))
    }

    /// Writes frames to the room that was taken for them.
    pub(in super::super) fn write(&self, at: Reserved, frames: &[Frame<'_>]) -> Result<(), StoreError> {
        let written = match &self.key {
            None => {
                let mut slices: Vec<_> = frames.iter().map(|frame| IoSlice::new(frame.bytes)).collect();
                disk::write_all_at(&self.file, &mut slices, at.offset)
            }
            Some(key) => {
                let mut sealed = Vec::new();
                for (number, frame) in (at.number..).zip(frames) {
                    let mut bytes = frame.bytes.to_vec();
                    key.seal_frame(number, &mut bytes)?;
                    sealed.append(&mut bytes);
                }
                self.file.write_all_at(&sealed, at.offset)
            }
        };
        written.map_err(|e| StoreError::file("writing", &self.path, e))?;
        self.write_back();
        Ok(())
    }

    /// What another thread has reserved but not yet written is left to the end.
    fn write_back(&self) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let range = tables.told..tables.end;
        if range.end - range.start >= WRITE_BACK {
            tables.told = range.end;
            drop(tables);
            disk::write_back(&self.file, range);
        }
    }

    /// Writes the footer, and has everything on disk.
    pub(in super::super) fn finish(mut self) -> Result<Finished, StoreError> {
        let tables = std::mem::take(&mut *self.tables.lock().unwrap_or_else(PoisonError::into_inner));
        let mut end: Vec<u8> = tables.frames.iter().flat_map(|frame| frame.to_bytes()).collect();
        end.extend(tables.objects.iter().flat_map(|object| object.to_bytes()));
        if let Some(key) = &self.key {
            key.seal_footer(&mut end)?;
        }
        let footer = end.len() as u64;
        end.extend((tables.frames.len() as u32).to_le_bytes());
        end.extend((tables.objects.len() as u32).to_le_bytes());
        end.extend(footer.to_le_bytes());
        let hash = Sha256::new().chain_update(self.header).chain_update(&end).finalize();
        end.extend_from_slice(&hash);
        let fail = |e| StoreError::file("writing", &self.path, e);
        self.file.write_all_at(&end, tables.end).map_err(fail)?;
        self.file.sync_all().map_err(fail)?;
        self.is_finished = true;
        Ok(Finished {
            id: ObjectId::from_bytes(hash.into()),
            path: self.path.clone(),
            bytes: tables.end + end.len() as u64,
            objects: tables.objects,
        })
    }
}

impl Drop for OpenPack {
    fn drop(&mut self) {
        if !self.is_finished {
            // Best effort: what is left in the folder of a process that is gone is removed by the next.
            let _ = fs::remove_file(&self.path);
        }
    }
}
