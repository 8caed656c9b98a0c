//! Looking for damage, and mending what can be mended.
//!
//! A pack in which something is not what it was is copied without it and put aside. What is missing then is missing for everybody:
//! the next put of the same content writes it again, a remote is asked for it, and until then everything that needs it is told as
//! damaged.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::catalog::Catalog;
use super::collect::repack;
use super::disk;
use super::error::{ObjectTrouble, StoreError};
use super::get;
use super::id::ObjectId;
use super::layout::Home;
use super::list;
use super::manifest::TreeNode;
use super::opened::{Store, slug_of};
use super::pack::files::Trouble;
use super::pack::reader::{Buffers, Pack};
use super::pack::{Kind, PackId};
use super::put::Progress;
use super::record::Record;
use super::session::{self, How};
use crate::artifact::Interrupt;
use crate::pipeline::Owner;

/// How often something is fetched again before it counts as lost.
const MAX_RETRIES: u32 = 3;

/// The end of a pack's name in `damaged/` of which something could not be read: it stays until the operator removes it.
pub(super) const UNREAD: &str = "unread";

/// Between two looks at whether to go on.
const STEP: Duration = Duration::from_millis(50);

/// What is known about whether something that is kept is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerificationResult {
    /// Nobody looked yet.
    Pending,
    /// Somebody looks now.
    Verifying,
    /// Every byte is what it was.
    Valid,
    /// Something is not what it was.
    Corrupted,
    /// Something is not there.
    Missing,
    /// It could not be had again either, after several tries.
    Failed,
}

/// What happens to a [`VerificationResult`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Start,
    Matches,
    Differs,
    NotThere,
    GiveUp,
}

impl VerificationResult {
    /// What follows. `None`: that cannot happen now.
    pub(super) fn after(self, finding: Finding) -> Option<Self> {
        use VerificationResult::{Corrupted, Failed, Missing, Pending, Valid, Verifying};
        match (self, finding) {
            (Pending | Valid | Corrupted | Missing | Failed, Finding::Start) => Some(Verifying),
            (Verifying, Finding::Matches) => Some(Valid),
            (Verifying, Finding::Differs) => Some(Corrupted),
            (Verifying, Finding::NotThere) => Some(Missing),
            (Corrupted | Missing, Finding::GiveUp) => Some(Failed),
            _ => None,
        }
    }
}

impl std::fmt::Display for VerificationResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            VerificationResult::Pending => "pending",
            VerificationResult::Verifying => "verifying",
            VerificationResult::Valid => "valid",
            VerificationResult::Corrupted => "corrupted",
            VerificationResult::Missing => "missing",
            VerificationResult::Failed => "failed",
        })
    }
}

/// What was found out about a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// The id of the tree.
    pub expected: ObjectId,
    /// The id that its manifest has now, where it could be read.
    pub calculated: Option<ObjectId>,
    /// Bytes of content that were found whole.
    pub size: u64,
    /// The verdict.
    pub result: VerificationResult,
    /// When.
    pub verified_at: jiff::Timestamp,
    /// How often it was fetched again in vain.
    pub retry_count: u32,
    /// What is wrong.
    pub error: Option<String>,
}

/// What was found out about a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Objects that were read.
    pub objects: u64,
    /// Bytes of packs that were read.
    pub bytes: u64,
    /// Packs that had something damaged in them, and were put aside.
    pub damaged_packs: Vec<String>,
    /// Records that are damaged, and that nobody has again.
    pub lost_records: Vec<PathBuf>,
    /// What was found out about each thing that is kept.
    pub kept: Vec<(Owner, Option<String>, Verification)>,
}

impl Verified {
    /// Whether all is as it should be.
    pub fn is_sound(&self) -> bool {
        self.damaged_packs.is_empty()
            && self.lost_records.is_empty()
            && self.kept.iter().all(|(.., verification)| verification.result == VerificationResult::Valid)
    }
}

