//! Where a registration's jobs live: containers of the engine, or processes of this machine. What the stages need of
//! either, in the order of a job's life.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::docker::{self, Docker, DockerSettings, Hooks, NetworkMode, PrepareError, Reattached, SandboxSpec};
use super::host::{HostReattached, HostSandbox, HostSpec};
use super::shim::{RunDir, ShimBinary, ShimClient, ShimKey};
use super::terminal::{ShellRequest, Terminal, Window};
use super::{JobPaths, SandboxRecord};
use crate::artifact::tools::{JobTools, Layering};
use crate::executor::evidence::ContainerEvidence;
use crate::executor::log::{StageLog, Tone};
use crate::pipeline::definition::Protocol;
use crate::pipeline::{JobFailure, JobKey, PipelineJob, Secret};

/// File in the job's private folder that holds the key to its shim.
const KEY: &str = "shim.key";
/// How long a running shim may take to say hello to a new agent.
const REATTACH: Duration = Duration::from_secs(30);
/// How often, and with which pause at first, the removal of a sandbox is tried before it is left to the sweeper.
const REMOVALS: u32 = 5;
const REMOVAL_PAUSE: Duration = Duration::from_secs(1);
/// How long a shim that is to end is waited for, before the engine ends it.
const SHIM_END: Duration = Duration::from_secs(2);

/// Where a registration's jobs live.
pub enum Place {
    /// Containers of the Docker engine on this machine.
    Docker(Box<DockerPlace>),
    /// Processes of this machine.
    Host(Box<HostPlace>),
}

/// Processes of this machine, as a registration configures them.
pub struct HostPlace {
    /// The shim to start.
    pub shim: ShimBinary,
    /// What this machine is called, for the log.
    pub host_name: String,
}

/// Containers, as a registration configures them.
pub struct DockerPlace {
    /// The engine.
    pub engine: Docker,
    /// What the operator decided.
    pub settings: DockerSettings,
    /// The shim that containers mount.
    pub shim: ShimBinary,
}

/// What a place is made for.
pub struct PlaceRequest<'a> {
    /// The job.
    pub job: &'a PipelineJob,
    /// Its folders.
    pub paths: &'a JobPaths,
    /// What an image's entrypoint finds in its environment. Steps get theirs with their message.
    pub env: Vec<(String, Secret)>,
    /// The job's log.
    pub log: &'a dyn StageLog,
    /// Ends the preparation.
    pub stop: CancellationToken,
}

/// A place that is ready.
pub struct Ready {
    /// How to find it again.
    pub record: SandboxRecord,
    /// The way into it.
    pub shim: ShimClient,
    /// What the container printed before the shim said hello.
    pub greeting: Vec<u8>,
    /// What it is called.
    pub host_name: String,
    /// For each service of the job, in order: its ports, and where the job finds them at its loopback address.
    pub service_ports: Vec<Vec<(u16, u16)>>,
}

/// A container beside the job's.
pub struct BesidePlace {
    /// Its id.
    pub container: String,
    /// The way into it.
    pub shim: ShimClient,
    /// Where its steps' output lies.
    pub run: PathBuf,
}

/// How a preparation ended that did not fail.
pub enum Preparation {
    /// The place is there.
    Ready(Box<Ready>),
    /// The image's entrypoint ended instead of running the shim. Users of this forge know that as a failure of their first
    /// step, and so it is told there.
    EntrypointEnded {
        /// Its exit code.
        exit_code: i32,
        /// What it printed.
        output: Vec<u8>,
        /// What it was, not masked.
        container: Option<Box<ContainerEvidence>>,
    },
}

