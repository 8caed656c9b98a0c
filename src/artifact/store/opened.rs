//! The store itself: opening it, and what every piece of work with it begins with.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::ballast;
use super::catalog::Catalog;
use super::disk;
use super::error::StoreError;
use super::format;
use super::index::{InUse, Index};
use super::layout::{Home, Layout};
use super::record::{self, MAX_RECORD, Record, RecordKey};
use super::references::Serving;
use super::seal::StoreKey;
use super::second::Second;
use super::session::{self, Held, Session};
use crate::artifact::Interrupt;
use crate::artifact::retention::{ClockRecord, Expiry};
use crate::pipeline::{Owner, Trust};

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>;

/// How much a store may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes for one project, of all its owners together.
    pub project_bytes: u64,
    /// Bytes for one owner.
    pub owner_bytes: u64,
    /// Bytes of the disk that are left alone.
    pub reserve_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { total_bytes: 100 << 30, project_bytes: 48 << 30, owner_bytes: 32 << 30, reserve_bytes: 1 << 30 }
    }
}

impl Limits {
    /// Bytes for this owner. Forks get half of their project's at most, so that they cannot take all its room.
    pub(super) fn for_owner(&self, owner: &Owner) -> u64 {
        if self.is_bound_by_project(owner) { self.project_bytes / 2 } else { self.owner_bytes }
    }

    /// Whether it is the project's limit that sets this owner's.
    pub(super) fn is_bound_by_project(&self, owner: &Owner) -> bool {
        owner.trust == Trust::Fork && self.project_bytes / 2 < self.owner_bytes
    }
}

/// A store on this machine's disk. Any number of threads and processes may work with it at the same time.
pub struct Store {
    pub(super) layout: Layout,
    pub(super) limits: Limits,
    pub(super) clock: Clock,
    pub(super) key: Option<StoreKey>,
    pub(super) second: Option<Second>,
    pub(super) serving: Option<Serving>,
    /// Held while a job's references are read and written.
    pub(super) holding: Mutex<()>,
    index: Mutex<Index>,
    time: Mutex<Option<ClockRecord>>,
}

/// A piece of work: nothing is removed while it lasts, and what it writes without a name goes with it.
pub(super) struct Work {
    pub(super) session: Session,
    _held: Held,
}

impl Work {
    /// A session that goes on so that nothing is removed.
    pub(super) fn of(session: Session, held: Held) -> Self {
        Self { session, _held: held }
    }
}

impl Store {
    /// Opens the store in the folder `root`, made where it is missing. What processes that are gone left half done is removed.
    ///
    /// # Errors
    /// The folder cannot be used, or a newer version wrote it ([`StoreError::Newer`]).
    pub fn open(root: &Path, limits: Limits, key: Option<StoreKey>, clock: Clock) -> Result<Self, StoreError> {
        let layout = Layout::new(root);
        disk::make_folder(root)?;
        format::check(&layout)?;
        for folder in [layout.sessions(), layout.damaged(), layout.audit(), layout.owners()] {
            disk::make_folder(&folder)?;
        }
        let left_behind = session::sweep(&layout)?;
        ballast::lay(&layout);
        let (index, is_new) = Index::open(&layout.index())?;
        let store = Self {
            layout,
            limits,
            clock,
            key,
            second: None,
            serving: None,
            holding: Mutex::default(),
            index: Mutex::new(index),
            time: Mutex::new(None),
        };
        store.clock_record()?;
        match store.bring_up(left_behind, is_new) {
            Err(StoreError::Index { .. }) if store.index()?.is_damaged() => store.heal()?,
            done => done?,
        }
        Ok(store)
    }

    /// Sees to it that the index says what the files say, where it may not.
    fn bring_up(&self, left_behind: bool, is_new: bool) -> Result<(), StoreError> {
        // After a start of the machine, the last commits before it may be gone.
        let boot = boot_number();
        let known = self.index()?.fact("boot")?;
        // It is noted when all is there: whoever made it anew may not have come to that.
        let is_new = is_new || known.is_none();
        if left_behind || is_new || known != Some(boot) {
            self.reconcile(is_new)?;
            self.index()?.set_fact("boot", boot)?;
        }
        Ok(())
    }

    /// Makes the index anew where it was found to be damaged, and sees to it that it is filled where somebody has.
    pub(super) fn heal(&self) -> Result<(), StoreError> {
        self.come_to_disk()?;
        let (was_damaged, is_other) = {
            let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
            let was_damaged = index.mend()?;
            (was_damaged, !InUse::begin(index)?.is_filled())
        };
        if !was_damaged && !is_other {
            return Ok(());
        }
        // Until it is filled, every thread that comes here fills it: none goes on with half of it.
        let which = self.index()?.which();
        self.bring_up(was_damaged, was_damaged)?;
        self.index()?.was_filled(which);
        Ok(())
    }

