//! Reading the files of a tree, a batch at a time, by several threads.

use std::fs::File;
use std::io::{self, Read as _};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Mutex, PoisonError};

use rustix::fs::Stat;

use super::super::chunks;
use super::super::error::StoreError;
use super::super::frame::MAX_FRAME;
use super::super::id::ObjectId;
use super::super::list;
use super::super::manifest::{TreeEntry, TreeNode, is_plain};
use super::super::pack::Kind;
use super::super::pack::reader::Buffers;
use super::super::pack::writer::Part;
use super::large::Cutter;
use super::seen::{self, Facts, Known};
use super::source::{Opened, Opener, mtime};
use super::{Intake, Payload, PutOptions};
use crate::artifact::beneath::Node;
use crate::artifact::{Interrupt, Remark, shown};

/// Small files share a frame up to this size: large enough to compress well, small enough to be read for one of them.
const FRAME: usize = 64 << 10;

/// Paths that follow each other.
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) paths: Vec<(Vec<u8>, Option<Known>)>,
}

/// An entry that was stored, and what proves it unchanged the next time.
pub(super) struct Done {
    pub(super) entry: TreeEntry,
    pub(super) facts: Option<Facts>,
}

/// What came of a batch.
pub(super) struct Outcome {
    pub(super) number: u64,
    pub(super) done: Vec<Done>,
}

/// A thread that reads.
pub(super) struct Reader<'a, 'p> {
    pub(super) opener: Opener<'a>,
    pub(super) intake: Intake<'a, 'p>,
    pub(super) cutter: Cutter<'p>,
    pub(super) options: PutOptions,
    pub(super) interrupt: &'a Interrupt,
    /// When the put began, in nanoseconds since 1970.
    pub(super) now: i128,
    pub(super) frame: FrameInMaking,
    pub(super) content: Vec<u8>,
    pub(super) lists: Lists,
}

/// What looking at lists needs room for, made when the first is looked at.
#[derive(Default)]
pub(super) struct Lists(Option<Buffers>);

/// Small objects that will be a frame.
#[derive(Default)]
pub(super) struct FrameInMaking {
    raw: Vec<u8>,
    parts: Vec<Part>,
}

/// Somebody else ended the put, and knows why.
struct Ended;

impl Reader<'_, '_> {
    /// Works until there are no more batches.
    pub(super) fn work(mut self, batches: &Mutex<Receiver<Batch>>, outcomes: &Sender<Outcome>) {
        loop {
            let next = batches.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(Batch { number, paths }) = next else { break };
            let mut done = Vec::with_capacity(paths.len());
            for (path, known) in paths {
                match self.entry(path, known) {
                    Ok(Some(one)) => done.push(one),
                    Ok(None) => {}
                    Err(Ended) => return,
                }
            }
            if outcomes.send(Outcome { number, done }).is_err() {
                return;
            }
        }
        // Failure is known to whoever packs.
        self.flush();
    }

