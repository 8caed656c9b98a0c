//! The store in memory, and its own books.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::Duration;

use super::super::*;
use super::life::Life;
use crate::artifact::retention::audit::Done;
use crate::artifact::retention::{AuditEvent, Judged, Plan, ReferenceCause};
use crate::pipeline::JobKey;

/// Deletions a cycle, few enough to be reached.
const MOST: usize = 40;
const QUOTA: u64 = 100_000;
/// From when to when the clock is so wrong, for so long, that cycles agree on it.
pub(super) const BELIEVED: (i64, i64) = (170 * DAY, 172 * DAY);

/// What the store knows of an entry, and what is true of it.
pub(super) struct Held {
    pub(super) known: Candidate,
    /// True time at which it was put.
    born: i64,
    /// True time of its last use.
    pub(super) used: i64,
    /// By so much less than a jump the wall clock was behind then: it may count as used so much earlier.
    pub(super) behind: i64,
    /// Being restored until this true time.
    pub(super) leased_until: i64,
}

pub(super) struct Store {
    /// Seconds since the beginning, by a clock that is never wrong.
    pub(super) truth: i64,
    /// How far the wall clock is off.
    pub(super) clock_error: i64,
    pub(super) held: BTreeMap<EntryId, Held>,
    audit: Vec<AuditEvent>,
    clock: Option<ClockRecord>,
    last_cycle: Option<i64>,
    /// The wall clock was off by so much at the last cycle.
    last_error: i64,
    next_cycle: i64,
    /// The agent was started anew since the last cycle, so it does not know how much time passed.
    pub(super) restarted: bool,
    policies: Policies,
    named: u64,
    // What the year saw.
    pub(super) deleted: BTreeSet<EntryId>,
    pub(super) went: BTreeSet<&'static str>,
    pub(super) stayed: BTreeSet<&'static str>,
    pub(super) levels: BTreeSet<Pressure>,
    pub(super) licences: BTreeSet<Pressure>,
    pub(super) cycles: u64,
    pub(super) paused: u64,
    pub(super) refused: u64,
    pub(super) claimed_in_time: u64,
}

/// Hours of grace as the policies below say.
fn grace_hours(name: &str) -> i64 {
    match name {
        _ if name.starts_with("release-") => 168,
        _ if name.starts_with("log-") => 12,
        _ => 24,
    }
}

fn policies() -> Policies {
    let policies = vec![
        RetentionPolicy {
            max_age_days: Some(90),
            grace_period_hours: Some(168),
            priority: 100,
            ..policy("releases", "^release-v[0-9]+$")
        },
        RetentionPolicy { max_artifacts_per_pipeline: Some(3), priority: 50, ..policy("nightly", "^nightly$") },
        RetentionPolicy {
            delete_after_days_unused: Some(4),
            max_total_size: Some(8_000),
            priority: 40,
            ..policy("caches", "^cache-")
        },
        RetentionPolicy {
            max_age_days: Some(3),
            size_threshold: Some(2_000),
            grace_period_hours: Some(12),
            priority: 30,
            ..policy("logs", "^log-")
        },
        RetentionPolicy { max_age_days: Some(0), priority: 200, enabled: false, ..policy("off", "") },
    ];
    Policies::new(policies).unwrap()
}

impl Store {
    pub(super) fn new() -> Self {
        Self {
            truth: 0,
            clock_error: 0,
            held: BTreeMap::new(),
            audit: Vec::new(),
            clock: None,
            last_cycle: None,
            last_error: 0,
            next_cycle: 4 * HOUR,
            restarted: false,
            policies: policies(),
            named: 0,
            deleted: BTreeSet::new(),
            went: BTreeSet::new(),
            stayed: BTreeSet::new(),
            levels: BTreeSet::new(),
            licences: BTreeSet::new(),
            cycles: 0,
            paused: 0,
            refused: 0,
            claimed_in_time: 0,
        }
    }

