//! Caches on this machine's disk. The layout is described in `record`.
//!
//! What a crash leaves: a file in `tmp/`, or an object without a record. Neither is ever read; the first goes at the next
//! start, the second with the next save of its owner.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::disk::{self, HashingWriter, Lock, store_error};
use super::evict::{self, Room};
use super::record::{MAX_RECORD, Record, entry_name, object_path, project_name};
use super::{CacheError, CacheStore, Hit, RestoreRequest, Restored, SaveRequest, Saved, Wanted};
use crate::artifact::archive::source::Source;
use crate::artifact::archive::{self, ArchiveError, Packed, Packing, Unpacking};
use crate::artifact::select::Selection;
use crate::artifact::{Remark, merge, shown};
use crate::pipeline::definition::ArtifactFormat;
use crate::pipeline::{Owner, Trust};

/// The layout this version writes.
const VERSION: u32 = 1;

/// Bytes of a key; the record holds it.
const MAX_KEY: usize = 8 << 10;

/// Leftovers of writers that are gone.
const TMP_AGE: Duration = Duration::from_secs(24 * 3600);

/// How long what was damaged is kept to be looked at.
const DAMAGED_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>;

/// How much a store may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes for one project, of all its trust levels together.
    pub project_bytes: u64,
    /// Bytes of the disk that are left alone.
    pub reserve_bytes: u64,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { total_bytes: 64 << 30, project_bytes: 16 << 30, reserve_bytes: 1 << 30 }
    }
}

/// Caches on this machine's disk.
pub struct LocalCache {
    root: PathBuf,
    settings: CacheSettings,
    clock: Clock,
}

#[derive(Serialize, Deserialize)]
struct Format {
    version: u32,
}

/// Where an owner's entries and objects lie.
struct Home {
    owner: Owner,
    path: PathBuf,
}

/// An entry that was opened.
struct Found {
    record: Record,
    path: PathBuf,
    object_path: PathBuf,
    object: File,
}

/// An archive that is written but has no name yet.
struct Draft {
    file: tempfile::NamedTempFile,
    packed: Packed,
    object: String,
    content_id: String,
}

impl LocalCache {
    /// Opens the store in the folder `root` of the state directory, made where it is missing.
    ///
    /// # Errors
    /// The folder cannot be used, or a newer version has written it.
    pub fn open(root: &Path, settings: CacheSettings, clock: Clock) -> Result<Self, CacheError> {
        let store = Self { root: root.to_owned(), settings, clock };
        for folder in ["tmp", "damaged", "projects"] {
            disk::make_folder(&root.join(folder))?;
        }
        store.check_format()?;
        store.forget("tmp", TMP_AGE)?;
        store.forget("damaged", DAMAGED_AGE)?;
        Ok(store)
    }

    fn check_format(&self) -> Result<(), CacheError> {
        let path = self.root.join("format");
        let Some(bytes) = disk::read_small(&path, 4096)? else {
            let bytes = format!("{{\"version\":{VERSION}}}\n");
            return disk::replace(&self.tmp(), &path, bytes.as_bytes()).map_err(|e| store_error("writing", &path, e));
        };
        let format: Format =
            serde_json::from_slice(&bytes).map_err(|e| store_error("reading", &path, io::Error::other(e)))?;
        if format.version > VERSION {
            return Err(CacheError::Newer { path: self.root.clone(), found: format.version, known: VERSION });
        }
        Ok(())
    }

