//! Making tools lie on this machine: each once, and layers of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::lock::{self, Held, How};
use super::tree::{self, How as Bring};
use super::view::View;
use super::{ToolCache, ToolError, ToolName};
use crate::artifact::archive::Limits;
use crate::artifact::store::{GetOptions, Listed, Progress, StoreError};
use crate::artifact::{Interrupt, Remark, in_full};

/// Tools in their places, in a folder that nobody changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The folder.
    pub path: PathBuf,
    /// What is in it.
    pub tools: BTreeSet<ToolName>,
}

impl ToolCache {
    /// The layer with the tools of a view, which is used from then on, as long as the folder `job` is there. Tools that are damaged are not
    /// in it, which is told.
    pub(super) fn layer(
        &self,
        view: &View,
        job: &Path,
        interrupt: &Interrupt,
        remarks: &mut Vec<Remark>,
    ) -> Result<Option<Layer>, ToolError> {
        {
            let _held = self.lock(How::Shared, interrupt)?;
            if self.layers().join(view.layer()).is_dir() {
                return self.take(view, job).map(Some);
            }
        }
        let _held = self.lock(How::Exclusive, interrupt)?;
        self.throw_away_unfinished();
        let mut view = view.clone();
        self.bring_trees(&mut view, interrupt, remarks)?;
        if view.is_empty() {
            return Ok(None);
        }
        let path = self.layers().join(view.layer());
        // Somebody else may have made it meanwhile.
        if !path.is_dir() {
            self.make(&view, &path, interrupt)?;
        }
        self.take(&view, job).map(Some)
    }

    /// The lock is held.
    fn take(&self, view: &View, job: &Path) -> Result<Layer, ToolError> {
        let id = view.layer();
        self.lease(&id, job)?;
        Ok(Layer { path: self.layers().join(id), tools: view.tools.keys().cloned().collect() })
    }

    pub(super) fn lock(&self, how: How, interrupt: &Interrupt) -> Result<Held, ToolError> {
        lock::take(&self.root.join("lock"), how, interrupt)
    }

    /// Makes each tool of the view lie here, and takes those out of it that cannot be had.
    fn bring_trees(&self, view: &mut View, interrupt: &Interrupt, remarks: &mut Vec<Remark>) -> Result<(), ToolError> {
        let mut missing = Vec::new();
        for (name, found) in &mut view.tools {
            match self.bring_tree(found, interrupt) {
                Ok(()) => {}
                Err(ToolError::Store(error)) if error.is_damage() || matches!(error, StoreError::Unknown { .. }) => {
                    remarks.push(Remark::warning(format!("the tool {name} is not there: {}", in_full(&error))));
                    missing.push(name.clone());
                }
                Err(error) => return Err(error),
            }
        }
        view.tools.retain(|name, _| !missing.contains(name));
        Ok(())
    }

    pub(super) fn tree(&self, found: &Listed) -> PathBuf {
        self.trees().join(found.info.owner.slug()).join(found.info.content_hash.to_string())
    }

    fn bring_tree(&self, found: &mut Listed, interrupt: &Interrupt) -> Result<(), ToolError> {
        if self.tree(found).is_dir() {
            return Ok(());
        }
        let new = self.begin_new()?;
        let into = tree::open(&new)?;
        let (limits, progress) = (Limits::default(), Progress::default());
        let options = GetOptions { into: &into, limits: &limits, progress: &progress, interrupt };
        // What replaced it meanwhile is as good.
        (found.info, _) = self.store.restore_found(found, &options)?;
        tree::open_to_all(&into, interrupt)?;
        finish(&new, &self.tree(found))
    }

    fn make(&self, view: &View, path: &Path, interrupt: &Interrupt) -> Result<(), ToolError> {
        let new = self.begin_new()?;
        let into = tree::open(&new)?;
        for (name, found) in &view.tools {
            let failed = |error: std::io::Error| ToolError::file("making", &new.join(name.above()), error);
            into.create_dir_all(name.above()).map_err(failed)?;
            let above = into.open_dir(name.above()).map_err(failed)?;
            above.create_dir(name.arch()).map_err(failed)?;
            let folder = above.open_dir(name.arch()).map_err(failed)?;
            tree::bring(&tree::open(&self.tree(found))?, &folder, Bring::Link, interrupt)?;
            above.write(name.marker(), b"").map_err(failed)?;
        }
        tree::open_to_all(&into, interrupt)?;
        finish(&new, path)
    }

    /// An empty folder. The lock is held.
    fn begin_new(&self) -> Result<PathBuf, ToolError> {
        let new = self.new_folder().join(uuid::Uuid::new_v4().simple().to_string());
        std::fs::create_dir_all(&new).map_err(|error| ToolError::file("making", &new, error))?;
        Ok(new)
    }

    /// What was being made, or removed, by somebody who is gone. The lock is held by nobody else.
    fn throw_away_unfinished(&self) {
        // What cannot be removed now is in nobody's way. Somebody who removes something at the same time may be faster.
        if let Err(error) = remove(&self.new_folder()) {
            tracing::debug!(%error, "what was left unfinished of tools stays for now");
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
