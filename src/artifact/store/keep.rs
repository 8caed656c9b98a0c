//! Keeping a tree: its objects, then the record that names it.

use std::collections::BTreeMap;

use cap_std::fs::Dir;

use super::audit::gone;
use super::budget::{Beyond, Budget};
use super::error::StoreError;
use super::opened::{Store, Work, slug_of};
use super::put::{self, Paths, Progress, Put, PutOptions, PutWork, Room, Walk};
use super::record::{ArtifactInfo, Origin, Pin, Record, RecordKey, What, pin_key};
use super::{ObjectId, disk};
use crate::artifact::retention::{AuditEvent, ContentHash, EntryId, Expiry, ReferenceCause, Withdrawal};
use crate::artifact::select::Selection;
use crate::artifact::{Interrupt, Unnamed};
use crate::pipeline::{JobKey, Owner, Trust};

/// Which files of a tree are kept.
#[derive(Clone, Copy, Debug)]
pub enum Files<'a> {
    /// All of them.
    Everything,
    /// All but these folders themselves; what is in them is kept. The tree is put this once only.
    Unpacked(&'a Unnamed),
    /// These.
    Selected(&'a Selection),
}

/// A wish to have a tree kept.
#[derive(Clone, Debug)]
pub struct Keep<'a> {
    /// On whose behalf.
    pub owner: &'a Owner,
    /// As what.
    pub what: What,
    /// The tree.
    pub root: &'a Dir,
    /// Which of its files.
    pub files: Files<'a>,
    /// What besides content, mode and time.
    pub options: PutOptions,
    /// Until when.
    pub expires: Expiry,
    /// The job that made it.
    pub producer: Option<JobKey>,
    /// The job's name.
    pub job: Option<String>,
    /// The pipeline it belongs to.
    pub pipeline: Option<String>,
    /// What retention policies go by besides its name.
    pub origin: Option<Origin>,
    /// What else is to be known.
    pub metadata: BTreeMap<String, String>,
    /// Ends the work early.
    pub interrupt: Interrupt,
    /// Tells how far it is.
    pub progress: &'a Progress,
}

impl Keep<'_> {
    fn is_cache(&self) -> bool {
        matches!(self.what, What::Cache { .. })
    }
}

/// What is kept again unchanged is told of again after so long: what the second level has lost is sent then.
const TELL_AGAIN: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// What two times are apart at least that the index tells apart.
const A_MOMENT: jiff::SignedDuration = jiff::SignedDuration::from_millis(1);

/// Whether the index puts one time before another.
fn comes_before(one: jiff::Timestamp, other: jiff::Timestamp) -> bool {
    one.as_millisecond() < other.as_millisecond()
}

/// Whether other machines are to find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    Yes,
    No,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The tree.
    pub put: Put,
    /// The name of its record.
    pub key: RecordKey,
    /// The same tree was kept as the same already: nothing of it was written.
    pub is_up_to_date: bool,
}

impl Store {
    /// Keeps a tree on this machine. It is on disk, and named, when this returns.
    ///
    /// # Errors
    /// The disk or a quota is full, a file of the store cannot be written, or it was interrupted: nothing is kept then, and what was
    /// kept under the same name before still is.
    pub fn put(&self, keep: &Keep<'_>) -> Result<Kept, StoreError> {
        self.put_as(keep, Share::No)
    }

    /// [`Store::put`], and the second level is told of it, later.
    pub fn put_shared(&self, keep: &Keep<'_>) -> Result<Kept, StoreError> {
        self.put_as(keep, Share::Yes)
    }