    /// Takes the index that lies on the disk again, where the disk had no room to open it before.
    fn come_to_disk(&self) -> Result<(), StoreError> {
        let is_new = {
            let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
            if !index.is_in_memory() {
                return Ok(());
            }
            let (on_disk, is_new) = Index::open(&self.layout.index())?;
            if on_disk.is_in_memory() {
                return Ok(());
            }
            index.give_way(on_disk);
            is_new
        };
        let which = self.index()?.which();
        self.bring_up(true, is_new)?;
        self.index()?.was_filled(which);
        Ok(())
    }

    /// The index that lies there now. Never kept across work that takes long.
    ///
    /// # Errors
    /// Another was put in its place and cannot be opened, or somebody is alone with it for long.
    pub(super) fn index(&self) -> Result<InUse<'_>, StoreError> {
        InUse::begin(self.index.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The time, never before what was recorded: a clock that was set back makes nothing younger.
    pub(super) fn now(&self) -> jiff::Timestamp {
        let wall = (self.clock)();
        let record = *self.time.lock().unwrap_or_else(PoisonError::into_inner);
        record.map_or(wall, |record| record.stamp(wall))
    }

    /// Until so long from now, by the clock that ages are counted by.
    pub fn expiry_after(&self, time: std::time::Duration) -> Expiry {
        Expiry::At(self.now().checked_add(time).unwrap_or(jiff::Timestamp::MAX))
    }

    /// What the last cycle recorded of the time.
    pub(super) fn clock_record(&self) -> Result<Option<ClockRecord>, StoreError> {
        let bytes = disk::read_small(&self.layout.time(), MAX_RECORD)?;
        let record = bytes.and_then(|bytes| record::from_bytes(&bytes));
        *self.time.lock().unwrap_or_else(PoisonError::into_inner) = record;
        Ok(record)
    }

    /// Records the time, for good.
    pub(super) fn set_clock_record(&self, work: &Work, time: ClockRecord) -> Result<(), StoreError> {
        let path = self.layout.time();
        let bytes = record::to_bytes(&time).map_err(|e| unwritable(&path, e))?;
        disk::replace(work.session.folder(), &path, &bytes)?;
        *self.time.lock().unwrap_or_else(PoisonError::into_inner) = Some(time);
        Ok(())
    }

    /// Begins to work.
    pub(super) fn begin(&self, interrupt: &Interrupt) -> Result<Work, StoreError> {
        let held = self.hold_still(interrupt)?;
        Ok(Work { session: Session::begin(&self.layout)?, _held: held })
    }

    /// Begins to give something back, which needs a little room, too: on a disk that is full it has what is put by.
    pub(super) fn begin_giving_back(&self) -> Result<Work, StoreError> {
        ballast::give_up_if_needed(&self.layout);
        self.begin(&Interrupt::default())
    }

    /// Begins to read: nothing is removed while the lock is held. Needs no room on the disk.
    pub(super) fn hold_still(&self, interrupt: &Interrupt) -> Result<Held, StoreError> {
        self.heal()?;
        session::share(&self.layout, interrupt)
    }

    /// The folder of an owner.
    pub(super) fn home(&self, owner: &Owner) -> Home {
        self.layout.home(owner)
    }

    /// What an owner has.
    pub(super) fn catalog(&self, home: &Home) -> Result<Catalog, StoreError> {
        Catalog::load(home.clone(), self.key.clone())
    }

    /// Writes a record, for good, and tells the index.
    pub(super) fn write_record(&self, work: &Work, record: &Record) -> Result<(), StoreError> {
        let bytes = self.check_writable(record)?;
        let home = self.home(record.owner());
        let owner_file = home.owner_file();
        if self.owner_of(&home)?.is_none() {
            let text = serde_json::to_vec(record.owner()).map_err(|e| unwritable(&owner_file, e))?;
            disk::make_folder(home.path())?;
            disk::replace(work.session.folder(), &owner_file, &text)?;
        }
        let path = self.record_path(&home, &record.key());
        disk::replace(work.session.folder(), &path, &bytes)?;
        let told = self.index().and_then(|index| index.add(record, self.now()));
        if told.is_err() {
            // As after the end of one who could not tell it.
            session::leave_behind(&self.layout);
        }
        told
    }

    /// Whether a record can be written, as far as that can be told before: what it would make go is told of first. Its bytes.
    pub(super) fn check_writable(&self, record: &Record) -> Result<Vec<u8>, StoreError> {
        if self.index()?.is_in_memory() {
            return Err(StoreError::NoSpace { path: self.layout.root().to_owned() });
        }
        let path = self.record_path(&self.home(record.owner()), &record.key());
        let bytes = record::to_bytes(record).map_err(|e| unwritable(&path, e))?;
        if bytes.len() as u64 > MAX_RECORD {
            return Err(StoreError::Wordy { bytes: bytes.len(), limit: MAX_RECORD });
        }
        Ok(bytes)
    }

    pub(super) fn record_path(&self, home: &Home, key: &RecordKey) -> std::path::PathBuf {
        disk::fan(&home.records(), &key.file_name())
    }

    /// Reads a record. `None`: there is none. One that is damaged is put aside, and written again from the index where that has it.
    pub(super) fn read_record(&self, home: &Home, key: &RecordKey) -> Result<Option<Record>, StoreError> {
        let path = self.record_path(home, key);
        let Some(bytes) = disk::read_small(&path, MAX_RECORD)? else { return Ok(None) };
        match self.sound_record(home, &path, &bytes) {
            Some(record) => Ok(Some(record)),
            None => self.mend_record(home, key),
        }
    }

    /// The record of a file's bytes. `None`: it is damaged, or somebody else's.
    pub(super) fn sound_record(&self, home: &Home, path: &Path, bytes: &[u8]) -> Option<Record> {
        let record = record::from_bytes::<Record>(bytes)?;
        let is_in_place = self.home(record.owner()) == *home && self.record_path(home, &record.key()) == path;
        is_in_place.then_some(record)
    }

    /// Puts a damaged record aside and writes it again, where the index has it.
    pub(super) fn mend_record(&self, home: &Home, key: &RecordKey) -> Result<Option<Record>, StoreError> {
        let path = self.record_path(home, key);
        let slug = slug_of(home);
        self.put_aside_as(&path, &format!("{slug}.{}", key.file_name()))?;
        let text = self.index()?.records()?.remove(&(slug, key.to_string()));
        let record = text.and_then(|text| serde_json::from_str::<Record>(&text).ok());
        let Some(record) = record.filter(|record| record.key() == *key && self.home(record.owner()) == *home) else {
            tracing::warn!(path = %path.display(), "a record of the store is damaged, and the index does not have it");
            return Ok(None);
        };
        let session = Session::begin(&self.layout)?;
        let bytes = record::to_bytes(&record).map_err(|e| unwritable(&path, e))?;
        disk::replace(session.folder(), &path, &bytes)?;
        tracing::warn!(path = %path.display(), "a record of the store was damaged, and was written again from the index");
        Ok(Some(record))
    }

    /// Moves what is damaged to where it can be looked at.
    pub(super) fn put_aside(&self, path: &Path) -> Result<(), StoreError> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        self.put_aside_as(path, &name)
    }

