//! An entry with its decision, and the last look before it is deleted.

use std::fmt;

use indicatif::BinaryBytes;

use super::candidate::{Candidate, EntryId, Expiry};
use super::verdict::Verdict;
use crate::artifact::shown;

/// An entry and what was decided on it. As text: one line of `store gc --dry-run`, whatever the entry is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The entry, as it was when the cycle began.
    pub candidate: Candidate,
    /// The decision.
    pub verdict: Verdict,
    /// The policy that its name is subject to, whether or not it came to decide.
    pub policy: Option<String>,
}

/// Why an entry that was to go may not go any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{id} stays after all: {reason}")]
pub struct ClaimedSince {
    /// Which.
    pub id: EntryId,
    /// What it is needed for now.
    pub reason: ClaimReason,
}

/// What came between plan and deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimReason {
    /// A job refers to it.
    #[error("a job needs it now")]
    Referenced,
    /// It was pinned.
    #[error("it was pinned")]
    Pinned,
    /// It is being restored.
    #[error("it is being restored")]
    Leased,
    /// It was read, or its content was put again.
    #[error("it was used since the cycle began")]
    Used,
}

impl Judged {
    /// The reason for people, in one line.
    pub fn reason(&self) -> String {
        match &self.verdict {
            Verdict::Keep(keep) => keep.to_string(),
            Verdict::Delete(cause) => cause.to_string(),
        }
    }

    /// The last look before the deletion, under the lock that keeps out new references and leases: `fresh` is the entry
    /// as it is now.
    ///
    /// # Errors
    /// Something claimed it since the cycle began: it has to stay.
    pub fn confirm(&self, fresh: &Candidate) -> Result<(), ClaimedSince> {
        let reason = if fresh.references.count() > 0 {
            ClaimReason::Referenced
        } else if fresh.pinned || fresh.expiry == Expiry::Never {
            ClaimReason::Pinned
        } else if fresh.leased {
            ClaimReason::Leased
        } else if fresh.last_used() > self.candidate.last_used() {
            ClaimReason::Used
        } else {
            return Ok(());
        };
        Err(ClaimedSince { id: fresh.id.clone(), reason })
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Candidate { name, titles, bytes, .. } = &self.candidate;
        let what = if self.verdict.deletes() { "delete" } else { "keep" };
        write!(f, "{what:<6}  {}", shown(name.as_bytes()))?;
        if let Some(job) = titles.first() {
            write!(f, " of {}", shown(job.as_bytes()))?;
        }
        write!(f, " ({}): {}", BinaryBytes(*bytes), self.reason())
    }
}
