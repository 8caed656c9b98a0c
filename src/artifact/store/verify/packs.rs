//! Reading packs: whether what is in them is what it was.

use std::io;

use super::super::catalog::slice;
use super::super::disk;
use super::super::error::StoreError;
use super::super::id::ObjectId;
use super::super::layout::Home;
use super::super::list;
use super::super::opened::Store;
use super::super::pack::files::Trouble;
use super::super::pack::reader::{Buffers, Pack};
use super::super::pack::{Kind, PackId};
use super::super::put::Progress;
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

impl Store {
    /// Reads every frame of every pack. Nobody is kept waiting meanwhile, however long it takes: a pack is never changed, and one that goes
    /// was not needed.
    pub(super) fn read_packs(
        &self,
        home: &Home,
        how: &Verifying,
        progress: &Progress,
        found: &mut Found,
        verified: &mut Verified,
    ) -> Result<(), StoreError> {
        let mut pace = Pace::new(how.rate);
        let mut buffers = Buffers::new()?;
        for path in disk::fanned(&home.packs())? {
            let pack = match Pack::open(&path, self.key.as_ref(), |_, _| {}) {
                Ok(pack) if path.file_name().is_some_and(|name| *name == *pack.id.to_string()) => pack,
                Err(StoreError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
                Err(StoreError::File { source, path, .. }) if !Trouble::of(&source).is_damage() => {
                    return Err(StoreError::file("reading", &path, source));
                }
                Ok(_) | Err(StoreError::Damaged { .. } | StoreError::File { .. }) => {
                    found.has_bad_footers = true;
                    verified.damaged_packs.push(path.display().to_string());
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut suspects = Suspects::new();
            let is_sound = is_sound(&pack, &mut buffers, &how.interrupt, &mut pace, verified, &mut suspects)?;
            if !is_sound && path.exists() {
                found.packs.push(pack.id);
                verified.damaged_packs.push(pack.id.to_string());
                let room = MAX_SUSPECTS.saturating_sub(found.objects.len());
                found.objects.extend(suspects.into_iter().take(room));
            }
            progress.add_bytes(pack.bytes);
            verified.bytes += pack.bytes;
        }
        Ok(())
    }
}

/// Whether every object of a pack is what it was; what is not is added to `suspects`, with the hash of what it is.
///
/// # Errors
/// It cannot be read for a reason that says nothing about it.
fn is_sound(
    pack: &Pack,
    buffers: &mut Buffers,
    interrupt: &Interrupt,
    pace: &mut Pace,
    verified: &mut Verified,
    suspects: &mut Suspects,
) -> Result<bool, StoreError> {
    let mut content = Vec::new();
    let mut frame = None;
    let mut sound = true;
    for number in 0..pack.objects() {
        if interrupt.is_raised() {
            return Err(StoreError::Interrupted);
        }
        let fail = |error: io::Error| StoreError::file("reading", &pack.path, error);
        verified.objects += 1;
        let record = match pack.object(number) {
            Ok(record) => record,
            Err(error) if Trouble::of(&error).is_damage() => {
                sound = false;
                continue;
            }
            Err(error) => return Err(fail(error)),
        };
        if frame != Some(record.frame) {
            frame = None;
            match pack.read_frame(record.frame, buffers, &mut content) {
                Ok(()) => frame = Some(record.frame),
                Err(error) if Trouble::of(&error).is_damage() => {}
                Err(error) => return Err(fail(error)),
            }
            pace.wait_for(pack.stored_length(record.frame).unwrap_or(0), interrupt);
        }
        let bytes = frame.and_then(|_| slice(&content, &record));
        if !bytes.is_some_and(|bytes| proves(&record.id, record.kind, bytes)) {
            sound = false;
            if suspects.len() < MAX_SUSPECTS {
                suspects.insert(record.id, bytes.and_then(|bytes| hash_of(record.kind, bytes)));
            }
        }
    }
    Ok(sound)
}

/// Whether every object of a pack is what it was.
pub(in super::super) fn pack_is_sound(pack: &Pack, interrupt: &Interrupt) -> Result<bool, StoreError> {
    let (mut pace, mut verified) = (Pace::new(None), Verified::default());
    is_sound(pack, &mut Buffers::new()?, interrupt, &mut pace, &mut verified, &mut Suspects::new())
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
