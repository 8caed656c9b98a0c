//! The cache server of a run: for what tools in a workflow's steps ask for themselves.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::house::{House, words};
use crate::artifact::server::{Access, Admission, CacheServer, Limits, ServerPlace};
use crate::config::CacheServerAddress;
use crate::executor::sandbox::place::Place;
use crate::forge::Assignment;

/// How much longer than its job a token is good for: what stands around the job's own time.
const MARGIN: Duration = Duration::from_secs(3600);

/// The cache server of a run.
pub struct RunCaches {
    server: CacheServer,
    scope: String,
    fallbacks: Vec<String>,
}

impl RunCaches {
    /// Begins to serve, for jobs of a run whose caches belong to `scopes`: its own ref, and those where it may look, too. `None`: none is
    /// wanted, or the jobs reach no network. The error is for people: the run does without.
    pub async fn open(
        house: &House,
        wanted: CacheServerAddress,
        scopes: (String, Vec<String>),
    ) -> Result<Option<Self>, String> {
        let address = match wanted {
            CacheServerAddress::Off => None,
            CacheServerAddress::At(address) => Some(address),
            CacheServerAddress::Auto => address_for_jobs(house).await?,
        };
        let Some(address) = address else { return Ok(None) };
        let mut limits = Limits::default();
        if address.is_loopback() {
            // There all jobs come from one address.
            limits.peer_connections = limits.connections;
        }
        let place = ServerPlace {
            address,
            folder: house.dir.root().join("cache-server"),
            locks: locks(house.dir.root()),
            store: Arc::clone(&house.tools.store),
            limits,
            clock: Arc::new(jiff::Timestamp::now),
        };
        let server = CacheServer::start(place).await.map_err(words)?;
        let (scope, fallbacks) = scopes;
        Ok(Some(Self { server, scope, fallbacks }))
    }

    /// Lets a job in for as long as it runs.
    pub fn admit(&self, assignment: &Assignment, timeout: Duration) -> Admission {
        self.server.admit(Access {
            owner: assignment.owner.clone(),
            job: assignment.key.clone(),
            scope: self.scope.clone(),
            fallbacks: self.fallbacks.clone(),
            lasts: timeout.saturating_add(MARGIN),
        })
    }

    /// Ends it.
    pub async fn close(self) {
        self.server.close().await;
    }
}

/// A folder that all local runs share, as they do their store: a run's own is `runs/ID` below it.
fn locks(run: &Path) -> PathBuf {
    run.ancestors().nth(2).unwrap_or(run).join("cache-locks")
}

/// Where jobs reach this machine. `None`: nowhere.
async fn address_for_jobs(house: &House) -> Result<Option<IpAddr>, String> {
    match &house.tools.place {
        Place::Host(_) => Ok(Some(Ipv4Addr::LOCALHOST.into())),
        Place::Docker(place) => place.engine.machine_address(&place.settings.network_mode).await.map_err(words),
    }
}
