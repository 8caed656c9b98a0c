//! Options of the Docker sandbox.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::Ipv4Net;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use super::docker_values::{
    CpuCount, DeviceSpec, EngineAddress, MemorySwap, NetworkMode, ToolFolder, Ulimit, VolumeSpec,
};
use super::units::{self, ByteSize, DurationText};
use crate::pipeline::definition::PullPolicy;

/// `[docker]`: images, isolation, limits and network of a job's containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DockerConfig {
    /// The engine's unix socket. Absent: `DOCKER_HOST` where it names one, else `/var/run/docker.sock`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<EngineAddress>,

    /// The image of jobs that name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// When images are pulled: policies tried in order. A job's own come first.
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany<PullPolicy>")]
    pub pull_policy: Vec<PullPolicy>,
    /// The only policies that are used, whoever asks. Empty: a job's own are taken as they are.
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany<PullPolicy>")]
    pub allowed_pull_policies: Vec<PullPolicy>,
    /// The platform to pull for where a job names none, `linux/arm64`. Absent: the engine's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Patterns of images that jobs may use. Empty: any.
    pub allowed_images: Vec<String>,
    /// Patterns of images that jobs may use as services. Empty: any.
    pub allowed_services: Vec<String>,
    /// The user that jobs run as. Absent: the job's or the image's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The users that jobs may choose. Empty: any, or only `user` where that is set.
    pub allowed_users: Vec<String>,
    /// Ignore the entrypoint that a job names for its image.
    pub disable_entrypoint_overwrite: bool,

    /// Give the job's container every right on the machine.
    pub privileged: bool,
    /// The same for services. Absent: as `privileged`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services_privileged: Option<bool>,
    /// Patterns of images that `privileged` holds for. Empty: all.
    pub allowed_privileged_images: Vec<String>,
    /// Patterns of images that `services_privileged` holds for. Empty: all.
    pub allowed_privileged_services: Vec<String>,
    /// Linux capabilities to add, `NET_ADMIN`.
    pub cap_add: Vec<String>,
    /// Linux capabilities to take away.
    pub cap_drop: Vec<String>,
    /// Security options of the engine: `no-new-privileges`, `seccomp=FILE`, `apparmor=PROFILE`, `label=...`.
    pub security_opt: Vec<String>,
    /// The same for services.
    pub services_security_opt: Vec<String>,
    /// Further groups of the user in the container.
    pub group_add: Vec<String>,
    /// User namespace: `host` leaves the engine's remapping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub userns: Option<String>,
    /// Process namespace: `host`. Absent: the container's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid_mode: Option<String>,
    /// IPC namespace: `host`, `shareable`, `private`, `none`. Absent: the engine's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipc_mode: Option<String>,
    /// The engine's runtime, `runsc`. Absent: its default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// Devices of the machine.
    pub devices: Vec<DeviceSpec>,
    /// Rules for device cgroups, `c 81:* rmw`.
    pub device_cgroup_rules: Vec<String>,
    /// GPUs: `all`, a count, or `device=ID`. Needs the engine's GPU runtime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<String>,
    /// The same for services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_gpus: Option<String>,
    /// Kernel settings of the container's namespaces, `net.core.somaxconn`.
    pub sysctls: BTreeMap<String, String>,

    /// Memory of the job's container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// Memory and swap together. Absent: the engine's default, twice `memory`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swap: Option<MemorySwap>,
    /// What the container keeps when the machine runs short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_reservation: Option<ByteSize>,
    /// How many processors' time it may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<CpuCount>,
    /// Which processors it may use, `0-3,6`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_cpus: Option<String>,
    /// Which memory nodes it may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_mems: Option<String>,
    /// Its weight when processors are short; 1024 is the engine's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_shares: Option<u32>,
    /// Its largest number of processes and threads; 0: no limit. The default stops a job that forks without end
    /// before the machine runs out of process ids.
    pub pids_limit: u32,
    /// Size of `/dev/shm`. Absent: the engine's default, 64 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<ByteSize>,
    /// Limits of single processes by name: `nofile = "1024:4096"`.
    pub ulimits: BTreeMap<String, Ulimit>,
    /// How gladly the kernel ends it when memory is short, -1000 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adjust: Option<i32>,
    /// The cgroup that containers are put below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_parent: Option<String>,
    /// Memory of each service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_memory: Option<ByteSize>,
    /// Memory and swap of each service together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_memory_swap: Option<MemorySwap>,
    /// What each service keeps when the machine runs short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_memory_reservation: Option<ByteSize>,
    /// How many processors' time each service may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_cpus: Option<CpuCount>,
    /// Which processors services may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_cpuset_cpus: Option<String>,
    /// Weight of each service when processors are short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_cpu_shares: Option<u32>,
    /// Largest number of processes and threads of each service; 0: no limit.
    pub service_pids_limit: u32,
    /// The cgroup that services are put below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_cgroup_parent: Option<String>,

    /// Folders for the job's containers and services.
    pub volumes: Vec<VolumeSpec>,
    /// The folder in which jobs find tools that earlier jobs of their project installed, and install their own
    /// (`RUNNER_TOOL_CACHE`); `none`: jobs have none. Absent: none, and `/opt/hostedtoolcache` for workflows that
    /// `forgehand exec` runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_cache: Option<ToolFolder>,
    /// Folders in memory, with mount options: `"/tmp" = "rw,size=64m"`.
    pub tmpfs: BTreeMap<String, String>,
    /// The same for services.
    pub services_tmpfs: BTreeMap<String, String>,

    /// The network of the job's containers: `job`, `none`, `bridge`, `host`, or the name of one.
    pub network_mode: NetworkMode,
    /// The addresses that networks of jobs are taken from. Absent: a /16 that no route of the machine touches.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub network_pool: Option<Ipv4Net>,
    /// Prefix length of one job's network.
    #[schemars(range(min = 8, max = 29))]
    pub network_size: u8,
    /// Whether a container that does nothing keeps each network's namespace for one job after the other.
    pub hold_networks: bool,
    /// MTU of jobs' networks. Absent: the engine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 68, max = 65535))]
    pub mtu: Option<u32>,
    /// IPv6 in jobs' networks.
    pub ipv6: bool,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Domains that short names are looked up in.
    pub dns_search: Vec<String>,
    /// Names with fixed addresses: `name:address`.
    pub extra_hosts: Vec<String>,
    /// Host name in the job's container. Absent: one made from the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Labels of every container of a job. May hold variables of the job.
    pub container_labels: BTreeMap<String, String>,

    /// Services that every job gets, before its own.
    pub services: Vec<ServiceConfig>,
    /// How many services a job may have. Absent: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services_limit: Option<u32>,
    /// How long to wait for services to accept connections; 0: not at all. A service that does not is a warning.
    #[serde(with = "units::duration")]
    #[schemars(with = "DurationText")]
    pub wait_for_services_timeout: Duration,
}

