//! Having something here that only the second level has.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::level::{Blob, BlobName, LevelError};
use super::names::{self, Search};
use super::offer::refresh_after;
use super::shared::{MAX_SHARED, Shared, SharedPack};
use super::{AT_ONCE, Second, queue};
use crate::artifact::Interrupt;
use crate::artifact::retention::{Expiry, Withdrawal};
use crate::artifact::store::budget::{Beyond, Budget};
use crate::artifact::store::error::StoreError;
use crate::artifact::store::layout::Home;
use crate::artifact::store::opened::{Store, Work, slug_of};
use crate::artifact::store::pack::reader::Pack;
use crate::artifact::store::record::{ArtifactInfo, Record, What};
use crate::artifact::store::restore::{Wanted, matches, owners_of_project};
use crate::artifact::store::seal::StoreKey;
use crate::artifact::store::session::Session;
use crate::artifact::store::verify::{self, Checker};
use crate::pipeline::Owner;

/// Blobs that may be what is wanted and are looked at.
const CANDIDATES: usize = 16;

/// Looking for something that takes longer than this is given up, and nothing is looked for in the next minute.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why something comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// It is wanted, and what is here is older.
    Wanted,
    /// Objects of what is kept here are damaged: what it is kept as stays as it is.
    Damage,
}

/// What came from the second level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brought {
    /// What it is.
    pub info: ArtifactInfo,
    /// Bytes of packs that came for it.
    pub bytes: u64,
}

impl Store {
    /// Has the best of what `reader` may see of what is wanted on this machine: a cache that is newer in the second level than here, an
    /// artifact that is not here at all. [`Store::search`] finds it then. `None`: nothing came.
    ///
    /// Does not wait for a second level that did not answer a moment ago.
    ///
    /// # Errors
    /// The second level does not answer, or what it sent is not what it should be; there is no room for it. What is here can be used all the
    /// same.
    pub fn bring(&self, reader: &Owner, wanted: &Wanted, interrupt: &Interrupt) -> Result<Option<Brought>, StoreError> {
        let Some(second) = self.second.as_ref().filter(|second| !second.is_away()) else { return Ok(None) };
        let began = Instant::now();
        for owner in owners_of_project(reader).filter(|writer| reader.may_read(writer)) {
            if began.elapsed() > PATIENCE {
                // It answers, but so slowly that nobody should wait for it.
                second.leave_alone();
                return Ok(None);
            }
            let home = self.home(&owner);
            let here = self.best_here(&home, wanted)?;
            if matches!(wanted, Wanted::Named(_)) && here.is_some() {
                return Ok(None);
            }
            let there = self.look(second, &owner, wanted, interrupt)?;
            match (here, there) {
                (None, None) => {}
                (Some(_), None) => return Ok(None),
                (Some(here), Some(there)) if here.content_hash == there.info.content_hash => {
                    self.refresh(second, &there)?;
                    return Ok(None);
                }
                (Some(here), Some(there)) if here.created_at >= there.info.created_at => return Ok(None),
                (_, Some(there)) => {
                    let bytes = self.fetch(second, &home, &there, Reason::Wanted, interrupt)?;
                    self.refresh(second, &there)?;
                    return Ok(Some(Brought { info: there.info, bytes }));
                }
            }
        }
        Ok(None)
    }

    fn best_here(&self, home: &Home, wanted: &Wanted) -> Result<Option<ArtifactInfo>, StoreError> {
        self.heal()?;
        for found in self.candidates(&slug_of(home), wanted)? {
            if let Some(found) = self.confirm(found, wanted)? {
                return Ok(Some(found.info));
            }
        }
        Ok(None)
    }

    /// The newest of what the second level has of what is wanted.
    fn look(
        &self,
        second: &Second,
        owner: &Owner,
        wanted: &Wanted,
        interrupt: &Interrupt,
    ) -> Result<Option<Shared>, StoreError> {
        for way in Search::ways(&owner.slug(), wanted) {
            // One that was told of again because it is used is not the newest for that.
            let mut newest: Option<Shared> = None;
            for name in candidates(second, &way, interrupt)? {
                let found = self.read_shared(second, owner, &name, interrupt)?;
                if let Some(found) = found.filter(|found| matches(&found.info, wanted))
                    && newest.as_ref().is_none_or(|newest| newest.info.named_at() < found.info.named_at())
                {
                    newest = Some(found);
                }
            }
            if newest.is_some() {
                return Ok(newest);
            }
        }
        Ok(None)
    }