    fn put_aside_as(&self, path: &Path, name: &str) -> Result<(), StoreError> {
        let to = self.layout.damaged().join(name);
        match std::fs::rename(path, &to) {
            // It stays for so long from now on. Best effort: where its time cannot be set, it goes earlier.
            Ok(()) => {
                let _ = std::fs::File::open(&to).and_then(|file| file.set_modified(std::time::SystemTime::now()));
                Ok(())
            }
            // Somebody else was faster.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::file("moving", path, error)),
            _ => Ok(()),
        }
    }

    /// The folders of all owners.
    pub(super) fn homes(&self) -> Result<Vec<Home>, StoreError> {
        Ok(disk::names(&self.layout.owners())?.into_iter().map(Home::at).collect())
    }

    /// All records of an owner that are sound. The number tells how many are not, and have not been written again.
    pub(super) fn records(&self, home: &Home) -> Result<(Vec<Record>, usize), StoreError> {
        let mut records = Vec::new();
        for path in disk::fanned(&home.records())? {
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(key) = name.and_then(RecordKey::from_file_name) else { continue };
            records.extend(self.read_record(home, &key)?);
        }
        Ok((records, self.lost_records(home)?.len()))
    }

    /// The records of an owner that were put aside and are nowhere else.
    pub(super) fn lost_records(&self, home: &Home) -> Result<Vec<std::path::PathBuf>, StoreError> {
        let head = format!("{}.", slug_of(home));
        let mut lost = Vec::new();
        for path in disk::names(&self.layout.damaged())? {
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(&head));
            if let Some(key) = name.and_then(RecordKey::from_file_name)
                && !self.record_path(home, &key).exists()
            {
                lost.push(path);
            }
        }
        Ok(lost)
    }

    /// Bytes of all packs of an owner.
    pub(super) fn catalog_bytes(&self, home: &Home) -> Result<u64, StoreError> {
        let mut bytes = 0;
        for path in disk::fanned(&home.packs())? {
            bytes += std::fs::metadata(&path).map_or(0, |file| file.len());
        }
        Ok(bytes)
    }
}

/// The name of an owner's folder.
pub(super) fn slug_of(home: &Home) -> String {
    home.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn unwritable(path: &Path, error: serde_json::Error) -> StoreError {
    StoreError::file("writing", path, std::io::Error::other(error))
}

/// A number that is another after each start of the machine.
fn boot_number() -> i64 {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let [a, b, c, d, e, f, g, h, ..] = *super::ObjectId::of(id.trim().as_bytes()).as_bytes();
    i64::from_le_bytes([a, b, c, d, e, f, g, h])
}
