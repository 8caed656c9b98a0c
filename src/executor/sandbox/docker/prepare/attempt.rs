//! One attempt to make a sandbox, and its undoing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};

use super::super::Docker;
use super::super::changes::Changes;
use super::super::container::mounts::{self, Mounts, MountsOf};
use super::super::container::{Role, options};
use super::super::containers::GONE;
use super::super::error::EngineError;
use super::super::image::LocalImage;
use super::super::image::pull::JobImages;
use super::super::network::files::{NameFile, NameFiles};
use super::super::network::pool::{Joined, Shape};
use super::super::network::{Connected, Connection, alone, held};
use super::super::service::health;
use super::super::service::plan::{self, ServicePlan};
use super::super::service::start::{StartedService, Surroundings};
use super::super::settings::NetworkMode;
use super::super::{labels, tools};
use super::{Attempt, Hooks, Prepared, SandboxSpec, UNDO};
use crate::executor::log::{StageLog, Tone};
use crate::executor::sandbox::SandboxRecord;
use crate::pipeline::JobFailure;

/// How soon an engine that went away is asked about the container again.
const WATCH_AGAIN: Duration = Duration::from_secs(1);

/// One attempt to make a sandbox.
pub(super) struct Preparation<'a> {
    pub(super) docker: &'a Docker,
    pub(super) spec: &'a SandboxSpec<'a>,
    pub(super) log: &'a dyn StageLog,
    pub(super) images: &'a JobImages<'a>,
    pub(super) changes: Changes,
    /// The container is the so-manieth further one of the job.
    pub(super) beside: Option<u32>,
    /// The job's own network, once it has one.
    network: std::sync::OnceLock<String>,
    /// Whether its container is to join a namespace that is held.
    has_joined: AtomicBool,
}

impl<'a> Preparation<'a> {
    pub(super) fn new(
        docker: &'a Docker,
        spec: &'a SandboxSpec<'a>,
        log: &'a dyn StageLog,
        images: &'a JobImages<'a>,
    ) -> Self {
        let changes = Changes::new(docker.clone());
        Self {
            docker,
            spec,
            log,
            images,
            changes,
            beside: None,
            network: std::sync::OnceLock::new(),
            has_joined: AtomicBool::new(false),
        }
    }

    pub(super) async fn run<S>(&self, hooks: &Hooks<'_, '_, S>) -> Result<Prepared<S>, Attempt> {
        let (job, settings) = (self.spec.job, self.spec.settings);
        let plan = plan::plan(job, settings)?;
        // In the heap: the preparation of a job lies in many futures inside each other, and a thread's stack is small.
        let connected = Box::pin(self.connect_network(plan.services.len())).await?;
        let Connected { connection, files, hostname } = connected;
        let mounts = self.mounts(files).await?;
        let refusals = self.refusals(&plan);
        for remark in plan.remarks.iter().chain(&mounts.remarks).chain(&refusals) {
            self.log.say(Tone::Warning, remark);
        }
        if !plan.services.is_empty() && !connection.reaches_services() {
            let words = "The job's network mode is `none`: its services cannot be reached by it";
            self.log.say(Tone::Warning, words);
        }
        let (services, (container, image)) = self.containers(&plan, &connection, &mounts).await?;
        let record = SandboxRecord::Docker {
            container: container.clone(),
            services: services.iter().map(|service| service.container.clone()).collect(),
            network: self.network.get().cloned(),
            boot_id: self.docker.boot_id().to_owned(),
        };
        (hooks.on_created)(record.clone()).await?;
        self.changes.start(container.clone()).await?;
        let shim = self.hello(&container, hooks).await?;
        let entrypoint_output = match self.entrypoint_of(&image).is_empty() {
            true => Vec::new(),
            false => self.docker.greeting(&container).await?,
        };
        Ok(Prepared {
            record,
            shim,
            entrypoint_output,
            hostname: hostname.or_else(|| self.hostname()),
            services: services.into_iter().map(|service| service.aliases).collect(),
        })
    }

