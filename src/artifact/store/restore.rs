//! Finding what is kept, and restoring it.

use cap_std::fs::Dir;

use super::error::StoreError;
use super::get::{self, GetOptions, Got};
use super::id::ObjectId;
use super::index::Listed;
use super::layout::Home;
use super::opened::{Store, slug_of};
use super::pack::reader::Buffers;
use super::put::Progress;
use super::record::{ArtifactInfo, Record, What};
use super::second::Again;
use super::session::Held;
use super::verify::{Look, Verification, VerificationResult};
use crate::artifact::Interrupt;
use crate::artifact::archive::Limits;
use crate::pipeline::{JobKey, Owner, Trust};

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The cache of exactly this key.
    Exact(Vec<u8>),
    /// The newest cache whose key begins like this.
    Prefix(Vec<u8>),
    /// The newest artifact of this name, or the tree of this id, an artifact's or a cache's, of which the beginning is enough where it is long and meant for only one.
    Named(String),
}

/// Digits of an id that are enough to mean it.
const SHORTEST: usize = 8;

impl Store {
    /// What `reader` may see of what is wanted: its own first, then what more trusted ones of its project keep.
    ///
    /// # Errors
    /// The index or a record cannot be read. That there is nothing is no error.
    pub fn find(&self, reader: &Owner, wanted: &Wanted) -> Result<Option<Listed>, StoreError> {
        for found in self.search(reader, wanted)? {
            if let Some(found) = self.confirm(found, wanted)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Everything that `reader` may see of what is wanted, the best first, by the index alone: see [`Store::confirm`].
    pub fn search(&self, reader: &Owner, wanted: &Wanted) -> Result<Vec<Listed>, StoreError> {
        self.heal()?;
        let mut found = Vec::new();
        for owner in owners_of_project(reader).filter(|writer| reader.may_read(writer)) {
            found.append(&mut self.candidates(&slug_of(&self.home(&owner)), wanted)?);
        }
        Ok(found)
    }

    /// What the record says of something that the index has. `None`: it is not kept any more.
    pub fn confirm(&self, found: Listed, wanted: &Wanted) -> Result<Option<Listed>, StoreError> {
        let home = self.home(&found.info.owner);
        let key = Record::Kept(found.info.clone()).key();
        // The record is the truth; what the index says beyond it is not.
        match self.read_record(&home, &key)? {
            Some(Record::Kept(info)) if !matches(&info, wanted) => {
                // Nobody else changes what a record is called: the index is wrong.
                self.index()?.note_damage();
                Ok(None)
            }
            Some(Record::Kept(info)) if info == found.info => Ok(Some(found)),
            Some(Record::Kept(info)) => {
                self.index()?.add(&Record::Kept(info.clone()), found.last_accessed)?;
                Ok(Some(Listed { info, ..found }))
            }
            _ => self.reconcile_one(&home, &key).map(|()| None),
        }
    }

    pub(super) fn candidates(&self, slug: &str, wanted: &Wanted) -> Result<Vec<Listed>, StoreError> {
        match wanted {
            Wanted::Exact(key) => {
                let mut found = self.index()?.named(slug, &crate::artifact::shown(key))?;
                found.retain(|listed| matches(&listed.info, wanted));
                Ok(found)
            }
            Wanted::Prefix(prefix) => {
                let mut found = match std::str::from_utf8(prefix) {
                    // Whole characters are written in the name one by one, so that it begins like the key.
                    Ok(text) => self.index()?.named_like(slug, &crate::artifact::shown(text.as_bytes()))?,
                    Err(_) => self.index()?.list(Some(slug))?,
                };
                found.retain(|listed| matches(&listed.info, wanted));
                Ok(found)
            }
            Wanted::Named(name) => {
                let mut found = self.index()?.named(slug, name)?;
                found.retain(|listed| matches!(listed.info.what, What::Artifact { .. }));
                if found.is_empty() && may_be_id(name) {
                    found = self.index()?.with_tree(slug, &name.to_ascii_lowercase())?;
                    let first = found.first().map(|listed| listed.info.content_hash);
                    if found.iter().any(|listed| Some(listed.info.content_hash) != first) {
                        return Ok(Vec::new());
                    }
                }
                Ok(found)
            }
        }
    }

    /// Restores the tree `id` that `owner` keeps into an empty folder. Nothing is written there that was not proved before; what
    /// is there after a failure is not whole.
    ///
    /// # Errors
    /// Something is missing or damaged, and no copy of it is left; the folder cannot be written; it was interrupted.
    pub fn restore(
        &self,
        owner: &Owner,
        id: &ObjectId,
        into: &Dir,
        progress: &Progress,
        interrupt: &Interrupt,
    ) -> Result<Got, StoreError> {
        let held = self.hold_still(interrupt)?;
        self.get(held, owner, id, &GetOptions { into, limits: &Limits::default(), progress, interrupt })
    }

    /// [`Store::restore`] of something that was found, unless it went meanwhile ([`StoreError::Unknown`]). What replaced it meanwhile is
    /// restored in its place, and told.
    pub fn restore_found(&self, found: &Listed, options: &GetOptions<'_>) -> Result<(ArtifactInfo, Got), StoreError> {
        let held = self.hold_still(options.interrupt)?;
        let record = Record::Kept(found.info.clone());
        // From here on nothing is removed.
        let Some(Record::Kept(info)) = self.read_record(&self.home(&found.info.owner), &record.key())? else {
            return Err(StoreError::Unknown { name: found.info.what.text().unwrap_or_default().to_owned() });
        };
        let got = self.get(held, &info.owner, &info.content_hash, options)?;
        Ok((info, got))
    }

    /// Restores, and once more where what is damaged here can be had again.
    fn get(&self, held: Held, owner: &Owner, id: &ObjectId, options: &GetOptions<'_>) -> Result<Got, StoreError> {
        let home = self.home(owner);
        let error = match self.get_once(held, &home, id, options) {
            Err(error) if error.is_damage() => error,
            Ok(got) => {
                // Every byte of it was proved: it is whole again, however that came.
                let known = self.index()?.verification(&slug_of(&home), id)?;
                if known.is_some_and(|known| known.result.is_damage()) {
                    self.note_look(&slug_of(&home), id, Look::Whole { size: got.bytes })?;
                }
                return Ok(got);
            }
            Err(error) => return Err(error),
        };
        let slug = slug_of(&home);
        let known = self.index()?.verification(&slug, id)?;
        if known.is_some_and(|known| known.result == VerificationResult::Failed) {
            // No job waits for what could not be had several times: a look at everything tries again.
            return Err(error);
        }
        let again = match self.had_again(&home, id, options.interrupt) {
            Again::NobodyAnswered => return Err(error),
            Again::InVain => Err(error),
            Again::Had => {
                empty(options.into).map_err(|e| StoreError::file("emptying", "the target".as_ref(), e))?;
                self.get_once(self.hold_still(options.interrupt)?, &home, id, options)
            }
        };
        match &again {
            // Every byte of it was proved.
            Ok(got) => drop(self.note_look(&slug, id, Look::Whole { size: got.bytes })?),
            Err(error) if error.is_damage() => drop(self.note_fetch_in_vain(&slug, id)?),
            Err(_) => {}
        }
        again
    }

    fn get_once(&self, held: Held, home: &Home, id: &ObjectId, options: &GetOptions<'_>) -> Result<Got, StoreError> {
        let catalog = self.catalog(home)?;
        let mut damaged = Vec::new();
        let got = get::get(&catalog, options, id, &mut damaged);
        let look = match &got {
            Err(error) if error.is_damage() => Some(catalog.look_of(id, error, None, &mut Buffers::new()?)?),
            _ => None,
        };
        // Whoever mends has to be alone.
        drop((catalog, held));
        if !damaged.is_empty() || look.is_some() {
            self.after_damage(home, id, &damaged, look);
        }
        got
    }

    /// Notes that something that was found is used, and by which job.
    pub fn used(&self, found: &Listed, by: Option<&JobKey>) -> Result<(), StoreError> {
        let slug = found.info.owner.slug();
        self.index()?.touch(&slug, &Record::Kept(found.info.clone()).key(), self.now())?;
        match by {
            Some(job) => self.note_consumer(&self.home(&found.info.owner), &found.info.content_hash, job),
            None => Ok(()),
        }
    }

    /// Whose things are kept here.
    pub fn owners(&self) -> Result<Vec<Owner>, StoreError> {
        let mut owners = Vec::new();
        for home in self.homes()? {
            owners.extend(self.owner_of(&home)?);
        }
        Ok(owners)
    }

    /// What was found out when somebody last looked whether it is whole. `None`: nobody has.
    pub fn verification(&self, info: &ArtifactInfo) -> Result<Option<Verification>, StoreError> {
        self.index()?.verification(&info.owner.slug(), &info.content_hash)
    }

    /// Everything that is kept, the newest first: of one owner, or of all.
    pub fn list(&self, owner: Option<&Owner>) -> Result<Vec<Listed>, StoreError> {
        self.heal()?;
        self.index()?.list(owner.map(Owner::slug).as_deref())
    }
}

/// Removes what a restore that failed has left in its folder.
fn empty(folder: &Dir) -> std::io::Result<()> {
    for entry in folder.entries()? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_dir() { folder.remove_dir_all(name)? } else { folder.remove_file(name)? }
    }
    Ok(())
}

/// The owners of the project of one of them, the least trusted first.
pub(super) fn owners_of_project(one: &Owner) -> impl Iterator<Item = Owner> {
    [Trust::Fork, Trust::Member, Trust::Protected].into_iter().map(|trust| Owner { trust, ..one.clone() })
}

/// Whether it is an id, or the beginning of one.
pub(super) fn may_be_id(name: &str) -> bool {
    name.len() >= SHORTEST && name.bytes().all(|b| b.is_ascii_hexdigit())
}

pub(super) fn matches(info: &ArtifactInfo, wanted: &Wanted) -> bool {
    match (wanted, &info.what) {
        (Wanted::Exact(key), What::Cache { key: own, .. }) => hex::encode(key) == *own,
        (Wanted::Prefix(prefix), What::Cache { key: own, .. }) => own.starts_with(&hex::encode(prefix)),
        (Wanted::Named(wanted), what) => {
            let is_id = || info.content_hash.to_string().starts_with(&wanted.to_ascii_lowercase());
            let is_name = matches!(what, What::Artifact { name: Some(name) } if name == wanted);
            is_name || (may_be_id(wanted) && is_id())
        }
        _ => false,
    }
}