    /// What the blob of this name says. `None`: it is gone, damaged, somebody else's, or its time is over.
    pub(super) fn read_shared(
        &self,
        second: &Second,
        owner: &Owner,
        name: &BlobName,
        interrupt: &Interrupt,
    ) -> Result<Option<Shared>, StoreError> {
        let Some(bytes) = second.note(second.level.read(name, MAX_SHARED, interrupt))? else { return Ok(None) };
        let Some(mut shared) = Shared::from_bytes(&bytes, self.key.as_ref()) else {
            tracing::warn!(%name, level = second.level.title(), "a record in the shared store is damaged, or not of somebody who has the key");
            return Ok(None);
        };
        let is_in_place = shared.info.owner == *owner && names::record(&shared.info) == *name;
        let is_over = matches!(shared.info.expires, Expiry::At(at) if at <= self.now());
        // A clock that is ahead elsewhere makes nothing newer than what is kept from now on.
        shared.info.created_at = shared.info.created_at.min(self.now());
        shared.info.newest_since = shared.info.newest_since.map(|at| at.min(self.now()));
        Ok(Some(shared).filter(|_| is_in_place && !is_over))
    }

    /// Keeps something here as the second level has it. Tells how many bytes came.
    pub(super) fn fetch(
        &self,
        second: &Second,
        home: &Home,
        shared: &Shared,
        reason: Reason,
        interrupt: &Interrupt,
    ) -> Result<u64, StoreError> {
        let missing = {
            let _held = self.hold_still(interrupt)?;
            if self.is_whole(home, shared)? {
                Vec::new()
            } else {
                shared.packs.iter().filter(|pack| !home.pack(pack.id).exists()).copied().collect()
            }
        };
        let bytes = missing.iter().map(|pack: &SharedPack| pack.bytes).sum();
        self.have_room(shared, bytes, interrupt)?;
        let session = Session::begin(&self.layout)?;
        let budget = Budget::new(self, &shared.info.owner, home, &session, Beyond::Refused, interrupt);
        budget.covers(bytes, bytes)?;
        let receiver = Receiver { second, slug: &slug_of(home), key: self.key.as_ref(), interrupt };
        let paths = receiver.receive(&session, &missing)?;
        // From here on nothing is removed.
        let work = Work::of(session, self.hold_still(interrupt)?);
        let admitted = self.admit(&work, home, shared, &paths, interrupt);
        self.recount(home)?;
        admitted?;
        drop(budget);
        if reason == Reason::Wanted && bytes > 0 {
            // As after a put of it.
            self.index()?.forget_damage(&slug_of(home), &shared.info.content_hash)?;
        }
        if !self.is_whole(home, shared)? {
            let tree = &shared.info.content_hash;
            let what = format!("does not name all packs that the tree {tree} needs");
            return Err(wrong(second, &names::record(&shared.info), &what));
        }
        let record = Record::Kept(shared.info.clone());
        let mut replaced = None;
        let gives_way = match self.read_record(home, &record.key())? {
            None => true,
            // Somebody may have kept it anew while this came.
            Some(Record::Kept(known)) => {
                let is_same = known.content_hash == shared.info.content_hash;
                let is_newer = reason == Reason::Wanted && !is_same && known.created_at < shared.info.created_at;
                replaced = is_newer.then_some(known);
                is_newer
            }
            Some(_) => false,
        };
        if let Some(replaced) = replaced {
            self.check_writable(&record)?;
            self.audit_withdrawal(&replaced, Withdrawal::Replaced)?;
        }
        if gives_way {
            self.write_record(&work, &record)?;
        }
        Ok(bytes)
    }

