//! Which failures are worth another try, and when it begins.

use std::time::Duration;

use crate::pipeline::{FailureReason, JobFailure, RetryRule};

/// What kind of failure it is, as far as trying again goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetryCategory {
    /// The runner, its engine or its machine: passes mostly.
    TransientInfrastructure,
    /// A registry, a service, somebody else's server: passes mostly.
    TransientDependency,
    /// The job's own doing: the same again, unless its author says otherwise.
    Permanent,
    /// What was asked for and what is configured do not go together: never worth a try.
    Configuration,
    /// Time, memory or room: worth a try when others have let go of theirs.
    Resource,
}

impl RetryCategory {
    /// The category of a failure.
    pub fn of(failure: &JobFailure) -> Self {
        match failure.reason {
            FailureReason::RunnerSystemFailure | FailureReason::RunnerInterrupted => {
                RetryCategory::TransientInfrastructure
            }
            FailureReason::ImagePullFailure | FailureReason::RunnerExternalDependencyFailure => {
                RetryCategory::TransientDependency
            }
            FailureReason::RunnerConfigurationError => RetryCategory::Configuration,
            FailureReason::JobExecutionTimeout => RetryCategory::Resource,
            // Killed by the kernel for want of memory.
            FailureReason::ScriptFailure if failure.exit_code == Some(137) => RetryCategory::Resource,
            FailureReason::ScriptFailure | FailureReason::JobCanceled => RetryCategory::Permanent,
        }
    }

    /// Its name in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            RetryCategory::TransientInfrastructure => "transient infrastructure",
            RetryCategory::TransientDependency => "transient dependency",
            RetryCategory::Permanent => "permanent",
            RetryCategory::Configuration => "configuration",
            RetryCategory::Resource => "resource",
        }
    }

    /// Whether waiting before the next try can help.
    fn heals_with_time(self) -> bool {
        !matches!(self, RetryCategory::Permanent | RetryCategory::Configuration)
    }
}

/// How long to wait before a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Before the second try.
    pub first: Duration,
    /// At most, before jitter.
    pub most: Duration,
    /// How far the jitter goes either way, in hundredths.
    pub jitter_percent: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_secs(5), most: Duration::from_secs(120), jitter_percent: 25 }
    }
}

impl Backoff {
    /// The pause after failed try number `attempt` (from 1). `dice` is a random number from 0 to 1.
    pub fn pause(&self, attempt: u32, dice: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(self.most);
        let spread = f64::from(self.jitter_percent) / 100.0;
        let dice = if dice.is_finite() { dice.clamp(0.0, 1.0) } else { 0.5 };
        doubled.mul_f64(1.0 - spread + 2.0 * spread * dice)
    }
}

/// The pause before the next try, or `None` when there is none. `attempt` tries have failed.
pub fn next_try(
    rule: &RetryRule,
    failure: &JobFailure,
    attempt: u32,
    backoff: &Backoff,
    dice: f64,
) -> Option<Duration> {
    let category = RetryCategory::of(failure);
    let is_worth_it = category != RetryCategory::Configuration
        && failure.reason != FailureReason::JobCanceled
        && rule.covers(failure.reason, failure.exit_code);
    if attempt > rule.max || !is_worth_it {
        return None;
    }
    Some(if category.heals_with_time() { backoff.pause(attempt, dice) } else { Duration::ZERO })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_two_minutes() {
        let seconds: Vec<u64> = (1..=7).map(|attempt| Backoff::default().pause(attempt, 0.5).as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 80, 120, 120]);
        assert_eq!(Backoff::default().pause(1, 0.0), Duration::from_millis(3750));
        assert_eq!(Backoff::default().pause(9, 1.0), Duration::from_secs(150));
    }

    #[test]
    fn only_what_the_rule_names_is_tried_again() {
        let rule = RetryRule { max: 2, on: vec![FailureReason::RunnerSystemFailure], exit_codes: vec![7] };
        let backoff = Backoff::default();
        assert_eq!(next_try(&rule, &JobFailure::exit(7), 1, &backoff, 0.5), Some(Duration::ZERO));
        assert_eq!(next_try(&rule, &JobFailure::exit(8), 1, &backoff, 0.5), None);
        assert_eq!(next_try(&rule, &JobFailure::system("x"), 2, &backoff, 0.5), Some(Duration::from_secs(10)));
        assert_eq!(next_try(&rule, &JobFailure::system("x"), 3, &backoff, 0.5), None);
        let any = RetryRule { max: 1, ..RetryRule::default() };
        assert_eq!(next_try(&any, &JobFailure::configuration("x"), 1, &backoff, 0.5), None);
    }
}
