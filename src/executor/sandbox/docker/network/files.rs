//! The files that tell a container its own name, those of its neighbours, and who knows all others. The engine writes them where it
//! sees to the container's network; where it does not, or where it would hand on those of another container, they are
//! files of the job.

use std::fs::{File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::executor::sandbox::docker::caps::EngineCaps;
use crate::executor::sandbox::docker::settings::DockerSettings;
use crate::pipeline::definition::ContainerOptions;

/// The runtime whose containers are known to be content with them.
const RUNTIME: &str = "runc";
/// What an engine writes for a container without a network.
const LOCAL: &str = "127.0.0.1\tlocalhost\n\
                     ::1\tlocalhost ip6-localhost ip6-loopback\n\
                     fe00::0\tip6-localnet\n\
                     ff00::0\tip6-mcastprefix\n\
                     ff02::1\tip6-allnodes\n\
                     ff02::2\tip6-allrouters\n";
/// What a line with files begins with.
const MARK: &str = "forgehand-names: ";
/// Bytes of one file that are read.
const MOST: u64 = 64 * 1024;

/// One of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::executor::sandbox::docker) enum NameFile {
    /// Names with addresses.
    Hosts,
    /// Name servers.
    ResolvConf,
    /// The container's own name.
    Hostname,
}

impl NameFile {
    /// All of them.
    pub(in crate::executor::sandbox::docker) const ALL: [Self; 3] = [Self::Hosts, Self::ResolvConf, Self::Hostname];

    /// Its place in a container.
    pub(in crate::executor::sandbox::docker) fn target(self) -> &'static str {
        match self {
            Self::Hosts => "/etc/hosts",
            Self::ResolvConf => "/etc/resolv.conf",
            Self::Hostname => "/etc/hostname",
        }
    }

    /// The job's own on the machine; `private` is the job's folder for the agent alone.
    pub(in crate::executor::sandbox::docker) fn of_job(self, private: &Path) -> PathBuf {
        private.join(self.target().trim_start_matches("/etc/"))
    }
}

/// Files with their content. What is not among them is the image's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::executor::sandbox::docker) struct NameFiles(Vec<(NameFile, Vec<u8>)>);

impl NameFiles {
    /// Of a container without a network: it knows itself.
    pub(super) fn of_nobody_else() -> Self {
        Self(vec![(NameFile::Hosts, LOCAL.into())])
    }

    /// Those of the container that this process runs in. Blocking.
    ///
    /// # Errors
    /// One of them is not there.
    pub(in crate::executor::sandbox::docker) fn here() -> io::Result<Self> {
        let read = |file: NameFile| {
            let mut content = Vec::new();
            File::open(file.target())?.take(MOST).read_to_end(&mut content)?;
            Ok((file, content))
        };
        NameFile::ALL.into_iter().map(read).collect::<io::Result<_>>().map(Self)
    }

    /// For [`NameFiles::from_line`]: one line of text.
    ///
    /// # Errors
    /// None that is known.
    pub(in crate::executor::sandbox::docker) fn to_line(&self) -> serde_json::Result<String> {
        serde_json::to_string(self).map(|json| format!("{MARK}{json}\n"))
    }

    /// Those that a container wrote in `line`; `None`: it is another line.
    ///
    /// # Errors
    /// It is broken.
    pub(super) fn from_line(line: &[u8]) -> serde_json::Result<Option<Self>> {
        line.strip_prefix(MARK.as_bytes()).map(serde_json::from_slice).transpose()
    }

    /// Which there are.
    pub(in crate::executor::sandbox::docker) fn files(&self) -> Vec<NameFile> {
        self.0.iter().map(|(file, _)| *file).collect()
    }

    /// Writes the job's own anew. Root in the container may change them, nobody else. Blocking.
    ///
    /// # Errors
    /// Which file could not be written, in the system's words.
    pub(in crate::executor::sandbox::docker) fn write(&self, private: &Path) -> Result<(), String> {
        self.0.iter().try_for_each(|(file, content)| {
            let file = file.of_job(private);
            write(&file, content).map_err(|error| format!("the file {} cannot be written: {error}", file.display()))
        })
    }
}

fn write(file: &Path, content: &[u8]) -> io::Result<()> {
    let mut open = File::create(file)?;
    // Whatever the process's umask is.
    open.set_permissions(Permissions::from_mode(0o644))?;
    open.write_all(content)
}

