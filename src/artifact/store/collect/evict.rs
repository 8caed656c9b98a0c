//! Making room for a cache where a quota is full: of the same owner's caches, those that were not used for longest go.
//!
//! Nobody else's: whoever fills a quota pays for it himself.

use super::super::alone::{Patience, Turns};
use super::super::error::StoreError;
use super::super::opened::Store;
use super::super::session;
use super::delete::READ;
use super::facts::{Facts, Place};
use super::sweep;
use crate::artifact::Interrupt;
use crate::artifact::retention::{AuditEvent, Candidate};
use crate::pipeline::Owner;

/// Something that is to go, and where it is.
type Going<'f> = (&'f Candidate, &'f Place);

/// What was removed to make room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evicted {
    /// The keys of caches, for people, in the order in which they went.
    pub names: Vec<String>,
    /// Whether it was worth it: there is room now, or more than there was.
    pub has_helped: bool,
}

impl Store {
    /// Removes caches of `owner` until `needed` bytes more may be written for him. Where all that could go would not be enough,
    /// nothing does.
    ///
    /// What a job holds or somebody has pinned stays. What is damaged goes first, then what was not used for longest.
    ///
    /// # Errors
    /// Somebody else collects or works for long, or a file cannot be read or removed.
    pub fn make_room(&self, owner: &Owner, needed: u64, interrupt: &Interrupt) -> Result<Evicted, StoreError> {
        self.make_room_within(owner, needed, Patience::JOB, interrupt)
    }

    pub(in super::super) fn make_room_within(
        &self,
        owner: &Owner,
        needed: u64,
        patience: Patience,
        interrupt: &Interrupt,
    ) -> Result<Evicted, StoreError> {
        let _collector = session::collector_patiently(&self.layout, patience, interrupt)?;
        let mut turns = Turns::new(patience);
        let home = self.home(owner);
        // What nobody needs any more may be enough.
        let swept = sweep::sweep(self, &home, &mut turns, interrupt)?;
        if turns.is_in_vain() {
            return Err(turns.busy());
        }
        let missing = self.missing(owner, needed)?;
        if missing == 0 {
            // Where only what others are writing is in the way, they were waited for already.
            let has_helped = swept.packs > 0 || self.allowance_beside_others(owner)?.bytes >= needed;
            return Ok(Evicted { names: Vec::new(), has_helped });
        }
        let names = self.evict(owner, missing, &mut turns, interrupt)?;
        sweep::sweep(self, &home, &mut turns, interrupt)?;
        // What went by name gives its room back only when somebody could be alone.
        let has_helped = !names.is_empty() && !turns.is_in_vain();
        Ok(Evicted { names, has_helped })
    }

    /// How many of the needed bytes there is no room for.
    fn missing(&self, owner: &Owner, needed: u64) -> Result<u64, StoreError> {
        Ok(needed.saturating_sub(self.allowance(owner)?.bytes))
    }

    fn evict(
        &self,
        owner: &Owner,
        missing: u64,
        turns: &mut Turns,
        interrupt: &Interrupt,
    ) -> Result<Vec<String>, StoreError> {
        let home = self.home(owner);
        let mut budget = READ;
        let damage = {
            let _held = self.hold_still(interrupt)?;
            let facts = self.facts_of(std::slice::from_ref(&home))?;
            let going = self.longest_unused(owner, &facts, missing)?;
            let trees = going.iter().map(|(candidate, place)| (&candidate.id, &place.tree));
            self.look_at(&home, trees, &mut budget, interrupt)?
        };
        // Alone from the choice to the removal: nobody begins to use what goes in between.
        let Some(_alone) = turns.alone(&self.layout, interrupt)? else { return Err(turns.busy()) };
        let facts = self.facts_of(std::slice::from_ref(&home))?;
        if facts.lost > 0 {
            tracing::warn!(owner = %owner.slug(), lost = facts.lost, "records are damaged: no cache of their owner is removed");
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for (candidate, place) in self.longest_unused(owner, &facts, missing)? {
            let damage = damage.get(&candidate.id).map(String::as_str);
            self.audit(&[AuditEvent::eviction(candidate, self.now()).of_damaged(damage)])?;
            self.delete_name(place)?;
            names.push(candidate.name.clone());
        }
        Ok(names)
    }

    /// What has to go for so many bytes. None, where all would not be enough.
    fn longest_unused<'f>(&self, owner: &Owner, facts: &'f Facts, missing: u64) -> Result<Vec<Going<'f>>, StoreError> {
        let mut may_go = Vec::new();
        for candidate in &facts.candidates {
            let Some(place) = facts.places.get(&candidate.id).filter(|place| place.is_cache) else { continue };
            if !candidate.pinned && candidate.references.count() == 0 && candidate.bytes > 0 {
                let found = self.index()?.verification(&owner.slug(), &place.tree)?;
                may_go.push((found.is_some_and(|found| found.result.is_damage()), candidate, place));
            }
        }
        may_go.sort_by_key(|(is_damaged, candidate, _)| (!is_damaged, candidate.staleness()));
        let mut freed = 0;
        let mut chosen = Vec::new();
        for (_, candidate, place) in may_go {
            if freed < missing {
                freed += candidate.bytes;
                chosen.push((candidate, place));
            }
        }
        Ok(if freed < missing { Vec::new() } else { chosen })
    }
}