impl Place {
    /// The executor's name as the forge and its users know it.
    pub fn name(&self) -> &'static str {
        match self {
            Place::Docker(_) => "docker",
            Place::Host(_) => "host",
        }
    }

    /// Whether a job's processes share the machine with others.
    pub fn is_shared(&self) -> bool {
        matches!(self, Place::Host(_))
    }

    /// Whether a job could be given a place now; an error says what is missing.
    pub async fn is_ready(&self) -> Result<(), String> {
        match self {
            Place::Docker(place) => place.engine.answers().await.map_err(|error| error.to_string()),
            Place::Host(_) => Ok(()),
        }
    }

    /// Makes the place. `on_created` journals its record before anything runs in it. What an earlier try left is removed
    /// first; after an error nothing stays.
    pub async fn prepare<F>(
        &self,
        request: PlaceRequest<'_>,
        on_created: impl Fn(SandboxRecord) -> F + Send + Sync + Clone + 'static,
    ) -> Result<Preparation, JobFailure>
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.remove_job(&request.job.key).await;
        let key = fresh_key(request.paths, KEY).await?;
        let journal = move |record| {
            let written = on_created(record);
            let written: BoxFuture<'static, Result<(), JobFailure>> = Box::pin(async move {
                written
                    .await
                    .map_err(|error| JobFailure::system(format!("the sandbox could not be journalled: {error}")))
            });
            written
        };
        match self {
            Place::Docker(place) => place.prepare(request, &key, &journal).await,
            Place::Host(place) => place.prepare(request, &key, &journal).await,
        }
    }

    /// Makes a container of another image beside that of `record`, with its work tree and its network. Its run directory is
    /// the `number`-th of the job's further ones.
    pub async fn prepare_beside(
        &self,
        request: PlaceRequest<'_>,
        record: &SandboxRecord,
        number: u32,
    ) -> Result<BesidePlace, JobFailure> {
        let (Place::Docker(place), SandboxRecord::Docker { container, .. }) = (self, record) else {
            return Err(JobFailure::configuration("a step of its own image needs the docker executor"));
        };
        let run = request.paths.private.join(format!("run-{number}"));
        RunDir::create(&run).map_err(|error| JobFailure::system(error.to_string()))?;
        let paths = JobPaths { run: run.clone(), ..request.paths.clone() };
        let key = fresh_key(&paths, &format!("shim-{number}.key")).await?;
        let spec = place.spec(&request, &paths);
        let deadline = Instant::now() + request.job.timeouts.prepare.unwrap_or(request.job.timeouts.job);
        let connect = || place.connect(&paths.run, &key, deadline);
        let made =
            place.engine.prepare_beside(&spec, (container, number), request.log, &request.stop, &connect).await?;
        Ok(BesidePlace { container: made.0, shim: made.1, run })
    }

    /// Removes one container of [`Place::prepare_beside`] before the job's end.
    pub async fn remove_beside(&self, container: &str) {
        if let Place::Docker(place) = self
            && let Err(error) = place.engine.remove_one(container).await
        {
            warn!(%error, "the container of a step could not be removed; it goes with the job's");
        }
    }

    /// Starts a shell for a person. The error is for that person.
    pub async fn open_shell(&self, request: &ShellRequest, window: Window) -> Result<Terminal, String> {
        match (self, &request.container) {
            (Place::Docker(place), Some(container)) => {
                place.engine.open_shell(container, request, window).await.map_err(|error| error.to_string())
            }
            (Place::Host(_), _) => super::host::open_shell(request, window).map_err(|error| error.to_string()),
            (Place::Docker(_), None) => Err("the step has no container any more".to_owned()),
        }
    }

    /// The way into a place that an earlier agent made. `Err` says why there is none; an engine that is away is waited for
    /// until the job's own deadline, which the caller keeps.
    pub async fn reattach(&self, record: &SandboxRecord, paths: &JobPaths) -> Result<ShimClient, String> {
        let key =
            ShimKey::load(&paths.private.join(KEY)).map_err(|error| format!("the key to its shim is lost: {error}"))?;
        match self {
            Place::Docker(place) => place.wait_reattached(record).await?,
            Place::Host(_) => return host_reattach(record, paths, &key).await,
        }
        match ShimClient::connect_keyed(&paths.run, &key, Instant::now() + REATTACH).await {
            Ok((shim, _hello)) => Ok(shim),
            Err(error) => Err(error.to_string()),
        }
    }

    /// What the image's entrypoint printed, for a place that an earlier agent made. Empty where it cannot be asked.
    pub async fn greeting(&self, record: &SandboxRecord) -> Vec<u8> {
        let (Place::Docker(place), SandboxRecord::Docker { container, .. }) = (self, record) else { return Vec::new() };
        place.engine.greeting(container).await.unwrap_or_else(|error| {
            warn!(%error, "what the image's entrypoint printed cannot be shown");
            Vec::new()
        })
    }

    /// Why the place of a job ended by itself, in a sentence.
    pub async fn end_cause(&self, record: &SandboxRecord) -> String {
        let Place::Docker(place) = self else { return "the job's processes were ended from outside".to_owned() };
        match place.engine.end_state(record).await {
            Ok(Some(state)) if state.oom_killed => "the job's container was ended at its memory limit".to_owned(),
            Ok(Some(state)) => match state.exit_code {
                Some(code) if !state.is_running => format!("the job's container ended with exit code {code}"),
                _ => "the shim in the job's container was ended".to_owned(),
            },
            Ok(None) => "the job's container was removed by another program".to_owned(),
            Err(error) => format!("the job's container cannot be asked: {error}"),
        }
    }

    /// Hands what the services of a job print, after `since` if given, to `take` with their names, until they end. For jobs
    /// that ask for it.
    pub async fn follow_services(
        &self,
        record: &SandboxRecord,
        since: Option<SystemTime>,
        mut take: impl FnMut(&[String], &[u8]),
    ) {
        let Place::Docker(place) = self else { return };
        match place.engine.service_logs(record, since).await {
            Ok(stream) => {
                futures_util::pin_mut!(stream);
                while let Some(piece) = stream.next().await {
                    take(&piece.aliases, &piece.bytes);
                }
            }
            Err(error) => warn!(%error, "the output of the job's services cannot be shown"),
        }
    }

    /// Ends everything of a job and leaves nothing. What cannot be removed now is left to the sweeper.
    pub async fn remove(&self, record: &SandboxRecord, paths: &JobPaths) {
        if matches!(self, Place::Docker(_)) {
            end_shim(paths).await;
        }
        let mut pause = REMOVAL_PAUSE;
        for attempt in 1..=REMOVALS {
            let removed = match self {
                Place::Docker(place) => place.engine.remove(record).await.map_err(|error| error.to_string()),
                Place::Host(_) => host_remove(record, paths).await,
            };
            match removed {
                Ok(()) => return self.remove_tools(paths).await,
                Err(error) if attempt == REMOVALS => warn!(%error, "the job's sandbox is left to the sweeper"),
                Err(error) => {
                    warn!(%error, ?pause, "the job's sandbox could not be removed; trying again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
            }
        }
    }

    /// Removes what carries the job's label although no record tells of it: an agent that was killed between making it
    /// and writing it down left it.
    pub async fn remove_job(&self, job: &JobKey) {
        if let Place::Docker(place) = self
            && let Err(error) = place.engine.remove_job(job).await
        {
            warn!(%error, "what an earlier try of the job left could not be removed");
        }
    }

    /// How tools of earlier jobs come into places of this kind.
    pub async fn layering(&self) -> Layering {
        match self {
            Place::Docker(place) if place.engine.can_overlay().await => Layering::Overlay,
            Place::Docker(_) | Place::Host(_) => Layering::Copy,
        }
    }

    /// Removes what a job had for its tools. Its containers are gone. What cannot be removed now goes with the job's folders, or is left
    /// to the sweeper.
    pub async fn remove_tools(&self, paths: &JobPaths) {
        let folder = paths.tools();
        if !folder.exists() {
            return;
        }
        let overlay = JobTools::load(&folder).and_then(|tools| tools.overlay);
        if let (Place::Docker(place), Some(overlay)) = (self, overlay)
            && let Err(error) = place.engine.remove_tool_volume(&overlay.id).await
        {
            // It is mounted still: what is below it stays, too.
            warn!(%error, "the volume with the job's tools is left to the sweeper");
            return;
        }
        if let Err(error) = self.remove_folder(&folder).await {
            warn!(%error, "the folder with the job's tools is left to the sweeper");
        }
    }

    /// Empties and removes a folder that a job's processes wrote, whoever owns what is in it.
    pub async fn remove_folder(&self, folder: &Path) -> Result<(), String> {
        match self {
            Place::Docker(place) => place.engine.remove_folder(folder).await.map_err(|error| error.to_string()),
            Place::Host(_) => {
                let folder = folder.to_owned();
                let removed = tokio::task::spawn_blocking(move || {
                    docker::leftovers::empty(&folder).map_err(|error| error.to_string())?;
                    std::fs::remove_dir(&folder).map_err(|error| error.to_string())
                });
                removed.await.unwrap_or_else(|error| Err(error.to_string()))
            }
        }
    }
}

impl HostPlace {
    async fn prepare(
        &self,
        request: PlaceRequest<'_>,
        key: &ShimKey,
        journal: &(dyn Fn(SandboxRecord) -> BoxFuture<'static, Result<(), JobFailure>> + Send + Sync),
    ) -> Result<Preparation, JobFailure> {
        let spec = HostSpec { paths: request.paths, shim: &self.shim, key, user: None, env: &[] };
        let prepared = HostSandbox::prepare(&spec, journal).await;
        let prepared = prepared.map_err(|error| JobFailure::system(error.to_string()))?;
        Ok(Preparation::Ready(Box::new(Ready {
            record: prepared.record,
            shim: prepared.shim,
            greeting: Vec::new(),
            host_name: self.host_name.clone(),
            service_ports: Vec::new(),
        })))
    }
}

/// Tells a container's shim to end everything in it and itself. An engine that was killed may have forgotten that the
/// container runs: it then removes the container and leaves its processes.
async fn end_shim(paths: &JobPaths) {
    let Ok(key) = ShimKey::load(&paths.private.join(KEY)) else { return };
    let ended = tokio::time::timeout(SHIM_END, async {
        let (shim, _) = ShimClient::connect_keyed(&paths.run, &key, Instant::now() + SHIM_END).await?;
        shim.shutdown(Duration::ZERO).await
    });
    if !matches!(ended.await, Ok(Ok(()))) {
        tracing::debug!("the shim did not end itself; the engine ends it");
    }
}

async fn host_reattach(record: &SandboxRecord, paths: &JobPaths, key: &ShimKey) -> Result<ShimClient, String> {
    match HostSandbox::reattach(record, &paths.run, key).await {
        Ok(HostReattached::Alive(shim, _hello)) => Ok(shim),
        Ok(HostReattached::Gone { cause }) => Err(cause),
        Err(error) => Err(error.to_string()),
    }
}

async fn host_remove(record: &SandboxRecord, paths: &JobPaths) -> Result<(), String> {
    let key = ShimKey::load(&paths.private.join(KEY)).map_err(|error| error.to_string())?;
    HostSandbox::remove(record, paths, &key).await.map_err(|error| error.to_string())
}

impl DockerPlace {
    fn spec<'s>(&'s self, request: &'s PlaceRequest<'_>, paths: &'s JobPaths) -> SandboxSpec<'s> {
        SandboxSpec {
            job: request.job,
            paths,
            settings: &self.settings,
            env: &request.env,
            shim: &self.shim.path,
            command: vec![docker::SHIM.to_owned()],
            tools: JobTools::load(&paths.tools()),
        }
    }

    /// Says hello to the shim that gets ready in `run`.
    fn connect<'c>(
        &self,
        run: &'c Path,
        key: &'c ShimKey,
        deadline: Instant,
    ) -> BoxFuture<'c, Result<ShimClient, JobFailure>> {
        Box::pin(async move {
            let hello = ShimClient::connect(run, key, deadline).await;
            hello.map(|(shim, _)| shim).map_err(|error| JobFailure::system(error.to_string()))
        })
    }

    async fn prepare(
        &self,
        request: PlaceRequest<'_>,
        key: &ShimKey,
        journal: &(dyn Fn(SandboxRecord) -> BoxFuture<'static, Result<(), JobFailure>> + Send + Sync),
    ) -> Result<Preparation, JobFailure> {
        let spec = self.spec(&request, request.paths);
        let patience = request.job.timeouts.prepare.unwrap_or(request.job.timeouts.job);
        let deadline = Instant::now() + patience;
        let run = &request.paths.run;
        let request = &request;
        let connect = || -> BoxFuture<'_, Result<_, JobFailure>> {
            Box::pin(async move {
                let shim = self.connect(run, key, deadline).await?;
                let ports = self.pass_on(&shim, request).await?;
                Ok((shim, ports))
            })
        };
        let hooks = Hooks { on_created: &|record| journal(record), connect: &connect };
        match self.engine.prepare(&spec, request.log, &request.stop, &hooks).await {
            Ok(prepared) => Ok(Preparation::Ready(Box::new(Ready {
                record: prepared.record,
                service_ports: prepared.shim.1,
                shim: prepared.shim.0,
                greeting: prepared.entrypoint_output,
                host_name: prepared.hostname.unwrap_or_else(|| "the machine's network".to_owned()),
            }))),
            Err(PrepareError::EntrypointEnded { exit_code, output, container }) => {
                Ok(Preparation::EntrypointEnded { exit_code, output, container })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The ports of the services, at the loopback address of the job's container.
    async fn pass_on(&self, shim: &ShimClient, request: &PlaceRequest<'_>) -> Result<Vec<Vec<(u16, u16)>>, JobFailure> {
        let mut all = Vec::new();
        for service in &request.job.services {
            let mut ports = Vec::new();
            for port in &service.ports {
                let name = service.aliases.first().map_or(service.image.name.as_str(), String::as_str);
                if port.protocol == Protocol::Udp {
                    let words =
                        format!("{name}: port {}/udp is reached by the service's name, not at localhost", port.port);
                    request.log.say(Tone::Warning, &words);
                    continue;
                }
                // On the machine's own network they are at its loopback address already.
                let bound = match self.settings.network_mode {
                    NetworkMode::Host => Ok(port.port),
                    _ => shim.relay(port.published.unwrap_or(0), name, port.port).await,
                };
                let bound = bound.map_err(|error| {
                    let wanted = port.published.unwrap_or(0);
                    JobFailure::configuration(format!("port {wanted} of the service {name} cannot be opened: {error}"))
                })?;
                ports.push((port.port, bound));
            }
            all.push(ports);
        }
        Ok(all)
    }

    /// Whether the container runs. While the engine is away nothing is known: it is asked again.
    async fn wait_reattached(&self, record: &SandboxRecord) -> Result<(), String> {
        let mut pause = REMOVAL_PAUSE;
        loop {
            match self.engine.reattach(record).await {
                Ok(Reattached::Running) => return Ok(()),
                Ok(Reattached::Gone { cause }) => return Err(cause),
                Err(error) if error.is_engine_gone() => {
                    warn!(%error, "the job waits for the engine");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(30));
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

/// A new key for a new shim, in a file that only the agent can read; an empty run directory for it.
async fn fresh_key(paths: &JobPaths, name: &str) -> Result<ShimKey, JobFailure> {
    let (file, run) = (paths.private.join(name), paths.run.clone());
    let made = tokio::task::spawn_blocking(move || {
        docker::leftovers::empty(&run).map_err(|error| std::io::Error::other(error.to_string()))?;
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let key = ShimKey::generate()?;
        key.save(&file)?;
        Ok(key)
    });
    match made.await {
        Ok(Ok(key)) => Ok(key),
        Ok(Err(error)) => {
            Err(JobFailure::system(format!("the job's folders cannot be written on the runner's disk: {error}")))
        }
        Err(error) => Err(JobFailure::system(format!("a part of the runner failed: {error}"))),
    }
}
