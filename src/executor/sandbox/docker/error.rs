//! What the engine answers when it does not do what it was asked.

use std::time::Duration;

use bollard::errors::Error as Bollard;

/// Why a call to the engine failed. Callers match on [`EngineError::Unreachable`]: the engine is away and may come
/// back, nothing is known about the containers.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// Nobody answers at the engine's socket, or the connection broke.
    #[error("the Docker engine cannot be reached at {socket}: {cause}")]
    Unreachable {
        /// The socket's path.
        socket: String,
        /// What happened, with what to do about it.
        cause: String,
    },
    /// The engine took the call and did not answer in time.
    #[error("the Docker engine did not answer within {}s while {what}", after.as_secs())]
    Timeout {
        /// What it was asked.
        what: String,
        /// How long we waited.
        after: Duration,
    },
    /// What was named does not exist.
    #[error("{what}: {message}")]
    NotFound {
        /// What was tried.
        what: String,
        /// The engine's words.
        message: String,
    },
    /// Something of that name exists, or is being changed by another call.
    #[error("{what}: {message}")]
    Conflict {
        /// What was tried.
        what: String,
        /// The engine's words.
        message: String,
    },
    /// The engine does not take what it was asked (other 4xx answers): asking again cannot help.
    #[error("{what}: {message}")]
    Refused {
        /// What was tried.
        what: String,
        /// The engine's words.
        message: String,
    },
    /// The engine failed (5xx), or its stream told of a failure.
    #[error("{what}: {message}")]
    Failed {
        /// What was tried.
        what: String,
        /// The engine's words.
        message: String,
    },
    /// The answer is not what the API promises.
    #[error("{what}: the Docker engine's answer was not understood: {message}")]
    Protocol {
        /// What was tried.
        what: String,
        /// What is wrong with it.
        message: String,
    },
    /// The engine is of a kind that this version does not work with.
    #[error("{0}")]
    Unsupported(String),
    /// A file of ours beside the engine (records, nonce) could not be read or written.
    #[error("{what}: {message}")]
    State {
        /// Which file, and what was tried.
        what: String,
        /// The system's words.
        message: String,
    },
}

impl EngineError {
    /// Whether the engine is away (and what was asked may be asked again when it is back).
    pub fn is_engine_gone(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Whether what was named does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// The engine's own words, where there are any.
    pub fn words(&self) -> String {
        match self {
            Self::NotFound { message, .. }
            | Self::Conflict { message, .. }
            | Self::Refused { message, .. }
            | Self::Failed { message, .. }
            | Self::Protocol { message, .. }
            | Self::State { message, .. } => message.clone(),
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Unsupported(_) => self.to_string(),
        }
    }

    /// Our word for a failure of `bollard` while doing `what` at `socket`.
    pub(super) fn from_bollard(what: &str, socket: &str, error: Bollard) -> Self {
        let what = what.to_owned();
        match error {
            Bollard::DockerResponseServerError { status_code, message } => {
                let message = one_line(&message);
                match status_code {
                    404 => Self::NotFound { what, message },
                    409 => Self::Conflict { what, message },
                    400..=499 => Self::Refused { what, message },
                    _ => Self::Failed { what, message },
                }
            }
            Bollard::DockerStreamError { error } => Self::Failed { what, message: one_line(&error) },
            Bollard::DockerContainerWaitError { error, .. } => Self::Failed { what, message: one_line(&error) },
            Bollard::IOError { err } => Self::Unreachable { socket: socket.into(), cause: io_cause(&err) },
            Bollard::HyperResponseError { err } => {
                Self::Unreachable { socket: socket.into(), cause: format!("the connection broke ({err})") }
            }
            Bollard::RequestTimeoutError => Self::Timeout { what, after: Duration::ZERO },
            other => Self::Protocol { what, message: one_line(&other.to_string()) },
        }
    }
}

/// The system's words for a failed connection, with the usual remedy.
fn io_cause(error: &std::io::Error) -> String {
    let remedy = match error.kind() {
        std::io::ErrorKind::NotFound => "is Docker installed and started? `forgehand doctor` checks it",
        std::io::ErrorKind::PermissionDenied => "the agent's user must be a member of the socket's group (`docker`)",
        std::io::ErrorKind::ConnectionRefused => "the engine is not running; start it (`systemctl start docker`)",
        _ => return error.to_string(),
    };
    format!("{error}; {remedy}")
}

/// Texts of the engine go into logs line by line; a registry can put anything into them.
fn one_line(text: &str) -> String {
    const MOST: usize = 2000;
    let mut line: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST).collect();
    if line.is_empty() {
        line.push_str("no reason given");
    }
    line
}
