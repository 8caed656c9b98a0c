//! Putting a stored tree back: read, proved and written by several threads at the same time.
//!
//! Nothing is written that was not found to be what its id says first. What is restored into is a folder that nobody else writes
//! to; still no name is used twice and no symlink is followed, since a manifest may come from another machine.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use cap_std::fs::Dir;

use super::catalog::Catalog;
use super::error::{ObjectTrouble, StoreError};
use super::id::ObjectId;
use super::list::{self, Chunk};
use super::manifest::{Root, TreeEntry, TreeNode, read};
use super::pack::reader::Buffers;
use super::pack::{Kind, PackId};
use super::put::Progress;
use crate::artifact::archive::Limits;
use crate::artifact::{Interrupt, Unnamed};

mod content;
mod place;

use content::Contents;
use place::{Folders, OpenFile};

/// Files that are handed on at a time.
const BATCH: usize = 64;

/// Chunks that are handed on at a time.
const CHUNKS: usize = 16;

/// How something is restored.
#[derive(Clone, Copy)]
pub struct GetOptions<'a> {
    /// An empty folder.
    pub into: &'a Dir,
    /// How large it may be. What its root says is looked at before anything is written; ratios are not looked at.
    pub limits: &'a Limits,
    /// Tells how far it is.
    pub progress: &'a Progress,
    /// Ends the work early.
    pub interrupt: &'a Interrupt,
}

/// What a get needs.
struct GetWork<'a> {
    catalog: &'a Catalog,
    id: ObjectId,
    options: &'a GetOptions<'a>,
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// The id of the tree.
    pub id: ObjectId,
    /// Files, folders and symlinks.
    pub entries: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Folders that had to be made for entries and have none of their own.
    pub unnamed: Unnamed,
}

/// A part of the work.
enum Task {
    /// Files that are one object each, or empty.
    Files(Vec<TreeEntry>),
    /// Chunks of a file, and where in it they begin.
    Chunks { file: Arc<OpenFile>, chunks: Vec<Chunk>, at: u64 },
}

/// What the threads share.
struct Shared<'a> {
    work: &'a GetWork<'a>,
    damaged: Mutex<Vec<PackId>>,
    failure: Mutex<Option<StoreError>>,
    has_ended: Interrupt,
}

/// Restores the tree `id`. `damaged` gets the packs in which something was not what it should be, also where another copy served.
pub(super) fn get(
    catalog: &Catalog,
    options: &GetOptions<'_>,
    id: &ObjectId,
    damaged: &mut Vec<PackId>,
) -> Result<Got, StoreError> {
    let work = &GetWork { catalog, id: *id, options };
    let mut buffers = Buffers::new()?;
    let root = root(catalog, id, &mut buffers, damaged)?;
    work.within(root.entries, options.limits.entries, "entries")?;
    work.within(root.bytes, options.limits.bytes, "bytes of content")?;
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
    let shared =
        Shared { work, damaged: Mutex::new(Vec::new()), failure: Mutex::new(None), has_ended: Interrupt::default() };
    let unnamed = std::thread::scope(|scope| {
        let (tasks, to_do) = sync_channel(threads * 2);
        let to_do = Arc::new(Mutex::new(to_do));
        for _ in 0..threads {
            let (shared, to_do) = (&shared, Arc::clone(&to_do));
            scope.spawn(move || shared.note(shared.do_tasks(&to_do)));
        }
        drop(to_do);
        let mut placing = Placing {
            shared: &shared,
            tasks,
            folders: Folders::new(options.into),
            buffers,
            left: (root.entries, root.bytes),
        };
        let placed = placing.place(&root);
        let Placing { folders, tasks, .. } = placing;
        drop(tasks);
        (shared.note(placed), folders)
    })
    .1
    .finish_unless(shared.has_ended.is_raised())?;
    damaged.extend(shared.damaged.into_inner().unwrap_or_else(PoisonError::into_inner));
    if let Some(error) = shared.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    if options.interrupt.is_raised() {
        return Err(StoreError::Interrupted);
    }
    Ok(Got { id: *id, entries: root.entries, bytes: root.bytes, unnamed })
}

