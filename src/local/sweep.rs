//! What runs left that were killed goes with the next one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::house::{blocking, words};
use super::{held, ledger};
use crate::agent::engines::Engines;
use crate::artifact::in_full;
use crate::artifact::store::Store;
use crate::config::DockerConfig;
use crate::executor::sandbox::host::leftovers;
use crate::executor::sandbox::shim::ShimBinary;
use crate::state::{Journal, OpenJob, StateDir, StateLock};

/// How long leftovers of a killed run may take to go.
const SWEEPING: Duration = Duration::from_secs(30);

/// Removes what runs left that were killed: their containers, networks and folders. What they held in the store is given back.
pub async fn sweep(state_dir: PathBuf, docker: DockerConfig, store: Arc<Store>) {
    let runs = state_dir.join("exec").join("runs");
    let Ok(entries) = std::fs::read_dir(&runs) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let dir = StateDir::at(&path);
        // Nobody holds it, and it was not made this moment.
        let is_dead = matches!(StateLock::holder(&dir), Ok(None)) && dir.lock().exists();
        if !is_dead {
            continue;
        }
        let swept = tokio::time::timeout(SWEEPING, sweep_one(&dir, &state_dir, &docker, &store)).await;
        match swept {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, run = %path.display(), "what a killed run left is not all gone"),
            Err(_) => {
                tracing::warn!(run = %path.display(), "what a killed run left takes long to go; later runs try again")
            }
        }
    }
}

async fn sweep_one(dir: &StateDir, state_dir: &Path, docker: &DockerConfig, store: &Arc<Store>) -> Result<(), String> {
    let _lock = StateLock::take(dir, jiff::Timestamp::now()).map_err(words)?;
    let shim = ShimBinary::install(&state_dir.join("exec").join("shim")).await.map_err(words)?;
    let used_docker = dir.root().join("docker").exists();
    let mut engines = None;
    if used_docker {
        let connected = Engines::new(dir.clone(), shim).map_err(words)?;
        connected.get(docker).await?;
        connected.sweep(&Vec::new).await?;
        engines = Some(connected);
    }
    end_supervisors(dir).await?;
    give_back(dir, store.clone()).await?;
    let (kept, home) = (dir.clone(), state_dir.join("exec"));
    blocking(move || ledger::keep(&kept, &home).map_err(words)).await?;
    let removed = remove_run(dir, engines.as_ref()).await;
    if let Some(engines) = engines {
        engines.close().await;
    }
    removed
}

/// Ends what the jobs of a killed run left running on this host. Docker's containers are the engine's to remove.
async fn end_supervisors(dir: &StateDir) -> Result<(), String> {
    let Ok(jobs) = std::fs::read_dir(dir.jobs()) else { return Ok(()) };
    for job in jobs.flatten() {
        // Each try of a job has a run directory of its own.
        let Ok(entries) = std::fs::read_dir(job.path()) else { continue };
        for run in entries.flatten().filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"run")) {
            leftovers::end_marked(&leftovers::mark(&run.path())).await.map_err(words)?;
        }
    }
    Ok(())
}

async fn open_jobs(dir: &StateDir) -> Result<Vec<OpenJob>, String> {
    match Journal::open_to_read(dir, jiff::Timestamp::now).map_err(words)? {
        Some(journal) => journal.open_jobs().await.map_err(words),
        None => Ok(Vec::new()),
    }
}

/// Gives back what a killed run and its jobs held in the store.
async fn give_back(dir: &StateDir, store: Arc<Store>) -> Result<(), String> {
    let run = dir.root().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // What jobs hold that nobody can name stays held; the folder must not stay for that.
    let open = open_jobs(dir).await.unwrap_or_else(|error| {
        tracing::warn!(error, "it cannot be read which jobs a killed run had");
        Vec::new()
    });
    let jobs: Vec<_> = open.into_iter().map(|job| job.assignment.key).collect();
    blocking(move || {
        held::release(&store, &run, None).and_then(|()| held::release_jobs(&store, &jobs)).map_err(|e| in_full(&e))
    })
    .await
}

/// Removes the folder of a run. What tells that it is to be swept goes last: when something stays, the next run tries again.
async fn remove_run(dir: &StateDir, engines: Option<&Engines>) -> Result<(), String> {
    let root = dir.root().to_owned();
    let last = [dir.lock(), root.join("docker")];
    let entries = std::fs::read_dir(&root).map_err(words)?;
    let paths = entries.flatten().map(|entry| entry.path()).filter(|path| !last.contains(path));
    for path in paths.chain([root.clone()]) {
        let removed = blocking({
            let path = path.clone();
            move || remove(&path).map_err(words)
        });
        match (removed.await, engines) {
            // What a container's root left, or the engine's kernel, is removed by a container.
            (Err(_), Some(engines)) if path.is_dir() => engines.remove_folder(&path).await?,
            (removed, _) => removed?,
        }
    }
    Ok(())
}

/// Removes a file, or a folder with what is in it.
fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::symlink_metadata(path)?.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    }
}