/// `[[docker.services]]`: a service that every job gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    /// Its image. May hold variables of the job.
    pub name: String,
    /// Names it is reached by, besides those made from its image; one, or a list.
    #[serde(default, deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany<String>")]
    pub alias: Vec<String>,
    /// Replaces the image's command.
    #[serde(default)]
    pub command: Vec<String>,
    /// Replaces the image's entrypoint.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// Its environment: `KEY=value`.
    #[serde(default, with = "super::environment")]
    #[schemars(with = "Vec<String>")]
    pub environment: Vec<(String, String)>,
}

/// What one kind of container may use of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory.
    pub memory: Option<ByteSize>,
    /// Memory and swap together.
    pub memory_swap: Option<MemorySwap>,
    /// What it keeps when the machine runs short.
    pub memory_reservation: Option<ByteSize>,
    /// Processors' time.
    pub cpus: Option<CpuCount>,
    /// Which processors.
    pub cpuset_cpus: Option<String>,
    /// Which memory nodes.
    pub cpuset_mems: Option<String>,
    /// Weight among others.
    pub cpu_shares: Option<u32>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// The cgroup it is put below.
    pub cgroup_parent: Option<String>,
}

impl DockerConfig {
    /// What the job's container may use.
    pub fn job_limits(&self) -> Limits {
        Limits {
            memory: self.memory,
            memory_swap: self.memory_swap,
            memory_reservation: self.memory_reservation,
            cpus: self.cpus,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            cpu_shares: self.cpu_shares,
            pids: Some(self.pids_limit).filter(|limit| *limit > 0),
            cgroup_parent: self.cgroup_parent.clone(),
        }
    }

