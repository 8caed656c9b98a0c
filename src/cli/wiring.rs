//! Where the rooms meet: the one file of the command line that names the forges, sandboxes and executors there are.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::doctor::engine::{EngineAbilities, EngineProbe};
use super::doctor::forge::{self, Contact, ForgeProbe};
use super::doctor::shared_store::SharedStore;
use super::doctor::{self, Check};
use super::forge_calls::{ForgeCalls, Removal, RunnerWishes, TokenVerdict};
use super::run::Premises;
use super::{Verdict, render};
use crate::agent::engines::{self, Engines};
use crate::agent::housekeeper::Housekeeper;
use crate::agent::registrar::{self, ConfiguredRegistrar};
use crate::agent::sharing::Sharing;
use crate::agent::slot::ExecutorRunner;
use crate::agent::storage;
use crate::agent::storekeeper::Storekeeper;
use crate::artifact::in_full;
use crate::artifact::tools::ToolCache;
use crate::config::{Config, CredentialRecord, Credentials, DockerConfig, Locations, RegistrationConfig};
use crate::executor::sandbox::shim::ShimBinary;
use crate::executor::stages::sources::{GitProgram, Mirrors};
use crate::forge::detect;
use crate::forge::gitlab::register::{self, RegisterOptions, Unregister, Verified};
use crate::pipeline::Secret;
use crate::state::StateDir;

/// Where programs are looked for when the environment does not say.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// A pace nobody polls at: these calls do not poll.
const NO_POLL: Duration = Duration::from_secs(3);

/// How long a forge may take to answer that it is there.
const CONTACT: Duration = Duration::from_secs(20);

/// The forges of this build.
pub struct Forges;

impl ForgeCalls for Forges {
    fn objection(&self, token: &Secret, labels: &[String]) -> Option<String> {
        let options = RegisterOptions { description: String::new(), tags: labels.to_vec() };
        register::go_together(token, &options).err().map(|error| error.to_string())
    }

    async fn register(
        &self,
        registration: &RegistrationConfig,
        wishes: &RunnerWishes,
    ) -> Result<CredentialRecord, String> {
        let outbound = registrar::outbound(registration, None)?;
        let known = detect::by_token(wishes.token.expose());
        match known {
            Some(forge) => detect::supported(forge, &registration.url).map_err(|error| error.to_string())?,
            None => {
                detect::detect(&outbound, &registration.url, &wishes.token).await.map_err(|error| error.to_string())?
            }
        };
        let record = CredentialRecord {
            token: wishes.token.clone(),
            runner_id: None,
            obtained_at: jiff::Timestamp::now(),
            expires_at: None,
            system_id: wishes.system_id.clone(),
        };
        let settings = registrar::gitlab_settings(registration, &record, &outbound, NO_POLL);
        let options = RegisterOptions { description: wishes.name.clone(), tags: wishes.labels.clone() };
        let registered = register::register(&outbound, &settings, &options).await.map_err(|error| error.to_string())?;
        Ok(CredentialRecord {
            token: registered.token.token,
            runner_id: registered.runner_id,
            obtained_at: registered.token.obtained_at,
            expires_at: registered.token.expires_at,
            ..record
        })
    }

    async fn verify(&self, registration: &RegistrationConfig, record: &CredentialRecord) -> TokenVerdict {
        let outbound = match registrar::outbound(registration, None) {
            Ok(outbound) => outbound,
            Err(error) => return TokenVerdict::Unknown(error),
        };
        let settings = registrar::gitlab_settings(registration, record, &outbound, NO_POLL);
        match register::verify(&outbound, &settings).await {
            Ok(Verified::Valid(_)) => TokenVerdict::Good,
            Ok(Verified::Refused(why)) => TokenVerdict::Refused(why),
            Ok(Verified::Orphaned(why)) => TokenVerdict::Idle(why),
            Err(error) => TokenVerdict::Unknown(error.to_string()),
        }
    }

    async fn unregister(
        &self,
        registration: &RegistrationConfig,
        record: &CredentialRecord,
        removal: Removal,
    ) -> Result<(), String> {
        let outbound = registrar::outbound(registration, None)?;
        let settings = registrar::gitlab_settings(registration, record, &outbound, NO_POLL);
        let what = match removal {
            Removal::ThisMachine => Unregister::ThisMachine,
            Removal::Runner => Unregister::Runner,
        };
        register::unregister(&outbound, &settings, what).await.map_err(|error| error.to_string())
    }
}

