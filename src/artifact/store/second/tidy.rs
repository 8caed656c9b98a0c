//! Removing what nobody needs any more from the second level, beside other machines that come and go.
//!
//! One machine at a time, twice a day: whoever begins writes `tidy/begun`, and for half a day nobody else begins. That is courtesy: what
//! follows also holds where two do.
//!
//! A pack that no record names is marked first. It goes when the mark is older than [`CONDEMNED_FOR`] and still no record names it. Whoever
//! tells of something counts only on packs that were there without a mark at most [`super::presence::COUNTS_FOR`] before he writes
//! the record, which is much less: so a record that counts on the pack was written before the second look, and is seen by it. Whoever needs a pack
//! that is marked sends it again, and looks once more later.
//!
//! Times are those of the second level, so no clock of a machine has a say in it.
//!
//! The audit of the machine that does it says of each record that it goes, and why.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::level::{Blob, BlobName, LevelError};
use super::shared::{MAX_SHARED, Shared};
use super::{AT_ONCE, Second, names};
use crate::artifact::retention::{AuditEvent, Expiry, Lapse, Withdrawn};
use crate::artifact::store::audit::gone;
use crate::artifact::store::disk;
use crate::artifact::store::error::StoreError;
use crate::artifact::store::opened::Store;
use crate::artifact::store::pack::PackId;
use crate::artifact::{Interrupt, Moment};

/// So long nobody else begins.
const EVERY: Duration = Duration::from_secs(12 * 3600);

/// A mark has to be so old.
const CONDEMNED_FOR: Duration = Duration::from_secs(3600);

/// A pack that nobody names is not marked before: its record is still to come.
const YOUNG: Duration = Duration::from_secs(24 * 3600);

/// What was seen of an owner counts for so long.
const COUNTS_FOR: Duration = Duration::from_secs(10 * 60);

/// What was removed from the second level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Things that were kept.
    pub records: u64,
    /// Packs.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What the second level has of an owner.
#[derive(Default)]
struct Seen {
    records: Vec<Blob>,
    packs: HashMap<PackId, Blob>,
    marks: HashMap<PackId, Blob>,
    unfit: HashMap<PackId, Blob>,
}

/// A record whose time is over.
struct Over {
    name: BlobName,
    gone: Withdrawn,
    why: Lapse,
}

/// What the records of an owner say.
#[derive(Default)]
struct Needed {
    packs: HashSet<PackId>,
    /// Records whose time is over.
    over: Vec<Over>,
    /// There are records that cannot be read: nobody knows what they need.
    is_blind: bool,
}

impl Store {
    /// Removes what nobody needs any more from the second level. `None`: there is none, or another machine does it, or did lately.
    pub fn tidy_second(&self, interrupt: &Interrupt) -> Result<Option<Tidied>, StoreError> {
        let Some(second) = self.second.as_ref().filter(|second| !second.is_away()) else { return Ok(None) };
        let Some(now) = self.begin_to_tidy(second, interrupt)? else { return Ok(None) };
        let mut slugs = BTreeSet::new();
        let mut take = |blob: Blob| slugs.extend(names::split(&blob.name).map(|(slug, _)| slug.to_owned()));
        second.note(second.level.list("", &mut take, interrupt))?;
        let mut tidied = Tidied::default();
        for slug in slugs {
            match self.tidy_owner(second, &slug, now, &mut tidied, interrupt) {
                // Of one owner alone: the others' turn comes.
                Err(StoreError::Second(error)) if !second.is_away() => {
                    let error = crate::artifact::in_full(&error);
                    tracing::warn!(
                        owner = slug,
                        error,
                        "what nobody needs of an owner stays in the shared store for now"
                    );
                }
                done => done?,
            }
        }
        Ok(Some(tidied))
    }

    /// The time there. `None`: it is somebody else's turn.
    fn begin_to_tidy(&self, second: &Second, interrupt: &Interrupt) -> Result<Option<jiff::Timestamp>, StoreError> {
        let level = &second.level;
        let (begun, mine) = (names::begun(), names::clock(&self.name_there()?));
        second.note(level.write(&mine, b"", interrupt))?;
        let (mut now, mut last) = (None, None);
        let mut take = |blob: Blob| {
            if blob.name == mine {
                now = Some(blob.modified);
            } else if blob.name == begun {
                last = Some(blob.modified);
            }
        };
        second.note(level.list(names::TIDY, &mut take, interrupt))?;
        second.note(level.remove(&mine, interrupt))?;
        let Some(now) = now.filter(|now| last.is_none_or(|last| is_older(last, *now, EVERY))) else { return Ok(None) };
        second.note(level.write(&begun, b"", interrupt))?;
        Ok(Some(now))
    }

    /// What this store is called there.
    fn name_there(&self) -> Result<String, StoreError> {
        let path = self.layout.second().join("agent");
        let known = disk::read_small(&path, 64)?.and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some(known) = known.filter(|name| name.len() == 32 && name.bytes().all(|b| b.is_ascii_hexdigit())) {
            return Ok(known);
        }
        let name = uuid::Uuid::new_v4().simple().to_string();
        disk::make_folder(&self.layout.second())?;
        std::fs::write(&path, &name).map_err(|e| StoreError::file("writing", &path, e))?;
        Ok(name)
    }

