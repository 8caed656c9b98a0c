//! A container as the engine describes it, in the words of [`crate::executor::evidence`].

use std::collections::BTreeMap;
use std::path::Path;

use bollard::models::{ContainerInspectResponse, HostConfig, ImageInspect, MountPoint};

use super::container::mounts::{HOME, RUN};
use super::engine::{Engine, LOOK};
use super::error::EngineError;
use super::lifecycle::{EndState, end_state_of};
use super::network::files::NameFile;
use super::{ANSWER, Docker, labels};
use crate::executor::evidence::{
    ContainerEvidence, LimitsEvidence, MountEvidence, MountRole, NetworkEvidence, RightsEvidence,
};

/// A look at a container, with its environment, which holds secrets.
pub(in crate::executor) struct Looked {
    /// What may be kept.
    pub evidence: ContainerEvidence,
    /// `NAME=value`, without what the image brings.
    pub env: Vec<String>,
}

impl Docker {
    /// Describes a container. `None`: it is gone.
    pub(in crate::executor) async fn look_at(&self, container: &str) -> Result<Option<Looked>, EngineError> {
        let Some(inspect) = self.engine().inspect(container).await? else { return Ok(None) };
        let image = match &inspect.image {
            Some(id) => {
                let asked = self.engine().api().inspect_image(id);
                self.engine().call("looking at an image", LOOK, asked).await.unwrap_or_default()
            }
            None => ImageInspect::default(),
        };
        Ok(Some(described(inspect, image)))
    }
}

