//! What those who write may write, so that several at once keep within the quotas together.
//!
//! Whoever writes promises, in a file of its session, a bit more than it needs, and asks again as it grows. To look at what all have and
//! have promised and to make a promise of one's own is one step, under the lock `quota`; so is counting what an owner has. A
//! promise ends with its session.
//!
//! Whoever finds no room only because of what others have promised waits for them: they may need less. Where all others wait, too,
//! the last of them is refused, so that the others go on.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::disk;
use super::error::StoreError;
use super::layout::Home;
use super::opened::{Store, slug_of};
use super::pack::PACK_SIZE;
use super::restore::owners_of_project;
use super::session::{self, Session};
use crate::artifact::Interrupt;
use crate::pipeline::Owner;

/// In a session's folder: the owner's folder, and how many bytes are promised to it.
const FILE: &str = "promised";

/// Bytes of such a file, at most.
const MAX_FILE: u64 = 1 << 10;

/// What is promised besides what is needed, at most ...
const AHEAD: u64 = 64 << 20;

/// ... and of what there is: one in so many, so that what one does not need is there for others.
const SHARE: u64 = 8;

/// How long to wait for others.
const WAIT: Duration = Duration::from_secs(60);

/// Between two looks at what they do.
const STEP: Duration = Duration::from_millis(20);

/// Bytes of a pack that is full, at most: with what is written last, and its end.
const FULL: u64 = PACK_SIZE + (PACK_SIZE >> 3);

/// What a session has promised.
struct Promise {
    folder: PathBuf,
    slug: String,
    bytes: u64,
    waits: bool,
}

/// How much may still be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    pub(super) bytes: u64,
    /// Whose quota it is, and what sets it.
    quota: u64,
    whose: &'static str,
    setting: &'static str,
}

impl Allowance {
    /// # Errors
    /// More is needed.
    pub(super) fn check(self, needed: u64) -> Result<(), StoreError> {
        if needed > self.bytes { Err(self.refusal(needed)) } else { Ok(()) }
    }

    fn refusal(self, needed: u64) -> StoreError {
        let Self { quota, whose, setting, .. } = self;
        StoreError::Quota { whose, quota, setting, needed }
    }
}

/// What happens to what there is no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beyond {
    /// It is refused at once.
    Refused,
    /// It is only counted, so that whoever can make room knows how much is needed; refused where no quota would hold it.
    Counted,
}

/// What came of asking for more.
enum Asked {
    Promised,
    Denied(Allowance),
    Wait,
}

/// Whether a piece may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Write,
    /// Not written, and more may be counted.
    Count,
}

/// What one session may write for one owner.
pub(super) struct Budget<'a> {
    store: &'a Store,
    owner: &'a Owner,
    home: &'a Home,
    /// Its session's folder.
    session: PathBuf,
    beyond: Beyond,
    interrupt: Interrupt,
    /// Raised when something else of the work has failed.
    ended: Interrupt,
    /// All that may have been written when it has to be asked again.
    granted: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What counts as the owner's already.
    settled: u64,
    /// Packs that are full and do not count yet.
    full: u64,
    denied: Option<Allowance>,
}

impl<'a> Budget<'a> {
    pub(super) fn new(
        store: &'a Store,
        owner: &'a Owner,
        home: &'a Home,
        session: &Session,
        beyond: Beyond,
        interrupt: &Interrupt,
    ) -> Self {
        let (session, interrupt) = (session.folder().to_owned(), interrupt.clone());
        let (ended, granted, state) = (Interrupt::default(), AtomicU64::new(0), Mutex::default());
        Self { store, owner, home, session, beyond, interrupt, ended, granted, state }
    }

    /// Nobody waits any more when `ended` is raised.
    pub(super) fn wait_until(&mut self, ended: &Interrupt) {
        self.ended = ended.clone();
    }

