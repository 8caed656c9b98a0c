//! `[runners.docker]` of gitlab-runner (protocols/gitlab.md 11.3).

use toml_edit::{Array, ArrayOfTables, Item, Table, value};

use super::gitlab_runner::{Refusal, list};
use super::plan::Migrated;
use super::taken::Taken;
use crate::config::docker_values::{CpuCount, EngineAddress};
use crate::config::environment::is_secret_name;
use crate::config::units::ByteSize;

/// Their key and ours.
type Pair = (&'static str, &'static str);

const TEXTS: [Pair; 14] = [
    ("image", "image"),
    ("hostname", "hostname"),
    ("runtime", "runtime"),
    ("user", "user"),
    ("cpuset_cpus", "cpuset_cpus"),
    ("cpuset_mems", "cpuset_mems"),
    ("cgroup_parent", "cgroup_parent"),
    ("gpus", "gpus"),
    ("service_gpus", "service_gpus"),
    ("service_cpuset_cpus", "service_cpuset_cpus"),
    ("service_cgroup_parent", "service_cgroup_parent"),
    ("userns_mode", "userns"),
    ("pid_mode", "pid_mode"),
    ("ipcmode", "ipc_mode"),
];

const LISTS: [&str; 15] = [
    "allowed_users",
    "allowed_images",
    "allowed_services",
    "allowed_privileged_images",
    "allowed_privileged_services",
    "cap_add",
    "cap_drop",
    "security_opt",
    "services_security_opt",
    "group_add",
    "devices",
    "device_cgroup_rules",
    "dns",
    "dns_search",
    "extra_hosts",
];

const SIZES: [&str; 6] = [
    "memory",
    "memory_swap",
    "memory_reservation",
    "service_memory",
    "service_memory_swap",
    "service_memory_reservation",
];

/// Numbers whose zero means that nothing is said.
const NUMBERS: [Pair; 5] = [
    ("cpu_shares", "cpu_shares"),
    ("service_cpu_shares", "service_cpu_shares"),
    ("oom_score_adjust", "oom_score_adjust"),
    ("shm_size", "shm_size"),
    ("network_mtu", "mtu"),
];

const TABLES: [Pair; 5] = [
    ("sysctls", "sysctls"),
    ("ulimit", "ulimits"),
    ("tmpfs", "tmpfs"),
    ("services_tmpfs", "services_tmpfs"),
    ("container_labels", "container_labels"),
];

const LEFT: [(&str, &str); 17] = [
    ("tls_cert_path", "the engine is reached over its unix socket only"),
    ("tls_verify", "the engine is reached over its unix socket only"),
    ("helper_image", "there is no helper image: the agent does that work itself"),
    ("helper_image_flavor", "there is no helper image: the agent does that work itself"),
    ("helper_image_autoset_arch_and_os", "there is no helper image: the agent does that work itself"),
    ("cache_dir", "caches are kept by the agent, outside of jobs; `dir` in `[store]` moves them"),
    ("volume_driver", "not supported: make the volume with `docker volume create` and name it in `volumes`"),
    ("volume_driver_ops", "not supported: make the volume with `docker volume create` and name it in `volumes`"),
    ("volume_keep", "volumes that an image declares are removed with its container"),
    ("volumes_from", "not supported: name the volume or the folder in `volumes`"),
    ("links", "not supported: put the other container in a network and name that in `network_mode`"),
    ("mac_address", "not supported"),
    ("isolation", "it is for Windows"),
    ("oom_kill_disable", "not supported: a job out of memory would hang until its timeout"),
    ("log_options", "the output of jobs does not go through the engine's log"),
    ("services_devices", "not supported: services get no devices"),
    ("service_slot_cgroup_template", "not supported; `service_cgroup_parent` puts all services below one cgroup"),
];

/// Writes the `docker` table of a registration. `flags` are the feature flags that are on.
pub(super) fn convert(
    runner: &mut Taken,
    docker: toml::Table,
    flags: &[String],
    into: &mut Table,
) -> Result<(), Refusal> {
    let mut docker = Taken::new(docker, "docker");
    let mut table = Table::new();
    engine(&mut docker, &mut table)?;
    for (theirs, ours) in TEXTS {
        if let Some(text) = docker.text(theirs) {
            table.insert(ours, value(text));
        }
    }
    pull_policies(&mut docker, &mut table);
    for key in LISTS {
        if let Some(entries) = docker.list(key) {
            table.insert(key, list(entries));
        }
    }
    booleans(&mut docker, &mut table);
    limits(&mut docker, &mut table);
    volumes(&mut docker, &mut table);
    network(&mut docker, flags, &mut table);
    services(&mut docker, &mut table);
    for (theirs, ours) in TABLES {
        free_table(&mut docker, theirs, ours, &mut table);
    }
    docker.leave(&LEFT);
    for note in docker.into_notes() {
        runner.note(&note.key, note.reason);
    }
    into.insert("docker", Item::Table(table));
    Ok(())
}