/// Whether a job's container may have these: nobody said anything about names or addresses that the engine would have to see to.
pub(super) fn suit(caps: &EngineCaps, settings: &DockerSettings, options: Option<&ContainerOptions>) -> bool {
    let runtime = settings.runtime.as_deref().unwrap_or(&caps.default_runtime);
    let is_one_of_ours = |path: &str| NameFile::ALL.iter().any(|file| file.target() == path);
    let operator_says_nothing = settings.extra_hosts.is_empty()
        && settings.dns.is_empty()
        && settings.dns_search.is_empty()
        && settings.links.is_empty()
        && settings.mac_address.is_none()
        && !settings.volumes.iter().any(|volume| volume.split(':').any(is_one_of_ours));
    let job_says_nothing = options.is_none_or(|options| {
        options.hosts.is_empty()
            && options.dns.is_empty()
            && options.dns_search.is_empty()
            && !options.volumes.iter().any(|volume| is_one_of_ours(&volume.target))
    });
    !caps.is_podman && !caps.has_userns_remap && runtime == RUNTIME && operator_says_nothing && job_says_nothing
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::executor::sandbox::docker::caps::EnforcedLimits;
    use crate::pipeline::definition::{VolumeSource, VolumeSpec};

    pub(in crate::executor::sandbox::docker::network) fn caps() -> EngineCaps {
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
        let mut settings = DockerSettings::default();
        change(&mut settings);
        settings
    }

    #[test]
    fn the_engine_sees_to_names_that_somebody_wants() {
        assert!(suit(&caps(), &settings(|_| {}), None));
        for of_operator in [
            settings(|settings| settings.extra_hosts = vec!["db:10.0.0.1".into()]),
            settings(|settings| settings.dns = vec!["10.0.0.2".into()]),
            settings(|settings| settings.runtime = Some("runsc".into())),
            settings(|settings| settings.volumes = vec!["/srv/hosts:/etc/hosts:ro".into()]),
        ] {
            assert!(!suit(&caps(), &of_operator, None), "{of_operator:?}");
        }
        let volume =
            |target: &str| VolumeSpec { source: VolumeSource::Anonymous, target: target.into(), read_only: false };
        for of_job in [
            ContainerOptions { hosts: vec!["db:10.0.0.1".into()], ..ContainerOptions::default() },
            ContainerOptions { volumes: vec![volume("/etc/hosts")], ..ContainerOptions::default() },
            ContainerOptions { volumes: vec![volume("/etc/resolv.conf")], ..ContainerOptions::default() },
        ] {
            assert!(!suit(&caps(), &settings(|_| {}), Some(&of_job)), "{of_job:?}");
        }
    }

    #[test]
    fn an_engine_that_may_do_it_otherwise_is_not_left_out() {
        for other in [
            EngineCaps { is_podman: true, ..caps() },
            EngineCaps { has_userns_remap: true, ..caps() },
            EngineCaps { default_runtime: "crun".into(), ..caps() },
        ] {
            assert!(!suit(&other, &settings(|_| {}), None), "{other:?}");
        }
    }

    #[test]
    fn files_go_from_a_container_to_a_job_as_they_are() {
        let content = |text: &str| text.as_bytes().to_vec();
        let files = NameFiles(vec![
            (NameFile::Hosts, content("127.0.0.1\tlocalhost\n")),
            (NameFile::ResolvConf, content("nameserver 127.0.0.11\n")),
            (NameFile::Hostname, content("job-net-1\n")),
        ]);
        let line = files.to_line().unwrap();
        assert!(line.ends_with('\n') && line.lines().count() == 1, "{line}");
        let read = NameFiles::from_line(line.trim_end().as_bytes()).unwrap().unwrap();
        assert_eq!(read, files);
        let folder = tempfile::tempdir().unwrap();
        read.write(folder.path()).unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("hosts")).unwrap(), "127.0.0.1\tlocalhost\n");
        assert_eq!(std::fs::read_to_string(folder.path().join("resolv.conf")).unwrap(), "nameserver 127.0.0.11\n");
        assert_eq!(std::fs::read_to_string(folder.path().join("hostname")).unwrap(), "job-net-1\n");
        assert_eq!(NameFiles::from_line(b"running 1 test").unwrap(), None);
        assert!(NameFiles::from_line(b"forgehand-names: {").is_err());
    }
}
