//! Makes what the agent serves from what the operator wrote: configuration, credentials, the network, the engine.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tracing::warn;

use super::docker_settings;
use super::engines::Engines;
use super::registration::{ExpiringToken, Plan, PlanError, Registrar, Registration};
use super::slot::RegistrationTools;
use crate::artifact::cache::{CacheStore, LocalCache, RunnerCache};
use crate::artifact::in_full;
use crate::artifact::store::Store;
use crate::artifact::tools::ToolCache;
use crate::config::docker_values::ToolFolder;
use crate::config::{
    self, CredentialRecord, Credentials, ExecutorKind, ForgeKind, Locations, NetworkConfig, Overrides,
    RegistrationConfig,
};
use crate::executor::sandbox::place::{DockerPlace, HostPlace, Place};
use crate::executor::stages::sources::{GitProgram, Mirrors};
use crate::executor::tools::Tools;
use crate::forge::gitlab::{Executor, GitLab, GitLabSettings, register};
use crate::outbound::{Outbound, OutboundSettings, ProxyEnvironment};
use crate::pipeline::Secret;
use crate::state::StateDir;

/// Root of the work trees in containers, where nothing else is configured.
const BUILDS_DIR: &str = "/builds";
/// How long a registration that its forge refuses is left alone.
const UNHEALTHY_INTERVAL: Duration = Duration::from_secs(3600);

/// Serves the registrations of the configuration file.
pub struct ConfiguredRegistrar {
    /// Where file and state directory are.
    pub locations: Locations,
    /// What the command line said.
    pub overrides: Overrides,
    /// The state directory.
    pub dir: StateDir,
    /// The tokens.
    pub credentials: Credentials,
    /// The engines.
    pub engines: Engines,
    /// What jobs leave for each other.
    pub store: Arc<Store>,
    /// What they install for later ones.
    pub tool_cache: Arc<ToolCache>,
    /// The machine's git.
    pub git: GitProgram,
    /// The agent's copies of repositories.
    pub mirrors: Arc<Mirrors>,
    /// What this machine is called.
    pub host_name: String,
}

impl Registrar for ConfiguredRegistrar {
    type Forge = GitLab;
    type Settings = RegistrationTools;

    async fn plan(&self) -> Result<Plan<GitLab, RegistrationTools>, PlanError> {
        let config = config::load(&self.locations.config_file, &self.overrides)
            .map_err(|error| PlanError::Configuration(error.to_string()))?;
        let mut registrations = Vec::new();
        for registration in &config.registrations {
            let credential = self.credentials.get(&registration.name);
            match credential.map_err(|error| PlanError::Environment(error.to_string()))? {
                Some(credential) => {
                    registrations.push(self.registration(registration, credential, config.check_interval).await?);
                }
                None => warn!(
                    registration = registration.name,
                    "there is no token for this registration, so it is not served; `forgehand register` it again"
                ),
            }
        }
        Ok(Plan {
            concurrent: config.concurrent,
            drain_timeout: config.drain_timeout,
            shutdown_timeout: config.shutdown_timeout,
            unhealthy_interval: UNHEALTHY_INTERVAL,
            registrations,
        })
    }

    async fn expiring(&self) -> Vec<ExpiringToken> {
        let Ok(config) = config::load(&self.locations.config_file, &self.overrides) else { return Vec::new() };
        let renewed = config.registrations.iter().filter(|one| !forbids_rotation(one));
        let expiring = |one: &RegistrationConfig| {
            let record = self.credentials.get(&one.name).ok()??;
            let expires_at = record.expires_at?;
            Some(ExpiringToken { registration: one.name.clone(), obtained_at: record.obtained_at, expires_at })
        };
        renewed.filter_map(expiring).collect()
    }

