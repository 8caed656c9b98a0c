//! What a step is, and how it can end. Used on both sides of the socket.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pipeline::Secret;

/// Longest name of a step, bytes.
pub const MAX_STEP_ID: usize = 64;

/// The name of one step within its job. Safe as a file name; a second start of the same name starts nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StepId(String);

/// A text that cannot be the name of a step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot name a step: use 1 to {MAX_STEP_ID} of a-z, A-Z, 0-9, `-`, `_` and `.`, not starting with `.`")]
pub struct InvalidStepId(String);

impl StepId {
    /// Takes a name of letters, digits, `-`, `_` and `.`.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidStepId> {
        let text = text.into();
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if text.is_empty() || text.len() > MAX_STEP_ID || text.starts_with('.') || !text.bytes().all(plain) {
            return Err(InvalidStepId(text.chars().take(MAX_STEP_ID).collect()));
        }
        Ok(Self(text))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// File of the step's output, in the run directory.
    pub fn spool_name(&self) -> String {
        format!("{}.spool", self.0)
    }

    /// File that says how the step ended, in the run directory. It appears whole, by a rename.
    pub fn exit_name(&self) -> String {
        format!("{}.exit", self.0)
    }

    /// The exit file while it is not yet true. Its room on the disk is taken before the step starts.
    pub(super) fn pending_exit_name(&self) -> String {
        format!(".{}.exit", self.0)
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for StepId {
    type Error = InvalidStepId;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl From<StepId> for String {
    fn from(id: StepId) -> Self {
        id.0
    }
}

/// One step: what to run, where, as whom and for how long.
#[derive(Clone, Debug)]
pub struct StepRequest {
    /// Its name; the second start of a name is answered with the state of the first.
    pub id: StepId,
    /// What to run.
    pub program: Program,
    /// Laid over the environment that the image's entrypoint left to the shim.
    pub env: Vec<(String, Secret)>,
    /// Folders in front of the PATH that the step would have without them.
    pub path: Vec<String>,
    /// Working directory in the sandbox, absolute; made when it is missing.
    pub cwd: String,
    /// `user[:group]`, names or numbers of the sandbox's own `/etc/passwd`. Only a shim that is root can change it.
    pub user: Option<String>,
    /// From the start of the step to SIGTERM for all its processes.
    pub timeout: Option<Duration>,
    /// Between SIGTERM and SIGKILL.
    pub grace: Duration,
}

/// What a step runs.
#[derive(Clone, Debug)]
pub enum Program {
    /// A script on the standard input of the best shell in the sandbox, see [`super::process::shell`]. Without any the
    /// step prints `shell not found` and ends with code 1.
    Shell {
        /// The script.
        script: Secret,
    },
    /// A program and its arguments, looked up in the step's PATH. Its standard input is empty.
    Argv(Vec<String>),
    /// The first of `programs` that is in the step's PATH, with `arguments`. Its standard input is empty.
    FirstOf {
        /// Names or absolute paths.
        programs: Vec<String>,
        /// For the one that is found.
        arguments: Vec<String>,
    },
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepExit {
    /// The main process ended by itself; 128 + n after signal n.
    Code(i32),
    /// It was ended because its time was over.
    TimedOut,
    /// It was ended because the agent said so.
    Terminated,
    /// It was ended because the engine or the machine stopped the sandbox (SIGTERM to the shim).
    StoppedByEngine,
    /// The main process got SIGKILL (or reported 137) and the sandbox's memory limit had killed something meanwhile.
    OomKilled,
    /// It was ended because its output could not be written for too long (disk full). Lost bytes are counted.
    OutputLost,
    /// The shim that ran it died and another took its place: nobody knows.
    Unknown,
}

impl StepExit {
    /// The exit code as a shell would report it; 0 only for a main process that said so.
    pub fn code(self) -> i32 {
        match self {
            StepExit::Code(code) => code,
            StepExit::OomKilled => 137,
            StepExit::TimedOut | StepExit::Terminated | StepExit::StoppedByEngine => 143,
            StepExit::OutputLost | StepExit::Unknown => 1,
        }
    }

    /// Whether the main process ended with code 0, undisturbed.
    pub fn is_success(self) -> bool {
        self == StepExit::Code(0)
    }
}

impl fmt::Display for StepExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StepExit::Code(code) => write!(f, "exit code {code}"),
            StepExit::TimedOut => f.write_str("ended because its time limit passed"),
            StepExit::Terminated => f.write_str("ended by the agent"),
            StepExit::StoppedByEngine => f.write_str("stopped by the engine"),
            StepExit::OomKilled => f.write_str("exit code 137: killed at the memory limit"),
            StepExit::OutputLost => f.write_str("ended because its output could not be written to disk"),
            StepExit::Unknown => f.write_str("its end is not known: the shim was started anew"),
        }
    }
}

/// The exit file: all that is known at the end of a step. JSON, below [`StepRecord::LIMIT`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Version of this layout.
    pub format: u16,
    /// Which step.
    pub step: StepId,
    /// How it ended.
    pub exit: StepExit,
    /// Length of the complete spool, bytes.
    pub spool_bytes: u64,
    /// Output that could not be written, bytes.
    pub lost_bytes: u64,
    /// Start, microseconds since the epoch.
    pub started_us: u64,
    /// End, microseconds since the epoch.
    pub ended_us: u64,
    /// Processes of the step that could not be ended (in the kernel, or of another user).
    pub left_behind: u32,
}

impl StepRecord {
    /// Version that this build writes and reads.
    pub const FORMAT: u16 = 1;
    /// An exit file is never longer, bytes. The shim takes this room before the step starts.
    pub const LIMIT: usize = 4096;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_name_is_one_safe_file_name() {
        for good in ["step_script", "after-1", "a", "0.b"] {
            assert!(StepId::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".x", "a/b", "a\0b", "ä", "a b", &"x".repeat(65)] {
            assert!(StepId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_exit_file_fits_its_room_whatever_the_step() {
        let record = StepRecord {
            format: StepRecord::FORMAT,
            step: StepId::new("x".repeat(MAX_STEP_ID)).unwrap(),
            exit: StepExit::Code(i32::MIN),
            spool_bytes: u64::MAX,
            lost_bytes: u64::MAX,
            started_us: u64::MAX,
            ended_us: u64::MAX,
            left_behind: u32::MAX,
        };
        let text = serde_json::to_vec(&record).unwrap();
        assert!(text.len() < StepRecord::LIMIT);
        assert_eq!(serde_json::from_slice::<StepRecord>(&text).unwrap(), record);
    }

    #[test]
    fn only_a_clean_zero_is_success() {
        assert!(StepExit::Code(0).is_success());
        for exit in [StepExit::TimedOut, StepExit::Terminated, StepExit::StoppedByEngine, StepExit::OutputLost] {
            assert!(!exit.is_success());
            assert_ne!(exit.code(), 0);
        }
    }
}
