//! How jobs ended.

use std::collections::HashMap;

use crate::parser::expression::Value;
use crate::pipeline::JobStatus;

/// How a job, or one leg of its matrix, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegEnd {
    /// Its last status.
    pub status: JobStatus,
    /// How many artifacts it gave away.
    pub artifacts: u64,
}

/// How the jobs ended that have, by their names in the file. A job with a matrix counts as one: it failed where a leg has, else was
/// cancelled where a leg was, else succeeded where a leg has.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    jobs: HashMap<String, LegEnd>,
}

impl Ended {
    /// Says how a job or one of its legs ended.
    pub fn add(&mut self, job: &str, end: LegEnd) {
        match self.jobs.get_mut(job) {
            Some(known) => {
                known.artifacts = known.artifacts.saturating_add(end.artifacts);
                if weight(end.status) > weight(known.status) {
                    known.status = end.status;
                }
            }
            None => {
                self.jobs.insert(job.to_owned(), end);
            }
        }
    }

    /// How a job ended; `None`: it has not.
    pub fn get(&self, job: &str) -> Option<LegEnd> {
        self.jobs.get(job).copied()
    }

    /// What expressions see under `job.NAME`.
    pub(super) fn value(&self, job: &str) -> Option<Value> {
        self.get(job).map(value_of)
    }

    /// What expressions see under `job`.
    pub(super) fn all(&self) -> Value {
        let mut jobs: Vec<(&str, Value)> =
            self.jobs.iter().map(|(name, end)| (name.as_str(), value_of(*end))).collect();
        jobs.sort_by(|a, b| a.0.cmp(b.0));
        Value::object(jobs)
    }
}

fn value_of(end: LegEnd) -> Value {
    #[allow(clippy::cast_precision_loss, reason = "nobody has that many")]
    let count = Value::from(end.artifacts as f64);
    let artifacts = Value::object([("count", count)]);
    Value::object([("status", Value::from(end.status.to_string())), ("artifacts", artifacts)])
}

/// Which of two ends tells more of a job whose legs ended differently.
fn weight(status: JobStatus) -> u8 {
    match status {
        JobStatus::Failed | JobStatus::Retry | JobStatus::Running | JobStatus::Pending => 3,
        JobStatus::Cancelled => 2,
        JobStatus::Success => 1,
        JobStatus::Skipped => 0,
    }
}