/// Reads the root of a manifest.
pub(super) fn root(
    catalog: &Catalog,
    id: &ObjectId,
    buffers: &mut Buffers,
    damaged: &mut Vec<PackId>,
) -> Result<Root, StoreError> {
    let bytes = catalog.read(id, Kind::Tree, buffers, damaged)?;
    read::root(&bytes).ok_or(StoreError::Manifest { id: *id, why: "it has no root" })
}

/// Reads the entries of a segment.
pub(super) fn segment(
    catalog: &Catalog,
    id: &ObjectId,
    buffers: &mut Buffers,
    damaged: &mut Vec<PackId>,
) -> Result<Vec<TreeEntry>, StoreError> {
    let bytes = catalog.read(id, Kind::Segment, buffers, damaged)?;
    read::segment(&bytes).ok_or(StoreError::Manifest { id: *id, why: "a segment has entries that no tree can have" })
}

impl GetWork<'_> {
    fn within(&self, found: u64, limit: u64, what: &'static str) -> Result<(), StoreError> {
        if found > limit { Err(StoreError::TooLarge { id: self.id, what, found, limit }) } else { Ok(()) }
    }
}

impl Shared<'_> {
    fn note(&self, result: Result<(), StoreError>) {
        if let Err(error) = result {
            self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            self.has_ended.raise();
        }
    }

    fn is_over(&self) -> bool {
        self.has_ended.is_raised() || self.work.options.interrupt.is_raised()
    }

    fn do_tasks(&self, tasks: &Mutex<Receiver<Task>>) -> Result<(), StoreError> {
        let mut contents = Contents::new(self.work.catalog)?;
        let mut folders = Folders::new(self.work.options.into);
        let result = loop {
            let next = tasks.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(task) = next else { break Ok(()) };
            let done = match task {
                // What is left is taken and dropped, so that nobody waits for room.
                _ if self.is_over() => Ok(()),
                Task::Files(files) => self.put_files(&files, &mut contents, &mut folders),
                Task::Chunks { file, chunks, at } => self.put_chunks(file, &chunks, at, &mut contents),
            };
            if let Err(error) = done {
                break Err(error);
            }
        };
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).append(&mut contents.damaged);
        result
    }

    fn put_files(
        &self,
        files: &[TreeEntry],
        contents: &mut Contents<'_>,
        folders: &mut Folders<'_>,
    ) -> Result<(), StoreError> {
        for entry in files {
            if let TreeNode::File { size, id } = entry.node {
                let content = if size == 0 { &[] } else { contents.one(&id, size)? };
                folders.create(entry)?.write_whole(content)?;
                self.work.options.progress.add_bytes(size);
                self.work.options.progress.add_entry();
            }
        }
        Ok(())
    }

    fn put_chunks(
        &self,
        file: Arc<OpenFile>,
        chunks: &[Chunk],
        mut at: u64,
        contents: &mut Contents<'_>,
    ) -> Result<(), StoreError> {
        for pair in chunks.chunks(2) {
            if self.is_over() {
                return Ok(());
            }
            for (chunk, content) in pair.iter().zip(contents.pair(pair)?) {
                if let Some(content) = content {
                    file.write_at(content, at)?;
                }
                at += chunk.length;
                self.work.options.progress.add_bytes(chunk.length);
            }
        }
        // The last one to write to it gives it its time.
        if let Some(file) = Arc::into_inner(file) {
            file.finish()?;
            self.work.options.progress.add_entry();
        }
        Ok(())
    }
}

/// The thread that knows the order: makes folders and symlinks, and hands on files.
struct Placing<'a> {
    shared: &'a Shared<'a>,
    tasks: SyncSender<Task>,
    folders: Folders<'a>,
    buffers: Buffers,
    /// Entries and bytes of content that are still to come, as the root says.
    left: (u64, u64),
}

