//! The store of artifacts and caches.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::remote::RemoteConfig;
use super::units::{self, ByteSize, DurationText};
use crate::artifact::retention::RetentionPolicy;

/// `[store]`: where artifacts and caches are kept, how much of them, and how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// The folder of the store. Absent: `store` in the state directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// How much everything together may take on disk.
    pub max_size: ByteSize,
    /// How much the jobs of one project may take that are trusted alike.
    pub max_owner_size: ByteSize,
    /// How much all jobs of one project may take together.
    pub max_project_size: ByteSize,
    /// How much of the disk is left alone.
    pub reserve: ByteSize,
    /// After its last use something stays so long, whatever else holds.
    #[serde(with = "units::duration")]
    #[schemars(with = "DurationText")]
    pub grace: Duration,
    /// So much goes in one cycle at most.
    #[schemars(range(min = 1))]
    pub max_deletions: u32,
    /// How many bytes a second are read to look for damage. 0: never.
    pub scrub_rate: ByteSize,
    /// A file with the key that packs are encrypted with: 32 bytes, or 64 hexadecimal digits. Absent: encryption is left to the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// How long what is kept by which names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retention: Vec<RetentionPolicy>,
    /// A store that several machines share, behind this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<RemoteConfig>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            dir: None,
            max_size: ByteSize::mib(100 << 10),
            max_owner_size: ByteSize::mib(32 << 10),
            max_project_size: ByteSize::mib(48 << 10),
            reserve: ByteSize::mib(1 << 10),
            grace: Duration::from_secs(24 * 3600),
            max_deletions: 1000,
            scrub_rate: ByteSize::mib(8),
            key_file: None,
            retention: Vec::new(),
            remote: None,
        }
    }
}
