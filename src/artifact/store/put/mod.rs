//! Taking in a tree: read, cut, hashed, compressed and written by several threads at the same time, each byte once.
//!
//! ```text
//! walk ─ batches ─> readers ─ pieces ─> hashers ─┐
//!                      │                         ├─ payloads ─> packers ─ full packs ─> closer
//!                      └── small files' frames ──┤
//!                      └── outcomes ─> assembler ┘ segments of the manifest
//! ```
//!
//! All channels and buffers are bounded in bytes; a tree of any size needs the same memory. An object is claimed in the catalog before
//! it is sent on, so that none is stored twice. Whoever fails says so in `Failure` and goes; the others notice when they next
//! send or receive.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use cap_std::fs::Dir;

use super::catalog::Catalog;
use super::error::StoreError;
use super::frame::Compressor;
use super::id::ObjectId;
use super::layout::Home;
use super::list::Listed;
use super::manifest::TreeNode;
use super::pack::Kind;
use super::pack::writer::Part;
use super::seal::StoreKey;
use super::session::Session;
use crate::artifact::{Interrupt, Remark, Remarks, shown};

mod assemble;
mod buffers;
mod large;
mod packer;
mod reader;
mod seen;
mod source;

pub(super) use packer::{Packer, Room, Unpacked};
pub(super) use source::{Paths, Walk};

use assemble::Window;
use buffers::{Buffer, Pool};
use large::{Cutter, NewChunk};
use reader::{Batch, FrameInMaking, Lists, Reader};
use seen::Seen;
use source::{Opener, Unlisted};

/// Paths of a batch.
const BATCH: usize = 64;

/// Buffers of a put: 15 MiB. A thread that reads has two in its hand at most, and there are eight such threads at most.
const BUFFERS: usize = 20;

/// Pieces of a file that may wait to be hashed. Reading, hashing and packing take turns on few processors: what waits
/// between them is what keeps these busy.
const PIECES: usize = 6;

/// What to keep of files besides content, mode and time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// User and group.
    pub owners: bool,
    /// Extended attributes.
    pub xattrs: bool,
    /// All or nothing: where a file cannot be read, or changes while it is read, nothing is kept.
    pub whole: bool,
}

/// How far a put or get is. Cheap to look at from another thread.
#[derive(Debug, Default)]
pub struct Progress {
    entries: AtomicU64,
    bytes: AtomicU64,
}

impl Progress {
    /// Files, folders and symlinks that are done.
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// Bytes of content that are done.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn add_entry(&self) {
        self.entries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A file that was not read, since it is unchanged.
    fn add_unread(&self, bytes: u64) {
        self.add_entry();
        self.add_bytes(bytes);
    }
}

/// What a put needs.
pub(super) struct PutWork<'a> {
    pub(super) home: &'a Home,
    pub(super) session: &'a Session,
    pub(super) key: Option<&'a StoreKey>,
    pub(super) root: &'a Dir,
    pub(super) options: PutOptions,
    pub(super) interrupt: &'a Interrupt,
    pub(super) progress: &'a Progress,
    /// Nanoseconds since 1970.
    pub(super) now: i128,
    /// The folder may be put again later: what is seen of its files is remembered.
    pub(super) comes_again: bool,
}

/// What came of a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// The id of the tree.
    pub id: ObjectId,
    /// The id of its content, times and owners left out.
    pub content_id: ObjectId,
    /// Files, folders and symlinks.
    pub entries: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Bytes that the store has more than before.
    pub new_bytes: u64,
    /// What was left out, and what changed meanwhile.
    pub remarks: Vec<Remark>,
}

/// What is to be packed.
enum Payload<'p> {
    /// Chunks of a file.
    Chunks { buffer: Buffer<'p>, chunks: Vec<NewChunk> },
    /// Small files.
    Frame { raw: Vec<u8>, parts: Vec<Part> },
    /// A list, or a part of the manifest.
    Object { id: ObjectId, kind: Kind, bytes: Vec<u8> },
}

impl Payload<'_> {
    /// A part of a long list, named after its bytes.
    fn owned(bytes: Vec<u8>) -> Self {
        Self::Object { id: ObjectId::of(&bytes), kind: Kind::Data, bytes }
    }
}

