//! Why a request is not done. Each protocol says it in its own form.

use http::StatusCode;

use crate::artifact::in_full;
use crate::artifact::store::StoreError;

/// Why a request is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No token, a wrong one, or that of a job that is over.
    Unauthenticated,
    /// An address that was not given out, or not for this, or that has expired.
    BadSignature,
    /// There is no such thing, or it is somebody else's: which of both is not told.
    Unknown(&'static str),
    /// The entry is there, or somebody is writing it.
    Exists,
    /// The request itself is wrong: how.
    Invalid(String),
    /// More than an entry may have.
    TooLarge {
        /// Bytes.
        limit: u64,
    },
    /// Too much at once: of what.
    TooMany(&'static str),
    /// It cannot be done just now.
    Busy(&'static str),
    /// No room: where.
    NoRoom(String),
    /// The bytes came too slowly.
    Slow,
    /// The request broke off.
    Cut,
    /// The job ended meanwhile.
    Over,
    /// Something of the machine's failed.
    Failed(String),
}

impl Refusal {
    /// The status code.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated | Self::Over => StatusCode::UNAUTHORIZED,
            Self::BadSignature => StatusCode::FORBIDDEN,
            Self::Unknown(_) => StatusCode::NOT_FOUND,
            Self::Exists => StatusCode::CONFLICT,
            // What clients take the entry's size to be the reason of.
            Self::Invalid(_) | Self::TooLarge { .. } | Self::Cut => StatusCode::BAD_REQUEST,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoRoom(_) => StatusCode::INSUFFICIENT_STORAGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// For the log of whoever asked.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Unauthenticated => {
                "no job that runs has this token; take that of ACTIONS_RUNTIME_TOKEN, and only while the job runs"
                    .into()
            }
            Self::BadSignature => {
                "this address was not given out for this, or it has expired; ask for a new one".into()
            }
            Self::Unknown(what) => format!("there is no {what} of this number"),
            // Clients look for `already exists`.
            Self::Exists => "an entry of this key and version already exists, or another job is writing it".into(),
            Self::Invalid(why) => why.clone(),
            Self::TooLarge { limit } => format!("an entry may have {limit} bytes, and this one would have more"),
            Self::TooMany(what) => format!("the job has too many {what} at once; try again when some are over"),
            Self::Busy(why) => format!("{why}; try again"),
            Self::NoRoom(what) => what.clone(),
            Self::Slow => "the request's bytes came too slowly".into(),
            Self::Cut => "the request broke off before its end".into(),
            Self::Over => "the job is over".into(),
            Self::Failed(why) => why.clone(),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unknown { .. } => Self::Unknown("entry"),
            StoreError::NoSpace { .. }
            | StoreError::NoRoom { .. }
            | StoreError::Quota { .. }
            | StoreError::Refused(_) => Self::NoRoom(error.to_string()),
            StoreError::Busy { .. } => Self::Busy("the store is kept busy by another process"),
            StoreError::Interrupted => Self::Over,
            error if error.is_damage() => Self::Unknown("entry"),
            error => {
                // Paths of the machine are nothing for a job.
                tracing::warn!(error = in_full(&error), "the store could not do what a job's cache needs");
                Self::Failed("the store could not do it; the agent's log says why".into())
            }
        }
    }
}

/// An error of the server's own files.
pub(super) fn disk(doing: &str, error: &std::io::Error) -> Refusal {
    if crate::artifact::beneath::is_no_space(error) {
        return Refusal::NoRoom("the disk for cache entries is full".into());
    }
    tracing::warn!(%error, "{doing} failed");
    Refusal::Failed("a file of the cache server cannot be used; the agent's log says why".into())
}
