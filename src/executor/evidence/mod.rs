//! What is known of a job that failed, written down before its sandbox goes: for `forgehand debug`.
//!
//! [`collect`] asks engine, disk and log; [`launcher`] makes of the failed step two files that a container can run again.
//! Everything is masked as the job's log is, has a limit of size, and holds no value of a variable that is a secret.

pub(super) mod collect;
pub(super) mod launcher;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::stage::Stage;
use crate::pipeline::FailureReason;

/// Where the launcher stands in the container that runs a step again.
pub const LAUNCHER: &str = "/forgehand/run";
/// Where the step's script stands there.
pub const SCRIPT: &str = "/forgehand/script";

/// What was found when a job failed. Fields are only ever added.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// When it was written down.
    pub at: jiff::Timestamp,
    /// The stage that failed.
    pub stage: Stage,
    /// Why the job failed.
    pub reason: FailureReason,
    /// The same in a sentence.
    pub message: String,
    /// The job's exit code, where a command ended with one.
    pub exit_code: Option<i32>,
    /// The step that failed, where one did.
    pub step: Option<StepEvidence>,
    /// `docker` or `host`.
    pub executor: String,
    /// The image as the job names it.
    pub image: Option<String>,
    /// The container of the step, or of the job.
    pub container: Option<ContainerEvidence>,
    /// The job's services.
    #[serde(default)]
    pub services: Vec<ContainerEvidence>,
    /// Paths of the job, on the machine and inside.
    pub places: Places,
    /// Room on the disks that a job depends on.
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// Memory that the machine could still give, bytes.
    pub memory_available: Option<u64>,
    /// How long the job may take, seconds.
    pub timeout: u64,
    /// The last lines of its log.
    #[serde(default)]
    pub log_tail: Vec<String>,
    /// What could not be found out, and why.
    #[serde(default)]
    pub gaps: Vec<String>,
}

/// Where things of a job lie.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Places {
    /// On the machine: what is mounted at `builds`.
    pub workspace: PathBuf,
    /// Root of the work trees, as the job sees it.
    pub builds: String,
    /// The work tree, as the job sees it.
    pub project: String,
}

/// A step that failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepEvidence {
    /// Its place in the job, from 0.
    pub number: u32,
    /// The name the forge shows.
    pub name: String,
    /// How it ended.
    pub ending: StepEnding,
    /// The folder it ran in, as it saw it.
    pub cwd: String,
    /// Its environment, in the order of names.
    pub env: Vec<EnvEntry>,
    /// The launcher and the script lie beside this record.
    pub has_files: bool,
    /// The script holds secrets, which are masked in its file.
    pub script_is_masked: bool,
    /// It is cut: too long to be kept.
    pub script_is_cut: bool,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepEnding {
    /// With this exit code; 128 and the signal's number after a signal.
    Code(i32),
    /// Killed at the memory limit of its container.
    OutOfMemory,
    /// Its time, or the job's, was up.
    TimedOut,
    /// It was ended because it was not wanted any more.
    Cancelled,
    /// The engine or the machine stopped it.
    Stopped,
    /// It could not be started or followed.
    Broken,
}

impl StepEnding {
    /// The exit code, where a process ended with one.
    pub fn code(self) -> Option<i32> {
        match self {
            StepEnding::Code(code) => Some(code),
            StepEnding::OutOfMemory => Some(137),
            StepEnding::TimedOut | StepEnding::Cancelled | StepEnding::Stopped | StepEnding::Broken => None,
        }
    }
}

/// A variable of a step's environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvEntry {
    /// Its name.
    pub name: String,
    /// Its value; `None`: a secret, or too long.
    pub value: Option<String>,
    /// Why there is no value, or what to know about it.
    #[serde(default)]
    pub kind: EnvKind,
}

/// What is known of a variable's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvKind {
    /// As it was.
    #[default]
    Plain,
    /// Left out: a secret.
    Secret,
    /// A path to a file whose content is left out.
    File,
    /// Left out: too long.
    Long,
}

/// Whether a value can stand in one line of a shell: others are set by the launcher.
pub fn fits_a_line(value: &str) -> bool {
    !value.chars().any(char::is_control)
}

