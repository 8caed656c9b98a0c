//! The Docker engines of this machine that registrations use, each connected to once, and the sandboxes on them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;
use tracing::{info, warn};

use super::recovery::{Found, ShimState};
use crate::config::DockerConfig;
use crate::config::docker_values::EngineAddress;
use crate::executor::sandbox::SandboxRecord;
use crate::executor::sandbox::docker::{
    Docker, EngineSettings, MachineAuth, PoolSettings, Reattached, Upkeep, UtilityProgram,
};
use crate::executor::sandbox::shim::ShimBinary;
use crate::pipeline::JobKey;
use crate::state::{OpenJob, StateDir, durable};

/// File in the state directory with this agent's id.
const AGENT_ID: &str = "agent.id";

/// The engines, by the address of their socket. Cheap to clone.
#[derive(Clone)]
pub struct Engines {
    dir: StateDir,
    agent: String,
    shim: ShimBinary,
    process: String,
    /// How many networks are made ahead and kept; `None`: as for an agent, whose next job may be anybody's.
    upkeep: Option<Upkeep>,
    /// File that remembers that an engine sees our folders; `None`: each is asked.
    proof: Option<PathBuf>,
    connected: Arc<Mutex<BTreeMap<String, Docker>>>,
}

impl Engines {
    /// No engine is connected to yet. The caller holds the state lock. Blocking.
    pub fn new(dir: StateDir, shim: ShimBinary) -> io::Result<Self> {
        let agent = agent_id(&dir)?;
        let process = uuid::Uuid::new_v4().simple().to_string();
        Ok(Self { dir, agent, shim, process, upkeep: None, proof: None, connected: Arc::default() })
    }

    /// The id of this agent: the same after a restart.
    pub fn agent(&self) -> &str {
        &self.agent
    }

    /// For jobs of one Owner, of which so many run at a time.
    #[must_use]
    pub fn of_one_owner(self, parallel: usize) -> Self {
        Self { upkeep: Some(Upkeep { ready: parallel, most: Some(parallel) }), ..self }
    }

    /// Connects at less cost while `file` remembers that an engine sees our folders.
    #[must_use]
    pub fn remembering(self, file: PathBuf) -> Self {
        Self { proof: Some(file), ..self }
    }

    /// The engine that `docker` names; connected to at the first call.
    pub async fn get(&self, docker: &DockerConfig) -> Result<Docker, String> {
        let address = docker.engine(std::env::var("DOCKER_HOST").ok().as_deref())?;
        let mut connected = self.connected.lock().await;
        if let Some(engine) = connected.get(&address.to_string()) {
            return Ok(engine.clone());
        }
        let mut settings = settings(&self.dir, &self.agent, &self.shim.path, docker, &address).await?;
        settings.process = Some(self.process.clone());
        settings.proof.clone_from(&self.proof);
        if let Some(upkeep) = self.upkeep {
            settings.pool.upkeep = upkeep;
            settings.pool.has_common = true;
        }
        let engine = Docker::connect(settings).await.map_err(|error| error.to_string())?;
        for warning in engine.caps().warnings() {
            warn!(engine = %address, "{warning}");
        }
        info!(engine = %address, version = %engine.caps().version, "connected to the engine");
        connected.insert(address.to_string(), engine.clone());
        Ok(engine)
    }

    /// The shim that sandboxes run.
    pub fn shim(&self) -> &ShimBinary {
        &self.shim
    }

    /// Removes what only a running agent needs: networks made ahead of need.
    pub async fn close(&self) {
        for engine in self.connected.lock().await.values() {
            engine.close().await;
        }
    }

    async fn all(&self) -> Vec<Docker> {
        self.connected.lock().await.values().cloned().collect()
    }

    /// Hashes of the shims that containers run, of this agent or of one before it. An error means that an engine cannot
    /// be asked.
    pub async fn shims_in_use(&self) -> Result<Vec<String>, String> {
        let mut hashes = vec![self.shim.sha256.clone()];
        for engine in self.all().await {
            let shims = engine.shims().await.map_err(|error| error.to_string())?;
            let homes = shims.iter().filter_map(|shim| shim.parent()?.file_name());
            hashes.extend(homes.map(|hash| hash.to_string_lossy().into_owned()));
        }
        Ok(hashes)
    }