    /// Whether so many bytes may have been written in all, the last `piece` of them next.
    ///
    /// # Errors
    /// There is no room, on the disk or within a quota; see [`Beyond`].
    pub(super) fn covers(&self, written: u64, piece: u64) -> Result<Answer, StoreError> {
        if written <= self.granted.load(Ordering::Acquire) {
            return Ok(Answer::Write);
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have asked for it meanwhile.
        if state.denied.is_none()
            && (written <= self.granted.load(Ordering::Acquire) || self.ask(&mut state, written, piece)?)
        {
            return Ok(Answer::Write);
        }
        match state.denied {
            Some(denied) if self.beyond == Beyond::Refused || written > denied.quota => Err(denied.refusal(written)),
            _ => Ok(Answer::Count),
        }
    }

    /// # Errors
    /// More was to be written, `written` bytes in all, than there was room for.
    pub(super) fn check(&self, written: u64) -> Result<(), StoreError> {
        let denied = self.state.lock().unwrap_or_else(PoisonError::into_inner).denied;
        denied.map_or(Ok(()), |denied| Err(denied.refusal(written)))
    }

    /// Promises what is needed. False: it is denied.
    fn ask(&self, state: &mut State, written: u64, piece: u64) -> Result<bool, StoreError> {
        let needed = written.saturating_sub(state.settled);
        let mut waited = Duration::ZERO;
        loop {
            match self.try_promise(state, needed, needed.saturating_sub(piece), waited >= WAIT)? {
                Asked::Promised => return Ok(true),
                Asked::Denied(denied) => {
                    state.denied = Some(denied);
                    self.promise(self.owed(state), false)?;
                    return Ok(false);
                }
                Asked::Wait if self.interrupt.is_raised() || self.ended.is_raised() => {
                    return Err(StoreError::Interrupted);
                }
                Asked::Wait => std::thread::sleep(STEP),
            }
            waited += STEP;
        }
    }

    fn try_promise(&self, state: &State, needed: u64, on_disk: u64, is_late: bool) -> Result<Asked, StoreError> {
        let _quota = self.store.quota_lock()?;
        let others = self.store.promises(Some(&self.session))?;
        let allowed = self.store.allowed(self.owner, &others, on_disk)?;
        if needed <= allowed.bytes {
            let ahead = ((allowed.bytes - needed) / SHARE).min(AHEAD);
            self.promise(needed + ahead, false)?;
            self.granted.store(state.settled + needed + ahead, Ordering::Release);
            return Ok(Asked::Promised);
        }
        let alone = self.store.allowed(self.owner, &[], on_disk)?;
        let is_last = others.iter().all(|other| other.waits && other.folder < self.session);
        if needed > alone.bytes || is_last || is_late {
            return Ok(Asked::Denied(allowed));
        }
        self.promise(self.owed(state), true)?;
        Ok(Asked::Wait)
    }

    fn promise(&self, bytes: u64, waits: bool) -> Result<(), StoreError> {
        let path = self.session.join(FILE);
        let waits = if waits { " waits" } else { "" };
        let text = format!("{} {bytes}{waits}\n", slug_of(self.home));
        std::fs::write(&path, text).map_err(|e| StoreError::file("writing", &path, e))
    }

    /// Has `bytes` of what was written count as the owner's, as soon as `moved` has them in their place.
    pub(super) fn settle(&self, bytes: u64, moved: impl FnOnce() -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let _quota = self.store.quota_lock()?;
        moved()?;
        state.settled += bytes;
        state.full = state.full.saturating_sub(1);
        // Headers and ends of packs were not asked for.
        self.granted.fetch_max(state.settled, Ordering::AcqRel);
        self.promise(self.owed(&state), false)?;
        self.store.count(self.home)
    }

    /// A pack is full: it will come to its place.
    pub(super) fn note_full(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).full += 1;
    }

    /// What may come to its place yet: where nothing more is written, only packs that are full.
    fn owed(&self, state: &State) -> u64 {
        match state.denied {
            Some(_) => state.full * FULL,
            None => self.granted.load(Ordering::Acquire).saturating_sub(state.settled),
        }
    }
}

impl Drop for Budget<'_> {
    fn drop(&mut self) {
        // Best effort: it goes with the session.
        let _ = std::fs::remove_file(self.session.join(FILE));
    }
}

