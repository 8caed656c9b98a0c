//! The work tree: git runs on this machine, the job's own hooks run in its sandbox.

use std::path::PathBuf;

use crate::executor::job::{Running, StageError};
use crate::forge::Reporter;

/// Fills the work tree.
pub(in crate::executor) async fn run<R: Reporter>(running: &mut Running<R>) -> Result<(), StageError> {
    let _section = running.section("get_sources", "Getting source from Git repository");
    Ok(())
}

/// What git does not track.
pub(in crate::executor) async fn untracked<R: Reporter>(_running: &Running<R>) -> Result<Vec<PathBuf>, String> {
    Ok(Vec::new())
}