    fn tidy_owner(
        &self,
        second: &Second,
        slug: &str,
        now: jiff::Timestamp,
        tidied: &mut Tidied,
        interrupt: &Interrupt,
    ) -> Result<(), StoreError> {
        let looked = Moment::now();
        let seen = see(second, slug, interrupt)?;
        let needed = self.needed(second, &seen.records, now, interrupt)?;
        if needed.is_blind {
            tracing::warn!(
                owner = slug,
                "there are records in the shared store that this machine cannot read: no pack of their owner goes"
            );
        }
        let remove = |name: &BlobName| second.note(second.level.remove(name, interrupt));
        for Over { name, gone, why } in needed.over {
            // First, so that nothing goes that the audit does not tell of.
            self.audit(&[AuditEvent::lapse(gone, second.level.title(), why, self.now())])?;
            remove(&name)?;
            tidied.records += 1;
        }
        for (id, mark) in &seen.marks {
            let is_needed = needed.packs.contains(id);
            let is_due = is_older(mark.modified, now, CONDEMNED_FOR) && !needed.is_blind;
            if !is_needed && is_due && looked.elapsed() < COUNTS_FOR {
                if let Some(pack) = seen.packs.get(id) {
                    remove(&pack.name)?;
                    tidied.packs += 1;
                    tidied.bytes += pack.bytes;
                }
                if let Some(unfit) = seen.unfit.get(id) {
                    remove(&unfit.name)?;
                }
                second.is_gone(slug, id);
            }
            // Where time has run out the mark stays, for the next look.
            if is_needed || (is_due && looked.elapsed() < COUNTS_FOR) {
                remove(&mark.name)?;
            }
        }
        let unneeded = seen.packs.iter().filter(|(id, pack)| {
            !needed.packs.contains(*id) && !seen.marks.contains_key(*id) && is_older(pack.modified, now, YOUNG)
        });
        for (id, _) in unneeded.filter(|_| !needed.is_blind) {
            second.note(second.level.write(&names::condemned_pack(slug, id), b"", interrupt))?;
        }
        Ok(())
    }

    /// Reads all records of an owner, some at the same time.
    fn needed(
        &self,
        second: &Second,
        records: &[Blob],
        now: jiff::Timestamp,
        interrupt: &Interrupt,
    ) -> Result<Needed, StoreError> {
        let next = AtomicUsize::new(0);
        let needed = Mutex::new(Needed::default());
        let failure = Mutex::new(None);
        let work = || {
            while let Some(blob) = records.get(next.fetch_add(1, Ordering::Relaxed)) {
                match second.note(second.level.read(&blob.name, MAX_SHARED, interrupt)) {
                    Err(StoreError::Second(LevelError::Wrong { .. })) => {
                        needed.lock().unwrap_or_else(PoisonError::into_inner).is_blind = true;
                    }
                    Ok(bytes) => {
                        let mut needed = needed.lock().unwrap_or_else(PoisonError::into_inner);
                        needed.take(
                            blob,
                            bytes,
                            |bytes| Shared::from_bytes(bytes, self.key.as_ref()),
                            second.keep,
                            now,
                        );
                    }
                    Err(error) => {
                        next.store(records.len(), Ordering::Relaxed);
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                }
            }
        };
        std::thread::scope(|threads| (0..AT_ONCE.min(records.len())).for_each(|_| drop(threads.spawn(work))));
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(needed.into_inner().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

impl Needed {
    fn take(
        &mut self,
        blob: &Blob,
        bytes: Option<Vec<u8>>,
        read: impl FnOnce(&[u8]) -> Option<Shared>,
        keep: Option<Duration>,
        now: jiff::Timestamp,
    ) {
        // Gone since.
        let Some(bytes) = bytes else { return };
        match read(&bytes) {
            Some(shared) => {
                let lapse = match shared.info.expires {
                    Expiry::Never => None,
                    Expiry::At(at) => (at <= now).then_some(Lapse::Expired { at }),
                    Expiry::None => {
                        keep.filter(|keep| is_older(blob.modified, now, *keep)).map(|keep| Lapse::Unused { keep })
                    }
                };
                match lapse {
                    Some(why) => {
                        // Where it lies, whatever it says itself.
                        let slug = names::split(&blob.name).map_or("", |(slug, _)| slug);
                        self.over.push(Over { name: blob.name.clone(), gone: gone(slug, &shared.info), why });
                    }
                    None => self.packs.extend(shared.packs.iter().map(|pack| pack.id)),
                }
            }
            // Of somebody with another key or a newer version, or damaged: it is not ours to remove.
            None => self.is_blind = true,
        }
    }
}

/// Everything that there is of an owner.
fn see(second: &Second, slug: &str, interrupt: &Interrupt) -> Result<Seen, StoreError> {
    let mut seen = Seen::default();
    let mut take = |blob: Blob| {
        let Some((_, rest)) = names::split(&blob.name) else { return };
        let id = names::id_of(&blob.name);
        match (rest.split_once('/').map(|(kind, _)| kind), id) {
            (Some("records"), _) => seen.records.push(blob),
            (Some("packs"), Some(id)) => drop(seen.packs.insert(id, blob)),
            (Some("condemned"), Some(id)) => drop(seen.marks.insert(id, blob)),
            (Some("unfit"), Some(id)) => drop(seen.unfit.insert(id, blob)),
            _ => {}
        }
    };
    second.note(second.level.list(&format!("{slug}/"), &mut take, interrupt))?;
    Ok(seen)
}

fn is_older(then: jiff::Timestamp, now: jiff::Timestamp, age: Duration) -> bool {
    Duration::try_from(now.duration_since(then)).is_ok_and(|passed| passed > age)
}
