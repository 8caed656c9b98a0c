//! A stage is tried as often as the job asks for, with growing pauses.

use std::time::Duration;

use crate::executor::halt::Halt;
use crate::executor::log::{StageLog, Tone};

const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The tries of one stage. (protocols: GitLab runner 8.3, `FF_USE_EXPONENTIAL_BACKOFF_STAGE_RETRY`.)
pub(super) struct Tries {
    left: u32,
    pause: Duration,
}

impl Tries {
    /// At most `attempts` tries, at least one.
    pub(super) fn new(attempts: u32) -> Self {
        Self { left: attempts.max(1), pause: FIRST_PAUSE }
    }

    /// Counts a try that failed with `error`. True after a pause when there is another. The pause ends early when the job
    /// must not go on: the next try meets the cause.
    pub(super) async fn again(&mut self, error: &str, log: &dyn StageLog, halt: &Halt) -> bool {
        self.left -= 1;
        if self.left == 0 {
            return false;
        }
        log.say(Tone::Warning, &format!("{error}; trying again in {} seconds", self.pause.as_secs()));
        // Whichever comes first.
        let _ = tokio::time::timeout(self.pause, halt.wait(None, false)).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}
