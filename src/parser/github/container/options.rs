//! What each flag of `options` means for a sandbox.

use super::flags::{self, Written};
use super::quantities::{bytes, cpus, duration, number, truth};
use super::{ports, volumes, words};
use crate::pipeline::definition::{
    ContainerOptions, HealthSpec, PortSpec, Privilege, PrivilegeKind, PullPolicy, UlimitSpec,
};

/// Limits that a process of a container may have changed without harm to others; priorities and real time are not among them.
const ULIMITS: [&str; 12] =
    ["as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nofile", "nproc", "rss", "stack"];

/// What a command line for `docker create` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Environment of its own.
    pub env: Vec<(String, String)>,
    /// The user it starts as.
    pub user: Option<String>,
    /// The program it starts with; of a service only.
    pub entrypoint: Option<String>,
    /// The platform of its image.
    pub platform: Option<String>,
    /// When its image is fetched.
    pub pull: Option<PullPolicy>,
    /// More names in the job's network.
    pub aliases: Vec<String>,
    /// Ports.
    pub ports: Vec<PortSpec>,
    /// The rest.
    pub container: ContainerOptions,
}

#[derive(Default)]
struct Quota {
    quota: Option<i64>,
    period: Option<i64>,
}

/// Reads `options` of a container.
///
/// # Errors
/// What the engine would refuse, in words.
pub fn options(line: &str) -> Result<Options, String> {
    let mut options = Options::default();
    let mut quota = Quota::default();
    for flag in flags::read(&words(line)?)? {
        apply(&flag, &mut options, &mut quota).map_err(|why| format!("`{}`: {why}", flag.words()))?;
    }
    if let (Some(part), None) = (quota.quota.filter(|part| *part > 0), options.container.nano_cpus) {
        let period = quota.period.filter(|period| *period > 0).unwrap_or(100_000);
        options.container.nano_cpus = Some((part as f64 / period as f64 * 1e9) as i64);
    }
    Ok(options)
}

fn apply(flag: &Written, options: &mut Options, quota: &mut Quota) -> Result<(), String> {
    let value = flag.value.as_str();
    let text = || value.to_owned();
    let container = &mut options.container;
    match flag.name {
        "env" => {
            if let Some((name, value)) = value.split_once('=') {
                options.env.push((name.to_owned(), value.to_owned()));
            } else {
                privilege(
                    flag,
                    PrivilegeKind::Never("the machine's environment is not handed over: write NAME=VALUE"),
                    container,
                );
            }
        }
        "user" => options.user = Some(text()),
        "entrypoint" => options.entrypoint = Some(text()),
        "platform" => options.platform = Some(text()),
        "pull" => {
            options.pull = Some(match value {
                "always" => PullPolicy::Always,
                "missing" => PullPolicy::IfNotPresent,
                "never" => PullPolicy::Never,
                _ => return Err("it is `always`, `missing` or `never`".to_owned()),
            });
        }
        "network-alias" | "net-alias" => options.aliases.push(text()),
        "publish" => options.ports.extend(ports::ports(value)?),
        "hostname" => container.hostname = Some(text()),
        "domainname" => container.domain = Some(text()),
        "workdir" => container.working_dir = Some(text()),
        "label" => {
            let (key, value) = value.split_once('=').unwrap_or((value, ""));
            container.labels.push((key.to_owned(), value.to_owned()));
        }
        "add-host" => {
            let pair = value.split_once(':').or_else(|| value.split_once('='));
            let (name, address) = pair.ok_or_else(|| "it is written NAME:ADDRESS".to_owned())?;
            container.hosts.push(format!("{name}:{address}"));
        }
        "dns" => container.dns.push(text()),
        "dns-search" => container.dns_search.push(text()),
        "memory" => container.memory = Some(bytes(value)?),
        "memory-reservation" => container.memory_reservation = Some(bytes(value)?),
        "memory-swap" => container.memory_swap = Some(if value == "-1" { -1 } else { bytes(value)? }),
        "cpus" => container.nano_cpus = Some(cpus(value)?),
        "cpu-quota" => quota.quota = Some(number(value)?),
        "cpu-period" => quota.period = Some(number(value)?),
        "cpu-shares" => container.cpu_shares = Some(number(value)?),
        "cpuset-cpus" => container.cpuset = Some(text()),
        "pids-limit" => container.pids = Some(number(value)?).filter(|pids| *pids > 0),
        "shm-size" => container.shm_size = Some(bytes(value)?),
        "ulimit" => ulimit(flag, container)?,
        "tmpfs" => {
            let (path, rest) = value.split_once(':').unwrap_or((value, ""));
            container.tmpfs.push((path.to_owned(), rest.to_owned()));
        }
        "cap-drop" => container.cap_drop.push(text()),
        "read-only" => container.read_only = truth(value)?,
        "init" => container.init = truth(value)?,
        "stop-signal" => container.stop_signal = Some(text()),
        "volume" => container.volumes.push(volumes::volume(value)?),
        "mount" => match volumes::mount(value)? {
            Ok(volume) => container.volumes.push(volume),
            Err(path) => container.tmpfs.push((path, String::new())),
        },
        "security-opt"
            if matches!(value, "no-new-privileges" | "no-new-privileges:true" | "no-new-privileges=true") =>
        {
            container.no_new_privileges = true;
        }
        name if name.starts_with("health-") || name == "no-healthcheck" => health(flag, container)?,
        name => return other(name, flag, container),
    }
    Ok(())
}