    async fn find_one(&self, job: &OpenJob) -> Result<Option<Found>, String> {
        let found = |shim| Some(Found { job: job.assignment.key.clone(), shim });
        match &job.sandbox {
            None => Ok(None),
            // Whether the process still is the one of the record is seen when the job goes on.
            Some(SandboxRecord::Host { .. }) => Ok(found(ShimState::Unknown)),
            Some(record) => {
                for engine in self.all().await {
                    match engine.reattach(record).await {
                        Ok(Reattached::Running) => return Ok(found(ShimState::Answers)),
                        // Its spool and exit files may tell how its steps ended; the job looks.
                        Ok(Reattached::Gone { .. }) => {}
                        Err(error) => return Err(error.to_string()),
                    }
                }
                Ok(found(ShimState::Exited))
            }
        }
    }
}

impl Engines {
    /// See [`Sweeper::find`](super::Sweeper::find).
    pub async fn find(&self, owed: &[OpenJob]) -> Result<Vec<Found>, String> {
        let mut all = Vec::new();
        for job in owed {
            all.extend(self.find_one(job).await?);
        }
        Ok(all)
    }

    /// Removes a folder with what is in it, whoever's it is.
    pub async fn remove_folder(&self, folder: &Path) -> Result<(), String> {
        let mut removed = Err("there is no engine to do it".to_owned());
        for engine in self.all().await {
            removed = engine.remove_folder(folder).await.map_err(|error| error.to_string());
            if removed.is_ok() {
                break;
            }
        }
        removed
    }

    /// Removes the sandboxes of no job, on all engines that answer. The error is that of the last one that does not.
    pub async fn sweep(&self, known: &(dyn Fn() -> Vec<JobKey> + Send + Sync)) -> Result<(), String> {
        let mut unswept = Ok(());
        for engine in self.all().await {
            let swept = match engine.sweep(known).await {
                Ok(swept) => swept,
                Err(error) => {
                    // The other engines are there.
                    unswept = Err(error.to_string());
                    continue;
                }
            };
            if !swept.containers.is_empty() || !swept.networks.is_empty() || !swept.volumes.is_empty() {
                info!(?swept, "removed what an earlier agent left");
            }
            for failure in &swept.failures {
                warn!(%failure, "something that nobody needs could not be removed; trying again at the next sweep");
            }
        }
        unswept
    }
}

/// Connects to an engine once, as an agent does at its start, and says what it warns of. An error says why no agent can
/// work with the engine: among other things, that it does not see the state directory.
pub async fn look(dir: &StateDir, docker: &DockerConfig) -> Result<Vec<String>, String> {
    let address = docker.engine(std::env::var("DOCKER_HOST").ok().as_deref())?;
    let program = std::env::current_exe().map_err(|error| format!("this program cannot be found: {error}"))?;
    let agent = agent_id(dir).map_err(|error| format!("the agent's id cannot be kept: {error}"))?;
    let settings = settings(dir, &agent, &program, docker, &address).await?;
    let engine = Docker::connect(settings).await.map_err(|error| error.to_string())?;
    Ok(engine.caps().warnings())
}

async fn settings(
    dir: &StateDir,
    agent: &str,
    program: &Path,
    docker: &DockerConfig,
    address: &EngineAddress,
) -> Result<EngineSettings, String> {
    Ok(EngineSettings {
        host: Some(address.socket().display().to_string()),
        agent: agent.to_owned(),
        process: None,
        folder: folder(dir).await?,
        proof: None,
        auth: MachineAuth { config: user_config(), helper_path: None },
        pool: pool(docker),
        utility: UtilityProgram { path: program.to_owned(), args: Vec::new() },
    })
}

fn pool(docker: &DockerConfig) -> PoolSettings {
    PoolSettings {
        range: docker.network_pool,
        prefix: docker.network_size,
        are_held: docker.hold_networks,
        ..PoolSettings::default()
    }
}

/// Where the engines' records are kept.
async fn folder(dir: &StateDir) -> Result<PathBuf, String> {
    let folder = dir.root().join("docker");
    let made = folder.clone();
    let result = tokio::task::spawn_blocking(move || {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new().recursive(true).mode(0o711).create(&made)
    });
    match result.await {
        Ok(Ok(())) => Ok(folder),
        Ok(Err(error)) => Err(format!("{} cannot be made: {error}", folder.display())),
        Err(error) => Err(error.to_string()),
    }
}

/// The folder of this user's own Docker configuration: `$DOCKER_CONFIG`, else `~/.docker`.
fn user_config() -> Option<PathBuf> {
    std::env::var_os("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker")))
}

/// The id by which what this agent makes is labelled: made once for a state directory.
fn agent_id(dir: &StateDir) -> io::Result<String> {
    let path = dir.root().join(AGENT_ID);
    match std::fs::read_to_string(&path) {
        Ok(text) if is_agent_id(text.trim()) => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let id = uuid::Uuid::new_v4().simple().to_string();
    durable::replace(&path, &[id.as_bytes()])?;
    Ok(id)
}

fn is_agent_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
