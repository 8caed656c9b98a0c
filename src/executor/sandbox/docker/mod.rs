//! Containers of a Docker engine on this machine.
//!
//! The life of a sandbox, in the order of calls:
//! 1. [`Docker::connect`], once: the engine is asked what it can do ([`EngineCaps`]) and whether it sees our folders.
//! 2. [`Docker::prepare`]: network, services, image, container, shim ([`prepare`]).
//! 3. After a crash: [`Docker::reattach`], [`Docker::end_state`] ([`lifecycle`]).
//! 4. [`Docker::remove`]. May be called at any time and repeatedly.
//! 5. Beside all that, [`Docker::sweep`] removes what nobody knows any more.
//!
//! Everything made carries the labels of [`labels`], and names made from the job's key: a second creation for the same
//! job meets the first and replaces it. Calls go through [`Engine`], each with a deadline; none is made that a job does
//! not need (a one-step job without services: inspect the image, create, start, wait, remove).
//!
//! - [`image`]: names, credentials, pulls, and whose an image is.
//! - `container`: the body of `create`: isolation, limits, mounts. `containers`: what is done with one that is there.
//! - [`network`]: a small network a job, from a pool.
//! - `service`: containers beside the job.
//! - `tools`: what earlier jobs installed, below a folder of the job's own.
//! - [`leftovers`], [`utility`]: removing what only root can remove.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

mod caps;
mod changes;
mod container;
mod containers;
mod engine;
mod error;
pub mod evidence;
mod greeting;
pub mod image;
pub mod labels;
pub mod leftovers;
mod lifecycle;
mod names;
pub mod network;
mod prepare;
mod proof;
mod service;
mod settings;
mod shell;
mod sweep;
mod tools;
pub mod utility;

#[cfg(test)]
mod tests;

pub use caps::{EnforcedLimits, EngineCaps};
pub use container::mounts::{HOME, RUN, SHIM};
pub use container::{Role, options::refused};
pub use engine::Engine;
pub use error::EngineError;
pub use lifecycle::{EndState, Reattached, ServiceOutput};
pub use network::Upkeep;
pub use network::pool::PoolSettings;
pub use prepare::{Hooks, PrepareError, Prepared, SandboxSpec};
pub use settings::{ConfiguredService, DEFAULT_PIDS, DockerSettings, Hardening, Limits, NetworkMode, Ulimit};
pub use sweep::Swept;
pub use utility::UtilityProgram;

pub use image::auth::MachineAuth;
use image::owner::ImageOwners;
use network::pool::{NetworkPool, Shape};
use proof::Proof;

/// How long an engine may take to say that it is there.
const ANSWER: Duration = Duration::from_secs(10);

/// What the agent knows before it connects to an engine. One a process: registrations share it.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// `docker.host`: a socket's path or `unix://` URL; `None`: the usual socket.
    pub host: Option<String>,
    /// The agent's id: what it makes is labelled with it. One a state directory, for ever.
    pub agent: String,
    /// Which process of the agent this is, for one that holds the state lock. What another one made for a moment is then a
    /// leftover: it is dead.
    pub process: Option<String>,
    /// A folder of the state directory for records and volumes kept from job to job.
    pub folder: PathBuf,
    /// File that remembers that the engine sees that folder; `None`: it is asked.
    pub proof: Option<PathBuf>,
    /// Credentials that the machine has for registries.
    pub auth: MachineAuth,
    /// Networks of jobs.
    pub pool: PoolSettings,
    /// The program of utility containers.
    pub utility: UtilityProgram,
}

/// A Docker engine, and what is shared by the sandboxes on it. Cheap to clone.
#[derive(Clone)]
pub struct Docker {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    caps: EngineCaps,
    settings: EngineSettings,
    kept_volumes: PathBuf,
    owners: ImageOwners,
    networks: NetworkPool,
    boot_id: String,
    /// Whether overlays can be mounted; found out when it is first asked.
    overlays: tokio::sync::OnceCell<bool>,
}

