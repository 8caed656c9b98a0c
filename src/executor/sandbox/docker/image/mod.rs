//! Images: their names, who may use them, how they are fetched, what they say about themselves.
//!
//! - [`reference`]: a name as people write it, parsed.
//! - [`auth`], [`helper`]: credentials for a registry; the first source that knows it wins.
//! - [`pull`]: policies in order, attempts, and whose fault a failure is. `size`: how much one brings.
//! - [`owner`]: an image that needed credentials belongs to those who showed them.
//! - [`allow`]: the operator's patterns.

pub mod allow;
pub mod auth;
pub mod helper;
pub mod owner;
pub mod pull;
pub mod reference;
mod size;

use bollard::models::{HealthConfig, ImageInspect};

/// What we keep of an image that is on the machine. A container is made by `id`, so that a tag that moves meanwhile
/// changes nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LocalImage {
    /// `sha256:…`.
    pub id: String,
    /// `repository@sha256:…`, where a registry gave it one.
    pub digest: Option<String>,
    /// What it starts with before its command.
    pub entrypoint: Vec<String>,
    /// Its command.
    pub command: Vec<String>,
    /// The TCP ports it exposes, ascending.
    pub tcp_ports: Vec<u16>,
    /// Whether it brings a health check of its own.
    pub has_healthcheck: bool,
    /// What it was built for, `linux/arm64/v8`.
    pub platform: String,
}

impl LocalImage {
    /// From the engine's answer. `None` where it has no id: nothing can be made from it.
    pub(super) fn from_inspect(inspect: ImageInspect) -> Option<Self> {
        let config = inspect.config.unwrap_or_default();
        let platform = [inspect.os, inspect.architecture, inspect.variant];
        let mut tcp_ports: Vec<u16> =
            config.exposed_ports.unwrap_or_default().iter().filter_map(|port| tcp_port(port)).collect();
        tcp_ports.sort_unstable();
        tcp_ports.dedup();
        Some(Self {
            id: inspect.id?,
            digest: inspect.repo_digests.unwrap_or_default().into_iter().next(),
            entrypoint: config.entrypoint.unwrap_or_default(),
            command: config.cmd.unwrap_or_default(),
            tcp_ports,
            has_healthcheck: config.healthcheck.as_ref().is_some_and(checks_something),
            platform: platform.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/"),
        })
    }

    /// Whether it was built for `platform` (`linux/arm64`, with or without a variant).
    pub(super) fn is_for(&self, platform: &str) -> bool {
        self.platform == platform || self.platform.strip_prefix(platform).is_some_and(|rest| rest.starts_with('/'))
    }
}

fn checks_something(health: &HealthConfig) -> bool {
    health.test.as_ref().and_then(|test| test.first()).is_some_and(|kind| kind.starts_with("CMD"))
}

/// The number in `80/tcp`; a port without a protocol is TCP.
fn tcp_port(text: &str) -> Option<u16> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    if protocol == "tcp" { number.parse().ok() } else { None }
}
