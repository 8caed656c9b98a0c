//! What a job asks of its container, laid over what the operator decided: of two limits the smaller counts, and what would
//! weaken the sandbox holds only where the operator gave it to all jobs.

use bollard::models::{ContainerCreateBody, HealthConfig, HostConfig, ResourcesUlimits};

use super::Role;
use super::{isolation, mounts};
use crate::executor::sandbox::docker::labels::Labels;
use crate::executor::sandbox::docker::settings::{DockerSettings, Limits};
use crate::pipeline::definition::{ContainerOptions, HealthSpec, Privilege, PrivilegeKind, UlimitSpec, VolumeSource};

/// What Docker gives a container when nobody says more: asking for it asks for nothing.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Weight of a container that asks for none.
const USUAL_SHARES: i64 = 1024;

/// Lays `options` over the body of a `create` call.
pub(super) fn apply(body: &mut ContainerCreateBody, options: &ContainerOptions, settings: &DockerSettings, role: Role) {
    if let Some(hostname) = &options.hostname
        && body.hostname.is_some()
    {
        body.hostname = Some(hostname.clone());
    } else if role == Role::Service && options.hostname.is_some() {
        body.hostname.clone_from(&options.hostname);
    }
    body.domainname.clone_from(&options.domain);
    if options.working_dir.is_some() {
        body.working_dir.clone_from(&options.working_dir);
    }
    body.stop_signal.clone_from(&options.stop_signal);
    body.healthcheck = options.health.as_ref().map(health);
    add_labels(body.labels.get_or_insert_default(), &options.labels);
    let limits = match role {
        Role::Job => &settings.limits,
        Role::Service => &settings.service_limits,
    };
    let host = body.host_config.get_or_insert_default();
    limit(host, options, limits);
    if !options.cap_drop.is_empty() && host.privileged != Some(true) {
        let drop = options.cap_drop.iter().map(|name| isolation::normalised(name));
        host.cap_drop.get_or_insert_default().extend(drop);
    }
    if options.no_new_privileges {
        let listed = host.security_opt.get_or_insert_default();
        if !listed.iter().any(|option| option.starts_with("no-new-privileges")) {
            listed.push("no-new-privileges:true".to_owned());
        }
    }
    if options.read_only {
        host.readonly_rootfs = Some(true);
    }
    if options.init {
        host.init = Some(true);
    }
    // A container that shares another's network has its names, too; the engine refuses more.
    if !host.network_mode.as_deref().unwrap_or_default().starts_with("container:") {
        extend(&mut host.extra_hosts, &options.hosts);
        extend(&mut host.dns, &options.dns);
        extend(&mut host.dns_search, &options.dns_search);
    }
    if !options.tmpfs.is_empty() {
        host.tmpfs.get_or_insert_default().extend(options.tmpfs.iter().cloned());
    }
}

fn limit(host: &mut HostConfig, options: &ContainerOptions, limits: &Limits) {
    let smaller = |of_operator: Option<i64>, of_job: Option<i64>| match (of_operator.filter(|limit| *limit > 0), of_job)
    {
        (Some(operator), Some(job)) => Some(operator.min(job)),
        (operator, job) => operator.or(job),
    };
    host.memory = smaller(limits.memory, options.memory);
    host.nano_cpus = smaller(limits.nano_cpus, options.nano_cpus);
    host.pids_limit = smaller(Some(limits.pids), options.pids).or(host.pids_limit);
    host.cpu_shares =
        options.cpu_shares.map(|shares| shares.min(limits.cpu_shares.unwrap_or(USUAL_SHARES))).or(limits.cpu_shares);
    host.memory_reservation = options.memory_reservation.or(limits.memory_reservation);
    if limits.memory_swap.is_none() && limits.memory.is_none() {
        // The operator's own limit of memory comes with what the engine makes of swap.
        host.memory_swap = options.memory_swap;
    }
    if limits.cpuset_cpus.is_none() {
        host.cpuset_cpus.clone_from(&options.cpuset);
    }
    host.shm_size = options.shm_size.or(limits.shm_size);
    for wanted in &options.ulimits {
        add_ulimit(host.ulimits.get_or_insert_default(), wanted);
    }
}

