//! What the retention engine is told of what is kept.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::disk;
use super::super::error::StoreError;
use super::super::id::ObjectId;
use super::super::layout::Home;
use super::super::opened::{Store, slug_of};
use super::super::record::{ArtifactInfo, Record, RecordKey, What};
use crate::artifact::retention::{
    Candidate, ContentHash, EntryId, Expiry, PipelineKey, References, Room, Usage, project_of,
};
use crate::pipeline::Owner;

/// What is kept, and where its record is.
pub(super) struct Facts {
    pub(super) candidates: Vec<Candidate>,
    pub(super) places: HashMap<EntryId, Place>,
    /// Records that are damaged.
    pub(super) lost: usize,
}

/// Where a record is.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) home: Home,
    pub(super) key: RecordKey,
    pub(super) tree: ObjectId,
    pub(super) is_cache: bool,
}

/// Who holds which trees of an owner.
struct Holders {
    pinned: HashSet<ObjectId>,
    referenced: HashMap<ObjectId, u32>,
}

impl Holders {
    fn of(records: &[Record]) -> Self {
        let mut holders = Self { pinned: HashSet::new(), referenced: HashMap::new() };
        for record in records {
            match record {
                Record::Kept(_) => {}
                Record::Pin(pin) => {
                    holders.pinned.insert(pin.tree);
                }
                Record::Reference(reference) => {
                    for tree in &reference.trees {
                        *holders.referenced.entry(*tree).or_default() += 1;
                    }
                }
            }
        }
        holders
    }

    fn candidate(&self, info: &ArtifactInfo, id: EntryId, last_accessed: jiff::Timestamp, bytes: u64) -> Candidate {
        let name = info.what.text().map_or_else(|| info.content_hash.to_string(), str::to_owned);
        let origin = info.origin.as_ref().filter(|_| matches!(info.what, What::Artifact { .. }));
        let titles = origin.map(|origin| info.job.iter().chain(&origin.title).cloned().collect());
        let pipeline = origin.map(|origin| &origin.pipeline).or(info.pipeline.as_ref());
        let running = self.referenced.get(&info.content_hash).copied().unwrap_or(0);
        Candidate {
            id,
            content: ContentHash::new(info.content_hash.to_string()),
            name,
            titles: titles.unwrap_or_default(),
            series: origin.map(|origin| origin.series.clone()),
            owner: info.owner.clone(),
            pipeline: match info.what {
                What::Artifact { .. } => pipeline.cloned().map(PipelineKey::new),
                What::Cache { .. } => None,
            },
            bytes,
            created_at: info.named_at(),
            last_accessed: last_accessed.max(info.named_at()),
            expiry: info.expires,
            // A job's references begin when it is queued and are one until it ends.
            references: References { queued: 0, running },
            pinned: self.pinned.contains(&info.content_hash) || info.expires == Expiry::Never,
            // Whoever restores keeps the store from being removed from: there is no lease that outlives that.
            leased: false,
        }
    }
}

impl Store {
    /// How full everything is.
    pub(in super::super) fn room(&self) -> Result<Room, StoreError> {
        let (free, capacity) = disk::disk_bytes(self.layout.root())?;
        let mut projects = BTreeMap::new();
        let mut owners = BTreeMap::new();
        let mut total = 0;
        for home in self.homes()? {
            let used = self.index()?.usage(Some(&slug_of(&home)))?;
            total += used;
            if let Some(owner) = self.owner_of(&home)? {
                let capacity = self.limits.project_bytes;
                projects.entry(project_of(&owner)).or_insert(Usage { used: 0, capacity }).used += used;
                let capacity = self.limits.for_owner(&owner);
                owners.insert(owner, Usage { used, capacity });
            }
        }
        Ok(Room {
            disk: Some(Usage { used: capacity.saturating_sub(free), capacity }),
            quota: Some(Usage { used: total, capacity: self.limits.total_bytes }),
            projects,
            owners,
        })
    }

    /// Whether there is so much room for the owner's things that something may be kept that is only convenient: with so many bytes
    /// more everything is less than 90 % full.
    pub fn has_plenty(&self, owner: &Owner, bytes: u64) -> Result<bool, StoreError> {
        let mut room = self.room()?;
        // Who has nothing yet has limits, too.
        let none = |capacity| Usage { used: 0, capacity };
        room.projects.entry(project_of(owner)).or_insert(none(self.limits.project_bytes));
        room.owners.entry(owner.clone()).or_insert(none(self.limits.for_owner(owner)));
        Ok(room.has_plenty(owner, bytes))
    }

    /// Whose folder it is.
    pub(in super::super) fn owner_of(&self, home: &Home) -> Result<Option<Owner>, StoreError> {
        let bytes = disk::read_small(&home.owner_file(), 64 << 10)?;
        let owner = bytes.and_then(|bytes| serde_json::from_slice::<Owner>(&bytes).ok());
        // The folder's name is the checksum.
        Ok(owner.filter(|owner| self.home(owner) == *home))
    }

    /// Everything that is kept.
    pub(super) fn facts(&self) -> Result<Facts, StoreError> {
        self.facts_of(&self.homes()?)
    }

    /// What is kept in these folders of owners.
    pub(super) fn facts_of(&self, homes: &[Home]) -> Result<Facts, StoreError> {
        let mut facts = Facts { candidates: Vec::new(), places: HashMap::new(), lost: 0 };
        for home in homes {
            let slug = slug_of(home);
            let (records, lost) = self.records(home)?;
            facts.lost += lost;
            let used = self.index()?.list(Some(&slug))?;
            let used: HashMap<RecordKey, jiff::Timestamp> =
                used.into_iter().map(|listed| (Record::Kept(listed.info).key(), listed.last_accessed)).collect();
            let stored = self.index()?.usage(Some(&slug))?;
            let content: u64 = records.iter().filter_map(kept).map(|info| info.size).sum();
            let holders = Holders::of(&records);
            for record in &records {
                let Some(info) = kept(record) else { continue };
                let key = record.key();
                let id = entry_id(&slug, &key);
                // What each takes cannot be told where they share objects: its part of all that is stored.
                let bytes = u128::from(stored) * u128::from(info.size) / u128::from(content.max(1));
                let is_cache = matches!(info.what, What::Cache { .. });
                let last_accessed = used.get(&key).copied().unwrap_or(info.created_at);
                facts.candidates.push(holders.candidate(info, id.clone(), last_accessed, bytes as u64));
                facts.places.insert(id, Place { home: home.clone(), key, tree: info.content_hash, is_cache });
            }
        }
        Ok(facts)
    }
}

fn kept(record: &Record) -> Option<&ArtifactInfo> {
    match record {
        Record::Kept(info) => Some(info),
        Record::Pin(_) | Record::Reference(_) => None,
    }
}

fn entry_id(slug: &str, key: &RecordKey) -> EntryId {
    EntryId::new(format!("{slug}/{key}"))
}
