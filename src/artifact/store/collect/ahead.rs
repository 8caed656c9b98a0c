//! What was kept or used at a time that is still to come, by a clock that was wrong.

use jiff::SignedDuration;

use super::facts::{Facts, Place};
use crate::artifact::Interrupt;
use crate::artifact::retention::{Expiry, Plan};
use crate::artifact::store::alone::Turns;
use crate::artifact::store::error::StoreError;
use crate::artifact::store::opened::{Store, Work, slug_of};
use crate::artifact::store::record::{ArtifactInfo, Record};
use crate::artifact::store::session::Session;

impl Store {
    /// Has such things be from now: they would be in grace until that time comes. Where others are at work for long they stay in grace until
    /// the next collection.
    pub(super) fn set_back(
        &self,
        facts: &Facts,
        plan: &Plan,
        turns: &mut Turns,
        interrupt: &Interrupt,
    ) -> Result<(), StoreError> {
        if plan.ahead.is_empty() {
            return Ok(());
        }
        // Alone: nobody else writes these records meanwhile.
        let Some(alone) = turns.alone(&self.layout, interrupt)? else { return Ok(()) };
        let work = Work::of(Session::begin(&self.layout)?, alone);
        let mut ahead = Vec::new();
        for place in plan.ahead.iter().filter_map(|id| facts.places.get(id)) {
            if let Some(Record::Kept(info)) = self.read_record(&place.home, &place.key)? {
                ahead.push((info, place));
            }
        }
        // What was put last stays the last.
        ahead.sort_by_key(|(info, _)| info.named_at());
        for (later, (info, place)) in (0..).zip(ahead.into_iter().rev()) {
            let at = plan.now.saturating_sub(SignedDuration::from_millis(later)).unwrap_or(plan.now);
            self.set_one_back(&work, info, place, at)?;
        }
        Ok(())
    }

    fn set_one_back(
        &self,
        work: &Work,
        info: ArtifactInfo,
        place: &Place,
        at: jiff::Timestamp,
    ) -> Result<(), StoreError> {
        let too_far = info.named_at().duration_since(at);
        if too_far.is_positive() {
            // Its time was counted by the same clock.
            let expires = match info.expires {
                Expiry::At(end) => Expiry::At(end.saturating_sub(too_far).unwrap_or(end)),
                other => other,
            };
            let back = ArtifactInfo { created_at: info.created_at.min(at), newest_since: None, expires, ..info };
            self.write_record(work, &Record::Kept(back))?;
        }
        self.index()?.set_back(&slug_of(&place.home), &place.key, at)
    }
}
