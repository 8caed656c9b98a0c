//! What the agent serves, and where it comes from.

use std::future::Future;
use std::time::Duration;

use crate::forge::Forge;

/// One registration as the agent serves it: shared by its poll loops and its jobs, never changed. A change in the
/// configuration makes a new one; jobs keep the one they came through.
#[derive(Debug)]
pub struct Registration<F, S> {
    /// Its name in the configuration.
    pub name: String,
    /// Differs whenever anything about the registration differs, its token included. Two with the same name and
    /// fingerprint are the same: a reload leaves its poll loops alone.
    pub fingerprint: String,
    /// How many of its jobs may run at once; 0: as many as `concurrent` lets.
    pub limit: u32,
    /// How many questions it may have open at its forge at once; at least 1.
    pub request_concurrency: u32,
    /// Its forge.
    pub forge: F,
    /// Its configuration, for the [`JobRunner`](super::JobRunner). The agent asks it only whether jobs could run.
    pub settings: S,
}

/// Whether what the jobs of a registration need is there.
pub trait Readiness: Send + Sync + 'static {
    /// Whether a job could be given a place now. An error says what is missing: no jobs are taken until it is there.
    fn is_ready(&self) -> impl Future<Output = Result<(), String>> + Send;
}

/// What the configuration says, as far as the agent's loop needs it.
#[derive(Debug)]
pub struct Plan<F, S> {
    /// How many jobs may run at once, over all registrations.
    pub concurrent: u32,
    /// How long running jobs may go on after the first request to stop, before they are cancelled; `None`: to their end.
    pub drain_timeout: Option<Duration>,
    /// How long cancelled jobs may take to end before the agent leaves them to the next one.
    pub shutdown_timeout: Duration,
    /// How long a registration that its forge refuses is left alone.
    pub unhealthy_interval: Duration,
    /// The registrations, names unique.
    pub registrations: Vec<Registration<F, S>>,
}

/// A token that stops working some day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiringToken {
    /// Whose token it is.
    pub registration: String,
    /// When it was obtained.
    pub obtained_at: jiff::Timestamp,
    /// When it stops working.
    pub expires_at: jiff::Timestamp,
}

/// Why there is no plan. Each says what is wrong, where, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The configuration says something that cannot be.
    #[error("{0}")]
    Configuration(String),
    /// The configuration is sound, but what it names is not there: an engine, a folder, the credentials.
    #[error("{0}")]
    Environment(String),
}

/// Where registrations come from: the configuration file and the credentials beside the journal.
pub trait Registrar: Send + Sync + 'static {
    /// The forges it makes.
    type Forge: Forge;
    /// The configuration of one registration.
    type Settings: Readiness;

    /// Reads everything anew. Called at the start, on SIGHUP, and after a token was renewed. An error keeps what is
    /// being served; it says what is wrong, where, and how to mend it.
    fn plan(&self) -> impl Future<Output = Result<Plan<Self::Forge, Self::Settings>, PlanError>> + Send;

    /// The tokens that expire, as kept now.
    fn expiring(&self) -> impl Future<Output = Vec<ExpiringToken>> + Send;

    /// Replaces the token of a registration at its forge and in the credentials.
    fn rotate(&self, registration: &str) -> impl Future<Output = Result<(), String>> + Send;
}
