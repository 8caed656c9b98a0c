//! Entries in the store: kept as trees of one owner, named after scope, version and key.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::access::Access;
use super::key::{EntryName, Key, Version, scope_prefix, stored_prefix};
use super::lock::NameLock;
use super::refusal::{Refusal, disk};
use super::spool::{self, Folder};
use super::upload::Sealed;
use crate::artifact::archive::Limits as ArchiveLimits;
use crate::artifact::beneath::{self, Node};
use crate::artifact::cache::LocalCache;
use crate::artifact::retention::{Expiry, Withdrawal};
use crate::artifact::store::{
    ArtifactInfo, Files, GetOptions, Keep, Listed, ObjectId, Progress, PutOptions, RecordKey, Store, StoreError,
    Wanted, What,
};
use crate::artifact::{Interrupt, in_full};

/// What is noted beside an entry. One without is no entry, whatever it is called: jobs choose the keys of other caches.
const KEY: &str = "actions.key";
const SCOPE: &str = "actions.scope";
const VERSION: &str = "actions.version";

/// Entries that a list shows.
const LISTED: usize = 100;

/// An entry that a job may see.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    found: Listed,
    pub(super) key: String,
    pub(super) scope: String,
    pub(super) version: String,
}

impl Entry {
    /// What the store has found, if it is one.
    fn of(found: Listed) -> Option<Self> {
        let noted = |name: &str| found.info.metadata.get(name).cloned();
        let (key, scope, version) = (noted(KEY)?, noted(SCOPE)?, noted(VERSION)?);
        Some(Self { found, key, scope, version })
    }

    /// Bytes of its content.
    pub(super) fn bytes(&self) -> u64 {
        self.found.info.size
    }

    /// When it was kept.
    pub(super) fn created_at(&self) -> jiff::Timestamp {
        self.found.info.created_at
    }

    /// What tells its content from that of others: its owner's name, and the tree.
    pub(super) fn content(&self) -> Content {
        content_of(&self.found.info)
    }
}

/// See [`Entry::content`].
pub(super) type Content = (String, ObjectId);

fn content_of(info: &ArtifactInfo) -> Content {
    (info.owner.slug(), info.content_hash)
}

/// The entries of a store.
pub(super) struct Entries {
    store: Arc<Store>,
    cache: LocalCache,
    /// Where locks lie for whoever keeps something in this store.
    locks: PathBuf,
    /// What was found to be damaged while this server runs: it counts as not there.
    damaged: Mutex<HashSet<Content>>,
}

impl Entries {
    /// Those of `store`. `locks`: a folder that is there and that all share who serve this store.
    pub(super) fn new(store: Arc<Store>, locks: PathBuf) -> Self {
        Self { cache: LocalCache::new(Arc::clone(&store)), store, locks, damaged: Mutex::default() }
    }

    /// The entry that a job is given for these keys: in each scope, for each key, that of exactly this key, else the newest whose key
    /// begins so. Blocking.
    pub(super) fn find(&self, access: &Access, version: &Version, keys: &[Key]) -> Result<Option<Entry>, Refusal> {
        for scope in access.scopes() {
            for key in keys {
                let stored = stored_prefix(scope, version, key.as_str());
                for wanted in [Wanted::Exact(stored.clone()), Wanted::Prefix(stored)] {
                    if let Some(entry) = self.first(access, &wanted)? {
                        return Ok(Some(entry));
                    }
                }
            }
        }
        Ok(None)
    }

    fn first(&self, access: &Access, wanted: &Wanted) -> Result<Option<Entry>, StoreError> {
        for found in self.store.search(&access.owner, wanted)? {
            let Some(found) = self.store.confirm(found, wanted)? else { continue };
            let entry = Entry::of(found).filter(|entry| !self.is_damaged(&entry.content()));
            if entry.is_some() {
                return Ok(entry);
            }
        }
        Ok(None)
    }

    /// Entries that the job may see whose keys begin so: the first hundred, and how many there are. Blocking.
    pub(super) fn list(&self, access: &Access, prefix: &str) -> Result<(Vec<Entry>, usize), Refusal> {
        let prefix = prefix.to_lowercase();
        let mut entries = Vec::new();
        for scope in access.scopes() {
            let wanted = Wanted::Prefix(scope_prefix(scope).into_bytes());
            let found = self.store.search(&access.owner, &wanted)?.into_iter().filter_map(Entry::of);
            entries.extend(found.filter(|entry| entry.key.to_lowercase().starts_with(&prefix)));
        }
        let all = entries.len();
        entries.truncate(LISTED);
        Ok((entries, all))
    }

    /// The entry of exactly this name that jobs of this owner have kept. Blocking.
    pub(super) fn own(&self, access: &Access, name: &EntryName) -> Result<Option<Entry>, Refusal> {
        let wanted = Wanted::Exact(name.stored());
        for found in self.store.search(&access.owner, &wanted)? {
            if found.info.owner != access.owner {
                continue;
            }
            let Some(found) = self.store.confirm(found, &wanted)? else { continue };
            let entry = Entry::of(found).filter(|entry| !self.is_damaged(&entry.content()));
            if entry.is_some() {
                return Ok(entry);
            }
        }
        Ok(None)
    }

    /// The number of the entry of this name that this very job has kept, for a client that asks again. Blocking.
    pub(super) fn kept_by_job(&self, access: &Access, name: &EntryName) -> Result<Option<(u64, u64)>, Refusal> {
        let own = self.own(access, name)?;
        let of_job = own.filter(|entry| entry.found.info.producer.as_ref() == Some(&access.job));
        Ok(of_job.map(|entry| (number(&entry.found.info.content_hash.to_string()), entry.bytes())))
    }

