//! What the engine is told of one entry of the store.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::pipeline::{Owner, Trust};

macro_rules! text_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the text as the store writes it.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text as the store writes it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_key! {
    /// One named artifact or cache entry, as the store tells them apart. Two names of the same content are two entries.
    EntryId
}
text_key! {
    /// The SHA-256 of an entry's content, hexadecimal: what the audit calls the artifact.
    ContentHash
}
text_key! {
    /// The pipeline that an artifact comes from, the same run after run: bounds by count are kept for each.
    PipelineKey
}

/// When an entry was meant to go by the job that made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expiry {
    /// The job said nothing: policies and the matrix decide.
    #[default]
    None,
    /// `expire_in`, counted from when the entry was made.
    At(Timestamp),
    /// `expire_in: never`: as good as a pin.
    Never,
}

/// How many jobs need an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Jobs that wait.
    pub queued: u32,
    /// Jobs that run.
    pub running: u32,
}

impl References {
    /// All of them.
    pub fn count(self) -> u64 {
        u64::from(self.queued) + u64::from(self.running)
    }
}

/// One named artifact or cache entry, as the store knows it when a cycle begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub id: EntryId,
    /// Its content.
    pub content: ContentHash,
    /// What it is called.
    pub name: String,
    /// The job that left it, and what the pipeline's file calls it: patterns are matched with these, too.
    pub titles: Vec<String>,
    /// What it has in common with the same artifact of other runs. `None`: its name.
    pub series: Option<String>,
    /// On whose behalf it is kept.
    pub owner: Owner,
    /// The pipeline it comes from. `None`: a cache entry, or put by hand.
    pub pipeline: Option<PipelineKey>,
    /// Stored bytes that its removal frees. Of what several entries share, count an equal part for each: were it zero,
    /// eviction could not see that removing all of them helps.
    pub bytes: u64,
    /// When it was put, by [`super::ClockRecord::stamp`].
    pub created_at: Timestamp,
    /// When it was last read, by the same clock.
    pub last_accessed: Timestamp,
    /// What its job wished.
    pub expiry: Expiry,
    /// Jobs that need it.
    pub references: References,
    /// Pinned by a person.
    pub pinned: bool,
    /// Being restored at this moment.
    pub leased: bool,
}

impl Candidate {
    /// What patterns are matched with. A fork's titles are not: they would have its things kept as the project's are.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        let titles = if self.owner.trust == Trust::Fork { &[] } else { self.titles.as_slice() };
        std::iter::once(&self.name).chain(titles).map(String::as_str)
    }

    /// What is counted together by bounds on the number.
    pub(super) fn series(&self) -> &str {
        self.series.as_deref().unwrap_or(&self.name)
    }

    /// Time since it was put. One from the future has just been put.
    pub fn age(&self, now: Timestamp) -> Duration {
        since(self.created_at, now)
    }

    /// Time since it was last of use: read, or put if never read.
    pub fn unused(&self, now: Timestamp) -> Duration {
        since(self.last_used(), now)
    }

    pub(super) fn last_used(&self) -> Timestamp {
        self.last_accessed.max(self.created_at)
    }

    /// Sorts the least useful first: longest unused, then oldest.
    pub(in crate::artifact) fn staleness(&self) -> (Timestamp, Timestamp, &EntryId) {
        (self.last_used(), self.created_at, &self.id)
    }
}

/// Time from `then` to `now`, zero if `then` is later.
pub(super) fn since(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}
