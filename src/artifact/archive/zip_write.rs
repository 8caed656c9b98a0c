//! Writing zip archives, deflated or with zstd (method 93). (protocols: GitLab 6.3; the format: PKWARE's APPNOTE.)
//!
//! Nothing is written twice, so that an archive can be sent on while it grows. A file of one piece is written with its sizes
//! known. Those of a longer one follow it, as the official runner has it for every file; in 64 bits where the file could need them.

use std::io::{self, Write};

use cap_std::fs::Dir;

use super::chunks::{self, Codec, Part, Piece};
use super::error::ArchiveError;
use super::source::Meta;
use super::{Counted, Packed, Packing};
use crate::artifact::select::Selection;
use crate::artifact::{Remarks, shown};
use crate::pipeline::definition::ArtifactFormat;

/// Threads that compress. Jobs share the machine with other jobs.
const THREADS: usize = 2;

/// From this size on a file gets 64-bit fields: compression may add to it.
const LARGE: u64 = 0xf000_0000;

pub(super) const STORED: u16 = 0;
pub(super) const DEFLATED: u16 = 8;
pub(super) const ZSTD: u16 = 93;

/// Pieces of one deflate stream: each ends at a byte border, so they can stand one after the other.
struct Deflate(u32);

impl Codec for Deflate {
    const PIECE: usize = 1 << 20;

    fn compress(&mut self, piece: &[u8], last: bool) -> io::Result<Vec<u8>> {
        if self.0 == 0 {
            return Ok(piece.to_vec()); // the method is `stored`
        }
        let room = Vec::with_capacity(piece.len() / 2 + 64);
        let mut encoder = flate2::write::DeflateEncoder::new(room, flate2::Compression::new(self.0));
        encoder.write_all(piece)?;
        if last {
            return encoder.finish();
        }
        encoder.flush()?;
        Ok(std::mem::take(encoder.get_mut()))
    }
}

/// Pieces that are zstd frames of their own: decoders read them one after the other as one.
struct Zstd(zstd::bulk::Compressor<'static>);

impl Codec for Zstd {
    const PIECE: usize = 4 << 20;

    fn compress(&mut self, piece: &[u8], _last: bool) -> io::Result<Vec<u8>> {
        self.0.compress(piece)
    }
}

pub(super) fn pack(
    root: &Dir,
    selection: &Selection,
    packing: &Packing,
    out: &mut impl Write,
) -> Result<Packed, ArchiveError> {
    let level = packing.level;
    let zstd = packing.format == ArtifactFormat::ZipZstd && level != super::Level::Fastest;
    let method = match level.deflate() {
        _ if zstd => ZSTD,
        0 => STORED,
        _ => DEFLATED,
    };
    let mut writer = ZipWriter::new(out, method);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(THREADS));
    let interrupt = &packing.interrupt;
    let write = |part| writer.part(part);
    if zstd {
        let codec = || zstd::bulk::Compressor::new(level.zstd()).map(Zstd);
        chunks::compress(root, selection, threads, interrupt, codec, write)?;
    } else {
        chunks::compress(root, selection, threads, interrupt, || Ok(Deflate(level.deflate())), write)?;
    }
    writer.finish()
}

/// A file whose end has not been written yet.
struct Growing {
    record: Record,
    crc: crc32fast::Hasher,
}

/// What header and directory say about an entry.
struct Record {
    name: Vec<u8>,
    /// With the bits for the kind of file.
    mode: u32,
    folder: bool,
    uid: u32,
    gid: u32,
    mtime: i64,
    method: u16,
    crc: u32,
    packed: u64,
    size: u64,
    offset: u64,
    /// Checksum and sizes follow the content.
    is_followed: bool,
    /// They have 64 bits there.
    large: bool,
}

struct ZipWriter<'a, W> {
    out: Counted<'a, W>,
    method: u16,
    /// The directory at the end, as bytes: about 100 for each entry.
    directory: Vec<u8>,
    growing: Option<Growing>,
    packed: Packed,
    remarks: Remarks,
}

