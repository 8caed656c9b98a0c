//! What is known about whether something that is kept is whole.

use serde::{Deserialize, Serialize};

use super::super::id::ObjectId;

/// How often something that is damaged is fetched again before it counts as lost.
pub(super) const MAX_RETRIES: u32 = 3;

/// What is known about whether something that is kept is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerificationResult {
    /// Nobody looked yet.
    Pending,
    /// Somebody looks now.
    Verifying,
    /// Every byte is what it was.
    Valid,
    /// Something is not what it was.
    Corrupted,
    /// Something is not there.
    Missing,
    /// It could not be had again either, after several tries.
    Failed,
}

/// What happens to a [`VerificationResult`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    Start,
    Matches,
    Differs,
    NotThere,
    GiveUp,
}

impl VerificationResult {
    /// What follows. `None`: that cannot happen now.
    fn after(self, finding: Finding) -> Option<Self> {
        use VerificationResult::{Corrupted, Failed, Missing, Pending, Valid, Verifying};
        match (self, finding) {
            (Pending | Valid | Corrupted | Missing | Failed, Finding::Start) => Some(Verifying),
            (Verifying, Finding::Matches) => Some(Valid),
            (Verifying, Finding::Differs) => Some(Corrupted),
            (Verifying, Finding::NotThere) => Some(Missing),
            (Corrupted | Missing, Finding::GiveUp) => Some(Failed),
            _ => None,
        }
    }

    /// Whether something is wrong with it.
    pub fn is_damage(self) -> bool {
        matches!(self, Self::Corrupted | Self::Missing | Self::Failed)
    }
}

impl std::fmt::Display for VerificationResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            VerificationResult::Pending => "pending",
            VerificationResult::Verifying => "verifying",
            VerificationResult::Valid => "valid",
            VerificationResult::Corrupted => "corrupted",
            VerificationResult::Missing => "missing",
            VerificationResult::Failed => "failed",
        })
    }
}

/// What was found out about a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// The id of the tree.
    pub expected: ObjectId,
    /// The SHA-256 of the bytes that are there: of the tree's manifest, where all is whole, else of [`Verification::object`]. `None`: there
    /// are none, or what is damaged is the list of a file that is cut, which is not named after its own bytes.
    pub calculated: Option<ObjectId>,
    /// What of the tree is not what it was, or not there: its id, the SHA-256 that it should have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectId>,
    /// Bytes of content that were found whole.
    pub size: u64,
    /// The verdict.
    pub result: VerificationResult,
    /// When. `None`: nobody looked yet.
    pub verified_at: Option<jiff::Timestamp>,
    /// How often it was fetched again in vain since it was found to be damaged.
    pub retry_count: u32,
    /// What is wrong.
    pub error: Option<String>,
}

/// What a look at a tree came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Look {
    /// Its bytes of content.
    Whole { size: u64 },
    /// Something of it is not what it was, but has this hash.
    Differs { object: ObjectId, calculated: Option<ObjectId>, error: String },
    /// Something of it is nowhere.
    NotThere { object: ObjectId, error: String },
}

impl Verification {
    /// What is known of a tree that nobody looked at.
    pub fn pending(tree: ObjectId) -> Self {
        Self {
            expected: tree,
            calculated: None,
            object: None,
            size: 0,
            result: VerificationResult::Pending,
            verified_at: None,
            retry_count: 0,
            error: None,
        }
    }

    /// The same, while somebody looks.
    pub(in super::super) fn looked_at(self) -> Self {
        Self { result: VerificationResult::Verifying, ..self }
    }

    /// What is known after a look.
    pub(in super::super) fn after(self, look: Look, now: jiff::Timestamp) -> Self {
        let (finding, calculated, object, size, error) = match look {
            Look::Whole { size } => (Finding::Matches, Some(self.expected), None, size, None),
            Look::Differs { object, calculated, error } => (Finding::Differs, calculated, Some(object), 0, Some(error)),
            Look::NotThere { object, error } => (Finding::NotThere, None, Some(object), 0, Some(error)),
        };
        // Whatever was known, looking begins anew; a look that is under way is taken over.
        let state = self.result.after(Finding::Start).unwrap_or(VerificationResult::Verifying);
        let result = state.after(finding).unwrap_or(VerificationResult::Corrupted);
        // What was tried for damage that is mended does not count for the next.
        let retry_count = if result.is_damage() && self.result.is_damage() { self.retry_count } else { 0 };
        let found = Self { calculated, object, size, result, verified_at: Some(now), retry_count, error, ..self };
        found.given_up()
    }

    /// What is known after it was fetched again in vain.
    pub(in super::super) fn fetched_in_vain(self) -> Self {
        Self { retry_count: self.retry_count.saturating_add(1), ..self }.given_up()
    }

    fn given_up(self) -> Self {
        let failed = self.result.after(Finding::GiveUp).filter(|_| self.retry_count >= MAX_RETRIES);
        Self { result: failed.unwrap_or(self.result), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(object: ObjectId) -> Look {
        Look::NotThere { object, error: "gone".to_owned() }
    }

    #[test]
    fn only_fetches_count_and_after_three_of_them_it_has_failed() {
        let (tree, object) = (ObjectId::of(b"tree"), ObjectId::of(b"object"));
        let now = jiff::Timestamp::UNIX_EPOCH;
        let mut known = Verification::pending(tree);
        for _ in 0..10 {
            known = known.after(missing(object), now);
        }
        assert_eq!((known.result, known.retry_count), (VerificationResult::Missing, 0));
        let mut results = Vec::new();
        for _ in 0..4 {
            known = known.fetched_in_vain();
            results.push((known.result, known.retry_count));
        }
        use VerificationResult::{Failed, Missing, Valid};
        assert_eq!(results, [(Missing, 1), (Missing, 2), (Failed, 3), (Failed, 4)]);
        // It stays so while it is looked at again, and is forgotten when it is whole.
        known = known.after(missing(object), now);
        assert_eq!((known.result, known.object), (Failed, Some(object)));
        known = known.after(Look::Whole { size: 7 }, now);
        assert_eq!((known.result, known.retry_count, known.calculated), (Valid, 0, Some(tree)));
        known = known.after(missing(object), now);
        assert_eq!((known.result, known.retry_count), (Missing, 0));
    }

    #[test]
    fn what_an_older_version_noted_is_read() {
        let id = "a".repeat(64);
        let text = format!(
            r#"{{"expected":"{id}","calculated":"{id}","size":3,"result":"valid","verified_at":"2026-01-01T00:00:00Z","retry_count":0,"error":null}}"#
        );
        let known: Verification = serde_json::from_str(&text).unwrap();
        assert_eq!((known.result, known.object, known.verified_at.is_some()), (VerificationResult::Valid, None, true));
    }
}