impl Store {
    fn quota_lock(&self) -> Result<session::Held, StoreError> {
        session::quota(&self.layout)
    }

    /// Notes how many bytes the packs of an owner have.
    pub(super) fn recount(&self, home: &Home) -> Result<(), StoreError> {
        let _quota = self.quota_lock()?;
        self.count(home)
    }

    fn count(&self, home: &Home) -> Result<(), StoreError> {
        let bytes = self.catalog_bytes(home)?;
        self.index()?.set_usage(&slug_of(home), bytes)
    }

    /// How much an owner may still write, leaving out what others are writing: they may need less, and are waited for.
    pub(super) fn allowance(&self, owner: &Owner) -> Result<Allowance, StoreError> {
        let _quota = self.quota_lock()?;
        self.count(&self.home(owner))?;
        self.allowed(owner, &[], 0)
    }

    /// How much an owner may still write besides what others are writing.
    pub(super) fn allowance_beside_others(&self, owner: &Owner) -> Result<Allowance, StoreError> {
        let _quota = self.quota_lock()?;
        self.allowed(owner, &self.promises(None)?, 0)
    }

    /// How much an owner may still write besides what has been promised to others, for whoever has written `on_disk` bytes that do not
    /// count yet.
    fn allowed(&self, owner: &Owner, others: &[Promise], on_disk: u64) -> Result<Allowance, StoreError> {
        let slug = owner.slug();
        let (free, _) = disk::disk_bytes(self.layout.root())?;
        let free = free.saturating_sub(self.limits.reserve_bytes);
        if free == 0 {
            return Err(StoreError::NoSpace { path: self.layout.root().to_owned() });
        }
        let project: Vec<String> = owners_of_project(owner).map(|owner| owner.slug()).collect();
        let (mut in_store, mut in_project, mut own_bytes) = (self.index()?.usage(None)?, 0, 0);
        for other in &project {
            in_project += self.index()?.usage(Some(other))?;
        }
        own_bytes += self.index()?.usage(Some(&slug))?;
        for Promise { slug: to, bytes, .. } in others {
            in_store += bytes;
            in_project += if project.contains(to) { *bytes } else { 0 };
            own_bytes += if *to == slug { *bytes } else { 0 };
        }
        let allowed = |whose, setting, quota: u64, used| {
            let bytes = quota.saturating_sub(used);
            Allowance { bytes, quota, whose, setting }
        };
        let (whose, setting) = match self.limits.is_bound_by_project(owner) {
            true => ("the forks' half of the project's", "store.max_project_size"),
            false => ("the owner's", "store.max_owner_size"),
        };
        let disk = allowed("the disk's", "store.reserve (to less)", free.saturating_add(on_disk), 0);
        let limits = [
            allowed("the store's", "store.max_size", self.limits.total_bytes, in_store),
            allowed("the project's", "store.max_project_size", self.limits.project_bytes, in_project),
            allowed(whose, setting, self.limits.for_owner(owner), own_bytes),
            disk,
        ];
        Ok(limits.into_iter().min_by_key(|allowance| allowance.bytes).unwrap_or(disk))
    }

    /// What sessions besides `own` have promised. Those of processes that are gone promise nothing.
    fn promises(&self, own: Option<&Path>) -> Result<Vec<Promise>, StoreError> {
        let mut promises = Vec::new();
        for folder in disk::names(&self.layout.sessions())? {
            if own == Some(folder.as_path()) {
                continue;
            }
            let Some(bytes) = disk::read_small(&folder.join(FILE), MAX_FILE)? else { continue };
            let text = String::from_utf8(bytes).unwrap_or_default();
            let mut words = text.split_whitespace();
            let (slug, bytes, waits) = (words.next(), words.next(), words.next());
            if let (Some(slug), Some(Ok(bytes))) = (slug, bytes.map(str::parse))
                && session::is_alive(&folder)?
            {
                promises.push(Promise { slug: slug.to_owned(), bytes, waits: waits.is_some(), folder });
            }
        }
        Ok(promises)
    }
}