    fn wall(&self) -> Timestamp {
        ago(-(self.truth + self.clock_error))
    }

    pub(super) fn stamp(&self) -> Timestamp {
        self.clock.map_or(self.wall(), |clock| clock.stamp(self.wall()))
    }

    fn behind(&self) -> i64 {
        if (-DAY..0).contains(&self.clock_error) { -self.clock_error } else { 0 }
    }

    fn used(&self) -> u64 {
        self.held.values().map(|held| held.known.bytes).sum()
    }

    pub(super) fn room(&self) -> Room {
        Room { quota: Some(Usage { used: self.used(), capacity: QUOTA }), ..Room::default() }
    }

    /// Takes a new entry, or refuses it.
    pub(super) fn put(&mut self, entry: Candidate) -> Option<EntryId> {
        if self.room().admit(&entry.owner, entry.bytes).is_err() {
            self.refused += 1;
            return None;
        }
        self.named += 1;
        let id = EntryId::new(format!("{}-{}", entry.name, self.named));
        let known = Candidate { id: id.clone(), created_at: self.stamp(), last_accessed: self.stamp(), ..entry };
        self.held.insert(
            id.clone(),
            Held { known, born: self.truth, used: self.truth, behind: self.behind(), leased_until: 0 },
        );
        assert!(self.used() <= QUOTA, "the quota is passed at {}", self.truth);
        Some(id)
    }

    /// Reads an entry: true if it is there.
    pub(super) fn read(&mut self, id: &EntryId, lease: i64) -> bool {
        let (stamp, truth, behind) = (self.stamp(), self.truth, self.behind());
        let Some(held) = self.held.get_mut(id) else { return false };
        held.known.last_accessed = held.known.last_accessed.max(stamp);
        (held.used, held.behind) = (truth, behind);
        held.leased_until = held.leased_until.max(truth + lease);
        true
    }

    pub(super) fn refer(&mut self, id: &EntryId, job: &JobKey, cause: ReferenceCause) {
        let at = self.stamp();
        let content = self.held[id].known.content.clone();
        self.audit.push(AuditEvent::reference(at, Some(job.clone()), id.clone(), content, cause));
    }

    pub(super) fn cycle_is_due(&self) -> bool {
        self.truth >= self.next_cycle
    }

    pub(super) fn cycle(&mut self, life: &mut Life) {
        let truth = self.truth;
        self.held.values_mut().for_each(|held| held.known.leased = held.leased_until > truth);
        let elapsed = self.last_cycle.filter(|_| !self.restarted).map(|last| (truth - last).unsigned_abs());
        let situation = Situation {
            wall: self.wall(),
            clock: self.clock,
            elapsed: elapsed.map(Duration::from_secs),
            room: self.room(),
        };
        let candidates: Vec<_> = self.held.values().map(|held| held.known.clone()).collect();
        let cycle = Cycle { max_deletions: NonZeroUsize::new(MOST).unwrap(), ..Cycle::default() };
        let plan = cycle.plan(&self.policies, &situation, candidates);
        self.look_at(&plan, life);
        self.clock = Some(plan.clock);

        // Meanwhile jobs go on, and some want just what is about to go.
        life.interferes(self, &plan);
        let before = self.deleted.len();
        for judged in &plan.deletions {
            self.delete(judged, plan.now, life);
        }
        for id in &plan.ahead {
            let held = self.held.get_mut(id).unwrap();
            held.known.created_at = held.known.created_at.min(plan.now);
            held.known.last_accessed = held.known.last_accessed.min(plan.now);
        }
        let deleted = (self.deleted.len() - before) as u64;
        self.audit.extend(plan.alert(Done { deleted, freed: plan.freed() }));
        self.books_balance(before, deleted);
        self.next_cycle = truth + i64::try_from(plan.next_cycle().as_secs()).unwrap();
        (self.last_cycle, self.last_error, self.restarted) = (Some(truth), self.clock_error, false);
    }

