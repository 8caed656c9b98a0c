//! How the emulator behaves, where real servers differ from each other.

use std::time::Duration;

/// What happens when the last update's checksum or size differs from the log the server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumPolicy {
    /// It is accepted, and written down as a violation.
    Record,
    /// It is refused with 412 and written down (protocols: GitLab 5.2).
    Refuse,
}

/// Settings of an [`super::Emulator`]. The defaults are those of a usual GitLab with long polling off.
#[derive(Clone, Debug)]
pub struct EmulatorOptions {
    /// How long `jobs/request` may be held open (protocols: GitLab 2.4); `None`: it is answered at once.
    pub long_poll: Option<Duration>,
    /// What `X-GitLab-Trace-Update-Interval` says, in seconds. GitLab says 3 while somebody looks, else 60.
    pub trace_update_interval: u32,
    /// How many last updates of a job are answered with 202 before the log counts as persisted (5.2). Zero: none.
    pub persist_rounds: u32,
    /// What a wrong checksum leads to.
    pub checksum: ChecksumPolicy,
    /// Whether jobs are handed out unacknowledged to runners that advertise `two_phase_job_commit` (5.5).
    pub two_phase_commit: bool,
    /// Whether `direct_download=true` is answered with a redirect to the object storage (6.5).
    pub object_storage: bool,
    /// The largest artifact in bytes; a larger one gets 413.
    pub artifact_limit: u64,
    /// The largest log in bytes; more drops the job with `trace_size_exceeded`.
    pub trace_limit: u64,
    /// The token that `POST runners` takes; `None`: registration tokens are switched off (410).
    pub registration_token: Option<String>,
    /// The personal access token that resets runner tokens by id.
    pub admin_token: String,
    /// For how long a runner token that was reset is valid; `None`: for ever.
    pub runner_token_lifetime: Option<Duration>,
    /// What clients call the API port where something stands before it (a TLS front); `None`: by its own address.
    pub public_url: Option<String>,
    /// The same for the object storage.
    pub public_storage_url: Option<String>,
}

impl Default for EmulatorOptions {
    fn default() -> Self {
        Self {
            long_poll: None,
            trace_update_interval: 3,
            persist_rounds: 0,
            checksum: ChecksumPolicy::Record,
            two_phase_commit: false,
            object_storage: true,
            artifact_limit: 1 << 30,
            trace_limit: 4 << 30,
            registration_token: Some("GR1348941emulatorregistration".to_owned()),
            admin_token: "glpat-emulator-administrator".to_owned(),
            runner_token_lifetime: None,
            public_url: None,
            public_storage_url: None,
        }
    }
}
