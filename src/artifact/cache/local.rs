//! Caches in the store on this machine's disk.

use std::sync::Arc;

use cap_std::fs::Dir;

use super::attempt::Attempt;
use super::{CacheError, CacheStore, Hit, RestoreRequest, Restored, SaveRequest, Saved, Wanted};
use crate::artifact::retention::{Expiry, Limit, Refusal};
use crate::artifact::select::Selection;
use crate::artifact::store::{
    self, ArtifactInfo, Files, GetOptions, Got, Keep, Kept, Listed, Progress, PutOptions, Store, StoreError, What,
};
use crate::artifact::{Remark, in_full, merge, shown};

/// Bytes of a key; the record holds it.
const MAX_KEY: usize = 8 << 10;

/// How often room is made for one save. Others may take it first.
const ROUNDS: usize = 8;

/// Caches in the store on this machine's disk.
pub struct LocalCache {
    store: Arc<Store>,
}

impl LocalCache {
    /// Caches in this store.
    pub fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// Has what other machines keep here, where it is newer. A shared store that fails keeps no job from what is here.
    fn bring(
        &self,
        request: &RestoreRequest<'_>,
        wanted: &store::Wanted,
        remarks: &mut Vec<Remark>,
    ) -> Result<(), CacheError> {
        match self.store.bring(request.owner, wanted, &request.interrupt) {
            Err(StoreError::Interrupted) => return Err(StoreError::Interrupted.into()),
            Err(error) => {
                remarks.push(Remark::warning(format!("only this machine's caches are used: {}", in_full(&error))));
            }
            Ok(Some(came)) => {
                let (name, bytes) = (name_of(&came.info), came.bytes);
                remarks.push(Remark::note(format!("cache {name} came from the shared store, {bytes} bytes of it")));
            }
            Ok(None) => {}
        }
        Ok(())
    }

    /// Puts what was found into the tree. `None`: it is damaged, which is told, or has just gone.
    fn try_restore(
        &self,
        request: &RestoreRequest<'_>,
        found: &Listed,
        into: &Dir,
        remarks: &mut Vec<Remark>,
    ) -> Result<Option<Hit>, CacheError> {
        let attempt = Attempt::begin(request.staging)?;
        let options = GetOptions {
            into: &attempt.folder,
            limits: &request.limits,
            progress: &Progress::default(),
            interrupt: &request.interrupt,
        };
        let (info, got) = match self.store.restore_found(found, &options) {
            Ok(restored) => restored,
            Err(StoreError::Unknown { .. }) => return Ok(None),
            Err(error) if error.is_damage() => {
                remarks.push(Remark::warning(format!("cache {}: not restored: {error}", name_of(&found.info))));
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        remarks.extend(merge::move_into(&attempt.folder, into, &got.unnamed).map_err(CacheError::Merge)?);
        // Only the order in which things go hangs on it.
        if let Err(error) = self.store.used(found, Some(request.job)) {
            tracing::warn!(%error, "that a cache was used could not be noted");
        }
        Ok(Some(hit(info, got, std::mem::take(remarks))))
    }

    /// Keeps the files, and makes room for them where a quota is full. The inner error says why there is none.
    pub(in crate::artifact) fn put(
        &self,
        keep: &Keep<'_>,
        remarks: &mut Vec<Remark>,
    ) -> Result<Result<Kept, StoreError>, CacheError> {
        for _ in 0..ROUNDS {
            let full = match self.store.put_shared(keep) {
                Ok(kept) => return Ok(Ok(kept)),
                Err(error) if is_full(&error) => error,
                Err(error) => return Err(error.into()),
            };
            let Some(needed) = needed(&full) else { return Ok(Err(full)) };
            let evicted = match self.store.make_room(keep.owner, needed, &keep.interrupt) {
                Err(error) if is_full(&error) => return Ok(Err(error)),
                done => done?,
            };
            let removed = |name| Remark::note(format!("cache {name} was removed to make room"));
            remarks.extend(evicted.names.into_iter().map(removed));
            if !evicted.has_helped {
                return Ok(Err(full));
            }
        }
        // Others were faster every time.
        match self.store.put_shared(keep) {
            Err(error) if !is_full(&error) => Err(error.into()),
            done => Ok(done),
        }
    }
}

impl CacheStore for LocalCache {
    fn restore(&self, request: &RestoreRequest<'_>, into: &Dir) -> Result<Restored, CacheError> {
        let mut remarks = Vec::new();
        for wanted in request.keys {
            let wanted = match wanted {
                Wanted::Exact(key) => store::Wanted::Exact(key.clone()),
                Wanted::Prefix(prefix) => store::Wanted::Prefix(prefix.clone()),
            };
            self.bring(request, &wanted, &mut remarks)?;
            for found in self.store.search(request.owner, &wanted)? {
                let Some(found) = self.store.confirm(found, &wanted)? else { continue };
                if let Some(hit) = self.try_restore(request, &found, into, &mut remarks)? {
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
            return Ok(refused(&format!("its key is longer than {MAX_KEY} bytes")));
        }
        let keep = Keep {
            owner: request.owner,
            what: What::cache(request.key),
            root: from,
            files: Files::Selected(selection),
            options: PutOptions { owners: true, ..PutOptions::default() },
            expires: Expiry::None,
            producer: Some(request.job.clone()),
            job: None,
            pipeline: None,
            origin: None,
            metadata: Default::default(),
            interrupt: request.interrupt.clone(),
            progress: &Progress::default(),
        };
        let mut remarks = Vec::new();
        Ok(match self.put(&keep, &mut remarks)? {
            Err(error) => refused(&error.to_string()),
            Ok(kept) if kept.put.entries == 0 => Saved::Nothing,
            Ok(kept) if kept.is_up_to_date => Saved::UpToDate,
            Ok(Kept { put, .. }) => {
                remarks.extend(put.remarks);
                Saved::Stored { stored_bytes: put.new_bytes, entries: put.entries, remarks }
            }
        })
    }
}

fn hit(info: ArtifactInfo, got: Got, remarks: Vec<Remark>) -> Hit {
    Hit {
        key: key_of(&info),
        writer: Some(info.owner),
        job: info.producer,
        created_at: info.created_at,
        entries: got.entries,
        bytes: got.bytes,
        remarks,
    }
}

fn key_of(info: &ArtifactInfo) -> Vec<u8> {
    match &info.what {
        What::Cache { key, .. } => hex::decode(key).unwrap_or_default(),
        What::Artifact { .. } => Vec::new(),
    }
}

fn name_of(info: &ArtifactInfo) -> String {
    shown(&key_of(info))
}

/// Whether there is no room, and nothing is wrong.
fn is_full(error: &StoreError) -> bool {
    matches!(error, StoreError::NoSpace { .. } | StoreError::Quota { .. } | StoreError::Refused(_))
}

/// The bytes that would have to be free. `None`: no cache that goes would help.
fn needed(error: &StoreError) -> Option<u64> {
    match error {
        // Within 98 %, from where on nothing is taken.
        StoreError::Refused(Refusal { limit, usage, .. }) if *limit != Limit::Disk => Some(usage.capacity / 50 + 1),
        StoreError::Quota { needed, quota, .. } => Some(*needed).filter(|needed| needed <= quota),
        _ => None,
    }
}

fn refused(why: &str) -> Saved {
    Saved::Refused(Remark::warning(format!("the cache was not kept: {why}")))
}
