//! What a registration offers all its jobs.

use std::path::PathBuf;
use std::sync::Arc;

use super::sandbox::place::Place;
use crate::artifact::cache::LocalCache;
use crate::outbound::Outbound;

/// What a registration offers all its jobs. Shared by them; nothing in it belongs to one job.
pub struct Tools {
    /// Where jobs live.
    pub place: Place,
    /// Folders kept from job to job.
    pub caches: Arc<LocalCache>,
    /// Where the git mirrors of all projects lie.
    pub mirrors: PathBuf,
    /// The way to the network, for git.
    pub outbound: Outbound,
    /// Root of the work trees as jobs see it.
    pub builds_dir: String,
    /// How the runner introduces itself at the head of a log: name, short token, system id.
    pub introduction: String,
}
