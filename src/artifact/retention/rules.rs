//! The order of the rules, for one entry: what protects it, then its job's wish, then the policy, then the matrix.

use std::time::Duration;

use jiff::Timestamp;

use super::candidate::{Candidate, Expiry};
use super::clock::ClockRecord;
use super::matrix::{self, Row};
use super::policy::RetentionPolicy;
use super::pressure::Pressure;
use super::verdict::{Cause, Keep, Rule};

/// What speaks for keeping an entry that nothing protects, weakest first: in an emergency they go in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Backing {
    /// The matrix.
    Matrix,
    /// A policy of the operator.
    Policy,
    /// Its job's `expire_in`.
    Job,
}

/// Where an entry stands.
#[derive(Clone, Debug)]
pub(super) enum Standing {
    /// It stays, come what may.
    Protected(Keep),
    /// It goes when the pressure is what `due` says.
    Open(Open),
}

/// An entry that may go.
#[derive(Clone, Debug)]
pub(super) struct Open {
    /// Why it stays as long as it does.
    pub(super) keep: Keep,
    /// Why it goes in a regular way, with the lowest pressure at which it does.
    pub(super) due: Option<Cause>,
    /// What speaks for it.
    pub(super) backing: Backing,
    /// Whether it is young enough for the matrix to protect it.
    pub(super) recent: bool,
}

/// What the order needs to know besides the entry.
pub(super) struct Rules<'a> {
    pub(super) now: Timestamp,
    pub(super) clock: &'a ClockRecord,
    pub(super) default_grace: Duration,
    /// The policy that decides, if one does.
    pub(super) policy: Option<&'a RetentionPolicy>,
    /// The pressure on its owner.
    pub(super) pressure: Pressure,
    /// What the policy speaks of has passed its size threshold.
    pub(super) over_threshold: bool,
    /// Its pipeline has as many newer ones as the policy keeps.
    pub(super) surplus: bool,
}

/// The levels that shorten periods, in the order in which they set in.
const PERIODS: [Pressure; 3] = [Pressure::Low, Pressure::Yellow, Pressure::Orange];

impl Rules<'_> {
    pub(super) fn standing(&self, entry: &Candidate) -> Standing {
        match self.protection(entry) {
            Some(keep) => Standing::Protected(keep),
            None => Standing::Open(self.open(entry)),
        }
    }

    fn protection(&self, entry: &Candidate) -> Option<Keep> {
        if entry.references.count() > 0 {
            return Some(Keep::Referenced(entry.references));
        }
        if entry.pinned {
            return Some(Keep::Pinned);
        }
        if entry.expiry == Expiry::Never {
            return Some(Keep::NeverExpires);
        }
        if entry.leased {
            return Some(Keep::Leased);
        }
        let unused = self.clock.passed(entry.last_used(), self.now);
        let grace = self.policy.and_then(RetentionPolicy::grace).unwrap_or(self.default_grace);
        (unused < grace).then_some(Keep::Grace { unused, grace })
    }

    fn open(&self, entry: &Candidate) -> Open {
        let recent = entry.age(self.now) < matrix::RECENT;
        let (keep, due, backing) = match (entry.expiry, self.policy) {
            (Expiry::At(at), _) => {
                let expired = Cause { rule: Rule::Expired { at }, pressure: Pressure::Low, policy: None };
                (Keep::ExpiresLater { at }, (at <= self.now).then_some(expired), Backing::Job)
            }
            (Expiry::None | Expiry::Never, Some(policy)) => {
                let keep = Keep::WithinPolicy { policy: policy.name.clone() };
                (keep, self.due_by_policy(entry, policy), Backing::Policy)
            }
            (Expiry::None | Expiry::Never, None) => {
                (self.kept_by_matrix(entry), self.due_by_matrix(entry), Backing::Matrix)
            }
        };
        Open { keep, due, backing, recent }
    }

    fn due_by_policy(&self, entry: &Candidate, policy: &RetentionPolicy) -> Option<Cause> {
        let cause = |rule, pressure| Cause { rule, pressure, policy: Some(policy.name.clone()) };
        if self.surplus {
            let limit = policy.max_artifacts_per_pipeline.unwrap_or_default();
            return Some(cause(Rule::MaxCount { limit }, Pressure::Low));
        }
        let (age, unused) = (entry.age(self.now), entry.unused(self.now));
        PERIODS.into_iter().find_map(|pressure| {
            // Beyond the threshold as at 90 %, and no shorter when it is 90 % full.
            let shortened =
                |period: Duration| if self.over_threshold { period / 2 } else { pressure.shortened(period) };
            let too_old = policy.max_age().map(shortened).filter(|limit| age > *limit);
            let too_long = policy.max_unused().map(shortened).filter(|limit| unused > *limit);
            let rule = match (too_old, too_long) {
                (Some(limit), _) => Rule::MaxAge { age, limit, halved: self.over_threshold },
                (None, Some(limit)) => Rule::MaxUnused { unused, limit, halved: self.over_threshold },
                (None, None) => return None,
            };
            Some(cause(rule, pressure))
        })
    }

    fn due_by_matrix(&self, entry: &Candidate) -> Option<Cause> {
        let (age, unused) = (entry.age(self.now), entry.unused(self.now));
        PERIODS.into_iter().find_map(|pressure| {
            let row = matrix::row(age, pressure);
            let rule = match row {
                Row::Recent => return None,
                Row::Aging(limit) => Rule::Aging { unused, limit },
                Row::Old(limit) => Rule::Old { unused, limit },
            };
            row.lets_go(unused).then_some(Cause { rule, pressure, policy: None })
        })
    }

    fn kept_by_matrix(&self, entry: &Candidate) -> Keep {
        let (age, unused) = (entry.age(self.now), entry.unused(self.now));
        match matrix::row(age, self.pressure) {
            Row::Recent => Keep::Recent { age },
            Row::Aging(limit) | Row::Old(limit) => Keep::InUse { unused, limit },
        }
    }
}
