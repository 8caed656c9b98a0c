//! The decision matrix: what becomes of an entry that no policy speaks of.
//!
//! Its rows, for an entry that no job refers to (one that a job refers to stays, always):
//!
//! | age | unused | |
//! | --- | --- | --- |
//! | less than 7 days | any | stays |
//! | 7 to 30 days | up to 72 h | stays |
//! | 7 to 30 days | more than 72 h | goes |
//! | more than 30 days | up to 7 days | stays |
//! | more than 30 days | more than 7 days | goes |
//!
//! 7 and 30 days belong to the middle rows, exactly 72 h and 7 days unused still stay. What the matrix leaves open is
//! decided for keeping: middle-aged and used 24 to 72 h ago stays; old and used within 7 days stays though no job
//! refers to it. So an entry that is used every fourth day goes in its second week, but one that got past 30 days has
//! shown its worth and has a week.
//!
//! **Pressure** shortens 72 h and 7 days unused: by 25 % from 80 %, by 50 % from 90 %. The first 7 days are no period
//! but a protection: the matrix holds them at any pressure, until at 95 % they fall altogether. The 30 days stay 30:
//! what is older may be unused for longer, so a shorter "30 days" would keep under pressure what goes without. So more
//! pressure never keeps what less would have let go.

use std::time::Duration;

use super::policy::days;
use super::pressure::Pressure;

/// Younger than this is kept.
pub(super) const RECENT: Duration = Duration::from_secs(7 * 24 * 3600);
const UNUSED_HOURS: u64 = 72;
const OLD_DAYS: u32 = 30;
const OLD_UNUSED_DAYS: u32 = 7;

/// The row that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Row {
    /// Protected by its youth.
    Recent,
    /// Neither young nor old; goes when unused for longer than this.
    Aging(Duration),
    /// Goes when unused for longer than this.
    Old(Duration),
}

/// The row for an age at a level.
pub(super) fn row(age: Duration, pressure: Pressure) -> Row {
    if age < RECENT {
        Row::Recent
    } else if age <= days(OLD_DAYS) {
        Row::Aging(pressure.shortened(Duration::from_secs(UNUSED_HOURS * 3600)))
    } else {
        Row::Old(pressure.shortened(days(OLD_UNUSED_DAYS)))
    }
}

impl Row {
    /// Whether an entry of this row goes.
    pub(super) fn lets_go(self, unused: Duration) -> bool {
        match self {
            Self::Recent => false,
            Self::Aging(limit) | Self::Old(limit) => unused > limit,
        }
    }
}