/// Runs an agent that serves the forges of this build, by handing [`super::run::serve`] its parts.
pub async fn serve(premises: Premises) -> Verdict {
    let dir = premises.journal.dir().clone();
    let made = async {
        let shim = ShimBinary::install(&dir.shim()).await.map_err(|error| error.to_string())?;
        let engines =
            Engines::new(dir.clone(), shim).map_err(|error| format!("the agent's id cannot be kept: {error}"))?;
        let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from(USUAL_PATH));
        let (store_config, network, usual) = (premises.store.clone(), premises.network.clone(), dir.store());
        let (root, runtime, agent) = (dir.root().to_owned(), Handle::current(), engines.agent().to_owned());
        let store = tokio::task::spawn_blocking(move || {
            if let Err(error) = storage::remove_old_caches(&root) {
                tracing::warn!(%error, "the caches of an earlier version cannot be removed");
            }
            let store = storage::open(&store_config, &usual)?.serving(&agent)?;
            storage::join(store, &store_config, &network, &runtime)
        })
        .await;
        let store = Arc::new(store.map_err(|error| error.to_string())?.map_err(|error| in_full(&error))?);
        Ok::<_, String>(ConfiguredRegistrar {
            tool_cache: Arc::new(ToolCache::new(store.clone(), dir.tools())),
            store,
            locations: premises.locations.clone(),
            overrides: premises.overrides.clone(),
            credentials: Credentials::open(&premises.locations.state_dir).map_err(|error| error.to_string())?,
            engines,
            git: GitProgram::find(&path).map_err(|error| error.to_string())?,
            mirrors: Arc::new(Mirrors::new(dir.mirrors())),
            host_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            dir,
        })
    };
    let registrar = match made.await {
        Ok(registrar) => registrar,
        Err(message) => return render::failed(&message, Verdict::Environment),
    };
    let engines = registrar.engines.clone();
    let housekeeper = Housekeeper {
        engines: engines.clone(),
        mirrors: registrar.mirrors.clone(),
        tool_cache: registrar.tool_cache.clone(),
        git: registrar.git.clone(),
        dir: registrar.dir.clone(),
    };
    let storekeeper = Storekeeper {
        store: registrar.store.clone(),
        config: premises.store.clone(),
        journal: premises.journal.clone(),
    };
    let stop = CancellationToken::new();
    let keeping = tokio::spawn(storekeeper.run(stop.clone()));
    let sharing = tokio::spawn(Sharing { store: registrar.store.clone() }.run(stop.clone()));
    let verdict = super::run::serve(premises, Arc::new(registrar), ExecutorRunner, Arc::new(housekeeper)).await;
    stop.cancel();
    // It ends at the next place where it can; what it leaves half done is no harm.
    let _ = keeping.await;
    let _ = sharing.await;
    engines.close().await;
    verdict
}

/// What keeps the agent from serving a configuration that can be read: files that it names and that are not there or
/// cannot be used.
pub fn mistakes(config: &Config) -> Vec<String> {
    let doors = config.registrations.iter().map(|one| (one, registrar::outbound(one, None)));
    doors.filter_map(|(one, door)| Some(format!("registration `{}`: {}", one.name, door.err()?))).collect()
}

/// The checks of `doctor` that need a forge or the engine's own room.
pub fn checks(config: &Config, locations: &Locations) -> Vec<Box<dyn Check>> {
    let mut all: Vec<Box<dyn Check>> = Vec::new();
    for (_, docker) in doctor::engines(config) {
        let probe = UsedEngine { docker, state_dir: locations.state_dir.clone() };
        all.push(Box::new(EngineAbilities { probe }));
    }
    if let Some(remote) = &config.store.remote {
        let outbound = registrar::outbound_through(config.network_defaults(), None);
        all.push(Box::new(SharedStore { config: remote.clone(), outbound }));
    }
    for registration in &config.registrations {
        all.extend(forge::checks(RegisteredForge { registration: registration.clone(), locations: locations.clone() }));
    }
    all
}

/// Asks an engine that registrations use.
struct UsedEngine {
    docker: DockerConfig,
    state_dir: PathBuf,
}

impl EngineProbe for UsedEngine {
    fn warnings(&self) -> BoxFuture<'_, Result<Vec<String>, String>> {
        Box::pin(async {
            let dir = StateDir::open(&self.state_dir).map_err(|error| error.to_string())?;
            engines::look(&dir, &self.docker).await
        })
    }
}

/// Asks the forge of one registration.
struct RegisteredForge {
    registration: RegistrationConfig,
    locations: Locations,
}

impl RegisteredForge {
    fn record(&self) -> Option<CredentialRecord> {
        let credentials = Credentials::open(&self.locations.state_dir).ok()?;
        credentials.get(&self.registration.name).ok()?
    }
}

/// A runner that has no token (yet). A forge answers it, if only with a refusal.
fn nobody() -> CredentialRecord {
    CredentialRecord {
        token: Secret::new(""),
        runner_id: None,
        obtained_at: jiff::Timestamp::UNIX_EPOCH,
        expires_at: None,
        system_id: String::new(),
    }
}

impl ForgeProbe for RegisteredForge {
    fn registration(&self) -> String {
        self.registration.name.clone()
    }

    fn contact(&self) -> BoxFuture<'_, Result<Contact, String>> {
        Box::pin(async {
            let outbound = registrar::outbound(&self.registration, None)?;
            let record = self.record().unwrap_or_else(nobody);
            let settings = registrar::gitlab_settings(&self.registration, &record, &outbound, NO_POLL);
            let before = jiff::Timestamp::now();
            let date = register::contact(&outbound, &settings, CONTACT).await.map_err(|error| error.to_string())?;
            let middle = (before.as_millisecond() + jiff::Timestamp::now().as_millisecond()) / 2;
            Ok(Contact {
                url: register::clean_url(&self.registration.url),
                date,
                asked_at: jiff::Timestamp::from_millisecond(middle).unwrap_or(before),
            })
        })
    }

    fn token(&self) -> BoxFuture<'_, Option<TokenVerdict>> {
        Box::pin(async {
            let record = self.record()?;
            Some(Forges.verify(&self.registration, &record).await)
        })
    }
}
