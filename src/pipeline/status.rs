//! Where a job stands, and the one function that moves it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a job stands. `Success`, `Cancelled` and `Skipped` are final; `Failed` may be granted another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// Known, not begun.
    Pending,
    /// Being worked on.
    Running,
    /// Ended well.
    Success,
    /// Ended badly.
    Failed,
    /// Ended because somebody said so.
    Cancelled,
    /// Failed before and waiting to be tried again.
    Retry,
    /// Will never run: its conditions do not hold.
    Skipped,
}

/// What can happen to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobChange {
    /// Work begins.
    Start,
    /// Work ended well.
    Succeed,
    /// Work ended badly.
    Fail,
    /// Somebody ended it.
    Cancel,
    /// A failed job gets another try.
    GrantRetry,
    /// Its conditions do not hold.
    Skip,
}

/// A change that a job in this status cannot take. Always a defect of ours or a lie of the forge, never taken silently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {from} cannot {change}")]
pub struct InvalidTransition {
    /// Where the job stood.
    pub from: JobStatus,
    /// What was asked of it.
    pub change: JobChange,
}

impl JobStatus {
    /// All of them, for tables and tests.
    pub const ALL: [JobStatus; 7] = [
        JobStatus::Pending,
        JobStatus::Running,
        JobStatus::Success,
        JobStatus::Failed,
        JobStatus::Cancelled,
        JobStatus::Retry,
        JobStatus::Skipped,
    ];

    /// The status after `change`: the only place where a status is computed.
    pub fn after(self, change: JobChange) -> Result<Self, InvalidTransition> {
        use JobChange as C;
        use JobStatus as S;
        Ok(match (self, change) {
            (S::Pending | S::Retry, C::Start) => S::Running,
            (S::Pending | S::Retry, C::Skip) => S::Skipped,
            (S::Pending | S::Retry | S::Running, C::Cancel) => S::Cancelled,
            (S::Running, C::Succeed) => S::Success,
            (S::Running, C::Fail) => S::Failed,
            (S::Failed, C::GrantRetry) => S::Retry,
            // The rest by name, so that a new variant stops the build here.
            (S::Pending | S::Retry, C::Succeed | C::Fail | C::GrantRetry)
            | (S::Running, C::Start | C::GrantRetry | C::Skip)
            | (S::Failed, C::Start | C::Succeed | C::Fail | C::Cancel | C::Skip)
            | (
                S::Success | S::Cancelled | S::Skipped,
                C::Start | C::Succeed | C::Fail | C::Cancel | C::GrantRetry | C::Skip,
            ) => return Err(InvalidTransition { from: self, change }),
        })
    }

    /// Whether nothing can happen to the job any more.
    pub fn is_final(self) -> bool {
        matches!(self, JobStatus::Success | JobStatus::Cancelled | JobStatus::Skipped)
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            JobStatus::Pending => "pending",
            JobStatus::Running => "running",
            JobStatus::Success => "success",
            JobStatus::Failed => "failed",
            JobStatus::Cancelled => "cancelled",
            JobStatus::Retry => "retry",
            JobStatus::Skipped => "skipped",
        })
    }
}

impl fmt::Display for JobChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JobChange::Start => "start",
            JobChange::Succeed => "succeed",
            JobChange::Fail => "fail",
            JobChange::Cancel => "be cancelled",
            JobChange::GrantRetry => "be granted a retry",
            JobChange::Skip => "be skipped",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGES: [JobChange; 6] = [
        JobChange::Start,
        JobChange::Succeed,
        JobChange::Fail,
        JobChange::Cancel,
        JobChange::GrantRetry,
        JobChange::Skip,
    ];

    #[test]
    fn final_statuses_take_no_change() {
        for status in JobStatus::ALL.into_iter().filter(|s| s.is_final()) {
            for change in CHANGES {
                assert_eq!(status.after(change), Err(InvalidTransition { from: status, change }));
            }
        }
    }

    #[test]
    fn a_job_that_never_started_can_not_succeed() {
        assert!(JobStatus::Pending.after(JobChange::Succeed).is_err());
        assert!(JobStatus::Failed.after(JobChange::Start).is_err(), "a retry has to be granted first");
    }

    #[test]
    fn a_retry_runs_again() {
        let mut status = JobStatus::Pending;
        for change in [JobChange::Start, JobChange::Fail, JobChange::GrantRetry, JobChange::Start, JobChange::Succeed] {
            status = status.after(change).unwrap();
        }
        assert_eq!(status, JobStatus::Success);
    }
}