impl Placing<'_> {
    fn place(&mut self, root: &Root) -> Result<(), StoreError> {
        let mut files = Vec::new();
        let mut last: Vec<u8> = Vec::new();
        for (id, _) in &root.segments {
            let mut damaged = Vec::new();
            let entries = segment(self.shared.work.catalog, id, &mut self.buffers, &mut damaged);
            self.shared.damaged.lock().unwrap_or_else(PoisonError::into_inner).append(&mut damaged);
            let entries = entries?;
            // Within a segment the reader has seen to it.
            if entries.first().is_some_and(|first| !last.is_empty() && first.path <= last) {
                return Err(StoreError::Manifest { id: *id, why: "its entries are out of order" });
            }
            last = entries.last().map(|entry| entry.path.clone()).unwrap_or_default();
            for entry in entries {
                if self.shared.is_over() {
                    return Ok(());
                }
                self.entry(entry, &mut files)?;
            }
        }
        self.hand_on(&mut files);
        if self.left == (0, 0) { Ok(()) } else { Err(self.contradiction()) }
    }

    fn contradiction(&self) -> StoreError {
        StoreError::Manifest { id: self.shared.work.id, why: "its root says something else than its entries" }
    }

    /// Whether there may be this entry.
    fn admit(&mut self, entry: &TreeEntry) -> Result<(), StoreError> {
        let bytes = if let TreeNode::File { size, .. } = entry.node { size } else { 0 };
        let left = self.left.0.checked_sub(1).zip(self.left.1.checked_sub(bytes));
        self.left = left.ok_or_else(|| self.contradiction())?;
        let (work, limits) = (self.shared.work, self.shared.work.options.limits);
        let depth = entry.path.split(|byte| *byte == b'/').count();
        work.within(entry.path.len() as u64, limits.path_bytes, "bytes in a path")?;
        work.within(depth as u64, limits.depth, "names in a path")
    }

    fn entry(&mut self, entry: TreeEntry, files: &mut Vec<TreeEntry>) -> Result<(), StoreError> {
        self.admit(&entry)?;
        match &entry.node {
            TreeNode::Folder => self.folders.make(entry),
            TreeNode::Symlink { target } => self.folders.link(&entry, target),
            TreeNode::File { size, id } => {
                let (size, id) = (*size, *id);
                self.folders.make_parents(&entry.path)?;
                if size > 0 && self.shared.work.catalog.find(&id)?.record.kind == Kind::List {
                    return self.cut_file(&entry, &id, size);
                }
                files.push(entry);
                if files.len() == BATCH {
                    self.hand_on(files);
                }
                Ok(())
            }
        }
    }

    fn cut_file(&mut self, entry: &TreeEntry, id: &ObjectId, size: u64) -> Result<(), StoreError> {
        let file = self.folders.create(entry)?;
        file.set_length(size)?;
        let file = Arc::new(file);
        let (mut at, mut damaged) = (0, Vec::new());
        let tasks = &self.tasks;
        let mut send = |chunks: &[Chunk]| {
            for chunks in chunks.chunks(CHUNKS) {
                let task = Task::Chunks { file: Arc::clone(&file), chunks: chunks.to_vec(), at };
                at += chunks.iter().map(|chunk| chunk.length).sum::<u64>();
                if tasks.send(task).is_err() {
                    break;
                }
            }
            Ok(())
        };
        let sent = list::chunks(self.shared.work.catalog, id, size, &mut self.buffers, &mut damaged, &mut send);
        self.shared.damaged.lock().unwrap_or_else(PoisonError::into_inner).append(&mut damaged);
        sent?;
        // Where all chunks are written already, nobody else is left to do it.
        match Arc::into_inner(file) {
            Some(file) => {
                self.shared.work.options.progress.add_entry();
                file.finish()
            }
            None => Ok(()),
        }
    }

    fn hand_on(&self, files: &mut Vec<TreeEntry>) {
        if !files.is_empty() {
            // Nobody takes it when all have failed, which is told elsewhere.
            let _ = self.tasks.send(Task::Files(std::mem::take(files)));
        }
    }
}

/// An object that is not what it should be, or not there.
fn trouble(id: ObjectId, how: ObjectTrouble) -> StoreError {
    StoreError::Object { id, how }
}
