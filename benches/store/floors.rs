//! The least that the bytes of a tree can cost: each step by itself, on one core, with nothing around it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use fastcdc::v2020::FastCDC;
use sha2::{Digest as _, Sha256};

use crate::Failure;
use crate::numbers::Numbers;

/// The store's parameters: files up to this size are not cut, ...
const WHOLE: usize = 64 << 10;
/// ... chunks have so many bytes, at least, in the mean, and at most, ...
const CHUNK: (u32, u32, u32) = (16 << 10, 64 << 10, 256 << 10);
/// ... small files are compressed so many bytes at a time, ...
const FRAME: usize = 64 << 10;
/// ... and this is the level.
const LEVEL: i32 = 1;

/// What goes through all steps together: a chunk, or some small files.
struct Steps {
    numbers: Numbers,
    compressor: zstd::bulk::Compressor<'static>,
    decompressor: zstd::bulk::Decompressor<'static>,
    compressed: Vec<u8>,
    plain: Vec<u8>,
    /// What was met before costs no room.
    known: HashSet<[u8; 32]>,
    times: [f64; 4],
    bytes: [u64; 2],
}

/// Measures a tree; `scratch` is a file that is written for it.
pub fn measure(tree: &Path, scratch: &Path) -> Result<Numbers, Failure> {
    let mut steps = Steps {
        numbers: Numbers::default(),
        compressor: zstd::bulk::Compressor::new(LEVEL)?,
        decompressor: zstd::bulk::Decompressor::new()?,
        compressed: Vec::new(),
        plain: Vec::new(),
        known: HashSet::new(),
        times: [0.0; 4],
        bytes: [0; 2],
    };
    let mut frame = Vec::new();
    each_file(tree, &mut |path| {
        let content = fs::read(path)?;
        steps.bytes[0] += content.len() as u64;
        let start = Instant::now();
        black_box(Sha256::digest(&content));
        steps.times[1] += start.elapsed().as_secs_f64();
        if content.len() > WHOLE {
            let start = Instant::now();
            let chunks: Vec<_> = cut(&content).collect();
            steps.times[0] += start.elapsed().as_secs_f64();
            return chunks.into_iter().try_for_each(|range| steps.compress(&content[range]));
        }
        frame.extend_from_slice(&content);
        if frame.len() >= FRAME {
            steps.compress(&frame)?;
            frame.clear();
        }
        Ok(())
    })?;
    steps.compress(&frame)?;
    let Steps { mut numbers, times: [chunking, sha256, zstd, unzstd], bytes: [bytes, stored], .. } = steps;
    for (name, value) in [("chunking", chunking), ("sha256", sha256), ("zstd", zstd), ("unzstd", unzstd)] {
        numbers.set(name, value);
    }
    numbers.set("bytes", bytes as f64);
    numbers.set("stored", stored as f64);
    numbers.set("write_stored", fastest(scratch, stored, true)?);
    numbers.set("write_content", fastest(scratch, bytes, true)?);
    numbers.set("write_unsynced", fastest(scratch, bytes, false)?);
    Ok(numbers)
}

impl Steps {
    fn compress(&mut self, content: &[u8]) -> Result<(), Failure> {
        self.compressed.clear();
        self.compressed.reserve(zstd::zstd_safe::compress_bound(content.len()));
        let start = Instant::now();
        self.compressor.compress_to_buffer(content, &mut self.compressed)?;
        self.times[2] += start.elapsed().as_secs_f64();
        let is_raw = self.compressed.len() >= content.len();
        if self.known.insert(Sha256::digest(content).into()) {
            self.bytes[1] += self.compressed.len().min(content.len()) as u64;
        }
        // What did not shrink need not be unpacked.
        if !is_raw {
            self.plain.clear();
            self.plain.reserve(content.len());
            let start = Instant::now();
            self.decompressor.decompress_to_buffer(&self.compressed, &mut self.plain)?;
            self.times[3] += start.elapsed().as_secs_f64();
        }
        Ok(())
    }
}

fn cut(content: &[u8]) -> impl Iterator<Item = std::ops::Range<usize>> {
    let (min, mean, max) = CHUNK;
    FastCDC::new(content, min, mean, max).map(|chunk| chunk.offset..chunk.offset + chunk.length)
}

/// Bytes, compressed, of the chunks of a tree that are not in the list `known`; they are added to it.
pub fn new_chunks(tree: &Path, known: &Path) -> Result<Numbers, Failure> {
    let list = fs::read(known).unwrap_or_default();
    let mut ids: HashSet<[u8; 32]> = list.as_chunks::<32>().0.iter().copied().collect();
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    let mut bytes = 0;
    each_file(tree, &mut |path| {
        let content = fs::read(path)?;
        for range in cut(&content) {
            let chunk = &content[range];
            if ids.insert(Sha256::digest(chunk).into()) {
                bytes += compressor.compress(chunk)?.len();
            }
        }
        Ok(())
    })?;
    fs::write(known, ids.into_iter().flatten().collect::<Vec<u8>>())?;
    let mut numbers = Numbers::default();
    numbers.set("new_bytes", bytes as f64);
    Ok(numbers)
}

/// Calls `each` with the regular files of a tree.
pub fn each_file(tree: &Path, each: &mut impl FnMut(&Path) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut entries = fs::read_dir(tree)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type()?;
        if kind.is_dir() {
            each_file(&entry.path(), each)?;
        } else if kind.is_file() {
            each(&entry.path())?;
        }
    }
    Ok(())
}

/// The faster of two writes: a floor is the least, and the first one may have to do with what was removed before.
fn fastest(path: &Path, bytes: u64, is_synced: bool) -> Result<f64, Failure> {
    Ok(write(path, bytes, is_synced)?.min(write(path, bytes, is_synced)?))
}

/// Seconds for writing so many bytes to a new file.
fn write(path: &Path, bytes: u64, is_synced: bool) -> Result<f64, Failure> {
    let buffer: Vec<u8> = (0..1_u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    rustix::fs::sync();
    let start = Instant::now();
    let mut file = File::create(path)?;
    let mut left = bytes as usize;
    while left > 0 {
        let some = left.min(buffer.len());
        file.write_all(&buffer[..some])?;
        left -= some;
    }
    if is_synced {
        file.sync_all()?;
    }
    let time = start.elapsed().as_secs_f64();
    drop(file);
    fs::remove_file(path)?;
    Ok(time)
}
