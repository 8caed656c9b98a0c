//! The sandbox without a container: the same shim, started beside the agent, and steps that are processes of this
//! machine.
//!
//! The shim has a session and a parent of its own, so it outlives the agent as a container does. It is known by boot
//! id, process id and start time; a number alone is never trusted. What a step starts is found as the shim's
//! descendants, and, should a job kill its shim, by the mark in the environment of its processes ([`leftovers`]).
//!
//! Nothing is isolated here but by the user: a registration with this executor should name one, and the machine should
//! be for jobs that are trusted with it.

use std::path::Path;
use std::time::Duration;

use rustix::process::getuid;
use tokio::time::Instant;

use super::shim::process::user::{self, UserError};
use super::shim::{Hello, RunDir, RunDirError, ShimBinary, ShimClient, ShimError, ShimKey};
use super::{JobPaths, SandboxRecord};
use crate::pipeline::JobFailure;

pub mod leftovers;
mod shell;
mod start;

pub use shell::open_shell;

/// How long a shim may take from its start to its hello.
const HELLO_WITHIN: Duration = Duration::from_secs(20);
/// How long a shim that should be there may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Between SIGTERM and SIGKILL for what still runs when a sandbox is removed.
const REMOVE_GRACE: Duration = Duration::from_secs(5);

/// What a host sandbox is made of.
#[derive(Clone, Copy, Debug)]
pub struct HostSpec<'a> {
    /// The job's folders.
    pub paths: &'a JobPaths,
    /// The shim to start.
    pub shim: &'a ShimBinary,
    /// The job's key.
    pub key: &'a ShimKey,
    /// `user[:group]` of this machine to run as. Only for an agent that is root; `None`: the agent's own user.
    pub user: Option<&'a str>,
    /// The base environment of all steps, over PATH, locale and time zone of the agent and the user's HOME. Nothing
    /// else of the agent's environment gets in.
    pub env: &'a [(String, String)],
}

/// A host sandbox that is ready for steps.
pub struct HostPrepared {
    /// How to find it again.
    pub record: SandboxRecord,
    /// Its shim.
    pub shim: ShimClient,
    /// What the shim said of itself.
    pub hello: Hello,
}

/// What became of a sandbox while nobody looked.
pub enum HostReattached {
    /// Its shim lives and answers.
    Alive(ShimClient, Hello),
    /// There is no shim any more. Exit files may still tell how steps ended.
    Gone {
        /// Why, one sentence for the user.
        cause: String,
    },
}

/// A host sandbox that cannot be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Only root can run jobs as somebody else.
    #[error("the agent runs as uid {uid} and cannot run jobs as `{user}`: run it as root, or leave the user out")]
    NotRoot {
        /// The agent's.
        uid: u32,
        /// The configured one.
        user: String,
    },
    /// The configured user.
    #[error("cannot run jobs as the configured user: {0}")]
    User(#[from] UserError),
    /// The run directory.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// The shim does not start.
    #[error("cannot start the job's supervisor {path}: {what}")]
    Start {
        /// The binary.
        path: String,
        /// Why.
        what: String,
    },
    /// The shim does not answer.
    #[error(transparent)]
    Shim(#[from] ShimError),
    /// The new sandbox could not be written down, so it was ended.
    #[error("{0}")]
    NotRecorded(JobFailure),
    /// Processes that do not end.
    #[error(
        "processes of the job are still there after SIGKILL: {pids:?}; they hang in the kernel or belong to another user"
    )]
    LeftBehind {
        /// Which.
        pids: Vec<i32>,
    },
    /// The kernel.
    #[error("cannot look after the job's processes: {0}")]
    Io(#[from] std::io::Error),
}

impl From<HostError> for JobFailure {
    fn from(error: HostError) -> Self {
        match error {
            HostError::NotRoot { .. } | HostError::User(_) => JobFailure::configuration(error.to_string()),
            HostError::NotRecorded(failure) => failure,
            HostError::RunDir(_)
            | HostError::Start { .. }
            | HostError::Shim(_)
            | HostError::LeftBehind { .. }
            | HostError::Io(_) => JobFailure::system(error.to_string()),
        }
    }
}

