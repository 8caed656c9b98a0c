//! Having something again that is damaged or missing here.

use super::bring::candidates;
use super::level::{BlobName, LevelError};
use super::names::{self, Search};
use super::shared::Shared;
use super::{Second, bring::Reason};
use crate::artifact::Interrupt;
use crate::artifact::store::error::StoreError;
use crate::artifact::store::id::ObjectId;
use crate::artifact::store::layout::Home;
use crate::artifact::store::opened::{Store, slug_of};
use crate::artifact::store::record::Record;

/// What came of asking for something again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::artifact::store) enum Again {
    /// It came.
    Had,
    /// The second level does not have it whole either.
    InVain,
    /// There is no second level, or it does not answer: nothing was tried.
    NobodyAnswered,
}

impl Store {
    /// Has the packs of a tree again whose objects are damaged or missing here. What is damaged must have been put aside before. That the
    /// second level cannot help is told in the log only: the work has failed already.
    pub(in crate::artifact::store) fn had_again(&self, home: &Home, tree: &ObjectId, interrupt: &Interrupt) -> Again {
        let Some(second) = self.second.as_ref().filter(|second| !second.is_away()) else {
            return Again::NobodyAnswered;
        };
        match self.try_again(second, home, tree, interrupt) {
            Ok(Again::Had) => {
                tracing::info!(%tree, level = second.level.title(), "what was damaged was fetched again from the shared store");
                Again::Had
            }
            Ok(again) => again,
            Err(error) => {
                let is_answer = matches!(error, StoreError::Second(LevelError::Wrong { .. }));
                let error = crate::artifact::in_full(&error);
                tracing::warn!(%tree, error, "what is damaged could not be fetched again from the shared store");
                if is_answer { Again::InVain } else { Again::NobodyAnswered }
            }
        }
    }

    fn try_again(
        &self,
        second: &Second,
        home: &Home,
        tree: &ObjectId,
        interrupt: &Interrupt,
    ) -> Result<Again, StoreError> {
        let Some(owner) = self.owner_of(home)? else { return Ok(Again::NobodyAnswered) };
        for name in self.names_of(second, home, tree, interrupt)? {
            let found = self.read_shared(second, &owner, &name, interrupt)?;
            if let Some(shared) = found.filter(|shared: &Shared| shared.info.content_hash == *tree) {
                let is_asked = shared.packs.iter().any(|pack| !home.pack(pack.id).exists());
                let fetched = self.fetch(second, home, &shared, Reason::Damage, interrupt);
                if is_asked {
                    return fetched.map(|_| Again::Had);
                }
                // What is damaged lies in its place still, since it could not be put aside: nothing was asked for.
                return Ok(Again::NobodyAnswered);
            }
        }
        Ok(Again::InVain)
    }

    /// Blobs that may tell of a tree: by what it is kept as here, else by its id.
    fn names_of(
        &self,
        second: &Second,
        home: &Home,
        tree: &ObjectId,
        interrupt: &Interrupt,
    ) -> Result<Vec<BlobName>, StoreError> {
        let (records, _) = self.records(home)?;
        let own = records.iter().filter_map(|record| match record {
            Record::Kept(info) if info.content_hash == *tree => Some(names::record(info)),
            _ => None,
        });
        let mut names: Vec<BlobName> = own.collect();
        for name in candidates(second, &Search::of_tree(&slug_of(home), &tree.to_string()), interrupt)? {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }
}
