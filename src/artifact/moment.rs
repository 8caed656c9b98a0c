//! Time that has passed, whatever the clock on the wall says.

use std::time::Duration;

/// A point in time, by a clock that goes on while the machine sleeps, as that of other machines does. (clock_gettime(2),
/// `CLOCK_BOOTTIME`; `std::time::Instant` stands still meanwhile.)
#[derive(Clone, Copy, Debug)]
pub struct Moment(Duration);

impl Moment {
    /// This one.
    pub fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Self(Duration::try_from(time).unwrap_or_default())
    }

    /// How long ago it was.
    pub fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}
