//! Why something is kept no longer in a store that several machines share.

use std::time::Duration;

use jiff::Timestamp;

use super::verdict::span;

/// Why an entry went from the store that several machines share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// Its time was over.
    Expired {
        /// Then.
        at: Timestamp,
    },
    /// No machine asked for it.
    Unused {
        /// For so long something is kept that nobody asks for.
        keep: Duration,
    },
}

impl Lapse {
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Expired { .. } => "expired",
            Self::Unused { .. } => "unused",
        }
    }

    /// For people.
    pub(super) fn reason(self) -> String {
        match self {
            Self::Expired { at } => format!("it was to be kept until {at:.0}"),
            Self::Unused { keep } => format!("no machine asked for it in {}", span(keep)),
        }
    }
}