fn health(flag: &Written, container: &mut ContainerOptions) -> Result<(), String> {
    let health = container.health.get_or_insert_with(HealthSpec::default);
    match flag.name {
        "no-healthcheck" => health.disabled = truth(&flag.value)?,
        "health-cmd" => health.command = Some(flag.value.clone()),
        "health-interval" => health.interval = Some(duration(&flag.value)?),
        "health-timeout" => health.timeout = Some(duration(&flag.value)?),
        "health-start-period" => health.start_period = Some(duration(&flag.value)?),
        "health-retries" => health.retries = Some(number(&flag.value)?),
        // How often it is asked at the start: what it says is the same.
        _ => {}
    }
    Ok(())
}

fn ulimit(flag: &Written, container: &mut ContainerOptions) -> Result<(), String> {
    let (name, limits) = flag.value.split_once('=').ok_or_else(|| "it is written NAME=SOFT[:HARD]".to_owned())?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    if ULIMITS.contains(&name) {
        container.ulimits.push(UlimitSpec { name: name.to_owned(), soft: number(soft)?, hard: number(hard)? });
    } else {
        privilege(flag, PrivilegeKind::Never("this limit is the operator's (`docker.ulimit`)"), container);
    }
    Ok(())
}

/// What is not a container's own affair, and what says nothing here.
fn other(name: &str, flag: &Written, container: &mut ContainerOptions) -> Result<(), String> {
    let value = &flag.value;
    let kind = match name {
        // Where input and output go, what becomes of it at its end, how it is logged: the sandbox decides, to the same end.
        "attach"
        | "interactive"
        | "tty"
        | "rm"
        | "detach"
        | "quiet"
        | "sig-proxy"
        | "restart"
        | "stop-timeout"
        | "expose"
        | "log-driver"
        | "log-opt"
        | "disable-content-trust"
        | "annotation"
        | "kernel-memory" => return Ok(()),
        "privileged" if !truth(value)? => return Ok(()),
        "oom-kill-disable" | "use-api-socket" if !truth(value)? => return Ok(()),
        "privileged" => PrivilegeKind::Privileged,
        "cap-add" => PrivilegeKind::Capability(value.clone()),
        "device" => PrivilegeKind::Device(value.clone()),
        "gpus" => PrivilegeKind::Gpus,
        "security-opt" => PrivilegeKind::SecurityOption(value.clone()),
        "network" | "net" | "ip" | "ip6" | "link" | "link-local-ip" | "mac-address" => {
            PrivilegeKind::Never("a job's containers stand in a network of their own; they are found by their names")
        }
        "publish-all" => PrivilegeKind::Never("name the ports under `ports`"),
        "name" | "cidfile" => PrivilegeKind::Never("the sandbox names its containers"),
        "env-file" | "label-file" | "volumes-from" | "volume-driver" => {
            PrivilegeKind::Never("nothing of the machine is handed over")
        }
        "pid" | "ipc" | "uts" | "userns" | "cgroupns" | "cgroup-parent" | "runtime" | "isolation" | "group-add" => {
            PrivilegeKind::Never("how containers are kept apart is the operator's decision (`[docker]`)")
        }
        _ => PrivilegeKind::Never("it is not a job's to decide here"),
    };
    privilege(flag, kind, container);
    Ok(())
}

