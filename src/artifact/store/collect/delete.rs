//! Removing names. First it is looked whether they were whole, so that damage does not pass for tidiness; then, alone, whether somebody has
//! come to need them: of what may have changed since the records were read, so that others wait no longer where many are kept.

use std::collections::{HashMap, HashSet};

use super::super::disk;
use super::super::error::StoreError;
use super::super::layout::Home;
use super::super::opened::{Store, slug_of};
use super::super::record::{Record, pin_key};
use super::super::session::{self, How};
use super::super::verify::{Checker, Look};
use super::Collected;
use super::facts::{Facts, Place};
use crate::artifact::Interrupt;
use crate::artifact::retention::{AuditEvent, Candidate, ContentHash, EntryId, Expiry, Judged, References};

/// Names that are removed while nobody else works with the store.
const AT_ONCE: usize = 100;

/// Bytes of content that a collection reads of what it removes: every four hours, this is far below what looking at everything takes.
/// Of the rest it is looked whether it is there, and as long as it should be.
const READ: u64 = 64 << 20;

/// What is known now of what is to go.
struct Fresh {
    candidates: HashMap<EntryId, Candidate>,
    /// Records that are damaged.
    lost: usize,
    /// The index has to be held against the records.
    left_behind: bool,
}

impl Store {
    pub(super) fn delete(
        &self,
        facts: &Facts,
        collected: &mut Collected,
        interrupt: &Interrupt,
    ) -> Result<(), StoreError> {
        let deletions = collected.plan.deletions.clone();
        let mut budget = READ;
        for some in deletions.chunks(AT_ONCE) {
            let some: Vec<(&Judged, &Place)> =
                some.iter().filter_map(|judged| Some((judged, facts.places.get(&judged.candidate.id)?))).collect();
            let damage = self.look_once_more(&some, &mut budget, interrupt)?;
            self.delete_some(&some, &damage, collected, interrupt)?;
            if collected.lost_records > 0 {
                break;
            }
        }
        Ok(())
    }

    /// Whether what goes was whole. Tells what is the matter with what was not; where that is news, everything is looked at soon: others may
    /// share what is damaged.
    fn look_once_more(
        &self,
        some: &[(&Judged, &Place)],
        budget: &mut u64,
        interrupt: &Interrupt,
    ) -> Result<HashMap<EntryId, String>, StoreError> {
        let mut damage = HashMap::new();
        let mut is_news = false;
        let homes: HashSet<&Home> = some.iter().map(|(_, place)| &place.home).collect();
        for home in homes {
            let _held = self.hold_still(interrupt)?;
            let catalog = self.catalog(home)?;
            let mut checker = Checker::new(&catalog)?.reading(*budget);
            for (judged, place) in some.iter().filter(|(_, place)| place.home == *home) {
                if interrupt.is_raised() {
                    return Err(StoreError::Interrupted);
                }
                let look = checker.look(&place.tree)?;
                let (Look::Differs { error, .. } | Look::NotThere { error, .. }) = &look else { continue };
                tracing::warn!(tree = %place.tree, error, "what is removed was damaged");
                damage.insert(judged.candidate.id.clone(), error.clone());
                let known = self.index()?.verification(&slug_of(home), &place.tree)?;
                is_news |= !known.is_some_and(|known| known.result.is_damage());
                self.note_look(&slug_of(home), &place.tree, look)?;
            }
            *budget = checker.budget();
        }
        if is_news {
            self.want_scrub()?;
        }
        Ok(damage)
    }

    fn delete_some(
        &self,
        some: &[(&Judged, &Place)],
        damage: &HashMap<EntryId, String>,
        collected: &mut Collected,
        interrupt: &Interrupt,
    ) -> Result<(), StoreError> {
        let left_behind = {
            let _alone = session::lock(&self.layout, How::Exclusive, interrupt)?;
            let fresh = self.fresh(some)?;
            collected.lost_records = fresh.lost;
            for (judged, place) in some.iter().filter(|_| fresh.lost == 0) {
                let id = &judged.candidate.id;
                // Whoever has come to need it since the plan was made keeps it.
                let still = fresh.candidates.get(id).filter(|fresh| fresh.content == judged.candidate.content);
                if let Some(fresh) = still.filter(|fresh| judged.confirm(fresh).is_ok()) {
                    let event = AuditEvent::deletion(judged, fresh, collected.plan.now);
                    self.audit(&[event.of_damaged(damage.get(id).map(String::as_str))])?;
                    self.delete_name(place)?;
                    collected.deleted += 1;
                }
            }
            fresh.left_behind
        };
        if left_behind { self.reconcile(false) } else { Ok(()) }
    }

    /// Whether the index may not have been told of everything that is kept, and whether that is so because somebody was killed who could not
    /// tell it. Nobody else may be at work: whoever writes a record tells the index before he ends.
    pub(super) fn may_be_untold(&self) -> Result<(bool, bool), StoreError> {
        let left_behind = session::sweep(&self.layout)?;
        Ok((left_behind || self.index()?.may_lack_something(), left_behind))
    }

    /// Reads anew what is known of these; where the index may not be up to date, all records.
    fn fresh(&self, some: &[(&Judged, &Place)]) -> Result<Fresh, StoreError> {
        let (is_untold, left_behind) = self.may_be_untold()?;
        if is_untold {
            let all = self.facts()?;
            let candidates = all.candidates.into_iter().map(|one| (one.id.clone(), one)).collect();
            return Ok(Fresh { candidates, lost: all.lost, left_behind });
        }
        let mut candidates = HashMap::new();
        for (judged, place) in some {
            candidates.extend(self.fresh_one(judged, place)?.map(|fresh| (fresh.id.clone(), fresh)));
        }
        Ok(Fresh { candidates, lost: 0, left_behind })
    }

    /// What changes of something that is kept: its own record, a pin, and what the index is told of its use. The plan was made where nobody
    /// held it.
    fn fresh_one(&self, judged: &Judged, place: &Place) -> Result<Option<Candidate>, StoreError> {
        let Some(Record::Kept(info)) = self.read_record(&place.home, &place.key)? else { return Ok(None) };
        let pin = pin_key(&info.content_hash);
        let index = self.index()?;
        let slug = slug_of(&place.home);
        let used = index.last_accessed(&slug, &place.key)?.unwrap_or(info.created_at);
        let running = index.holders(&slug, &info.content_hash, &pin)?;
        Ok(Some(Candidate {
            content: ContentHash::new(info.content_hash.to_string()),
            created_at: info.named_at(),
            last_accessed: used.max(info.named_at()),
            expiry: info.expires,
            references: References { queued: 0, running },
            pinned: info.expires == Expiry::Never || self.record_path(&place.home, &pin).exists(),
            ..judged.candidate.clone()
        }))
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