    /// Removes files of a folder that have been there for longer than `age`.
    fn forget(&self, folder: &str, age: Duration) -> Result<(), CacheError> {
        let now = self.now();
        for path in disk::names(&self.root.join(folder))? {
            let old = fs::metadata(&path).and_then(|m| m.modified()).ok().and_then(|at| now.duration_since(at).ok());
            if old.is_some_and(|old| old > age) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// The clock's time as file systems have it.
    fn now(&self) -> SystemTime {
        let millis = u64::try_from((self.clock)().as_millisecond()).unwrap_or(0);
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
    }

    fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    fn lock(&self, how: Lock) -> Result<disk::Locked, CacheError> {
        disk::lock(&self.root.join("lock"), how)
    }

    fn home(&self, owner: &Owner) -> Home {
        let path = self.root.join("projects").join(project_name(owner)).join(owner.trust.to_string());
        Home { owner: owner.clone(), path }
    }

    /// The owners whose entries `reader` may read, its own first, then upwards.
    fn readable(&self, reader: &Owner) -> Vec<Home> {
        [Trust::Fork, Trust::Member, Trust::Protected]
            .into_iter()
            .map(|trust| Owner { trust, ..reader.clone() })
            .filter(|writer| reader.may_read(writer))
            .map(|writer| self.home(&writer))
            .collect()
    }

    /// Opens the entry of `home` that is wanted. A damaged record is put aside and told of.
    fn find(&self, home: &Home, wanted: &Wanted, remarks: &mut Vec<Remark>) -> Result<Option<Found>, CacheError> {
        let paths = match wanted {
            Wanted::Exact(key) => vec![home.path.join("entries").join(entry_name(key))],
            Wanted::Prefix(_) => disk::names(&home.path.join("entries"))?,
        };
        let mut best: Option<(Record, PathBuf)> = None;
        for path in paths {
            let Some(record) = self.read_record(home, &path, remarks)? else { continue };
            let key = record.key_bytes();
            let meant = match wanted {
                Wanted::Exact(own) => key == *own,
                Wanted::Prefix(prefix) => key.starts_with(prefix),
            };
            if meant && best.as_ref().is_none_or(|(other, _)| other.created_at < record.created_at) {
                best = Some((record, path));
            }
        }
        let Some((record, path)) = best else { return Ok(None) };
        let object_path = home.path.join(object_path(&record.object));
        match File::open(&object_path) {
            Ok(object) => Ok(Some(Found { record, path, object_path, object })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                remarks.push(Remark::warning(format!("cache {}: its archive is missing", record.key_text)));
                Ok(None)
            }
            Err(error) => Err(store_error("opening", &object_path, error)),
        }
    }

    fn read_record(&self, home: &Home, path: &Path, remarks: &mut Vec<Remark>) -> Result<Option<Record>, CacheError> {
        let Some(bytes) = disk::read_small(path, MAX_RECORD)? else { return Ok(None) };
        // A record of somebody else under this name is no better than a damaged one.
        let record = Record::from_bytes(&bytes).filter(|record| record.owner == home.owner);
        if record.is_none() {
            remarks.push(Remark::warning("the record of a cache is damaged and was put aside"));
            self.put_aside(path)?;
        }
        Ok(record)
    }

    fn put_aside(&self, path: &Path) -> Result<(), CacheError> {
        let Some(name) = path.file_name() else { return Ok(()) };
        match fs::rename(path, self.root.join("damaged").join(name)) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()), // somebody else was faster
            Err(error) => Err(store_error("moving", path, error)),
        }
    }

    /// Whether the object is what its record says, from the first byte to the last.
    fn is_whole(&self, found: &mut Found, request: &RestoreRequest<'_>) -> Result<bool, CacheError> {
        let fail = |e| store_error("reading", &found.object_path, e);
        if found.object.metadata().map_err(fail)?.len() != found.record.stored_bytes {
            return Ok(false);
        }
        match disk::hash(&mut found.object, &request.interrupt) {
            Ok(Some(hash)) => Ok(hash == found.record.object),
            Ok(None) => Err(unpacking_failed(ArchiveError::Interrupted)),
            // A disk that cannot read it has damaged it.
            Err(_) => Ok(false),
        }
    }

    fn try_restore(
        &self,
        request: &RestoreRequest<'_>,
        home: &Home,
        wanted: &Wanted,
        into: &Dir,
        remarks: &mut Vec<Remark>,
    ) -> Result<Option<Hit>, CacheError> {
        let found = {
            let _lock = self.lock(Lock::Shared)?;
            self.find(home, wanted, remarks)?
        };
        let Some(mut found) = found else { return Ok(None) };
        if !self.is_whole(&mut found, request)? {
            let text = format!("cache {}: its archive is damaged; it was put aside", shown(&found.record.key_bytes()));
            remarks.push(Remark::warning(text));
            let _lock = self.lock(Lock::Exclusive)?;
            // Unless a save has put a new one there meanwhile.
            if is_same_file(&found.object, &found.object_path) {
                self.put_aside(&found.object_path)?;
                self.put_aside(&found.path)?;
            }
            return Ok(None);
        }
        let unpacking = Unpacking { limits: request.limits.clone(), interrupt: request.interrupt.clone() };
        let unpacked =
            archive::unpack_with(&mut found.object, request.staging, &unpacking).map_err(unpacking_failed)?;
        let moved = merge::move_into(request.staging, into).map_err(|error| {
            unpacking_failed(ArchiveError::io("moving what was unpacked into the work tree", error))
        })?;
        self.touch(&found.path);
        remarks.extend(unpacked.remarks);
        remarks.extend(moved);
        Ok(Some(Hit {
            key: found.record.key_bytes(),
            writer: found.record.owner,
            job: found.record.job,
            created_at: found.record.created_at,
            entries: unpacked.entries,
            bytes: unpacked.bytes,
            stored_bytes: found.record.stored_bytes,
            remarks: std::mem::take(remarks),
        }))
    }