    async fn rotate(&self, name: &str) -> Result<(), String> {
        let config = config::load(&self.locations.config_file, &self.overrides).map_err(|error| error.to_string())?;
        let registration = config.registration(name).ok_or_else(|| format!("`{name}` is not configured any more"))?;
        let record = self.credentials.get(name).map_err(|error| error.to_string())?;
        let record = record.ok_or_else(|| format!("there is no token of `{name}`"))?;
        let outbound = outbound(registration, Some(&self.dir))?;
        let settings = gitlab_settings(registration, &record, &outbound, config.check_interval);
        let token =
            register::reset_token(&outbound, &settings, &record.token).await.map_err(|error| error.to_string())?;
        let renewed = CredentialRecord {
            token: token.token,
            obtained_at: token.obtained_at,
            expires_at: token.expires_at,
            ..record
        };
        self.credentials.put(name, &renewed).map_err(|error| error.to_string())
    }
}

impl ConfiguredRegistrar {
    async fn registration(
        &self,
        registration: &RegistrationConfig,
        credential: CredentialRecord,
        check_interval: Duration,
    ) -> Result<Registration<GitLab, RegistrationTools>, PlanError> {
        let in_words = |error: &dyn std::fmt::Display| format!("registration `{}`: {error}", registration.name);
        let wrong = |error: &dyn std::fmt::Display| PlanError::Configuration(in_words(error));
        if registration.forge != ForgeKind::Gitlab {
            return Err(wrong(&format_args!("this version does not serve {} yet", registration.forge)));
        }
        if registration.executor == ExecutorKind::Docker {
            let named = std::env::var("DOCKER_HOST").ok();
            registration.docker.engine(named.as_deref()).map_err(|error| wrong(&error))?;
        }
        let outbound = outbound(registration, Some(&self.dir)).map_err(|error| wrong(&error))?;
        let settings = gitlab_settings(registration, &credential, &outbound, check_interval);
        let tools = self.tools(registration, &settings, outbound.clone()).await;
        let tools = tools.map_err(|error| PlanError::Environment(in_words(&error)))?;
        Ok(Registration {
            name: registration.name.clone(),
            fingerprint: fingerprint(registration, &credential.token, check_interval),
            limit: registration.limit,
            request_concurrency: registration.request_concurrency,
            forge: GitLab::new(settings, outbound).map_err(|error| wrong(&error))?,
            settings: RegistrationTools { tools: Arc::new(tools) },
        })
    }

    async fn tools(
        &self,
        registration: &RegistrationConfig,
        settings: &GitLabSettings,
        outbound: Outbound,
    ) -> Result<Tools, String> {
        let place = match registration.executor {
            ExecutorKind::Docker => {
                let engine = self.engines.get(&registration.docker).await?;
                let settings = docker_settings::of(&registration.docker, registration.hardening);
                engine.make_networks_ready(&settings).await;
                Place::Docker(Box::new(DockerPlace { engine, settings, shim: self.engines.shim().clone() }))
            }
            ExecutorKind::Host => Place::Host(Box::new(HostPlace {
                shim: self.engines.shim().clone(),
                host_name: self.host_name.clone(),
            })),
        };
        let caches: Arc<dyn CacheStore> = match &registration.runner_cache {
            None => Arc::new(LocalCache::new(self.store.clone())),
            Some(config) => {
                let (token, runtime) = (settings.short_token(), Handle::current());
                let opened = RunnerCache::open(config, &token, outbound.clone(), runtime, self.dir.root());
                Arc::new(opened.map_err(|error| format!("`runner_cache`: {}", in_full(&error)))?)
            }
        };
        Ok(Tools {
            place,
            caches,
            tool_cache: self.tool_cache.clone(),
            store: self.store.clone(),
            git: self.git.clone(),
            mirrors: self.mirrors.clone(),
            outbound,
            builds_dir: registration.builds_dir.clone().unwrap_or_else(|| BUILDS_DIR.to_owned()),
            name: registration.name.clone(),
            run: None,
            introduction: format!(
                "{} {}, system ID: {}",
                registration.name,
                settings.short_token(),
                settings.system_id
            ),
        })
    }
}

