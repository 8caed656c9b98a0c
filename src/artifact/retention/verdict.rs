//! What was decided on an entry, and why: one line for people, one word for machines.

use std::fmt;
use std::time::Duration;

use indicatif::BinaryBytes;
use jiff::Timestamp;

use super::candidate::References;
use super::pressure::Pressure;
use crate::artifact::shown;

/// What becomes of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Keep(Keep),
    /// It goes.
    Delete(Cause),
}

/// Why an entry stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Jobs need it.
    Referenced(References),
    /// A person pinned it.
    Pinned,
    /// Its job said `expire_in: never`.
    NeverExpires,
    /// It is being restored.
    Leased,
    /// It was used a short while ago.
    Grace {
        /// Since its last use.
        unused: Duration,
        /// How long it is kept after that.
        grace: Duration,
    },
    /// Its job said how long, and that is not over.
    ExpiresLater {
        /// When it will be.
        at: Timestamp,
    },
    /// It is within all bounds of the policy that decides.
    WithinPolicy {
        /// The policy's name.
        policy: String,
    },
    /// Younger than 7 days.
    Recent {
        /// Since it was put.
        age: Duration,
    },
    /// Used a while ago, but not longer than the matrix allows at its age.
    InUse {
        /// Since its last use.
        unused: Duration,
        /// How long it may be unused at its age.
        limit: Duration,
    },
    /// It would go, but enough went before it: the pressure is gone.
    Relieved(Cause),
    /// It would go, but the cycle has deleted as much as one may. The next goes on.
    CycleFull(Cause),
    /// It would go, but the clock jumped.
    ClockInDoubt(Cause),
}

/// Why an entry goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The rule.
    pub rule: Rule,
    /// The lowest pressure at which the rule has it go: `Low`, it went in any case.
    pub pressure: Pressure,
    /// The name of the policy that decided, if one did.
    pub policy: Option<String>,
}

/// The rules by which entries go. Periods are what they were shortened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Its job's `expire_in` is over.
    Expired {
        /// When that was.
        at: Timestamp,
    },
    /// Older than the policy allows.
    MaxAge {
        /// Since it was put.
        age: Duration,
        /// The bound.
        limit: Duration,
        /// It is half of what the policy says because of its size threshold.
        halved: bool,
    },
    /// Longer unused than the policy allows.
    MaxUnused {
        /// Since its last use.
        unused: Duration,
        /// The bound.
        limit: Duration,
        /// It is half of what the policy says because of its size threshold.
        halved: bool,
    },
    /// Its pipeline has as many newer ones as the policy keeps.
    MaxCount {
        /// The bound.
        limit: u32,
    },
    /// What the policy speaks of takes more bytes than it allows.
    MaxTotal {
        /// The bound.
        limit: u64,
    },
    /// 7 to 30 days old and unused for too long.
    Aging {
        /// Since its last use.
        unused: Duration,
        /// The bound.
        limit: Duration,
    },
    /// Older than 30 days and unused for too long.
    Old {
        /// Since its last use.
        unused: Duration,
        /// The bound.
        limit: Duration,
    },
    /// From 90 %: it is among the largest.
    Size,
    /// From 95 %: nobody needs it.
    Emergency,
}

impl Verdict {
    /// Whether it goes.
    pub fn deletes(&self) -> bool {
        matches!(self, Self::Delete(_))
    }

    /// The reason as one stable word. Unlike the whole reason it is the same from cycle to cycle as long as nothing
    /// happens.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Delete(cause) => cause.rule.code(),
            Self::Keep(keep) => keep.code(),
        }
    }
}

impl Keep {
    fn code(&self) -> &'static str {
        match self {
            Self::Referenced(_) => "referenced",
            Self::Pinned => "pinned",
            Self::NeverExpires => "never_expires",
            Self::Leased => "leased",
            Self::Grace { .. } => "grace",
            Self::ExpiresLater { .. } => "expires_later",
            Self::WithinPolicy { .. } => "within_policy",
            Self::Recent { .. } => "recent",
            Self::InUse { .. } => "in_use",
            Self::Relieved(_) => "relieved",
            Self::CycleFull(_) => "cycle_full",
            Self::ClockInDoubt(_) => "clock_in_doubt",
        }
    }
}

