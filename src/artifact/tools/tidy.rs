//! Removing what no job uses and none will be given.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::layer::remove;
use super::lease::names;
use super::lock::{self, How};
use super::view::TRUSTS;
use super::{ToolCache, ToolError};
use crate::artifact::Interrupt;
use crate::pipeline::Owner;

impl ToolCache {
    /// Removes layers that no job uses and that no job of any owner would be given now, and tools that the store does not keep any more.
    /// Layers of running jobs stay. Returns how many folders went; none where others work here at the moment.
    ///
    /// # Errors
    /// The store cannot be asked, or something cannot be removed.
    pub fn tidy(&self, interrupt: &Interrupt) -> Result<usize, ToolError> {
        if !self.root.is_dir() {
            return Ok(0);
        }
        let path = self.root.join("lock");
        let Some(held) = lock::try_take(&path, How::Exclusive, Duration::ZERO, interrupt)? else { return Ok(0) };
        let (layers, trees) = self.wanted()?;
        let mut doomed = Vec::new();
        for layer in names(&self.layers())? {
            let id = file_name(&layer);
            if !self.is_leased(&id)? && !layers.contains(&id) {
                doomed.push(layer);
            }
        }
        for lease in names(&self.leases())? {
            // Of layers that are gone.
            self.is_leased(&file_name(&lease))?;
        }
        for owner in names(&self.trees())? {
            doomed.extend(names(&owner)?.into_iter().filter(|tree| !trees.contains(tree)));
        }
        // They lose their names while nobody else is here; removing them takes its time.
        let mut gone = self.unfinished()?;
        for folder in &doomed {
            gone.push(self.put_away(folder)?);
        }
        // Whoever makes something holds the lock as well.
        remove(&self.making())?;
        drop(held);
        gone.iter().try_for_each(|folder| remove(folder))?;
        Ok(doomed.len())
    }

    /// The layers and trees that the next jobs will be given.
    fn wanted(&self) -> Result<(BTreeSet<String>, BTreeSet<PathBuf>), ToolError> {
        let (mut layers, mut trees) = (BTreeSet::new(), BTreeSet::new());
        let mut readers = BTreeSet::new();
        for keeper in self.store.owners()? {
            if !self.of(&keeper)?.is_empty() {
                readers.extend(TRUSTS.map(|trust| Owner { trust, ..keeper.clone() }));
            }
        }
        for reader in readers {
            let (view, _) = self.presentable(&self.view(&reader)?)?;
            trees.extend(view.tools.values().map(|found| self.tree(found)));
            layers.insert(view.layer());
        }
        Ok((layers, trees))
    }

    fn put_away(&self, folder: &Path) -> Result<PathBuf, ToolError> {
        let new = self.new_folder();
        let to = new.join(uuid::Uuid::new_v4().simple().to_string());
        let moved = std::fs::create_dir_all(&new).and_then(|()| std::fs::rename(folder, &to));
        moved.map_err(|error| ToolError::file("removing", folder, error))?;
        Ok(to)
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