    /// What the job asks for and is not its to have.
    fn refusals(&self, plan: &ServicePlan) -> Vec<String> {
        let settings = self.spec.settings;
        let of_job = self.spec.job.image.iter().map(|image| (image, Role::Job));
        let of_services = plan.services.iter().map(|service| (&service.spec.image, Role::Service));
        of_job
            .chain(of_services)
            .flat_map(|(image, role)| {
                let refused = options::refused(&image.options, settings, role, &image.name);
                refused.into_iter().map(|(what, why)| format!("{}: `{what}` is refused: {why}", image.name))
            })
            .collect()
    }

    /// A container of the spec's image that shares the network of `other`.
    pub(super) async fn run_beside<S>(&self, other: &str, hooks: &Hooks<'_, '_, S>) -> Result<(String, S), Attempt> {
        let mounts = self.mounts(None).await?;
        let connection = match self.spec.settings.network_mode {
            NetworkMode::Host => Connection::Host,
            _ => Connection::Unnamed(format!("container:{other}")),
        };
        let (container, _image) = self.job_container(&connection, &mounts, Vec::new()).await?;
        self.changes.start(container.clone()).await?;
        let shim = self.hello(&container, hooks).await?;
        Ok((container, shim))
    }

    /// Removes the container of [`Preparation::run_beside`] that did not come to life.
    pub(super) async fn undo_beside(&self) {
        let Some(number) = self.beside else { return };
        let name = super::super::names::beside_container(self.docker.agent(), &self.spec.job.key, number);
        let removal = async {
            self.changes.settle().await;
            self.docker.engine().remove_container(&name).await
        };
        if let Ok(Err(error)) = tokio::time::timeout(UNDO, removal).await {
            tracing::warn!(name, %error, "a step's container could not be removed; it goes with the job's");
        }
    }

