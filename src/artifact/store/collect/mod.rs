//! Removing what need not be kept any longer: first names, as the retention engine decides, then the objects that no name needs.
//!
//! One at a time for a store, whatever the number of processes. Before anything is removed every record has been read; where one is
//! damaged and cannot be written again, nothing is.

use std::time::Duration;

use super::alone::{Patience, Turns};
use super::error::StoreError;
use super::opened::Store;
use super::session;
use super::verify::UNREAD;
use super::{ballast, disk};
use crate::artifact::Interrupt;
use crate::artifact::retention::{AuditEvent, Cycle, Done, Plan, Policies, Situation};

mod ahead;
mod delete;
mod evict;
mod facts;
pub(super) mod mark;
pub(super) mod repack;
mod sweep;

pub use evict::Evicted;
use facts::Facts;

/// How long what was damaged is kept to be looked at.
const DAMAGED_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long it is remembered what was put from a folder, and which jobs restored what nobody keeps any more.
const SEEN_AGE: Duration = Duration::from_secs(14 * 24 * 3600);

/// How to collect.
pub struct Collection<'a> {
    /// What the operator wants.
    pub policies: &'a Policies,
    /// How much at a time.
    pub cycle: Cycle,
    /// Only say what would be done.
    pub is_dry_run: bool,
    /// Since the last collection of this process.
    pub elapsed: Option<Duration>,
    /// Ends the work early.
    pub interrupt: Interrupt,
}

/// What a collection came to.
#[derive(Debug)]
pub struct Collected {
    /// What was decided.
    pub plan: Plan,
    /// Names that were removed.
    pub deleted: u64,
    /// Bytes that were given back.
    pub freed: u64,
    /// Records that are damaged: because of them nothing was removed.
    pub lost_records: usize,
    /// Others were at work for so long that not all could be removed: a later collection does it.
    pub is_put_off: bool,
}

impl Store {
    /// Removes what need not be kept. `None`: somebody else is at it.
    pub fn collect(&self, how: &Collection<'_>) -> Result<Option<Collected>, StoreError> {
        self.collect_within(how, Patience::COLLECTION)
    }

    pub(super) fn collect_within(
        &self,
        how: &Collection<'_>,
        patience: Patience,
    ) -> Result<Option<Collected>, StoreError> {
        let Some(_collector) = session::collector(&self.layout)? else { return Ok(None) };
        // Before the room that is put by seems to be free.
        let room = self.room()?;
        if !how.is_dry_run {
            ballast::give_up_if_needed(&self.layout);
        }
        // When things were used last stands in the index alone.
        self.heal()?;
        let facts = self.facts()?;
        let situation = Situation { wall: (self.clock)(), clock: self.clock_record()?, elapsed: how.elapsed, room };
        let plan = how.cycle.plan(how.policies, &situation, facts.candidates.clone());
        let mut collected = Collected { plan, deleted: 0, freed: 0, lost_records: facts.lost, is_put_off: false };
        if how.is_dry_run {
            return Ok(Some(collected));
        }
        {
            let work = self.begin(&how.interrupt)?;
            self.set_clock_record(&work, collected.plan.clock)?;
        }
        let mut turns = Turns::new(patience);
        self.set_back(&facts, &collected.plan, &mut turns, &how.interrupt)?;
        self.audit(&self.changed_verdicts(&collected.plan)?)?;
        if facts.lost == 0 {
            self.delete(&facts, &mut collected, &mut turns, &how.interrupt)?;
            if collected.plan.jump.is_none() {
                for home in self.homes()? {
                    collected.freed += sweep::sweep(self, &home, &mut turns, &how.interrupt)?.bytes;
                }
            }
        }
        collected.is_put_off = turns.is_in_vain();
        if collected.is_put_off {
            tracing::warn!(
                "others were at work with the store for so long that not all could be removed that is to go: a later collection does it"
            );
        }
        let done = Done { deleted: collected.deleted, freed: collected.freed };
        self.audit(&Vec::from_iter(collected.plan.alert(done)))?;
        self.forget_leftovers(&facts)?;
        ballast::lay(&self.layout);
        self.heal()?;
        Ok(Some(collected))
    }

    /// How long ago the last collection was, by the machine's clock. `None`: there was none, or the clock was set back since.
    pub fn since_collection(&self) -> Option<Duration> {
        let at = std::fs::metadata(self.layout.time()).and_then(|file| file.modified()).ok()?;
        at.elapsed().ok()
    }

    /// The decisions that are others than those of the cycle before.
    fn changed_verdicts(&self, plan: &Plan) -> Result<Vec<AuditEvent>, StoreError> {
        let mut changed = Vec::new();
        let index = self.index()?;
        index.at_once(|| {
            for judged in plan.deletions.iter().chain(&plan.kept) {
                let (owner, key) = judged.candidate.id.as_str().split_once('/').unwrap_or_default();
                if index.set_verdict(owner, key, judged.verdict.code())? {
                    changed.push(AuditEvent::evaluation(judged, plan.now));
                }
            }
            Ok(())
        })?;
        Ok(changed)
    }

    /// Removes what is only kept for a while.
    fn forget_leftovers(&self, facts: &Facts) -> Result<(), StoreError> {
        // What was put aside and is nowhere else keeps collections from removing anything, until somebody deals with it.
        let mut lost = Vec::new();
        for home in self.homes()? {
            forget(&home.seen(), SEEN_AGE, &[])?;
            if facts.lost == 0 {
                let of = facts.places.values().filter(|place| place.home == home).map(|place| place.tree);
                self.forget_consumers_but(&home, &of.collect(), SEEN_AGE)?;
            }
            lost.append(&mut self.lost_records(&home)?);
        }
        // Nobody but the operator gives up what a disk may give back another time.
        let unread = disk::names(&self.layout.damaged())?;
        lost.extend(unread.into_iter().filter(|path| path.extension().is_some_and(|end| end == UNREAD)));
        forget(&self.layout.damaged(), DAMAGED_AGE, &lost)?;
        let index = self.index()?;
        if index.is_filled() && !index.is_in_memory() { index.forget_what_is_gone() } else { Ok(()) }
    }
}

/// Removes the files of a folder that are older, but none of these.
fn forget(folder: &std::path::Path, age: Duration, but: &[std::path::PathBuf]) -> Result<(), StoreError> {
    for path in disk::names(folder)?.into_iter().filter(|path| !but.contains(path)) {
        let modified = std::fs::metadata(&path).and_then(|file| file.modified());
        if modified.is_ok_and(|at| at.elapsed().is_ok_and(|old| old > age)) {
            disk::remove(&path)?;
        }
    }
    Ok(())
}
