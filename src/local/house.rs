//! The private state of one local run: a state directory of its own below the agent's, so that it works beside a running agent,
//! and is swept by the next run when this one was killed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{held, ledger};
use crate::agent::docker_settings;
use crate::agent::engines::Engines;
use crate::artifact::cache::LocalCache;
use crate::artifact::retention::{Cycle, Policies};
use crate::artifact::store::{Collection, Limits as StoreLimits, Store};
use crate::artifact::tools::ToolCache;
use crate::artifact::{Interrupt, in_full};
use crate::config::{DockerConfig, Hardening};
use crate::executor::sandbox::place::{DockerPlace, HostPlace, Place};
use crate::executor::sandbox::shim::ShimBinary;
use crate::executor::stages::sources::{GitProgram, Mirrors};
use crate::executor::tools::Tools;
use crate::outbound::{Outbound, OutboundSettings, ProxyEnvironment};
use crate::pipeline::schedule::PipelineEnd;
use crate::state::{Journal, StateDir, StateLock};

/// Where programs are looked for when the environment does not say.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Root of the work trees in a container.
const BUILDS_DIR: &str = "/builds";

/// Where jobs live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sandbox {
    /// Containers.
    #[default]
    Docker,
    /// Processes of this machine.
    Host,
}

/// The ground that a run's house stands on: its state directory, which nobody else has.
pub struct Ground {
    run: String,
    dir: StateDir,
    journal: Journal,
    home: PathBuf,
    lock: StateLock,
}

impl Ground {
    /// Makes the state directory. The error is for people.
    pub async fn take(state_dir: &Path) -> Result<Self, String> {
        let home = state_dir.join("exec");
        blocking(move || {
            let id = uuid::Uuid::new_v4().simple().to_string();
            let dir = StateDir::open(home.join("runs").join(&id)).map_err(words)?;
            let lock = StateLock::take(&dir, jiff::Timestamp::now()).map_err(words)?;
            let journal = Journal::open_for_a_run(&dir, jiff::Timestamp::now).map_err(words)?;
            Ok(Self { run: id, dir, journal, home, lock })
        })
        .await
    }

    /// The state directory.
    pub fn dir(&self) -> &StateDir {
        &self.dir
    }
}

/// What all jobs of a local run work with.
pub struct House {
    /// Its state directory.
    pub dir: StateDir,
    /// Its journal.
    pub journal: Journal,
    /// What its jobs are offered.
    pub tools: Arc<Tools>,
    /// Where its jobs live.
    pub sandbox: Sandbox,
    engines: Engines,
    /// The folder of all local runs.
    home: PathBuf,
    _lock: StateLock,
}

impl House {
    /// Connects to the engine and gets ready what jobs are offered. The error is for people: what is missing of the environment.
    pub async fn open(
        ground: Ground,
        sandbox: Sandbox,
        docker: &DockerConfig,
        parallel: usize,
    ) -> Result<Self, String> {
        let Ground { run, dir, journal, home, lock } = ground;
        let offers = tokio::spawn(Offers::get_ready(home.clone()));
        let shim = ShimBinary::install(&home.join("shim")).await.map_err(words)?;
        let engines = Engines::new(dir.clone(), shim.clone()).map_err(words)?.of_one_owner(parallel);
        let engines = engines.remembering(home.join("engine-seen"));
        let (place, builds_dir) = match sandbox {
            Sandbox::Docker => {
                let engine = engines.get(docker).await?;
                let settings = docker_settings::of(docker, Hardening::Standard);
                // One job there is at least; how many will be known when the file has been read.
                engine.expect_jobs(&settings, 1).await;
                let place = DockerPlace { engine, settings, shim: engines.shim().clone() };
                (Place::Docker(Box::new(place)), BUILDS_DIR.to_owned())
            }
            Sandbox::Host => {
                let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
                let place = HostPlace { shim: engines.shim().clone(), host_name };
                // Each job's own; see `LocalWorker`.
                (Place::Host(Box::new(place)), String::new())
            }
        };
        let Offers { store, git, outbound } = offers.await.map_err(words)??;
        let tools = Tools {
            place,
            caches: Arc::new(LocalCache::new(store.clone())),
            tool_cache: Arc::new(ToolCache::new(store.clone(), home.join("tools"))),
            store,
            git,
            mirrors: Arc::new(Mirrors::new(dir.mirrors())),
            outbound,
            builds_dir,
            name: "exec".to_owned(),
            run: Some(run),
            introduction: "this machine, by forgehand exec".to_owned(),
        };
        Ok(Self { dir, journal, tools: Arc::new(tools), sandbox, engines, home, _lock: lock })
    }