/// Whether the operator wants its token left as it is.
fn forbids_rotation(registration: &RegistrationConfig) -> bool {
    registration.feature_flags.get("FF_DISABLE_AUTOMATIC_TOKEN_ROTATION").copied().unwrap_or(false)
}

/// The door to the network of a registration. `dir`: where what git needs of it is written, for those who run git.
pub fn outbound(registration: &RegistrationConfig, dir: Option<&StateDir>) -> Result<Outbound, String> {
    outbound_through(&registration.network, dir)
}

/// The way to the network as the configuration describes it.
pub fn outbound_through(network: &NetworkConfig, dir: Option<&StateDir>) -> Result<Outbound, String> {
    Outbound::new(OutboundSettings {
        proxy: network.proxy.as_ref().map(|proxy| proxy.url().clone()),
        no_proxy: network.no_proxy.clone(),
        ca_files: network.ca_files.clone(),
        client_certificate: network.client_certificate.clone(),
        client_key: network.client_key.clone(),
        environment: ProxyEnvironment::from_process(),
        bundle_dir: dir.map(|dir| dir.root().to_owned()),
        ..OutboundSettings::default()
    })
    .map_err(|error| error.to_string())
}

/// What GitLab's room needs to know of a registration.
pub fn gitlab_settings(
    registration: &RegistrationConfig,
    credential: &CredentialRecord,
    outbound: &Outbound,
    check_interval: Duration,
) -> GitLabSettings {
    let new = GitLabSettings::new(
        registration.name.clone(),
        registration.url.clone(),
        credential.token.clone(),
        credential.system_id.clone(),
    );
    GitLabSettings {
        executor: match registration.executor {
            ExecutorKind::Docker => Executor::Docker,
            ExecutorKind::Host => Executor::Host,
        },
        clone_url: registration.clone_url.clone(),
        environment: registration.environment.clone(),
        tool_cache: match registration.executor {
            ExecutorKind::Docker => {
                registration.docker.tool_cache.as_ref().and_then(ToolFolder::path).map(str::to_owned)
            }
            ExecutorKind::Host => None,
        },
        proxy_environment: if registration.network.pass_to_jobs { outbound.for_jobs() } else { Vec::new() },
        feature_flags: registration.feature_flags.clone(),
        default_image: registration.docker.image.clone(),
        gpus: registration.docker.gpus.clone().unwrap_or_default(),
        prepare_timeout: registration.prepare_timeout,
        get_sources_timeout: registration.get_sources_timeout,
        services_timeout: Some(registration.docker.wait_for_services_timeout).filter(|timeout| !timeout.is_zero()),
        pre_get_sources_script: registration.pre_get_sources_script.clone(),
        post_get_sources_script: registration.post_get_sources_script.clone(),
        pre_build_script: registration.pre_build_script.clone(),
        post_build_script: registration.post_build_script.clone(),
        output_limit: registration.output_limit.as_u64(),
        debug_trace_disabled: registration.debug_trace_disabled,
        ca_pem: outbound.ca_pem(),
        check_interval,
        request_concurrency: registration.request_concurrency,
        ..new
    }
}

/// Differs whenever anything about a registration differs.
fn fingerprint(registration: &RegistrationConfig, token: &Secret, check_interval: Duration) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{registration:?} {check_interval:?}"));
    // The debug form hides the proxy's password.
    if let Some(proxy) = &registration.network.proxy {
        hash.update(proxy.url().as_str());
    }
    let remote = registration.runner_cache.as_ref().map(|cache| &cache.remote);
    for secret in remote.into_iter().flat_map(|remote| [&remote.secret_access_key, &remote.session_token]).flatten() {
        hash.update(secret.0.expose());
    }
    hash.update(token.expose());
    hex::encode(hash.finalize())
}
