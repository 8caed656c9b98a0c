//! What a job prints, on its way from the spool to the forge.
//!
//! bytes of a step -> spool (disk, in the run directory) -> filters (masks, tokens, UTF-8, time stamps, limit) -> the job's
//! log file -> [`crate::forge::Reporter::append_log`]. The log file is the queue: a slow forge costs neither memory nor
//! the step's time, and after a crash the log goes on where it was.

mod file;
pub mod filter;
mod job_log;
mod observer;
mod pump;
mod service;
mod voice;

pub(crate) use job_log::now_us;
pub use job_log::{Growth, JobLog, LogStream};
pub use observer::{JobEvent, LineStream, Observer, StepName, StepStatus};
pub use pump::{LogPump, PumpEnd};
pub use service::ServiceVoice;
pub use voice::StepVoice;

/// How something the runner itself says is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// Green: progress worth noticing.
    Notice,
    /// Yellow, headed `WARNING: `.
    Warning,
    /// Red, headed `ERROR: `.
    Error,
}

/// Where the stages of a job write what its user reads. Everything passes the masks. Never blocks for long: the log is
/// a file. Errors of the disk are kept and end the job at the next checkpoint, not here.
pub trait StageLog: Send + Sync {
    /// One line of the runner's own, without its newline.
    fn say(&self, tone: Tone, line: &str);

    /// Output of a program that the runner ran for the job (git), as it came.
    fn output(&self, bytes: &[u8]);
}
