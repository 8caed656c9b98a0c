//! A store in a bucket, or in a folder that several machines mount: blobs by name, over the one door to the network.
//!
//! - [`bucket`]: whole objects under any key, each call within its time; [`Remote`] is a bucket whose names are [`BlobName`]s.
//! - `connect`: from the configuration to a client of the server's kind.
//! - `transport`: its requests go through [`crate::outbound`], with answers read up to a limit.
//! - `bound`: how long a call may take, and who may end it.
//! - `list`, `transfer`: the calls that are more than one request.
//! - `explain`: what a failure means, in one sentence for people.
//!
//! Calls block, on a runtime that is handed in: make them from `spawn_blocking` or from a thread of its own, never from a
//! task, and not after the runtime has ended.

use std::fs::File;
use std::path::Path;

use tokio::runtime::Handle;

use super::Interrupt;
use super::store::{Blob, BlobName, LevelError, SecondLevel};
use crate::config::RemoteConfig;
use crate::outbound::Outbound;

mod bound;
pub mod bucket;
mod connect;
mod explain;
mod list;
mod transfer;
mod transport;

#[cfg(test)]
pub(crate) mod tests;

pub use bucket::Bucket;
pub use connect::RemoteError;

/// How many days something stays when nothing is said.
const KEEP_DAYS: u32 = 30;

/// A store that other machines use, too, as `[store.remote]` describes it.
#[derive(Clone, Debug)]
pub struct Remote {
    bucket: Bucket,
    keep_days: u32,
}

impl Remote {
    /// Reads the key files that `config` names, and asks nobody anything.
    ///
    /// # Errors
    /// The configuration cannot be used: an unreadable key file, a folder that is not there.
    pub fn open(config: &RemoteConfig, outbound: Outbound, runtime: Handle) -> Result<Self, RemoteError> {
        Ok(Self { bucket: Bucket::open(config, outbound, runtime)?, keep_days: config.keep_days.unwrap_or(KEEP_DAYS) })
    }

    /// How many days something stays after its last use; `None`: for ever.
    pub fn keep_days(&self) -> Option<u32> {
        (self.keep_days > 0).then_some(self.keep_days)
    }

    /// Whether it can be reached and looked into with the configured credentials.
    pub fn look(&self, interrupt: &Interrupt) -> Result<(), LevelError> {
        self.bucket.look(interrupt)
    }
}

impl SecondLevel for Remote {
    fn title(&self) -> &str {
        self.bucket.title()
    }

    fn upload(&self, name: &BlobName, from: &Path, interrupt: &Interrupt) -> Result<(), LevelError> {
        let mut file =
            File::open(from).map_err(|source| LevelError::File { path: from.display().to_string(), source })?;
        self.bucket.upload(name.as_str(), &mut file, &[], interrupt)
    }

    fn write(&self, name: &BlobName, bytes: &[u8], interrupt: &Interrupt) -> Result<(), LevelError> {
        self.bucket.write(name.as_str(), bytes, interrupt)
    }

    fn download(
        &self,
        name: &BlobName,
        into: &mut File,
        limit: u64,
        interrupt: &Interrupt,
    ) -> Result<Option<u64>, LevelError> {
        Ok(self.bucket.download(name.as_str(), into, limit, interrupt)?.map(|object| object.bytes))
    }

    fn read(&self, name: &BlobName, limit: u64, interrupt: &Interrupt) -> Result<Option<Vec<u8>>, LevelError> {
        self.bucket.read(name.as_str(), limit, interrupt)
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Blob), interrupt: &Interrupt) -> Result<(), LevelError> {
        self.bucket.list(prefix, each, interrupt)
    }

    fn remove(&self, name: &BlobName, interrupt: &Interrupt) -> Result<(), LevelError> {
        self.bucket.remove(name.as_str(), interrupt)
    }
}
