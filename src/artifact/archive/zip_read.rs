//! Reading zip archives. (The format: PKWARE's APPNOTE.)
//!
//! The directory at the end is read entry by entry, and each entry unpacked as it comes, so memory does not grow with the
//! archive. Where directory and local headers disagree the directory is right.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;

use cap_std::fs::Dir;

use super::error::ArchiveError;
use super::place::{Attributes, Name, Tree};
use super::zip_write::{DEFLATED, STORED, ZSTD, from_dos_time, from_unix_time};
use super::{Unpacked, Unpacking};
use crate::artifact::shown;

/// The end record's own size.
const END: usize = 22;

/// The longest target a symlink can have.
const MAX_TARGET: u64 = 4096;

/// The largest zstd window that is read, as a power of two: 128 MiB.
const MAX_WINDOW: u32 = 27;

/// A part of the file as a stream, without touching the file's position.
struct Part<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buf.len());
        let n = self.file.read_at(&mut buf[..rest], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// Where the directory is.
struct Directory {
    start: u64,
    size: u64,
    entries: u64,
    /// What has to be added to offsets: something may stand before the archive.
    base: u64,
}

/// An entry as the directory describes it.
struct Record {
    name: Vec<u8>,
    flags: u16,
    method: u16,
    crc: u32,
    packed: u64,
    size: u64,
    offset: u64,
    /// Kind and permissions; `None` where the maker knew no such thing.
    mode: Option<u32>,
    folder: bool,
    attributes: Attributes,
}

pub(super) fn unpack(file: &File, length: u64, root: &Dir, unpacking: &Unpacking) -> Result<Unpacked, ArchiveError> {
    let directory = find_directory(file, length)?;
    let mut tree = Tree::new(root, length, unpacking);
    let end = directory.start + directory.size;
    let mut records = BufReader::with_capacity(64 << 10, Part { file, at: directory.start, end });
    let mut packed = 0_u64;
    for _ in 0..directory.entries {
        tree.budget.entry()?;
        let record = read_record(&mut records)?;
        // Entries that share bytes are how a small archive becomes endless.
        packed = packed.saturating_add(record.packed);
        if packed > length {
            return Err(damaged("its entries overlap"));
        }
        place(file, &directory, &record, &mut tree)?;
    }
    tree.finish()
}

fn place(file: &File, directory: &Directory, record: &Record, tree: &mut Tree<'_>) -> Result<(), ArchiveError> {
    let Some(name) = Name::parse(&record.name, &tree.budget)? else { return Ok(()) };
    match record.mode.map_or(0, |mode| mode & 0o170_000) {
        _ if record.folder => tree.folder(&name, record.attributes),
        0o040_000 => tree.folder(&name, record.attributes),
        0o120_000 => {
            if record.size > MAX_TARGET {
                return Err(damaged(format!("the symlink `{}` points too far", name.shown())));
            }
            let mut target = Vec::new();
            let mut content = open(file, directory, record)?;
            content.read_to_end(&mut target).map_err(|e| damaged(e.to_string()))?;
            tree.symlink(&name, record.attributes, &target)
        }
        0 | 0o100_000 => tree.file(&name, record.attributes, &mut open(file, directory, record)?),
        _ => {
            tree.remark(format!("{}: left out: sockets, pipes and devices are not unpacked", name.shown()));
            Ok(())
        }
    }
}

/// The content of an entry, checked for length and checksum as it is read.
fn open<'a>(file: &'a File, directory: &Directory, record: &Record) -> Result<Checked<'a>, ArchiveError> {
    let name = || shown(&record.name);
    if record.flags & 1 != 0 {
        return Err(ArchiveError::Unsupported(format!("its entry `{}` is encrypted", name())));
    }
    let header = directory.base.checked_add(record.offset).ok_or_else(|| damaged("an entry lies beyond its end"))?;
    let mut head = [0; 30];
    file.read_exact_at(&mut head, header).map_err(|_| damaged(format!("the header of `{}` is cut off", name())))?;
    if u32_at(&head, 0) != 0x0403_4b50 {
        return Err(damaged(format!("the header of `{}` is not where the directory says", name())));
    }
    let start = header + 30 + u64::from(u16_at(&head, 26)) + u64::from(u16_at(&head, 28));
    let end = start.checked_add(record.packed).filter(|end| *end <= directory.start);
    let end = end.ok_or_else(|| damaged(format!("the content of `{}` is cut off", name())))?;
    let part = BufReader::with_capacity(64 << 10, Part { file, at: start, end });
    let content: Box<dyn Read + 'a> = match record.method {
        STORED => Box::new(part),
        DEFLATED => Box::new(flate2::bufread::DeflateDecoder::new(part)),
        ZSTD => {
            let started = zstd::stream::read::Decoder::with_buffer(part).and_then(|mut decoder| {
                decoder.window_log_max(MAX_WINDOW)?;
                Ok(decoder)
            });
            Box::new(started.map_err(|e| ArchiveError::io("starting the decompression", e))?)
        }
        other => {
            let text = format!("its entry `{}` uses compression method {other}, which is not known here", name());
            return Err(ArchiveError::Unsupported(text));
        }
    };
    let crc = crc32fast::Hasher::new();
    Ok(Checked { content, name: name(), left: record.size, want: record.crc, crc })
}

