//! What all requests work with.

use std::path::Path;
use std::sync::Arc;

use http::HeaderMap;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;

use super::access::{Grant, Grants};
use super::body::blocking;
use super::downloads::Downloads;
use super::entries::{Entries, Entry};
use super::key::{EntryName, Key, Version};
use super::limits::Limits;
use super::refusal::Refusal;
use super::sign::{Purpose, Signer};
use super::upload::{Kind, Upload};
use super::uploads::Uploads;
use crate::artifact::Interrupt;
use crate::artifact::store::Clock;

/// How long an address to fetch an entry from is good for, in seconds.
const DOWNLOAD_LASTS: i64 = 60 * 60;

/// How long an address to upload an entry to is good for, in seconds.
const UPLOAD_LASTS: i64 = 6 * 60 * 60;

/// Keys of one request. Clients send ten, and some of them each twice.
const MOST_KEYS: usize = 32;

/// Where entries are fetched and uploaded, below the server's own address.
pub(super) const DOWNLOADS: &str = "_apis/artifactcache/artifacts";
/// See [`DOWNLOADS`].
pub(super) const UPLOADS: &str = "_apis/artifactcache/blobs";

/// What all requests work with.
pub(super) struct Shared {
    pub(super) limits: Limits,
    /// The server's own address, with a slash behind it.
    pub(super) base: String,
    pub(super) signer: Arc<Signer>,
    pub(super) grants: Grants,
    pub(super) uploads: Uploads,
    pub(super) downloads: Arc<Downloads>,
    pub(super) entries: Arc<Entries>,
    /// Ends what is being kept or brought.
    pub(super) interrupt: Interrupt,
    /// What is being kept: it goes on when whoever asked for it has hung up.
    pub(super) keeping: TaskTracker,
    clock: Clock,
}

/// A job that asks, and its turn to do so.
pub(super) struct Asking {
    pub(super) grant: Arc<Grant>,
    _turn: OwnedSemaphorePermit,
}

impl Shared {
    /// With nobody let in yet. `folder` is there, and nobody else's.
    pub(super) fn new(base: String, folder: &Path, entries: Entries, limits: Limits, clock: Clock) -> Self {
        let signer = Arc::new(Signer::new());
        let interrupt = Interrupt::default();
        Self {
            base,
            grants: Grants::new(Arc::clone(&signer)),
            signer,
            uploads: Uploads::new(folder.to_owned(), &limits),
            downloads: Arc::new(Downloads::new(folder.to_owned(), &limits, interrupt.clone())),
            entries: Arc::new(entries),
            interrupt,
            keeping: TaskTracker::new(),
            limits,
            clock,
        }
    }

    /// Seconds since 1970.
    pub(super) fn now(&self) -> i64 {
        (self.clock)().as_second()
    }

    /// The job that asks, by its token.
    pub(super) fn asking(&self, headers: &HeaderMap) -> Result<Asking, Refusal> {
        self.enter(self.grants.of(headers, self.now())?)
    }

    /// A job that has shown an address that was given to it.
    pub(super) fn enter(&self, grant: Arc<Grant>) -> Result<Asking, Refusal> {
        if grant.over.is_cancelled() || self.now() > grant.expires {
            return Err(Refusal::BadSignature);
        }
        let turn = grant.enter()?;
        Ok(Asking { grant, _turn: turn })
    }

    /// The entry that a job is given for these keys.
    pub(super) async fn find(
        &self,
        grant: &Arc<Grant>,
        version: &str,
        keys: &[String],
    ) -> Result<Option<Entry>, Refusal> {
        let version = Version::new(version).map_err(Refusal::Invalid)?;
        if keys.len() > MOST_KEYS {
            return Err(Refusal::Invalid(format!("there are {} keys, and there may be {MOST_KEYS}", keys.len())));
        }
        let keys: Vec<Key> =
            keys.iter().map(|key| Key::new(key)).collect::<Result<_, _>>().map_err(Refusal::Invalid)?;
        if keys.is_empty() {
            return Err(Refusal::Invalid("there is no key".into()));
        }
        let (entries, grant) = (Arc::clone(&self.entries), Arc::clone(grant));
        blocking(move || entries.find(&grant.access, &version, &keys)).await
    }