fn privilege(flag: &Written, kind: PrivilegeKind, container: &mut ContainerOptions) {
    container.privileges.push(Privilege { words: flag.words(), kind });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_is_parted_as_a_shell_parts_it() {
        let read = options(
            r#"--health-cmd "pg_isready -U me" --health-interval=10s --health-retries 5 -e A=1 -eB='x y' -u 1000"#,
        );
        let read = read.unwrap();
        let health = read.container.health.unwrap();
        assert_eq!(health.command.as_deref(), Some("pg_isready -U me"));
        assert_eq!((health.interval, health.retries), (Some(Duration::from_secs(10)), Some(5)));
        assert_eq!(read.env, [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "x y".to_owned())]);
        assert_eq!(read.user.as_deref(), Some("1000"));
    }

    #[test]
    fn limits_names_and_folders_are_read() {
        let line = "--memory 1g --cpus 1.5 --hostname h --add-host db:10.0.0.1 --network-alias other --shm-size=256m \
                    --tmpfs /t:size=1m --ulimit nofile=1024:2048 --cap-drop ALL -w /x --init --read-only \
                    --security-opt no-new-privileges -v v:/d -p 8080:80 --cpu-shares 512 -it --rm";
        let read = options(line).unwrap();
        let container = read.container;
        assert_eq!((container.memory, container.nano_cpus), (Some(1 << 30), Some(1_500_000_000)));
        assert_eq!(container.shm_size, Some(256 << 20));
        assert_eq!(container.hosts, ["db:10.0.0.1"]);
        assert_eq!(container.tmpfs, [("/t".to_owned(), "size=1m".to_owned())]);
        assert_eq!((container.ulimits[0].soft, container.ulimits[0].hard), (1024, 2048));
        assert!(container.init && container.read_only && container.no_new_privileges);
        assert_eq!((read.aliases.len(), read.ports.len(), container.volumes.len()), (1, 1, 1));
        assert_eq!(container.privileges, []);
    }

    #[test]
    fn what_weakens_the_sandbox_is_a_demand() {
        let read =
            options("--privileged --device /dev/kvm --cap-add=NET_ADMIN --pid host --network host --gpus all").unwrap();
        let words: Vec<_> = read.container.privileges.iter().map(|privilege| privilege.words.as_str()).collect();
        assert_eq!(
            words,
            ["--privileged", "--device /dev/kvm", "--cap-add NET_ADMIN", "--pid host", "--network host", "--gpus all"]
        );
        assert_eq!(options("--privileged=false").unwrap(), Options::default());
    }

    #[test]
    fn what_the_engine_would_refuse_is_an_error() {
        for (line, word) in [
            ("--memery 1g", "--memory"),
            ("--health-cmd curl -f localhost", "-f"),
            ("--cpus", "needs a value"),
            ("--memory lots", "size"),
            ("--health-interval 10", "time"),
            ("word", "dash"),
            ("--env 'A=1", "quote"),
        ] {
            let error = options(line).unwrap_err();
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
