//! Telling the second level of what is kept: the packs that it needs first, the record last. So what it names is always there.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::level::LevelError;
use super::presence::{COUNTS_FOR, Presence};
use super::queue::{self, Entry};
use super::shared::{MAX_SHARED, Shared, SharedPack};
use super::{AT_ONCE, Second, names};
use crate::artifact::Interrupt;
use crate::artifact::retention::Expiry;
use crate::artifact::store::collect::mark::Marks;
use crate::artifact::store::disk;
use crate::artifact::store::error::{ObjectTrouble, StoreError};
use crate::artifact::store::layout::Home;
use crate::artifact::store::opened::Store;
use crate::artifact::store::pack::reader::Pack;
use crate::artifact::store::put::Progress;
use crate::artifact::store::record::{ArtifactInfo, Record, RecordKey, What};
use crate::artifact::store::seal::StoreKey;
use crate::artifact::store::session::{self, Session};
use crate::artifact::store::verify::pack_is_sound;
use crate::pipeline::Owner;

/// Tries for one record, where packs go while it is being told of.
const ROUNDS: usize = 3;

/// Clocks of machines differ by so much at most.
const MAX_SKEW: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// When a damaged pack is looked at again: until then everything was read, and what is whole of it is in another.
const UNTIL_MENDED: Duration = Duration::from_secs(3600);

/// After so many failures, the rest waits for the next call.
const MAX_FAILURES: u32 = 3;

/// How the second level is told.
#[derive(Clone, Debug, Default)]
pub struct Offering {
    /// Not longer than until then. `None`: until nothing is left.
    pub until: Option<Instant>,
    /// Ends the work early.
    pub interrupt: Interrupt,
}

/// What the second level was told of.
#[derive(Debug, Default)]
pub struct Offered {
    /// Records.
    pub records: u64,
    /// Bytes of packs that were sent for them.
    pub bytes: u64,
    /// Records that are left, whenever they are due.
    pub waiting: u64,
    /// Why there are any left that are due. It is tried again with the next call.
    pub trouble: Option<StoreError>,
}

/// What came of one record.
enum Outcome {
    /// It is told, or need not be told any more.
    Done { bytes: u64 },
    /// It is told, but packs that it needs were about to be removed: to be looked at once more.
    LookAgain { bytes: u64 },
}

impl Store {
    /// Tells the second level of what was kept since. `None`: there is none, or another process is at it. `progress`: records that
    /// are told, and bytes of packs that are sent.
    ///
    /// # Errors
    /// A file of the store cannot be read or written. That the second level does not answer is told as
    /// [`Offered::trouble`].
    pub fn offer(&self, how: &Offering, progress: &Progress) -> Result<Option<Offered>, StoreError> {
        let Some(second) = &self.second else { return Ok(None) };
        disk::make_folder(&self.layout.queue())?;
        let Some(_sender) = session::try_alone(&self.layout.sender())? else { return Ok(None) };
        let mut offered = Offered::default();
        let mut failures = 0;
        for entry in queue::list(&self.layout)? {
            let is_over = how.until.is_some_and(|until| Instant::now() >= until);
            if entry.due > SystemTime::now() || is_over {
                continue;
            }
            let Some(entry) = entry.take()? else { continue };
            match self.offer_one(second, &entry, progress, &how.interrupt) {
                Ok(Outcome::Done { bytes }) => {
                    offered.records += 1;
                    offered.bytes += bytes;
                    progress.add_entry();
                    entry.done()?;
                }
                Ok(Outcome::LookAgain { bytes }) => {
                    offered.records += 1;
                    offered.bytes += bytes;
                    progress.add_entry();
                    entry.postpone(SystemTime::now() + COUNTS_FOR)?;
                }
                Err(StoreError::Interrupted) => return Err(StoreError::Interrupted),
                // Others may be damaged in the pack, not this: whoever reads all of it copies what is whole.
                Err(StoreError::Damaged { path, .. }) => {
                    let pack = path.file_name().unwrap_or_default().display();
                    tracing::warn!(%pack, "a damaged pack is not offered to other machines: everything will be read, and what is whole offered then");
                    self.want_scrub()?;
                    entry.postpone(SystemTime::now() + UNTIL_MENDED)?;
                }
                // Putting it again mends it, and offers it again.
                Err(error) if error.is_damage() => {
                    tracing::warn!(%error, "something that is damaged is not offered to other machines");
                    entry.done()?;
                }
                // What is wrong may be wrong with this one alone: it goes behind the others.
                Err(error) => {
                    entry.postpone(SystemTime::now())?;
                    offered.trouble.get_or_insert(error);
                    failures += 1;
                    if failures >= MAX_FAILURES {
                        break;
                    }
                }
            }
        }
        offered.waiting = queue::list(&self.layout)?.len() as u64;
        Ok(Some(offered))
    }