    /// What an entry is called that a job writes.
    pub(super) fn name(&self, grant: &Grant, key: &str, version: &str) -> Result<EntryName, Refusal> {
        let key = Key::new(key).map_err(Refusal::Invalid)?;
        let version = Version::new(version).map_err(Refusal::Invalid)?;
        Ok(EntryName { scope: grant.access.scope.clone(), version, key })
    }

    /// Begins an entry of the job's own. `claimed`: bytes that it is going to have, as far as somebody says so.
    pub(super) async fn reserve(
        self: &Arc<Self>,
        grant: &Arc<Grant>,
        name: EntryName,
        kind: Kind,
        claimed: Option<u64>,
    ) -> Result<Arc<Upload>, Refusal> {
        if claimed.is_some_and(|bytes| bytes > self.limits.entry_bytes) {
            return Err(Refusal::TooLarge { limit: self.limits.entry_bytes });
        }
        let (this, grant) = (Arc::clone(self), Arc::clone(grant));
        blocking(move || {
            if this.entries.own(&grant.access, &name)?.is_some() {
                return Err(Refusal::Exists);
            }
            this.uploads.reserve(&grant, name, kind)
        })
        .await
    }

    /// Keeps what an upload has brought, which has `size` bytes. The entry's number.
    pub(super) async fn keep(self: &Arc<Self>, upload: Arc<Upload>, size: u64) -> Result<u64, Refusal> {
        let sealed = upload.seal(size)?;
        let this = Arc::clone(self);
        let kept = self.keeping.spawn(async move {
            let (keeper, kept_upload) = (Arc::clone(&this), Arc::clone(&upload));
            let kept = blocking(move || {
                let access = &kept_upload.grant.access;
                keeper.entries.keep(access, &kept_upload.name, &sealed, kept_upload.folder(), &keeper.interrupt)
            })
            .await;
            // Whatever came of it, and be it a panic: nobody else frees the name.
            let is_kept = kept.is_ok().then_some(size);
            let finish = move || {
                this.uploads.finish(&upload, is_kept);
                Ok(())
            };
            blocking(finish).await.and(kept)
        });
        kept.await.unwrap_or_else(|_| Err(Refusal::Failed("keeping the entry broke off".into())))
    }

    /// The number and size of the entry of this name, if this very job has kept it.
    pub(super) async fn kept_by_job(&self, grant: &Arc<Grant>, name: EntryName) -> Result<Option<(u64, u64)>, Refusal> {
        let (entries, grant) = (Arc::clone(&self.entries), Arc::clone(grant));
        blocking(move || entries.kept_by_job(&grant.access, &name)).await
    }

    /// Where the job fetches an entry.
    pub(super) fn download_url(&self, grant: &Arc<Grant>, entry: Entry) -> String {
        let id = self.downloads.promise(Arc::clone(grant), entry);
        let query = self.signer.query(Purpose::Download, id, self.now() + DOWNLOAD_LASTS);
        format!("{}{DOWNLOADS}/{id}?{query}", self.base)
    }

    /// Where the job uploads an entry.
    pub(super) fn upload_url(&self, upload: &Upload) -> String {
        let query = self.signer.query(Purpose::Upload, upload.id, self.now() + UPLOAD_LASTS);
        format!("{}{UPLOADS}/{}?{query}", self.base, upload.id)
    }

    /// The job is over.
    pub(super) fn end_job(&self, grant: u128) {
        self.grants.revoke(grant);
        self.uploads.end_job(grant);
        self.downloads.end_job(grant);
    }
}