    fn put_as(&self, keep: &Keep<'_>, share: Share) -> Result<Kept, StoreError> {
        self.heal()?;
        self.room()?.admit(keep.owner, 0).map_err(StoreError::Refused)?;
        let work = self.begin(&keep.interrupt)?;
        let home = self.home(keep.owner);
        let slug = slug_of(&home);
        let catalog = self.catalog(&home)?;
        if self.index()?.usage(Some(&slug))? != catalog.bytes() {
            self.recount(&home)?;
        }
        let put_work = PutWork {
            home: &home,
            session: &work.session,
            key: self.key.as_ref(),
            root: keep.root,
            options: keep.options,
            interrupt: &keep.interrupt,
            progress: keep.progress,
            now: work.session.began()?,
            comes_again: !matches!(keep.files, Files::Unpacked(_)),
        };
        let walk = || {
            let root = crate::artifact::beneath::again(keep.root);
            root.map(Walk::new).map_err(|e| StoreError::file("opening", "the tree".as_ref(), e))
        };
        let paths = match keep.files {
            Files::Everything => Paths::Everything(walk()?),
            Files::Unpacked(unnamed) => Paths::EverythingBut(walk()?, unnamed),
            Files::Selected(selection) => Paths::listed(&selection.entries),
        };
        // For a cache others may go. Packs that are full before there is no more room stay until the next collection.
        let beyond = if keep.is_cache() { Beyond::Counted } else { Beyond::Refused };
        let budget = Budget::new(self, keep.owner, &home, &work.session, beyond, &keep.interrupt);
        let put = put::put(&put_work, Room::Within(budget), catalog, paths)?;
        if keep.options.whole
            && let Some(remark) = put.remarks.first()
        {
            return Err(StoreError::NotWhole { what: remark.text.clone() });
        }
        let mut info = self.info(keep, &put);
        let key = Record::Kept(info.clone()).key();
        if put.entries == 0 && keep.is_cache() {
            // Nothing could be read: what was kept before is better than that.
            return Ok(Kept { put, key, is_up_to_date: true });
        }
        let old = self.read_record(&home, &key)?;
        let mut is_newest = true;
        let newest_beside = self.newest_beside(&slug, &key, &info)?;
        if let Some(Record::Kept(old)) = old.as_ref().filter(|old| old.trees() == [put.id]) {
            // What it brought when it was first kept.
            info.stored_size = info.stored_size.max(old.stored_size);
            info.newest_since = old.newest_since;
            is_newest = newest_beside.is_none_or(|newest| comes_before(newest, old.named_at()));
        }
        if let Some(newest) = newest_beside.filter(|newest| !is_newest || !comes_before(*newest, info.named_at())) {
            // Whatever the clock says: what is kept last is the newest of its name.
            info.newest_since = Some(self.now().max(newest.saturating_add(A_MOMENT).unwrap_or(newest)));
        }
        let record = Record::Kept(info);
        let is_up_to_date = old.as_ref().is_some_and(|old| is_same(old, &record));
        if is_up_to_date && is_newest {
            // Not only that it was used: an index that lacks it learns of it.
            self.reconcile_one(&home, &key)?;
            self.index()?.touch(&slug, &key, self.now())?;
            if let (Share::Yes, Record::Kept(info)) = (share, &record) {
                self.tell_again(info, TELL_AGAIN)?;
            }
        } else {
            if share == Share::Yes {
                self.will_offer(&work.session, &record)?;
            }
            if let Some(Record::Kept(old)) = old.as_ref().filter(|old| old.trees() != [put.id]) {
                self.check_writable(&record)?;
                self.audit_withdrawal(old, Withdrawal::Replaced)?;
            }
            self.write_record(&work, &record)?;
        }
        self.index()?.forget_damage(&slug, &put.id)?;
        Ok(Kept { put, key, is_up_to_date })
    }

    /// Since when the newest of the others stands for the name of something.
    fn newest_beside(
        &self,
        slug: &str,
        key: &RecordKey,
        info: &ArtifactInfo,
    ) -> Result<Option<jiff::Timestamp>, StoreError> {
        let What::Artifact { name: Some(name) } = &info.what else { return Ok(None) };
        let named = self.index()?.named(slug, name)?;
        let others = named
            .into_iter()
            .map(|other| other.info)
            .filter(|other| matches!(other.what, What::Artifact { .. }) && Record::Kept(other.clone()).key() != *key);
        Ok(others.map(|other| other.named_at()).max())
    }

    fn info(&self, keep: &Keep<'_>, put: &Put) -> ArtifactInfo {
        ArtifactInfo {
            content_hash: put.id,
            content_id: put.content_id,
            what: keep.what.clone(),
            owner: keep.owner.clone(),
            producer: keep.producer.clone(),
            job: keep.job.clone(),
            pipeline: keep.pipeline.clone(),
            origin: keep.origin.clone(),
            size: put.bytes,
            stored_size: put.new_bytes,
            entries: put.entries,
            mime_type: mime_type(keep.what.text(), put.entries),
            created_at: self.now(),
            newest_since: None,
            // A fork must not fill what its project may keep for good.
            expires: match (keep.expires, keep.owner.trust) {
                (Expiry::Never, Trust::Fork) => Expiry::None,
                (expires, _) => expires,
            },
            metadata: keep.metadata.clone(),
        }
    }

    /// Keeps a tree until [`Store::unpin`].
    pub fn pin(&self, owner: &Owner, tree: ObjectId) -> Result<(), StoreError> {
        let work = self.begin(&Interrupt::default())?;
        let pin = Pin { tree, owner: owner.clone(), created_at: self.now() };
        self.write_record(&work, &Record::Pin(pin))?;
        self.audit_reference(None, &tree, ReferenceCause::Pinned)
    }

