//! How far the agent has been told to stop, and what follows.

use tokio::time::Instant;

use super::Agent;
use crate::agent::{JobRunner, Registrar, Sweeper};

/// How far the agent has been told to stop. Only ever moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stopping {
    /// It serves.
    No,
    /// It takes no more jobs; those that run go on to their end.
    Drain,
    /// Running jobs are cancelled, tidily: after-steps and reports still happen.
    Cancel,
    /// It ends at once. Sandboxes run on, and the next agent takes them up.
    Now,
}

impl Stopping {
    /// One step further.
    pub fn once_more(self) -> Self {
        match self {
            Stopping::No => Stopping::Drain,
            Stopping::Drain => Stopping::Cancel,
            Stopping::Cancel | Stopping::Now => Stopping::Now,
        }
    }

    /// What `status` calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Stopping::No => "serving",
            Stopping::Drain => "draining",
            Stopping::Cancel => "cancelling",
            Stopping::Now => "stopping",
        }
    }
}

impl<G, R, W> Agent<G, R, W>
where
    G: Registrar,
    R: JobRunner<G::Forge, G::Settings>,
    W: Sweeper,
{
    pub(super) fn stop_once_more(&mut self) {
        self.stop(self.stopping.once_more());
    }

    pub(super) fn drain_because(&mut self, why: &str) {
        tracing::info!(why, "the agent takes no more jobs");
        self.stop(self.stopping.max(Stopping::Drain));
    }

    pub(super) fn stop(&mut self, how_far: Stopping) {
        if how_far <= self.stopping {
            return;
        }
        self.stopping = how_far;
        let running = self.slots.len();
        self.drain.cancel(); // polls end; jobs go on
        self.next_step_at = None;
        match how_far {
            Stopping::No => {}
            Stopping::Drain => {
                tracing::info!(running, "no more jobs are taken; the agent ends with the last of them");
                self.next_step_at = self.drain_timeout.map(|timeout| Instant::now() + timeout);
            }
            Stopping::Cancel => {
                tracing::warn!(running, "running jobs are cancelled");
                self.cancel.cancel(); // jobs end; after-steps still run
                self.next_step_at = Some(Instant::now() + self.shutdown_timeout);
            }
            Stopping::Now => tracing::warn!(running, "the agent ends at once; the next one goes on with its jobs"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_goes_one_step_further_and_never_back() {
        let mut stopping = Stopping::No;
        for expected in [Stopping::Drain, Stopping::Cancel, Stopping::Now, Stopping::Now] {
            assert!(stopping.once_more() >= stopping);
            stopping = stopping.once_more();
            assert_eq!(stopping, expected);
        }
    }
}
