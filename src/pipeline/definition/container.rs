//! What a job may say of its container besides the image: limits, names, folders, a check of its health.
//!
//! Nothing here widens what a container may do. What would is a [`Privilege`]: it holds only where the operator gave it already.

use std::time::Duration;

/// What a container is made with besides its image. `Default` asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerOptions {
    /// Its host name.
    pub hostname: Option<String>,
    /// The domain of that name.
    pub domain: Option<String>,
    /// Where its own command starts. Steps say themselves where they work.
    pub working_dir: Option<String>,
    /// Labels; those of the sandbox win.
    pub labels: Vec<(String, String)>,
    /// Lines for its hosts file, `name:address`.
    pub hosts: Vec<String>,
    /// Name servers.
    pub dns: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// Bytes of memory.
    pub memory: Option<i64>,
    /// Bytes of memory and swap together; -1: any amount of swap.
    pub memory_swap: Option<i64>,
    /// Bytes of memory below which nothing is reclaimed.
    pub memory_reservation: Option<i64>,
    /// Billionths of a processor.
    pub nano_cpus: Option<i64>,
    /// Weight against other containers.
    pub cpu_shares: Option<i64>,
    /// Processors by number, `0-3`.
    pub cpuset: Option<String>,
    /// Processes and threads.
    pub pids: Option<i64>,
    /// Bytes of `/dev/shm`.
    pub shm_size: Option<i64>,
    /// Resource limits of processes.
    pub ulimits: Vec<UlimitSpec>,
    /// Folders in memory: path and options.
    pub tmpfs: Vec<(String, String)>,
    /// Capabilities it does without.
    pub cap_drop: Vec<String>,
    /// Whether its processes can gain no rights that their parent lacks.
    pub no_new_privileges: bool,
    /// Whether its root file system is read-only.
    pub read_only: bool,
    /// Whether an init process stands before its own.
    pub init: bool,
    /// The signal that ends it.
    pub stop_signal: Option<String>,
    /// How its health is checked.
    pub health: Option<HealthSpec>,
    /// Folders that outlive a container of the job, not the job.
    pub volumes: Vec<VolumeSpec>,
    /// What only the operator can give.
    pub privileges: Vec<Privilege>,
}

/// A resource limit of processes (`setrlimit`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UlimitSpec {
    /// Its name, `nofile`.
    pub name: String,
    /// What processes start with; -1: no limit.
    pub soft: i64,
    /// How far they may raise it; -1: no limit.
    pub hard: i64,
}

/// How a container's health is checked. What is `None` is the image's, else the engine's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthSpec {
    /// Whether there is no check at all.
    pub disabled: bool,
    /// The command line, for a shell.
    pub command: Option<String>,
    /// Between two checks.
    pub interval: Option<Duration>,
    /// Of one check.
    pub timeout: Option<Duration>,
    /// Failures in a row until it counts as unhealthy.
    pub retries: Option<i64>,
    /// Time at the start in which failures do not count.
    pub start_period: Option<Duration>,
}

/// A folder that is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSpec {
    /// What is mounted.
    pub source: VolumeSource,
    /// Where in the container, an absolute path.
    pub target: String,
    /// Whether it can only be read.
    pub read_only: bool,
}

/// What a mounted folder is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// An empty folder of this container alone.
    Anonymous,
    /// A folder that all containers of the job have that name it.
    Named(String),
    /// A folder or file of the machine: only what the operator mounts himself.
    Machine(String),
}

/// What weakens a sandbox: it holds where the operator gave it to all jobs, and is refused with words elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privilege {
    /// As it was written, for messages.
    pub words: String,
    /// What it is.
    pub kind: PrivilegeKind,
}

/// Kinds of privileges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrivilegeKind {
    /// All rights.
    Privileged,
    /// A capability more.
    Capability(String),
    /// A device of the machine, `host[:container[:rwm]]`.
    Device(String),
    /// Graphics processors.
    Gpus,
    /// A security option.
    SecurityOption(String),
    /// What no operator can allow a job to choose; why not.
    Never(&'static str),
}

/// A port of a service under which it is reached at the loopback address of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// Where the job finds it; `None`: at any free port.
    pub published: Option<u16>,
    /// The service's own port.
    pub port: u16,
    /// Which protocol.
    pub protocol: Protocol,
}

/// Protocols of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}
