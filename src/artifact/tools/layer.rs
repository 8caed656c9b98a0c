//! Making tools lie on this machine: each once, and layers of them.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::lease::names;
use super::lock::{self, Held, How};
use super::tree::{self, How as Bring};
use super::view::View;
use super::{ToolCache, ToolError, ToolName, room};
use crate::artifact::archive::Limits;
use crate::artifact::store::{GetOptions, Listed, ObjectId, Progress, StoreError};
use crate::artifact::{Interrupt, Remark, in_full};

/// Tools in their places, in a folder that nobody changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The folder.
    pub path: PathBuf,
    /// What is in it.
    pub tools: BTreeSet<ToolName>,
    /// Bytes that it takes, at most.
    pub bytes: u64,
}

impl ToolCache {
    /// The layer with the tools of a view, which is used from then on, as long as the folder `job` is there. Tools that are damaged,
    /// or for which there is no room, are not in it, which is told.
    pub(super) fn layer(
        &self,
        view: &View,
        job: &Path,
        interrupt: &Interrupt,
        remarks: &mut Vec<Remark>,
    ) -> Result<Option<Layer>, ToolError> {
        let (mut view, left_out) = self.presentable(view)?;
        remarks.extend(left_out);
        if view.is_empty() {
            return Ok(None);
        }
        if !self.layers().join(view.layer()).is_dir() {
            self.throw_away_unfinished(interrupt)?;
        }
        // Others may take and make what they need at the same time; nothing is removed meanwhile.
        let _held = self.lock(How::Shared, interrupt)?;
        if !self.layers().join(view.layer()).is_dir() {
            self.bring_trees(&mut view, interrupt, remarks)?;
            if view.is_empty() {
                return Ok(None);
            }
            self.make(&view, &self.layers().join(view.layer()), interrupt)?;
        }
        self.take(&view, job).map(Some)
    }

    /// The lock is held.
    fn take(&self, view: &View, job: &Path) -> Result<Layer, ToolError> {
        let id = view.layer();
        self.lease(&id, job)?;
        Ok(Layer { path: self.layers().join(id), tools: view.tools.keys().cloned().collect(), bytes: view.bytes() })
    }

    pub(super) fn lock(&self, how: How, interrupt: &Interrupt) -> Result<Held, ToolError> {
        lock::take(&self.root.join("lock"), how, interrupt)
    }

    /// Only one at a time makes what is going to lie at `path`. The lock is held.
    pub(super) fn alone(&self, path: &Path, interrupt: &Interrupt) -> Result<Held, ToolError> {
        let id = ObjectId::of(path.as_os_str().as_bytes()).to_string();
        lock::take(&self.making().join(id), How::Exclusive, interrupt)
    }