    /// Stores one entry. `None`: it is left out, which was told.
    fn entry(&mut self, path: Vec<u8>, known: Option<Known>) -> Result<Option<Done>, Ended> {
        if self.interrupt.is_raised() {
            return Err(Ended);
        }
        if !is_plain(&path) {
            self.leave_out(&path, "its name is too long, or no name");
            return Ok(None);
        }
        match self.try_entry(&path, known) {
            Ok(Ok(done)) => Ok(Some(done)),
            Ok(Err(ended)) => Err(ended),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.leave_out(&path, "it is not there any more");
                Ok(None)
            }
            Err(error) => {
                self.leave_out(&path, &error.to_string());
                Ok(None)
            }
        }
    }

    fn leave_out(&self, path: &[u8], why: &str) {
        self.intake.remark(Remark::warning(format!("{}: left out: {why}", shown(path))));
    }

    fn try_entry(&mut self, path: &[u8], known: Option<Known>) -> io::Result<Result<Done, Ended>> {
        let stat = self.opener.stat(path)?;
        let is_file = Node::of(&stat) == Node::File;
        if is_file && let Some(known) = known.filter(|known| known.proves(&stat) && !self.options.xattrs) {
            let size = stat.st_size as u64;
            if size == 0 || self.has_whole(&known.id, size) {
                self.intake.progress.add_unread(size);
                let node = TreeNode::File { size, id: known.id };
                return Ok(Ok(self.done(path, &stat, node, Vec::new())));
            }
        }
        let opened = self.opener.open(path, stat)?;
        let xattrs = if self.options.xattrs { self.opener.xattrs(path, &opened)? } else { Vec::new() };
        let (stat, node) = match opened {
            Opened::Folder(stat) => (stat, TreeNode::Folder),
            Opened::Symlink { stat, target } => (stat, TreeNode::Symlink { target }),
            Opened::File { stat, file } => match self.file(path, &file, &stat)? {
                Ok(node) => (stat, node),
                Err(ended) => return Ok(Err(ended)),
            },
        };
        self.intake.progress.add_entry();
        Ok(Ok(self.done(path, &stat, node, xattrs)))
    }

    /// Whether a file that is not read is all there. A collection may have left the list of a file whose chunks went: it removes packs, and
    /// one that is mostly needed keeps what else is in it.
    fn has_whole(&mut self, id: &ObjectId, size: u64) -> bool {
        if size <= chunks::WHOLE {
            return self.intake.has(id);
        }
        let mut catalog = self.intake.catalog.lock().unwrap_or_else(PoisonError::into_inner);
        if !catalog.is_settled(id) {
            // A list that this put is about to write: each of its chunks was asked for before.
            return catalog.has(id);
        }
        if self.lists.0.is_none() {
            self.lists.0 = Buffers::new().ok();
        }
        let Some(buffers) = &mut self.lists.0 else { return false };
        match list::is_whole(&catalog, id, size, buffers) {
            Ok(is_whole) => is_whole,
            Err(error) => {
                if error.is_damage() {
                    catalog.distrust(id);
                }
                // A part of a long list is an object of its own.
                if let StoreError::Object { id: part, .. } = &error {
                    catalog.distrust(part);
                }
                false
            }
        }
    }

    fn done(&self, path: &[u8], stat: &Stat, node: TreeNode, xattrs: Vec<(Vec<u8>, Vec<u8>)>) -> Done {
        let is_file = matches!(node, TreeNode::File { size, .. } if size == stat.st_size as u64);
        let facts = (is_file && seen::is_settled(stat, self.now)).then(|| seen::facts(stat));
        let owner = self.options.owners.then_some((stat.st_uid, stat.st_gid));
        let mode = stat.st_mode & 0o7777;
        Done { entry: TreeEntry { path: path.to_vec(), mode, mtime: mtime(stat), owner, xattrs, node }, facts }
    }

    fn file(&mut self, path: &[u8], file: &File, stat: &Stat) -> io::Result<Result<TreeNode, Ended>> {
        let size = stat.st_size as u64;
        if size > chunks::WHOLE {
            let Some(read) = self.cutter.put(file, size, &self.intake, self.interrupt)? else {
                return Ok(Err(Ended));
            };
            self.tell_of_change(path, file, stat, read.size);
            return Ok(Ok(TreeNode::File { size: read.size, id: read.id }));
        }
        let mut content = std::mem::take(&mut self.content);
        content.clear();
        let result = file.take(size).read_to_end(&mut content);
        let node = result.map(|_| {
            self.tell_of_change(path, file, stat, content.len() as u64);
            self.intake.progress.add_bytes(content.len() as u64);
            let id = ObjectId::of(&content);
            let kept = content.is_empty() || !self.intake.claim(&id) || self.add(id, &content);
            if kept { Ok(TreeNode::File { size: content.len() as u64, id }) } else { Err(Ended) }
        });
        self.content = content;
        node
    }

    /// A file that somebody writes to is stored as it was read; the user should know.
    fn tell_of_change(&self, path: &[u8], file: &File, before: &Stat, read: u64) {
        let changed = rustix::fs::fstat(file).map_or(true, |after| seen::facts(&after) != seen::facts(before));
        if read != before.st_size as u64 || changed {
            let text = format!("{}: it changed while it was read; what is kept may be of neither state", shown(path));
            self.intake.remark(Remark::warning(text));
        }
    }

    /// Adds a small object to the frame that is being made.
    fn add(&mut self, id: ObjectId, content: &[u8]) -> bool {
        debug_assert!(content.len() < MAX_FRAME);
        self.frame.raw.extend_from_slice(content);
        self.frame.parts.push(Part { id, kind: Kind::Data, length: content.len() as u32 });
        self.frame.raw.len() < FRAME || self.flush()
    }

    fn flush(&mut self) -> bool {
        let FrameInMaking { raw, parts } = std::mem::take(&mut self.frame);
        parts.is_empty() || self.intake.send(Payload::Frame { raw, parts })
    }
}
