//! What an operator decided about containers, resolved: one value a registration, made from its configuration.

use std::collections::BTreeMap;

use crate::pipeline::definition::PullPolicy;

/// How many processes and threads a container may have when nothing is configured. A build with a parallel compiler
/// on a large machine stays far below; a fork bomb does not take the machine.
pub const DEFAULT_PIDS: i64 = 4096;

/// Every option of `[docker]` that the sandbox consumes (protocols: GitLab 11.3). `Default` is a registration that
/// configures nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct DockerSettings {
    /// Image of jobs that name none.
    pub image: Option<String>,
    /// Policies of images whose job names none, tried in order.
    pub pull_policies: Vec<PullPolicy>,
    /// Policies a job may ask for; `None`: any.
    pub allowed_pull_policies: Option<Vec<PullPolicy>>,
    /// Platform of images whose job names none.
    pub platform: Option<String>,
    /// Patterns of images jobs may use; empty: all. The configured image is always allowed.
    pub allowed_images: Vec<String>,
    /// Patterns of images jobs may use as services; empty: all.
    pub allowed_services: Vec<String>,
    /// User the job's container starts as.
    pub user: Option<String>,
    /// Users a job may ask for; empty: the configured one only, or any when none is configured.
    pub allowed_users: Vec<String>,
    /// Whether what a job says about its image's entrypoint is ignored.
    pub disable_entrypoint_overwrite: bool,
    /// Host name of the job's container; `None`: one made from the job's key.
    pub hostname: Option<String>,
    /// Whether the job's container is privileged.
    pub privileged: bool,
    /// The same for services; `None`: as the job's.
    pub services_privileged: Option<bool>,
    /// Patterns of images that may be privileged; empty: all.
    pub allowed_privileged_images: Vec<String>,
    /// The same for services.
    pub allowed_privileged_services: Vec<String>,
    /// How much is taken away from containers.
    pub hardening: Hardening,
    /// Limits of the job's container.
    pub limits: Limits,
    /// Limits of each service.
    pub service_limits: Limits,
    /// Capabilities added to the default ones.
    pub cap_add: Vec<String>,
    /// Capabilities taken from the default ones.
    pub cap_drop: Vec<String>,
    /// Security options of the job's container; a `seccomp=` value is the profile itself or its path on the machine.
    pub security_opt: Vec<String>,
    /// Security options of services.
    pub services_security_opt: Vec<String>,
    /// Additional groups.
    pub group_add: Vec<String>,
    /// User namespace mode (`host`).
    pub userns_mode: Option<String>,
    /// PID mode of the job's container.
    pub pid_mode: Option<String>,
    /// IPC mode.
    pub ipc_mode: Option<String>,
    /// OCI runtime.
    pub runtime: Option<String>,
    /// Whether an init process is put before the job's own.
    pub init: bool,
    /// Devices of the job's container, `host[:container[:rwm]]`.
    pub devices: Vec<String>,
    /// Devices of services, by pattern of their image.
    pub services_devices: BTreeMap<String, Vec<String>>,
    /// Rules of the devices cgroup.
    pub device_cgroup_rules: Vec<String>,
    /// GPUs of the job's container, in the words of `docker run --gpus`.
    pub gpus: Option<String>,
    /// GPUs of services.
    pub service_gpus: Option<String>,
    /// Kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Folders in memory, path to options.
    pub tmpfs: BTreeMap<String, String>,
    /// The same for services.
    pub services_tmpfs: BTreeMap<String, String>,
    /// Name servers.
    pub dns: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// More hosts, `name:address`.
    pub extra_hosts: Vec<String>,
    /// Links to containers that exist.
    pub links: Vec<String>,
    /// Containers whose volumes are taken over.
    pub volumes_from: Vec<String>,
    /// How containers are connected.
    pub network_mode: NetworkMode,
    /// MTU of the job's network; `None`: the engine's.
    pub network_mtu: Option<u32>,
    /// Whether the job's network has IPv6 too.
    pub enable_ipv6: bool,
    /// MAC address of the job's container.
    pub mac_address: Option<String>,
    /// Mounts: `host:container[:mode]`, `name:container[:mode]` or `/container` (kept from job to job of an Owner).
    pub volumes: Vec<String>,
    /// Driver of volumes kept from job to job; `None`: a folder in the state directory.
    pub volume_driver: Option<String>,
    /// Options for it.
    pub volume_driver_ops: BTreeMap<String, String>,
    /// Folder on the machine below which kept volumes live; `None`: in the state directory.
    pub cache_dir: Option<String>,
    /// Whether `/container` volumes are emptied after the job.
    pub disable_cache: bool,
    /// More labels for containers; values refer to the job's variables.
    pub container_labels: BTreeMap<String, String>,
    /// Options of the log driver; only `env` and `labels` have a meaning.
    pub log_options: BTreeMap<String, String>,
    /// Services of every job.
    pub services: Vec<ConfiguredService>,
    /// How many services a job may have in all; `None`: any number.
    pub services_limit: Option<u32>,
}

