//! Somebody who looks at a step that failed before its job goes on. The agent has nobody; `exec --shell-on-failure` has.

use futures_util::future::BoxFuture;

use super::sandbox::place::Place;
use super::sandbox::terminal::ShellRequest;

/// A step that failed; its sandbox is still as the step left it.
pub struct FailedStep<'a> {
    /// The job's name.
    pub job: &'a str,
    /// The step's name.
    pub step: &'a str,
    /// How it failed, in words.
    pub how: String,
    /// Where the job lives.
    pub place: &'a Place,
    /// What a shell there needs to be where the step was.
    pub shell: ShellRequest,
}

/// What is to become of the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailure {
    /// It has failed.
    Fail,
    /// It runs once more.
    Retry,
    /// The job goes on as if it had succeeded.
    GoOn,
}

/// Is asked about each main step whose process failed. Dropped when the job is not wanted any more.
pub trait FailureHook: Send + Sync {
    /// Decides. May take as long as it likes; what limits the job's time is its own affair.
    fn step_failed<'a>(&'a self, step: FailedStep<'a>) -> BoxFuture<'a, AfterFailure>;
}
