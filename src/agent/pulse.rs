//! What the poll loops of one registration tell each other and hear from the rest of the agent.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// For so long after a job's end its successors are looked for more often: a forge needs a moment to queue them.
const SUCCESSORS_COME_WITHIN: Duration = Duration::from_secs(5);

/// The pause between two polls in that time.
const SUCCESSOR_PAUSE: Duration = Duration::from_secs(1);

/// The pulse of one registration.
#[derive(Default)]
pub struct Pulse {
    /// Whether it gets one job after the other, so that a second question beside the first is worth while.
    is_busy: watch::Sender<bool>,
    /// When a job of it ended last.
    job_ended: watch::Sender<Option<Instant>>,
    /// How often the operator had the configuration read again.
    reloads: watch::Sender<u64>,
}

impl Pulse {
    /// Whether the last question brought a job.
    pub fn set_busy(&self, is_busy: bool) {
        self.is_busy.send_if_modified(|was| std::mem::replace(was, is_busy) != is_busy);
    }

    /// Waits until the registration is busy.
    pub async fn busy(&self) {
        // The sender is ours, so that it is there as long as we wait.
        let _ = self.is_busy.subscribe().wait_for(|is_busy| *is_busy).await;
    }

    /// A job ended: those that waited for it may be had now.
    pub fn job_has_ended(&self) {
        self.job_ended.send_replace(Some(Instant::now()));
    }

    /// The operator had the configuration read again: what was given up is tried again.
    pub fn reloaded(&self) {
        self.reloads.send_modify(|times| *times += 1);
    }

    /// What happens from now on.
    pub fn watch(&self) -> PulseWatch {
        PulseWatch { job_ended: self.job_ended.subscribe(), reloads: self.reloads.subscribe() }
    }

    /// `pause`, or less soon after a job's end.
    pub fn pause(&self, pause: Duration) -> Duration {
        let is_soon = self.job_ended.borrow().is_some_and(|at| at.elapsed() < SUCCESSORS_COME_WITHIN);
        if is_soon { pause.min(SUCCESSOR_PAUSE) } else { pause }
    }
}

/// Sees what happened since it was made.
pub struct PulseWatch {
    job_ended: watch::Receiver<Option<Instant>>,
    reloads: watch::Receiver<u64>,
}

impl PulseWatch {
    /// Waits until a job has ended.
    pub async fn job_ended(&mut self) {
        changed(&mut self.job_ended).await;
    }

    /// Waits until the configuration was read again.
    pub async fn reloaded(&mut self) {
        changed(&mut self.reloads).await;
    }
}

async fn changed<T>(what: &mut watch::Receiver<T>) {
    if what.changed().await.is_err() {
        std::future::pending().await // the registration is gone: nothing happens any more
    }
}
