//! When to ask again after a failure.

use std::time::Duration;

/// The pause after the first failure, before jitter.
const FIRST: Duration = Duration::from_secs(1);

/// The longest pause of our own making: jobs wait for a forge that is back.
const LONGEST: Duration = Duration::from_secs(30);

/// The longest pause that a forge can impose. One that asks for a week is asked again in an hour.
const LONGEST_ASKED_FOR: Duration = Duration::from_secs(3600);

/// How many refusals in a row make a registration unhealthy (protocols: GitLab 2.5).
const REFUSALS: u32 = 3;

/// A random number from 0 to 1, without 1; handed in so that tests decide.
pub type Random = fn() -> f64;

/// Pauses that double from one second to half a minute, each between half of that and the whole, so that a thousand agents
/// do not come back at once.
#[derive(Debug)]
pub struct Backoff {
    failures: u32,
    refusals: u32,
    random: Random,
}

impl Backoff {
    /// No failure yet.
    pub fn new(random: Random) -> Self {
        Self { failures: 0, refusals: 0, random }
    }

    /// An answer came.
    pub fn reset(&mut self) {
        self.failures = 0;
        self.refusals = 0;
    }

    /// The pause after a failure. What the forge asked for is honoured, with some jitter on top.
    pub fn after_failure(&mut self, asked_for: Option<Duration>) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let own = whole.mul_f64(0.5 + (self.random)() / 2.0);
        match asked_for {
            Some(asked_for) => asked_for.min(LONGEST_ASKED_FOR) + own / 4,
            None => own,
        }
    }

    /// The pause after the forge refused the registration: as after a failure at first, `unhealthy` from the third
    /// time in a row on.
    pub fn after_refusal(&mut self, unhealthy: Duration) -> Refusal {
        self.refusals += 1;
        if self.refusals < REFUSALS {
            return Refusal { pause: self.after_failure(None), is_unhealthy: false };
        }
        // One question after the pause; refused again, the registration is left alone again.
        self.refusals = REFUSALS - 1;
        Refusal { pause: unhealthy, is_unhealthy: true }
    }
}

/// What follows from a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// How long not to ask.
    pub pause: Duration,
    /// Whether it has happened so often that the registration counts as unhealthy.
    pub is_unhealthy: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_minute_and_start_again_after_an_answer() {
        let mut backoff = Backoff::new(|| 0.999_999);
        let pauses: Vec<u64> = (0..8).map(|_| backoff.after_failure(None).as_secs_f64().round() as u64).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        backoff.reset();
        assert!(backoff.after_failure(None) < Duration::from_secs(1));
        let mut eager = Backoff::new(|| 0.0);
        assert_eq!(eager.after_failure(None), Duration::from_millis(500), "jitter takes half at most");
    }

    #[test]
    fn a_forge_is_not_asked_before_it_wants_to_be_and_can_not_silence_us_for_ever() {
        let mut backoff = Backoff::new(|| 0.5);
        let asked_for = Duration::from_secs(30);
        assert!(backoff.after_failure(Some(asked_for)) >= asked_for);
        assert!(backoff.after_failure(Some(Duration::MAX)) < Duration::from_secs(3700));
    }

    #[test]
    fn the_third_refusal_makes_a_registration_unhealthy() {
        let hour = Duration::from_secs(3600);
        let mut backoff = Backoff::new(|| 0.5);
        let refusals: Vec<bool> = (0..4).map(|_| backoff.after_refusal(hour).is_unhealthy).collect();
        assert_eq!(refusals, [false, false, true, true]);
        backoff.reset();
        assert!(!backoff.after_refusal(hour).is_unhealthy);
    }
}