/// The sandbox whose processes are the machine's own.
pub struct HostSandbox;

impl HostSandbox {
    /// Starts the shim. `on_created` writes the record down before anything else happens; if it fails, the shim is
    /// ended again. Whatever an earlier attempt for the same run directory left behind is ended first.
    pub async fn prepare<F, Fut>(spec: &HostSpec<'_>, on_created: F) -> Result<HostPrepared, HostError>
    where
        F: FnOnce(SandboxRecord) -> Fut + Send,
        Fut: Future<Output = Result<(), JobFailure>> + Send,
    {
        let who = identity(spec.user)?;
        RunDir::create(&spec.paths.run)?;
        leftovers::end_marked(&leftovers::mark(&spec.paths.run)).await?;
        let record = start::start(spec, who).await?;
        if let Err(failure) = on_created(record.clone()).await {
            Self::remove(&record, spec.paths, spec.key).await?;
            return Err(HostError::NotRecorded(failure));
        }
        let deadline = Instant::now() + HELLO_WITHIN;
        let (shim, hello) = ShimClient::connect_keyed(&spec.paths.run, spec.key, deadline).await?;
        Ok(HostPrepared { record, shim, hello })
    }

    /// Finds a sandbox again by its record.
    pub async fn reattach(record: &SandboxRecord, run: &Path, key: &ShimKey) -> Result<HostReattached, HostError> {
        if let Some(cause) = leftovers::why_gone(record)? {
            return Ok(HostReattached::Gone { cause });
        }
        let deadline = Instant::now() + ANSWER_WITHIN;
        match ShimClient::connect_keyed(run, key, deadline).await {
            Ok((shim, hello)) => Ok(HostReattached::Alive(shim, hello)),
            // It may have ended while it was asked.
            Err(error) => match leftovers::why_gone(record)? {
                Some(cause) => Ok(HostReattached::Gone { cause }),
                None => Err(error.into()),
            },
        }
    }

    /// Ends everything that belongs to the sandbox and nothing else. Folders are the caller's. May be called at any
    /// time and repeatedly.
    pub async fn remove(record: &SandboxRecord, paths: &JobPaths, key: &ShimKey) -> Result<(), HostError> {
        let SandboxRecord::Host { pid, start_time, boot_id } = record else { return Ok(()) };
        if *boot_id != leftovers::boot_id()? {
            return Ok(());
        }
        if leftovers::why_gone(record)?.is_none() {
            let deadline = Instant::now() + ANSWER_WITHIN;
            let asked = match ShimClient::connect_keyed(&paths.run, key, deadline).await {
                Ok((shim, _)) => shim.shutdown(REMOVE_GRACE).await,
                Err(error) => Err(error),
            };
            match asked {
                Ok(()) => leftovers::until_gone(record, REMOVE_GRACE).await?,
                Err(error) => {
                    tracing::warn!(%error, pid, "the host sandbox's shim does not end itself; ending its processes");
                }
            }
            // Nothing to do where it has ended itself.
            leftovers::end_tree(*pid, *start_time).await?;
        }
        leftovers::end_marked(&leftovers::mark(&paths.run)).await
    }
}

fn identity(wanted: Option<&str>) -> Result<Option<user::Identity>, HostError> {
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else { return Ok(None) };
    let found = user::resolve(wanted, Path::new("/etc"))?;
    let own = getuid();
    if own.is_root() {
        return Ok(Some(found));
    }
    if own.as_raw() == found.uid {
        Ok(None)
    } else {
        Err(HostError::NotRoot { uid: own.as_raw(), user: wanted.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_that_does_not_exist_is_a_configuration_error_that_names_it() {
        let error = identity(Some("no-such-user-here")).unwrap_err();
        let failure = JobFailure::from(error);
        assert!(failure.message.contains("no-such-user-here"), "{failure}");
        assert_eq!(failure.reason, crate::pipeline::FailureReason::RunnerConfigurationError);
    }
}
