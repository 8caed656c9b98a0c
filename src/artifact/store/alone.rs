//! Being alone with a store, beside others that come and go.
//!
//! Whoever wants to be alone closes `gate` for a while, so that those who are at work come to their end and no others begin. One
//! who works for long must not keep all others waiting meanwhile: so the gate is closed for a second at first, then longer and longer, and in between it
//! is open for as long. Work that is short, however much of it there is, is over at the end of such a while; work that takes
//! longer is waited for with the gate open, too.

use std::time::Duration;

use super::error::StoreError;
use super::layout::Layout;
use super::session::{self, Held, How};
use crate::artifact::Interrupt;

/// How long somebody waits to be alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    /// For so long in all.
    pub(super) in_all: Duration,
    /// So long others are kept out at first ...
    pub(super) first: Duration,
    /// ... and later so long at a time. Less than they wait for.
    pub(super) longest: Duration,
}

impl Patience {
    /// Of a collection: nobody waits for it.
    pub(super) const COLLECTION: Self = Self::of(Duration::from_secs(10 * 60));

    /// Of a look at everything, which takes hours and would be in vain: longer than a collection may be waited for.
    pub(super) const VERIFICATION: Self = Self::of(Duration::from_secs(30 * 60));

    /// Where a job waits.
    pub(super) const JOB: Self = Self::of(Duration::from_secs(60));

    const fn of(in_all: Duration) -> Self {
        Self { in_all, first: Duration::from_secs(1), longest: Duration::from_secs(30) }
    }

    /// How long the gate is closed, one time after the other.
    fn windows(self) -> impl Iterator<Item = Duration> {
        let first = self.first.min(self.longest);
        std::iter::successors(Some(first), move |window| Some(self.longest.min(*window * 2)))
    }

    /// What is left of it for whoever has waited in vain.
    fn at_its_end(self) -> Self {
        Self { in_all: self.first.min(self.in_all), ..self }
    }

    /// What is said when it is at its end.
    pub(super) fn busy(self) -> StoreError {
        StoreError::Busy { seconds: self.in_all.as_secs() }
    }
}

/// Takes the lock of the store for oneself: nobody else works with it as long as it is held. `None`: others did for as long as one
/// was patient.
pub(super) fn alone(layout: &Layout, patience: Patience, interrupt: &Interrupt) -> Result<Option<Held>, StoreError> {
    let mut left = patience.in_all;
    for window in patience.windows() {
        {
            let closed = window.min(left);
            let gate = session::take(&layout.gate(), How::Exclusive, closed, interrupt)?;
            if gate.is_some()
                && let Some(held) = session::take(&layout.lock(), How::Exclusive, closed, interrupt)?
            {
                return Ok(Some(held));
            }
            left -= closed;
        }
        let open = window.min(left);
        if let Some(held) = session::take(&layout.lock(), How::Exclusive, open, interrupt)? {
            return Ok(Some(held));
        }
        left -= open;
        if left.is_zero() {
            break;
        }
    }
    Ok(None)
}

/// Being alone several times, for one piece of work.
#[derive(Debug)]
pub(super) struct Turns {
    patience: Patience,
    /// Once it was waited in vain: then it is for a moment only, so that what can be done without is not kept waiting for hours.
    is_in_vain: bool,
}

impl Turns {
    pub(super) fn new(patience: Patience) -> Self {
        Self { patience, is_in_vain: false }
    }

    /// Whether something had to be left, since others were at work all the time.
    pub(super) fn is_in_vain(&self) -> bool {
        self.is_in_vain
    }

    /// [`alone`].
    pub(super) fn alone(&mut self, layout: &Layout, interrupt: &Interrupt) -> Result<Option<Held>, StoreError> {
        let patience = if self.is_in_vain { self.patience.at_its_end() } else { self.patience };
        let held = alone(layout, patience, interrupt)?;
        self.is_in_vain |= held.is_none();
        Ok(held)
    }

    /// What is said when it was in vain.
    pub(super) fn busy(&self) -> StoreError {
        self.patience.busy()
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::{WAIT, share};
    use super::*;

    /// One that keeps others out for moments only, and goes on for as long as a test takes.
    const BRIEFLY: Patience = Patience {
        in_all: Duration::from_secs(600),
        first: Duration::from_millis(20),
        longest: Duration::from_millis(80),
    };

    fn layout() -> (tempfile::TempDir, Layout) {
        let temp = tempfile::tempdir().unwrap();
        let layout = Layout::new(temp.path());
        (temp, layout)
    }

    /// Somebody who does not wait.
    fn hasty() -> Interrupt {
        let interrupt = Interrupt::default();
        interrupt.raise();
        interrupt
    }

    #[test]
    fn others_are_kept_out_for_longer_and_longer_but_never_for_longer_than_they_wait() {
        let seconds: Vec<u64> = Patience::COLLECTION.windows().take(8).map(|window| window.as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30, 30]);
        for patience in [Patience::COLLECTION, Patience::VERIFICATION, Patience::JOB] {
            assert!(patience.windows().take(100).all(|window| window * 2 <= WAIT));
        }
    }

    #[test]
    fn one_who_works_for_long_does_not_keep_all_others_out() {
        let (_temp, layout) = layout();
        let long = share(&layout, &Interrupt::default()).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| alone(&layout, BRIEFLY, &Interrupt::default()));
            for _ in 0..3 {
                // The gate is closed ...
                while share(&layout, &hasty()).is_ok() {
                    std::thread::yield_now();
                }
                // ... and opened although the one who works for long is still at it.
                drop(share(&layout, &Interrupt::default()).unwrap());
            }
            assert!(!waiting.is_finished());
            drop(long);
            assert!(waiting.join().unwrap().unwrap().is_some());
        });
    }

    #[test]
    fn one_gets_in_where_the_work_of_others_always_overlaps() {
        let (_temp, layout) = layout();
        std::thread::scope(|scope| {
            let mut held = share(&layout, &Interrupt::default()).unwrap();
            let waiting = scope.spawn(|| alone(&layout, BRIEFLY, &Interrupt::default()).map(|held| held.is_some()));
            while !waiting.is_finished() {
                match share(&layout, &hasty()) {
                    // The next begins before the one before ends.
                    Ok(next) => held = next,
                    Err(_) => {
                        drop(held);
                        held = share(&layout, &Interrupt::default()).unwrap();
                    }
                }
            }
            assert!(waiting.join().unwrap().unwrap());
        });
    }

    #[test]
    fn who_has_waited_in_vain_leaves_the_gate_open() {
        let (_temp, layout) = layout();
        let long = share(&layout, &Interrupt::default()).unwrap();
        let mut turns = Turns::new(Patience { in_all: Duration::from_millis(50), ..BRIEFLY });
        for _ in 0..2 {
            assert!(turns.alone(&layout, &Interrupt::default()).unwrap().is_none());
            assert!(turns.is_in_vain());
            share(&layout, &hasty()).unwrap();
        }
        assert!(matches!(turns.alone(&layout, &hasty()), Err(StoreError::Interrupted)));
        share(&layout, &hasty()).unwrap();
        drop(long);
        assert!(turns.alone(&layout, &hasty()).unwrap().is_some());
    }
}
