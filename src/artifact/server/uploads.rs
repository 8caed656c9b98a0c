//! All entries that are being uploaded. Of each name there is one at a time.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::access::Grant;
use super::key::EntryName;
use super::limits::Limits;
use super::refusal::Refusal;
use super::spool::{self, Budget};
use super::upload::{Kind, Upload};

/// Uploads that are over and remembered, for clients whose answer was lost.
const REMEMBERED: usize = 4096;

/// Numbers have so many bits: JavaScript holds no larger ones.
const ID_BITS: u32 = 53;

/// What tells names of different owners apart: the owner's and that in the store.
type Claim = (String, Vec<u8>);

/// All entries that are being uploaded.
pub(super) struct Uploads {
    folder: PathBuf,
    limits: Limits,
    all: Arc<Budget>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: HashMap<u64, Arc<Upload>>,
    claims: HashMap<Claim, u64>,
    over: VecDeque<Over>,
}

/// An upload that is over: the entry is kept.
#[derive(Clone, Debug)]
struct Over {
    id: u64,
    grant: u128,
    bytes: u64,
}

impl Uploads {
    pub(super) fn new(folder: PathBuf, limits: &Limits) -> Self {
        let all = Arc::new(Budget::new(limits.upload_bytes));
        Self { folder, limits: limits.clone(), all, state: Mutex::default() }
    }

    /// Begins an upload; of several for one name exactly one does. Blocking.
    pub(super) fn reserve(&self, grant: &Arc<Grant>, name: EntryName, kind: Kind) -> Result<Arc<Upload>, Refusal> {
        let claim = claim(grant, &name);
        // Removed when nobody is kept waiting by it.
        let mut _given_up = None;
        let id = {
            let mut state = self.lock();
            if let Some(id) = state.claims.get(&claim).copied() {
                let is_given_up = match state.open.get(&id) {
                    Some(upload) => self.give_up_idle(upload, Instant::now()),
                    // Its folder is just being made.
                    None => false,
                };
                if !is_given_up {
                    return Err(Refusal::Exists);
                }
                _given_up = state.open.remove(&id);
            }
            let of_job = state.open.values().filter(|upload| upload.grant.id == grant.id).count();
            if of_job >= self.limits.job_uploads {
                return Err(Refusal::TooMany("open uploads"));
            }
            let id = state.free_id();
            state.claims.insert(claim.clone(), id);
            id
        };
        let place = (self.folder.as_path(), Arc::clone(&self.all), &self.limits);
        let made = Upload::new(id, Arc::clone(grant), name, kind, place);
        let mut state = self.lock();
        match made {
            // The job may have ended meanwhile.
            Ok(upload) if !grant.over.is_cancelled() => {
                let upload = Arc::new(upload);
                state.open.insert(id, Arc::clone(&upload));
                Ok(upload)
            }
            other => {
                state.release(&claim, id);
                Err(other.err().unwrap_or(Refusal::Over))
            }
        }
    }

    /// The job's own upload of this number.
    pub(super) fn of_job(&self, grant: &Grant, id: u64) -> Result<Arc<Upload>, Refusal> {
        let found = self.lock().open.get(&id).filter(|upload| upload.grant.id == grant.id).cloned();
        found.ok_or(Refusal::Unknown("upload"))
    }

    /// The upload of this number, for whoever has shown a signed address.
    pub(super) fn by_id(&self, id: u64) -> Result<Arc<Upload>, Refusal> {
        self.lock().open.get(&id).cloned().ok_or(Refusal::Unknown("upload"))
    }

    /// The job's own upload of this name.
    pub(super) fn by_name(&self, grant: &Grant, name: &EntryName) -> Result<Arc<Upload>, Refusal> {
        let state = self.lock();
        let id = state.claims.get(&claim(grant, name));
        let found = id.and_then(|id| state.open.get(id)).filter(|upload| upload.grant.id == grant.id).cloned();
        found.ok_or(Refusal::Unknown("upload"))
    }

    /// How many bytes an upload brought that is over, if it was the job's.
    pub(super) fn was_kept(&self, grant: &Grant, id: u64) -> Option<u64> {
        self.lock().over.iter().find(|over| over.id == id && over.grant == grant.id).map(|over| over.bytes)
    }

    /// An upload is over: kept, with so many bytes, or given up.
    pub(super) fn finish(&self, upload: &Upload, kept: Option<u64>) {
        let mut state = self.lock();
        state.open.remove(&upload.id);
        state.release(&claim(&upload.grant, &upload.name), upload.id);
        if let Some(bytes) = kept {
            if state.over.len() >= REMEMBERED {
                state.over.pop_front();
            }
            state.over.push_back(Over { id: upload.id, grant: upload.grant.id, bytes });
        }
    }

    /// Gives up what a job has not finished. What is just being kept is not, and its name is not free before it is kept.
    pub(super) fn end_job(&self, grant: u128) {
        spool::discard(self.give_up(|upload| upload.grant.id == grant && upload.give_up()));
        self.lock().over.retain(|over| over.grant != grant);
    }

    /// Gives up what nobody has touched for long. Blocking.
    pub(super) fn sweep(&self, now: Instant) {
        drop(self.give_up(|upload| self.give_up_idle(upload, now)));
    }

    fn give_up_idle(&self, upload: &Upload, now: Instant) -> bool {
        now.checked_sub(self.limits.idle).is_some_and(|moment| upload.give_up_idle(moment))
    }

    /// What is left of those that are given up: files, which take their time to be removed.
    #[must_use]
    fn give_up(&self, is_meant: impl Fn(&Upload) -> bool) -> Vec<Arc<Upload>> {
        let given_up: Vec<_> = {
            let state = self.lock();
            state.open.values().filter(|upload| is_meant(upload)).cloned().collect()
        };
        given_up.iter().for_each(|upload| self.finish(upload, None));
        given_up
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn free_id(&self) -> u64 {
        loop {
            let id = rand::random::<u64>() >> (u64::BITS - ID_BITS);
            if id != 0 && !self.open.contains_key(&id) {
                return id;
            }
        }
    }

    /// The name is free again, if it is still this upload's.
    fn release(&mut self, claim: &Claim, id: u64) {
        if self.claims.get(claim) == Some(&id) {
            self.claims.remove(claim);
        }
    }
}

fn claim(grant: &Grant, name: &EntryName) -> Claim {
    (grant.access.owner.slug(), name.stored())
}
