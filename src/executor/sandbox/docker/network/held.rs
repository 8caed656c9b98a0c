//! Network namespaces that outlive their jobs. Connecting a container costs the engine more than all the rest of it; so a
//! container of ours that does nothing is connected to a pooled network once, and the containers of one job after the other join its
//! namespace. Never of two jobs at once, and of one Owner's only: a network is so.
//!
//! What stays there of a job is the kernel's memory of connections that it closed a minute ago; it had no right to change interfaces
//! or rules. Jobs that could, and those with a word to say about names and addresses, are connected as usual ([`suits`]).

use std::collections::{BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bollard::container::LogOutput;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{AttachContainerOptions, CreateContainerOptions};
use futures_util::{Stream, StreamExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::files::{self, NameFiles};
use super::pool::PooledNetwork;
use crate::executor::sandbox::docker::caps::EngineCaps;
use crate::executor::sandbox::docker::engine::{CHANGE, Engine, LOOK};
use crate::executor::sandbox::docker::error::EngineError;
use crate::executor::sandbox::docker::labels;
use crate::executor::sandbox::docker::settings::DockerSettings;
use crate::executor::sandbox::docker::utility::{self, UtilityProgram};
use crate::pipeline::PipelineJob;
use crate::pipeline::definition::ContainerOptions;

/// What a container that does nothing may use, in bytes and processes.
const MEMORY: i64 = 64 << 20;
const PROCESSES: i64 = 16;
/// Bytes that it may say before what is asked of it.
const MOST_WORDS: usize = 1 << 20;
const WORDS: &str = "listening to the container that holds a network's namespace";

/// What a container says.
type Words = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;

/// A namespace that is held.
#[derive(Debug)]
pub(in crate::executor::sandbox::docker) struct Held {
    /// The container's id.
    pub container: String,
    /// The host name that all in it have.
    pub hostname: String,
    /// What the engine wrote for it. Each job gets its own: it may change them.
    pub files: NameFiles,
}

/// How the container that is to hold a namespace stands.
#[derive(Clone)]
enum State {
    Coming,
    Held(Arc<Held>),
    /// It has ended: it may be made anew.
    Ended,
    /// It could not be made, or jobs could not join it: the network does without.
    Refused,
}

/// The containers that hold the namespaces of a pool's networks.
pub(super) struct Holders {
    engine: Engine,
    agent: String,
    process: Option<String>,
    program: UtilityProgram,
    /// By the network's id.
    all: Mutex<HashMap<String, Holder>>,
    /// One looks for the image at a time, and makes it where it is not there.
    image: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

struct Holder {
    name: String,
    state: watch::Receiver<State>,
}

/// Whether the job's container may join a namespace that others had before it.
pub(in crate::executor::sandbox::docker) fn suits(
    caps: &EngineCaps,
    settings: &DockerSettings,
    job: &PipelineJob,
) -> bool {
    let options = job.image.as_ref().map(|image| &image.options);
    let job_says_nothing = options.is_none_or(|options| options.hostname.is_none() && options.domain.is_none());
    job_says_nothing && may_join(caps, settings, options)
}

/// Whether jobs may, as far as the engine and the operator have a say, and `options`.
pub(in crate::executor::sandbox::docker) fn may_join(
    caps: &EngineCaps,
    settings: &DockerSettings,
    options: Option<&ContainerOptions>,
) -> bool {
    let operator_says_nothing = settings.hostname.is_none()
        && settings.sysctls.is_empty()
        && settings.userns_mode.is_none()
        && !settings.privileged
        && settings.cap_add.is_empty();
    operator_says_nothing && files::suit(caps, settings, options)
}

impl Holders {
    pub(super) fn new(engine: Engine, agent: String, process: Option<String>, program: UtilityProgram) -> Self {
        Self {
            engine,
            agent,
            process,
            program,
            all: Mutex::default(),
            image: tokio::sync::Mutex::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        }
    }

    /// Has the namespace of `network` held from now on, where it is not yet.
    pub(super) fn begin(self: &Arc<Self>, network: &PooledNetwork) {
        let mut all = self.lock();
        let is_there = all.get(&network.id).is_some_and(|holder| !matches!(*holder.state.borrow(), State::Ended));
        if self.closing.is_cancelled() || is_there {
            return;
        }
        let (sender, state) = watch::channel(State::Coming);
        let name = network.holder_name();
        all.insert(network.id.clone(), Holder { name: name.clone(), state });
        let (holders, network) = (Arc::clone(self), network.clone());
        self.tasks.spawn(async move { holders.hold(name, &network, &sender).await });
    }

    /// The namespace of the network `id`, once it is held; `None`: it is not going to be.
    pub(super) async fn of(&self, id: &str) -> Option<Arc<Held>> {
        let mut state = self.lock().get(id)?.state.clone();
        // Who makes it tells of its end, or is dropped with it.
        let known = state.wait_for(|state| !matches!(state, State::Coming)).await.ok()?.clone();
        match known {
            State::Held(held) => Some(held),
            State::Coming | State::Ended | State::Refused => None,
        }
    }

    /// Lets go of the namespace of the network `id`, before that is removed.
    pub(super) async fn let_go(&self, id: &str) -> Result<(), EngineError> {
        let Some(holder) = self.lock().remove(id) else { return Ok(()) };
        let mut state = holder.state;
        state.wait_for(|state| !matches!(state, State::Coming)).await.ok();
        drop(state);
        self.engine.remove_container(&holder.name).await
    }

    /// Lets go of the namespace of the network `id` for good: a job could not join it.
    pub(super) async fn refuse(&self, id: &str) -> Result<(), EngineError> {
        let (_, refused) = watch::channel(State::Refused);
        let name = match self.lock().get_mut(id) {
            Some(holder) => {
                holder.state = refused;
                holder.name.clone()
            }
            None => return Ok(()),
        };
        self.engine.remove_container(&name).await
    }

    /// Removes what an earlier process had to hold the network `id`.
    pub(super) async fn let_go_of_others(&self, id: &str) -> Result<(), EngineError> {
        for found in self.engine.containers(labels::holders_of(&self.agent, id)).await? {
            self.engine.remove_container(found.id.as_deref().unwrap_or_default()).await?;
        }
        Ok(())
    }

    /// Leaves the container to the sweeper.
    pub(super) fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    /// Names of all containers that this process has for it, those under way included.
    pub(super) fn known(&self) -> BTreeSet<String> {
        self.lock().values().map(|holder| holder.name.clone()).collect()
    }

    /// From now on none is made, and those that are in use stay for the next process.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Makes one and looks after it until it ends.
    async fn hold(&self, name: String, network: &PooledNetwork, state: &watch::Sender<State>) {
        match self.make(&name, network).await {
            Ok(held) => {
                let container = held.container.clone();
                state.send_replace(State::Held(Arc::new(held)));
                let ended = tokio::select! {
                    () = self.closing.cancelled() => return,
                    ended = self.engine.wait_exit(&container) => ended,
                };
                tracing::debug!(?ended, name, "a network's namespace is not held any more");
                state.send_replace(State::Ended);
            }
            // Jobs are connected one by one then.
            Err(error) => {
                tracing::warn!(%error, network = %network.name, "a network's namespace cannot be held");
                state.send_replace(State::Refused);
            }
        }
    }

    /// Makes one and waits for its words: what the engine wrote for it.
    async fn make(&self, name: &str, network: &PooledNetwork) -> Result<Held, EngineError> {
        {
            let _one = self.image.lock().await;
            utility::ensure_image(&self.engine).await?;
        }
        let hostname = network.held_host_name();
        let container = match self.create(name, network, &hostname).await {
            Err(EngineError::Conflict { .. }) => {
                // An earlier process's, of a network of the same name.
                self.engine.remove_container(name).await?;
                self.create(name, network, &hostname).await?
            }
            made => made?,
        };
        let api = self.engine.api();
        let options = AttachContainerOptions { stream: true, stdout: true, ..AttachContainerOptions::default() };
        let attached = self.engine.call(WORDS, LOOK, api.attach_container(&container, Some(options))).await?;
        let mut words = attached.output;
        self.engine.call("starting a container", CHANGE, api.start_container(&container, None)).await?;
        let files = tokio::time::timeout(LOOK, self.files(&mut words)).await;
        let files = files.map_err(|_| EngineError::Timeout { what: WORDS.to_owned(), after: LOOK })??;
        Ok(Held { container, hostname, files })
    }

    async fn create(&self, name: &str, network: &PooledNetwork, hostname: &str) -> Result<String, EngineError> {
        let options = CreateContainerOptions { name: Some(name.to_owned()), platform: String::new() };
        let body = self.body(network, hostname);
        let call = self.engine.api().create_container(Some(options), body);
        Ok(self.engine.call("making a container", CHANGE, call).await?.id)
    }

    fn body(&self, network: &PooledNetwork, hostname: &str) -> ContainerCreateBody {
        let mut labels = labels::of_agent(&self.agent, labels::HOLDER);
        labels.insert(labels::NETWORK.into(), network.network.clone());
        labels.extend(self.process.iter().map(|process| (labels::PROCESS.to_owned(), process.clone())));
        let host_config = HostConfig {
            mounts: Some(vec![utility::program_mount(&self.program)]),
            network_mode: Some(network.name.clone()),
            readonly_rootfs: Some(true),
            cap_drop: Some(vec!["ALL".into()]),
            security_opt: Some(vec!["no-new-privileges:true".into()]),
            memory: Some(MEMORY),
            pids_limit: Some(PROCESSES),
            log_config: Some(HostConfigLogConfig { typ: Some("none".into()), config: None }),
            ..HostConfig::default()
        };
        ContainerCreateBody {
            image: Some(utility::IMAGE.into()),
            cmd: Some(utility::command(&self.program, utility::Work::Hold)),
            user: Some("65534:65534".into()),
            hostname: Some(hostname.to_owned()),
            labels: Some(labels),
            host_config: Some(host_config),
            ..ContainerCreateBody::default()
        }
    }

    /// The files among the words of a container.
    async fn files(&self, words: &mut Words) -> Result<NameFiles, EngineError> {
        let unexpected = |message: &str| EngineError::Protocol { what: WORDS.to_owned(), message: message.to_owned() };
        let mut heard = Vec::new();
        while let Some(piece) = words.next().await {
            heard.extend_from_slice(&piece.map_err(|error| self.engine.explain(WORDS, error))?.into_bytes());
            let whole = heard.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
            for line in whole {
                let files = NameFiles::from_line(line).map_err(|error| unexpected(&error.to_string()))?;
                if let Some(files) = files {
                    return Ok(files);
                }
            }
            if heard.len() > MOST_WORDS {
                break;
            }
        }
        Err(unexpected("it said nothing of the files that the engine wrote for it"))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Holder>> {
        // A panic in another holder leaves a list of containers, at worst one too many.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::tests::caps;
    use super::*;
    use crate::executor::sandbox::docker::tests::a_job;
    use crate::pipeline::definition::ImageSpec;

    #[test]
    fn who_could_change_it_or_has_a_word_about_names_does_not_join() {
        let job = a_job();
        assert!(suits(&caps(), &DockerSettings::default(), &job));
        let ttl = ("net.ipv4.ip_default_ttl".to_owned(), "60".to_owned());
        for settings in [
            DockerSettings { privileged: true, ..DockerSettings::default() },
            DockerSettings { cap_add: vec!["NET_ADMIN".into()], ..DockerSettings::default() },
            DockerSettings { sysctls: [ttl].into(), ..DockerSettings::default() },
            DockerSettings { userns_mode: Some("host".into()), ..DockerSettings::default() },
            DockerSettings { hostname: Some("called".into()), ..DockerSettings::default() },
            DockerSettings { dns: vec!["192.0.2.1".into()], ..DockerSettings::default() },
        ] {
            assert!(!suits(&caps(), &settings, &job), "{settings:?}");
        }
        for options in [
            ContainerOptions { hostname: Some("called".into()), ..ContainerOptions::default() },
            ContainerOptions { domain: Some("example.org".into()), ..ContainerOptions::default() },
            ContainerOptions { hosts: vec!["db:192.0.2.1".into()], ..ContainerOptions::default() },
        ] {
            let mut job = a_job();
            job.image = Some(ImageSpec { options, ..ImageSpec::default() });
            assert!(!suits(&caps(), &DockerSettings::default(), &job), "{:?}", job.image);
        }
    }
}