    /// Notes that an entry was used. Only the order of removal hangs on it, so failing is no error.
    fn touch(&self, path: &Path) {
        let now = self.now();
        let _ = File::open(path).and_then(|file| file.set_modified(now));
    }

    /// Whether the entry holds exactly these files. The outline answers most times; only where it is equal are the files read.
    fn is_up_to_date(
        &self,
        request: &SaveRequest<'_>,
        home: &Home,
        path: &Path,
        outline: &str,
        from: &Dir,
        selection: &Selection,
    ) -> Result<bool, CacheError> {
        let Some(record) = disk::read_small(path, MAX_RECORD)?.and_then(|bytes| Record::from_bytes(&bytes)) else {
            return Ok(false);
        };
        let object = fs::metadata(home.path.join(object_path(&record.object)));
        let there = object.is_ok_and(|object| object.len() == record.stored_bytes);
        if !there || record.owner != home.owner || record.outline != outline {
            return Ok(false);
        }
        let identity = archive::tar::identity(from, selection, &request.interrupt).map_err(packing_failed)?;
        Ok(identity == record.content_id)
    }

    /// Packs the files into `tmp/`. The inner error says why there is no room for them.
    fn draft(
        &self,
        request: &SaveRequest<'_>,
        from: &Dir,
        selection: &Selection,
    ) -> Result<Result<Draft, Remark>, CacheError> {
        let tmp = self.tmp();
        let fail = |e| store_error("writing", &tmp, e);
        let free = disk::free_bytes(&tmp).map_err(fail)?.saturating_sub(self.settings.reserve_bytes);
        let quota = self.settings.project_bytes.min(self.settings.total_bytes);
        let file = match tempfile::NamedTempFile::new_in(&tmp) {
            Ok(file) => file,
            Err(error) if crate::artifact::beneath::is_no_space(&error) => return Ok(Err(self.no_space())),
            Err(error) => return Err(fail(error)),
        };
        let mut out = HashingWriter::new(BufWriter::with_capacity(1 << 20, file), quota.min(free));
        let packing =
            Packing { format: ArtifactFormat::TarZstd, level: request.level, interrupt: request.interrupt.clone() };
        let (packed, content_id) = match archive::tar::pack_identified(from, selection, &packing, &mut out) {
            Ok(packed) => packed,
            Err(ArchiveError::NoSpace { .. }) if out.over && quota <= free => return Ok(Err(too_large(quota))),
            Err(ArchiveError::NoSpace { .. }) => return Ok(Err(self.no_space())),
            Err(error) => return Err(packing_failed(error)),
        };
        let (out, object) = out.finish();
        // Synced here, so that nobody waits for it under the lock.
        let synced = out.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| {
            file.as_file().sync_all()?;
            Ok(file)
        });
        match synced {
            Ok(file) => Ok(Ok(Draft { file, packed, object, content_id })),
            Err(error) if crate::artifact::beneath::is_no_space(&error) => Ok(Err(self.no_space())),
            Err(error) => Err(fail(error)),
        }
    }

    /// Makes room for the draft and gives it its name. The inner error says why there is no room.
    fn publish(
        &self,
        home: &Home,
        path: &Path,
        record: Record,
        draft: tempfile::NamedTempFile,
    ) -> Result<Result<Vec<Remark>, Remark>, CacheError> {
        let bytes = record.to_bytes().map_err(|e| store_error("writing", path, io::Error::other(e)))?;
        let object = home.path.join(object_path(&record.object));
        let _lock = self.lock(Lock::Exclusive)?;
        let mut inventory = evict::inventory(&self.root.join("projects"))?;
        for damaged in &inventory.damaged {
            self.put_aside(damaged)?;
        }
        inventory.announce(record, path.to_owned(), home.path.clone());
        let room = Room { total: self.settings.total_bytes, project: self.settings.project_bytes };
        let Some(gone) = inventory.make_room(path, room) else {
            return Ok(Err(too_large(room.project.min(room.total))));
        };
        let mut remarks = Vec::new();
        for entry in &gone {
            remove(&entry.path)?;
            // Other projects' keys are none of this job's business.
            if entry.record.owner == home.owner {
                remarks.push(Remark::note(format!("cache {} was removed to make room", entry.record.key_text)));
            }
        }
        let written = disk::settle(draft, &object).and_then(|()| {
            disk::make_folder(&home.path.join("entries")).map_err(io::Error::other)?;
            disk::replace(&self.tmp(), path, &bytes)
        });
        match written {
            Ok(()) => {}
            Err(error) if crate::artifact::beneath::is_no_space(&error) => return Ok(Err(self.no_space())),
            Err(error) => return Err(store_error("writing", path, error)),
        }
        self.touch(path);
        let mut homes: Vec<&Path> =
            gone.iter().map(|entry| entry.home.as_path()).chain([home.path.as_path()]).collect();
        homes.sort_unstable();
        homes.dedup();
        for home in homes {
            for object in inventory.unreferenced(home)? {
                remove(&object)?;
            }
        }
        Ok(Ok(remarks))
    }

    fn no_space(&self) -> Remark {
        Remark::warning(format!(
            "the cache was not kept: the disk of {} is full (at least {} are left free); free some, or lower the cache's size",
            self.root.display(),
            size(self.settings.reserve_bytes)
        ))
    }
}

