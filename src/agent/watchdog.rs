//! What systemd hears from the agent.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;

use super::board::Board;
use super::capacity::Figures;

/// Speaks to the service manager that started the agent, if one did. A message that cannot be sent is no fault of the
/// agent's.
#[derive(Debug)]
pub struct ServiceManager {
    feed_every: Option<Duration>,
    shown: String,
}

impl ServiceManager {
    /// The one named by this process's environment.
    pub fn of_process() -> Self {
        Self { feed_every: sd_notify::watchdog_enabled().map(|limit| limit / 2), shown: String::new() }
    }

    /// How often it wants to hear that the agent moves; `None`: not at all.
    pub fn feed_every(&self) -> Option<Duration> {
        self.feed_every
    }

    /// The agent serves.
    pub fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// The agent takes no more jobs and ends with the last one.
    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// The agent moves. Called from its loop, and only good when every poll loop moves, too: an agent that no longer
    /// asks its forges is of no use, however alive its process is.
    pub fn feed(&self, board: &Board, now: Instant) {
        if board.is_moving(now) {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!(stuck = ?board.stuck(now), "a poll loop is stuck; the watchdog is not fed");
        }
    }

    /// One line for `systemctl status`.
    pub fn show(&mut self, state: &str, figures: Figures, registrations: usize) {
        let line = format!(
            "{state}: {} of {} jobs running, {} waiting, {registrations} registrations",
            figures.running, figures.concurrent, figures.waiting
        );
        if line != self.shown {
            tell(&[NotifyState::Status(&line)]);
            self.shown = line;
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}
