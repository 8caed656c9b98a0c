//! What this engine can do. Engines differ (versions, rootless, Podman); the differences are in this one value.

use bollard::models::{SystemInfo, SystemInfoCgroupVersionEnum, SystemVersion};

use super::engine::{Engine, LOOK};
use super::error::EngineError;

/// What the engine said about itself when the agent connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineCaps {
    /// What it calls itself; empty where it does not say.
    pub id: String,
    /// Its version.
    pub version: String,
    /// The newest API it speaks.
    pub api_version: String,
    /// `x86_64`, `aarch64`; the same as ours, else it is refused.
    pub architecture: String,
    /// 1 or 2.
    pub cgroup_version: u8,
    /// It runs without root's rights.
    pub is_rootless: bool,
    /// Root in its containers is another user on the machine.
    pub has_userns_remap: bool,
    /// Containers get its seccomp profile.
    pub has_seccomp: bool,
    /// It is Podman's imitation.
    pub is_podman: bool,
    /// The runtime of containers that name none.
    pub default_runtime: String,
    /// Where it keeps images and containers.
    pub root_dir: String,
    /// Which limits it enforces.
    pub limits: EnforcedLimits,
}

/// Which limits an engine enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnforcedLimits {
    /// Memory.
    pub memory: bool,
    /// Memory and swap together.
    pub swap: bool,
    /// Shares of CPU time.
    pub cpu: bool,
    /// Which CPUs.
    pub cpuset: bool,
    /// Number of processes.
    pub pids: bool,
}

impl EngineCaps {
    /// Asks the engine. One that we cannot work with is an error that says why.
    pub async fn probe(engine: &Engine) -> Result<Self, EngineError> {
        let (info, version) = tokio::try_join!(
            engine.call("asking the engine about itself", LOOK, engine.api().info()),
            engine.call("asking the engine's version", LOOK, engine.api().version()),
        )?;
        Self::from_answers(&info, &version)
    }

    fn from_answers(info: &SystemInfo, version: &SystemVersion) -> Result<Self, EngineError> {
        let has_option = |name: &str| {
            info.security_options
                .iter()
                .flatten()
                .any(|option| option.split(',').any(|part| part == name || part == format!("name={name}")))
        };
        let caps = Self {
            id: info.id.clone().unwrap_or_default(),
            version: version.version.clone().or_else(|| info.server_version.clone()).unwrap_or_default(),
            api_version: version.api_version.clone().unwrap_or_default(),
            architecture: architecture(info.architecture.as_deref().unwrap_or_default()),
            cgroup_version: match info.cgroup_version {
                Some(SystemInfoCgroupVersionEnum::_2) => 2,
                _ => 1,
            },
            is_rootless: has_option("rootless"),
            has_userns_remap: has_option("userns"),
            has_seccomp: has_option("seccomp"),
            is_podman: version.components.iter().flatten().any(|part| part.name.to_lowercase().contains("podman")),
            default_runtime: info.default_runtime.clone().unwrap_or_default(),
            root_dir: info.docker_root_dir.clone().unwrap_or_default(),
            limits: EnforcedLimits {
                memory: info.memory_limit.unwrap_or(false),
                swap: info.swap_limit.unwrap_or(false),
                cpu: info.cpu_cfs_quota.unwrap_or(false),
                cpuset: info.cpu_set.unwrap_or(false),
                pids: info.pids_limit.unwrap_or(false),
            },
        };
        caps.refuse_strangers(info.os_type.as_deref().unwrap_or("linux"))?;
        Ok(caps)
    }

    fn refuse_strangers(&self, os: &str) -> Result<(), EngineError> {
        let ours = std::env::consts::ARCH;
        if os != "linux" {
            return Err(EngineError::Unsupported(format!("an engine with {os} containers is not supported")));
        }
        if self.architecture != ours {
            return Err(EngineError::Unsupported(format!(
                "the engine's architecture is {}, this program's is {ours}: install the program built for {}",
                self.architecture, self.architecture
            )));
        }
        Ok(())
    }

    /// What an operator should know: limits that are configured in vain, protection that is missing.
    pub fn warnings(&self) -> Vec<String> {
        let limits = [
            (self.limits.memory, "memory"),
            (self.limits.swap, "memory_swap"),
            (self.limits.cpu, "cpus"),
            (self.limits.cpuset, "cpuset_cpus"),
            (self.limits.pids, "pids_limit"),
        ];
        let missing: Vec<&str> = limits.iter().filter(|(can, _)| !can).map(|(_, name)| *name).collect();
        let mut warnings = Vec::new();
        if !missing.is_empty() {
            let why = match (self.is_rootless, self.cgroup_version) {
                (true, 1) => "a rootless engine on cgroup v1 enforces no limits; boot with cgroup v2",
                (true, _) => "delegate the controllers to the engine's user (systemd `Delegate=`)",
                (false, _) => "the kernel does not offer them to the engine",
            };
            warnings.push(format!("the engine cannot enforce {}: {why}", missing.join(", ")));
        }
        if !self.has_seccomp && !self.is_podman {
            warnings.push("the engine gives containers no seccomp profile: more of the kernel is open to jobs".into());
        }
        warnings
    }

    /// Whether a container's address can be reached from the agent: a rootless engine's network is its own.
    pub fn reaches_containers(&self) -> bool {
        !self.is_rootless
    }
}

/// The engine's word for an architecture in ours.
fn architecture(theirs: &str) -> String {
    match theirs {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        "386" | "i386" | "i686" => "x86",
        "armv7l" | "armv6l" | "armhf" => "arm",
        "ppc64le" => "powerpc64",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(change: impl FnOnce(&mut SystemInfo)) -> SystemInfo {
        let mut info = SystemInfo {
            architecture: Some(std::env::consts::ARCH.into()),
            security_options: Some(vec!["name=seccomp,profile=default".into()]),
            memory_limit: Some(true),
            swap_limit: Some(true),
            cpu_cfs_quota: Some(true),
            cpu_set: Some(true),
            pids_limit: Some(true),
            cgroup_version: Some(SystemInfoCgroupVersionEnum::_2),
            ..SystemInfo::default()
        };
        change(&mut info);
        info
    }

    fn caps(change: impl FnOnce(&mut SystemInfo)) -> Result<EngineCaps, EngineError> {
        EngineCaps::from_answers(&info(change), &SystemVersion::default())
    }

    #[test]
    fn an_engine_of_another_architecture_is_refused_by_name() {
        let refused = caps(|info| info.architecture = Some("s390x".into())).unwrap_err();
        assert!(refused.to_string().contains("s390x"), "{refused}");
    }

    #[test]
    fn limits_that_cannot_be_enforced_are_told_with_the_reason() {
        assert!(caps(|_| {}).unwrap().warnings().is_empty());
        let rootless = caps(|info| {
            info.security_options = Some(vec!["name=seccomp,profile=default".into(), "name=rootless".into()]);
            info.cgroup_version = Some(SystemInfoCgroupVersionEnum::_1);
            info.memory_limit = Some(false);
            info.pids_limit = Some(false);
        })
        .unwrap();
        let warning = rootless.warnings().remove(0);
        assert!(warning.contains("memory, pids_limit") && warning.contains("cgroup v2"), "{warning}");
        assert!(!rootless.reaches_containers());
    }
}
