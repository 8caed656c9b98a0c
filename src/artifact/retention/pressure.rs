//! How full the store is, and what follows from it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use indicatif::BinaryBytes;
use serde::{Deserialize, Serialize};

use super::clock::USUAL_INTERVAL;
use crate::pipeline::{ForgeInstance, Owner, ProjectId};

/// How full disk or quota is. Each level does what the lower ones do, and more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pressure {
    /// Less than 80 %.
    #[default]
    Low,
    /// From 80 %: periods are 25 % shorter.
    Yellow,
    /// From 90 %: periods are 50 % shorter, and size decides what goes beyond them.
    Orange,
    /// From 95 %: everything goes that nobody needs and that is not in grace.
    Red,
    /// From 98 %: nothing new is taken either.
    Critical,
}

impl Pressure {
    /// All levels, lowest first.
    pub const ALL: [Self; 5] = [Self::Low, Self::Yellow, Self::Orange, Self::Red, Self::Critical];

    /// Where the level begins, in per cent.
    pub const fn threshold(self) -> u8 {
        match self {
            Self::Low => 0,
            Self::Yellow => 80,
            Self::Orange => 90,
            Self::Red => 95,
            Self::Critical => 98,
        }
    }

    /// A period at this level.
    pub(super) fn shortened(self, period: Duration) -> Duration {
        match self {
            Self::Low => period,
            Self::Yellow => period * 3 / 4,
            Self::Orange | Self::Red | Self::Critical => period / 2,
        }
    }

    /// When the next cycle is due: every 4 h while there is room, every hour from 80 %, every 15 minutes from 90 %,
    /// every 5 minutes from 95 %. A cycle that had more to delete than it was allowed is followed within the hour, from
    /// 95 % within the minute.
    pub fn next_cycle(self, more_to_delete: bool) -> Duration {
        let minutes = match (self, more_to_delete) {
            (Self::Low, false) => return USUAL_INTERVAL,
            (Self::Low, true) | (Self::Yellow, _) => 60,
            (Self::Orange, _) => 15,
            (Self::Red | Self::Critical, false) => 5,
            (Self::Red | Self::Critical, true) => 1,
        };
        Duration::from_secs(minutes * 60)
    }
}

impl fmt::Display for Pressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Yellow => "yellow",
            Self::Orange => "orange",
            Self::Red => "red",
            Self::Critical => "critical",
        })
    }
}

/// Bytes in use of those there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// In use.
    pub used: u64,
    /// The limit. None at all is as good as full.
    pub capacity: u64,
}

impl Usage {
    /// The level.
    pub fn pressure(self) -> Pressure {
        let reached =
            |level: &Pressure| u128::from(self.used) * 100 >= u128::from(self.capacity) * u128::from(level.threshold());
        Pressure::ALL.into_iter().rev().find(reached).unwrap_or_default()
    }

    fn free(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
    }

    /// Whether so many bytes more are within the limit.
    fn holds(self, bytes: u64) -> bool {
        self.used.checked_add(bytes).is_some_and(|used| used <= self.capacity)
    }

    /// Tenths of a per cent, rounded down.
    fn per_mille(self) -> u64 {
        let share = u128::from(self.used) * 1000 / u128::from(self.capacity).max(1);
        u64::try_from(share).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = self.per_mille();
        let (used, capacity) = (BinaryBytes(self.used), BinaryBytes(self.capacity));
        write!(f, "{}.{} % full ({used} of {capacity})", share / 10, share % 10)
    }
}

/// All limits that the store lives within.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// The file system: what cannot be used by us counts as used. `None`: it does not tell.
    pub disk: Option<Usage>,
    /// The store's quota, in stored bytes.
    pub quota: Option<Usage>,
    /// The quotas of projects, of all their owners together, in stored bytes.
    pub projects: BTreeMap<(ForgeInstance, ProjectId), Usage>,
    /// The quotas of single owners, in stored bytes.
    pub owners: BTreeMap<Owner, Usage>,
}

/// One of the limits in [`Room`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// The file system.
    Disk,
    /// The store's quota.
    Quota,
    /// A project's quota.
    ProjectQuota,
    /// An owner's quota.
    OwnerQuota,
}

impl Room {
    /// The fullest of the limits that concern the whole store.
    pub fn pressure(&self) -> Pressure {
        self.disk.into_iter().chain(self.quota).map(Usage::pressure).max().unwrap_or_default()
    }

