//! What a cycle came to: what to do, what to record, when to come again.

use std::time::Duration;

use jiff::Timestamp;

use super::audit::{Action, AuditEvent, Done};
use super::candidate::EntryId;
use super::clock::{ClockJump, ClockRecord};
use super::judged::Judged;
use super::pressure::{Limit, Pressure, Room, Usage};

/// What a cycle is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The time that ages were counted to.
    pub now: Timestamp,
    /// The clock jumped: nothing is deleted.
    pub jump: Option<ClockJump>,
    /// To be kept for the next cycle, before anything is deleted.
    pub clock: ClockRecord,
    /// What goes, in the order in which it should.
    pub deletions: Vec<Judged>,
    /// What stays, in the order in which it came.
    pub kept: Vec<Judged>,
    /// How full everything was.
    pub before: Room,
    /// How full everything should be when all of it is done.
    pub after: Room,
    /// There was more to delete than one cycle may.
    pub more: bool,
    /// Entries whose times lie more than 24 h after `now` though the clock is agreed on: they were recorded by a clock
    /// that was wrong. The store sets their times to `now`, or their grace does not end before that time comes.
    pub ahead: Vec<EntryId>,
}

impl Plan {
    /// The highest pressure when the cycle began.
    pub fn pressure(&self) -> Pressure {
        self.before.highest().map(|(_, usage)| usage.pressure()).unwrap_or_default()
    }

    /// Bytes that go.
    pub fn freed(&self) -> u64 {
        self.deletions.iter().fold(0, |sum, judged| sum.saturating_add(judged.candidate.bytes))
    }

    /// How long to wait for the next cycle, if this one comes out as planned.
    pub fn next_cycle(&self) -> Duration {
        let pressure = self.after.highest().map(|(_, usage)| usage.pressure()).unwrap_or_default();
        pressure.next_cycle(self.more)
    }

    /// The audit record of every decision, what goes first. A store that keeps the last [`Verdict::code`] of each entry
    /// need only write those that changed: most entries stay for the same reason cycle after cycle.
    ///
    /// [`Verdict::code`]: super::Verdict::code
    pub fn evaluations(&self) -> impl Iterator<Item = AuditEvent> {
        self.deletions.iter().chain(&self.kept).map(|judged| AuditEvent::evaluation(judged, self.now))
    }

    /// The alert that this cycle is worth, if there is one: `done` is what it came to.
    pub fn alert(&self, done: Done) -> Option<AuditEvent> {
        let (limit, usage): (Limit, Usage) = self.before.highest()?;
        let actions = Action::at(usage.pressure(), self.jump.is_some());
        (usage.pressure() > Pressure::Low).then(|| AuditEvent::StorageAlert {
            at: self.now,
            limit,
            pressure: usage.pressure(),
            used: usage.used,
            capacity: usage.capacity,
            actions,
            done,
        })
    }
}