impl Docker {
    /// Connects, asks the engine about itself, and proves that it sees our folders.
    ///
    /// # Errors
    /// The engine is away, of a kind that is refused, or sees another file system; or a file of ours is unreadable.
    pub async fn connect(settings: EngineSettings) -> Result<Self, EngineError> {
        let engine = Engine::at(settings.host.as_deref())?;
        let caps = EngineCaps::probe(&engine).await?;
        let folder = settings.folder.clone();
        let opened = tokio::task::spawn_blocking(move || open_state(&folder)).await;
        let (owners, boot_id) = opened.map_err(|error| EngineError::State {
            what: "reading the engine's records".into(),
            message: error.to_string(),
        })??;
        let networks = NetworkPool::new(
            engine.clone(),
            settings.agent.clone(),
            settings.process.clone(),
            settings.utility.clone(),
            settings.pool.clone(),
        );
        let kept_volumes = settings.folder.join("volumes");
        let overlays = tokio::sync::OnceCell::new();
        let inner = Inner { engine, caps, settings, kept_volumes, owners, networks, boot_id, overlays };
        let docker = Self { inner: Arc::new(inner) };
        docker.prove().await?;
        Ok(docker)
    }

    /// Proves that the engine sees our folder, where that is not remembered.
    async fn prove(&self) -> Result<(), EngineError> {
        let EngineSettings { folder, proof, .. } = &self.inner.settings;
        let proof = proof.as_ref().and_then(|file| Proof::of(file, folder, &self.caps().id, self.boot_id()));
        if proof.as_ref().is_some_and(Proof::holds) {
            return Ok(());
        }
        self.prove_shared(folder).await?;
        if let Some(proof) = proof {
            proof.remember();
        }
        Ok(())
    }

    /// Whether the engine answers now.
    ///
    /// # Errors
    /// It does not, and why.
    pub async fn answers(&self) -> Result<(), EngineError> {
        let engine = self.engine();
        engine.call("being asked whether it is there", ANSWER, engine.api().ping()).await.map(drop)
    }

    /// What the engine can do.
    pub fn caps(&self) -> &EngineCaps {
        &self.inner.caps
    }

    /// The engine itself.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// Makes networks for jobs of a registration ahead of the first one. Returns at once; they are made beside.
    pub async fn make_networks_ready(&self, settings: &DockerSettings) {
        if settings.network_mode == NetworkMode::Job {
            let shape = Shape::new(settings.network_mtu, settings.enable_ipv6);
            self.inner.networks.make_ready(&shape).await;
        }
    }

    /// So many jobs of a registration are still to come, and no other: networks are made ahead and kept for these only.
    pub async fn expect_jobs(&self, settings: &DockerSettings, jobs: usize) {
        if settings.network_mode == NetworkMode::Job {
            let shape = Shape::new(settings.network_mtu, settings.enable_ipv6);
            let may_join = network::held::may_join(self.caps(), settings, None);
            self.inner.networks.expect(jobs, &shape, may_join).await;
        }
    }

    /// Removes networks that no job uses, and waits for what is under way. Sandboxes of running jobs stay.
    pub async fn close(&self) {
        self.inner.networks.close().await;
    }

    fn agent(&self) -> &str {
        &self.inner.settings.agent
    }

    fn process(&self) -> Option<&str> {
        self.inner.settings.process.as_deref()
    }

    fn machine_auth(&self) -> &MachineAuth {
        &self.inner.settings.auth
    }

    fn kept_volumes(&self) -> &Path {
        &self.inner.kept_volumes
    }

    fn image_owners(&self) -> &ImageOwners {
        &self.inner.owners
    }

    fn networks(&self) -> &NetworkPool {
        &self.inner.networks
    }

    fn utility_program(&self) -> &UtilityProgram {
        &self.inner.settings.utility
    }

    fn boot_id(&self) -> &str {
        &self.inner.boot_id
    }

    fn folder(&self) -> &Path {
        &self.inner.settings.folder
    }

    fn proof_file(&self) -> Option<&Path> {
        self.inner.settings.proof.as_deref()
    }

    fn overlays(&self) -> &tokio::sync::OnceCell<bool> {
        &self.inner.overlays
    }
}

fn open_state(folder: &Path) -> Result<(ImageOwners, String), EngineError> {
    let failed = |what: String| move |error: std::io::Error| EngineError::State { what, message: error.to_string() };
    std::fs::create_dir_all(folder).map_err(failed(format!("making the folder {}", folder.display())))?;
    let owners = ImageOwners::open(&folder.join("images.json"))?;
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_err(failed("reading the machine's boot id".into()))?;
    Ok((owners, boot_id.trim().to_owned()))
}
