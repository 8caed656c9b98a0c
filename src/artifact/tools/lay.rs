//! What one job gets: a folder that is its own, with the tools of its owner in it or below it.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};

use super::tree::{self, How};
use super::view::View;
use super::{ToolCache, ToolError, ToolName};
use crate::artifact::{Interrupt, Remark, Remarks, beneath};
use crate::pipeline::JobKey;

/// The file in a job's folder that says what was laid.
const RECORD: &str = "job.json";
/// Its size, at most.
const MAX_RECORD: u64 = 4 << 20;
/// The folder that the job writes to.
const OWN: &str = "own";
/// A folder that the kernel needs beside it.
const WORK: &str = "work";

/// How a job's own folder comes to show the tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layering {
    /// The tools lie below it, read-only, as the lower layer of an overlay mount: nothing is copied.
    Overlay,
    /// They are copied into it.
    Copy,
}

/// What a job has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobTools {
    /// The folder that is the job's own: all that it writes is in here.
    pub own: PathBuf,
    /// What is to be mounted in place of that folder.
    pub overlay: Option<Overlay>,
    /// The tools that it was given.
    pub(super) given: BTreeSet<ToolName>,
}

/// Folders of an overlay mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// Tools that nobody changes.
    pub lower: PathBuf,
    /// Empty, beside the job's own.
    pub work: PathBuf,
    /// A name for the mount that no other one has.
    pub id: String,
}

/// A wish to give a job the tools that it may see.
#[derive(Clone, Debug)]
pub struct Laying<'a> {
    /// The tools that it may see.
    pub view: &'a View,
    /// Which job.
    pub job: &'a JobKey,
    /// A folder for it that does not exist, on the machine. When it is removed, the job uses nothing any more.
    pub folder: &'a Path,
    /// How they come to it.
    pub layering: Layering,
    /// Ends the work early.
    pub interrupt: Interrupt,
}

/// What was laid.
#[derive(Clone, Debug)]
pub struct Laid {
    /// What the job has.
    pub tools: JobTools,
    /// What the user should read.
    pub remarks: Vec<Remark>,
}

impl JobTools {
    /// What was laid in a job's folder. `None`: nothing.
    pub fn load(folder: &Path) -> Option<Self> {
        let mut text = Vec::new();
        std::fs::File::open(folder.join(RECORD)).ok()?.take(MAX_RECORD).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// The folder that is the job's own, of those in the folder that its tools are laid in.
    pub fn own_folder(folder: &Path) -> PathBuf {
        folder.join(OWN)
    }

    /// How many tools it was given.
    pub fn given(&self) -> usize {
        self.given.len()
    }

    /// Opens the folder that is the job's own, which is no other one for being called so.
    pub(super) fn open(&self, folder: &Path) -> Result<Dir, ToolError> {
        beneath::child_folder(&tree::open(folder)?, OWN.as_bytes())
            .map_err(|error| ToolError::file("opening", &folder.join(OWN), error))
    }

    fn save(&self, folder: &Path) -> Result<(), ToolError> {
        let path = folder.join(RECORD);
        let written = serde_json::to_vec(self).map_err(std::io::Error::other).and_then(|text| {
            let staged = folder.join("job.json.new");
            std::fs::write(&staged, text).and_then(|()| std::fs::rename(&staged, &path))
        });
        written.map_err(|error| ToolError::file("writing", &path, error))
    }
}

impl ToolCache {
    /// Gives a job its tools.
    ///
    /// # Errors
    /// The disk, the store, or others that keep the tools busy. What is in the folder then is of no use.
    pub fn lay(&self, laying: &Laying<'_>) -> Result<Laid, ToolError> {
        let Laying { view, job, folder, layering, interrupt } = laying;
        let own = JobTools::own_folder(folder);
        make_open(&own)?;
        let mut remarks = Vec::new();
        let layer = match view.is_empty() {
            true => None,
            false => self.layer(view, folder, interrupt, &mut remarks)?,
        };
        let mut tools = JobTools { own, overlay: None, given: BTreeSet::new() };
        if let Some(layer) = layer {
            let is_sayable = [&layer.path, &tools.own].into_iter().all(|path| is_sayable(path));
            match layering {
                Layering::Overlay if is_sayable => {
                    let (work, id) = (folder.join(WORK), uuid::Uuid::new_v4().simple().to_string());
                    std::fs::create_dir(&work).map_err(|error| ToolError::file("making", &work, error))?;
                    tools.overlay = Some(Overlay { lower: layer.path, work, id });
                }
                Layering::Overlay | Layering::Copy => {
                    let _room = self.room(folder, layer.bytes)?;
                    tree::bring(&tree::open(&layer.path)?, &tree::open(&tools.own)?, How::Copy, interrupt)?;
                }
            }
            tools.given = layer.tools;
            self.note_use(view, &tools.given, job);
        }
        tools.save(folder)?;
        let mut few = Remarks::default();
        remarks.into_iter().for_each(|remark| few.push(remark));
        Ok(Laid { tools, remarks: few.into_list() })
    }
}

/// Makes a folder that every user of a job may write to. What is above it is the agent's alone.
fn make_open(path: &Path) -> Result<(), ToolError> {
    let made = std::fs::create_dir_all(path)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)));
    made.map_err(|error| ToolError::file("making", path, error))
}

/// Whether a path can be said in the options of a mount, where some characters mean something.
fn is_sayable(path: &Path) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@~=".contains(c);
    path.to_str().is_some_and(|path| path.len() < 1024 && path.chars().all(is_plain))
}
