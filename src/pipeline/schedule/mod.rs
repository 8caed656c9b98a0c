//! Which job of a pipeline starts when, and what becomes of those that do not.
//!
//! A [`Schedule`] is told what happened (`ended`, `due`, `decided`, `cancel`) and answers with [`Move`]s: what is to be done
//! now. It has no clock and throws no dice: delays are asked for as moves, and the jitter of a back-off is handed in. An end costs
//! as much as the job has jobs that wait for it. Whoever drives it decides how many of the started jobs run at a time.
//!
//! - [`tally`]: what the ends of those that a job waits for mean together; the rules of stages and of named needs.
//! - [`retry`]: which failures are worth another try, and when.
//! - [`claims`]: groups, resource groups and the limits of the machine, which hold back jobs that could start.
//! - `nodes`: who waits for whom.
//! - `state`: the schedule itself.

pub mod claims;
mod nodes;
pub mod retry;
mod state;
pub mod tally;

#[cfg(test)]
mod tests;

pub use nodes::ScheduleError;
pub use retry::{Backoff, RetryCategory};
pub use state::Schedule;

use std::time::Duration;

/// A job of the schedule: its place in the definition's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobIndex(pub usize);

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// Run it when there is room, and tell [`Schedule::ended`].
    Start {
        /// Which.
        job: JobIndex,
        /// Which try it is, from 1.
        attempt: u32,
    },
    /// Ask its language whether it runs, and tell [`Schedule::decided`].
    Decide(JobIndex),
    /// Tell [`Schedule::due`] after this time.
    Wait {
        /// Which.
        job: JobIndex,
        /// How long.
        delay: Duration,
        /// Why, one sentence.
        reason: String,
    },
    /// It waits for a person's word; those that do not wait for it go on.
    Hold(JobIndex),
    /// It ends without having run.
    Never {
        /// Which.
        job: JobIndex,
        /// Skipped, or cancelled.
        end: NeverRan,
        /// Why, one sentence.
        reason: String,
    },
    /// End it: it runs.
    Cancel {
        /// Which.
        job: JobIndex,
        /// Why, one sentence.
        reason: String,
    },
}

/// How a job ends that never ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeverRan {
    /// Its conditions do not hold.
    Skipped,
    /// Somebody ended what it belongs to.
    Cancelled,
}

/// How a pipeline ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipelineEnd {
    /// No job failed that may not.
    Success,
    /// One did.
    Failed,
    /// Somebody ended it.
    Cancelled,
}
