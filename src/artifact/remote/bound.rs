//! How long a call may take, and who may end it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::artifact::Interrupt;

/// How often a call looks whether it should end.
const TICK: Duration = Duration::from_millis(100);

/// So many bytes have to move within the deadline of a transfer: a server that sends one byte a minute is no better than
/// one that sends none.
const PROGRESS: u64 = 64 << 10;

/// How long a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// In all.
    Total(Duration),
    /// Without [`PROGRESS`].
    Stall(Duration),
}

/// Why a call was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// After so long.
    Late(Duration),
    /// On request.
    Interrupted,
}

/// Bytes that moved in a call, in both directions. The transport counts them.
#[derive(Clone, Debug, Default)]
pub(super) struct Moved(Arc<AtomicU64>);

tokio::task_local! {
    static MOVED: Moved;
}

impl Moved {
    /// The counter of the call that is running; outside of one, one that nobody looks at.
    pub(super) fn current() -> Self {
        MOVED.try_with(Self::clone).unwrap_or_default()
    }

    pub(super) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Does `work` until it is done, `bound` is passed or `interrupt` is raised.
pub(super) async fn within<T>(
    bound: Bound,
    interrupt: &Interrupt,
    work: impl Future<Output = T>,
) -> Result<T, Stopped> {
    if interrupt.is_raised() {
        return Err(Stopped::Interrupted);
    }
    let moved = Moved::default();
    tokio::select! {
        biased;
        done = MOVED.scope(moved.clone(), work) => Ok(done),
        stopped = watch(bound, interrupt, &moved) => Err(stopped),
    }
}

async fn watch(bound: Bound, interrupt: &Interrupt, moved: &Moved) -> Stopped {
    let (Bound::Total(limit) | Bound::Stall(limit)) = bound;
    let mut since = Instant::now();
    let mut before = 0;
    loop {
        tokio::time::sleep(TICK.min(limit)).await;
        if interrupt.is_raised() {
            return Stopped::Interrupted;
        }
        if matches!(bound, Bound::Stall(_)) && moved.bytes() - before >= PROGRESS {
            before = moved.bytes();
            since = Instant::now();
        }
        if since.elapsed() >= limit {
            return Stopped::Late(limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_transfer_may_take_long_and_may_not_stand_still() {
        let never = Interrupt::default();
        let second = Duration::from_secs(1);
        let trickle = |bytes: usize| async move {
            for _ in 0..100 {
                tokio::time::sleep(second / 2).await;
                Moved::current().add(bytes);
            }
        };
        assert_eq!(within(Bound::Stall(second), &never, trickle(PROGRESS as usize)).await, Ok(()));
        assert_eq!(within(Bound::Stall(second), &never, trickle(1)).await, Err(Stopped::Late(second)));
        assert_eq!(within(Bound::Total(second), &never, trickle(PROGRESS as usize)).await, Err(Stopped::Late(second)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_interrupt_ends_what_would_wait_for_ever() {
        let interrupt = Interrupt::default();
        let raised = interrupt.clone();
        let raise = async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            raised.raise();
            std::future::pending::<()>().await;
        };
        let long = Bound::Total(Duration::from_secs(3600));
        assert_eq!(within(long, &interrupt, raise).await, Err(Stopped::Interrupted));
    }
}
