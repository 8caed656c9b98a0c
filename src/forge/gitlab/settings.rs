//! What a registration at a GitLab needs to know of the operator's wishes. The agent fills it from the configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use crate::pipeline::Secret;

/// Where jobs run, as far as GitLab is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Executor {
    /// In containers.
    #[default]
    Docker,
    /// As processes of the machine.
    Host,
}

impl Executor {
    /// GitLab's word for it.
    pub fn on_wire(self) -> &'static str {
        match self {
            Executor::Docker => "docker",
            Executor::Host => "shell",
        }
    }
}

/// One registration.
#[derive(Clone, Debug)]
pub struct GitLabSettings {
    /// The registration's name, for the log and container labels.
    pub name: String,
    /// The address of the GitLab as configured.
    pub url: Url,
    /// The runner's authentication token.
    pub token: Secret,
    /// By which name the server tells this machine from others with the same token.
    pub system_id: String,
    /// Where jobs run.
    pub executor: Executor,
    /// Base address for git instead of what the job says.
    pub clone_url: Option<Url>,
    /// Variables of every job.
    pub environment: Vec<(String, String)>,
    /// Where jobs find and install tools; `None`: they have no folder for that.
    pub tool_cache: Option<String>,
    /// Variables with the proxies that jobs are to use; may hold a password. Weaker than `environment`.
    pub proxy_environment: Vec<(String, Secret)>,
    /// Feature flags that jobs cannot change.
    pub feature_flags: BTreeMap<String, bool>,
    /// The image of jobs that name none.
    pub default_image: Option<String>,
    /// GPUs, as the server shows them.
    pub gpus: String,
    /// Labels of this machine.
    pub labels: BTreeMap<String, String>,
    /// Whether `GIT_CLONE_PATH` counts; `None`: in containers only.
    pub custom_build_dir: Option<bool>,
    /// Time limit of preparation.
    pub prepare_timeout: Option<Duration>,
    /// Time limit of getting sources.
    pub get_sources_timeout: Option<Duration>,
    /// How long services may take to answer; `None`: they are not waited for.
    pub services_timeout: Option<Duration>,
    /// Runs before the sources are there.
    pub pre_get_sources_script: Option<String>,
    /// Runs when they are.
    pub post_get_sources_script: Option<String>,
    /// Runs before the commands of each step but the after-step, in the same shell.
    pub pre_build_script: Option<String>,
    /// Runs after them.
    pub post_build_script: Option<String>,
    /// Bytes after which a job's log is cut.
    pub output_limit: u64,
    /// `CI_DEBUG_TRACE` and `CI_DEBUG_SERVICES` have no effect.
    pub debug_trace_disabled: bool,
    /// PEM text of the certificate authorities that jobs are told of in `CI_SERVER_TLS_CA_FILE`.
    pub ca_pem: Option<String>,
    /// How long to pause between polls that the server does not hold.
    pub check_interval: Duration,
    /// How many polls may be open at the same time, 1 or more.
    pub request_concurrency: u32,
    /// Time limit of one attempt to upload an artifact.
    pub upload_timeout: Duration,
    /// The largest archive that is fetched for a job, in bytes.
    pub download_limit: u64,
}

impl GitLabSettings {
    /// A registration with the protocol's defaults (11.1 to 11.3).
    pub fn new(name: impl Into<String>, url: Url, token: Secret, system_id: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            url,
            token,
            system_id: system_id.into(),
            executor: Executor::Docker,
            clone_url: None,
            environment: Vec::new(),
            tool_cache: None,
            proxy_environment: Vec::new(),
            feature_flags: BTreeMap::new(),
            default_image: None,
            gpus: String::new(),
            labels: BTreeMap::new(),
            custom_build_dir: None,
            prepare_timeout: None,
            get_sources_timeout: None,
            services_timeout: Some(Duration::from_secs(30)),
            pre_get_sources_script: None,
            post_get_sources_script: None,
            pre_build_script: None,
            post_build_script: None,
            output_limit: 4 * 1024 * 1024,
            debug_trace_disabled: false,
            ca_pem: None,
            check_interval: Duration::from_secs(3),
            request_concurrency: 1,
            upload_timeout: Duration::from_secs(60 * 60),
            download_limit: 64 * 1024 * 1024 * 1024,
        }
    }

    /// The runner token without its prefixes, nine characters: names the runner in logs, paths and variables. (1.1)
    pub fn short_token(&self) -> String {
        short_token(self.token.expose())
    }
}

/// See [`GitLabSettings::short_token`].
pub fn short_token(token: &str) -> String {
    let mut rest = token;
    if let Some(after) = rest.strip_prefix("glrt-") {
        rest = without_partition(after);
    } else if let Some(after) = rest.strip_prefix("glrtr-") {
        rest = after;
    } else {
        rest = without_partition(rest);
    }
    rest = rest.strip_prefix("glcbt-").unwrap_or(rest);
    if let Some(after) = rest.strip_prefix("GR")
        && let Some((version, after)) = after.split_at_checked(7)
        && version.chars().all(|c| c.is_ascii_hexdigit())
    {
        rest = after;
    }
    rest.chars().take(9).collect()
}

fn without_partition(token: &str) -> &str {
    ["t1_", "t2_", "t3_"].iter().find_map(|partition| token.strip_prefix(partition)).unwrap_or(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_named_by_nine_characters() {
        for (token, short) in [
            ("glrt-t1_Zx9examplerunnertoken", "Zx9exampl"),
            ("glrt-abcdefghijkl", "abcdefghi"),
            ("glrtr-abcdefghijkl", "abcdefghi"),
            ("t2_abcdefghijkl", "abcdefghi"),
            ("GR1348941abcdefghijkl", "abcdefghi"),
            ("glcbt-64_abc", "64_abc"),
            ("üöä", "üöä"),
        ] {
            assert_eq!(short_token(token), short, "{token}");
        }
    }
}
