//! How many polls of one registration are open at the same time. (protocols: GitLab 2.5.)

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What a poll came to, as far as its neighbours are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollYield {
    /// A job: ask more at the same time.
    Job,
    /// None: ask less.
    Nothing,
    /// The server is busy: ask much less.
    Busy,
}

/// Lets up to a number of polls through; the number follows what they bring, between 1 and a ceiling.
#[derive(Debug)]
pub struct RequestPace {
    ceiling: f64,
    adaptive: bool,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    wanted: f64,
    open: u32,
}

/// The right to one poll; gives it back when dropped.
#[derive(Debug)]
pub struct PollRight<'a> {
    pace: &'a RequestPace,
}

impl RequestPace {
    /// At most `ceiling` polls (at least 1); without `adaptive` always that many.
    pub fn new(ceiling: u32, adaptive: bool) -> Self {
        let ceiling = f64::from(ceiling.max(1));
        let wanted = if adaptive { 1.0 } else { ceiling };
        Self { ceiling, adaptive, state: Mutex::new(State { wanted, open: 0 }), freed: Notify::new() }
    }

    /// Waits for the right to poll; `None` when `stop` comes first.
    pub async fn enter(&self, stop: &CancellationToken) -> Option<PollRight<'_>> {
        loop {
            let freed = self.freed.notified();
            {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if f64::from(state.open) < state.wanted.ceil().clamp(1.0, self.ceiling) {
                    state.open += 1;
                    return Some(PollRight { pace: self });
                }
            }
            stop.run_until_cancelled(freed).await?;
        }
    }

    /// Notes what a poll came to.
    pub fn note(&self, brought: PollYield) {
        if !self.adaptive {
            return;
        }
        let factor = match brought {
            PollYield::Job => 1.1,
            PollYield::Nothing => 0.95,
            PollYield::Busy => 0.5,
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.wanted = (state.wanted * factor).clamp(1.0, self.ceiling);
        drop(state);
        self.freed.notify_one();
    }
}

impl Drop for PollRight<'_> {
    fn drop(&mut self) {
        let mut state = self.pace.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.open = state.open.saturating_sub(1);
        drop(state);
        self.pace.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn jobs_open_the_door_and_trouble_closes_it() {
        let pace = RequestPace::new(3, true);
        let stop = CancellationToken::new();
        let first = pace.enter(&stop).await.unwrap();
        pace.note(PollYield::Job);
        let second = pace.enter(&stop).await.unwrap();
        for _ in 0..9 {
            pace.note(PollYield::Busy);
        }
        drop(second);
        let stopped = CancellationToken::new();
        stopped.cancel();
        assert!(pace.enter(&stopped).await.is_none(), "one is open, and one is all");
        drop(first);
        assert!(pace.enter(&stop).await.is_some());
    }
}
