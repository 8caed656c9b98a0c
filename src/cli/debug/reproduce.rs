//! A failed step as a command that runs it again.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::executor::evidence::{
    ContainerEvidence, EnvEntry, EnvKind, Evidence, LAUNCHER, MountEvidence, MountRole, SCRIPT, StepEvidence,
    fits_a_line,
};
use crate::executor::script::{is_shell_name, quote};

/// A network mode that every engine has.
const USUAL_NETWORKS: [&str; 4] = ["none", "host", "bridge", "default"];

/// How to run a step again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reproduction {
    /// Commands to run before, each in a line.
    pub prepare: Vec<String>,
    /// One line for a shell: the step, again.
    pub command: String,
    /// The same place with a shell in it.
    pub shell: Option<String>,
    /// Where it differs from the job.
    pub notes: Vec<String>,
    /// Variables that are secrets: they are taken from the environment of the command.
    pub secrets: Vec<String>,
}

/// Where things lie that a command needs.
pub struct Files<'a> {
    /// The launcher of the step.
    pub launcher: &'a Path,
    /// Its script.
    pub script: &'a Path,
    /// The checkout, of a local run.
    pub checkout: Option<&'a Path>,
    /// A short name for this job, for what has to be made.
    pub name: &'a str,
}

/// How to run the step that failed again. `None`: there is none, or what it ran is not known.
pub fn of(evidence: &Evidence, files: &Files<'_>) -> Option<Reproduction> {
    let step = evidence.step.as_ref().filter(|step| step.has_files)?;
    let mut made = Reproduction::default();
    note_differences(evidence, step, files, &mut made);
    match &evidence.container {
        Some(container) => in_container(evidence, container, step, files, &mut made),
        None if evidence.executor == "host" => on_machine(step, files, &mut made),
        None => return None,
    }
    Some(made)
}

fn note_differences(evidence: &Evidence, step: &StepEvidence, files: &Files<'_>, made: &mut Reproduction) {
    let named = |kind| -> Vec<&str> {
        step.env.iter().filter(|entry| entry.kind == kind).map(|entry| entry.name.as_str()).collect()
    };
    made.secrets = named(EnvKind::Secret).into_iter().map(str::to_owned).collect();
    if step.script_is_masked {
        made.notes.push(format!("secrets in the script are masked: put them into {}", files.script.display()));
    }
    if step.script_is_cut {
        made.notes.push("the script was too long to be kept whole".to_owned());
    }
    let (of_file, long) = (named(EnvKind::File), named(EnvKind::Long));
    if !of_file.is_empty() {
        made.notes.push(format!("file variables are paths to files that are not there: {}", of_file.join(", ")));
    }
    if !long.is_empty() {
        made.notes.push(format!("too long to be kept, and not set: {}", long.join(", ")));
    }
    if files.checkout.is_none() {
        made.notes.push(
            "the work tree is as the job, or a later one in its place, left it; what earlier steps made outside of it is \
             not there"
                .to_owned(),
        );
    } else if evidence.executor != "host" {
        made.notes.push(
            "what earlier steps of the job made is not there: the work tree is a copy of the checkout".to_owned(),
        );
    }
}

fn in_container(
    evidence: &Evidence,
    container: &ContainerEvidence,
    step: &StepEvidence,
    files: &Files<'_>,
    made: &mut Reproduction,
) {
    let mut words: Vec<String> = vec!["--rm".into()];
    network(evidence, container, files, made, &mut words);
    user_and_rights(container, made, &mut words);
    limits(container, &mut words);
    work_tree(evidence, container, files, made, &mut words);
    mounts(container, &mut words);
    words.extend(bind(&files.launcher.to_string_lossy(), LAUNCHER, true));
    words.extend(bind(&files.script.to_string_lossy(), SCRIPT, true));
    words.extend(["-w".into(), word(&step.cwd)]);
    words.extend(environment(&step.env));
    let (entrypoint, first) = entrypoint(container);
    words.extend(entrypoint);
    words.push(word(image_of(container)));
    words.extend(first);
    let before = words.join(" ");
    made.command = format!("docker run {before} {LAUNCHER}");
    made.shell = Some(format!("docker run -it {before} /bin/sh"));
}

fn on_machine(step: &StepEvidence, files: &Files<'_>, made: &mut Reproduction) {
    let folder = files.checkout.map_or(step.cwd.as_str().into(), Path::to_string_lossy);
    let pairs = step.env.iter().filter(|entry| is_shell_name(&entry.name));
    let pairs = pairs.filter_map(|entry| Some((entry, entry.value.as_deref().filter(|value| fits_a_line(value))?)));
    let env: Vec<String> = pairs.map(|(entry, value)| format!("{}={}", entry.name, word(value))).collect();
    made.command = format!(
        "cd {} && env FORGEHAND_SCRIPT={} {} /bin/sh {}",
        word(&folder),
        word(&files.script.to_string_lossy()),
        env.join(" "),
        word(&files.launcher.to_string_lossy())
    );
    if files.checkout.is_some() {
        made.notes.push("it runs in the checkout itself, as a process of this machine".to_owned());
    }
}

