//! Where things lie in a store.
//!
//! ```text
//! format  format.copy         {"version":1,...}: what wrote the store
//! lock  gate                  flock; see `session`
//! collector                   flock: who collects
//! quota                       flock: who counts, or asks for room
//! ballast                     room that is needed on a full disk to give something back
//! time                        the highest time that two collections agreed on
//! index.db                    what can be listed: made again from the records where it is lost
//! index.db.lock               flock: who is at it, who makes it anew. index.db.damaged: somebody should
//! agents/agent-ID                 flock: the agent of this id works with the store
//! sessions/ID/                what a process is writing; goes with it
//! second/queue/OWNER.KEY      what the second level is still to be told of
//! second/sender               flock: who tells it
//! second/agent                what this store is called there
//! damaged/                    what did not match its checksum, to be looked at
//! audit/YYYY-MM.jsonl         what was decided and removed
//! owners/OWNER/owner.json     whose it is
//! owners/OWNER/packs/ab/cd/ID objects
//! owners/OWNER/records/ab/cd/KEY.json   what is kept: named artifacts, cache entries, pins, references of jobs
//! owners/OWNER/consumers/ab/cd/TREE     which jobs restored a tree
//! owners/OWNER/seen/KEY       what was put from which folder, so that unchanged files need not be read again
//! ```
//!
//! Everything that belongs to a job's owner lies below a folder of its own: equal content is kept once for each owner, and none
//! can learn what another keeps.

use std::path::{Path, PathBuf};

use super::disk;
use super::id::ObjectId;
use crate::pipeline::Owner;

/// The paths of a store.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn format(&self) -> PathBuf {
        self.root.join("format")
    }

    pub(super) fn format_copy(&self) -> PathBuf {
        self.root.join("format.copy")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(super) fn gate(&self) -> PathBuf {
        self.root.join("gate")
    }

    /// Held by the one that collects.
    pub(super) fn collector(&self) -> PathBuf {
        self.root.join("collector")
    }

    /// Held by the one that counts what there is, or promises to write more.
    pub(super) fn quota(&self) -> PathBuf {
        self.root.join("quota")
    }

    pub(super) fn index(&self) -> PathBuf {
        self.root.join("index.db")
    }

    pub(super) fn sessions(&self) -> PathBuf {
        self.root.join("sessions")
    }

    pub(super) fn agents(&self) -> PathBuf {
        self.root.join("agents")
    }

    /// Held by the agent of this id. The id may be what a record says: as a name it leads nowhere else.
    pub(super) fn agent(&self, id: &str) -> PathBuf {
        let name: String =
            id.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).take(64).collect();
        self.agents().join(format!("agent-{name}"))
    }

    /// What is to be remembered for the second level.
    pub(super) fn second(&self) -> PathBuf {
        self.root.join("second")
    }

    pub(super) fn queue(&self) -> PathBuf {
        self.second().join("queue")
    }

    /// Held by the one that tells the second level of what is kept.
    pub(super) fn sender(&self) -> PathBuf {
        self.second().join("sender")
    }

    pub(super) fn damaged(&self) -> PathBuf {
        self.root.join("damaged")
    }

    /// What the last collection recorded of the time.
    pub(super) fn time(&self) -> PathBuf {
        self.root.join("time")
    }

    /// Room that a collection has on a disk that is full.
    pub(super) fn ballast(&self) -> PathBuf {
        self.root.join("ballast")
    }

    pub(super) fn audit(&self) -> PathBuf {
        self.root.join("audit")
    }

    pub(super) fn owners(&self) -> PathBuf {
        self.root.join("owners")
    }

    pub(super) fn home(&self, owner: &Owner) -> Home {
        Home { path: self.owners().join(owner.slug()) }
    }
}

/// The folder of an owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Home {
    path: PathBuf,
}

impl Home {
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn owner_file(&self) -> PathBuf {
        self.path.join("owner.json")
    }

    pub(super) fn packs(&self) -> PathBuf {
        self.path.join("packs")
    }

    pub(super) fn pack(&self, id: ObjectId) -> PathBuf {
        disk::fan(&self.packs(), &id.to_string())
    }

    pub(super) fn records(&self) -> PathBuf {
        self.path.join("records")
    }

    /// Which jobs restored what.
    pub(super) fn consumers(&self) -> PathBuf {
        self.path.join("consumers")
    }

    pub(super) fn seen(&self) -> PathBuf {
        self.path.join("seen")
    }
}