/// A limit that the operator set can only be made smaller.
fn add_ulimit(limits: &mut Vec<ResourcesUlimits>, wanted: &UlimitSpec) {
    let below = |limit: i64, of_operator: Option<i64>| match of_operator.filter(|most| *most >= 0) {
        Some(most) if limit < 0 || limit > most => most,
        _ => limit,
    };
    match limits.iter_mut().find(|limit| limit.name.as_deref() == Some(&wanted.name)) {
        Some(limit) => {
            limit.soft = Some(below(wanted.soft, limit.hard));
            limit.hard = Some(below(wanted.hard, limit.hard));
        }
        None => limits.push(ResourcesUlimits {
            name: Some(wanted.name.clone()),
            soft: Some(wanted.soft),
            hard: Some(wanted.hard),
        }),
    }
}

fn health(spec: &HealthSpec) -> HealthConfig {
    let nanos = |time: Option<std::time::Duration>| time.and_then(|time| i64::try_from(time.as_nanos()).ok());
    let test = match &spec.command {
        _ if spec.disabled => Some(vec!["NONE".to_owned()]),
        Some(command) => Some(vec!["CMD-SHELL".to_owned(), command.clone()]),
        None => None,
    };
    HealthConfig {
        test,
        interval: nanos(spec.interval),
        timeout: nanos(spec.timeout),
        retries: spec.retries,
        start_period: nanos(spec.start_period),
        ..HealthConfig::default()
    }
}