    /// Takes a pin back. False: there was none.
    pub fn unpin(&self, owner: &Owner, tree: &ObjectId) -> Result<bool, StoreError> {
        let work = self.begin_giving_back()?;
        let tell = || self.audit_reference(None, tree, ReferenceCause::Unpinned);
        self.forget(&work, owner, &pin_key(tree), tell)
    }

    /// Takes back that something is kept without end. False: it is not.
    pub fn let_expire(&self, info: &ArtifactInfo) -> Result<bool, StoreError> {
        let work = self.begin_giving_back()?;
        let key = Record::Kept(info.clone()).key();
        match self.read_record(&self.home(&info.owner), &key)? {
            Some(Record::Kept(there)) if there.expires == Expiry::Never => {
                let record = Record::Kept(ArtifactInfo { expires: Expiry::None, ..there });
                self.check_writable(&record)?;
                self.audit_reference(None, &info.content_hash, ReferenceCause::Unpinned)?;
                self.write_record(&work, &record)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    pub(super) fn audit_reference(
        &self,
        job: Option<&JobKey>,
        tree: &ObjectId,
        cause: ReferenceCause,
    ) -> Result<(), StoreError> {
        let (entry, content) = (EntryId::new(tree.to_string()), ContentHash::new(tree.to_string()));
        self.audit(&[AuditEvent::reference(self.now(), job.cloned(), entry, content, cause)])
    }

    /// Keeps something no longer under its name. What it was is removed when the next collection finds that nobody needs it.
    /// False: there was none.
    pub fn forget_name(&self, owner: &Owner, key: &RecordKey, why: Withdrawal) -> Result<bool, StoreError> {
        let work = self.begin_giving_back()?;
        let tell = || match self.read_record(&self.home(owner), key)? {
            Some(Record::Kept(info)) => self.audit_withdrawal(&info, why),
            _ => Ok(()),
        };
        self.forget(&work, owner, key, tell)
    }

    /// Keeps something no longer, and has the second level forget it, where there is one. False: it was not kept.
    ///
    /// # Errors
    /// The second level does not answer: it is kept there and here, so that this can be tried again.
    pub fn withdraw(&self, info: &ArtifactInfo, why: Withdrawal, interrupt: &Interrupt) -> Result<bool, StoreError> {
        self.forget_in_second(info, interrupt)?;
        let was_there = self.forget_name(&info.owner, &Record::Kept(info.clone()).key(), why)?;
        // Once more: it may have been offered in between.
        self.forget_in_second(info, interrupt)?;
        Ok(was_there)
    }

    /// Has the audit say that something is gone, or is about to go.
    pub(super) fn audit_withdrawal(&self, info: &ArtifactInfo, why: Withdrawal) -> Result<(), StoreError> {
        let gone = gone(&info.owner.slug(), info);
        self.audit(&[AuditEvent::withdrawal(gone, why, self.now())])
    }

    /// Removes a record, where it is there, and after that was told: who is killed in between has told of what is still there, and
    /// nothing goes without a word. False: it was not there.
    pub(super) fn forget(
        &self,
        _work: &Work,
        owner: &Owner,
        key: &RecordKey,
        tell: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        let home = self.home(owner);
        let path = self.record_path(&home, key);
        let was_there = path.exists();
        if was_there {
            tell()?;
        }
        // One that turned out to be damaged was put aside.
        let was_there = was_there && path.exists();
        disk::remove(&path)?;
        if let Some(folder) = path.parent().filter(|_| was_there) {
            disk::sync_folder(folder)?;
        }
        self.reconcile_one(&home, key)?;
        Ok(was_there)
    }
}

/// Whether a record says what another says, when it was written and what it is newer than left out.
fn is_same(old: &Record, new: &Record) -> bool {
    let (Record::Kept(old), Record::Kept(new)) = (old, new) else { return false };
    let ArtifactInfo { created_at, newest_since, stored_size, producer, .. } = old.clone();
    *old == ArtifactInfo { created_at, newest_since, stored_size, producer, ..new.clone() }
}

/// What a tree is, by its name.
fn mime_type(name: Option<&str>, entries: u64) -> String {
    let extension = name.and_then(|name| name.rsplit_once('.')).map(|(_, extension)| extension);
    let known = match extension {
        _ if entries > 1 => "inode/directory",
        Some("zip") => "application/zip",
        Some("gz" | "tgz") => "application/gzip",
        Some("zst") => "application/zstd",
        Some("xml") => "application/xml",
        Some("json") => "application/json",
        Some("html") => "text/html",
        Some("txt" | "log" | "md") => "text/plain",
        _ => "application/octet-stream",
    };
    known.to_owned()
}
