//! Making room: entries that were not used for longest go first, then objects that no entry refers to.
//!
//! A fork's job can only push out what forks have written: who may not change the project's caches may not
//! drive them out either.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::CacheError;
use super::disk;
use super::record::{MAX_RECORD, Record, object_path};
use crate::pipeline::{Owner, Trust};

/// An entry with where it lies.
pub(super) struct Listed {
    pub(super) record: Record,
    pub(super) path: PathBuf,
    /// The folder of its owner.
    pub(super) home: PathBuf,
    last_used: SystemTime,
}

/// What the store holds, read from its records.
pub(super) struct Inventory {
    pub(super) entries: Vec<Listed>,
    /// Record files that cannot be read.
    pub(super) damaged: Vec<PathBuf>,
}

/// How much may be kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// In the whole store.
    pub(super) total: u64,
    /// For one project, whatever its trust.
    pub(super) project: u64,
}

pub(super) fn inventory(projects: &Path) -> Result<Inventory, CacheError> {
    let mut found = Inventory { entries: Vec::new(), damaged: Vec::new() };
    for project in disk::names(projects)? {
        for home in disk::names(&project)? {
            for path in disk::names(&home.join("entries"))? {
                let Some(bytes) = disk::read_small(&path, MAX_RECORD)? else { continue };
                let last_used = fs::metadata(&path).and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
                match Record::from_bytes(&bytes) {
                    Some(record) => found.entries.push(Listed { record, path, home: home.clone(), last_used }),
                    None => found.damaged.push(path),
                }
            }
        }
    }
    Ok(found)
}

impl Inventory {
    /// Lists an entry that is about to be written at `path`, in place of the one of its key.
    pub(super) fn announce(&mut self, record: Record, path: PathBuf, home: PathBuf) {
        self.entries.retain(|entry| entry.path != path);
        self.entries.push(Listed { record, path, home, last_used: SystemTime::UNIX_EPOCH });
    }

    /// Takes out of the list, and gives back, what has to go so that the announced entry `newcomer` fits. `None`: it cannot.
    pub(super) fn make_room(&mut self, newcomer: &Path, room: Room) -> Option<Vec<Listed>> {
        let own = self.entries.iter().position(|e| e.path == newcomer)?;
        let owner = self.entries[own].record.owner.clone();
        let mut tally = Tally::of(self.entries.iter(), &owner);
        let may_go =
            |e: &Listed| e.path != newcomer && (owner.trust != Trust::Fork || e.record.owner.trust == Trust::Fork);
        let mut candidates: Vec<usize> = (0..self.entries.len()).filter(|at| may_go(&self.entries[*at])).collect();
        candidates.sort_by_key(|at| (self.entries[*at].last_used, &self.entries[*at].path));

        let mut gone = HashSet::new();
        for at in &candidates {
            let entry = &self.entries[*at];
            let of_project = entry.record.owner.same_project(&owner);
            // One pass serves both limits: an entry goes if it helps with one that is passed.
            if tally.total > room.total || (of_project && tally.project > room.project) {
                tally.remove(entry, of_project);
                gone.insert(entry.path.clone());
            }
        }
        if tally.total > room.total || tally.project > room.project {
            return None;
        }
        let (gone, kept) = std::mem::take(&mut self.entries).into_iter().partition(|e| gone.contains(&e.path));
        self.entries = kept;
        Some(gone)
    }

    /// Objects below `home` that none of its entries refers to. With a damaged record there nothing can be told.
    pub(super) fn unreferenced(&self, home: &Path) -> Result<Vec<PathBuf>, CacheError> {
        if self.damaged.iter().any(|path| path.starts_with(home)) {
            return Ok(Vec::new());
        }
        let kept: HashSet<PathBuf> =
            self.entries.iter().filter(|e| e.home == home).map(|e| home.join(object_path(&e.record.object))).collect();
        let mut unreferenced = Vec::new();
        for outer in disk::names(&home.join("objects"))? {
            for inner in disk::names(&outer)? {
                unreferenced.extend(disk::names(&inner)?.into_iter().filter(|path| !kept.contains(path)));
            }
        }
        Ok(unreferenced)
    }
}

/// Bytes of objects, each counted once for its owner however many entries refer to it.
struct Tally {
    references: HashMap<(PathBuf, String), usize>,
    total: u64,
    project: u64,
}

impl Tally {
    fn of<'a>(entries: impl Iterator<Item = &'a Listed>, owner: &Owner) -> Self {
        let mut tally = Self { references: HashMap::new(), total: 0, project: 0 };
        for entry in entries {
            let references = tally.references.entry(Self::object(entry)).or_default();
            *references += 1;
            if *references == 1 {
                tally.total += entry.record.stored_bytes;
                if entry.record.owner.same_project(owner) {
                    tally.project += entry.record.stored_bytes;
                }
            }
        }
        tally
    }

    fn remove(&mut self, entry: &Listed, of_project: bool) {
        let Some(references) = self.references.get_mut(&Self::object(entry)) else { return };
        *references -= 1;
        if *references == 0 {
            self.total -= entry.record.stored_bytes;
            if of_project {
                self.project -= entry.record.stored_bytes;
            }
        }
    }

    fn object(entry: &Listed) -> (PathBuf, String) {
        (entry.home.clone(), entry.record.object.clone())
    }
}