    /// Has the second level told of something that is kept here already.
    pub fn share(&self, owner: &Owner, key: &RecordKey) -> Result<(), StoreError> {
        if self.second.is_none() {
            return Ok(());
        }
        let session = Session::begin(&self.layout)?;
        queue::add(&self.layout, session.folder(), &owner.slug(), key)
    }

    /// Has a record offered. Before it is written: nobody would know of it afterwards.
    pub(in crate::artifact::store) fn will_offer(&self, session: &Session, record: &Record) -> Result<(), StoreError> {
        if self.second.is_none() || !matches!(record, Record::Kept(_)) {
            return Ok(());
        }
        queue::add(&self.layout, session.folder(), &record.owner().slug(), &record.key())
    }

    fn offer_one(
        &self,
        second: &Second,
        entry: &Entry,
        progress: &Progress,
        interrupt: &Interrupt,
    ) -> Result<Outcome, StoreError> {
        let home = Home::at(self.layout.owners().join(&entry.slug));
        let mut sent = 0;
        let mut relied_on_condemned = false;
        for _ in 0..ROUNDS {
            let Some(Record::Kept(info)) = self.read_record(&home, &entry.key)? else {
                return Ok(Outcome::Done { bytes: sent });
            };
            if is_over(&info, self.now()) || self.has_newer(second, &info, interrupt)? {
                return Ok(Outcome::Done { bytes: sent });
            }
            let look = self.index()?.verification(&entry.slug, &info.content_hash)?;
            if look.is_some_and(|look| look.result.is_damage()) {
                return Err(StoreError::Object { id: info.content_hash, how: ObjectTrouble::Damaged });
            }
            let presence = second.presence(&entry.slug, interrupt)?;
            let packs = self.packs_of(&home, &info, interrupt)?;
            relied_on_condemned |= packs.shared.iter().any(|pack| presence.is_condemned(&pack.id));
            let send = Sending { second, key: self.key.as_ref(), slug: &entry.slug, presence: &presence, interrupt };
            sent += send.all(&packs, progress)?;
            if presence.counts() {
                let shared = Shared { info, packs: packs.shared };
                let bytes = shared.to_bytes(self.key.as_ref())?;
                second.note(second.level.write(&names::record(&shared.info), &bytes, interrupt))?;
                if self.read_record(&home, &entry.key)?.is_none() {
                    // Somebody has withdrawn it meanwhile.
                    second.note(second.level.remove(&names::record(&shared.info), interrupt))?;
                }
                let again = relied_on_condemned;
                return Ok(if again { Outcome::LookAgain { bytes: sent } } else { Outcome::Done { bytes: sent } });
            }
            // It took so long that others may have removed what was there.
        }
        Err(StoreError::Second(LevelError::Slow {
            doing: "writing",
            name: entry.key.to_string(),
            level: second.level.title().to_owned(),
            seconds: (COUNTS_FOR * ROUNDS as u32).as_secs(),
        }))
    }

    /// Whether another machine has told of a newer cache of the same key.
    fn has_newer(&self, second: &Second, info: &ArtifactInfo, interrupt: &Interrupt) -> Result<bool, StoreError> {
        if !matches!(info.what, What::Cache { .. }) {
            return Ok(false);
        }
        let found = match second.note(second.level.read(&names::record(info), MAX_SHARED, interrupt)) {
            // What is no record gives way.
            Err(StoreError::Second(LevelError::Wrong { .. })) => None,
            found => found?,
        };
        let found = found.and_then(|bytes| Shared::from_bytes(&bytes, self.key.as_ref()));
        let Some(other) = found.map(|found| found.info) else { return Ok(false) };
        // The same tree is told of again: so it counts as used. One from far in the future would stay for ever.
        let latest = self.now().saturating_add(MAX_SKEW).unwrap_or(jiff::Timestamp::MAX);
        let is_other = other.content_hash != info.content_hash;
        Ok(is_other && (info.created_at..=latest).contains(&other.created_at))
    }

