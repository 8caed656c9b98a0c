//! Removing names. First it is looked whether they were whole, so that damage does not pass for tidiness; then, alone, whether somebody has
//! come to need them since the plan was made.

use std::collections::{HashMap, HashSet};

use super::super::alone::Turns;
use super::super::disk;
use super::super::error::StoreError;
use super::super::id::ObjectId;
use super::super::layout::Home;
use super::super::opened::{Store, slug_of};
use super::super::verify::{Checker, Look};
use super::Collected;
use super::facts::{Facts, Place};
use crate::artifact::retention::{AuditEvent, Candidate, EntryId, Judged};
use crate::artifact::{Interrupt, in_full};

/// Names that are removed while nobody else works with the store.
const AT_ONCE: usize = 100;

/// Bytes of content that a collection reads of what it removes: every four hours, this is far below what looking at everything takes.
/// Of the rest it is looked whether it is there, and as long as it should be.
pub(super) const READ: u64 = 64 << 20;

impl Store {
    /// Removes the names that are to go, until others are at work for too long: the rest stays until the next collection.
    pub(super) fn delete(
        &self,
        facts: &Facts,
        collected: &mut Collected,
        turns: &mut Turns,
        interrupt: &Interrupt,
    ) -> Result<(), StoreError> {
        let deletions = collected.plan.deletions.clone();
        let mut budget = READ;
        for some in deletions.chunks(AT_ONCE) {
            let some: Vec<(&Judged, &Place)> =
                some.iter().filter_map(|judged| Some((judged, facts.places.get(&judged.candidate.id)?))).collect();
            let damage = self.look_once_more(&some, &mut budget, interrupt)?;
            let had_its_turn = self.delete_some(&some, &damage, collected, turns, interrupt)?;
            if collected.lost_records > 0 || !had_its_turn {
                break;
            }
        }
        Ok(())
    }

    /// [`Store::look_at`], of all owners.
    fn look_once_more(
        &self,
        some: &[(&Judged, &Place)],
        budget: &mut u64,
        interrupt: &Interrupt,
    ) -> Result<HashMap<EntryId, String>, StoreError> {
        let mut damage = HashMap::new();
        let homes: HashSet<&Home> = some.iter().map(|(_, place)| &place.home).collect();
        for home in homes {
            let _held = self.hold_still(interrupt)?;
            let here = some.iter().filter(|(_, place)| place.home == *home);
            let here = here.map(|(judged, place)| (&judged.candidate.id, &place.tree));
            damage.extend(self.look_at(home, here, budget, interrupt)?);
        }
        Ok(damage)
    }

    /// Whether what goes was whole. Tells what is the matter with what was not; where that is news, everything is looked at soon: others may
    /// share what is damaged. For whoever has the lock.
    pub(super) fn look_at<'a>(
        &self,
        home: &Home,
        going: impl Iterator<Item = (&'a EntryId, &'a ObjectId)>,
        budget: &mut u64,
        interrupt: &Interrupt,
    ) -> Result<HashMap<EntryId, String>, StoreError> {
        let mut damage = HashMap::new();
        let mut is_news = false;
        let catalog = match self.catalog(home) {
            Ok(catalog) => catalog,
            Err(error) => {
                unknown(home, &error);
                return Ok(damage);
            }
        };
        for (id, tree) in going {
            if interrupt.is_raised() {
                return Err(StoreError::Interrupted);
            }
            // One for each, so that what it remembers is of one tree only.
            let mut checker = Checker::new(&catalog)?.reading(*budget);
            let look = checker.look(tree);
            *budget = checker.budget();
            let look = match look {
                Ok(look) => look,
                Err(error) => {
                    unknown(home, &error);
                    continue;
                }
            };
            let (Look::Differs { error, .. } | Look::NotThere { error, .. }) = &look else { continue };
            tracing::warn!(%tree, error, "what is removed was damaged");
            damage.insert(id.clone(), error.clone());
            let known = self.index()?.verification(&slug_of(home), tree)?;
            is_news |= !known.is_some_and(|known| known.result.is_damage());
            self.note_look(&slug_of(home), tree, look)?;
        }
        if is_news {
            self.want_scrub()?;
        }
        Ok(damage)
    }

    /// False: others were at work for so long that nothing was removed.
    fn delete_some(
        &self,
        some: &[(&Judged, &Place)],
        damage: &HashMap<EntryId, String>,
        collected: &mut Collected,
        turns: &mut Turns,
        interrupt: &Interrupt,
    ) -> Result<bool, StoreError> {
        let Some(_alone) = turns.alone(&self.layout, interrupt)? else { return Ok(false) };
        // All of them once more: the index alone does not say what somebody has come to need who was killed before he could tell it.
        let fresh = self.facts()?;
        collected.lost_records = fresh.lost;
        if !self.index()?.is_filled() {
            // When things were used last is known again in the next cycle.
            tracing::warn!("the store's index was made anew meanwhile: nothing more is removed in this cycle");
            return Ok(true);
        }
        let candidates: HashMap<&EntryId, &Candidate> =
            fresh.candidates.iter().map(|candidate| (&candidate.id, candidate)).collect();
        for (judged, place) in some.iter().filter(|_| fresh.lost == 0) {
            let id = &judged.candidate.id;
            // Whoever has come to need it since the plan was made keeps it.
            let still = candidates.get(id).filter(|fresh| fresh.content == judged.candidate.content);
            if let Some(fresh) = still.filter(|fresh| judged.confirm(fresh).is_ok()) {
                let event = AuditEvent::deletion(judged, fresh, collected.plan.now);
                self.audit(&[event.of_damaged(damage.get(id).map(String::as_str))])?;
                self.delete_name(place)?;
                collected.deleted += 1;
            }
        }
        Ok(true)
    }

    /// Removes a name, for good.
    pub(super) fn delete_name(&self, place: &Place) -> Result<(), StoreError> {
        let path = self.record_path(&place.home, &place.key);
        disk::remove(&path)?;
        if let Some(folder) = path.parent() {
            disk::sync_folder(folder)?;
        }
        self.index()?.remove(&slug_of(&place.home), &place.key)
    }
}

/// A name goes, too, where it cannot be seen whether what it names is whole: else a disk that fails would never become empty.
fn unknown(home: &Home, error: &StoreError) {
    tracing::warn!(owner = %slug_of(home), error = in_full(error), "it cannot be seen whether what is removed was whole");
}