/// By the sandbox's own labels its containers are found again: a job cannot take their place.
fn add_labels(labels: &mut Labels, more: &[(String, String)]) {
    for (key, value) in more.iter().filter(|(key, _)| !key.starts_with("forgehand.")) {
        labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

fn extend(list: &mut Option<Vec<String>>, more: &[String]) {
    if !more.is_empty() {
        list.get_or_insert_default().extend(more.iter().cloned());
    }
}

/// Each privilege that does not hold here, as it was written, and why not: with the setting that would make it hold.
pub fn refused(
    options: &ContainerOptions,
    settings: &DockerSettings,
    role: Role,
    image_name: &str,
) -> Vec<(String, String)> {
    let refused = options.privileges.iter().filter_map(|privilege| {
        refusal(privilege, settings, role, image_name).map(|why| (privilege.words.clone(), why))
    });
    let machine = options.volumes.iter().filter_map(|volume| match &volume.source {
        VolumeSource::Machine(path) if !mounts::is_of_operator(settings, path) => {
            let words = "a folder of the machine is mounted only where the operator mounts it (`docker.volumes`)";
            Some((format!("{path}:{}", volume.target), words.to_owned()))
        }
        _ => None,
    });
    refused.chain(machine).collect()
}

fn refusal(privilege: &Privilege, settings: &DockerSettings, role: Role, image_name: &str) -> Option<String> {
    let privileged = isolation::is_privileged(settings, role, image_name);
    match &privilege.kind {
        PrivilegeKind::Never(why) => Some((*why).to_owned()),
        // Whoever has all rights lacks none of these.
        PrivilegeKind::Privileged | PrivilegeKind::Capability(_) if privileged => None,
        PrivilegeKind::Privileged => Some("only the operator gives it (`docker.privileged`)".to_owned()),
        PrivilegeKind::Capability(name) => {
            let name = isolation::normalised(name);
            let capabilities = isolation::capabilities(settings, privileged);
            let has = |list: &[String]| list.iter().any(|listed| *listed == name || listed == "ALL");
            let is_there =
                has(&capabilities.add) || (DEFAULT_CAPABILITIES.contains(&name.as_str()) && !has(&capabilities.drop));
            (!is_there).then(|| "only the operator gives it (`docker.cap_add`)".to_owned())
        }
        PrivilegeKind::Device(device) => {
            let given = isolation::devices(settings, role, image_name).unwrap_or_default();
            let host = device.split(':').next().unwrap_or_default();
            let is_there = given.iter().any(|device| device.path_on_host.as_deref() == Some(host));
            (!is_there).then(|| "only the operator gives it (`docker.devices`)".to_owned())
        }
        PrivilegeKind::Gpus => {
            let given = match role {
                Role::Job => &settings.gpus,
                Role::Service => &settings.service_gpus,
            };
            given.is_none().then(|| "only the operator gives them (`docker.gpus`)".to_owned())
        }
        PrivilegeKind::SecurityOption(option) => {
            let given = match role {
                Role::Job => &settings.security_opt,
                Role::Service => &settings.services_security_opt,
            };
            (!given.contains(option)).then(|| "only the operator decides it (`docker.security_opt`)".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid_over(options: ContainerOptions, settings: &DockerSettings) -> HostConfig {
        let host_config = super::super::limits::host_config(&settings.limits);
        let mut body = ContainerCreateBody { host_config: Some(host_config), ..ContainerCreateBody::default() };
        apply(&mut body, &options, settings, Role::Job);
        body.host_config.unwrap()
    }

    #[test]
    fn of_two_limits_the_smaller_counts() {
        let limits = Limits { memory: Some(1000), pids: 50, ..Limits::default() };
        let settings = DockerSettings { limits, ..DockerSettings::default() };
        let options = ContainerOptions {
            memory: Some(2000),
            memory_swap: Some(-1),
            pids: Some(20),
            nano_cpus: Some(5),
            cpu_shares: Some(100_000),
            ..ContainerOptions::default()
        };
        let host = laid_over(options, &settings);
        assert_eq!((host.memory, host.pids_limit, host.nano_cpus), (Some(1000), Some(20), Some(5)));
        assert_eq!(
            (host.memory_swap, host.cpu_shares),
            (None, Some(1024)),
            "neither swap nor weight beyond the operator's"
        );
        let unlimited = laid_over(ContainerOptions::default(), &settings);
        assert_eq!((unlimited.memory, unlimited.pids_limit), (Some(1000), Some(50)));
    }

    #[test]
    fn a_limit_of_processes_is_only_made_smaller() {
        let ulimits = vec![crate::executor::sandbox::docker::Ulimit { name: "nofile".into(), soft: 10, hard: 20 }];
        let settings = DockerSettings { limits: Limits { ulimits, ..Limits::default() }, ..DockerSettings::default() };
        let wanted = |soft, hard| UlimitSpec { name: "nofile".into(), soft, hard };
        for (spec, is) in [(wanted(5, 15), (5, 15)), (wanted(-1, 1000), (20, 20))] {
            let options = ContainerOptions { ulimits: vec![spec], ..ContainerOptions::default() };
            let limits = laid_over(options, &settings).ulimits.unwrap();
            assert_eq!((limits[0].soft, limits[0].hard), (Some(is.0), Some(is.1)));
        }
    }

    #[test]
    fn a_demand_holds_where_the_operator_gave_it() {
        let privilege = |kind| ContainerOptions {
            privileges: vec![Privilege { words: "--it".into(), kind }],
            ..ContainerOptions::default()
        };
        let given = DockerSettings {
            cap_add: vec!["net_admin".into()],
            devices: vec!["/dev/kvm".into()],
            privileged: true,
            allowed_privileged_images: vec!["builder:*".into()],
            ..DockerSettings::default()
        };
        for (kind, image, holds) in [
            (PrivilegeKind::Privileged, "builder:1", true),
            (PrivilegeKind::Privileged, "other:1", false),
            (PrivilegeKind::Capability("CAP_NET_ADMIN".into()), "other:1", true),
            (PrivilegeKind::Capability("SYS_ADMIN".into()), "other:1", false),
            (PrivilegeKind::Capability("CHOWN".into()), "other:1", true),
            (PrivilegeKind::Device("/dev/kvm:/dev/kvm".into()), "other:1", true),
            (PrivilegeKind::Device("/dev/sda".into()), "other:1", false),
            (PrivilegeKind::Gpus, "other:1", false),
        ] {
            let refused = refused(&privilege(kind.clone()), &given, Role::Job, image);
            assert_eq!(refused.is_empty(), holds, "{kind:?} {image}: {refused:?}");
        }
    }
}
