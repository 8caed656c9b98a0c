//! Images, services, and who may pull them.

use super::container::{ContainerOptions, PortSpec};
use crate::pipeline::secret::Secret;
use crate::pipeline::variable::Variable;

/// Which image to run and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageSpec {
    /// The reference, expanded.
    pub name: String,
    /// Replaces the image's entrypoint. `Some` of an empty list or of one empty text clears it.
    pub entrypoint: Option<Vec<String>>,
    /// Policies to try in order; empty: the configured ones.
    pub pull_policies: Vec<PullPolicy>,
    /// The platform to pull, `linux/arm64`.
    pub platform: Option<String>,
    /// The user to start as, where the operator allows it.
    pub user: Option<String>,
    /// What its container is made with besides.
    pub options: ContainerOptions,
}

/// When an image is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PullPolicy {
    /// Ask the registry each time.
    Always,
    /// Only what is not on the machine.
    IfNotPresent,
    /// Only what is on the machine.
    Never,
}

/// A container beside the job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Its image. The service has its own entrypoint rules, policies, platform and user.
    pub image: ImageSpec,
    /// Replaces the image's command; empty: the image's.
    pub command: Vec<String>,
    /// Names it is reached by, besides those made from its image.
    pub aliases: Vec<String>,
    /// Its environment: the job's public variables and its own, expanded.
    pub variables: Vec<Variable>,
    /// Ports under which the job reaches it as if it ran on the same machine.
    pub ports: Vec<PortSpec>,
}

/// Credentials for image registries, by source. The first source that knows a registry wins.
#[derive(Clone, Debug, Default)]
pub struct RegistryAuth {
    /// The text of a Docker `config.json`, from the variable `DOCKER_AUTH_CONFIG`.
    pub docker_config: Option<Secret>,
    /// What the forge sent with the job.
    pub job: Vec<RegistryCredential>,
}

/// A user name and password for one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryCredential {
    /// Host and port of the registry, perhaps with a path.
    pub registry: String,
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: Secret,
}
