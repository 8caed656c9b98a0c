//! Looking for damage, and mending what can be mended.
//!
//! A pack in which something is not what it was is copied without it and put aside. What is missing then is missing for everybody:
//! the next put of the same content writes it again, a remote is asked for it, and until then everything that needs it is told as
//! damaged.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use super::alone::Patience;
use super::error::StoreError;
use super::id::ObjectId;
use super::layout::Home;
use super::looking::Looking;
use super::opened::{Store, slug_of};
use super::put::Progress;
use super::record::Record;
use super::second::Again;
use crate::artifact::Interrupt;
use crate::pipeline::Owner;

mod checker;
mod mend;
mod pace;
mod packs;
mod verdict;

pub(super) use checker::Checker;
pub(super) use mend::UNREAD;
use mend::forget_seen;
use packs::Found;
pub(super) use packs::{hash_of, pack_is_sound, proves};
pub(super) use verdict::Look;
pub use verdict::{Verification, VerificationResult};

/// What was found out about a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Objects that were read, each copy of one.
    pub objects: u64,
    /// Bytes that were read: of packs, or of what one tree has in them.
    pub bytes: u64,
    /// Packs that had something damaged in them, and were put aside.
    pub damaged_packs: Vec<String>,
    /// Records that are damaged, and that nobody has again.
    pub lost_records: Vec<PathBuf>,
    /// What was found out about each thing that is kept.
    pub kept: Vec<(Owner, Option<String>, Verification)>,
}

impl Verified {
    /// Whether all is as it should be.
    pub fn is_sound(&self) -> bool {
        self.damaged_packs.is_empty()
            && self.lost_records.is_empty()
            && self.kept.iter().all(|(.., verification)| verification.result == VerificationResult::Valid)
    }
}

/// How to look.
#[derive(Clone, Debug, Default)]
pub struct Verifying {
    /// Only this tree.
    pub only: Option<ObjectId>,
    /// Bytes a second at most. `None`: as fast as it goes.
    pub rate: Option<u64>,
    /// Ends the work early.
    pub interrupt: Interrupt,
}

impl Store {
    /// Reads everything, or all of one tree, and says what is damaged. What can be mended is.
    ///
    /// # Errors
    /// Something cannot be read for a reason that says nothing about it, the store is kept busy by others for long, or it was interrupted.
    /// What was found until then is noted all the same.
    pub fn verify(&self, how: &Verifying, progress: &Progress) -> Result<Verified, StoreError> {
        let mut verified = Verified::default();
        if how.only.is_none() {
            self.index()?.check()?;
            self.heal()?;
            self.reconcile(false)?;
        }
        let looking = Looking::begin(&self.layout);
        for home in self.homes()? {
            looking.at(&slug_of(&home), how.only.as_ref());
            let mut found = Found::default();
            let done = self.verify_home(&home, how, progress, &mut found, &mut verified);
            if let Err(error) = done {
                self.note_unfinished(&home, &found);
                return Err(error);
            }
        }
        if how.only.is_none() {
            self.note_scrub()?;
        }
        Ok(verified)
    }

    fn verify_home(
        &self,
        home: &Home,
        how: &Verifying,
        progress: &Progress,
        found: &mut Found,
        verified: &mut Verified,
    ) -> Result<(), StoreError> {
        let wanted = how.only.as_ref().map(|tree| self.objects_of(home, tree, &how.interrupt)).transpose()?;
        if wanted.as_ref().is_none_or(|wanted| !wanted.is_empty()) {
            self.read_packs(home, wanted.as_ref(), how, progress, found, verified)?;
        }
        if !found.is_nothing() {
            self.put_damaged_aside(home, &found.packs, Patience::VERIFICATION, &how.interrupt)?;
        }
        let before = verified.kept.len();
        self.check_trees(home, how, found, verified)?;
        // Records that are damaged have been put aside by whoever read them all.
        verified.lost_records.append(&mut self.lost_records(home)?);
        self.have_again(home, &mut verified.kept[before..], &how.interrupt)
    }