/// How much is taken away from containers beyond Docker's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hardening {
    /// Docker's default capabilities and seccomp profile.
    #[default]
    Standard,
    /// No raw sockets, devices, audit records or new privileges.
    Strict,
}

/// What a container may use of the machine. `None`: no limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<i64>,
    /// Bytes of memory and swap together; -1: any amount of swap.
    pub memory_swap: Option<i64>,
    /// Bytes of memory below which nothing is reclaimed.
    pub memory_reservation: Option<i64>,
    /// Billionths of a CPU.
    pub nano_cpus: Option<i64>,
    /// CPUs by number, `0-3`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes by number.
    pub cpuset_mems: Option<String>,
    /// Weight against other containers.
    pub cpu_shares: Option<i64>,
    /// Processes and threads; -1: any number.
    pub pids: i64,
    /// Bytes of `/dev/shm`.
    pub shm_size: Option<i64>,
    /// Resource limits of processes.
    pub ulimits: Vec<Ulimit>,
    /// Parent of the container's cgroup.
    pub cgroup_parent: Option<String>,
    /// Whether the kernel's OOM killer leaves the container alone.
    pub oom_kill_disable: Option<bool>,
    /// How much the OOM killer likes the container's processes.
    pub oom_score_adjust: Option<i64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: None,
            memory_swap: None,
            memory_reservation: None,
            nano_cpus: None,
            cpuset_cpus: None,
            cpuset_mems: None,
            cpu_shares: None,
            pids: DEFAULT_PIDS,
            shm_size: None,
            ulimits: Vec::new(),
            cgroup_parent: None,
            oom_kill_disable: None,
            oom_score_adjust: None,
        }
    }
}

/// One resource limit of processes (`setrlimit`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// Its name, `nofile`.
    pub name: String,
    /// What processes start with.
    pub soft: i64,
    /// How far they may raise it.
    pub hard: i64,
}

/// How the containers of a job are connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NetworkMode {
    /// A network of its own from the pool.
    #[default]
    Job,
    /// Only the loopback device.
    None,
    /// The engine's default bridge, shared with other containers.
    Bridge,
    /// The machine's own network.
    Host,
    /// A network that the operator made, or `container:NAME`.
    Named(String),
}

impl NetworkMode {
    /// From the words of the configuration; empty is [`NetworkMode::Job`].
    pub fn parse(text: &str) -> Self {
        match text.trim() {
            "" | "job" => Self::Job,
            "none" => Self::None,
            "bridge" | "default" => Self::Bridge,
            "host" => Self::Host,
            name => Self::Named(name.to_owned()),
        }
    }
}

/// A service that every job gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfiguredService {
    /// Its image.
    pub name: String,
    /// Names it is reached by, separated by spaces or commas.
    pub alias: String,
    /// Replaces the image's entrypoint; empty: the image's.
    pub entrypoint: Vec<String>,
    /// Replaces the image's command; empty: the image's.
    pub command: Vec<String>,
    /// Its environment, `NAME=value`.
    pub environment: Vec<String>,
}

impl Default for DockerSettings {
    fn default() -> Self {
        Self {
            image: None,
            pull_policies: vec![PullPolicy::IfNotPresent],
            allowed_pull_policies: None,
            platform: None,
            allowed_images: Vec::new(),
            allowed_services: Vec::new(),
            user: None,
            allowed_users: Vec::new(),
            disable_entrypoint_overwrite: false,
            hostname: None,
            privileged: false,
            services_privileged: None,
            allowed_privileged_images: Vec::new(),
            allowed_privileged_services: Vec::new(),
            hardening: Hardening::Standard,
            limits: Limits::default(),
            service_limits: Limits::default(),
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            security_opt: Vec::new(),
            services_security_opt: Vec::new(),
            group_add: Vec::new(),
            userns_mode: None,
            pid_mode: None,
            ipc_mode: None,
            runtime: None,
            init: false,
            devices: Vec::new(),
            services_devices: BTreeMap::new(),
            device_cgroup_rules: Vec::new(),
            gpus: None,
            service_gpus: None,
            sysctls: BTreeMap::new(),
            tmpfs: BTreeMap::new(),
            services_tmpfs: BTreeMap::new(),
            dns: Vec::new(),
            dns_search: Vec::new(),
            extra_hosts: Vec::new(),
            links: Vec::new(),
            volumes_from: Vec::new(),
            network_mode: NetworkMode::Job,
            network_mtu: None,
            enable_ipv6: false,
            mac_address: None,
            volumes: Vec::new(),
            volume_driver: None,
            volume_driver_ops: BTreeMap::new(),
            cache_dir: None,
            disable_cache: false,
            container_labels: BTreeMap::new(),
            log_options: BTreeMap::new(),
            services: Vec::new(),
            services_limit: None,
        }
    }
}