    /// What each service may use.
    pub fn service_limits(&self) -> Limits {
        Limits {
            memory: self.service_memory,
            memory_swap: self.service_memory_swap,
            memory_reservation: self.service_memory_reservation,
            cpus: self.service_cpus,
            cpuset_cpus: self.service_cpuset_cpus.clone(),
            cpuset_mems: None,
            cpu_shares: self.service_cpu_shares,
            pids: Some(self.service_pids_limit).filter(|limit| *limit > 0),
            cgroup_parent: self.service_cgroup_parent.clone(),
        }
    }

    /// The engine to use: the configured one, else what `DOCKER_HOST` names, else the usual socket.
    pub fn engine(&self, docker_host: Option<&str>) -> Result<EngineAddress, String> {
        match (&self.host, docker_host.filter(|host| !host.is_empty())) {
            (Some(configured), _) => Ok(configured.clone()),
            (None, Some(host)) => host.parse().map_err(|reason| format!("DOCKER_HOST: {reason}")),
            (None, None) => "/var/run/docker.sock".parse(),
        }
    }
}

impl Default for DockerConfig {
    fn default() -> Self {
        Self {
            host: None,
            image: None,
            pull_policy: vec![PullPolicy::IfNotPresent],
            allowed_pull_policies: Vec::new(),
            platform: None,
            allowed_images: Vec::new(),
            allowed_services: Vec::new(),
            user: None,
            allowed_users: Vec::new(),
            disable_entrypoint_overwrite: false,
            privileged: false,
            services_privileged: None,
            allowed_privileged_images: Vec::new(),
            allowed_privileged_services: Vec::new(),
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            security_opt: Vec::new(),
            services_security_opt: Vec::new(),
            group_add: Vec::new(),
            userns: None,
            pid_mode: None,
            ipc_mode: None,
            runtime: None,
            devices: Vec::new(),
            device_cgroup_rules: Vec::new(),
            gpus: None,
            service_gpus: None,
            sysctls: BTreeMap::new(),
            memory: None,
            memory_swap: None,
            memory_reservation: None,
            cpus: None,
            cpuset_cpus: None,
            cpuset_mems: None,
            cpu_shares: None,
            pids_limit: 16_384,
            shm_size: None,
            ulimits: BTreeMap::new(),
            oom_score_adjust: None,
            cgroup_parent: None,
            service_memory: None,
            service_memory_swap: None,
            service_memory_reservation: None,
            service_cpus: None,
            service_cpuset_cpus: None,
            service_cpu_shares: None,
            service_pids_limit: 16_384,
            service_cgroup_parent: None,
            volumes: Vec::new(),
            tool_cache: None,
            tmpfs: BTreeMap::new(),
            services_tmpfs: BTreeMap::new(),
            network_mode: NetworkMode::Job,
            network_pool: None,
            hold_networks: false,
            network_size: 26,
            mtu: None,
            ipv6: false,
            dns: Vec::new(),
            dns_search: Vec::new(),
            extra_hosts: Vec::new(),
            hostname: None,
            container_labels: BTreeMap::new(),
            services: Vec::new(),
            services_limit: None,
            wait_for_services_timeout: Duration::from_secs(30),
        }
    }
}

/// The shape of a list that may be written without brackets when it has one entry; for the schema only.
struct OneOrMany<T>(std::marker::PhantomData<T>);

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

/// Reads a list, or one entry in place of a list of one. The entry is tried as what it is, so that the message about a
/// wrong word is the word's own.
fn one_or_many<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    use serde::de::value::{SeqAccessDeserializer, StrDeserializer};
    struct Entries<T>(std::marker::PhantomData<T>);
    impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Entries<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a text or a list of texts")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<T>, E> {
            T::deserialize(StrDeserializer::<E>::new(text)).map(|entry| vec![entry])
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, entries: A) -> Result<Vec<T>, A::Error> {
            Vec::<T>::deserialize(SeqAccessDeserializer::new(entries))
        }
    }
    deserializer.deserialize_any(Entries(std::marker::PhantomData))
}
