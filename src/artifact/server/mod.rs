//! The server for caches that tools in a job ask for themselves: `actions/cache`, buildkit's `type=gha`, sccache, `setup-*`.
//!
//! Both versions of GitHub's protocol stand over one set of entries (`v1`, `v2` and `blob`). An entry is a file under a key and a version
//! in a scope, which is a ref; it is written once, whole or not at all. A job is let in with an [`Access`], and has a token for as long as
//! it runs. What is kept lies in the content-addressed store under the job's [`Owner`](crate::pipeline::Owner), so that its rules, quotas
//! and retention hold; what is fetched was proved before.
//!
//! - `access`: who may ask, by tokens; `sign`: tokens and addresses that cannot be made up. `limits`: how much.
//! - `key`: what entries are called; `entries`: finding, keeping and bringing them.
//! - `uploads`, `upload`, `blocks`, `ranges`: entries that are being written. `downloads`: those that are fetched. `spool`: their files.
//! - `shared`: what requests work with. `body`, `range`, `protobuf`, `answer`, `refusal`: what they are made of.
//! - `listen`: sockets; `peers`: how many each has; `unread`: those that nobody reads; `leftover`: requests that were answered before they
//!   were read. `lock`: against other processes.

mod access;
mod answer;
mod blob;
mod blocks;
mod body;
mod downloads;
mod entries;
mod key;
mod leftover;
mod limits;
mod listen;
mod lock;
mod peers;
mod protobuf;
mod range;
mod ranges;
mod refusal;
mod shared;
mod sign;
mod spool;
mod unread;
mod upload;
mod uploads;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

pub use access::Access;
pub use limits::Limits;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::entries::Entries;
use self::shared::Shared;
use super::store::{Clock, Store};
use crate::pipeline::Secret;

/// How often it is looked for uploads that were given up.
const SWEEP: Duration = Duration::from_secs(30);
/// How long requests may go on when the server ends.
const END: Duration = Duration::from_secs(5);

/// What a server needs.
pub struct ServerPlace {
    /// The address to listen at, which is also the one that jobs are told. The port is any that is free.
    pub address: IpAddr,
    /// A folder for entries that are being written or fetched. Made where it is missing, and gone with the server.
    pub folder: PathBuf,
    /// A folder for locks, which all servers of the store share, also those of other processes. Made where it is missing, and stays.
    pub locks: PathBuf,
    /// Where entries are kept.
    pub store: Arc<Store>,
    /// How much jobs may ask.
    pub limits: Limits,
    /// Tells the time.
    pub clock: Clock,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address stands for all of the machine's.
    #[error("{0} stands for all addresses of this machine: name the one that jobs reach")]
    Unspecified(IpAddr),
    /// Nothing can be listened at there.
    #[error("the address {address} cannot be listened at: {source}")]
    Listen {
        /// Where.
        address: IpAddr,
        /// Why.
        source: io::Error,
    },
    /// The folder cannot be made.
    #[error("the folder `{}` cannot be made: {source}; check the permissions and the disk", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A server that runs.
pub struct CacheServer {
    shared: Arc<Shared>,
    folder: PathBuf,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl CacheServer {
    /// Begins to listen.
    ///
    /// # Errors
    /// The address cannot be listened at, or the folder not be made.
    pub async fn start(place: ServerPlace) -> Result<Self, ServerError> {
        let ServerPlace { address, folder, locks, store, limits, clock } = place;
        if address.is_unspecified() {
            return Err(ServerError::Unspecified(address));
        }
        let listen = |source| ServerError::Listen { address, source };
        let listener = TcpListener::bind(SocketAddr::new(address, 0)).await.map_err(listen)?;
        let base = format!("http://{}/", listener.local_addr().map_err(listen)?);
        for path in [&folder, &locks] {
            spool::make(path).map_err(|source| ServerError::Folder { path: path.clone(), source })?;
        }
        let shared = Arc::new(Shared::new(base, &folder, Entries::new(store, locks), limits.clone(), clock));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let router = listen::router(Arc::clone(&shared));
        tasks.spawn(listen::serve(listener, router, limits, stop.clone(), tasks.clone()));
        tasks.spawn(sweep(Arc::clone(&shared), stop.clone()));
        Ok(Self { shared, folder, stop, tasks })
    }

    /// Where it is reached, with a slash behind it.
    pub fn url(&self) -> &str {
        &self.shared.base
    }

    /// Lets a job in, until what is returned is dropped.
    pub fn admit(&self, access: Access) -> Admission {
        let (grant, token) = self.shared.grants.admit(access, &self.shared.limits, self.shared.now());
        Admission { shared: Arc::clone(&self.shared), grant: grant.id, token }
    }

    /// Ends it: requests have a few seconds to come to their end, and so has what is being kept.
    pub async fn close(self) {
        self.stop.cancel();
        self.tasks.close();
        self.shared.keeping.close();
        let ended = async {
            self.tasks.wait().await;
            self.shared.keeping.wait().await;
        };
        if tokio::time::timeout(END, ended).await.is_err() {
            self.shared.interrupt.raise();
            if tokio::time::timeout(END, self.shared.keeping.wait()).await.is_err() {
                tracing::warn!("a cache entry is still being kept when the cache server ends");
            }
        }
        let folder = self.folder.clone();
        let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(folder)).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(%error, folder = %self.folder.display(), "the folder of the cache server stays");
        }
    }
}

impl Drop for CacheServer {
    fn drop(&mut self) {
        // Where nobody has closed it, at least nobody new is heard.
        self.stop.cancel();
    }
}

/// Gives up, now and then, what nobody finishes.
async fn sweep(shared: Arc<Shared>, stop: CancellationToken) {
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let shared = Arc::clone(&shared);
        // Files are removed.
        let _ = tokio::task::spawn_blocking(move || shared.uploads.sweep(Instant::now())).await;
    }
}

/// A job that was let in. Dropped, its token is good for nothing, and what it has not finished is gone.
pub struct Admission {
    shared: Arc<Shared>,
    grant: u128,
    token: Secret,
}

impl Admission {
    /// The job's token. To be masked.
    pub fn token(&self) -> &Secret {
        &self.token
    }

    /// What tools look for in their environment.
    pub fn environment(&self) -> Vec<(String, Secret)> {
        let url = || Secret::new(self.shared.base.clone());
        [
            ("ACTIONS_CACHE_URL", url()),
            ("ACTIONS_RESULTS_URL", url()),
            ("ACTIONS_RUNTIME_TOKEN", self.token.clone()),
            ("ACTIONS_CACHE_SERVICE_V2", Secret::new("true")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.shared.end_job(self.grant);
    }
}