    /// Whether everything that a tree needs is here. What is there is not read.
    fn is_whole(&self, home: &Home, shared: &Shared) -> Result<bool, StoreError> {
        let catalog = self.catalog(home)?;
        match Checker::new(&catalog)?.tree(&shared.info.content_hash) {
            Ok(size) => Ok(size == shared.info.size),
            Err(error) if error.is_damage() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Refuses what a quota has no room for; for a cache, others may go.
    fn have_room(&self, shared: &Shared, bytes: u64, interrupt: &Interrupt) -> Result<(), StoreError> {
        let owner = &shared.info.owner;
        if bytes == 0 {
            return Ok(());
        }
        match self.has_room(owner, bytes) {
            Err(StoreError::Refused(_) | StoreError::Quota { .. })
                if matches!(shared.info.what, What::Cache { .. }) =>
            {
                self.make_room(owner, bytes, interrupt)?;
                self.has_room(owner, bytes)
            }
            done => done,
        }
    }

    fn has_room(&self, owner: &Owner, bytes: u64) -> Result<(), StoreError> {
        self.room()?.admit(owner, bytes).map_err(StoreError::Refused)?;
        self.allowance(owner)?.check(bytes)
    }

    /// Tells the second level from time to time that something is still used: it keeps what is.
    fn refresh(&self, second: &Second, shared: &Shared) -> Result<(), StoreError> {
        let Some(keep) = second.keep else { return Ok(()) };
        let after = jiff::SignedDuration::try_from(refresh_after(keep)).unwrap_or(jiff::SignedDuration::MAX);
        if self.now().duration_since(shared.info.created_at) < after {
            return Ok(());
        }
        self.tell_again(&shared.info, after)
    }

    /// Has the second level told once more of something, unless it was lately: packs that it lacks are sent then.
    pub(in crate::artifact::store) fn tell_again(
        &self,
        info: &ArtifactInfo,
        after: jiff::SignedDuration,
    ) -> Result<(), StoreError> {
        if self.second.is_none() {
            return Ok(());
        }
        let (slug, record) = (info.owner.slug(), Record::Kept(info.clone()));
        let fact = format!("told:{slug}/{}", record.key());
        let told = self.index()?.fact(&fact)?.and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
        if told.is_some_and(|told| self.now().duration_since(told) < after) {
            return Ok(());
        }
        let session = Session::begin(&self.layout)?;
        queue::add(&self.layout, session.folder(), &slug, &record.key())?;
        self.index()?.set_fact(&fact, self.now().as_millisecond())
    }
}

/// Names of blobs that may be what is looked for, the newest first.
pub(super) fn candidates(second: &Second, way: &Search, interrupt: &Interrupt) -> Result<Vec<BlobName>, StoreError> {
    let prefix = match way {
        Search::Named(name) => return Ok(vec![name.clone()]),
        Search::Below { prefix, .. } => prefix,
    };
    let mut newest: Vec<Blob> = Vec::new();
    let mut take = |blob: Blob| {
        if way.may_be(&blob.name) {
            newest.push(blob);
            // Bounded, however many there are.
            if newest.len() > 8 * CANDIDATES {
                newest.sort_by_key(|blob| std::cmp::Reverse(blob.modified));
                newest.truncate(CANDIDATES);
            }
        }
    };
    second.note(second.level.list(prefix, &mut take, interrupt))?;
    newest.sort_by_key(|blob| std::cmp::Reverse(blob.modified));
    newest.truncate(CANDIDATES);
    Ok(newest.into_iter().map(|blob| blob.name).collect())
}

/// Has packs in files.
struct Receiver<'a> {
    second: &'a Second,
    slug: &'a str,
    key: Option<&'a StoreKey>,
    interrupt: &'a Interrupt,
}

impl Receiver<'_> {
    /// Has packs in files of the session, some at the same time. Each is found to be a pack of its name.
    fn receive(&self, session: &Session, packs: &[SharedPack]) -> Result<Vec<PathBuf>, StoreError> {
        let paths: Vec<PathBuf> = packs.iter().map(|pack| session.folder().join(pack.id.to_string())).collect();
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        let work = || loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let (Some(pack), Some(path)) = (packs.get(number), paths.get(number)) else { return };
            if let Err(error) = self.receive_one(pack, path) {
                next.store(packs.len(), Ordering::Relaxed);
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        };
        std::thread::scope(|threads| (0..AT_ONCE.min(packs.len())).for_each(|_| drop(threads.spawn(work))));
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(paths),
        }
    }

    fn receive_one(&self, pack: &SharedPack, path: &Path) -> Result<(), StoreError> {
        let fail = |e| StoreError::file("writing", path, e);
        let (level, name) = (&self.second.level, names::pack(self.slug, &pack.id));
        let mut file = File::options().write(true).create_new(true).open(path).map_err(fail)?;
        let length = match self.second.note(level.download(&name, &mut file, pack.bytes, self.interrupt)) {
            Ok(Some(length)) => length,
            Ok(None) => return self.unfit(pack, &name, "is not there, although a record names it"),
            // Longer than it may be, for one.
            Err(StoreError::Second(LevelError::Wrong { what, .. })) => return self.unfit(pack, &name, &what),
            Err(error) => return Err(error),
        };
        file.sync_all().map_err(fail)?;
        if length != pack.bytes {
            return self.unfit(pack, &name, "is not as long as its record says");
        }
        let opened = match Pack::open(path, self.key, |_, _| ()) {
            Ok(opened) if opened.id == pack.id => opened,
            Ok(_) | Err(StoreError::Damaged { .. }) => return self.unfit(pack, &name, "is not the pack of its name"),
            Err(error) => return Err(error),
        };
        // Before it has a name: what is kept later would count on its objects.
        if !verify::pack_is_sound(&opened, self.interrupt)? {
            return self.unfit(pack, &name, "is damaged");
        }
        Ok(())
    }

    /// Marks a pack that is none, so that whoever has it sends it again. It is not removed: what is wrong may be on the way here.
    fn unfit(&self, pack: &SharedPack, name: &BlobName, what: &str) -> Result<(), StoreError> {
        let mark = names::unfit_pack(self.slug, &pack.id);
        self.second.note(self.second.level.write(&mark, b"", self.interrupt))?;
        self.second.is_unfit_now(self.slug, pack.id);
        Err(wrong(self.second, name, what))
    }
}

pub(super) fn wrong(second: &Second, name: &BlobName, what: &str) -> StoreError {
    let level = second.level.title().to_owned();
    StoreError::Second(LevelError::Wrong { name: name.to_string(), level, what: what.to_owned() })
}