    fn check_trees(
        &self,
        home: &Home,
        how: &Verifying,
        found: &Found,
        verified: &mut Verified,
    ) -> Result<(), StoreError> {
        let slug = slug_of(home);
        let mut damaged = Vec::new();
        {
            let _work = self.begin(&how.interrupt)?;
            // What is kept now: what was removed since the packs were read is no damage.
            let (records, _) = self.records(home)?;
            let catalog = self.catalog(home)?;
            // All of it was read already: being there is enough.
            let mut checker = Checker::new(&catalog)?.suspecting(&found.objects);
            // A tree is looked at once, under however many names it is kept.
            let mut known: HashMap<ObjectId, Verification> = HashMap::new();
            for record in &records {
                let Record::Kept(info) = record else { continue };
                let id = info.content_hash;
                if how.only.is_some_and(|only| only != id) {
                    continue;
                }
                let verification = if let Some(verification) = known.get(&id) {
                    verification.clone()
                } else {
                    let verification = self.note_look(&slug, &id, checker.look(&id)?)?;
                    if verification.result.is_damage() {
                        forget_seen(home)?;
                    }
                    known.entry(id).or_insert(verification).clone()
                };
                verified.kept.push((info.owner.clone(), info.what.text().map(str::to_owned), verification));
                if how.interrupt.is_raised() {
                    return Err(StoreError::Interrupted);
                }
            }
            damaged.append(&mut checker.damaged);
        }
        if damaged.is_empty() {
            Ok(())
        } else {
            self.put_damaged_aside(home, &damaged, Patience::VERIFICATION, &how.interrupt)
        }
    }

    /// Notes what a look at a tree came to.
    pub(super) fn note_look(&self, slug: &str, tree: &ObjectId, look: Look) -> Result<Verification, StoreError> {
        let index = self.index()?;
        let before = index.verification(slug, tree)?.unwrap_or_else(|| Verification::pending(*tree));
        let verification = before.after(look, self.now());
        index.set_verification(slug, &verification)?;
        Ok(verification)
    }

    /// Notes that a tree was fetched again in vain.
    pub(super) fn note_fetch_in_vain(&self, slug: &str, tree: &ObjectId) -> Result<Option<Verification>, StoreError> {
        let index = self.index()?;
        let Some(before) = index.verification(slug, tree)? else { return Ok(None) };
        let verification = before.fetched_in_vain();
        index.set_verification(slug, &verification)?;
        Ok(Some(verification))
    }

    /// Has what is not whole from the second level, where there is one that has it. Each is tried once, however often it failed before:
    /// whoever looks at everything, or asks for it, wants to know.
    fn have_again(
        &self,
        home: &Home,
        kept: &mut [(Owner, Option<String>, Verification)],
        interrupt: &Interrupt,
    ) -> Result<(), StoreError> {
        let slug = slug_of(home);
        let mut asked: HashMap<ObjectId, Verification> = HashMap::new();
        for (.., verification) in kept {
            let id = verification.expected;
            if !verification.result.is_damage() {
                continue;
            }
            if let Some(known) = asked.get(&id) {
                *verification = known.clone();
                continue;
            }
            let again = self.had_again(home, &id, interrupt);
            if again == Again::Had {
                let _held = self.hold_still(interrupt)?;
                let catalog = self.catalog(home)?;
                *verification = self.note_look(&slug, &id, Checker::new(&catalog)?.reading(u64::MAX).look(&id)?)?;
            }
            if again != Again::NobodyAnswered && verification.result.is_damage() {
                *verification = self.note_fetch_in_vain(&slug, &id)?.unwrap_or_else(|| verification.clone());
            }
            asked.insert(id, verification.clone());
        }
        Ok(())
    }

    /// Notes what was found before a look at everything had to be given up: it took hours, perhaps, and the next may end like this.
    /// Nothing is moved, and no lock is held: what has become of it since, the next look tells, which is due now.
    fn note_unfinished(&self, home: &Home, found: &Found) {
        if found.is_nothing() {
            return;
        }
        let noted = self.want_scrub().and_then(|()| {
            let slug = slug_of(home);
            let (records, _) = self.records(home)?;
            let catalog = self.catalog(home)?;
            let mut checker = Checker::new(&catalog)?.suspecting(&found.objects);
            let trees: HashSet<ObjectId> = records
                .iter()
                .filter(|record| matches!(record, Record::Kept(_)))
                .flat_map(|record| record.trees().iter().copied())
                .collect();
            for tree in trees {
                let look = checker.look(&tree)?;
                if let Look::Differs { object, .. } | Look::NotThere { object, .. } = &look
                    && found.objects.contains_key(object)
                {
                    self.note_look(&slug, &tree, look)?;
                }
            }
            Ok(())
        });
        tracing::warn!(packs = ?found.packs, "damage was found in the store, and could not be dealt with yet: the store will be verified again");
        if let Err(error) = noted {
            tracing::warn!(%error, "what was found could not be noted for everything that is kept");
        }
    }
}