fn engine(docker: &mut Taken, table: &mut Table) -> Result<(), Refusal> {
    let Some(host) = docker.text("host") else { return Ok(()) };
    match host.parse::<EngineAddress>() {
        Ok(_) => table.insert("host", value(host)),
        // Another engine in its place would run the jobs on another machine.
        Err(reason) => return Err(("docker.host", reason)),
    };
    Ok(())
}

/// Our defaults pull only what is missing; theirs always ask, and let jobs choose only among what is configured.
fn pull_policies(docker: &mut Taken, table: &mut Table) {
    let configured = docker.list("pull_policy").unwrap_or_else(|| vec!["always".to_owned()]);
    let allowed = docker.list("allowed_pull_policies").unwrap_or_else(|| configured.clone());
    table.insert("pull_policy", list(configured));
    table.insert("allowed_pull_policies", list(allowed));
}

fn booleans(docker: &mut Taken, table: &mut Table) {
    for (theirs, ours) in [
        ("privileged", "privileged"),
        ("disable_entrypoint_overwrite", "disable_entrypoint_overwrite"),
        ("enable_ipv6", "ipv6"),
    ] {
        if docker.flag(theirs) == Some(true) {
            table.insert(ours, value(true));
        }
    }
    // Said or not makes a difference here: unsaid, services follow `privileged`.
    if let Some(privileged) = docker.flag("services_privileged") {
        table.insert("services_privileged", value(privileged));
    }
}

fn limits(docker: &mut Taken, table: &mut Table) {
    for key in SIZES {
        match docker.text(key).map(|text| (engine_size(&text), text)) {
            None => {}
            Some((Some(size), _)) => {
                table.insert(key, value(size));
            }
            Some((None, text)) => docker.note(key, format!("`{text}` is no size")),
        }
    }
    for key in ["cpus", "service_cpus"] {
        match docker.text(key).map(|text| (text.parse::<CpuCount>(), text)) {
            None => {}
            Some((Ok(_), text)) => {
                table.insert(key, value(text.trim()));
            }
            Some((Err(reason), _)) => docker.note(key, reason),
        }
    }
    for (theirs, ours) in NUMBERS {
        if let Some(number) = docker.number(theirs).filter(|number| *number != 0) {
            table.insert(ours, value(number));
        }
    }
    // They have no limit, ours do.
    for key in ["pids_limit", "service_pids_limit"] {
        table.insert(key, value(0));
    }
}

/// A size in the engine's own notation, where `m`, `mb` and `mib` are all 1024 * 1024; ours for it.
fn engine_size(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    if text == "-1" {
        return Some("unlimited".to_owned());
    }
    let number_and_letter = text.strip_suffix("ib").or_else(|| text.strip_suffix('b')).unwrap_or(&text);
    number_and_letter.trim().parse::<ByteSize>().ok().map(|size| size.to_string())
}

fn volumes(docker: &mut Taken, table: &mut Table) {
    let no_cache = docker.flag("disable_cache") == Some(true);
    let mut volumes = docker.list("volumes").unwrap_or_default();
    if no_cache {
        let before = volumes.len();
        // Without it, these live as long as the job, and so does the container's own folder.
        volumes.retain(|volume| volume.contains(':'));
        if volumes.len() < before {
            docker.note(
                "disable_cache",
                "volumes that name no folder of the machine were left out: they live as long as the job anyway",
            );
        }
    }
    if !volumes.is_empty() {
        table.insert("volumes", list(volumes));
    }
}

/// Unless told otherwise they use the engine's default bridge, shared by all jobs, with ping allowed in it.
fn network(docker: &mut Taken, flags: &[String], table: &mut Table) {
    let configured = docker.text("network_mode");
    let own_network = flags.iter().any(|flag| flag == "FF_NETWORK_PER_BUILD");
    let mode = match configured.as_deref() {
        None if own_network => return,
        None | Some("default" | "bridge") => "bridge",
        Some(other) => other,
    };
    table.insert("network_mode", value(mode));
    if matches!(mode, "bridge" | "host") {
        let added = table.entry("cap_add").or_insert_with(|| value(Array::new()));
        if let Some(added) = added.as_array_mut()
            && !added.iter().any(|capability| capability.as_str().is_some_and(is_net_raw_or_all))
        {
            added.push("NET_RAW");
        }
    }
}

fn is_net_raw_or_all(capability: &str) -> bool {
    let upper = capability.to_ascii_uppercase();
    matches!(upper.as_str(), "NET_RAW" | "CAP_NET_RAW" | "ALL")
}