/// What the threads of a put share.
struct Intake<'a, 'p> {
    catalog: &'a Mutex<Catalog>,
    remarks: &'a Mutex<Remarks>,
    progress: &'a Progress,
    payloads: SyncSender<Payload<'p>>,
}

impl<'p> Intake<'_, 'p> {
    /// True: the caller has to store it.
    fn claim(&self, id: &ObjectId) -> bool {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner).claim(id)
    }

    fn has(&self, id: &ObjectId) -> bool {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner).has(id)
    }

    /// Has something packed that was claimed. False: nobody packs any more.
    fn send(&self, payload: Payload<'p>) -> bool {
        self.payloads.send(payload).is_ok()
    }

    /// Has something packed unless it is known. False: nobody packs any more.
    fn store(&self, payload: Payload<'p>) -> bool {
        match &payload {
            Payload::Object { id, .. } if !self.claim(id) => true,
            _ => self.send(payload),
        }
    }

    fn store_list(&self, id: ObjectId, list: Listed) -> bool {
        match list {
            Listed::Single => true,
            Listed::List(bytes) => self.store(Payload::Object { id, kind: Kind::List, bytes }),
        }
    }

    fn remark(&self, remark: Remark) {
        self.remarks.lock().unwrap_or_else(PoisonError::into_inner).push(remark);
    }

    fn again(&self) -> Self {
        Self { payloads: self.payloads.clone(), ..*self }
    }
}

/// The first thing that went wrong.
#[derive(Default)]
struct Failure {
    first: Mutex<Option<StoreError>>,
    has_ended: Interrupt,
}

impl Failure {
    fn note<T>(&self, result: Result<T, StoreError>) -> Option<T> {
        result
            .map_err(|error| {
                self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                self.has_ended.raise();
            })
            .ok()
    }
}

/// Stores a tree. Its packs are on disk afterwards; nothing refers to them yet.
pub(super) fn put(work: &PutWork<'_>, room: Room<'_>, catalog: Catalog, paths: Paths<'_>) -> Result<Put, StoreError> {
    let root_stat =
        rustix::fs::fstat(work.root).map_err(|e| StoreError::file("looking at", "the tree".as_ref(), e.into()))?;
    let mut seen = Seen::load(work.home, &root_stat, work.key)?;
    if !catalog.damaged().is_empty() {
        // Chunks of files whose lists are there may be gone.
        seen.forget();
    }
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
    let catalog = Mutex::new(catalog);
    let remarks = Mutex::new(Remarks::default());
    let pool = Pool::new(BUFFERS);
    let failure = Failure::default();
    let window = Window::new();
    let mut room = room;
    if let Room::Within(budget) = &mut room {
        budget.wait_until(&failure.has_ended);
    }
    let (packer, full) = Packer::new(work.session, work.key, room);
    let packer = &packer;
    let (assembled, closed) = std::thread::scope(|scope| {
        let closer = scope.spawn(|| failure.note(full.close(packer, work.home, &catalog)));
        let (payloads, to_pack) = sync_channel(threads * 2);
        let to_pack = Arc::new(Mutex::new(to_pack));
        let packers: Vec<_> = (0..threads)
            .map(|_| {
                let to_pack = Arc::clone(&to_pack);
                let failure = &failure;
                scope.spawn(move || failure.note(pack(packer, &to_pack, failure)))
            })
            .collect();
        drop(to_pack);
        let intake = Intake { catalog: &catalog, remarks: &remarks, progress: work.progress, payloads };
        let (batches, to_read) = sync_channel(threads * 2);
        let to_read = Arc::new(Mutex::new(to_read));
        let (outcomes, to_assemble) = channel();
        for _ in 0..threads {
            let (pieces, to_hash) = sync_channel(PIECES);
            let (hashed, from_hasher) = sync_channel(1);
            let hashing = intake.again();
            scope.spawn(move || large::hash(&to_hash, &hashed, &hashing));
            let reader = Reader {
                opener: Opener::new(work.root),
                intake: intake.again(),
                cutter: Cutter { pool: &pool, pieces, hashed: from_hasher },
                options: work.options,
                interrupt: work.interrupt,
                now: work.now,
                frame: FrameInMaking::default(),
                content: Vec::new(),
                lists: Lists::default(),
            };
            let (to_read, outcomes) = (Arc::clone(&to_read), outcomes.clone());
            scope.spawn(move || reader.work(&to_read, &outcomes));
        }
        drop((to_read, outcomes));
        let assembler = {
            let (window, failure) = (&window, &failure);
            scope.spawn(move || failure.note(assemble::assemble(to_assemble, window, &intake)).flatten())
        };
        failure.note(walk(paths, &mut seen, &batches, &window, &failure, work.interrupt, &remarks));
        drop(batches);
        let assembled = assembler.join().ok().flatten();
        packers.into_iter().for_each(|packer| drop(packer.join()));
        failure.note(packer.check());
        // What cannot be kept must not fill what is left of a quota or a disk.
        packer.finish(assembled.is_none() || failure.has_ended.is_raised() || work.interrupt.is_raised());
        (assembled, closer.join().ok().flatten())
    });
    if let Some(error) = failure.first.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let (Some(assembled), Some(closed)) = (assembled, closed) else { return Err(StoreError::Interrupted) };
    if work.interrupt.is_raised() {
        return Err(StoreError::Interrupted);
    }
    if work.comes_again {
        seen.save(assembled.seen, work.session, work.key)?;
    }
    Ok(Put {
        id: assembled.id,
        content_id: assembled.root.content_id,
        entries: assembled.root.entries,
        bytes: assembled.root.bytes,
        new_bytes: closed.bytes,
        remarks: remarks.into_inner().unwrap_or_else(PoisonError::into_inner).into_list(),
    })
}