    /// So many jobs are going to run.
    pub async fn expect_jobs(&self, jobs: usize) {
        if let Place::Docker(place) = &self.tools.place {
            place.engine.expect_jobs(&place.settings, jobs).await;
        }
    }

    /// Removes everything of the run but its caches and artifacts, and what tells of it. `end`: how it ended.
    pub async fn close(self, end: PipelineEnd) {
        self.engines.close().await;
        let (store, run) = (self.tools.store.clone(), self.tools.run.clone().unwrap_or_default());
        let released = blocking(move || held::release(&store, &run, Some(end)).map_err(|error| in_full(&error)));
        if let Err(error) = released.await {
            tracing::warn!(error, "what this run held is given back later");
        }
        let (dir, home) = (self.dir.clone(), self.home.clone());
        if let Err(error) = blocking(move || ledger::keep(&dir, &home).map_err(words)).await {
            tracing::warn!(%error, "the record of this run is not kept");
        }
        self.clean_store_up().await;
        // What a container's root left in a work tree is removed by a container.
        let root = self.dir.root().to_owned();
        let removed = blocking({
            let root = root.clone();
            move || std::fs::remove_dir_all(root).map_err(words)
        });
        if removed.await.is_err()
            && let Err(error) = self.tools.place.remove_folder(&root).await
        {
            tracing::warn!(%error, folder = %root.display(), "a folder of this run stays");
        }
        // No job of this run uses tools any more.
        let tools = self.tools.tool_cache.clone();
        if let Err(error) = blocking(move || tools.tidy(&Interrupt::default()).map_err(|error| in_full(&error))).await {
            tracing::warn!(error, "tools that no job uses stay on the machine");
        }
    }
}

/// Between two looks at what is kept for later runs.
const CLEAN_UP_EVERY: Duration = Duration::from_secs(4 * 3600);

impl House {
    /// No agent looks after this store: runs do it themselves, now and then.
    async fn clean_store_up(&self) {
        let store = self.tools.store.clone();
        if store.since_collection().is_some_and(|since| since < CLEAN_UP_EVERY) {
            return;
        }
        let collected = blocking(move || {
            let collection = Collection {
                policies: &Policies::default(),
                cycle: Cycle::default(),
                is_dry_run: false,
                elapsed: None,
                interrupt: Interrupt::default(),
            };
            store.collect(&collection).map(drop).map_err(words)
        });
        if let Err(error) = collected.await {
            tracing::warn!(error, "what earlier runs kept is not cleaned up");
        }
    }
}

/// What jobs are offered beside a place.
struct Offers {
    store: Arc<Store>,
    git: GitProgram,
    outbound: Outbound,
}

impl Offers {
    /// All at the same time.
    async fn get_ready(home: PathBuf) -> Result<Self, String> {
        let store = home.join("store");
        let store = blocking(move || {
            Store::open(&store, StoreLimits::default(), None, Arc::new(jiff::Timestamp::now))
                .map_err(|error| in_full(&error))
        });
        let git = blocking(|| {
            let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from(USUAL_PATH));
            GitProgram::find(&path).map_err(words)
        });
        // Reads the machine's certificates.
        let outbound = blocking(|| {
            let environment = ProxyEnvironment::from_process();
            Outbound::new(OutboundSettings { environment, ..OutboundSettings::default() }).map_err(words)
        });
        let (store, git, outbound) = tokio::try_join!(store, git, outbound)?;
        Ok(Self { store: Arc::new(store), git, outbound })
    }
}

/// Runs blocking work on a thread for it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(words)?
}

/// An error in its own words.
pub(super) fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
