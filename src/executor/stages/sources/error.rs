//! What can go wrong while the sources are fetched.

use std::io;

/// Why the work tree could not be filled. Every text may be shown to the job's user: no path of the machine is in it.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// The job was cancelled. git and its children are gone.
    #[error("the job was cancelled while {doing}")]
    Cancelled {
        /// What was going on.
        doing: String,
    },
    /// The time limit of the stage was reached. git and its children are gone.
    #[error(
        "{doing} took longer than the time that is left for getting the sources; \
         look at the remote's speed, lower GIT_DEPTH, or raise the limit"
    )]
    TimedOut {
        /// What was going on.
        doing: String,
    },
    /// A setting of the job or a field of the assignment that is not taken, by name.
    #[error("{setting}: {problem}")]
    Refused {
        /// The variable or field.
        setting: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// A hook of the job failed. What it printed is in the log already.
    #[error("{message}")]
    Hook {
        /// Which, and how it ended.
        message: String,
        /// Its exit code.
        exit_code: Option<i32>,
    },
    /// git or the remote said no. What it printed is in the log already.
    #[error("{message}")]
    Failed {
        /// What failed.
        message: String,
        /// The exit code of the program that failed.
        exit_code: Option<i32>,
    },
    /// The runner's own machine failed: disk, permissions, no git. Not the job's fault.
    #[error("{doing}: {source}")]
    Machine {
        /// What was going on.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
}

impl SourcesError {
    /// Whether another attempt may help. It cannot for a cancelled job, an exceeded limit or a refused setting.
    pub fn may_retry(&self) -> bool {
        match self {
            SourcesError::Hook { .. } | SourcesError::Failed { .. } | SourcesError::Machine { .. } => true,
            SourcesError::Cancelled { .. } | SourcesError::TimedOut { .. } | SourcesError::Refused { .. } => false,
        }
    }

    /// The exit code of the program that failed, where one did.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            SourcesError::Hook { exit_code, .. } | SourcesError::Failed { exit_code, .. } => *exit_code,
            SourcesError::Cancelled { .. }
            | SourcesError::TimedOut { .. }
            | SourcesError::Refused { .. }
            | SourcesError::Machine { .. } => None,
        }
    }

    pub(super) fn refused(setting: impl Into<String>, problem: impl Into<String>) -> Self {
        SourcesError::Refused { setting: setting.into(), problem: problem.into() }
    }

    pub(super) fn failed(message: impl Into<String>, exit_code: Option<i32>) -> Self {
        SourcesError::Failed { message: message.into(), exit_code }
    }

    /// For `map_err`: what was going on when the machine failed.
    pub(super) fn machine(doing: &'static str) -> impl FnOnce(io::Error) -> SourcesError {
        move |source| SourcesError::Machine { doing: doing.to_owned(), source }
    }
}
