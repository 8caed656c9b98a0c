//! One cycle: facts in, a plan out.

use std::cmp::Reverse;
use std::num::NonZeroUsize;
use std::time::Duration;

use jiff::Timestamp;

use super::candidate::{Candidate, EntryId};
use super::clock::{ClockRecord, JUMP, Reading};
use super::judged::Judged;
use super::plan::Plan;
use super::policy::Policies;
use super::pressure::{Pressure, Room};
use super::rules::{Backing, Open, Rules, Standing};
use super::together;
use super::verdict::{Cause, Keep, Rule, Verdict};
use crate::pipeline::Trust;

const DEFAULT_LIMIT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(999);
const DEFAULT_GRACE: Duration = Duration::from_secs(24 * 3600);

/// What holds for every cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// So many entries at most are deleted in one.
    pub max_deletions: NonZeroUsize,
    /// After its last use an entry stays so long, where its policy says nothing else.
    pub grace: Duration,
}

impl Default for Cycle {
    fn default() -> Self {
        Self { max_deletions: DEFAULT_LIMIT, grace: DEFAULT_GRACE }
    }
}

/// What holds at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Situation {
    /// The wall clock.
    pub wall: Timestamp,
    /// What the last cycle left. `None`: there was none, or its record is lost.
    pub clock: Option<ClockRecord>,
    /// Time since the cycle that left `clock`, by a clock that nobody sets and that goes on while the machine sleeps
    /// (CLOCK_BOOTTIME). `None`: another process did it.
    pub elapsed: Option<Duration>,
    /// How full everything is.
    pub room: Room,
}

/// The order of deletions: all of a step before the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// What goes at any pressure.
    Due,
    /// What goes because its period is 25 % shorter.
    Shortened,
    /// What goes because its period is 50 % shorter.
    Halved,
    /// What is large.
    Size,
    /// Whatever may go.
    Emergency,
}

/// Something to delete, if the pressure is still there when its turn comes.
struct Turn {
    at: usize,
    step: Step,
    backing: Backing,
    cause: Cause,
}

impl Cycle {
    /// Decides on all entries of a store. Takes no longer than sorting them does.
    ///
    /// Every candidate of the store has to be given, protected ones too: bounds by count and total size look at all of
    /// them.
    pub fn plan(&self, policies: &Policies, situation: &Situation, candidates: Vec<Candidate>) -> Plan {
        let newest = candidates.iter().map(Candidate::last_used).max();
        let last = situation.clock.unwrap_or_else(|| ClockRecord::first(newest, situation.wall));
        let reading = last.read(situation.wall, situation.elapsed, candidates.iter().map(Candidate::last_used));

        let deciding = together::deciding(policies, &candidates);
        let standings = self.standings(policies, &situation.room, &reading, &candidates, &deciding);
        let turns = turns(&candidates, &standings, &situation.room);
        let mut run = Run::new(situation.room.clone(), self.max_deletions, candidates.len());
        for turn in turns {
            if let Some(candidate) = candidates.get(turn.at) {
                run.take(candidate, turn, reading.jump.is_some());
            }
        }

        let ahead = if reading.jump.is_none() { ahead(&candidates, reading.now) } else { Vec::new() };
        let names = deciding.into_iter().map(|at| at.and_then(|at| policies.list().get(at)).map(|p| p.name.clone()));
        let standing = standings.into_iter().map(|standing| match standing {
            Standing::Protected(keep) | Standing::Open(Open { keep, .. }) => keep,
        });
        let facts = candidates.into_iter().zip(names).zip(standing).map(|((c, p), k)| (c, p, k));
        let (deletions, kept) = run.judge(facts);
        Plan {
            now: reading.now,
            jump: reading.jump,
            clock: reading.record,
            deletions,
            kept,
            before: situation.room.clone(),
            after: run.room,
            more: run.more,
            ahead,
        }
    }

    fn standings(
        &self,
        policies: &Policies,
        room: &Room,
        reading: &Reading,
        candidates: &[Candidate],
        deciding: &together::Deciding,
    ) -> Vec<Standing> {
        let over = together::over_threshold(policies, candidates, deciding);
        let surplus = together::surplus(policies, candidates, deciding);
        let facts = candidates.iter().zip(deciding).zip(surplus);
        let mut standings: Vec<Standing> = facts
            .map(|((candidate, policy), surplus)| {
                let rules = Rules {
                    now: reading.now,
                    clock: &reading.record,
                    default_grace: self.grace,
                    policy: policy.and_then(|at| policies.list().get(at)),
                    pressure: room.pressure_for(&candidate.owner),
                    over_threshold: policy.and_then(|at| over.get(at)).copied().unwrap_or_default(),
                    surplus,
                };
                rules.standing(candidate)
            })
            .collect();
        together::fit_totals(policies, candidates, deciding, &mut standings);
        standings
    }
}

