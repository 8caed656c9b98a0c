//! Reading packs: whether what is in them is what it was.

use std::collections::HashSet;
use std::io;

use super::super::catalog::slice;
use super::super::collect::mark::Marks;
use super::super::disk;
use super::super::error::StoreError;
use super::super::id::{ObjectId, ShortId};
use super::super::layout::Home;
use super::super::list;
use super::super::opened::Store;
use super::super::pack::files::Trouble;
use super::super::pack::reader::{Buffers, Pack};
use super::super::pack::{Kind, ObjectRecord, PackId};
use super::super::put::Progress;
use super::super::record::Record;
use super::checker::Suspects;
use super::pace::Pace;
use super::{Verified, Verifying};
use crate::artifact::Interrupt;

/// So many damaged objects are remembered by name while everything is read.
const MAX_SUSPECTS: usize = 100_000;

/// What a look at the packs of an owner found.
#[derive(Default)]
pub(super) struct Found {
    /// Packs that have something damaged in them.
    pub(super) packs: Vec<PackId>,
    /// There are packs of which not even that can be told.
    pub(super) has_bad_footers: bool,
    /// What is damaged in them.
    pub(super) objects: Suspects,
}

impl Found {
    pub(super) fn is_nothing(&self) -> bool {
        self.packs.is_empty() && !self.has_bad_footers
    }
}

/// The beginnings of the ids of objects.
pub(super) type Wanted = HashSet<ShortId>;

impl Store {
    /// The objects of a tree, as far as what is whole of its manifest tells. None, where the owner keeps no such tree.
    pub(super) fn objects_of(&self, home: &Home, tree: &ObjectId, interrupt: &Interrupt) -> Result<Wanted, StoreError> {
        let _held = self.hold_still(interrupt)?;
        let (records, _) = self.records(home)?;
        if !records.iter().any(|record| matches!(record, Record::Kept(info) if info.content_hash == *tree)) {
            return Ok(Wanted::new());
        }
        let catalog = self.catalog(home)?;
        let mut marks = Marks::new(&catalog, interrupt)?;
        match marks.whole_tree(tree) {
            // What is wrong with it the look at the tree tells.
            Err(error) if !error.is_damage() => Err(error),
            _ => Ok(marks.objects().collect()),
        }
    }

