//! What the audit log holds: one JSON object a line.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::candidate::{Candidate, ContentHash, EntryId, since};
use super::judged::Judged;
use super::lapse::Lapse;
use super::pressure::{Limit, Pressure};
use super::verdict::Verdict;
use crate::pipeline::JobKey;

/// Something that somebody may have to account for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum AuditEvent {
    /// A cycle looked at an entry.
    PolicyEvaluation {
        /// When, by the clock that ages are counted with.
        at: Timestamp,
        /// Its content.
        artifact: ContentHash,
        /// Which.
        entry: EntryId,
        /// What it is called.
        name: String,
        /// The policy that matches it, whether or not something above policies decided.
        policy: Option<String>,
        /// Whether it goes.
        decision: Decision,
        /// [`Verdict::code`].
        rule: String,
        /// The reason for people.
        reason: String,
    },
    /// An entry was deleted. There is exactly one for each, and one more where it is removed from a shared store.
    ArtifactDeletion {
        /// When, by the clock that ages are counted with.
        at: Timestamp,
        /// Its content.
        artifact: ContentHash,
        /// Which.
        entry: EntryId,
        /// What it was called.
        name: String,
        /// Stored bytes that went.
        size: u64,
        /// Seconds since it was put.
        age_seconds: u64,
        /// References by jobs at the last look.
        references: u64,
        /// The policy that decided, if one did.
        policy: Option<String>,
        /// [`Verdict::code`].
        rule: String,
        /// The reason for people.
        reason: String,
        /// What was found to be damaged of it at the last look: it was not whole when it went.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        corrupted: Option<String>,
        /// The store shared by several machines that it was removed from. `None`: from this machine's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shared_store: Option<String>,
    },
    /// A job, or a person, took or released a reference.
    ReferenceChange {
        /// When.
        at: Timestamp,
        /// The job. `None`: a person, by a pin.
        job: Option<JobKey>,
        /// The content.
        artifact: ContentHash,
        /// Which.
        entry: EntryId,
        /// How many more; negative: fewer.
        delta: i64,
        /// Why.
        cause: ReferenceCause,
    },
    /// Disk or quota were 80 % full or more when a cycle began.
    StorageAlert {
        /// When.
        at: Timestamp,
        /// Which limit is nearest.
        limit: Limit,
        /// The level.
        pressure: Pressure,
        /// Bytes in use.
        used: u64,
        /// Of so many.
        capacity: u64,
        /// What the level brings.
        actions: Vec<Action>,
        /// What came of it.
        #[serde(flatten)]
        done: Done,
    },
}

/// Why an entry went that no cycle decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawal {
    /// Something else was kept under the key of a cache.
    Replaced,
    /// The forge has not taken the artifact.
    NotTaken,
    /// It is not what was to be kept: that changed meanwhile.
    Changed,
    /// It was kept to be compared only.
    Compared,
    /// The operator wants it to be gone.
    ByHand,
}

impl Withdrawal {
    fn code(self) -> &'static str {
        match self {
            Self::Replaced => "replaced",
            Self::NotTaken => "not_taken",
            Self::Changed => "changed",
            Self::Compared => "compared",
            Self::ByHand => "by_hand",
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Replaced => "something else was kept under its key",
            Self::NotTaken => "the forge did not take it",
            Self::Changed => "what was to be kept changed while it was read",
            Self::ByHand => "it was removed by hand",
            Self::Compared => "it was kept to be compared with what is there, and no longer",
        }
    }
}

/// An entry that went and that no cycle decided on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawn {
    /// Its content.
    pub artifact: ContentHash,
    /// Which.
    pub entry: EntryId,
    /// What it was called.
    pub name: String,
    /// Bytes that had to be written for it.
    pub size: u64,
    /// When it was put.
    pub created_at: Timestamp,
}

/// Whether an entry goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It stays.
    Keep,
    /// It goes.
    Delete,
}

/// Why references changed. A job that starts keeps what it took when it was queued: that is no change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferenceCause {
    /// A job that needs it was queued: +1.
    JobQueued,
    /// The job succeeded: -1.
    JobSucceeded,
    /// The job failed: -1 as well.
    JobFailed,
    /// The job was cancelled, or will never come: -1.
    JobCancelled,
    /// Pinned: +1.
    Pinned,
    /// Unpinned: -1.
    Unpinned,
}

impl ReferenceCause {
    /// How the number of references changes.
    pub fn delta(self) -> i64 {
        match self {
            Self::JobQueued | Self::Pinned => 1,
            Self::JobSucceeded | Self::JobFailed | Self::JobCancelled | Self::Unpinned => -1,
        }
    }
}

/// What is done against pressure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Periods are 25 % shorter.
    PeriodsShortened,
    /// Periods are 50 % shorter.
    PeriodsHalved,
    /// The largest go.
    EvictionBySize,
    /// Everything goes that nobody needs.
    EvictionOfUnreferenced,
    /// Nothing new is taken.
    NewArtifactsRefused,
    /// Nothing is deleted: the clock jumped.
    DeletionPaused,
}