fn services(docker: &mut Taken, table: &mut Table) {
    // Negative: no limit.
    if let Some(limit) = docker.number("services_limit").filter(|limit| *limit >= 0) {
        table.insert("services_limit", value(limit));
    }
    match docker.number("wait_for_services_timeout") {
        None | Some(0) => {}
        Some(seconds) => {
            table.insert("wait_for_services_timeout", value(format!("{}s", seconds.max(0))));
        }
    }
    let mut ours = ArrayOfTables::new();
    for (index, service) in docker.tables("services").into_iter().enumerate() {
        let mut service = Taken::new(service, &format!("services[{index}]"));
        let Some(name) = service.text("name") else {
            docker.note(&format!("services[{index}]"), "it names no image");
            continue;
        };
        let mut entry = Table::new();
        entry.insert("name", value(name));
        if let Some(alias) = service.text("alias") {
            let names = alias.split([',', ' ']).filter(|name| !name.is_empty()).map(str::to_owned);
            entry.insert("alias", list(names.collect()));
        }
        for key in ["command", "entrypoint", "environment"] {
            if let Some(entries) = service.list(key) {
                entry.insert(key, list(entries));
            }
        }
        ours.push(entry);
        for note in service.into_notes() {
            docker.note(&note.key, note.reason);
        }
    }
    if !ours.is_empty() {
        table.insert("services", Item::ArrayOfTables(ours));
    }
}

fn free_table(docker: &mut Taken, theirs: &str, ours: &str, table: &mut Table) {
    let mut entries = Table::new();
    for (key, entry) in docker.table(theirs).into_iter().flatten() {
        match entry {
            toml::Value::String(text) => entries.insert(&key, value(text)),
            toml::Value::Integer(number) => entries.insert(&key, value(number.to_string())),
            _ => {
                docker.note(&format!("{theirs}.{key}"), "not readable: expected a text");
                None
            }
        };
    }
    if !entries.is_empty() {
        table.insert(ours, Item::Table(entries));
    }
}

/// What would be safer than what was kept, each said once.
pub(super) fn safer_settings(registrations: &[Migrated]) -> Vec<String> {
    let docker = |found: &Migrated| found.table.get("docker").and_then(Item::as_table).cloned();
    let tables: Vec<Table> = registrations.iter().filter_map(docker).collect();
    let any = |test: fn(&Table) -> bool| tables.iter().any(test);
    let mut safer = Vec::new();
    let mut say = |due: bool, text: &str| {
        if due {
            safer.push(text.to_owned());
        }
    };
    say(
        any(|_| true),
        "remove `pids_limit = 0` and `service_pids_limit = 0`: a job that forks without end is stopped before it takes the machine",
    );
    say(
        any(|table| holds(table, "pull_policy", "always")),
        "remove `pull_policy` and `allowed_pull_policies`: images on the machine are used without asking the registry, and private ones only for projects whose credentials the registry accepts",
    );
    say(
        any(|table| is_text(table, "network_mode", "bridge")),
        "remove `network_mode = \"bridge\"`, and NET_RAW from `cap_add`: each job gets a network of its own and cannot reach the containers of others",
    );
    say(
        any(|table| is_text(table, "network_mode", "host")),
        "remove `network_mode = \"host\"`: jobs reach every port of the machine through it",
    );
    say(
        any(|table| is_true(table, "privileged") && !table.contains_key("allowed_privileged_images")),
        "name the images that need it in `allowed_privileged_images`: a privileged job is root on the machine",
    );
    say(any(mounts_engine), "do not mount the engine's socket into jobs: who has it is root on the machine");
    say(any(|_| true), "set `hardening = \"strict\"` where jobs need no sudo and no ping");
    let has_secrets = registrations.iter().any(|found| names_secret(&found.table));
    say(
        has_secrets,
        "move secrets out of `environment` into the forge's CI variables, where they are masked; until then keep \
         forgehand.toml at mode 0600",
    );
    say(
        any(|table| !table.contains_key("memory")),
        "set `memory` and `cpus`: one job then cannot take the machine from the others",
    );
    safer
}

fn is_text(table: &Table, key: &str, text: &str) -> bool {
    table.get(key).and_then(Item::as_str) == Some(text)
}

fn is_true(table: &Table, key: &str) -> bool {
    table.get(key).and_then(Item::as_bool) == Some(true)
}

fn holds(table: &Table, key: &str, text: &str) -> bool {
    let entries = table.get(key).and_then(Item::as_array);
    entries.is_some_and(|entries| entries.iter().any(|entry| entry.as_str() == Some(text)))
}

fn names_secret(registration: &Table) -> bool {
    let entries = registration.get("environment").and_then(Item::as_array);
    let has_secret_name = |entry: &str| entry.split('=').next().is_some_and(is_secret_name);
    entries.is_some_and(|entries| entries.iter().any(|entry| entry.as_str().is_some_and(has_secret_name)))
}

fn mounts_engine(table: &Table) -> bool {
    let volumes = table.get("volumes").and_then(Item::as_array);
    volumes
        .is_some_and(|volumes| volumes.iter().any(|volume| volume.as_str().is_some_and(|v| v.contains("docker.sock"))))
}