impl<'a, W: Write> ZipWriter<'a, W> {
    fn new(out: &'a mut W, method: u16) -> Self {
        Self {
            out: Counted::new(out),
            method,
            directory: Vec::new(),
            growing: None,
            packed: Packed::default(),
            remarks: Remarks::default(),
        }
    }

    fn part(&mut self, part: Part) -> Result<(), ArchiveError> {
        match part {
            Part::LeftOut(remark) => {
                self.remarks.push(remark);
                Ok(())
            }
            Part::Failed(error) => Err(ArchiveError::io("compressing", error)),
            Part::Node { meta, target } => self.node(meta, target),
            Part::Whole { meta, piece } => self.whole(meta, piece),
            Part::Begin { meta, size, piece } => self.begin(meta, size, piece),
            Part::More { piece, last } => self.more(piece, last),
        }
    }

    fn node(&mut self, meta: Meta, target: Option<Vec<u8>>) -> Result<(), ArchiveError> {
        let (kind, content) = match &target {
            Some(target) => (0o120_000, target.as_slice()),
            None => (0o040_000, [].as_slice()),
        };
        let mut record = self.record(meta, kind)?;
        record.method = STORED;
        record.crc = crc32fast::hash(content);
        (record.packed, record.size) = (content.len() as u64, content.len() as u64);
        self.header(&record)?;
        self.write(content)?;
        self.list(&record);
        Ok(())
    }

    fn whole(&mut self, meta: Meta, piece: Piece) -> Result<(), ArchiveError> {
        let mut record = self.record(meta, 0o100_000)?;
        record.size = piece.length;
        record.crc = piece.crc.finalize();
        let content = match &piece.plain {
            Some(plain) => {
                record.method = STORED;
                plain
            }
            None => &piece.packed,
        };
        record.packed = content.len() as u64;
        self.packed.content_bytes += record.size;
        self.header(&record)?;
        self.write(content)?;
        self.list(&record);
        Ok(())
    }

    fn begin(&mut self, meta: Meta, size: u64, piece: Piece) -> Result<(), ArchiveError> {
        let mut record = self.record(meta, 0o100_000)?;
        record.is_followed = true;
        record.large = size >= LARGE;
        self.header(&record)?;
        self.growing = Some(Growing { record, crc: crc32fast::Hasher::new() });
        self.more(piece, false)
    }

    fn more(&mut self, piece: Piece, last: bool) -> Result<(), ArchiveError> {
        let Some(mut growing) = self.growing.take() else {
            return Err(ArchiveError::io("writing the archive", io::Error::other("a piece without a file")));
        };
        growing.record.packed += piece.packed.len() as u64;
        growing.record.size += piece.length;
        growing.crc.combine(&piece.crc);
        self.write(&piece.packed)?;
        if !last {
            self.growing = Some(growing);
            return Ok(());
        }
        growing.record.crc = growing.crc.finalize();
        self.packed.content_bytes += growing.record.size;
        self.follow(&growing.record)?;
        self.list(&growing.record);
        Ok(())
    }

    fn record(&mut self, meta: Meta, kind: u32) -> Result<Record, ArchiveError> {
        let folder = kind == 0o040_000;
        let mut name = meta.name;
        if folder {
            name.push(b'/');
        }
        if name.len() > usize::from(u16::MAX) {
            return Err(ArchiveError::NameTooLong(shown(&name)));
        }
        self.packed.entries += 1;
        Ok(Record {
            name,
            mode: kind | meta.mode,
            folder,
            uid: meta.uid,
            gid: meta.gid,
            mtime: meta.mtime,
            method: self.method,
            crc: 0,
            packed: 0,
            size: 0,
            offset: self.out.bytes,
            is_followed: false,
            large: false,
        })
    }

    fn header(&mut self, record: &Record) -> Result<(), ArchiveError> {
        let extra = record.extra(if record.large { vec![0, 0] } else { Vec::new() });
        let mut head = Vec::with_capacity(30 + record.name.len() + extra.len());
        head.extend(0x0403_4b50_u32.to_le_bytes());
        record.common(&mut head, record.large);
        head.extend((record.name.len() as u16).to_le_bytes());
        head.extend((extra.len() as u16).to_le_bytes());
        head.extend(&record.name);
        head.extend(extra);
        self.write(&head)
    }

