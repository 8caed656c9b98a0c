//! Values that are each possible and together are not.

use globset::Glob;

use super::agent::AgentConfig;
use super::docker::{DockerConfig, Limits};
use super::docker_values::MemorySwap;
use super::error::Step;
use super::registration::{ForgeKind, RegistrationConfig};
use super::remote::RemoteConfig;
use super::store::StoreConfig;
use super::units::ByteSize;
use crate::artifact::retention::Policies;

/// The least memory that engines give a container.
const MIN_MEMORY: ByteSize = ByteSize::mib(6);

/// One contradiction: at which key, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The key.
    pub path: Vec<Step>,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Everything that contradicts itself.
pub fn check(agent: &AgentConfig, defaults: &RegistrationConfig, all: &[RegistrationConfig]) -> Vec<Finding> {
    let mut checker = Checker { prefix: Vec::new(), findings: Vec::new() };
    if agent.concurrent == 0 {
        checker.note(&["concurrent"], "at least one job must be allowed to run");
    }
    checker.store(&agent.store);
    checker.shared(defaults);
    for (index, registration) in all.iter().enumerate() {
        checker.prefix = vec!["registration".into(), Step::Index(index)];
        checker.own(registration, &all[..index]);
        checker.shared(registration);
    }
    checker.findings
}

struct Checker {
    prefix: Vec<Step>,
    findings: Vec<Finding>,
}

impl Checker {
    fn note(&mut self, keys: &[&str], message: impl Into<String>) {
        let mut path = self.prefix.clone();
        path.extend(keys.iter().map(|key| Step::from(*key)));
        self.findings.push(Finding { path, message: message.into() });
    }

    fn store(&mut self, store: &StoreConfig) {
        if store.dir.as_ref().is_some_and(|dir| !dir.is_absolute()) {
            self.note(&["store", "dir"], "write an absolute path");
        }
        if store.key_file.as_ref().is_some_and(|file| !file.is_absolute()) {
            self.note(&["store", "key_file"], "write an absolute path");
        }
        if store.max_deletions == 0 {
            self.note(&["store", "max_deletions"], "at least one deletion a cycle must be allowed");
        }
        if let Err(error) = Policies::new(store.retention.clone()) {
            self.note(&["store", "retention"], error.to_string());
        }
        for (key, why) in store.remote.iter().flat_map(RemoteConfig::findings) {
            self.note(&["store", "remote", key], why);
        }
    }