/// Hands out the paths.
fn walk(
    paths: Paths<'_>,
    seen: &mut Seen,
    batches: &SyncSender<Batch>,
    window: &Window,
    failure: &Failure,
    interrupt: &Interrupt,
    remarks: &Mutex<Remarks>,
) -> Result<(), StoreError> {
    let is_over = || failure.has_ended.is_raised() || interrupt.is_raised();
    let mut paths = paths.peekable();
    let mut number = 0;
    while paths.peek().is_some() {
        let mut batch = Batch { number, paths: Vec::with_capacity(BATCH) };
        for path in paths.by_ref().take(BATCH) {
            match path {
                Ok(path) => {
                    let known = seen.find(&path);
                    batch.paths.push((path, known));
                }
                Err(Unlisted { folder, error }) if folder.is_empty() => {
                    return Err(StoreError::file("listing", "the tree".as_ref(), error));
                }
                Err(Unlisted { folder, error }) => {
                    let text = format!("{}: what is in it is left out: {error}", shown(&folder));
                    remarks.lock().unwrap_or_else(PoisonError::into_inner).push(Remark::warning(text));
                }
            }
        }
        number += 1;
        if !window.wait_for(batch.number, is_over) || batches.send(batch).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Packs what comes, until nothing more does.
fn pack(packer: &Packer<'_>, payloads: &Mutex<Receiver<Payload<'_>>>, failure: &Failure) -> Result<(), StoreError> {
    let mut compressor = Compressor::new()?;
    while !failure.has_ended.is_raised() {
        let next = payloads.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(payload) = next else { break };
        match &payload {
            Payload::Chunks { buffer, chunks } => {
                let frames = chunks.iter().map(|chunk| Unpacked {
                    raw: &buffer[chunk.range.clone()],
                    parts: std::slice::from_ref(&chunk.part),
                });
                packer.pack(&mut compressor, &frames.collect::<Vec<_>>())?;
            }
            Payload::Frame { raw, parts } => packer.pack(&mut compressor, &[Unpacked { raw, parts }])?,
            Payload::Object { id, kind, bytes } => {
                let part = Part { id: *id, kind: *kind, length: bytes.len() as u32 };
                packer.pack(&mut compressor, &[Unpacked { raw: bytes, parts: &[part] }])?;
            }
        }
    }
    Ok(())
}
