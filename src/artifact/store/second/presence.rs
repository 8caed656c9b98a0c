//! Which packs the second level has: listed once for an owner, and then known.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::time::Duration;

use super::Second;
use super::names;
use crate::artifact::store::error::StoreError;
use crate::artifact::store::pack::PackId;
use crate::artifact::{Interrupt, Moment};

/// What was seen counts for so long. Shorter than a pack stays that was found to be needed by nobody: see `tidy`.
pub(super) const COUNTS_FOR: Duration = Duration::from_secs(15 * 60);

/// What the second level has of an owner.
#[derive(Clone, Debug)]
pub(super) struct Presence {
    /// When it was asked.
    at: Moment,
    packs: HashSet<PackId>,
    /// Packs that are going to be removed.
    condemned: HashSet<PackId>,
    /// Packs that somebody could not use.
    unfit: HashSet<PackId>,
}

impl Presence {
    /// Whether the pack is there, can be used, and stays for as long as this counts.
    pub(super) fn has(&self, id: &PackId) -> bool {
        self.packs.contains(id) && !self.condemned.contains(id) && !self.unfit.contains(id)
    }

    pub(super) fn is_unfit(&self, id: &PackId) -> bool {
        self.unfit.contains(id)
    }

    pub(super) fn is_condemned(&self, id: &PackId) -> bool {
        self.condemned.contains(id)
    }

    /// Whether what is built on it may still be written.
    pub(super) fn counts(&self) -> bool {
        self.at.elapsed() < COUNTS_FOR
    }
}

impl Second {
    /// What it has of an owner, not longer ago than [`COUNTS_FOR`].
    pub(super) fn presence(&self, slug: &str, interrupt: &Interrupt) -> Result<Presence, StoreError> {
        let known = self.presence.lock().unwrap_or_else(PoisonError::into_inner).get(slug).cloned();
        // Not at its last minute: there are packs to be sent yet.
        if let Some(known) = known.filter(|known| known.at.elapsed() < COUNTS_FOR / 3) {
            return Ok(known);
        }
        let mut presence =
            Presence { at: Moment::now(), packs: HashSet::new(), condemned: HashSet::new(), unfit: HashSet::new() };
        // Marks before packs: one that is marked in between counts as not marked, and stays for as long as a fresh mark lets it.
        for (prefix, ids) in [
            (names::condemned(slug), &mut presence.condemned),
            (names::unfit(slug), &mut presence.unfit),
            (names::packs(slug), &mut presence.packs),
        ] {
            self.note(self.level.list(&prefix, &mut |blob| ids.extend(names::id_of(&blob.name)), interrupt))?;
        }
        self.presence.lock().unwrap_or_else(PoisonError::into_inner).insert(slug.to_owned(), presence.clone());
        Ok(presence)
    }

    /// Notes that a pack is there now.
    pub(super) fn has_now(&self, slug: &str, id: PackId) {
        let mut presence = self.presence.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = presence.get_mut(slug) {
            known.packs.insert(id);
            known.condemned.remove(&id);
            known.unfit.remove(&id);
        }
    }

    /// Notes that a pack cannot be used.
    pub(super) fn is_unfit_now(&self, slug: &str, id: PackId) {
        let mut presence = self.presence.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = presence.get_mut(slug) {
            known.unfit.insert(id);
        }
    }

    /// Notes that a pack is not there any more.
    pub(super) fn is_gone(&self, slug: &str, id: &PackId) {
        let mut presence = self.presence.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = presence.get_mut(slug) {
            known.packs.remove(id);
        }
    }
}