impl CacheStore for LocalCache {
    fn restore(&self, request: &RestoreRequest<'_>, into: &Dir) -> Result<Restored, CacheError> {
        let mut remarks = Vec::new();
        let homes = self.readable(request.owner);
        for wanted in request.keys {
            for home in &homes {
                if let Some(hit) = self.try_restore(request, home, wanted, into, &mut remarks)? {
                    return Ok(Restored::Hit(hit));
                }
            }
        }
        Ok(Restored::Miss { remarks })
    }

    fn save(&self, request: &SaveRequest<'_>, from: &Dir, selection: &Selection) -> Result<Saved, CacheError> {
        if selection.is_empty() {
            return Ok(Saved::Nothing);
        }
        if request.key.len() > MAX_KEY {
            return Ok(Saved::Refused(Remark::warning(format!(
                "the cache was not kept: its key is longer than {MAX_KEY} bytes"
            ))));
        }
        let home = self.home(request.owner);
        let path = home.path.join("entries").join(entry_name(request.key));
        let mut hash = Sha256::new();
        Source::outline(from, &selection.entries, &mut hash);
        let outline = hex::encode(hash.finalize());
        if self.is_up_to_date(request, &home, &path, &outline, from, selection)? {
            self.touch(&path);
            return Ok(Saved::UpToDate);
        }
        let draft = match self.draft(request, from, selection)? {
            Ok(draft) => draft,
            Err(remark) => return Ok(Saved::Refused(remark)),
        };
        if draft.packed.entries == 0 {
            return Ok(Saved::Nothing);
        }
        let record = Record {
            key_text: shown(request.key),
            key: hex::encode(request.key),
            owner: request.owner.clone(),
            job: request.job.clone(),
            object: draft.object,
            stored_bytes: draft.packed.bytes,
            content_bytes: draft.packed.content_bytes,
            entries: draft.packed.entries,
            outline,
            content_id: draft.content_id,
            created_at: (self.clock)(),
        };
        match self.publish(&home, &path, record, draft.file)? {
            Err(remark) => Ok(Saved::Refused(remark)),
            Ok(mut remarks) => {
                remarks.extend(draft.packed.remarks);
                Ok(Saved::Stored { stored_bytes: draft.packed.bytes, entries: draft.packed.entries, remarks })
            }
        }
    }
}

/// Whether the name still means the file that was opened.
fn is_same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(opened), Ok(named)) => (opened.dev(), opened.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

fn remove(path: &Path) -> Result<(), CacheError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(store_error("removing", path, error)),
    }
}

fn packing_failed(source: ArchiveError) -> CacheError {
    CacheError::Archive { doing: "packed", source }
}

fn unpacking_failed(source: ArchiveError) -> CacheError {
    CacheError::Archive { doing: "unpacked", source }
}

fn too_large(quota: u64) -> Remark {
    Remark::warning(format!(
        "the cache was not kept: its archive does not fit into the quota of {}; keep fewer files, or raise the quota",
        size(quota)
    ))
}

fn size(bytes: u64) -> String {
    const UNITS: [(u32, &str); 3] = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match UNITS.iter().find(|(shift, _)| bytes >= 1 << shift) {
        Some((shift, unit)) => {
            let tenths = (u128::from(bytes) * 10) >> shift;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} bytes"),
    }
}