    /// What must hold for the plan as such.
    fn look_at(&mut self, plan: &Plan, life: &Life) {
        self.cycles += 1;
        self.levels.insert(plan.pressure());
        self.paused += u64::from(plan.jump.is_some());
        assert!(plan.deletions.len() <= MOST, "{} deletions in one cycle", plan.deletions.len());
        assert_eq!(plan.deletions.len() + plan.kept.len(), self.held.len());
        if (self.clock_error - self.last_error).abs() > DAY + 4 * HOUR {
            assert_eq!(plan.deletions.len(), 0, "the clock jumped between the last cycle and {}", self.truth);
        }
        plan.deletions.iter().for_each(|judged| self.may_go(judged, life));
        for judged in &plan.kept {
            self.stayed.insert(judged.verdict.code());
        }
        for held in self.held.values() {
            let known = held.known.references.count();
            assert_eq!(known, life.needing(&held.known.id), "references to {} leak", held.known.id);
        }
    }

    /// The entry may go by the books, not by what the engine was told.
    fn may_go(&self, judged: &Judged, life: &Life) {
        let (id, why) = (&judged.candidate.id, judged.reason());
        let held = &self.held[id];
        assert_eq!(life.needing(id), 0, "{id} is needed by jobs: {why}");
        assert!(!held.known.pinned && held.known.expiry != Expiry::Never, "{id} is pinned: {why}");
        assert!(held.leased_until <= self.truth, "{id} is being restored: {why}");
        let unused = self.truth - held.used;
        let grace = grace_hours(&held.known.name) * HOUR - held.behind;
        assert!(unused >= grace, "{id} used {unused} s ago, on day {}: {why}", self.truth / DAY);
        // Only a wrong clock that cycles agreed on makes the young old; one that was behind, by up to the time between
        // two cycles.
        let misled = held.born < BELIEVED.1 && self.truth >= BELIEVED.0;
        if matches!(judged.verdict.code(), "aging" | "old" | "size") && !misled {
            assert!(
                self.truth - held.born >= 7 * DAY - held.behind.max(4 * HOUR),
                "{id} is young, on day {}: {why}",
                self.truth / DAY
            );
        }
    }

    fn delete(&mut self, judged: &Judged, now: Timestamp, life: &Life) {
        let id = &judged.candidate.id;
        let held = &self.held[id];
        let fresh = Candidate { leased: held.leased_until > self.truth, ..held.known.clone() };
        if judged.confirm(&fresh).is_err() {
            self.claimed_in_time += 1;
            return;
        }
        self.may_go(judged, life);
        if let Verdict::Delete(cause) = &judged.verdict {
            self.licences.insert(cause.pressure);
            // What only pressure has go goes under that pressure only, to the last one.
            assert!(self.room().pressure() >= cause.pressure, "{id} went without need: {cause}");
        }
        self.audit.push(AuditEvent::deletion(judged, &fresh, now));
        self.went.insert(judged.verdict.code());
        self.held.remove(id);
        assert!(self.deleted.insert(id.clone()), "{id} was deleted twice");
    }

    /// Every deletion has exactly one record, and under pressure there is an alert.
    fn books_balance(&mut self, before: usize, deleted: u64) {
        let mut records = BTreeSet::new();
        for event in self.audit.drain(..) {
            let line = event.line().unwrap();
            assert_eq!(serde_json::from_str::<AuditEvent>(&line).unwrap(), event);
            if let AuditEvent::ArtifactDeletion { entry, references, .. } = event {
                assert_eq!(references, 0);
                assert!(self.deleted.contains(&entry), "{entry} has a record and was not deleted");
                assert!(records.insert(entry.clone()), "{entry} has two records");
            }
        }
        assert_eq!(records.len() as u64, deleted, "deletions since {before} without a record");
    }
}
