//! A clock that may be wrong, and ages that must not be.
//!
//! Ages count to the later of the wall clock and the highest time recorded, so a clock that went back makes nothing
//! younger. The store stamps what it records by the same rule ([`ClockRecord::stamp`]), so a clock that went back makes
//! nothing old either.
//!
//! **What is a jump.** Between two cycles as much time should pass as the process itself counted (`elapsed`, a
//! monotonic clock); a process that did not do the last cycle cannot know, and expects anything from no time to
//! [`USUAL_INTERVAL`], or to the time between the two cycles before where that was longer (32 days at most). A wall clock more than 24 h
//! beyond that, in either direction, is a jump. The cycle that sees it deletes nothing. The next one agrees if its own
//! clock is no jump from the one that was seen. A machine that was switched off for a week looks the same as a wrong
//! clock: it costs that machine one cycle, and one that is collected once a week its first.
//!
//! **What is recorded.** A jump forward does not raise the highest time before it is agreed: one wrong reading must not
//! make everything old for ever. After a jump back the highest time goes on with the wall clock, as far ahead of it as
//! it then was; standing still, it would keep everything in grace until the wall clock caught up, which may be years.
//!
//! **Grace** counts hours that passed, not hours that were set: the last jump forward adds nothing to it. So neither a
//! clock that two cycles believed and that was wrong, nor one that was behind while jobs ran and is right again, ends
//! the grace of what was used a moment ago. The jump is looked for between the times at which entries were used, since
//! these tell when the clock still went on.
//!
//! A clock that is wrong by less than a jump is not noticed: ages and grace are then wrong by as much.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::candidate::since;
use crate::pipeline::duration::in_words;

/// Further from what was expected than this is a jump.
pub const JUMP: Duration = Duration::from_secs(24 * 3600);

/// Between cycles while there is room.
pub const USUAL_INTERVAL: Duration = Duration::from_secs(4 * 3600);

/// A store that is collected more seldom than this pauses each time until a cycle follows soon: a time between cycles that may be
/// anything would let any clock be believed.
const SELDOM: Duration = Duration::from_secs(32 * 24 * 3600);

/// What one cycle leaves for the next. The store keeps it as a record of its own, written before anything is deleted.
/// Taking that record away makes a store forget a clock that was wrong: the next cycle pauses, the one after it
/// believes the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockRecord {
    /// The highest time that two cycles agreed on.
    highest: Timestamp,
    /// The wall clock of the last cycle.
    wall: Timestamp,
    /// How far `highest` runs ahead of a wall clock that was set back, in milliseconds.
    ahead_ms: u64,
    /// How far the wall clock went on between the last two cycles, in milliseconds.
    #[serde(default)]
    gap_ms: u64,
    /// The last jump forward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    skip: Option<Skip>,
}

/// From one time to another in which nothing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    from: Timestamp,
    to: Timestamp,
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
        Self { highest: seen.min(wall), wall: seen, ahead_ms: 0, gap_ms: 0, skip: None }
    }

    /// Reads the wall clock at the begin of a cycle. `elapsed`: time since the last cycle by a clock that nobody sets,
    /// if this process did it. `seen`: the times that entries were last used at, in any order.
    pub fn read(
        &self,
        wall: Timestamp,
        elapsed: Option<Duration>,
        seen: impl IntoIterator<Item = Timestamp>,
    ) -> Reading {
        let gap_ms = u64::try_from(wall.duration_since(self.wall).as_millis()).unwrap_or(0);
        if let Some(jump) = self.jump(wall, elapsed) {
            // A jump forward that was never agreed on is none.
            let known = self.skip.filter(|skip| skip.to <= self.highest);
            let skip = match jump {
                ClockJump::Forward(_) => self.skipped(wall, seen).or(known),
                ClockJump::Back(_) => known,
            };
            let record = Self { wall, ahead_ms: self.lead(wall), gap_ms, skip, ..*self };
            return Reading { now: self.highest.max(wall), jump: Some(jump), record };
        }
        let record = Self { wall, highest: self.highest.max(later(wall, self.ahead_ms)), gap_ms, ..*self };
        Reading { now: record.highest, jump: None, record }
    }

    /// Time until `now` since `last_used` as grace counts it: without the last jump forward.
    pub(super) fn passed(&self, last_used: Timestamp, now: Timestamp) -> Duration {
        match self.skip {
            Some(Skip { from, to }) if last_used < to => since(last_used, from) + since(to, now),
            Some(_) | None => since(last_used, now),
        }
    }

    /// The time to record for what happens at this moment of the wall clock: never before any time that was recorded
    /// earlier.
    pub fn stamp(&self, wall: Timestamp) -> Timestamp {
        self.highest.max(later(wall, self.ahead_ms))
    }

    fn jump(&self, wall: Timestamp, elapsed: Option<Duration>) -> Option<ClockJump> {
        let usual = USUAL_INTERVAL.max(SELDOM.min(Duration::from_millis(self.gap_ms)));
        let (least, most) = elapsed.map_or((Duration::ZERO, usual), |elapsed| (elapsed, elapsed));
        let passed = wall.duration_since(self.wall);
        let beyond =
            |bound: Duration| passed.saturating_sub(SignedDuration::try_from(bound).unwrap_or(SignedDuration::MAX));
        if let Some(ahead) = longer_than_allowed(beyond(most)) {
            return Some(ClockJump::Forward(ahead));
        }
        let behind = beyond(least).checked_neg().unwrap_or(SignedDuration::MAX);
        longer_than_allowed(behind).map(ClockJump::Back)
    }

    /// The jump itself: the longest time from the highest recorded to now in which nothing was used, since around it
    /// time went on. A clock that was behind and is set right does not show by such a gap: then all of it is taken for
    /// the jump.
    fn skipped(&self, wall: Timestamp, seen: impl IntoIterator<Item = Timestamp>) -> Option<Skip> {
        if self.ahead_ms > 0 && wall > self.highest {
            return Some(Skip { from: self.highest, to: wall });
        }
        let mut times: Vec<_> = seen.into_iter().filter(|time| (self.highest..wall).contains(time)).collect();
        times.extend([self.highest, wall]);
        times.sort_unstable();
        let skips = times.windows(2).filter_map(|pair| match pair {
            [from, to] => Some(Skip { from: *from, to: *to }),
            _ => None,
        });
        let longest = skips.max_by_key(|skip| skip.to.duration_since(skip.from));
        longest.filter(|skip| since(skip.from, skip.to) > JUMP)
    }

    fn lead(&self, wall: Timestamp) -> u64 {
        u64::try_from(self.highest.duration_since(wall).as_millis()).unwrap_or(0)
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
