//! The store as the operator set it up.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::registrar;
use crate::artifact::remote::{Remote, RemoteError};
use crate::artifact::retention::{Cycle, Policies, PolicyError};
use crate::artifact::store::{Limits, Store, StoreError, StoreKey};
use crate::config::{NetworkConfig, StoreConfig};

/// What keeps the store from being opened.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The store itself.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key's file.
    #[error("the key `{}` (`store.key_file`) cannot be read: {source}", path.display())]
    KeyFile {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The store that machines share.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The way to the network.
    #[error("the shared store (`store.remote`) cannot be reached: {0}")]
    Network(String),
    /// The policies.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// Opens the store. `usual` is where it lies when the configuration does not say. Blocking.
pub fn open(config: &StoreConfig, usual: &Path) -> Result<Store, StorageError> {
    let key = match &config.key_file {
        None => None,
        Some(path) => {
            let bytes = std::fs::read(path).map_err(|source| StorageError::KeyFile { path: path.clone(), source })?;
            Some(StoreKey::parse(&bytes)?)
        }
    };
    let limits = Limits {
        total_bytes: config.max_size.as_u64(),
        project_bytes: config.max_project_size.as_u64(),
        owner_bytes: config.max_owner_size.as_u64(),
        reserve_bytes: config.reserve.as_u64(),
    };
    let root = config.dir.as_deref().unwrap_or(usual);
    Ok(Store::open(root, limits, key, Arc::new(jiff::Timestamp::now))?)
}

/// The same store with the one behind it that machines share, where the configuration names one. `runtime` carries what goes over the network. Blocking.
pub fn join(
    store: Store,
    config: &StoreConfig,
    network: &NetworkConfig,
    runtime: &Handle,
) -> Result<Store, StorageError> {
    let Some(remote) = &config.remote else { return Ok(store) };
    let outbound = registrar::outbound_through(network, None).map_err(StorageError::Network)?;
    let remote = Remote::open(remote, outbound, runtime.clone())?;
    let keep = remote.keep_days().map(|days| Duration::from_secs(u64::from(days) * 24 * 3600));
    Ok(store.join(Arc::new(remote), keep))
}

/// Removes the caches that versions before the store kept in the state directory: they begin empty. Blocking.
pub fn remove_old_caches(state_dir: &Path) -> std::io::Result<()> {
    let old = state_dir.join("cache");
    // Made by us, and not by somebody who put the store there.
    let is_ours = old.join("format").is_file() && old.join("projects").is_dir();
    if is_ours { std::fs::remove_dir_all(old) } else { Ok(()) }
}

/// How the operator wants things to go.
pub fn retention(config: &StoreConfig) -> Result<(Policies, Cycle), StorageError> {
    let usual = Cycle::default();
    let max_deletions = usize::try_from(config.max_deletions).ok().and_then(std::num::NonZeroUsize::new);
    let cycle = Cycle { max_deletions: max_deletions.unwrap_or(usual.max_deletions), grace: config.grace };
    Ok((Policies::new(config.retention.clone())?, cycle))
}