/// How to look.
#[derive(Clone, Debug, Default)]
pub struct Verifying {
    /// Only this tree.
    pub only: Option<ObjectId>,
    /// Bytes a second at most. `None`: as fast as it goes.
    pub rate: Option<u64>,
    /// Ends the work early.
    pub interrupt: Interrupt,
}

/// What has to be there, and what was found out about it.
pub(super) struct Checker<'c> {
    catalog: &'c Catalog,
    buffers: Buffers,
    /// What was found whole.
    known: HashMap<ObjectId, u64>,
    damaged: Vec<PackId>,
}

impl Store {
    /// Reads everything, or all of one tree, and says what is damaged. What can be mended is.
    pub fn verify(&self, how: &Verifying, progress: &Progress) -> Result<Verified, StoreError> {
        let mut verified = Verified::default();
        if how.only.is_none() {
            self.index().check()?;
            self.heal()?;
            self.reconcile(false)?;
        }
        for home in self.homes()? {
            if how.only.is_none() {
                self.read_packs(&home, how, progress, &mut verified)?;
            }
            let before = verified.kept.len();
            self.check_trees(&home, how, &mut verified)?;
            // Records that are damaged have been put aside by whoever read them all.
            verified.lost_records.append(&mut self.lost_records(&home)?);
            self.have_again(&home, &mut verified.kept[before..], &how.interrupt)?;
        }
        if how.only.is_none() {
            self.note_scrub()?;
        }
        Ok(verified)
    }

