//! Looks after what the agent keeps on the machine beside its jobs: sandboxes, shims, mirrors.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::info;

use super::engines::Engines;
use super::recovery::Found;
use super::sweep::Sweeper;
use crate::artifact::tools::ToolCache;
use crate::artifact::{Interrupt, in_full};
use crate::executor::sandbox::TOOLS;
use crate::executor::sandbox::shim::ShimBinary;
use crate::executor::stages::sources::{GitProgram, Mirrors, UpkeepLimits};
use crate::pipeline::JobKey;
use crate::state::{OpenJob, StateDir};

/// The sweeper of an agent that runs jobs with the executor. Cheap to clone.
#[derive(Clone)]
pub struct Housekeeper {
    /// Where sandboxes are.
    pub engines: Engines,
    /// The agent's copies of repositories.
    pub mirrors: Arc<Mirrors>,
    /// What jobs installed for later ones.
    pub tool_cache: Arc<ToolCache>,
    /// The machine's git.
    pub git: GitProgram,
    /// The state directory.
    pub dir: StateDir,
}

impl Sweeper for Housekeeper {
    async fn find(&self, owed: &[OpenJob]) -> Result<Vec<Found>, String> {
        self.engines.find(owed).await
    }

    async fn sweep(&self, known: &(dyn Fn() -> Vec<JobKey> + Send + Sync)) -> Result<(), String> {
        // What one engine does not let go is no reason to keep everything else.
        let (engines, shims) = (self.engines.sweep(known).await, self.remove_shims().await);
        self.remove_folders_of_tools(known).await;
        all_of([engines, shims, self.remove_tools().await])
    }

    async fn tidy(&self, idle: &CancellationToken) -> Result<(), String> {
        let private = self.dir.root().join("upkeep");
        make_private(&private).map_err(|error| format!("{} cannot be made: {error}", private.display()))?;
        // Removing is quick, packing is not.
        let is_idle = !idle.is_cancelled();
        let packs = if is_idle { UpkeepLimits::default().packs } else { usize::MAX };
        let limits = UpkeepLimits { packs, ..UpkeepLimits::default() };
        let never = CancellationToken::new();
        let stop = if is_idle { idle } else { &never };
        match self.mirrors.upkeep(&self.git, &private, &limits, stop).await {
            Ok(report) if report.removed + report.packed > 0 => info!(?report, "looked after the mirrors"),
            Ok(_) => {}
            Err(_) if stop.is_cancelled() => {} // a job came
            Err(error) => return Err(error.to_string()),
        }
        Ok(())
    }
}

/// The failures, in one line.
fn all_of<const N: usize>(done: [Result<(), String>; N]) -> Result<(), String> {
    let failures: Vec<String> = done.into_iter().filter_map(Result::err).collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
}

fn make_private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

impl Housekeeper {
    /// Removes what jobs that are over had for their tools, where that could not be removed with them: the engine's kernel leaves
    /// folders there that only root may remove, which would keep the job's own folder as well.
    async fn remove_folders_of_tools(&self, known: &(dyn Fn() -> Vec<JobKey> + Send + Sync)) {
        let jobs = self.dir.jobs();
        let listed = tokio::task::spawn_blocking(move || {
            let entries = std::fs::read_dir(jobs)?;
            Ok::<_, io::Error>(entries.flatten().map(|entry| entry.path()).collect::<Vec<_>>())
        });
        let Ok(Ok(folders)) = listed.await else { return };
        // Asked after the list was made: a job that came in between is known.
        let known = known();
        let is_over =
            |folder: &Path| folder.file_name().is_some_and(|name| known.iter().all(|key| *name != *key.as_str()));
        for folder in folders.into_iter().filter(|folder| is_over(folder)) {
            let tools = folder.join(TOOLS);
            if tools.exists()
                && let Err(error) = self.engines.remove_folder(&tools).await
            {
                tracing::warn!(error, folder = %tools.display(), "the tools of a job that is over stay for now");
            }
        }
    }

    /// Removes tools from the machine that no job uses and that none will be given as they are.
    async fn remove_tools(&self) -> Result<(), String> {
        let tools = self.tool_cache.clone();
        let removed = tokio::task::spawn_blocking(move || tools.tidy(&Interrupt::default())).await;
        let removed = removed.map_err(|error| error.to_string())?.map_err(|error| in_full(&error))?;
        if removed > 0 {
            info!(folders = removed, "removed tools that no job uses any more");
        }
        Ok(())
    }

    /// Removes the copies of earlier versions of this program that no container runs any more.
    async fn remove_shims(&self) -> Result<(), String> {
        let in_use = self.engines.shims_in_use().await?;
        let folder = self.dir.shim();
        let removed = ShimBinary::remove_unused(&folder, &in_use).await;
        let removed = removed.map_err(|error| format!("unused shims in {}: {error}", folder.display()))?;
        if !removed.is_empty() {
            info!(?removed, "removed shims of earlier versions");
        }
        Ok(())
    }
}
