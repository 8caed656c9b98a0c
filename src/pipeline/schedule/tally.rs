//! What the ends of those that a job waits for mean together.
//!
//! The rules are GitLab's, and others' are the same where they overlap: a job behind named needs runs only when each of them ran;
//! one behind stages does not mind jobs that were skipped. (Settled at `lib/gitlab/ci/status/composite.rb` and
//! `app/services/ci/process_build_service.rb` of GitLab.)

use crate::pipeline::StartCondition;

/// How a job ended, as far as others care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It did what it should.
    Success,
    /// It failed, and may.
    FailedAllowed,
    /// It failed.
    Failed,
    /// Somebody ended it.
    Cancelled,
    /// It never ran.
    Skipped,
    /// It waits for a person, and nobody waits for it.
    Ignored,
}

/// The ends so far of what a job waits for: how many of each, and one of those that stand in its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    succeeded: u32,
    failed: u32,
    cancelled: u32,
    skipped: u32,
    ignored: u32,
    culprit: Option<usize>,
}

/// What a tally says when all have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All that counts ended well.
    Success,
    /// One failed.
    Failed,
    /// One was ended by somebody.
    Cancelled,
    /// Nothing that counts ran.
    Skipped,
}

impl Tally {
    /// Adds the end of one job, by its place in the definition.
    pub fn add(&mut self, job: usize, end: End) {
        let (count, stands_in_the_way) = match end {
            End::Success | End::FailedAllowed => (&mut self.succeeded, false),
            End::Failed => (&mut self.failed, true),
            End::Cancelled => (&mut self.cancelled, true),
            End::Skipped => (&mut self.skipped, true),
            End::Ignored => (&mut self.ignored, true),
        };
        *count += 1;
        // The first that failed or was cancelled explains more than one that was skipped for it.
        let explains = match end {
            End::Failed => self.failed == 1,
            End::Cancelled => self.failed == 0 && self.cancelled == 1,
            _ => self.culprit.is_none(),
        };
        if stands_in_the_way && explains {
            self.culprit = Some(job);
        }
    }

    /// Adds all of another tally.
    pub fn merge(&mut self, other: &Tally) {
        let outranked = self.culprit.is_none() || (self.failed == 0 && other.failed > 0);
        if outranked && other.culprit.is_some() {
            self.culprit = other.culprit;
        }
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.skipped += other.skipped;
        self.ignored += other.ignored;
    }

    /// The job that explains why another one is skipped.
    pub fn culprit(&self) -> Option<usize> {
        self.culprit
    }

    /// What it says of a job that waits for these by name (`named`) or by stage.
    pub fn standing(&self, named: bool) -> Standing {
        if named && self.skipped + self.ignored > 0 {
            return Standing::Skipped;
        }
        if self.failed > 0 {
            Standing::Failed
        } else if self.cancelled > 0 {
            Standing::Cancelled
        } else if self.succeeded == 0 && self.skipped + self.ignored > 0 {
            Standing::Skipped
        } else {
            Standing::Success
        }
    }

    /// Whether a job with this condition runs. `named`: it waits by name.
    pub fn allows(&self, start: &StartCondition, named: bool) -> bool {
        let standing = self.standing(named);
        match start {
            StartCondition::OnSuccess | StartCondition::Manual { .. } | StartCondition::Delayed(_) => {
                standing == Standing::Success || (standing == Standing::Skipped && !named)
            }
            StartCondition::OnFailure => standing == Standing::Failed,
            StartCondition::Always => standing != Standing::Cancelled,
            StartCondition::Decided => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(ends: &[End]) -> Tally {
        let mut tally = Tally::default();
        for (job, end) in ends.iter().enumerate() {
            tally.add(job, *end);
        }
        tally
    }

    #[test]
    fn stages_do_not_mind_skipped_jobs_and_needs_do() {
        let skipped = tally(&[End::Success, End::Skipped]);
        assert!(skipped.allows(&StartCondition::OnSuccess, false));
        assert!(!skipped.allows(&StartCondition::OnSuccess, true));
        assert!(skipped.allows(&StartCondition::Always, true));
    }

    #[test]
    fn a_failure_that_is_allowed_is_none() {
        let warned = tally(&[End::FailedAllowed]);
        assert!(warned.allows(&StartCondition::OnSuccess, true));
        assert!(!warned.allows(&StartCondition::OnFailure, true));
        assert!(tally(&[End::Failed, End::Success]).allows(&StartCondition::OnFailure, true));
    }

    #[test]
    fn the_failed_one_is_to_blame_not_those_skipped_for_it() {
        assert_eq!(tally(&[End::Skipped, End::Failed, End::Failed]).culprit(), Some(1));
        let mut all = tally(&[End::Skipped]);
        all.merge(&tally(&[End::Success, End::Success, End::Failed]));
        assert_eq!(all.culprit(), Some(2));
    }

    #[test]
    fn nothing_to_wait_for_is_success() {
        assert!(Tally::default().allows(&StartCondition::OnSuccess, true));
        assert!(!Tally::default().allows(&StartCondition::OnFailure, false));
    }
}