    /// Reads every frame of every pack. Nobody is kept waiting meanwhile, however long it takes: a pack is never changed, and one that goes
    /// was not needed.
    fn read_packs(
        &self,
        home: &Home,
        how: &Verifying,
        progress: &Progress,
        verified: &mut Verified,
    ) -> Result<(), StoreError> {
        let mut damaged = Vec::new();
        let mut has_bad_footers = false;
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
                    has_bad_footers = true;
                    verified.damaged_packs.push(path.display().to_string());
                    continue;
                }
                Err(error) => return Err(error),
            };
            let is_sound = is_sound(&pack, &mut buffers, &how.interrupt, &mut pace, verified)?;
            if !is_sound && path.exists() {
                damaged.push(pack.id);
            }
            progress.add_bytes(pack.bytes);
            verified.bytes += pack.bytes;
        }
        verified.damaged_packs.extend(damaged.iter().map(ToString::to_string));
        if has_bad_footers { self.put_damaged_aside(home, &damaged) } else { self.salvage(home, &damaged) }
    }

    fn check_trees(&self, home: &Home, how: &Verifying, verified: &mut Verified) -> Result<(), StoreError> {
        let mut damaged = Vec::new();
        {
            let _work = self.begin(&how.interrupt)?;
            // What is kept now: what was removed since the packs were read is no damage.
            let (records, _) = self.records(home)?;
            let catalog = self.catalog(home)?;
            // Everything was read already, unless only one tree is asked for: then being there is enough.
            let mut checker = Checker::new(&catalog)?;
            let reads = how.only.is_some();
            // A tree is looked at once, under however many names it is kept.
            let mut known: HashMap<ObjectId, Verification> = HashMap::new();
            for record in &records {
                let Record::Kept(info) = record else { continue };
                let id = info.content_hash;
                if how.only.is_some_and(|only| only != id) {
                    continue;
                }
                let verification = if let Some(verification) = known.get(&id) {
                    verification.clone()
                } else {
                    let before = self.index().verification(&slug_of(home), &id)?;
                    let verification = checker.verification(&id, reads, before, self.now())?;
                    self.index().set_verification(&slug_of(home), &verification)?;
                    if verification.result != VerificationResult::Valid {
                        forget_seen(home)?;
                    }
                    known.entry(id).or_insert(verification).clone()
                };
                verified.kept.push((info.owner.clone(), info.what.text().map(str::to_owned), verification));
                if how.interrupt.is_raised() {
                    return Err(StoreError::Interrupted);
                }
            }
            damaged.append(&mut checker.damaged);
        }
        self.salvage(home, &damaged)
    }

    /// Has what is not whole from the second level, where there is one that has it.
    fn have_again(
        &self,
        home: &Home,
        kept: &mut [(Owner, Option<String>, Verification)],
        interrupt: &Interrupt,
    ) -> Result<(), StoreError> {
        let mut asked: HashMap<ObjectId, Verification> = HashMap::new();
        for (.., verification) in kept {
            if verification.result == VerificationResult::Valid {
                continue;
            }
            let id = verification.expected;
            if let Some(known) = asked.get(&id) {
                *verification = known.clone();
                continue;
            }
            if !self.had_again(home, &id, interrupt) {
                asked.insert(id, verification.clone());
                continue;
            }
            let _held = self.hold_still(interrupt)?;
            let catalog = self.catalog(home)?;
            let before = Some(verification.clone());
            *verification = Checker::new(&catalog)?.verification(&verification.expected, true, before, self.now())?;
            self.index().set_verification(&slug_of(home), verification)?;
            asked.insert(id, verification.clone());
        }
        Ok(())
    }

    /// What is done when a restore met damage. Failing at it is told in the log only: the restore has failed already.
    pub(super) fn after_damage(&self, home: &Home, id: &ObjectId, damaged: &[PackId], error: Option<&StoreError>) {
        tracing::warn!(tree = %id, error = error.map(tracing::field::display), "something in the store is damaged");
        let noted = error.map_or(Ok(()), |error| {
            let how = match error {
                StoreError::Object { how: ObjectTrouble::Missing, .. } => Finding::NotThere,
                _ => Finding::Differs,
            };
            let before = self.index().verification(&slug_of(home), id)?;
            let verification = next(id, before, how, Some(error.to_string()), 0, self.now());
            self.index().set_verification(&slug_of(home), &verification)
        });
        let noted = noted.and_then(|()| forget_seen(home));
        if let Err(error) = noted.and_then(|()| self.salvage(home, damaged)) {
            tracing::warn!(%error, "the damaged pack could not be mended");
        }
    }

    /// Copies what is whole of damaged packs, and puts them aside.
    fn salvage(&self, home: &Home, damaged: &[PackId]) -> Result<(), StoreError> {
        if damaged.is_empty() { Ok(()) } else { self.put_damaged_aside(home, damaged) }
    }

    /// [`Store::salvage`], and puts packs aside whose footer is damaged: of them nothing is whole.
    fn put_damaged_aside(&self, home: &Home, damaged: &[PackId]) -> Result<(), StoreError> {
        // A collector that looks at packs meanwhile could take the copies for what is there twice.
        let _collector = session::collector_patiently(&self.layout, &Interrupt::default())?;
        let aside = {
            let work = self.begin(&Interrupt::default())?;
            let catalog = self.catalog(home)?;
            let packs: Vec<&Pack> = catalog.packs().iter().filter(|pack| damaged.contains(&pack.id)).collect();
            let copied = repack::copy(self, home, &work.session, &packs, |_, _| true)?;
            // With one of which nothing was left out nothing is wrong after all: a disk that could not be read for a moment.
            let mut aside: Vec<(PathBuf, Trouble)> =
                copied.left_out.into_iter().map(|(id, trouble)| (home.pack(id), trouble)).collect();
            for path in catalog.damaged() {
                match Pack::open(path, self.key.as_ref(), |_, _| {}) {
                    // It can be read now.
                    Ok(pack) if path.file_name().is_some_and(|name| *name == *pack.id.to_string()) => {}
                    Ok(_) | Err(StoreError::Damaged { .. }) => aside.push((path.clone(), Trouble::Wrong)),
                    Err(StoreError::File { source, .. }) if Trouble::of(&source).is_damage() => {
                        aside.push((path.clone(), Trouble::of(&source)));
                    }
                    Err(error) => return Err(error),
                }
            }
            aside
        };
        let _alone = session::lock(&self.layout, How::Exclusive, &Interrupt::default())?;
        forget_seen(home)?;
        for (path, trouble) in aside {
            match (trouble, path.file_name()) {
                (Trouble::Wrong, _) | (_, None) => self.put_aside(&path)?,
                (_, Some(name)) if path.exists() => {
                    let to = self.layout.damaged().join(format!("{}.{UNREAD}", name.to_string_lossy()));
                    tracing::warn!(to = %to.display(), "the disk does not give back all of a pack: what it gave was copied, and the pack is moved");
                    disk::rename(&path, &to)?;
                }
                _ => {}
            }
        }
        self.index().set_usage(&slug_of(home), self.catalog_bytes(home)?)
    }
}