/// The image as it was: what a name means may have changed since.
fn image_of(container: &ContainerEvidence) -> &str {
    container.image_digest.as_deref().unwrap_or(&container.image_id)
}

/// `--entrypoint` where the job has one of its own, and the words of it that stand behind the image.
fn entrypoint(container: &ContainerEvidence) -> (Vec<String>, Vec<String>) {
    if container.entrypoint == container.image_entrypoint {
        return (Vec::new(), Vec::new());
    }
    let words: Vec<&String> = container.entrypoint.iter().filter(|word| !word.is_empty()).collect();
    let first = words.first().map_or("", |first| first.as_str());
    (vec!["--entrypoint".into(), quote(first)], words.iter().skip(1).map(|rest| word(rest)).collect())
}

fn network(
    evidence: &Evidence,
    container: &ContainerEvidence,
    files: &Files<'_>,
    made: &mut Reproduction,
    words: &mut Vec<String>,
) {
    let mode = container.network_mode.as_str();
    if evidence.services.is_empty() || matches!(mode, "none" | "host") {
        // The job's own network is gone; the engine's usual one reaches the same hosts, and takes no names.
        if USUAL_NETWORKS.contains(&mode) {
            words.extend(["--network".into(), word(mode)]);
        }
    } else {
        let network = format!("forgehand-debug-{}", files.name);
        made.prepare.push(format!("docker network create {}", word(&network)));
        made.prepare.extend(evidence.services.iter().map(|service| service_line(service, &network)));
        words.extend(["--network".into(), word(&network)]);
        let own = container.networks.iter().flat_map(|network| &network.aliases);
        // The engine gives each container its short id as a name.
        for alias in own.filter(|alias| !container.id.starts_with(alias.as_str())) {
            words.extend(["--network-alias".into(), word(alias)]);
        }
        made.notes.push(format!(
            "when you are done: docker rm -f -v $(docker ps -aq --filter {}) && docker network rm {}",
            word(&format!("network={network}")),
            word(&network)
        ));
    }
    if !container.hostname.is_empty() && mode != "host" && !mode.starts_with("container:") {
        words.extend(["--hostname".into(), word(&container.hostname)]);
    }
    for host in &container.extra_hosts {
        words.extend(["--add-host".into(), word(host)]);
    }
    for server in &container.dns {
        words.extend(["--dns".into(), word(server)]);
    }
}

fn service_line(service: &ContainerEvidence, network: &str) -> String {
    let mut words: Vec<String> = vec!["docker run -d --network".into(), word(network)];
    for alias in &service.service {
        words.extend(["--network-alias".into(), word(alias)]);
    }
    let mut nothing = Reproduction::default();
    user_and_rights(service, &mut nothing, &mut words);
    limits(service, &mut words);
    words.extend(environment(&service.env));
    let (entrypoint, first) = entrypoint(service);
    words.extend(entrypoint);
    words.push(word(image_of(service)));
    words.extend(first);
    words.extend(service.command.iter().map(|part| word(part)));
    words.join(" ")
}

fn user_and_rights(container: &ContainerEvidence, made: &mut Reproduction, words: &mut Vec<String>) {
    let rights = &container.rights;
    let mut pair = |option: &str, value: &str| words.extend([option.to_owned(), word(value)]);
    if !container.user.is_empty() {
        pair("--user", &container.user);
    }
    rights.cap_add.iter().for_each(|capability| pair("--cap-add", capability));
    rights.cap_drop.iter().for_each(|capability| pair("--cap-drop", capability));
    for option in &rights.security_opt {
        match option.contains("=(") {
            true => made.notes.push(format!("without {option}")),
            false => pair("--security-opt", option),
        }
    }
    rights.devices.iter().for_each(|device| pair("--device", device));
    rights.group_add.iter().for_each(|group| pair("--group-add", group));
    rights.sysctls.iter().for_each(|(name, value)| pair("--sysctl", &format!("{name}={value}")));
    if let Some(runtime) = &rights.runtime {
        pair("--runtime", runtime);
    }
    if let Some(mode) = &rights.userns_mode {
        pair("--userns", mode);
    }
    if rights.privileged {
        words.push("--privileged".into());
    }
    if rights.init {
        words.push("--init".into());
    }
}

