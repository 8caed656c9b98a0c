//! How much one cycle does, what it says, and the last look before a deletion.

use std::num::NonZeroUsize;

use super::*;
use crate::artifact::retention::judged::ClaimReason;

#[test]
fn a_cycle_deletes_no_more_than_a_thousand_and_the_longest_unused() {
    let candidates: Vec<_> = (0..1_500).map(|n| entry(&n.to_string(), 40 * DAY, 10 * DAY + n)).collect();
    let plan = plan(&[], &full(0), candidates);
    let expected: Vec<_> = (500..1_500).rev().map(|n| n.to_string()).collect();
    assert_eq!(gone(&plan), expected);
    assert!(plan.more);
    assert_eq!(code(&plan, "499"), "cycle_full");
    assert!(plan.next_cycle() < std::time::Duration::from_secs(4 * 3600), "the rest does not wait for the usual time");
}

#[test]
fn exactly_as_many_as_allowed_is_not_too_many() {
    let cycle = Cycle { max_deletions: NonZeroUsize::new(2).unwrap(), ..Cycle::default() };
    let candidates = vec![entry("a", 40 * DAY, 40 * DAY), entry("b", 40 * DAY, 40 * DAY)];
    let plan = cycle.plan(&Policies::default(), &full(0), candidates);
    assert_eq!((gone(&plan).len(), plan.more), (2, false));
}

#[test]
fn every_decision_is_one_line() {
    let at = |days: i64| ago(-days * DAY);
    let policies = [RetentionPolicy { max_age_days: Some(7), ..policy("tests", "^test-") }];
    let base = |id: &str| entry(id, 10 * DAY, 2 * DAY);
    let lines = |candidate: Candidate, per_cent| {
        let plan = plan(&policies, &full(per_cent), vec![candidate]);
        plan.deletions.into_iter().chain(plan.kept).next().unwrap().to_string()
    };
    let references = References { queued: 2, running: 1 };
    for (candidate, per_cent, line) in [
        (Candidate { references, ..base("a") }, 0, "keep    a (100 B): needed by 2 queued and 1 running jobs"),
        (Candidate { pinned: true, ..base("a") }, 0, "keep    a (100 B): pinned"),
        (Candidate { leased: true, ..base("a") }, 0, "keep    a (100 B): being restored"),
        (Candidate { expiry: Expiry::Never, ..base("a") }, 0, "keep    a (100 B): its job said `expire_in: never`"),
        (entry("a", 10 * DAY, 5 * HOUR), 0, "keep    a (100 B): used 5h ago, 1d after use are grace"),
        (
            Candidate { expiry: Expiry::At(at(1)), ..base("a") },
            0,
            "keep    a (100 B): its job keeps it until 2026-03-02T12:00:00Z",
        ),
        (
            Candidate { expiry: Expiry::At(at(-1)), ..base("a") },
            0,
            "delete  a (100 B): its job's `expire_in` ended 2026-02-28T12:00:00Z",
        ),
        (
            Candidate { expiry: Expiry::At(now()), ..base("a") },
            0,
            "delete  a (100 B): its job's `expire_in` ended 2026-03-01T12:00:00Z",
        ),
        (base("test-1"), 0, "delete  test-1 (100 B): policy `tests`: 10d old, 7d are allowed"),
        (entry("test-1", 3 * DAY, 3 * DAY), 0, "keep    test-1 (100 B): within the bounds of policy `tests`"),
        (
            entry("test-1", 6 * DAY, 6 * DAY),
            85,
            "delete  test-1 (100 B): policy `tests`: 6d old, 5d6h are allowed; the store is 80 % full or more",
        ),
        (entry("a", 3 * DAY, 3 * DAY), 0, "keep    a (100 B): only 3d old, 7d are kept"),
        (base("a"), 0, "keep    a (100 B): used 2d ago, up to 3d are kept at its age"),
        (
            base("a"),
            91,
            "delete  a (100 B): older than 7d and unused for 2d, 1d12h are kept at its age; the store is 90 % full or more",
        ),
        (entry("a", 99 * DAY, 9 * DAY), 0, "delete  a (100 B): old and unused for 9d, 7d are kept at its age"),
        (
            entry("a", 9 * DAY, DAY),
            91,
            "delete  a (100 B): older than 7d, and the largest go first; the store is 90 % full or more",
        ),
        (entry("a", 2 * DAY, 2 * DAY), 96, "delete  a (100 B): no job needs it; the store is 95 % full or more"),
        (entry("a\nkeep b\x1b[2K", DAY, DAY), 0, "keep    a\\nkeep b\\u{1b}[2K (100 B): only 1d old, 7d are kept"),
    ] {
        assert_eq!(lines(candidate, per_cent), line);
    }
}

#[test]
fn what_was_claimed_since_the_plan_stays() {
    let plan = plan(&[], &full(0), vec![entry("e", 40 * DAY, 40 * DAY)]);
    let judged = &plan.deletions[0];
    let fresh = judged.candidate.clone();
    assert_eq!(judged.confirm(&fresh), Ok(()));
    let reason = |fresh: Candidate| judged.confirm(&fresh).unwrap_err().reason;
    let references = References { queued: 1, running: 0 };
    assert_eq!(reason(Candidate { references, ..fresh.clone() }), ClaimReason::Referenced);
    assert_eq!(reason(Candidate { pinned: true, ..fresh.clone() }), ClaimReason::Pinned);
    assert_eq!(reason(Candidate { expiry: Expiry::Never, ..fresh.clone() }), ClaimReason::Pinned);
    assert_eq!(reason(Candidate { leased: true, ..fresh.clone() }), ClaimReason::Leased);
    assert_eq!(reason(Candidate { last_accessed: now(), ..fresh.clone() }), ClaimReason::Used);
    let told = judged.confirm(&Candidate { leased: true, ..fresh }).unwrap_err().to_string();
    assert_eq!(told, "e stays after all: it is being restored");
}

#[test]
fn the_same_facts_in_any_order_make_the_same_plan() {
    let mut candidates: Vec<_> = (0..200).map(|n| entry(&n.to_string(), 40 * DAY, (n % 17) * DAY)).collect();
    let one = plan(&[], &full(96), candidates.clone());
    candidates.reverse();
    assert_eq!(gone(&one), gone(&plan(&[], &full(96), candidates)));
}
