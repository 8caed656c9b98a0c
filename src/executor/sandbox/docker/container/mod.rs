//! What a container is made of: from settings, job and image to the body of the engine's `create` call. Pure, but for
//! seccomp profiles, which are read before ([`isolation::security_options`]).
//!
//! - [`isolation`]: capabilities, security options, devices.
//! - [`limits`]: memory, CPUs, processes.
//! - [`mounts`]: workspace, run directory, shim, and the operator's volumes.
//! - [`options`]: what the job asks for.

pub(super) mod isolation;
pub(super) mod limits;
pub(super) mod mounts;
pub mod options;

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, HostConfigLogConfig, Mount, NetworkingConfig, RestartPolicy,
    RestartPolicyNameEnum,
};

use super::image::LocalImage;
use super::labels::Labels;
use super::settings::DockerSettings;
use crate::pipeline::JobFailure;
use crate::pipeline::definition::ContainerOptions;

/// Bytes of a container's own output that the engine keeps: of the job's container only the entrypoint's words, of a
/// service what is shown when it fails.
const LOG_BYTES: &str = "1m";

/// How a container is connected.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Attachment {
    /// The engine's `NetworkMode`.
    pub mode: String,
    /// Names by which the others of a user-defined network find it; empty where the network has no names.
    pub aliases: Vec<String>,
    /// Whether the network takes aliases.
    pub is_user_defined: bool,
    /// Whether the engine does not see to the network, for there is none.
    pub is_alone: bool,
    /// Hosts to write into `/etc/hosts`, `name:address`.
    pub hosts: Vec<String>,
}

/// Whether a container is the job's own or stands beside it. Several options exist twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The steps run in it.
    Job,
    /// A service.
    Service,
}

/// What [`body`] makes a container of.
pub(super) struct Parts<'a> {
    pub role: Role,
    pub settings: &'a DockerSettings,
    /// The image's name as the job wrote it, for the operator's patterns.
    pub image_name: &'a str,
    pub image: &'a LocalImage,
    pub labels: Labels,
    /// `NAME=value`.
    pub env: Vec<String>,
    pub hostname: Option<String>,
    /// `None`: the image's.
    pub entrypoint: Option<Vec<String>>,
    /// `None`: the image's.
    pub command: Option<Vec<String>>,
    pub working_dir: Option<String>,
    /// `None`: the image's.
    pub user: Option<String>,
    pub attachment: Attachment,
    pub mounts: Vec<Mount>,
    pub binds: Vec<String>,
    /// With profiles read in.
    pub security_opt: Vec<String>,
    /// What the job asks for.
    pub options: &'a ContainerOptions,
}

/// The body of the engine's `create` call.
pub(super) fn body(parts: Parts<'_>) -> Result<ContainerCreateBody, JobFailure> {
    let host_config = host_config(&parts)?;
    let attachment = &parts.attachment;
    let networking_config = attachment.is_user_defined.then(|| NetworkingConfig {
        endpoints_config: Some(HashMap::from([(
            attachment.mode.clone(),
            EndpointSettings {
                aliases: Some(attachment.aliases.clone()),
                mac_address: mac_address(&parts),
                ..EndpointSettings::default()
            },
        )])),
    });
    // A container that shares another's network, or the machine's, has its host name, too.
    let is_shared = attachment.mode == "host" || attachment.mode.starts_with("container:");
    let hostname = parts.hostname.filter(|_| !is_shared);
    let mut body = ContainerCreateBody {
        hostname,
        user: parts.user,
        attach_stdin: Some(false),
        attach_stdout: Some(false),
        attach_stderr: Some(false),
        open_stdin: Some(false),
        tty: Some(false),
        env: Some(parts.env),
        entrypoint: parts.entrypoint,
        cmd: parts.command,
        image: Some(parts.image.id.clone()),
        working_dir: parts.working_dir,
        labels: Some(parts.labels),
        host_config: Some(host_config),
        networking_config,
        network_disabled: attachment.is_alone.then_some(true),
        ..ContainerCreateBody::default()
    };
    options::apply(&mut body, parts.options, parts.settings, parts.role);
    Ok(body)
}

fn host_config(parts: &Parts<'_>) -> Result<HostConfig, JobFailure> {
    let settings = parts.settings;
    let (limits, gpus, tmpfs) = match parts.role {
        Role::Job => (&settings.limits, &settings.gpus, &settings.tmpfs),
        Role::Service => (&settings.service_limits, &settings.service_gpus, &settings.services_tmpfs),
    };
    let privileged = isolation::is_privileged(settings, parts.role, parts.image_name);
    let capabilities = isolation::capabilities(settings, privileged);
    let mut hosts = settings.extra_hosts.clone();
    hosts.extend(parts.attachment.hosts.iter().cloned());
    Ok(HostConfig {
        binds: some(&parts.binds),
        mounts: some(&parts.mounts),
        volumes_from: some(&settings.volumes_from),
        tmpfs: some_map(tmpfs),
        network_mode: Some(parts.attachment.mode.clone()),
        dns: some(&settings.dns),
        dns_search: some(&settings.dns_search),
        extra_hosts: some(&hosts),
        links: some(&settings.links),
        privileged: Some(privileged),
        cap_add: some(&capabilities.add),
        cap_drop: some(&capabilities.drop),
        security_opt: some(&parts.security_opt),
        group_add: some(&settings.group_add),
        devices: some(&isolation::devices(settings, parts.role, parts.image_name)?),
        device_cgroup_rules: some(&settings.device_cgroup_rules),
        device_requests: gpus.as_deref().map(isolation::gpu_request).transpose()?.flatten().map(|gpus| vec![gpus]),
        userns_mode: settings.userns_mode.clone(),
        ipc_mode: settings.ipc_mode.clone(),
        pid_mode: settings.pid_mode.clone().filter(|_| parts.role == Role::Job),
        runtime: settings.runtime.clone(),
        sysctls: some_map(&settings.sysctls),
        init: settings.init.then_some(true),
        log_config: Some(log_config(&settings.log_options)),
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        ..limits::host_config(limits)
    })
}

/// The engine keeps a container's words in a small file, so that they can be fetched once; what steps print never goes
/// this way.
fn log_config(options: &BTreeMap<String, String>) -> HostConfigLogConfig {
    let mut config: HashMap<String, String> = options
        .iter()
        .filter(|(key, _)| matches!(key.as_str(), "env" | "labels"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    config.insert("max-size".into(), LOG_BYTES.into());
    config.insert("max-file".into(), "1".into());
    HostConfigLogConfig { typ: Some("json-file".into()), config: Some(config) }
}

fn mac_address(parts: &Parts<'_>) -> Option<String> {
    parts.settings.mac_address.clone().filter(|_| parts.role == Role::Job)
}

fn some<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

fn some_map(map: &BTreeMap<String, String>) -> Option<HashMap<String, String>> {
    (!map.is_empty()).then(|| map.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
}
