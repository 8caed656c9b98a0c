//! A clock that may be wrong, and ages that must not be.
//!
//! Ages count to the later of the wall clock and the highest time recorded, so a clock that went back makes nothing younger. The
//! store stamps what it records by the same rule ([`ClockRecord::stamp`]), so a clock that went back makes nothing old either.
//!
//! **What is a jump.** Between two cycles as much time should pass as the process itself counted (`elapsed`, a monotonic clock); a
//! process that did not do the last cycle cannot know, and expects anything from no time to [`USUAL_INTERVAL`]. A wall clock
//! more than 24 h beyond that, in either direction, is a jump. The cycle that sees it deletes nothing. The next one agrees if its own
//! clock is no jump from the one that was seen. A machine that was switched off for a week looks the same as a wrong clock:
//! it costs that machine one cycle.
//!
//! **What is recorded.** A jump forward does not raise the highest time before it is agreed: one wrong reading must not make
//! everything old for ever. After a jump back that was agreed the highest time goes on with the wall clock, as far ahead of it
//! as it then was; standing still, it would keep everything in grace until the wall clock caught up, which may be years.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::pipeline::duration::in_words;

/// Further from what was expected than this is a jump.
pub const JUMP: Duration = Duration::from_secs(24 * 3600);

/// Between cycles while there is room.
pub const USUAL_INTERVAL: Duration = Duration::from_secs(4 * 3600);

/// What one cycle leaves for the next. The store keeps it as a record of its own, written before anything is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockRecord {
    /// The highest time that two cycles agreed on.
    highest: Timestamp,
    /// The wall clock of the last cycle.
    wall: Timestamp,
    /// How far `highest` runs ahead of a wall clock that was set back, in milliseconds.
    ahead_ms: u64,
    /// The last cycle saw a jump.
    in_doubt: bool,
}

/// How far the wall clock is from where it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockJump {
    /// Too far by this much.
    Forward(Duration),
    /// Behind by this much.
    Back(Duration),
}

/// What a cycle takes the time to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Ages count to here.
    pub now: Timestamp,
    /// If there is one, nothing may be deleted.
    pub jump: Option<ClockJump>,
    /// To be kept for the next cycle.
    pub record: ClockRecord,
}

impl ClockRecord {
    /// For a store without a record: `newest` is the latest time among its entries.
    pub fn first(newest: Option<Timestamp>, wall: Timestamp) -> Self {
        let seen = newest.unwrap_or(wall);
        Self { highest: seen.min(wall), wall: seen, ahead_ms: 0, in_doubt: false }
    }

    /// Reads the wall clock at the begin of a cycle. `elapsed`: time since the last cycle by a clock that nobody sets, if this
    /// process did it.
    pub fn read(&self, wall: Timestamp, elapsed: Option<Duration>) -> Reading {
        if let Some(jump) = self.jump(wall, elapsed) {
            let record = Self { wall, in_doubt: true, ..*self };
            return Reading { now: self.highest.max(wall), jump: Some(jump), record };
        }
        let ahead_ms = if self.in_doubt { self.lead() } else { self.ahead_ms };
        let record = Self { ahead_ms, in_doubt: false, wall, highest: self.highest.max(later(wall, ahead_ms)) };
        Reading { now: record.highest, jump: None, record }
    }

    /// The time to record for what happens at this moment of the wall clock: never before any time that was recorded earlier.
    pub fn stamp(&self, wall: Timestamp) -> Timestamp {
        self.highest.max(later(wall, self.ahead_ms))
    }

    fn jump(&self, wall: Timestamp, elapsed: Option<Duration>) -> Option<ClockJump> {
        let (least, most) = elapsed.map_or((Duration::ZERO, USUAL_INTERVAL), |elapsed| (elapsed, elapsed));
        let passed = wall.duration_since(self.wall);
        let beyond =
            |bound: Duration| passed.saturating_sub(SignedDuration::try_from(bound).unwrap_or(SignedDuration::MAX));
        if let Some(ahead) = longer_than_allowed(beyond(most)) {
            return Some(ClockJump::Forward(ahead));
        }
        let behind = beyond(least).checked_neg().unwrap_or(SignedDuration::MAX);
        longer_than_allowed(behind).map(ClockJump::Back)
    }

    fn lead(&self) -> u64 {
        u64::try_from(self.highest.duration_since(self.wall).as_millis()).unwrap_or(0)
    }
}

fn longer_than_allowed(distance: SignedDuration) -> Option<Duration> {
    Duration::try_from(distance).ok().filter(|distance| *distance > JUMP)
}

fn later(wall: Timestamp, ms: u64) -> Timestamp {
    let ahead = SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX));
    wall.saturating_add(ahead).unwrap_or(wall)
}

impl fmt::Display for ClockJump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (distance, side) = match self {
            Self::Forward(distance) => (distance, "ahead of"),
            Self::Back(distance) => (distance, "behind"),
        };
        write!(
            f,
            "the clock is {} {side} where the last cycle lets expect it: nothing is deleted until the next cycle agrees; \
             set the clock (`timedatectl`) if it is wrong",
            in_words(*distance)
        )
    }
}