    /// Has the packs that something needs by another name as long as the session lasts, so that they can be sent while a
    /// collection goes on.
    fn packs_of(&self, home: &Home, info: &ArtifactInfo, interrupt: &Interrupt) -> Result<Linked, StoreError> {
        let _held = self.hold_still(interrupt)?;
        let session = Session::begin(&self.layout)?;
        let catalog = self.catalog(home)?;
        let mut marks = Marks::new(&catalog, interrupt)?;
        marks.whole_tree(&info.content_hash)?;
        let (mut shared, mut paths) = (Vec::new(), Vec::new());
        for pack in marks.packs() {
            let path = session.folder().join(pack.id.to_string());
            link(&pack.path, &path)?;
            shared.push(SharedPack { id: pack.id, bytes: pack.bytes });
            paths.push(path);
        }
        Ok(Linked { shared, paths, _session: session })
    }
}

/// Packs under names of their own.
struct Linked {
    shared: Vec<SharedPack>,
    paths: Vec<PathBuf>,
    _session: Session,
}

/// Another name for a file that is never changed, or a copy where the file system has no such thing.
fn link(from: &Path, to: &Path) -> Result<(), StoreError> {
    if std::fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    std::fs::copy(from, to).map(drop).map_err(|e| StoreError::file("copying", from, e))
}

/// Whether nobody would want it any more.
fn is_over(info: &ArtifactInfo, now: jiff::Timestamp) -> bool {
    matches!(info.expires, Expiry::At(at) if at <= now)
}

/// Packs on their way to the second level.
struct Sending<'a> {
    second: &'a Second,
    key: Option<&'a StoreKey>,
    slug: &'a str,
    presence: &'a Presence,
    interrupt: &'a Interrupt,
}

impl Sending<'_> {
    /// Sends the packs that are not there, some at the same time. Tells how many bytes they have.
    fn all(&self, packs: &Linked, progress: &Progress) -> Result<u64, StoreError> {
        let missing: Vec<(&SharedPack, &PathBuf)> =
            packs.shared.iter().zip(&packs.paths).filter(|(pack, _)| !self.presence.has(&pack.id)).collect();
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        let work = || {
            while let Some((pack, path)) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                match self.one(pack, path) {
                    Ok(()) => progress.add_bytes(pack.bytes),
                    Err(error) => {
                        next.store(missing.len(), Ordering::Relaxed);
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                }
            }
        };
        std::thread::scope(|threads| (0..AT_ONCE.min(missing.len())).for_each(|_| drop(threads.spawn(work))));
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(missing.iter().map(|(pack, _)| pack.bytes).sum()),
        }
    }

    /// Sends a pack. All of it was read before: what the disk made of it since it was written must not become what others have.
    fn one(&self, pack: &SharedPack, path: &Path) -> Result<(), StoreError> {
        let Self { second, slug, interrupt, .. } = *self;
        let opened = Pack::open(path, self.key, |_, _| {})?;
        if opened.id != pack.id || !pack_is_sound(&opened, interrupt)? {
            return Err(StoreError::Damaged { what: "a pack", path: path.to_owned() });
        }
        if self.presence.is_condemned(&pack.id) {
            second.note(second.level.remove(&names::condemned_pack(slug, &pack.id), interrupt))?;
        }
        second.note(second.level.upload(&names::pack(slug, &pack.id), path, interrupt))?;
        if self.presence.is_unfit(&pack.id) {
            second.note(second.level.remove(&names::unfit_pack(slug, &pack.id), interrupt))?;
        }
        second.has_now(slug, pack.id);
        Ok(())
    }
}

/// Between two refreshments of what is used, of the time that it is kept.
pub(super) fn refresh_after(keep: Duration) -> Duration {
    keep / 2
}
