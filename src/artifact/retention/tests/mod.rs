mod audit;
mod bounds;
mod clock;
mod cycle;
mod matrix;
mod order;
mod policy;
mod pressure;
mod simulation;

use jiff::{SignedDuration, Timestamp};

use super::{Candidate, ContentHash, Cycle, EntryId, Expiry, PipelineKey, Plan, Policies, References, RetentionPolicy};
use super::{ClockRecord, Pressure, Room, Situation, Usage, Verdict};
use crate::pipeline::{ForgeInstance, Owner, ProjectId, Trust};

pub(super) const HOUR: i64 = 3600;
pub(super) const DAY: i64 = 24 * HOUR;

/// Some moment; everything is told from here.
pub(super) fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

pub(super) fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

pub(super) fn owner(project: &str, trust: Trust) -> Owner {
    Owner { forge: ForgeInstance::new("https://forge.example"), project: ProjectId::new(project), trust }
}

/// An entry of 100 bytes that nothing speaks for.
pub(super) fn entry(id: &str, age: i64, unused: i64) -> Candidate {
    Candidate {
        id: EntryId::new(id),
        content: ContentHash::new(format!("{id:0>64}")),
        name: id.to_owned(),
        titles: Vec::new(),
        series: None,
        owner: owner("p", Trust::Member),
        pipeline: None,
        bytes: 100,
        created_at: ago(age),
        last_accessed: ago(unused),
        expiry: Expiry::None,
        references: References::default(),
        pinned: false,
        leased: false,
    }
}

/// The disk is so full; a clock that all agree on.
pub(super) fn full(per_cent: u64) -> Situation {
    let room = Room { quota: Some(Usage { used: per_cent * 1_000, capacity: 100_000 }), ..Room::default() };
    Situation { wall: now(), clock: Some(agreed()), elapsed: None, room }
}

/// What a cycle an hour ago left.
pub(super) fn agreed() -> ClockRecord {
    ClockRecord::first(None, ago(HOUR))
}

pub(super) fn policy(name: &str, pattern: &str) -> RetentionPolicy {
    RetentionPolicy::new(name, pattern.parse().unwrap())
}

pub(super) fn plan(policies: &[RetentionPolicy], situation: &Situation, candidates: Vec<Candidate>) -> Plan {
    Cycle::default().plan(&Policies::new(policies.to_vec()).unwrap(), situation, candidates)
}

/// What is decided on one entry alone.
pub(super) fn verdict(policies: &[RetentionPolicy], situation: &Situation, candidate: Candidate) -> Verdict {
    let plan = plan(policies, situation, vec![candidate]);
    plan.deletions.into_iter().chain(plan.kept).next().unwrap().verdict
}

/// The ids of what goes, in order.
pub(super) fn gone(plan: &Plan) -> Vec<&str> {
    plan.deletions.iter().map(|judged| judged.candidate.id.as_str()).collect()
}

/// The word for what was decided on an entry.
pub(super) fn code<'a>(plan: &'a Plan, id: &str) -> &'a str {
    let mut all = plan.deletions.iter().chain(&plan.kept);
    all.find(|judged| judged.candidate.id.as_str() == id).unwrap().verdict.code()
}