    /// Reads every frame of every pack; of `wanted`, where that is given, those that have one of its objects. Nobody is kept waiting
    /// meanwhile, however long it takes: a pack is never changed, and one that goes was not needed.
    pub(super) fn read_packs(
        &self,
        home: &Home,
        wanted: Option<&Wanted>,
        how: &Verifying,
        progress: &Progress,
        found: &mut Found,
        verified: &mut Verified,
    ) -> Result<(), StoreError> {
        let mut reading = Reading::new(Pace::new(how.rate), &how.interrupt, progress)?;
        for path in disk::fanned(&home.packs())? {
            let mut numbers = Vec::new();
            let mut note = |number, record: ObjectRecord| {
                if wanted.is_none_or(|wanted| wanted.contains(&record.id.short())) {
                    numbers.push(number);
                }
            };
            let pack = match Pack::open(&path, self.key.as_ref(), &mut note) {
                Ok(pack) if path.file_name().is_some_and(|name| *name == *pack.id.to_string()) => pack,
                Err(StoreError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
                Err(StoreError::File { source, path, .. }) if !Trouble::of(&source).is_damage() => {
                    return Err(StoreError::file("reading", &path, source));
                }
                Ok(_) | Err(StoreError::Damaged { .. } | StoreError::File { .. }) => {
                    // Of which trees it has something cannot be told.
                    if wanted.is_none() {
                        found.has_bad_footers = true;
                        verified.damaged_packs.push(path.display().to_string());
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut suspects = Suspects::new();
            let mut bytes = 0;
            let is_sound = reading.is_sound(&pack, &numbers, &mut bytes, &mut suspects)?;
            if !is_sound && path.exists() {
                found.packs.push(pack.id);
                verified.damaged_packs.push(pack.id.to_string());
                let room = MAX_SUSPECTS.saturating_sub(found.objects.len());
                found.objects.extend(suspects.into_iter().take(room));
            }
            if wanted.is_none() {
                // What is no frame.
                progress.add_bytes(pack.bytes.saturating_sub(bytes));
                bytes = pack.bytes;
            }
            verified.objects += numbers.len() as u64;
            verified.bytes += bytes;
        }
        Ok(())
    }
}

/// Reads objects of packs.
struct Reading<'a> {
    pace: Pace,
    buffers: Buffers,
    interrupt: &'a Interrupt,
    progress: &'a Progress,
}

impl<'a> Reading<'a> {
    fn new(pace: Pace, interrupt: &'a Interrupt, progress: &'a Progress) -> Result<Self, StoreError> {
        Ok(Self { pace, buffers: Buffers::new()?, interrupt, progress })
    }

    /// Whether every one of these objects of a pack is what it was; what is not is added to `suspects`, with the hash of what it is. The
    /// bytes of the frames that were read for it are added to `bytes`.
    ///
    /// # Errors
    /// It cannot be read for a reason that says nothing about it.
    fn is_sound(
        &mut self,
        pack: &Pack,
        numbers: &[u32],
        bytes: &mut u64,
        suspects: &mut Suspects,
    ) -> Result<bool, StoreError> {
        let mut content = Vec::new();
        let mut frame = None;
        let mut sound = true;
        for number in numbers {
            if self.interrupt.is_raised() {
                return Err(StoreError::Interrupted);
            }
            let fail = |error: io::Error| StoreError::file("reading", &pack.path, error);
            let record = match pack.object(*number) {
                Ok(record) => record,
                Err(error) if Trouble::of(&error).is_damage() => {
                    sound = false;
                    continue;
                }
                Err(error) => return Err(fail(error)),
            };
            if frame != Some(record.frame) {
                frame = None;
                match pack.read_frame(record.frame, &mut self.buffers, &mut content) {
                    Ok(()) => frame = Some(record.frame),
                    Err(error) if Trouble::of(&error).is_damage() => {}
                    Err(error) => return Err(fail(error)),
                }
                let read = pack.stored_length(record.frame).unwrap_or(0);
                *bytes += read;
                self.progress.add_bytes(read);
                self.pace.wait_for(read, self.interrupt);
            }
            let is = frame.and_then(|_| slice(&content, &record));
            if !is.is_some_and(|bytes| proves(&record.id, record.kind, bytes)) {
                sound = false;
                if suspects.len() < MAX_SUSPECTS {
                    suspects.insert(record.id, is.and_then(|bytes| hash_of(record.kind, bytes)));
                }
            }
        }
        Ok(sound)
    }
}

/// Whether every object of a pack is what it was.
pub(in super::super) fn pack_is_sound(pack: &Pack, interrupt: &Interrupt) -> Result<bool, StoreError> {
    let progress = Progress::default();
    let numbers: Vec<u32> = (0..pack.objects()).collect();
    Reading::new(Pace::new(None), interrupt, &progress)?.is_sound(pack, &numbers, &mut 0, &mut Suspects::new())
}

/// Whether the bytes are what an object of this name and kind is.
pub(in super::super) fn proves(id: &ObjectId, kind: Kind, bytes: &[u8]) -> bool {
    match kind {
        Kind::List => list::is_sound(bytes),
        Kind::Data | Kind::Tree | Kind::Segment => ObjectId::of(bytes) == *id,
    }
}

/// The name that an object of these bytes would have. `None`: a list is not named after its own bytes.
pub(in super::super) fn hash_of(kind: Kind, bytes: &[u8]) -> Option<ObjectId> {
    (kind != Kind::List).then(|| ObjectId::of(bytes))
}