/// A container as the engine described it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ContainerEvidence {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The names by which the job finds it, of a service.
    #[serde(default)]
    pub service: Vec<String>,
    /// The image's id, `sha256:...`.
    pub image_id: String,
    /// `repository@sha256:...`, where a registry gave it one.
    pub image_digest: Option<String>,
    /// The image as it was named, of a service.
    pub image_name: Option<String>,
    /// What the image was built for.
    pub platform: Option<String>,
    /// `running`, `exited`, `dead` and so on, in the engine's word.
    pub state: String,
    /// Once it has ended.
    pub exit_code: Option<i64>,
    /// The kernel killed a process of it at its memory limit.
    pub oom_killed: bool,
    /// The engine's words about a failed start.
    pub error: Option<String>,
    /// When it started.
    pub started_at: Option<String>,
    /// When it ended.
    pub finished_at: Option<String>,
    /// What it starts with.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// What the image starts with.
    #[serde(default)]
    pub image_entrypoint: Vec<String>,
    /// Its command, of a service.
    #[serde(default)]
    pub command: Vec<String>,
    /// Its user; empty: the image's.
    pub user: String,
    /// Its host name.
    pub hostname: String,
    /// What it may use.
    pub limits: LimitsEvidence,
    /// What it is allowed.
    pub rights: RightsEvidence,
    /// What it sees of the machine.
    #[serde(default)]
    pub mounts: Vec<MountEvidence>,
    /// Folders in memory, with their options.
    #[serde(default)]
    pub tmpfs: BTreeMap<String, String>,
    /// The engine's `NetworkMode`.
    pub network_mode: String,
    /// Its networks by name.
    #[serde(default)]
    pub networks: Vec<NetworkEvidence>,
    /// Name servers of its own.
    #[serde(default)]
    pub dns: Vec<String>,
    /// `name:address`.
    #[serde(default)]
    pub extra_hosts: Vec<String>,
    /// `healthy`, `unhealthy`, `starting`, where it has a check.
    pub health: Option<String>,
    /// What the last check said.
    pub health_output: Option<String>,
    /// The environment of a service, without what it was given of the job's variables.
    #[serde(default)]
    pub env: Vec<EnvEntry>,
    /// The last lines that a service printed.
    #[serde(default)]
    pub log_tail: Vec<String>,
}

/// What a container may use. What is not limited is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsEvidence {
    /// Bytes.
    pub memory: Option<i64>,
    /// Bytes, memory and swap together; -1: swap without limit.
    pub memory_swap: Option<i64>,
    /// Billionths of a processor.
    pub nano_cpus: Option<i64>,
    /// Relative weight.
    pub cpu_shares: Option<i64>,
    /// Which processors.
    pub cpuset_cpus: Option<String>,
    /// Processes.
    pub pids: Option<i64>,
    /// Bytes of /dev/shm.
    pub shm_size: Option<i64>,
    /// `name=soft:hard`.
    #[serde(default)]
    pub ulimits: Vec<String>,
}

/// What a container is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RightsEvidence {
    /// Everything.
    pub privileged: bool,
    /// Capabilities over the usual ones.
    #[serde(default)]
    pub cap_add: Vec<String>,
    /// Of the usual ones, not these.
    #[serde(default)]
    pub cap_drop: Vec<String>,
    /// `no-new-privileges` and the like; a profile without its text.
    #[serde(default)]
    pub security_opt: Vec<String>,
    /// `host:container:rights`.
    #[serde(default)]
    pub devices: Vec<String>,
    /// Further groups.
    #[serde(default)]
    pub group_add: Vec<String>,
    /// Kernel settings.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
    /// The OCI runtime, where it is not the engine's default.
    pub runtime: Option<String>,
    /// User namespace, where it is said.
    pub userns_mode: Option<String>,
    /// An init process of the engine's.
    pub init: bool,
}

/// A mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountEvidence {
    /// `bind`, `volume`, `tmpfs`.
    pub kind: String,
    /// Path on the machine or name of the volume.
    pub source: String,
    /// Path in the container.
    pub target: String,
    /// It cannot be written.
    pub read_only: bool,
    /// What it is for.
    pub role: MountRole,
}

/// What a mount is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountRole {
    /// forgehand's own: run directory, shim, names of hosts.
    Own,
    /// The job's work tree.
    Workspace,
    /// What the operator or the image wants.
    #[default]
    Other,
}

/// A network a container is in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkEvidence {
    /// Its name.
    pub name: String,
    /// The container's names in it.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The container's address in it.
    pub address: Option<String>,
}

/// Room on a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// A folder on it.
    pub path: PathBuf,
    /// Bytes that can still be written.
    pub free: u64,
    /// All of it, bytes.
    pub size: u64,
    /// Files that can still be made; `None` where the file system does not count them.
    pub free_files: Option<u64>,
}
