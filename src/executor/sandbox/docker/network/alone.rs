//! A container without a network. The engine need not take part: the runtime makes a network namespace with nothing but the
//! loopback interface by itself, while the engine would start a program of its own for each container to enter it into
//! its books, which costs as much as the rest of the container.
//!
//! What the engine would also write is the file of host names; here it is ours, a file of the job.

use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::executor::sandbox::JobPaths;
use crate::executor::sandbox::docker::caps::EngineCaps;
use crate::executor::sandbox::docker::settings::{DockerSettings, NetworkMode};
use crate::pipeline::definition::ContainerOptions;

/// The file of host names in a container.
pub(in crate::executor::sandbox::docker) const HOSTS: &str = "/etc/hosts";
/// The runtime that is known to bring the loopback interface up.
const RUNTIME: &str = "runc";
/// What an engine writes for a container without a network.
const LOCAL: &str = "127.0.0.1\tlocalhost\n\
                     ::1\tlocalhost ip6-localhost ip6-loopback\n\
                     fe00::0\tip6-localnet\n\
                     ff00::0\tip6-mcastprefix\n\
                     ff02::1\tip6-allnodes\n\
                     ff02::2\tip6-allrouters\n";

/// Whether the job's container is made so: it is to have no network, and nobody said anything about names or addresses that the
/// engine would have to see to.
pub(in crate::executor::sandbox::docker) fn suits(
    caps: &EngineCaps,
    settings: &DockerSettings,
    options: Option<&ContainerOptions>,
) -> bool {
    let runtime = settings.runtime.as_deref().unwrap_or(&caps.default_runtime);
    let operator_says_nothing = settings.extra_hosts.is_empty()
        && settings.dns.is_empty()
        && settings.dns_search.is_empty()
        && settings.links.is_empty()
        && settings.mac_address.is_none()
        && !settings.volumes.iter().any(|volume| volume.split(':').any(|part| part == HOSTS));
    let job_says_nothing = options.is_none_or(|options| {
        options.hosts.is_empty()
            && options.dns.is_empty()
            && options.dns_search.is_empty()
            && !options.volumes.iter().any(|volume| volume.target == HOSTS)
    });
    settings.network_mode == NetworkMode::None
        && !caps.is_podman
        && !caps.has_userns_remap
        && runtime == RUNTIME
        && operator_says_nothing
        && job_says_nothing
}

/// The job's file of host names on the machine.
pub(in crate::executor::sandbox::docker) fn hosts_file(paths: &JobPaths) -> PathBuf {
    paths.private.join("hosts")
}

/// Writes it anew. Root in the container may change it, nobody else. Blocking.
///
/// # Errors
/// Which file could not be written, in the system's words.
pub(in crate::executor::sandbox::docker) fn write_hosts(file: &Path) -> Result<(), String> {
    let write = || -> io::Result<()> {
        let mut open = File::create(file)?;
        // Whatever the process's umask is.
        open.set_permissions(Permissions::from_mode(0o644))?;
        open.write_all(LOCAL.as_bytes())
    };
    write().map_err(|error| format!("the file {} cannot be written: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::sandbox::docker::caps::EnforcedLimits;
    use crate::pipeline::definition::{VolumeSource, VolumeSpec};

    fn caps() -> EngineCaps {
        let limits = EnforcedLimits { memory: true, swap: true, cpu: true, cpuset: true, pids: true };
        EngineCaps {
            id: String::new(),
            version: "28".into(),
            api_version: "1.50".into(),
            architecture: "x86_64".into(),
            cgroup_version: 2,
            is_rootless: false,
            has_userns_remap: false,
            has_seccomp: true,
            is_podman: false,
            default_runtime: "runc".into(),
            root_dir: "/var/lib/docker".into(),
            limits,
        }
    }

    fn settings(change: impl FnOnce(&mut DockerSettings)) -> DockerSettings {
        let mut settings = DockerSettings { network_mode: NetworkMode::None, ..DockerSettings::default() };
        change(&mut settings);
        settings
    }

    #[test]
    fn the_engine_sees_to_every_other_network_and_to_names_that_somebody_wants() {
        assert!(suits(&caps(), &settings(|_| {}), None));
        for of_operator in [
            settings(|settings| settings.network_mode = NetworkMode::Job),
            settings(|settings| settings.extra_hosts = vec!["db:10.0.0.1".into()]),
            settings(|settings| settings.dns = vec!["10.0.0.2".into()]),
            settings(|settings| settings.runtime = Some("runsc".into())),
            settings(|settings| settings.volumes = vec!["/srv/hosts:/etc/hosts:ro".into()]),
        ] {
            assert!(!suits(&caps(), &of_operator, None), "{of_operator:?}");
        }
        let volume = VolumeSpec { source: VolumeSource::Anonymous, target: HOSTS.into(), read_only: false };
        for of_job in [
            ContainerOptions { hosts: vec!["db:10.0.0.1".into()], ..ContainerOptions::default() },
            ContainerOptions { volumes: vec![volume], ..ContainerOptions::default() },
        ] {
            assert!(!suits(&caps(), &settings(|_| {}), Some(&of_job)), "{of_job:?}");
        }
    }

    #[test]
    fn an_engine_that_may_bring_no_loopback_up_is_not_left_out() {
        for other in [
            EngineCaps { is_podman: true, ..caps() },
            EngineCaps { has_userns_remap: true, ..caps() },
            EngineCaps { default_runtime: "crun".into(), ..caps() },
        ] {
            assert!(!suits(&other, &settings(|_| {}), None), "{other:?}");
        }
    }
}
