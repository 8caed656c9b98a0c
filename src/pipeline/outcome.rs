//! How a job ended and why.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::status::JobChange;

/// Why a job failed, in the words from which every forge's own reason is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// A command of the job's own ended badly, or the job asked for what cannot be.
    ScriptFailure,
    /// The runner, its engine or its machine is at fault.
    RunnerSystemFailure,
    /// One of the job's time limits passed.
    JobExecutionTimeout,
    /// An image could not be pulled, for a reason not told below.
    ImagePullFailure,
    /// What the job asks for and what the operator allows do not go together.
    RunnerConfigurationError,
    /// Somebody else's service did not answer.
    RunnerExternalDependencyFailure,
    /// The agent was told to stop while the job ran.
    RunnerInterrupted,
    /// The forge wanted the job to end, gracefully.
    JobCanceled,
}

/// What kind of trouble it is, which decides whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCategory {
    /// Passing: the network, a busy engine.
    Transient,
    /// No disk, no memory, no time.
    Resource,
    /// What was asked for cannot be had as it is configured.
    Configuration,
    /// What the job itself or something it depends on did.
    Dependency,
    /// Bytes are not what they were.
    Corruption,
    /// Nothing here can go on.
    Catastrophic,
}

/// A failed job: why, with which exit code, and in which words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct JobFailure {
    /// Why.
    pub reason: FailureReason,
    /// The exit code of the command that failed, where it was a command.
    pub exit_code: Option<i32>,
    /// One sentence for the user: what failed, where, and what to do about it.
    pub message: String,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum JobOutcome {
    /// Everything that had to run ended well.
    Success,
    /// Something failed.
    Failed(JobFailure),
    /// The forge aborted the job: it is not wanted any more.
    Cancelled,
}

impl JobFailure {
    /// A failure for `reason` told as `message`.
    pub fn new(reason: FailureReason, message: impl Into<String>) -> Self {
        Self { reason, exit_code: None, message: message.into() }
    }

    /// A command ended with `code`.
    pub fn exit(code: i32) -> Self {
        Self { reason: FailureReason::ScriptFailure, exit_code: Some(code), message: format!("exit code {code}") }
    }

    /// The runner is at fault.
    pub fn system(message: impl Into<String>) -> Self {
        Self::new(FailureReason::RunnerSystemFailure, message)
    }

    /// The last line of the job's log. `(system failure)` stands there for a fault of the runner itself and for nothing
    /// else: not for what is configured, nor for an image or a service of somebody else's.
    pub fn last_words(&self) -> String {
        let kind = if self.reason == FailureReason::RunnerSystemFailure { " (system failure)" } else { "" };
        format!("Job failed{kind}: {}", self.message)
    }

    /// What was asked for and what is configured or allowed do not go together.
    pub fn configuration(message: impl Into<String>) -> Self {
        Self::new(FailureReason::RunnerConfigurationError, message)
    }
}

impl JobOutcome {
    /// Whether the job ended well.
    pub fn is_success(&self) -> bool {
        matches!(self, JobOutcome::Success)
    }

    /// The change that this outcome is for the job's status.
    pub fn change(&self) -> JobChange {
        match self {
            JobOutcome::Success => JobChange::Succeed,
            JobOutcome::Failed(_) => JobChange::Fail,
            JobOutcome::Cancelled => JobChange::Cancel,
        }
    }
}

impl FailureReason {
    /// The name by which GitLab knows the reason; also ours in logs and the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            FailureReason::ScriptFailure => "script_failure",
            FailureReason::RunnerSystemFailure => "runner_system_failure",
            FailureReason::JobExecutionTimeout => "job_execution_timeout",
            FailureReason::ImagePullFailure => "image_pull_failure",
            FailureReason::RunnerConfigurationError => "runner_configuration_error",
            FailureReason::RunnerExternalDependencyFailure => "runner_external_dependency_failure",
            FailureReason::RunnerInterrupted => "runner_interrupted",
            FailureReason::JobCanceled => "job_canceled",
        }
    }

    /// What kind of trouble the reason is.
    pub fn category(self) -> FailureCategory {
        match self {
            FailureReason::ScriptFailure | FailureReason::JobCanceled => FailureCategory::Dependency,
            FailureReason::RunnerSystemFailure | FailureReason::RunnerInterrupted => FailureCategory::Transient,
            FailureReason::JobExecutionTimeout => FailureCategory::Resource,
            FailureReason::ImagePullFailure | FailureReason::RunnerExternalDependencyFailure => {
                FailureCategory::Transient
            }
            FailureReason::RunnerConfigurationError => FailureCategory::Configuration,
        }
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_runners_own_fault_is_called_a_system_failure() {
        assert_eq!(JobFailure::system("no disk").last_words(), "Job failed (system failure): no disk");
        assert_eq!(JobFailure::configuration("no such image").last_words(), "Job failed: no such image");
        assert_eq!(JobFailure::exit(37).last_words(), "Job failed: exit code 37");
        for reason in [FailureReason::ImagePullFailure, FailureReason::RunnerInterrupted] {
            assert_eq!(JobFailure::new(reason, "x").last_words(), "Job failed: x");
        }
    }
}