/// A stream that ends well only with the announced length and checksum.
struct Checked<'a> {
    content: Box<dyn Read + 'a>,
    name: String,
    left: u64,
    want: u32,
    crc: crc32fast::Hasher,
}

impl Read for Checked<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let fault = |what: &str| io::Error::other(format!("the content of `{}` {what}", self.name));
        let n = match self.content.read(buf) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => return Err(fault(&format!("cannot be decompressed ({error})"))),
            Ok(n) => n,
        };
        if n as u64 > self.left {
            return Err(fault("is longer than announced"));
        }
        self.left -= n as u64;
        self.crc.update(&buf[..n]);
        if n == 0 && self.left > 0 {
            return Err(fault("is shorter than announced"));
        }
        if n == 0 && self.crc.clone().finalize() != self.want {
            return Err(fault("does not match its checksum"));
        }
        Ok(n)
    }
}

/// Finds the end record, which stands before a comment of unknown length.
fn find_directory(file: &File, length: u64) -> Result<Directory, ArchiveError> {
    let tail_length = length.min(END as u64 + u64::from(u16::MAX));
    let tail_start = length - tail_length;
    let mut tail = vec![0; usize::try_from(tail_length).unwrap_or(0)];
    file.read_exact_at(&mut tail, tail_start).map_err(|e| ArchiveError::io("reading the archive", e))?;
    let at = (0..=tail.len().saturating_sub(END))
        .rev()
        .find(|at| {
            let end = tail.get(*at..at + END);
            end.is_some_and(|end| {
                u32_at(end, 0) == 0x0605_4b50 && at + END + usize::from(u16_at(end, 20)) <= tail.len()
            })
        })
        .ok_or_else(|| damaged("it is no zip archive, or its end is missing"))?;
    let end = &tail[at..];
    let position = tail_start + at as u64;
    let (disk, entries) = (u16_at(end, 4), u64::from(u16_at(end, 10)));
    let (size, offset) = (u64::from(u32_at(end, 12)), u64::from(u32_at(end, 16)));
    let wide = [entries == 0xffff, size == 0xffff_ffff, offset == 0xffff_ffff].contains(&true);
    if wide && let Some(found) = wide_directory(file, position)? {
        return Ok(found);
    }
    if disk != 0 {
        return Err(ArchiveError::Unsupported("it is one part of several".to_owned()));
    }
    let start = position.checked_sub(size).ok_or_else(|| damaged("its directory is larger than itself"))?;
    let base = start.checked_sub(offset).ok_or_else(|| damaged("its directory is not where its end says"))?;
    Ok(Directory { start, size, entries, base })
}

/// The end record with 64-bit fields, which stands before the usual one at `position`.
fn wide_directory(file: &File, position: u64) -> Result<Option<Directory>, ArchiveError> {
    let Some(locator_at) = position.checked_sub(20) else { return Ok(None) };
    let mut locator = [0; 20];
    let cut = |_| damaged("its end is cut off");
    file.read_exact_at(&mut locator, locator_at).map_err(cut)?;
    if u32_at(&locator, 0) != 0x0706_4b50 {
        return Ok(None);
    }
    let record_at = u64_at(&locator, 8);
    let mut record = [0; 56];
    file.read_exact_at(&mut record, record_at).map_err(cut)?;
    if u32_at(&record, 0) != 0x0606_4b50 {
        return Err(damaged("its 64-bit end is not where it says"));
    }
    let (entries, size, start) = (u64_at(&record, 32), u64_at(&record, 40), u64_at(&record, 48));
    if start.checked_add(size).is_none_or(|end| end > record_at) {
        return Err(damaged("its directory is not where its end says"));
    }
    Ok(Some(Directory { start, size, entries, base: 0 }))
}

