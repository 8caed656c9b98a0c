//! Settings of the agent as a whole.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::exec::ExecConfig;
use super::log::LogConfig;
use super::store::StoreConfig;
use super::units::{self, DurationText};

/// The top-level keys that are the agent's own; all the others are defaults of its registrations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AgentConfig {
    /// How many jobs run at the same time, over all registrations.
    ///
    /// gitlab-runner starts with 1, and that a second job waits on an idle machine is among the first surprises its
    /// users meet; 4 keeps a small machine usable, since most jobs wait for network and disk much of their time.
    #[schemars(range(min = 1))]
    pub concurrent: u32,
    /// The pause between two polls of a registration, where the forge does not hold the request open itself.
    #[serde(with = "units::duration")]
    #[schemars(with = "DurationText")]
    pub check_interval: Duration,
    /// After the first SIGTERM or SIGQUIT: how long running jobs may go on before they are cancelled. Absent: until
    /// they end.
    #[serde(with = "units::optional_duration", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DurationText>")]
    pub drain_timeout: Option<Duration>,
    /// After the second signal: how long cancelled jobs may take to clean up and report before the agent leaves. The
    /// next agent finishes what is left.
    #[serde(with = "units::duration")]
    #[schemars(with = "DurationText")]
    pub shutdown_timeout: Duration,
    /// The agent's own log.
    pub log: LogConfig,
    /// What is kept in the state directory.
    pub state: StateConfig,
    /// Where artifacts and caches are kept.
    pub store: StoreConfig,
    /// What `forgehand exec` runs with.
    pub exec: ExecConfig,
}

/// `[state]`: what is kept in the state directory, and how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StateConfig {
    /// How long the log and the record of an ended job stay readable with `forgehand logs` and `status`.
    #[serde(with = "units::duration")]
    #[schemars(with = "DurationText")]
    pub keep_logs: Duration,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            concurrent: 4,
            check_interval: Duration::from_secs(3),
            drain_timeout: None,
            shutdown_timeout: Duration::from_secs(30),
            log: LogConfig::default(),
            state: StateConfig::default(),
            store: StoreConfig::default(),
            exec: ExecConfig::default(),
        }
    }
}

impl Default for StateConfig {
    fn default() -> Self {
        Self { keep_logs: Duration::from_secs(7 * 86_400) }
    }
}