fn limits(container: &ContainerEvidence, words: &mut Vec<String>) {
    let limits = &container.limits;
    let mut pair = |option: &str, value: Option<String>| {
        if let Some(value) = value {
            words.extend([option.to_owned(), word(&value)]);
        }
    };
    pair("--memory", limits.memory.map(|bytes| bytes.to_string()));
    pair("--memory-swap", limits.memory_swap.map(|bytes| bytes.to_string()));
    pair("--cpus", limits.nano_cpus.map(|nano| format!("{}", nano as f64 / 1e9)));
    pair("--cpu-shares", limits.cpu_shares.map(|shares| shares.to_string()));
    pair("--cpuset-cpus", limits.cpuset_cpus.clone());
    pair("--pids-limit", limits.pids.map(|pids| pids.to_string()));
    // What is the engine's own need not be said.
    pair("--shm-size", limits.shm_size.filter(|bytes| *bytes != 64 << 20).map(|bytes| bytes.to_string()));
    limits.ulimits.iter().for_each(|limit| pair("--ulimit", Some(limit.clone())));
}

/// The work tree: of a local run a copy of the checkout, as its own is gone.
fn work_tree(
    evidence: &Evidence,
    container: &ContainerEvidence,
    files: &Files<'_>,
    made: &mut Reproduction,
    words: &mut Vec<String>,
) {
    let places = &evidence.places;
    match files.checkout {
        Some(checkout) => {
            let from = PathBuf::from(checkout).join(".");
            made.prepare.push(format!(
                "tree=$(mktemp -d) && cp -a {} \"$tree\" && chmod 777 \"$tree\"",
                quote(&from.to_string_lossy())
            ));
            let (checkout, target) = (checkout.to_string_lossy(), word(&places.project));
            // `tree` is a path without blanks, and quotes within the braces hold. A checkout with a colon in its path cannot
            // stand in its place.
            let source = match checkout.contains(':') {
                true => "\"${tree:?run the command before it}\"".to_owned(),
                false => {
                    let words = "without the first command the checkout itself is mounted, and the step writes there";
                    made.notes.push(words.into());
                    format!("${{tree:-{}}}", quote(&checkout))
                }
            };
            words.extend(["-v".into(), format!("{source}:{target}")]);
        }
        None => {
            let source = container.mounts.iter().find(|mount| mount.role == MountRole::Workspace);
            let source = source.map_or_else(|| places.workspace.to_string_lossy().into_owned(), |m| m.source.clone());
            words.extend(bind(&source, &places.builds, false));
        }
    }
}

fn mounts(container: &ContainerEvidence, words: &mut Vec<String>) {
    for mount in container.mounts.iter().filter(|mount| mount.role == MountRole::Other) {
        // A volume without a name is the image's own: it comes by itself.
        let is_anonymous =
            mount.kind == "volume" && mount.source.len() == 64 && mount.source.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_anonymous && !mount.source.is_empty() {
            words.extend(["--mount".into(), word(&mount_option(mount))]);
        }
    }
    for (folder, options) in &container.tmpfs {
        let options = if options.is_empty() { String::new() } else { format!(":{options}") };
        words.extend(["--tmpfs".into(), word(&format!("{folder}{options}"))]);
    }
}

/// A folder or file of the machine. The short form parts its words at colons, so that a path with one needs the long form.
fn bind(source: &str, target: &str, read_only: bool) -> [String; 2] {
    if source.contains(':') {
        let mount = MountEvidence {
            kind: "bind".into(),
            source: source.to_owned(),
            target: target.to_owned(),
            read_only,
            ..MountEvidence::default()
        };
        return ["--mount".into(), word(&mount_option(&mount))];
    }
    let mode = if read_only { ":ro" } else { "" };
    ["-v".into(), format!("{}:{}{mode}", word(source), word(target))]
}

fn mount_option(mount: &MountEvidence) -> String {
    let field = |name: &str, value: &str| match value.contains(['"', ',']) {
        true => format!("\"{name}={}\"", value.replace('"', "\"\"")),
        false => format!("{name}={value}"),
    };
    let read_only = if mount.read_only { ",readonly" } else { "" };
    let (source, target) = (field("source", &mount.source), field("target", &mount.target));
    format!("type={},{source},{target}{read_only}", mount.kind)
}

/// Values of plain variables; of secrets the name alone. What does not fit a line is set by the launcher.
fn environment(env: &[EnvEntry]) -> Vec<String> {
    let is_name = |entry: &&EnvEntry| !entry.name.is_empty() && !entry.name.contains(['=', '\0', '\n']);
    let option = |entry: &EnvEntry| match (&entry.value, entry.kind) {
        (Some(value), _) if fits_a_line(value) => Some(word(&format!("{}={value}", entry.name))),
        (None, EnvKind::Secret) => Some(word(&entry.name)),
        _ => None,
    };
    env.iter().filter(is_name).filter_map(option).flat_map(|option| ["-e".to_owned(), option]).collect()
}

/// `text` as one word of a shell, without quotes where none are needed.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@%+,=".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => quote(text),
    }
}

#[cfg(test)]
#[path = "reproduce_tests.rs"]
mod tests;
