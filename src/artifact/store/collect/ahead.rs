//! What was kept or used at a time that is still to come, by a clock that was wrong.

use super::facts::{Facts, Place};
use crate::artifact::retention::Plan;
use crate::artifact::store::error::StoreError;
use crate::artifact::store::opened::{Store, Work, slug_of};
use crate::artifact::store::record::{ArtifactInfo, Record};

impl Store {
    /// Has such things be from now: they would be in grace until that time comes.
    pub(super) fn set_back(&self, work: &Work, facts: &Facts, plan: &Plan) -> Result<(), StoreError> {
        plan.ahead
            .iter()
            .filter_map(|id| facts.places.get(id))
            .try_for_each(|place| self.set_one_back(work, place, plan))
    }

    fn set_one_back(&self, work: &Work, place: &Place, plan: &Plan) -> Result<(), StoreError> {
        let Some(Record::Kept(info)) = self.read_record(&place.home, &place.key)? else { return Ok(()) };
        if info.named_at() > plan.now {
            let created_at = info.created_at.min(plan.now);
            let newest_since = info.newest_since.map(|since| since.min(plan.now));
            self.write_record(work, &Record::Kept(ArtifactInfo { created_at, newest_since, ..info }))?;
        }
        self.index().set_back(&slug_of(&place.home), &place.key, plan.now)
    }
}