fn described(inspect: ContainerInspectResponse, image: ImageInspect) -> Looked {
    let (config, host) = (inspect.config.unwrap_or_default(), inspect.host_config.unwrap_or_default());
    let state = inspect.state.unwrap_or_default();
    let image_config = image.config.unwrap_or_default();
    let has_ended = state.finished_at.as_deref().is_some_and(|at| !at.starts_with("0001-"));
    let is_running = state.running.unwrap_or(false);
    let of_image = image_config.env.unwrap_or_default();
    let platform = [image.os, image.architecture, image.variant].into_iter().flatten();
    let health = state.health;
    let service = config.labels.as_ref().and_then(|all| all.get(labels::SERVICE));
    let evidence = ContainerEvidence {
        id: inspect.id.unwrap_or_default(),
        name: inspect.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        service: service.map(|names| names.split(',').map(str::to_owned).collect()).unwrap_or_default(),
        image_id: inspect.image.unwrap_or_default(),
        image_digest: image.repo_digests.unwrap_or_default().into_iter().next(),
        image_name: image.repo_tags.unwrap_or_default().into_iter().next(),
        platform: Some(platform.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/"))
            .filter(|p| !p.is_empty()),
        state: state.status.map(|status| status.to_string()).unwrap_or_default(),
        exit_code: state.exit_code.filter(|_| has_ended && !is_running),
        oom_killed: state.oom_killed.unwrap_or(false),
        error: filled(state.error),
        started_at: state.started_at.filter(|at| !at.starts_with("0001-")),
        finished_at: state.finished_at.filter(|_| has_ended && !is_running),
        entrypoint: config.entrypoint.unwrap_or_default(),
        image_entrypoint: image_config.entrypoint.unwrap_or_default(),
        command: match service {
            Some(_) => config.cmd.filter(|command| Some(command) != image_config.cmd.as_ref()).unwrap_or_default(),
            None => Vec::new(),
        },
        user: config.user.filter(|user| Some(user) != image_config.user.as_ref()).unwrap_or_default(),
        hostname: config.hostname.unwrap_or_default(),
        limits: limits(&host),
        mounts: mounts(inspect.mounts.unwrap_or_default()),
        tmpfs: host.tmpfs.clone().unwrap_or_default().into_iter().collect(),
        network_mode: host.network_mode.clone().unwrap_or_default(),
        networks: networks(inspect.network_settings.unwrap_or_default()),
        dns: host.dns.clone().unwrap_or_default(),
        extra_hosts: host.extra_hosts.clone().unwrap_or_default(),
        health: health
            .as_ref()
            .and_then(|health| health.status)
            .map(|status| status.to_string())
            .filter(|s| s != "none"),
        health_output: health
            .and_then(|health| health.log.unwrap_or_default().pop())
            .and_then(|last| filled(last.output)),
        rights: rights(host),
        env: Vec::new(),
        log_tail: Vec::new(),
    };
    let env = config.env.unwrap_or_default().into_iter().filter(|line| !of_image.contains(line)).collect();
    Looked { evidence, env }
}

fn limits(host: &HostConfig) -> LimitsEvidence {
    let some = |value: Option<i64>| value.filter(|value| *value != 0);
    let ulimits = host.ulimits.iter().flatten().filter_map(|limit| {
        let (soft, hard) = (limit.soft.unwrap_or(-1), limit.hard.unwrap_or(-1));
        limit.name.as_ref().map(|name| format!("{name}={soft}:{hard}"))
    });
    LimitsEvidence {
        memory: some(host.memory),
        memory_swap: some(host.memory_swap),
        nano_cpus: some(host.nano_cpus),
        cpu_shares: some(host.cpu_shares),
        cpuset_cpus: filled(host.cpuset_cpus.clone()),
        pids: host.pids_limit.filter(|pids| *pids > 0),
        shm_size: some(host.shm_size),
        ulimits: ulimits.collect(),
    }
}

fn rights(host: HostConfig) -> RightsEvidence {
    let devices = host.devices.unwrap_or_default().into_iter().map(|device| {
        let part = |part: Option<String>| part.unwrap_or_default();
        format!("{}:{}:{}", part(device.path_on_host), part(device.path_in_container), part(device.cgroup_permissions))
    });
    RightsEvidence {
        privileged: host.privileged.unwrap_or(false),
        cap_add: host.cap_add.unwrap_or_default(),
        cap_drop: host.cap_drop.unwrap_or_default(),
        security_opt: host.security_opt.unwrap_or_default().into_iter().map(without_profile).collect(),
        devices: devices.collect(),
        group_add: host.group_add.unwrap_or_default(),
        sysctls: host.sysctls.unwrap_or_default().into_iter().collect::<BTreeMap<_, _>>(),
        // The engine's own default is nothing to repeat.
        runtime: host.runtime.filter(|runtime| !runtime.is_empty() && runtime != "runc"),
        userns_mode: filled(host.userns_mode),
        init: host.init.unwrap_or(false),
    }
}

/// A seccomp profile stands in the option itself: many pages.
fn without_profile(option: String) -> String {
    match option.strip_prefix("seccomp=") {
        Some(profile) if profile.trim_start().starts_with('{') => "seccomp=(a profile of the operator's)".to_owned(),
        _ => option,
    }
}

fn mounts(points: Vec<MountPoint>) -> Vec<MountEvidence> {
    let mut all: Vec<MountEvidence> = points.into_iter().map(mount).collect();
    // The files of names are ours where they lie beside the run directory; an operator may mount some of his own.
    let of_job = |mount: &MountEvidence| Path::new(&mount.source).parent().map(Path::to_owned);
    let home = all.iter().find(|mount| mount.target == RUN).and_then(of_job);
    let is_name_file = |mount: &MountEvidence| NameFile::ALL.iter().any(|file| file.target() == mount.target);
    for mount in all.iter_mut().filter(|mount| is_name_file(mount) && home.is_some() && of_job(mount) == home) {
        mount.role = MountRole::Own;
    }
    all
}

fn mount(point: MountPoint) -> MountEvidence {
    let target = point.destination.unwrap_or_default();
    let is_own = target == HOME || target.starts_with("/.forgehand/");
    let kind = point.typ.map(|kind| kind.to_string()).unwrap_or_default();
    let source = if kind == "volume" { point.name.or(point.source) } else { point.source };
    MountEvidence {
        kind,
        source: source.unwrap_or_default(),
        target,
        read_only: point.rw == Some(false),
        role: if is_own { MountRole::Own } else { MountRole::Other },
    }
}

fn networks(settings: bollard::models::NetworkSettings) -> Vec<NetworkEvidence> {
    let mut all: Vec<NetworkEvidence> = settings
        .networks
        .unwrap_or_default()
        .into_iter()
        .map(|(name, endpoint)| NetworkEvidence {
            name,
            aliases: endpoint.aliases.unwrap_or_default(),
            address: filled(endpoint.ip_address),
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// How a container stands, for somebody who only looks. `None`: it is gone.
///
/// # Errors
/// The engine at `host` does not answer.
pub async fn stands(host: Option<&str>, container: &str) -> Result<Option<EndState>, EngineError> {
    let engine = Engine::at(host)?;
    match engine.call("looking at a container", ANSWER, engine.api().inspect_container(container, None)).await {
        Ok(inspect) => Ok(Some(end_state_of(&inspect))),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
