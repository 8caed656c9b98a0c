//! What a job left in its folder: hostile until looked at. Nothing is opened but folders, nothing followed, nothing counted without
//! an end.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use cap_std::fs::Dir;

use super::ToolName;
use crate::artifact::beneath::{self, Node};
use crate::artifact::select::{Entry, EntryKind, Selection};
use crate::artifact::{Interrupt, shown};

/// Names that are looked at in each of the folders above tools.
const MAX_NAMES: usize = 1000;
/// Files, folders and symlinks of one tool.
pub(super) const MAX_ENTRIES: usize = 500_000;
/// Bytes of one tool.
pub(super) const MAX_BYTES: u64 = 16 << 30;
/// Folders within each other.
const MAX_DEPTH: usize = 64;

/// Names that are looked at in all of the folders above tools together.
pub(super) const MAX_LOOKS: usize = 20_000;

/// The tools of a folder that are not among those that the job was given.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Those that are whole.
    pub(super) complete: Vec<ToolName>,
    /// Those that are not, as far as their names are names.
    pub(super) incomplete: Vec<ToolName>,
    /// Whether there may be more that were not looked at.
    pub(super) is_cut: bool,
}

/// Looks for tools, until there are `most` of a kind. A folder that cannot be read has none.
///
/// # Errors
/// The work was asked to end.
pub(super) fn look(root: &Dir, given: &BTreeSet<ToolName>, most: usize, interrupt: &Interrupt) -> Result<Found, Unfit> {
    let mut look = Look { looks: MAX_LOOKS, interrupt, found: Found::default() };
    for tool in look.folders(root)? {
        let Ok(versions) = beneath::child_folder(root, tool.as_bytes()) else { continue };
        for version in look.folders(&versions)? {
            let Ok(archs) = beneath::child_folder(&versions, version.as_bytes()) else { continue };
            for arch in look.folders(&archs)? {
                let Some(name) = ToolName::new(&tool, &version, &arch) else { continue };
                // What was there before is not new; what the job made of it is its own affair.
                if !given.contains(&name) {
                    look.sort_in(name, &archs, most);
                }
                if look.found.complete.len() >= most {
                    look.found.is_cut = true;
                    return Ok(look.found);
                }
            }
        }
    }
    Ok(look.found)
}

/// Looking, and what was found so far. Folders are held only while they are looked at, three at a time.
struct Look<'a> {
    looks: usize,
    interrupt: &'a Interrupt,
    found: Found,
}

impl Look<'_> {
    fn sort_in(&mut self, name: ToolName, archs: &Dir, most: usize) {
        match beneath::stat(archs, name.marker().as_bytes()) {
            Ok(stat) if Node::of(&stat) == Node::File => self.found.complete.push(name),
            _ if self.found.incomplete.len() < most => self.found.incomplete.push(name),
            _ => {}
        }
    }

    /// The folders of a folder whose names are text, sorted.
    fn folders(&mut self, dir: &Dir) -> Result<Vec<String>, Unfit> {
        let names = names(dir, self.looks.min(MAX_NAMES), self.interrupt).unwrap_or_default();
        if self.interrupt.is_raised() {
            return Err(Unfit::Interrupted);
        }
        // The folder itself counts, too.
        self.looks = self.looks.saturating_sub(names.len() + 1);
        self.found.is_cut |= self.looks == 0 || names.len() == MAX_NAMES;
        let folders = names.into_iter().filter(|(_, node)| *node == Node::Folder);
        let mut folders: Vec<String> = folders.filter_map(|(name, _)| String::from_utf8(name).ok()).collect();
        folders.sort();
        Ok(folders)
    }
}

/// Why a tool is not kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    /// There is something in it that no tool has.
    #[error("`{0}` is neither a file nor a folder nor a symlink")]
    Special(String),
    /// Parts of it cannot be read: what would be kept is not the tool.
    #[error("`{path}` cannot be read by the runner ({source}); give every user the right to")]
    Unreadable {
        /// The path in the tool.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It is larger than tools are.
    #[error("it is larger than {} files and folders, {} GiB or {} folders deep", MAX_ENTRIES, MAX_BYTES >> 30, MAX_DEPTH)]
    TooLarge,
    /// The work was asked to end.
    #[error("interrupted")]
    Interrupted,
}

/// Everything of a tool, each file of which can be read.
pub(super) fn everything(root: &Dir, interrupt: &Interrupt) -> Result<Selection, Unfit> {
    let mut entries = Vec::new();
    let (mut bytes, mut todo) = (0u64, vec![(Vec::new(), 0)]);
    while let Some((path, depth)) = todo.pop() {
        if interrupt.is_raised() {
            return Err(Unfit::Interrupted);
        }
        let folder = beneath::folder_nofollow(root, &path).map_err(|error| unreadable(&path, error))?;
        let room = MAX_ENTRIES - entries.len();
        let names = names(&folder, room + 1, interrupt).map_err(|error| unreadable(&path, error))?;
        if names.len() > room || depth > MAX_DEPTH {
            return Err(Unfit::TooLarge);
        }
        for (name, node) in names {
            if interrupt.is_raised() {
                return Err(Unfit::Interrupted);
            }
            let path = beneath::join(&path, &name);
            let kind = match node {
                Node::Folder => EntryKind::Folder,
                Node::Symlink => EntryKind::Symlink,
                Node::Special => return Err(Unfit::Special(shown(&path))),
                Node::File => {
                    let (_, stat) = beneath::regular_file(&folder, &name).map_err(|error| unreadable(&path, error))?;
                    bytes = bytes.saturating_add(u64::try_from(stat.st_size).unwrap_or(0));
                    EntryKind::File
                }
            };
            entries.push(Entry { path: PathBuf::from(OsStr::from_bytes(&path)), kind });
            if node == Node::Folder {
                todo.push((path, depth + 1));
            }
        }
        if bytes > MAX_BYTES {
            return Err(Unfit::TooLarge);
        }
    }
    entries.sort_by(|a, b| a.path.as_os_str().as_bytes().cmp(b.path.as_os_str().as_bytes()));
    Ok(Selection { entries, ..Selection::default() })
}

fn unreadable(path: &[u8], source: io::Error) -> Unfit {
    let path = if path.is_empty() { ".".to_owned() } else { shown(path) };
    Unfit::Unreadable { path, source }
}

/// The first names of a folder, at most so many; fewer when the work is asked to end.
fn names(dir: &Dir, most: usize, interrupt: &Interrupt) -> io::Result<Vec<(Vec<u8>, Node)>> {
    beneath::some_children(dir, |so_far| so_far < most && !interrupt.is_raised())
}