    /// Makes each tool of the view lie here, and takes those out of it that cannot be had: where there is no room for all, those that were not
    /// used for longest. The lock is held.
    fn bring_trees(&self, view: &mut View, interrupt: &Interrupt, remarks: &mut Vec<Remark>) -> Result<(), ToolError> {
        let names: Vec<ToolName> = view.by_use().into_iter().map(|(name, _)| name.clone()).collect();
        for name in names {
            let Some(mut found) = view.tools.remove(&name) else { continue };
            match self.bring_tree(&mut found, interrupt) {
                Ok(()) => {
                    view.tools.insert(name, found);
                }
                Err(ToolError::Interrupted | ToolError::Store(StoreError::Interrupted)) => {
                    return Err(ToolError::Interrupted);
                }
                Err(error @ (ToolError::Store(_) | ToolError::NoRoom { .. })) => {
                    remarks.push(Remark::warning(format!("the tool {name} is not there: {}", in_full(&error))));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn tree(&self, found: &Listed) -> PathBuf {
        self.trees().join(found.info.owner.slug()).join(found.info.content_hash.to_string())
    }

    fn bring_tree(&self, found: &mut Listed, interrupt: &Interrupt) -> Result<(), ToolError> {
        let tree = self.tree(found);
        if tree.is_dir() {
            return Ok(());
        }
        let _alone = self.alone(&tree, interrupt)?;
        // Whoever was faster has made it.
        if tree.is_dir() {
            return Ok(());
        }
        let _room = self.room(&self.root, room::bytes(found))?;
        let new = self.begin_new()?;
        let into = tree::open(&new.path)?;
        let (limits, progress) = (
            // There is room for no more, whatever replaced it meanwhile.
            Limits { bytes: found.info.size, ..Limits::default() },
            Progress::default(),
        );
        let options = GetOptions { into: &into, limits: &limits, progress: &progress, interrupt };
        // What replaced it meanwhile is as good.
        (found.info, _) = self.store.restore_found(found, &options)?;
        tree::open_to_all(&into, interrupt)?;
        finish(&new.path, &self.tree(found))
    }

    /// Makes a layer. The lock is held.
    fn make(&self, view: &View, path: &Path, interrupt: &Interrupt) -> Result<(), ToolError> {
        let _alone = self.alone(path, interrupt)?;
        if path.is_dir() {
            return Ok(());
        }
        let new = self.begin_new()?;
        let into = tree::open(&new.path)?;
        for (name, found) in &view.tools {
            let failed = |error: std::io::Error| ToolError::file("making", &new.path.join(name.above()), error);
            into.create_dir_all(name.above()).map_err(failed)?;
            let above = into.open_dir(name.above()).map_err(failed)?;
            above.create_dir(name.arch()).map_err(failed)?;
            let folder = above.open_dir(name.arch()).map_err(failed)?;
            tree::bring(&tree::open(&self.tree(found))?, &folder, Bring::Link, interrupt)?;
            above.write(name.marker(), b"").map_err(failed)?;
        }
        tree::open_to_all(&into, interrupt)?;
        finish(&new.path, path)
    }

    /// An empty folder. The lock is held: nobody takes it for one that was left.
    fn begin_new(&self) -> Result<Unfinished, ToolError> {
        let path = self.new_folder().join(uuid::Uuid::new_v4().simple().to_string());
        let held = std::fs::create_dir_all(&path).and_then(|()| lock::hold(&path));
        let held = held.map_err(|error| ToolError::file("making", &path, error))?;
        Ok(Unfinished { path, _held: held })
    }

    /// What somebody who is gone was making or removing. The lock is held by nobody else.
    pub(super) fn unfinished(&self) -> Result<Vec<PathBuf>, ToolError> {
        Ok(names(&self.new_folder())?.into_iter().filter(|folder| !lock::is_held(folder)).collect())
    }

    /// Removes that, unless others work here.
    fn throw_away_unfinished(&self, interrupt: &Interrupt) -> Result<(), ToolError> {
        let held = lock::try_take(&self.root.join("lock"), How::Exclusive, Duration::ZERO, interrupt);
        let left = match held {
            Ok(Some(_held)) => self.unfinished()?,
            Ok(None) => Vec::new(),
            Err(error) => return Err(error),
        };
        for folder in left {
            // What cannot be removed now is in nobody's way. Somebody who removes something at the same time may be faster.
            if let Err(error) = remove(&folder) {
                tracing::debug!(%error, "what was left unfinished of tools stays for now");
            }
        }
        Ok(())
    }
}

/// A folder that is being made. Unless it was given its name it goes when this is dropped.
struct Unfinished {
    path: PathBuf,
    _held: Held,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if remove(&self.path).is_err() {
            // A folder in it may not be written to.
            let opened = tree::open(&self.path).and_then(|root| tree::open_to_all(&root, &Interrupt::default()));
            if let Err(error) = opened.and_then(|()| remove(&self.path)) {
                tracing::warn!(%error, "a tool that could not be made stays half made until the next sweep");
            }
        }
    }
}

/// Removes a folder with everything in it. One that is gone, or goes meanwhile, is no error.
pub(super) fn remove(folder: &Path) -> Result<(), ToolError> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(ToolError::file("removing", folder, error)),
        _ => Ok(()),
    }
}

/// Gives what is whole its name: on the disk before, so that no power cut leaves a tool with half of its content.
fn finish(new: &Path, path: &Path) -> Result<(), ToolError> {
    use std::os::unix::fs::PermissionsExt as _;
    let finished = (|| {
        std::fs::set_permissions(new, std::fs::Permissions::from_mode(0o777))?;
        rustix::fs::syncfs(std::fs::File::open(new)?)?;
        if let Some(above) = path.parent() {
            std::fs::create_dir_all(above)?;
        }
        std::fs::rename(new, path)
    })();
    finished.map_err(|error: std::io::Error| ToolError::file("making", path, error))
}