/// Has every file read again that is put: one that is unchanged is known by its list, and a chunk of that may be what is gone.
fn forget_seen(home: &Home) -> Result<(), StoreError> {
    disk::names(&home.seen())?.iter().try_for_each(|path| disk::remove(path))
}

/// Whether every object of a pack is what it was.
///
/// # Errors
/// It cannot be read for a reason that says nothing about it.
fn is_sound(
    pack: &Pack,
    buffers: &mut Buffers,
    interrupt: &Interrupt,
    pace: &mut Pace,
    verified: &mut Verified,
) -> Result<bool, StoreError> {
    let mut content = Vec::new();
    let mut frame = None;
    let mut sound = true;
    for number in 0..pack.objects() {
        if interrupt.is_raised() {
            return Err(StoreError::Interrupted);
        }
        let read = pack.object(number).and_then(|record| {
            if frame != Some(record.frame) {
                frame = None;
                pack.read_frame(record.frame, buffers, &mut content)?;
                frame = Some(record.frame);
                pace.wait_for(pack.stored_length(record.frame)?, interrupt);
            }
            Ok(super::catalog::slice(&content, &record).is_some_and(|bytes| proves(&record.id, record.kind, bytes)))
        });
        verified.objects += 1;
        sound &= match read {
            Ok(is_sound) => is_sound,
            Err(error) if Trouble::of(&error).is_damage() => false,
            Err(error) => return Err(StoreError::file("reading", &pack.path, error)),
        };
    }
    Ok(sound)
}

/// Whether every object of a pack is what it was.
pub(super) fn pack_is_sound(pack: &Pack, interrupt: &Interrupt) -> Result<bool, StoreError> {
    is_sound(pack, &mut Buffers::new()?, interrupt, &mut Pace::new(None), &mut Verified::default())
}

/// Whether the bytes are what an object of this name and kind is.
pub(super) fn proves(id: &ObjectId, kind: Kind, bytes: &[u8]) -> bool {
    match kind {
        Kind::List => list::is_sound(bytes),
        Kind::Data | Kind::Tree | Kind::Segment => ObjectId::of(bytes) == *id,
    }
}

impl<'c> Checker<'c> {
    pub(super) fn new(catalog: &'c Catalog) -> Result<Self, StoreError> {
        Ok(Self { catalog, buffers: Buffers::new()?, known: HashMap::new(), damaged: Vec::new() })
    }

    pub(super) fn verification(
        &mut self,
        id: &ObjectId,
        reads: bool,
        before: Option<Verification>,
        now: jiff::Timestamp,
    ) -> Result<Verification, StoreError> {
        Ok(match self.tree(id, reads) {
            Ok(size) => next(id, before, Finding::Matches, None, size, now),
            Err(error @ StoreError::Object { how: ObjectTrouble::Missing, .. }) => {
                next(id, before, Finding::NotThere, Some(error.to_string()), 0, now)
            }
            Err(error) if error.is_damage() => next(id, before, Finding::Differs, Some(error.to_string()), 0, now),
            Err(error) => return Err(error),
        })
    }

