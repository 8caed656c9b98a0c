//! How much a store keeps.

use super::What;
use super::error::StoreError;
use super::opened::Store;
use crate::artifact::retention::{Room, Usage};

/// How much a store keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Named artifacts.
    pub artifacts: u64,
    /// Cache entries.
    pub caches: u64,
    /// Owners.
    pub owners: u64,
    /// Packs.
    pub packs: u64,
    /// Objects in them.
    pub objects: u64,
    /// Bytes of content, that of each name counted.
    pub content_bytes: u64,
    /// Bytes on disk.
    pub stored_bytes: u64,
    /// How full disk and quotas are.
    pub room: Room,
}

impl Stats {
    /// The share of the store's quota that is used, in percent.
    pub fn quota_used_percent(&self) -> f64 {
        let Usage { used, capacity } = self.room.quota.unwrap_or(Usage { used: 0, capacity: 1 });
        used as f64 * 100.0 / capacity.max(1) as f64
    }
}

impl Store {
    /// How much is kept.
    pub fn stats(&self) -> Result<Stats, StoreError> {
        let room = self.room()?;
        let mut stats =
            Stats { artifacts: 0, caches: 0, owners: 0, packs: 0, objects: 0, content_bytes: 0, stored_bytes: 0, room };
        for listed in self.list(None)? {
            match listed.info.what {
                What::Artifact { .. } => stats.artifacts += 1,
                What::Cache { .. } => stats.caches += 1,
            }
            stats.content_bytes += listed.info.size;
        }
        for home in self.homes()? {
            let _work = self.begin(&Default::default())?;
            let catalog = self.catalog(&home)?;
            stats.owners += 1;
            stats.packs += catalog.packs().len() as u64;
            stats.objects += catalog.objects() as u64;
            stats.stored_bytes += catalog.bytes();
            self.recount(&home)?;
        }
        Ok(stats)
    }
}
