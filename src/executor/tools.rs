//! What a registration offers all its jobs.

use std::sync::Arc;

use super::sandbox::place::Place;
use super::stages::sources::{GitProgram, Mirrors};
use crate::artifact::cache::CacheStore;
use crate::artifact::store::Store;
use crate::artifact::tools::ToolCache;
use crate::outbound::Outbound;

/// What a registration offers all its jobs. Shared by them; nothing in it belongs to one job.
pub struct Tools {
    /// Where jobs live.
    pub place: Place,
    /// Folders kept from job to job.
    pub caches: Arc<dyn CacheStore>,
    /// What they install for later ones.
    pub tool_cache: Arc<ToolCache>,
    /// What jobs leave for each other.
    pub store: Arc<Store>,
    /// The machine's git.
    pub git: GitProgram,
    /// The agent's copies of repositories.
    pub mirrors: Arc<Mirrors>,
    /// The way to the network, for git.
    pub outbound: Outbound,
    /// Root of the work trees as jobs see it.
    pub builds_dir: String,
    /// The registration's name.
    pub name: String,
    /// What tells the jobs of this run from those of others, where ids of jobs begin anew with each. `None`: the forge gives no id twice.
    pub run: Option<String>,
    /// How the runner introduces itself at the head of a log: name, short token, system id.
    pub introduction: String,
}