    /// What only a registration's own table says.
    fn own(&mut self, registration: &RegistrationConfig, earlier: &[RegistrationConfig]) {
        let name = &registration.name;
        if name.trim().is_empty() || name.chars().count() > 255 || name.chars().any(char::is_control) {
            self.note(&["name"], "a name has 1 to 255 characters, none of them a control character");
        }
        if earlier.iter().any(|other| other.name == *name) {
            self.note(&["name"], format!("another registration is called `{name}`: tokens are kept by name"));
        }
        for (key, url) in [("url", Some(&registration.url)), ("clone_url", registration.clone_url.as_ref())] {
            let Some(url) = url else { continue };
            if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
                self.note(&[key], "write an http or https URL with a host");
            }
            if !url.username().is_empty() || url.password().is_some() {
                self.note(&[key], "a URL here holds no user name or password");
            }
        }
    }

    /// What the top level may say, too.
    fn shared(&mut self, registration: &RegistrationConfig) {
        if registration.request_concurrency == 0 {
            self.note(
                &["request_concurrency"],
                "at least one poll must be allowed; remove the registration to stop it",
            );
        }
        if registration.builds_dir.as_ref().is_some_and(|dir| !dir.starts_with('/') || dir.trim_matches('/').is_empty())
        {
            self.note(&["builds_dir"], "write an absolute path below the root");
        }
        let network = &registration.network;
        match (&network.client_certificate, &network.client_key) {
            (Some(_), None) => self.note(&["network", "client_certificate"], "needs `client_key` beside it"),
            (None, Some(_)) => self.note(&["network", "client_key"], "needs `client_certificate` beside it"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        if let Some(cache) = &registration.runner_cache {
            for (key, why) in cache.remote.findings() {
                self.note(&["runner_cache", "remote", key], why);
            }
            if cache.remote.keep_days.is_some() {
                let why = "how long runners' caches stay is for the bucket's own rules; remove this key";
                self.note(&["runner_cache", "remote", "keep_days"], why);
            }
            if !is_path(&cache.path) {
                self.note(
                    &["runner_cache", "path"],
                    "write names with `/` between them, none of them empty, `.` or `..`",
                );
            }
            if registration.forge != ForgeKind::Gitlab {
                self.note(&["runner_cache"], "only jobs of GitLab have caches that gitlab-runner knows");
            }
        }
        self.images(&registration.docker);
        self.limits("", &registration.docker.job_limits());
        self.limits("service_", &registration.docker.service_limits());
        self.networks(&registration.docker);
        self.volumes(&registration.docker);
    }

    fn images(&mut self, docker: &DockerConfig) {
        if docker.pull_policy.is_empty() {
            self.note(&["docker", "pull_policy"], "name at least one policy: always, if-not-present, never");
        }
        let allowed = &docker.allowed_pull_policies;
        if !allowed.is_empty() && !docker.pull_policy.iter().any(|policy| allowed.contains(policy)) {
            self.note(&["docker", "pull_policy"], "none of these is among `allowed_pull_policies`");
        }
        if let Some(user) =
            docker.user.as_ref().filter(|user| !docker.allowed_users.is_empty() && !docker.allowed_users.contains(user))
        {
            self.note(&["docker", "user"], format!("`{user}` is not among `allowed_users`"));
        }
        let patterns = [
            ("allowed_images", &docker.allowed_images),
            ("allowed_services", &docker.allowed_services),
            ("allowed_privileged_images", &docker.allowed_privileged_images),
            ("allowed_privileged_services", &docker.allowed_privileged_services),
        ];
        for (key, patterns) in patterns {
            if let Some(error) = patterns.iter().find_map(|pattern| Glob::new(pattern).err()) {
                self.note(&["docker", key], format!("not a pattern: {error}"));
            }
        }
    }

    fn limits(&mut self, kind: &str, limits: &Limits) {
        let key = |name: &str| format!("{kind}{name}");
        if let Some(memory) = limits.memory.filter(|memory| *memory < MIN_MEMORY) {
            self.note(
                &["docker", &key("memory")],
                format!("{memory} is less than the {MIN_MEMORY} that a container needs"),
            );
        }
        if let Some(MemorySwap::Total(total)) = limits.memory_swap {
            match limits.memory {
                None => self.note(&["docker", &key("memory_swap")], format!("needs `{}` beside it", key("memory"))),
                Some(memory) if total < memory => self.note(
                    &["docker", &key("memory_swap")],
                    format!("is memory and swap together, so at least `{}` ({memory}), not {total}", key("memory")),
                ),
                Some(_) => {}
            }
        }
        if let (Some(reserved), Some(memory)) = (limits.memory_reservation, limits.memory)
            && reserved > memory
        {
            let why = format!("{reserved} is more than `{}` ({memory})", key("memory"));
            self.note(&["docker", &key("memory_reservation")], why);
        }
    }

    fn networks(&mut self, docker: &DockerConfig) {
        if !(8..=29).contains(&docker.network_size) {
            self.note(&["docker", "network_size"], "is the prefix length of a job's network, 8 to 29");
        } else if docker.network_pool.is_some_and(|pool| pool.prefix_len() > docker.network_size) {
            self.note(&["docker", "network_pool"], format!("has no room for networks of /{}", docker.network_size));
        }
        if docker.mtu.is_some_and(|mtu| !(68..=65_535).contains(&mtu)) {
            self.note(&["docker", "mtu"], "is 68 to 65535 bytes");
        }
        if docker.oom_score_adjust.is_some_and(|score| !(-1000..=1000).contains(&score)) {
            self.note(&["docker", "oom_score_adjust"], "is -1000 to 1000");
        }
        if let Some(entry) = docker.extra_hosts.iter().find(
            |entry| !matches!(entry.split_once(':'), Some((name, address)) if !name.is_empty() && !address.is_empty()),
        ) {
            self.note(&["docker", "extra_hosts"], format!("`{entry}`: write `name:address`"));
        }
    }

    fn volumes(&mut self, docker: &DockerConfig) {
        let mut targets: Vec<&str> = Vec::new();
        for volume in &docker.volumes {
            let target = volume.target.trim_end_matches('/');
            if targets.contains(&target) {
                self.note(&["docker", "volumes"], format!("`{target}` is mounted twice"));
            }
            targets.push(target);
        }
    }
}

/// Whether it is a path in a bucket, or none.
fn is_path(text: &str) -> bool {
    let text = text.trim_matches('/');
    let is_part = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
    text.is_empty() || text.split('/').all(is_part)
}