    /// Writes checksum and sizes of a file behind it.
    fn follow(&mut self, record: &Record) -> Result<(), ArchiveError> {
        let mut fields = 0x0807_4b50_u32.to_le_bytes().to_vec();
        fields.extend(record.crc.to_le_bytes());
        if record.large {
            fields.extend([record.packed, record.size].iter().flat_map(|value| value.to_le_bytes()));
        } else {
            let narrow = |value: u64| u32::try_from(value).map(u32::to_le_bytes);
            let (Ok(packed), Ok(size)) = (narrow(record.packed), narrow(record.size)) else {
                // Files are read as far as they were long when opened, so this would be a defect of ours.
                return Err(ArchiveError::io("writing the archive", io::Error::other("a file outgrew its header")));
            };
            fields.extend([packed, size].concat());
        }
        self.write(&fields)
    }

    /// Notes an entry in the directory.
    fn list(&mut self, record: &Record) {
        let sizes = record.large || record.packed >= u64::from(u32::MAX) || record.size >= u64::from(u32::MAX);
        let far = record.offset >= u64::from(u32::MAX);
        let mut wide = Vec::new();
        if sizes {
            wide.extend([record.size, record.packed]);
        }
        if far {
            wide.push(record.offset);
        }
        let extra = record.extra(wide);
        let head = &mut self.directory;
        head.extend(0x0201_4b50_u32.to_le_bytes());
        head.extend((3 << 8 | record.version(sizes || far)).to_le_bytes()); // made on Unix: the mode below means something
        record.common(head, sizes);
        head.extend((record.name.len() as u16).to_le_bytes());
        head.extend((extra.len() as u16).to_le_bytes());
        head.extend([0; 6]); // comment, disk, internal attributes
        head.extend((record.mode << 16 | if record.folder { 0x10 } else { 0 }).to_le_bytes());
        head.extend((if far { u32::MAX } else { record.offset as u32 }).to_le_bytes());
        head.extend(&record.name);
        head.extend(extra);
    }

    fn finish(mut self) -> Result<Packed, ArchiveError> {
        let (start, size, count) = (self.out.bytes, self.directory.len() as u64, self.packed.entries);
        let directory = std::mem::take(&mut self.directory);
        self.write(&directory)?;
        let mut end = Vec::new();
        let wide = count >= u64::from(u16::MAX) || start >= u64::from(u32::MAX) || size >= u64::from(u32::MAX);
        if wide {
            end.extend(0x0606_4b50_u32.to_le_bytes());
            end.extend(44_u64.to_le_bytes());
            end.extend([45, 3, 45, 0].as_slice()); // made by, needed
            end.extend([0; 8]); // disks
            for value in [count, count, size, start] {
                end.extend(value.to_le_bytes());
            }
            end.extend(0x0706_4b50_u32.to_le_bytes());
            end.extend(0_u32.to_le_bytes());
            end.extend((start + size).to_le_bytes());
            end.extend(1_u32.to_le_bytes());
        }
        let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
        let count = u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes();
        end.extend(0x0605_4b50_u32.to_le_bytes());
        end.extend([0; 4]);
        end.extend([count, count].concat());
        end.extend(narrow(size));
        end.extend(narrow(start));
        end.extend([0; 2]);
        self.write(&end)?;
        self.out.flush().map_err(|e| ArchiveError::io("writing the archive", e))?;
        self.packed.bytes = self.out.bytes;
        self.packed.remarks = self.remarks.into_list();
        Ok(self.packed)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.out.write_all(bytes).map_err(|e| ArchiveError::io("writing the archive", e))
    }
}

impl Record {
    /// The version of the format that a reader must know.
    fn version(&self, wide: bool) -> u16 {
        match self.method {
            ZSTD => 63,
            _ if wide => 45,
            _ => 20,
        }
    }

