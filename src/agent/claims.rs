//! Which jobs somebody in this process works on.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::pipeline::JobKey;

/// The jobs that somebody in this process works on: from before they are journalled until they are closed. So the
/// journal can be compared with what is being done at any time, and no job is taken up twice. Cheap to clone.
#[derive(Clone, Default)]
pub struct Claims {
    keys: Arc<Mutex<HashSet<JobKey>>>,
}

/// One job is ours to work on while this lives.
pub struct Claim {
    claims: Claims,
    key: JobKey,
}

impl Claims {
    /// Takes a job; `None` when somebody works on it.
    pub fn take(&self, key: &JobKey) -> Option<Claim> {
        let is_new = self.lock().insert(key.clone());
        is_new.then(|| Claim { claims: self.clone(), key: key.clone() })
    }

    /// All of them.
    pub fn keys(&self) -> Vec<JobKey> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<JobKey>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.key);
    }
}