impl Rule {
    fn code(self) -> &'static str {
        match self {
            Self::Expired { .. } => "expired",
            Self::MaxAge { .. } => "max_age",
            Self::MaxUnused { .. } => "max_unused",
            Self::MaxCount { .. } => "max_count",
            Self::MaxTotal { .. } => "max_total",
            Self::Aging { .. } => "aging",
            Self::Old { .. } => "old",
            Self::Size => "size",
            Self::Emergency => "emergency",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep(keep) => write!(f, "keep: {keep}"),
            Self::Delete(cause) => write!(f, "delete: {cause}"),
        }
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Referenced(by) => write!(f, "needed by {} queued and {} running jobs", by.queued, by.running),
            Self::Pinned => f.write_str("pinned"),
            Self::NeverExpires => f.write_str("its job said `expire_in: never`"),
            Self::Leased => f.write_str("being restored"),
            Self::Grace { unused, grace } => {
                write!(f, "used {} ago, {} after use are grace", span(*unused), span(*grace))
            }
            Self::ExpiresLater { at } => write!(f, "its job keeps it until {at:.0}"),
            Self::WithinPolicy { policy } => write!(f, "within the bounds of policy `{}`", shown(policy.as_bytes())),
            Self::Recent { age } => write!(f, "only {} old, 7d are kept", span(*age)),
            Self::InUse { unused, limit } => {
                write!(f, "used {} ago, up to {} are kept at its age", span(*unused), span(*limit))
            }
            Self::Relieved(cause) => write!(f, "enough space was freed before its turn came ({cause})"),
            Self::CycleFull(cause) => write!(f, "left for the next cycle, this one is full ({cause})"),
            Self::ClockInDoubt(cause) => write!(f, "the clock jumped, so nothing is deleted ({cause})"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(policy) = &self.policy {
            write!(f, "policy `{}`: ", shown(policy.as_bytes()))?;
        }
        write!(f, "{}", self.rule)?;
        if self.pressure > Pressure::Low {
            write!(f, "; the store is {} % full or more", self.pressure.threshold())?;
        }
        Ok(())
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { at } => write!(f, "its job's `expire_in` ended {at:.0}"),
            Self::MaxAge { age, limit, halved } => {
                write!(f, "{} old, {} are allowed{}", span(*age), span(*limit), beyond_threshold(*halved))
            }
            Self::MaxUnused { unused, limit, halved } => {
                write!(f, "unused for {}, {} are allowed{}", span(*unused), span(*limit), beyond_threshold(*halved))
            }
            Self::MaxCount { limit } => write!(f, "its pipeline has {limit} newer ones, that many are kept"),
            Self::MaxTotal { limit } => write!(f, "all together take more than {}", BinaryBytes(*limit)),
            Self::Aging { unused, limit } => {
                write!(f, "older than 7d and unused for {}, {} are kept at its age", span(*unused), span(*limit))
            }
            Self::Old { unused, limit } => {
                write!(f, "old and unused for {}, {} are kept at its age", span(*unused), span(*limit))
            }
            Self::Size => f.write_str("older than 7d, and the largest go first"),
            Self::Emergency => f.write_str("no job needs it"),
        }
    }
}

fn beyond_threshold(halved: bool) -> &'static str {
    if halved { ", half as much as usual: its size threshold is passed" } else { "" }
}

/// `6d22h`, `3h5m`, `40s`: the two largest units are enough to see why.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m"),
        (0, _, 0) => format!("{hours}h"),
        (0, _, _) => format!("{hours}h{minutes}m"),
        (_, 0, _) => format!("{days}d"),
        _ => format!("{days}d{hours}h"),
    }
}