fn read_record(records: &mut impl Read) -> Result<Record, ArchiveError> {
    let mut head = [0; 46];
    let cut = |_| damaged("its directory is cut off");
    records.read_exact(&mut head).map_err(cut)?;
    if u32_at(&head, 0) != 0x0201_4b50 {
        return Err(damaged("its directory has something else in it"));
    }
    let mut take = |length: u16| {
        let mut bytes = vec![0; usize::from(length)];
        records.read_exact(&mut bytes).map_err(cut).map(|()| bytes)
    };
    let (name, extra, _comment) = (take(u16_at(&head, 28))?, take(u16_at(&head, 30))?, take(u16_at(&head, 32))?);
    let unix = matches!(head[5], 3 | 19);
    let external = u32_at(&head, 38);
    let mode = if unix && external >> 16 != 0 { Some(external >> 16) } else { None };
    let mut record = Record {
        folder: name.ends_with(b"/") || (!unix && external & 0x10 != 0),
        name,
        flags: u16_at(&head, 8),
        method: u16_at(&head, 10),
        crc: u32_at(&head, 16),
        packed: u64::from(u32_at(&head, 20)),
        size: u64::from(u32_at(&head, 24)),
        offset: u64::from(u32_at(&head, 42)),
        mode,
        attributes: Attributes {
            mode: mode.map(|mode| mode & 0o7777),
            owner: None,
            mtime: from_dos_time(u16_at(&head, 12), u16_at(&head, 14)),
        },
    };
    record.read_extra(&extra)?;
    Ok(record)
}

impl Record {
    fn read_extra(&mut self, mut extra: &[u8]) -> Result<(), ArchiveError> {
        while let Some((head, rest)) = extra.split_at_checked(4) {
            let Some((field, rest)) = rest.split_at_checked(usize::from(u16_at(head, 2))) else { break };
            extra = rest;
            match u16_at(head, 0) {
                0x0001 => self.read_wide(field)?,
                0x5455 if field.len() >= 5 && field[0] & 1 != 0 => {
                    self.attributes.mtime = Some(from_unix_time(u32_at(field, 1), self.attributes.mtime));
                }
                0x7875 => self.attributes.owner = owner(field).or(self.attributes.owner),
                _ => {}
            }
        }
        Ok(())
    }

    /// 64-bit values, present for those fields that are full.
    fn read_wide(&mut self, mut field: &[u8]) -> Result<(), ArchiveError> {
        for value in [&mut self.size, &mut self.packed, &mut self.offset] {
            if *value == u64::from(u32::MAX) {
                let (own, rest) = field.split_at_checked(8).ok_or_else(|| damaged("a 64-bit field is cut off"))?;
                *value = u64_at(own, 0);
                field = rest;
            }
        }
        Ok(())
    }
}

/// User and group of field 0x7875: numbers of 1 to 8 bytes, each after its length.
fn owner(field: &[u8]) -> Option<(u32, u32)> {
    let number = |bytes: &[u8]| -> Option<u32> {
        let mut wide = [0; 8];
        wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
        u32::try_from(u64::from_le_bytes(wide)).ok()
    };
    let (version, rest) = field.split_first()?;
    let (uid_length, rest) = rest.split_first()?;
    let (uid, rest) = rest.split_at_checked(usize::from(*uid_length))?;
    let (gid_length, rest) = rest.split_first()?;
    let (gid, _) = rest.split_at_checked(usize::from(*gid_length))?;
    if *version == 1 { Some((number(uid)?, number(gid)?)) } else { None }
}

fn damaged(what: impl Into<String>) -> ArchiveError {
    ArchiveError::Damaged(what.into())
}

// The three below are called with slices that were taken long enough.

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
