//! Who may ask: jobs that run, each by a token of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::limits::Limits;
use super::refusal::Refusal;
use super::sign::Signer;
use super::spool::Budget;
use crate::pipeline::{JobKey, Owner, Secret};

/// What a job may do at the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// On whose behalf it runs. It reads what its [`Owner::may_read`] lets it, and writes under its own.
    pub owner: Owner,
    /// The job.
    pub job: JobKey,
    /// The ref that it runs for: what it writes belongs there, and there it looks first.
    pub scope: String,
    /// The refs where it looks next, in this order: the one it goes into, the default branch.
    pub fallbacks: Vec<String>,
    /// How long its token is good for, if it is not taken back before.
    pub lasts: Duration,
}

impl Access {
    /// The refs where it looks, in order, each once.
    pub(super) fn scopes(&self) -> Vec<&str> {
        let mut scopes = vec![self.scope.as_str()];
        for scope in &self.fallbacks {
            if !scope.is_empty() && !scopes.contains(&scope.as_str()) {
                scopes.push(scope);
            }
        }
        scopes
    }
}

/// Lists of blocks that are read for one job at the same time.
const LISTS: usize = 2;

/// A job that was let in.
pub(super) struct Grant {
    /// Names it in its token. Random.
    pub(super) id: u128,
    pub(super) access: Access,
    /// Seconds since 1970.
    pub(super) expires: i64,
    /// Cancelled when the job is over.
    pub(super) over: CancellationToken,
    /// Bytes of entries that it writes.
    pub(super) budget: Arc<Budget>,
    /// Blocks of these.
    pub(super) blocks: Arc<Budget>,
    /// Bytes of entries that were brought for it.
    pub(super) downloads: Arc<Budget>,
    /// Whoever reads a list of blocks: it is long, and read whole.
    lists: Semaphore,
    requests: Arc<Semaphore>,
}

impl Grant {
    /// One more request of the job begins.
    pub(super) fn enter(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        Arc::clone(&self.requests).try_acquire_owned().map_err(|_| Refusal::TooMany("requests"))
    }

    /// The job's turn to have a list of blocks read. It comes within `patience`, or not.
    pub(super) async fn list_turn(&self, patience: Duration) -> Result<SemaphorePermit<'_>, Refusal> {
        let turn = tokio::time::timeout(patience, self.lists.acquire()).await;
        turn.ok().and_then(Result::ok).ok_or(Refusal::TooMany("lists of blocks"))
    }
}

/// All jobs that were let in.
pub(super) struct Grants {
    signer: Arc<Signer>,
    all: Mutex<HashMap<u128, Arc<Grant>>>,
}

impl Grants {
    pub(super) fn new(signer: Arc<Signer>) -> Self {
        Self { signer, all: Mutex::default() }
    }

    /// Lets a job in. What is returned beside the grant is its token.
    pub(super) fn admit(&self, access: Access, limits: &Limits, now: i64) -> (Arc<Grant>, Secret) {
        let id: u128 = rand::random();
        let lasts = i64::try_from(access.lasts.as_secs()).unwrap_or(i64::MAX);
        let grant = Arc::new(Grant {
            id,
            expires: now.saturating_add(lasts),
            over: CancellationToken::new(),
            budget: Arc::new(Budget::new(limits.job_bytes)),
            blocks: Arc::new(Budget::new(limits.job_blocks)),
            downloads: Arc::new(Budget::new(limits.job_download_bytes)),
            lists: Semaphore::new(LISTS),
            requests: Arc::new(Semaphore::new(limits.job_requests)),
            access,
        });
        let token = self.signer.token(&claims(&grant, now));
        self.lock().insert(id, Arc::clone(&grant));
        (grant, Secret::new(token))
    }

    /// The job that a request's token belongs to, if it still runs.
    pub(super) fn of(&self, headers: &HeaderMap, now: i64) -> Result<Arc<Grant>, Refusal> {
        let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let token = header.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let claims = token.and_then(|(_, token)| self.signer.claims(token.trim()));
        let id = claims.and_then(|claims| u128::from_str_radix(claims.get("jti")?.as_str()?, 16).ok());
        let grant = id.and_then(|id| self.lock().get(&id).cloned());
        grant.filter(|grant| now <= grant.expires).ok_or(Refusal::Unauthenticated)
    }

    /// The job is over: its token is good for nothing any more.
    pub(super) fn revoke(&self, id: u128) {
        if let Some(grant) = self.lock().remove(&id) {
            grant.over.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u128, Arc<Grant>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What clients look for in the token: `ac` says which scopes may be read (1) and written (2), with the times of a JSON Web Token
/// (`tonistiigi/go-actions-cache: cache.go`); `scp` names run and job (`actions/toolkit: packages/artifact`). The server itself
/// believes only its own list.
fn claims(grant: &Grant, now: i64) -> serde_json::Value {
    let scopes = grant.access.scopes();
    let allowed = scopes.iter().enumerate().map(|(at, scope)| {
        let permission = if at == 0 { 3 } else { 1 };
        json!({"Scope": scope, "Permission": permission})
    });
    let job = grant.access.job.as_str();
    json!({
        "jti": format!("{:032x}", grant.id),
        "scp": format!("Actions.Results:{job}:{job}"),
        "ac": serde_json::Value::from_iter(allowed).to_string(),
        // A client on this machine may look at the clock of another second.
        "nbf": now - 60,
        "iat": now,
        "exp": grant.expires,
    })
}
