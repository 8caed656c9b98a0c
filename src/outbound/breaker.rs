//! When a remote is left alone for a while.
//!
//! A remote that does not answer is not asked by every part of the agent at once and again: after some failures in a
//! row everybody is told so at once, until one probe gets through. "Does not answer" means no HTTP answer at all, or
//! one of a gateway in front of it (502, 504): a 500 or a 403 is an answer.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures in a row after which a remote is left alone.
const FAILURES: u32 = 5;
/// The first rest; each further one is twice as long.
const FIRST_REST: Duration = Duration::from_secs(5);
/// The longest rest. A remote that is back is found out within this time: jobs wait for it.
const LONGEST_REST: Duration = Duration::from_secs(15);
/// How long a probe is waited for before another is let through: it may be a poll that the remote holds.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests go through.
    Closed {
        /// Failures in a row so far.
        failures: u32,
    },
    /// None goes through until a moment.
    Open {
        /// The moment.
        until: Instant,
        /// How long the rest is.
        rest: Duration,
    },
    /// One goes through to see whether the remote is back.
    HalfOpen {
        /// When the probe was let through.
        since: Instant,
        /// How long the last rest was.
        rest: Duration,
    },
}

/// What can happen to a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerChange {
    /// The remote answered.
    Answered,
    /// It did not.
    Failed,
    /// A request wants to go through after the rest.
    Probe,
}

impl BreakerState {
    /// The state after `change` at `now`: the only place where it is computed.
    pub fn after(self, change: BreakerChange, now: Instant) -> Self {
        use BreakerChange as C;
        use BreakerState as S;
        match (self, change) {
            (_, C::Answered) => S::Closed { failures: 0 },
            (S::Closed { failures }, C::Failed) if failures + 1 < FAILURES => S::Closed { failures: failures + 1 },
            (S::Closed { .. }, C::Failed) => S::Open { until: now + FIRST_REST, rest: FIRST_REST },
            (S::HalfOpen { rest, .. }, C::Failed) => {
                let rest = (rest * 2).min(LONGEST_REST);
                S::Open { until: now + rest, rest }
            }
            // A request that was under way when the breaker opened says nothing new.
            (S::Open { .. }, C::Failed) | (S::Closed { .. }, C::Probe) => self,
            (S::Open { rest, .. } | S::HalfOpen { rest, .. }, C::Probe) => S::HalfOpen { since: now, rest },
        }
    }
}

/// The breaker of one remote.
#[derive(Debug)]
pub struct CircuitBreaker {
    remote: String,
    state: Mutex<BreakerState>,
}

impl CircuitBreaker {
    /// A closed one.
    pub fn new(remote: &str) -> Self {
        Self { remote: remote.to_owned(), state: Mutex::new(BreakerState::Closed { failures: 0 }) }
    }

    /// Whether a request may go out at `now`; if not, how long to wait.
    pub fn admit(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = match *state {
            BreakerState::Closed { .. } => return Ok(()),
            BreakerState::Open { until, .. } => until.saturating_duration_since(now),
            BreakerState::HalfOpen { since, .. } => (since + PROBE_PATIENCE).saturating_duration_since(now),
        };
        if !wait.is_zero() {
            return Err(wait);
        }
        *state = state.after(BreakerChange::Probe, now);
        Ok(())
    }

    /// Notes how a request ended at `now`.
    pub fn note(&self, change: BreakerChange, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *state;
        *state = before.after(change, now);
        match (before, *state) {
            (BreakerState::Closed { .. } | BreakerState::HalfOpen { .. }, BreakerState::Open { rest, .. }) => {
                tracing::warn!(remote = %self.remote, seconds = rest.as_secs(), "remote does not answer; leaving it alone");
            }
            (BreakerState::Open { .. } | BreakerState::HalfOpen { .. }, BreakerState::Closed { .. }) => {
                tracing::info!(remote = %self.remote, "remote answers again");
            }
            _ => {}
        }
    }

    /// Where it stands.
    pub fn state(&self) -> BreakerState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_after_one_answer() {
        let breaker = CircuitBreaker::new("https://f");
        let start = Instant::now();
        for _ in 1..FAILURES {
            breaker.note(BreakerChange::Failed, start);
            assert_eq!(breaker.admit(start), Ok(()));
        }
        breaker.note(BreakerChange::Failed, start);
        assert_eq!(breaker.admit(start), Err(FIRST_REST));
        let later = start + FIRST_REST;
        assert_eq!(breaker.admit(later), Ok(()), "one probe");
        assert_eq!(breaker.admit(later), Err(PROBE_PATIENCE), "only one");
        assert_eq!(breaker.admit(later + PROBE_PATIENCE), Ok(()), "unless the probe is held");
        breaker.note(BreakerChange::Failed, later);
        assert_eq!(breaker.admit(later), Err(FIRST_REST * 2), "the next rest is longer");
        breaker.note(BreakerChange::Answered, later);
        assert_eq!(breaker.admit(later), Ok(()));
    }

    #[test]
    fn an_answer_in_between_starts_the_count_again() {
        let now = Instant::now();
        let mut state = BreakerState::Closed { failures: FAILURES - 1 };
        state = state.after(BreakerChange::Answered, now).after(BreakerChange::Failed, now);
        assert_eq!(state, BreakerState::Closed { failures: 1 });
    }

    #[test]
    fn no_rest_is_longer_than_the_limit() {
        let now = Instant::now();
        let state = BreakerState::HalfOpen { since: now, rest: LONGEST_REST }.after(BreakerChange::Failed, now);
        assert_eq!(state, BreakerState::Open { until: now + LONGEST_REST, rest: LONGEST_REST });
    }
}
