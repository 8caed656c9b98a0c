//! Dealing with damage: what is whole of a pack is copied, and the pack put aside.

use std::path::PathBuf;

use super::super::alone::{Patience, alone};
use super::super::collect::repack;
use super::super::disk;
use super::super::error::StoreError;
use super::super::id::ObjectId;
use super::super::layout::Home;
use super::super::opened::{Store, slug_of};
use super::super::pack::PackId;
use super::super::pack::files::Trouble;
use super::super::pack::reader::Pack;
use super::super::session;
use super::Look;
use crate::artifact::Interrupt;

/// The end of a pack's name in `damaged/` of which something could not be read: it stays until the operator removes it.
pub(in super::super) const UNREAD: &str = "unread";

impl Store {
    /// What is done when a restore met damage. Failing at it is told in the log only: the restore has failed already.
    pub(in super::super) fn after_damage(&self, home: &Home, id: &ObjectId, damaged: &[PackId], look: Option<Look>) {
        let error = match &look {
            Some(Look::Differs { error, .. } | Look::NotThere { error, .. }) => Some(error.as_str()),
            Some(Look::Whole { .. }) | None => None,
        };
        tracing::warn!(tree = %id, error, "something in the store is damaged");
        let noted = look.map_or(Ok(()), |look| self.note_look(&slug_of(home), id, look).map(drop));
        let noted = noted.and_then(|()| forget_seen(home)).and_then(|()| match damaged {
            [] => Ok(()),
            damaged => self.put_damaged_aside(home, damaged, Patience::JOB, &Interrupt::default()),
        });
        if let Err(error) = noted {
            tracing::warn!(%error, "the damaged pack could not be mended");
        }
    }

    /// Copies what is whole of damaged packs, and puts them aside; those, too, whose footer is damaged: of them nothing is whole.
    pub(super) fn put_damaged_aside(
        &self,
        home: &Home,
        damaged: &[PackId],
        patience: Patience,
        interrupt: &Interrupt,
    ) -> Result<(), StoreError> {
        // A collector that looks at packs meanwhile could take the copies for what is there twice.
        let _collector = session::collector_patiently(&self.layout, patience, interrupt)?;
        let aside = {
            let work = self.begin(interrupt)?;
            let catalog = self.catalog(home)?;
            let packs: Vec<&Pack> = catalog.packs().iter().filter(|pack| damaged.contains(&pack.id)).collect();
            let copied = repack::copy(self, home, &work.session, &packs, |_, _| true)?;
            // With one of which nothing was left out nothing is wrong after all: a disk that could not be read for a moment.
            let mut aside: Vec<(PathBuf, Trouble)> =
                copied.left_out.into_iter().map(|(id, trouble)| (home.pack(id), trouble)).collect();
            for path in catalog.damaged() {
                match Pack::open(path, self.key.as_ref(), |_, _| {}) {
                    // It can be read now.
                    Ok(pack) if path.file_name().is_some_and(|name| *name == *pack.id.to_string()) => {}
                    Ok(_) | Err(StoreError::Damaged { .. }) => aside.push((path.clone(), Trouble::Wrong)),
                    Err(StoreError::File { source, .. }) if Trouble::of(&source).is_damage() => {
                        aside.push((path.clone(), Trouble::of(&source)));
                    }
                    Err(error) => return Err(error),
                }
            }
            aside
        };
        let alone = alone(&self.layout, patience, interrupt);
        if !matches!(alone, Ok(Some(_))) {
            // The copies are there, and count.
            self.recount(home)?;
        }
        let Some(_alone) = alone? else { return Err(patience.busy()) };
        forget_seen(home)?;
        for (path, trouble) in aside {
            match (trouble, path.file_name()) {
                (Trouble::Wrong, _) | (_, None) => self.put_aside(&path)?,
                (_, Some(name)) if path.exists() => {
                    let to = self.layout.damaged().join(format!("{}.{UNREAD}", name.to_string_lossy()));
                    tracing::warn!(to = %to.display(), "the disk does not give back all of a pack: what it gave was copied, and the pack is moved");
                    disk::rename(&path, &to)?;
                }
                _ => {}
            }
        }
        self.recount(home)
    }
}

/// Has every file read again that is put: one that is unchanged is known by its list, and a chunk of that may be what is gone.
pub(super) fn forget_seen(home: &Home) -> Result<(), StoreError> {
    disk::names(&home.seen())?.iter().try_for_each(|path| disk::remove(path))
}