    /// The fullest of all limits that concern what this owner keeps.
    pub fn pressure_for(&self, owner: &Owner) -> Pressure {
        let own = self.own(owner).map(|(_, usage)| usage.pressure()).max().unwrap_or_default();
        own.max(self.pressure())
    }

    /// The fullest of all limits.
    pub fn highest(&self) -> Option<(Limit, Usage)> {
        let projects = self.projects.values().map(|usage| (Limit::ProjectQuota, *usage));
        let owners = self.owners.values().map(|usage| (Limit::OwnerQuota, *usage));
        self.shared().chain(projects).chain(owners).max_by_key(|(_, usage)| (usage.pressure(), usage.per_mille()))
    }

    /// Whether a new artifact of so many stored bytes may be taken; ask again as it grows when its size is not known
    /// before. Several writers at once: count what each was promised as used.
    ///
    /// # Errors
    /// A limit that concerns the owner is 98 % full, or would be passed.
    pub fn admit(&self, owner: &Owner, bytes: u64) -> Result<(), Refusal> {
        let full = |usage: Usage| usage.pressure() >= Pressure::Critical || !usage.holds(bytes);
        match self.shared().chain(self.own(owner)).find(|(_, usage)| full(*usage)) {
            Some((limit, usage)) => Err(Refusal { limit, usage, bytes }),
            None => Ok(()),
        }
    }

    /// Whether so many stored bytes more leave every limit that concerns the owner below 90 %, for what is only convenient.
    pub fn has_plenty(&self, owner: &Owner, bytes: u64) -> bool {
        let after = |usage: Usage| Usage { used: usage.used.saturating_add(bytes), ..usage };
        self.shared().chain(self.own(owner)).all(|(_, usage)| after(usage).pressure() < Pressure::Orange)
    }

    /// After an entry of `owner` went.
    pub(super) fn free(&mut self, owner: &Owner, bytes: u64) {
        let own = self.owners.get_mut(owner).into_iter().chain(self.projects.get_mut(&project_of(owner)));
        for usage in self.disk.iter_mut().chain(self.quota.iter_mut()).chain(own) {
            usage.free(bytes);
        }
    }

    /// The limits that concern what this owner keeps, and not the whole store.
    fn own(&self, owner: &Owner) -> impl Iterator<Item = (Limit, Usage)> {
        let project = self.projects.get(&project_of(owner)).map(|usage| (Limit::ProjectQuota, *usage));
        let own = self.owners.get(owner).map(|usage| (Limit::OwnerQuota, *usage));
        project.into_iter().chain(own)
    }

    fn shared(&self) -> impl Iterator<Item = (Limit, Usage)> {
        let disk = self.disk.map(|usage| (Limit::Disk, usage));
        disk.into_iter().chain(self.quota.map(|usage| (Limit::Quota, usage)))
    }
}

/// What [`Room::projects`] calls the project of an owner.
pub(in crate::artifact) fn project_of(owner: &Owner) -> (ForgeInstance, ProjectId) {
    (owner.forge.clone(), owner.project.clone())
}

/// Why a new artifact is not taken, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} new bytes are refused: the {limit} is {usage}; {}", BinaryBytes(*bytes), limit.remedy())]
pub struct Refusal {
    /// The limit that is reached.
    pub limit: Limit,
    /// How full it is.
    pub usage: Usage,
    /// The bytes that were to be stored.
    pub bytes: u64,
}

impl Limit {
    fn remedy(self) -> &'static str {
        match self {
            Self::Disk => {
                "free space on the disk, see what the store keeps and why with `forgehand store gc --dry-run`, unpin what is no \
                 longer needed, or move the store to a larger disk"
            }
            Self::Quota => {
                "see what is kept and why with `forgehand store gc --dry-run`, unpin what is no longer needed, or raise \
                 `store.max_size` in forgehand.toml"
            }
            Self::ProjectQuota | Self::OwnerQuota => {
                "let its jobs keep less (`expire_in`, fewer paths), see what is kept and why with `forgehand store gc --dry-run`, or \
                 raise `store.max_project_size` or `store.max_owner_size` in forgehand.toml"
            }
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disk => "disk of the store",
            Self::Quota => "quota of the store",
            Self::ProjectQuota => "quota of this project",
            Self::OwnerQuota => "quota of this project's jobs of this trust",
        })
    }
}