    /// Keeps an entry under the job's owner. It is on disk when this returns. Its number. Blocking.
    pub(super) fn keep(
        &self,
        access: &Access,
        name: &EntryName,
        sealed: &Sealed,
        folder: &Path,
        interrupt: &Interrupt,
    ) -> Result<u64, Refusal> {
        let _alone = NameLock::take(&self.locks, &access.owner.slug(), &name.stored(), interrupt)?;
        // Another process may have been faster.
        if self.own(access, name)?.is_some() {
            return Err(Refusal::Exists);
        }
        let tree = arrange(sealed, folder).map_err(|error| disk("putting a cache entry together", &error))?;
        let noted = [(KEY, name.key.as_str()), (SCOPE, &name.scope), (VERSION, name.version.as_str())];
        let keep = Keep {
            owner: &access.owner,
            what: What::cache(&name.stored()),
            root: &tree,
            files: Files::Everything,
            options: PutOptions::default(),
            expires: Expiry::None,
            producer: Some(access.job.clone()),
            job: None,
            pipeline: None,
            origin: None,
            metadata: BTreeMap::from(noted.map(|(name, value)| (name.to_owned(), value.to_owned()))),
            interrupt: interrupt.clone(),
            progress: &Progress::default(),
        };
        let kept = match self.cache.put(&keep, &mut Vec::new()) {
            Ok(Ok(kept)) => kept,
            Ok(Err(full)) => return Err(full.into()),
            Err(crate::artifact::cache::CacheError::Store(error)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(error = in_full(&error), "a cache entry could not be kept");
                return Err(Refusal::Failed("the entry could not be kept; the agent's log says why".into()));
            }
        };
        let is_whole = kept.put.bytes == sealed.bytes && kept.put.entries == sealed.parts.len() as u64;
        if !is_whole {
            // What was proved to be whole a moment ago is not what was kept: never an entry.
            self.forget(access, &kept.key);
            return Err(Refusal::Failed("the entry changed while it was kept".into()));
        }
        self.lock().remove(&(access.owner.slug(), kept.put.id));
        Ok(number(&kept.put.id.to_string()))
    }

    fn forget(&self, access: &Access, key: &RecordKey) {
        if let Err(error) = self.store.forget_name(&access.owner, key, Withdrawal::Changed) {
            tracing::warn!(error = in_full(&error), "a cache entry that is not whole could not be removed");
        }
    }

    /// Brings the content of an entry into `folder`, proved. The lengths of its files, in order. Blocking.
    pub(super) fn bring(
        &self,
        entry: &Entry,
        access: &Access,
        folder: &Folder,
        interrupt: &Interrupt,
    ) -> Result<Vec<u64>, Refusal> {
        let fail = |error: std::io::Error| disk("fetching a cache entry", &error);
        let into = Dir::open_ambient_dir(folder.path(), ambient_authority()).map_err(fail)?;
        let options = GetOptions {
            into: &into,
            limits: &ArchiveLimits { bytes: entry.bytes(), ..ArchiveLimits::default() },
            progress: &Progress::default(),
            interrupt,
        };
        let info = match self.store.restore_found(&entry.found, &options) {
            Ok((info, _)) => info,
            Err(error) => {
                if error.is_damage() {
                    tracing::warn!(error = in_full(&error), "a cache entry is damaged, and counts as not there");
                    self.lock().insert(entry.content());
                }
                return Err(error.into());
            }
        };
        let lengths = lengths_of(&into).map_err(fail)?;
        // Another entry may have taken its place meanwhile: the one that was promised is gone.
        let is_it = content_of(&info) == entry.content() && lengths.iter().sum::<u64>() == entry.bytes();
        if !is_it {
            return Err(Refusal::Unknown("entry"));
        }
        // Only the order in which things go hangs on it.
        if let Err(error) = self.store.used(&entry.found, Some(&access.job)) {
            tracing::warn!(error = in_full(&error), "that a cache entry was used could not be noted");
        }
        Ok(lengths)
    }

    fn is_damaged(&self, content: &Content) -> bool {
        self.lock().contains(content)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<Content>> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of a part in its tree: their order is that of their names.
pub(super) fn part_name(index: usize) -> String {
    format!("{index:08}")
}

/// The parts of an upload under their names, as further names of the files that there are.
fn arrange(sealed: &Sealed, folder: &Path) -> std::io::Result<Dir> {
    let tree = folder.join("tree");
    spool::make(&tree)?;
    for (index, part) in sealed.parts.iter().enumerate() {
        fs::hard_link(part, tree.join(part_name(index)))?;
    }
    Dir::open_ambient_dir(tree, ambient_authority())
}

/// The lengths of the parts of a tree. An error: it is not one of an entry.
fn lengths_of(tree: &Dir) -> std::io::Result<Vec<u64>> {
    let mut names = beneath::children(tree)?;
    names.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut lengths = Vec::with_capacity(names.len());
    for (index, (name, node)) in names.iter().enumerate() {
        if *node != Node::File || beneath::path(name).as_os_str().as_bytes() != part_name(index).as_bytes() {
            return Err(std::io::Error::other("the tree is not that of a cache entry"));
        }
        lengths.push(u64::try_from(beneath::stat(tree, name)?.st_size).unwrap_or_default());
    }
    Ok(lengths)
}

/// A number for an entry, by its id: never 0, and one that JavaScript can hold.
fn number(id: &str) -> u64 {
    let digits = id.get(..12).and_then(|digits| u64::from_str_radix(digits, 16).ok());
    digits.unwrap_or_default().max(1)
}
