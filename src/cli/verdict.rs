//! How a command ended, in the words of the exit code.

use std::process::{ExitCode, Termination};

/// What the exit code says. A contract: scripts rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It worked.
    Success = 0,
    /// The pipeline, the deployment, or what was asked for failed.
    Failed = 1,
    /// The definition, the configuration or the arguments are wrong: change them.
    BadInput = 2,
    /// The surroundings are: no engine, no forge, no disk, no permission.
    Environment = 3,
    /// The user cancelled it.
    Cancelled = 130,
}

impl Verdict {
    /// The exit code.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        Self::from(verdict.code())
    }
}

impl Termination for Verdict {
    fn report(self) -> ExitCode {
        self.into()
    }
}
