//! Reading below a rate.

use std::time::{Duration, Instant};

use crate::artifact::Interrupt;

/// Between two looks at whether to go on.
const STEP: Duration = Duration::from_millis(50);

/// Keeps reading below a rate.
pub(super) struct Pace {
    rate: Option<u64>,
    began: Instant,
    read: u64,
}

impl Pace {
    /// So many bytes a second at most; without a number, or with none, as fast as it goes.
    pub(super) fn new(rate: Option<u64>) -> Self {
        Self { rate: rate.filter(|rate| *rate > 0), began: Instant::now(), read: 0 }
    }

    pub(super) fn wait_for(&mut self, bytes: u64, interrupt: &Interrupt) {
        self.read += bytes;
        let Some(rate) = self.rate else { return };
        let due = Duration::from_secs_f64(self.read as f64 / rate as f64);
        while let Some(wait) = due.checked_sub(self.began.elapsed()).filter(|wait| *wait > Duration::from_millis(5)) {
            if interrupt.is_raised() {
                return;
            }
            std::thread::sleep(wait.min(STEP));
        }
    }
}
