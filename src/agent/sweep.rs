//! What the agent asks of the place where sandboxes live.

use std::future::Future;

use tokio_util::sync::CancellationToken;

use super::recovery::Found;
use crate::pipeline::JobKey;
use crate::state::OpenJob;

/// Looks after sandboxes without running jobs: what is there after a restart, and what is there that nobody needs.
pub trait Sweeper: Send + Sync + 'static {
    /// What is there of these jobs' sandboxes: one [`Found`] a sandbox, nothing for a job that has none. A shim that
    /// can be reached through its run directory counts whether or not the engine answers. An error means that the
    /// engine cannot be asked: the agent then assumes that everything is there, and the jobs look for themselves.
    fn find(&self, owed: &[OpenJob]) -> impl Future<Output = Result<Vec<Found>, String>> + Send;

    /// Removes everything that bears this agent's mark and belongs to none of the jobs of `known`. Ask `known` after
    /// listing what is there, never before: a job that comes in between would lose its sandbox. An error is logged and
    /// the same is tried at the next sweep.
    fn sweep(&self, known: &(dyn Fn() -> Vec<JobKey> + Send + Sync))
    -> impl Future<Output = Result<(), String>> + Send;

    /// Keeps small what is kept for later jobs. Work that takes long is done only while `idle` is not cancelled: no job
    /// waits for it. An error is logged and the same is tried at the next sweep.
    fn tidy(&self, idle: &CancellationToken) -> impl Future<Output = Result<(), String>> + Send;
}