    /// The fields that header and directory share, from the needed version to the sizes.
    fn common(&self, head: &mut Vec<u8>, wide: bool) {
        let unicode = !self.name.is_ascii() && std::str::from_utf8(&self.name).is_ok();
        let (time, date) = dos_time(self.mtime);
        let flags = u16::from(unicode) << 11 | u16::from(self.is_followed) << 3;
        for field in [self.version(wide), flags, self.method, time, date] {
            head.extend(field.to_le_bytes());
        }
        head.extend(self.crc.to_le_bytes());
        let size = |value: u64| if wide { u32::MAX } else { value as u32 };
        head.extend(size(self.packed).to_le_bytes());
        head.extend(size(self.size).to_le_bytes());
    }

    /// The extra fields: 64-bit values if any, owner, time.
    fn extra(&self, wide: Vec<u64>) -> Vec<u8> {
        let mut extra = Vec::with_capacity(44);
        if !wide.is_empty() {
            extra.extend(1_u16.to_le_bytes());
            extra.extend((wide.len() as u16 * 8).to_le_bytes());
            extra.extend(wide.iter().flat_map(|value| value.to_le_bytes()));
        }
        extra.extend(0x7875_u16.to_le_bytes());
        extra.extend([11, 0, 1, 4]);
        extra.extend(self.uid.to_le_bytes());
        extra.push(4);
        extra.extend(self.gid.to_le_bytes());
        extra.extend(0x5455_u16.to_le_bytes());
        extra.extend([5, 0, 1]);
        // After 2038 without a sign, as gitlab-runner writes and reads it; `from_unix_time` tells which it is.
        let seconds = self.mtime.clamp(i64::from(i32::MIN), i64::from(u32::MAX)) as u32;
        extra.extend(seconds.to_le_bytes());
        extra
    }
}

/// Seconds since 1970 as MS-DOS has them, in UTC: two-second steps from 1980 to 2107.
fn dos_time(seconds: i64) -> (u16, u16) {
    const FIRST: i64 = 315_532_800; // 1980-01-01
    const LAST: i64 = 4_354_819_198; // 2107-12-31 23:59:58
    let Ok(at) = jiff::Timestamp::from_second(seconds.clamp(FIRST, LAST)) else { return (0, 0x21) };
    let at = jiff::tz::TimeZone::UTC.to_datetime(at);
    // Every part fits its bits after the clamp.
    let time = (at.hour() as u16) << 11 | (at.minute() as u16) << 5 | ((at.second() as u16) / 2);
    let date = ((at.year() - 1980) as u16) << 9 | (at.month() as u16) << 5 | at.day() as u16;
    (time, date)
}

/// The other way round, for entries that have no better time: seconds since 1970, `None` where it is no date.
pub(super) fn from_dos_time(time: u16, date: u16) -> Option<i64> {
    let year = i16::try_from(1980 + (date >> 9)).ok()?;
    let part = |value: u16, mask: u16| i8::try_from(value & mask).ok();
    let at = jiff::civil::DateTime::new(
        year,
        part(date >> 5, 0xf)?,
        part(date, 0x1f)?,
        part(time >> 11, 0x1f)?,
        part(time >> 5, 0x3f)?,
        part(time, 0x1f)?.checked_mul(2)?,
        0,
    );
    Some(jiff::tz::TimeZone::UTC.to_timestamp(at.ok()?).ok()?.as_second())
}

/// Seconds since 1970 of a 32-bit field. Some writers give it a sign (1901 to 2038), others none (1970 to 2106): it has none where
/// that is what the entry's MS-DOS time says, which may be in another zone.
pub(super) fn from_unix_time(field: u32, dos: Option<i64>) -> i64 {
    const ZONES: i64 = 2 * 86_400;
    let unsigned = i64::from(field);
    match dos {
        Some(dos) if (unsigned - dos).abs() <= ZONES => unsigned,
        _ => i64::from(field as i32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dos_times_stay_in_their_range() {
        assert_eq!(dos_time(0), dos_time(315_532_800));
        let (time, date) = dos_time(1_767_323_045); // 2026-01-02T03:04:05Z
        assert_eq!((time, date), (0x1882, 0x5c22), "as the recorded archives have it");
        assert_eq!(from_dos_time(time, date), Some(1_767_323_044));
        assert_eq!(from_dos_time(0, 0), None, "month zero");
        dos_time(i64::MAX);
        dos_time(i64::MIN);
    }
}
