//! Settings of one registration: one forge, one token, one way to run jobs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::docker::DockerConfig;
use super::network::NetworkConfig;
use super::remote::RemoteConfig;
use super::units::{self, ByteSize, DurationText};
use crate::pipeline::definition::ArtifactFormat;

/// Keys that only a `[[registration]]` has. All its other keys may also stand at the top level, as the default of every
/// registration.
pub const OWN_KEYS: [&str; 4] = ["name", "url", "forge", "clone_url"];

/// `[[registration]]`, with the defaults of the top level already in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistrationConfig {
    /// What it is called here: in logs, on the command line, and where its token is kept. Unique in the file.
    pub name: String,
    /// The forge's base URL.
    pub url: Url,
    /// Which forge it is.
    #[serde(default)]
    pub forge: ForgeKind,
    /// The URL that jobs clone from, where the forge's own is not reachable from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clone_url: Option<Url>,
    /// Where jobs run.
    #[serde(default)]
    pub executor: ExecutorKind,
    /// Labels (GitLab: tags) that the runner was registered with, where the forge does not keep them itself.
    #[serde(default)]
    pub labels: Vec<String>,
    /// How many jobs of this registration run at the same time; 0: as many as `concurrent`.
    #[serde(default)]
    pub limit: u32,
    /// How many polls may be open at the same time.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub request_concurrency: u32,
    /// Bytes after which a job's log is cut.
    #[serde(default = "default_output_limit")]
    pub output_limit: ByteSize,
    /// Variables of every job, `KEY=value`; the job's own win.
    #[serde(default, with = "super::environment")]
    #[schemars(with = "Vec<String>")]
    pub environment: Vec<(String, String)>,
    /// Root of the work trees as jobs see it, an absolute path. Absent: `/builds` in containers, a folder of the state
    /// directory on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builds_dir: Option<String>,
    /// Commands before the sources are fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_get_sources_script: Option<String>,
    /// Commands after the sources are fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_get_sources_script: Option<String>,
    /// Commands before the job's own, in the same shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_build_script: Option<String>,
    /// Commands after the job's own, in the same shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_build_script: Option<String>,
    /// How long preparing the sandbox may take. Absent: the job's own timeout.
    #[serde(default, with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DurationText>")]
    pub prepare_timeout: Option<Duration>,
    /// How long fetching the sources may take. Absent: the job's own timeout.
    #[serde(default, with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DurationText>")]
    pub get_sources_timeout: Option<Duration>,
    /// Ignore jobs that ask for every command to be traced, which shows values of variables.
    #[serde(default)]
    pub debug_trace_disabled: bool,
    /// How much of what Docker allows by default is taken away.
    #[serde(default)]
    pub hardening: Hardening,
    /// Feature flags of the forge's runner, `FF_…`, before a job's own.
    #[serde(default)]
    pub feature_flags: BTreeMap<String, bool>,
    /// Proxy and certificates.
    #[serde(default)]
    pub network: NetworkConfig,
    /// The Docker sandbox.
    #[serde(default)]
    pub docker: DockerConfig,
    /// The bucket in which jobs of gitlab-runner and of this registration find each other's caches. Absent: caches are kept in the
    /// store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_cache: Option<RunnerCacheConfig>,
}

/// `[runner_cache]`: what gitlab-runner's `config.toml` has in `[runners.cache]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunnerCacheConfig {
    /// What all names in the bucket begin with: the runners' `Path`.
    #[serde(default)]
    pub path: String,
    /// The runners share their caches: their `Shared`. false: each has its own, by its token.
    #[serde(default)]
    pub shared: bool,
    /// The archives' format where a job's `CACHE_COMPRESSION_FORMAT` says none.
    #[serde(default)]
    pub format: CacheFormat,
    /// The bucket, and who we are there.
    pub remote: RemoteConfig,
}

/// A format of gitlab-runner's caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CacheFormat {
    /// zip, deflated.
    #[default]
    Zip,
    /// zip with Zstandard entries.
    ZipZstd,
    /// A tar in one Zstandard stream.
    TarZstd,
}

impl From<CacheFormat> for ArtifactFormat {
    fn from(format: CacheFormat) -> Self {
        match format {
            CacheFormat::Zip => Self::Zip,
            CacheFormat::ZipZstd => Self::ZipZstd,
            CacheFormat::TarZstd => Self::TarZstd,
        }
    }
}

fn one() -> u32 {
    1
}

fn default_output_limit() -> ByteSize {
    ByteSize::mib(4)
}

/// Which forge a registration belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ForgeKind {
    /// GitLab.
    #[default]
    Gitlab,
    /// GitHub.
    Github,
    /// Gitea.
    Gitea,
    /// Forgejo.
    Forgejo,
}

impl fmt::Display for ForgeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gitlab => "gitlab",
            Self::Github => "github",
            Self::Gitea => "gitea",
            Self::Forgejo => "forgejo",
        })
    }
}

/// Where the jobs of a registration run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExecutorKind {
    /// In containers.
    #[default]
    Docker,
    /// As processes of this machine, without isolation.
    Host,
}

impl fmt::Display for ExecutorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "docker",
            Self::Host => "host",
        })
    }
}

/// How much of what Docker allows by default is taken away from jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Hardening {
    /// Docker's default capabilities and seccomp profile.
    #[default]
    Standard,
    /// Also without NET_RAW, MKNOD and others, and with no-new-privileges: `sudo` and `ping` do not work in jobs.
    Strict,
}