    /// Removes what this attempt made, whatever was under way. An engine that hangs does not hold the job up: then the sweeper
    /// finds it by its labels.
    pub(super) async fn undo(&self) {
        // The next attempt may be connected otherwise.
        for file in NameFile::ALL {
            tokio::fs::remove_file(file.of_job(&self.spec.paths.private)).await.ok();
        }
        let removal = async {
            self.changes.settle().await;
            self.docker.remove_job(&self.spec.job.key).await
        };
        let networks = self.docker.networks();
        let why = match tokio::time::timeout(UNDO, removal).await {
            Ok(Ok(())) => {
                if let Some(network) = self.network.get() {
                    networks.release(network);
                }
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "the engine does not answer".to_owned(),
        };
        tracing::warn!(job_id = %self.spec.job.key, why, "what was made for the job stays for the sweeper");
        if let Some(network) = self.network.get() {
            networks.forget(network);
        }
    }

    /// An engine that is there spoiled this attempt. If that was for a held namespace, the next attempt goes without.
    pub(super) async fn distrust_network(&self) {
        if let Some(network) = self.network.get().filter(|_| self.has_joined.load(Ordering::Relaxed)) {
            // An engine that hangs does not hold the job up.
            tokio::time::timeout(UNDO, self.docker.networks().refuse_held(network)).await.ok();
        }
    }

    async fn mounts(&self, files: Option<NameFiles>) -> Result<Mounts, Attempt> {
        let of = MountsOf {
            agent: self.docker.agent(),
            job: self.spec.job,
            paths: self.spec.paths,
            settings: self.spec.settings,
            kept: self.docker.kept_volumes(),
            shim: self.spec.shim,
            tools: self.tool_mount(),
        };
        let mut mounts = mounts::plan(&of)?;
        let job = self.spec.job;
        let of_services = job.services.iter().filter(|_| self.beside.is_none());
        for container in job.image.iter().chain(of_services.map(|service| &service.image)) {
            let own = mounts::own(&container.options.volumes, &of);
            mounts.folders.extend(own.folders.iter().cloned());
            mounts.remarks.extend(own.remarks.iter().map(|remark| format!("{}: {remark}", container.name)));
            mounts.own.push((container.options.volumes.clone(), own.mounts));
        }
        let private = self.spec.paths.private.clone();
        for file in self.files_of_job(files.as_ref()) {
            mounts.job.push(mounts::bind(&file.of_job(&private), file.target(), false));
        }
        if mounts.folders.is_empty() && files.is_none() {
            return Ok(mounts);
        }
        let folders = mounts.folders.clone();
        let made = tokio::task::spawn_blocking(move || {
            mounts::make_folders(&folders)?;
            files.map_or(Ok(()), |files| files.write(&private))
        });
        match made.await {
            Ok(Ok(())) => Ok(mounts),
            Ok(Err(why)) => Err(JobFailure::system(why).into()),
            Err(error) => Err(JobFailure::system(format!("making folders for volumes: {error}")).into()),
        }
    }

    /// Where tools of earlier jobs come into the container.
    fn tool_mount(&self) -> Option<bollard::models::Mount> {
        let (agent, job) = (self.docker.agent(), self.spec.job);
        let target = job.dirs.tool_cache.as_deref()?;
        let tools = self.spec.tools.as_ref()?;
        let labels = labels::of_job(agent, job, "tools");
        Some(tools::mount(agent, tools, target, labels, self.docker.caps().is_rootless))
    }

    /// The files of names that are the job's own. A container beside the job's has those that are there.
    fn files_of_job(&self, made: Option<&NameFiles>) -> Vec<NameFile> {
        let private = &self.spec.paths.private;
        match self.beside {
            Some(_) => NameFile::ALL.into_iter().filter(|file| file.of_job(private).exists()).collect(),
            None => made.map_or_else(Vec::new, NameFiles::files),
        }
    }

    async fn connect_network(&self, services: usize) -> Result<Connected, Attempt> {
        let (settings, caps) = (self.spec.settings, self.docker.caps());
        if settings.network_mode != NetworkMode::Job {
            let options = self.spec.job.image.as_ref().map(|image| &image.options);
            let is_alone = alone::suits(caps, settings, options);
            let connection = Connection::of(&settings.network_mode, None);
            return Ok(if is_alone { Connection::Alone } else { connection }.into());
        }
        let shape = Shape::new(settings.network_mtu, settings.enable_ipv6);
        let owner = self.spec.job.owner.slug();
        let networks = self.docker.networks();
        // Services are reached by names of the network, which are those of its own containers.
        let needs_no_names = services == 0 && held::suits(caps, settings, self.spec.job);
        if needs_no_names {
            match networks.join(&owner, &shape).await {
                Joined::Place(place) => {
                    // From now on it is given back whatever happens.
                    let id = self.network.get_or_init(|| place.id);
                    return Ok(match networks.held(id).await {
                        Some(held) => self.join(&held),
                        None => Connection::Common(place.name).into(),
                    });
                }
                Joined::Connected(common) => return Ok(Connection::Common(common).into()),
                Joined::No => {}
            }
        }
        let network = match networks.take(&owner, &shape, services + 1).await {
            // No room, in the range or in one network: trying again does not make any.
            Err(EngineError::Unsupported(words)) => return Err(JobFailure::system(words).into()),
            taken => taken?,
        };
        self.network.get_or_init(|| network.id.clone());
        if needs_no_names && let Some(held) = networks.held(&network.id).await {
            return Ok(self.join(&held));
        }
        Ok(Connection::of(&settings.network_mode, Some(&network.name)).into())
    }

    fn join(&self, held: &held::Held) -> Connected {
        self.has_joined.store(true, Ordering::Relaxed);
        held.into()
    }

    /// Services up and answering, and the job's container made. At the same time, where the job's container does not need
    /// to know the services' addresses.
    async fn containers(
        &self,
        plan: &ServicePlan,
        connection: &Connection,
        mounts: &Mounts,
    ) -> Result<(Vec<StartedService>, (String, LocalImage)), Attempt> {
        let services = self.services(plan, connection, mounts);
        if !connection.needs_addresses() {
            let hosts = local_hosts(plan, connection);
            return tokio::try_join!(services, self.job_container(connection, mounts, hosts));
        }
        let (services, _image) = tokio::try_join!(services, self.job_image())?;
        let hosts = self.bridge_hosts(&services).await?;
        let container = self.job_container(connection, mounts, hosts).await?;
        Ok((services, container))
    }

    async fn services(
        &self,
        plan: &ServicePlan,
        connection: &Connection,
        mounts: &Mounts,
    ) -> Result<Vec<StartedService>, Attempt> {
        let connection = &connection.of_services();
        let surroundings =
            Surroundings { changes: &self.changes, spec: self.spec, images: self.images, connection, mounts };
        let starts = plan.services.iter().enumerate().map(|(index, service)| surroundings.start(index, service));
        let started = try_join_all(starts).await?;
        if connection.reaches_services() {
            let waits = started.iter().map(|service| health::wait(self.docker, connection, service, self.log));
            if started.iter().any(|service| service.patience.is_some()) {
                self.log.say(Tone::Plain, "Waiting for services to be up and running...");
            }
            for waited in join_all(waits).await {
                waited?;
            }
        }
        Ok(started)
    }

    async fn bridge_hosts(&self, services: &[StartedService]) -> Result<Vec<String>, Attempt> {
        let mut hosts = Vec::new();
        for service in services {
            let found =
                self.docker.engine().inspect(&service.container).await?.map(|inspect| health::Found::of(&inspect));
            let Some(address) = found.and_then(|found| found.address) else { continue };
            let id: String = service.container.chars().take(12).collect();
            hosts.extend(service.aliases.iter().chain([&id]).map(|name| format!("{name}:{address}")));
        }
        Ok(hosts)
    }

    /// Waits for the shim's hello, or for the container's end. The shim needs no engine: one that goes away only has to be
    /// asked about the container again when it is back.
    async fn hello<S>(&self, container: &str, hooks: &Hooks<'_, '_, S>) -> Result<S, Attempt> {
        let mut connect = (hooks.connect)();
        let mut lost_sight = None;
        loop {
            let ended = tokio::select! {
                biased;
                shim = &mut connect => return Ok(shim?),
                ended = self.docker.engine().wait_exit(container) => ended,
            };
            match ended {
                Ok(exit_code) => return Err(self.ended(container, exit_code, lost_sight).await),
                Err(error) => {
                    if lost_sight.is_none() {
                        tracing::warn!(%error, "the container's end cannot be watched while its shim is awaited");
                    }
                    lost_sight = Some(error);
                }
            }
            tokio::select! {
                biased;
                shim = &mut connect => return Ok(shim?),
                () = tokio::time::sleep(WATCH_AGAIN) => {}
            }
        }
    }

    /// What the end of a container means whose shim has not said hello. An engine that stops or comes back ends all its
    /// containers: that says nothing about the image, and as no step has run, the job may have another container.
    async fn ended(&self, container: &str, exit_code: i32, lost_sight: Option<EngineError>) -> Attempt {
        if let Err(error) = self.docker.answers().await {
            return Attempt::Engine(error);
        }
        let what = || "waiting for the job's container to get ready".to_owned();
        if exit_code == GONE {
            let message = "it was removed by another program".to_owned();
            return Attempt::Engine(EngineError::NotFound { what: what(), message });
        }
        if let Some(error) = lost_sight {
            let message = format!("it ended with exit code {exit_code} while the engine was away ({error})");
            return Attempt::Engine(EngineError::Failed { what: what(), message });
        }
        let output = self.docker.greeting(container).await.unwrap_or_default();
        let looked = self.docker.look_at(container).await.ok().flatten();
        let container = looked.map(|looked| Box::new(looked.evidence));
        Attempt::EntrypointEnded { exit_code, output, container }
    }
}

/// On the machine's own network every service is at the loopback address.
fn local_hosts(plan: &ServicePlan, connection: &Connection) -> Vec<String> {
    match connection {
        Connection::Host => {
            plan.services.iter().flat_map(|s| &s.aliases).map(|alias| format!("{alias}:127.0.0.1")).collect()
        }
        Connection::UserDefined(_)
        | Connection::Common(_)
        | Connection::Alone
        | Connection::Bridge
        | Connection::Unnamed(_) => Vec::new(),
    }
}