    /// Bytes of a tree that is whole.
    pub(super) fn tree(&mut self, id: &ObjectId, reads: bool) -> Result<u64, StoreError> {
        let root = get::root(self.catalog, id, &mut self.buffers, &mut self.damaged)?;
        let mut size = 0;
        for (segment, _) in &root.segments {
            for entry in get::segment(self.catalog, segment, &mut self.buffers, &mut self.damaged)? {
                if let TreeNode::File { size: bytes, id: file } = entry.node {
                    let wrong = || StoreError::Object { id: *id, how: ObjectTrouble::Damaged };
                    size = u64::checked_add(size, bytes).ok_or_else(wrong)?;
                    if bytes > 0 {
                        self.file(&file, bytes, reads)?;
                    }
                }
            }
        }
        Ok(size)
    }

    fn file(&mut self, id: &ObjectId, size: u64, reads: bool) -> Result<(), StoreError> {
        if self.is_known(id, size)? {
            return Ok(());
        }
        if self.catalog.find(id)?.record.kind == Kind::List {
            let mut chunks = Vec::new();
            let mut take = |some: &[list::Chunk]| {
                chunks.extend_from_slice(some);
                Ok(())
            };
            list::chunks(self.catalog, id, size, &mut self.buffers, &mut self.damaged, &mut take)?;
            for chunk in chunks {
                self.data(&chunk.id, chunk.length, reads)?;
            }
        } else {
            self.data(id, size, reads)?;
        }
        self.known.insert(*id, size);
        Ok(())
    }

    /// Whether it was found whole already, and as long as it is said to be.
    fn is_known(&self, id: &ObjectId, size: u64) -> Result<bool, StoreError> {
        match self.known.get(id) {
            Some(known) if *known != size => Err(StoreError::Object { id: *id, how: ObjectTrouble::Damaged }),
            known => Ok(known.is_some()),
        }
    }

    fn data(&mut self, id: &ObjectId, size: u64, reads: bool) -> Result<(), StoreError> {
        if self.is_known(id, size)? {
            return Ok(());
        }
        let length = if reads {
            self.catalog.read(id, Kind::Data, &mut self.buffers, &mut self.damaged)?.len() as u64
        } else {
            u64::from(self.catalog.find(id)?.record.length)
        };
        if length != size {
            return Err(StoreError::Object { id: *id, how: ObjectTrouble::Damaged });
        }
        self.known.insert(*id, size);
        Ok(())
    }
}

/// The record of a verification that ends now.
fn next(
    id: &ObjectId,
    before: Option<Verification>,
    finding: Finding,
    error: Option<String>,
    size: u64,
    now: jiff::Timestamp,
) -> Verification {
    let retries = before.as_ref().map_or(0, |before| before.retry_count);
    let state = before.map_or(VerificationResult::Pending, |before| before.result);
    // Whatever was known, looking begins anew; a look that is under way is taken over.
    let state = state.after(Finding::Start).unwrap_or(VerificationResult::Verifying);
    let state = state.after(finding).unwrap_or(VerificationResult::Corrupted);
    let is_valid = state == VerificationResult::Valid;
    let retry_count = if is_valid { 0 } else { retries + 1 };
    let result = match state.after(Finding::GiveUp) {
        Some(failed) if retry_count > MAX_RETRIES => failed,
        _ => state,
    };
    Verification {
        expected: *id,
        calculated: is_valid.then_some(*id),
        size,
        result,
        verified_at: now,
        retry_count,
        error,
    }
}

/// Keeps reading below a rate.
struct Pace {
    rate: Option<u64>,
    began: Instant,
    read: u64,
}

impl Pace {
    fn new(rate: Option<u64>) -> Self {
        Self { rate: rate.filter(|rate| *rate > 0), began: Instant::now(), read: 0 }
    }

    fn wait_for(&mut self, bytes: u64, interrupt: &Interrupt) {
        self.read += bytes;
        let Some(rate) = self.rate else { return };
        let due = Duration::from_secs_f64(self.read as f64 / rate as f64);
        while let Some(wait) = due.checked_sub(self.began.elapsed()).filter(|wait| *wait > Duration::from_millis(5)) {
            if interrupt.is_raised() {
                return;
            }
            std::thread::sleep(wait.min(STEP));
        }
    }
}