impl Action {
    /// What is done at a level.
    pub(super) fn at(pressure: Pressure, paused: bool) -> Vec<Self> {
        let mut actions = match pressure {
            _ if paused => vec![Self::DeletionPaused],
            Pressure::Low => vec![],
            Pressure::Yellow => vec![Self::PeriodsShortened],
            Pressure::Orange => vec![Self::PeriodsHalved, Self::EvictionBySize],
            Pressure::Red | Pressure::Critical => {
                vec![Self::PeriodsHalved, Self::EvictionBySize, Self::EvictionOfUnreferenced]
            }
        };
        if pressure == Pressure::Critical {
            actions.push(Self::NewArtifactsRefused);
        }
        actions
    }
}

/// What a cycle came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Entries deleted.
    pub deleted: u64,
    /// Bytes freed.
    pub freed: u64,
}

impl AuditEvent {
    /// The record of a decision.
    pub fn evaluation(judged: &Judged, at: Timestamp) -> Self {
        let entry = &judged.candidate;
        Self::PolicyEvaluation {
            at,
            artifact: entry.content.clone(),
            entry: entry.id.clone(),
            name: entry.name.clone(),
            policy: judged.policy.clone(),
            decision: if judged.verdict.deletes() { Decision::Delete } else { Decision::Keep },
            rule: judged.verdict.code().to_owned(),
            reason: judged.reason(),
        }
    }

    /// The record of a deletion that happened. `fresh`: the entry at the last look ([`Judged::confirm`]).
    pub fn deletion(judged: &Judged, fresh: &Candidate, at: Timestamp) -> Self {
        let policy = match &judged.verdict {
            Verdict::Delete(cause) => cause.policy.clone(),
            Verdict::Keep(_) => None,
        };
        Self::ArtifactDeletion {
            at,
            artifact: fresh.content.clone(),
            entry: fresh.id.clone(),
            name: fresh.name.clone(),
            size: fresh.bytes,
            age_seconds: fresh.age(at).as_secs(),
            references: fresh.references.count(),
            policy,
            rule: judged.verdict.code().to_owned(),
            reason: judged.reason(),
            corrupted: None,
            shared_store: None,
        }
    }

    /// The record of the deletion of something that was damaged, and how.
    #[must_use]
    pub fn of_damaged(mut self, how: Option<&str>) -> Self {
        if let Self::ArtifactDeletion { corrupted, .. } = &mut self {
            *corrupted = how.map(str::to_owned);
        }
        self
    }

    /// The record of an entry that went for another one of its owner: a quota was full. `fresh`: the entry at the last look.
    pub fn eviction(fresh: &Candidate, at: Timestamp) -> Self {
        let reason = format!(
            "the quota was full, and of its owner's caches this was not used for longest ({})",
            fresh.last_used()
        );
        Self::ArtifactDeletion {
            at,
            artifact: fresh.content.clone(),
            entry: fresh.id.clone(),
            name: fresh.name.clone(),
            size: fresh.bytes,
            age_seconds: fresh.age(at).as_secs(),
            references: fresh.references.count(),
            policy: None,
            rule: "evicted_cache".to_owned(),
            reason,
            corrupted: None,
            shared_store: None,
        }
    }

    /// The record of an entry that went without a cycle.
    pub fn withdrawal(gone: Withdrawn, why: Withdrawal, at: Timestamp) -> Self {
        let Withdrawn { artifact, entry, name, size, created_at } = gone;
        Self::ArtifactDeletion {
            at,
            artifact,
            entry,
            name,
            size,
            age_seconds: since(created_at, at).as_secs(),
            references: 0,
            policy: None,
            rule: why.code().to_owned(),
            reason: why.reason().to_owned(),
            corrupted: None,
            shared_store: None,
        }
    }

    /// The record of an entry that went from the store `from`, which several machines share: its own, besides what becomes of it on each of them.
    pub fn lapse(gone: Withdrawn, from: &str, why: Lapse, at: Timestamp) -> Self {
        let Withdrawn { artifact, entry, name, size, created_at } = gone;
        Self::ArtifactDeletion {
            at,
            artifact,
            entry,
            name,
            size,
            age_seconds: since(created_at, at).as_secs(),
            references: 0,
            policy: None,
            rule: why.code().to_owned(),
            reason: why.reason(),
            corrupted: None,
            shared_store: Some(from.to_owned()),
        }
    }

    /// The record of a reference that a job took or released, or a pin (`job`: none).
    pub fn reference(
        at: Timestamp,
        job: Option<JobKey>,
        entry: EntryId,
        artifact: ContentHash,
        cause: ReferenceCause,
    ) -> Self {
        Self::ReferenceChange { at, job, artifact, entry, delta: cause.delta(), cause }
    }

    /// One line of the log, with its newline. Whatever names hold, they cannot make it two.
    ///
    /// # Errors
    /// None that this type can cause.
    pub fn line(&self) -> serde_json::Result<String> {
        let mut line = serde_json::to_string(self)?;
        line.push('\n');
        Ok(line)
    }
}