/// Everything that goes at the present pressure, in order.
fn turns(candidates: &[Candidate], standings: &[Standing], room: &Room) -> Vec<Turn> {
    let open = candidates.iter().zip(standings).enumerate().filter_map(|(at, (candidate, standing))| match standing {
        Standing::Open(open) => Some((at, candidate, open)),
        Standing::Protected(_) => None,
    });
    let mut turns: Vec<(Turn, &Candidate)> = open
        .filter_map(|(at, candidate, open)| {
            let (step, cause) = step_of(open, room.pressure_for(&candidate.owner))?;
            Some((Turn { at, step, backing: open.backing, cause }, candidate))
        })
        .collect();
    turns.sort_by(|(a, x), (b, y)| a.rank(x).cmp(&b.rank(y)).then_with(|| x.staleness().cmp(&y.staleness())));
    turns.into_iter().map(|(turn, _)| turn).collect()
}

/// The first step that takes it.
fn step_of(open: &Open, pressure: Pressure) -> Option<(Step, Cause)> {
    if let Some(cause) = open.due.as_ref().filter(|cause| cause.pressure <= pressure) {
        let step = match cause.pressure {
            Pressure::Low => Step::Due,
            Pressure::Yellow => Step::Shortened,
            Pressure::Orange | Pressure::Red | Pressure::Critical => Step::Halved,
        };
        return Some((step, cause.clone()));
    }
    if pressure >= Pressure::Orange && open.backing == Backing::Matrix && !open.recent {
        return Some((Step::Size, Cause { rule: Rule::Size, pressure: Pressure::Orange, policy: None }));
    }
    let emergency = Cause { rule: Rule::Emergency, pressure: Pressure::Red, policy: None };
    (pressure >= Pressure::Red).then_some((Step::Emergency, emergency))
}

impl Turn {
    /// Within a step, under pressure, what forks left goes first: a flood of theirs must not cost the project's own.
    fn rank(&self, candidate: &Candidate) -> (Step, bool, Option<Backing>, Reverse<u64>) {
        let pressed = self.step > Step::Due;
        let own = pressed && candidate.owner.trust != Trust::Fork;
        let backing = pressed.then_some(self.backing);
        let size = if self.step == Step::Size { candidate.bytes } else { 0 };
        (self.step, own, backing, Reverse(size))
    }
}

/// What the turns come to.
struct Run {
    room: Room,
    limit: usize,
    deleted: Vec<usize>,
    decided: Vec<Option<Verdict>>,
    more: bool,
}

impl Run {
    fn new(room: Room, limit: NonZeroUsize, candidates: usize) -> Self {
        Self { room, limit: limit.get(), deleted: Vec::new(), decided: vec![None; candidates], more: false }
    }

    fn take(&mut self, candidate: &Candidate, turn: Turn, in_doubt: bool) {
        let verdict = if in_doubt {
            Verdict::Keep(Keep::ClockInDoubt(turn.cause))
        } else if self.room.pressure_for(&candidate.owner) < turn.cause.pressure {
            Verdict::Keep(Keep::Relieved(turn.cause))
        } else if self.deleted.len() >= self.limit {
            self.more = true;
            Verdict::Keep(Keep::CycleFull(turn.cause))
        } else {
            self.room.free(&candidate.owner, candidate.bytes);
            self.deleted.push(turn.at);
            Verdict::Delete(turn.cause)
        };
        if let Some(decided) = self.decided.get_mut(turn.at) {
            *decided = Some(verdict);
        }
    }

    /// What goes, in order, and what stays.
    fn judge(&mut self, facts: impl Iterator<Item = (Candidate, Option<String>, Keep)>) -> (Vec<Judged>, Vec<Judged>) {
        let decided = std::mem::take(&mut self.decided);
        let mut judged: Vec<Option<Judged>> = facts
            .zip(decided)
            .map(|((candidate, policy, keep), decided)| {
                let verdict = decided.unwrap_or(Verdict::Keep(keep));
                Some(Judged { candidate, verdict, policy })
            })
            .collect();
        let deletions = self.deleted.iter().filter_map(|at| judged.get_mut(*at).and_then(Option::take)).collect();
        (deletions, judged.into_iter().flatten().collect())
    }
}

fn ahead(candidates: &[Candidate], now: Timestamp) -> Vec<EntryId> {
    let from_future = |candidate: &&Candidate| {
        Duration::try_from(candidate.last_used().duration_since(now)).is_ok_and(|by| by > JUMP)
    };
    candidates.iter().filter(from_future).map(|candidate| candidate.id.clone()).collect()
}
