//! What a job left in its folder: hostile until looked at. Nothing is opened but folders, nothing followed, nothing counted without
//! an end.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use cap_std::fs::Dir;
use rustix::fs::{Mode, OFlags};

use super::ToolName;
use super::name::COMPLETE;
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

/// The tools of a folder that are not among those that the job was given.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Those that are whole, and where.
    pub(super) complete: Vec<(ToolName, Dir)>,
    /// Those that are not, as far as their names are names.
    pub(super) incomplete: Vec<ToolName>,
}

/// Looks for tools. A folder that cannot be read has none.
pub(super) fn look(root: &Dir, given: &BTreeSet<ToolName>) -> Found {
    let mut found = Found::default();
    for (tool, versions) in folders(root) {
        for (version, archs) in folders(&versions) {
            for (arch, folder) in folders(&archs) {
                let Some(name) = ToolName::new(&tool, &version, &arch) else { continue };
                if given.contains(&name) {
                    // It was there before; what the job made of it is its own affair.
                    continue;
                }
                match beneath::stat(&archs, format!("{arch}{COMPLETE}").as_bytes()) {
                    Ok(stat) if Node::of(&stat) == Node::File => found.complete.push((name, folder)),
                    _ => found.incomplete.push(name),
                }
            }
        }
    }
    found
}

/// The folders of a folder whose names are text, sorted.
fn folders(dir: &Dir) -> Vec<(String, Dir)> {
    let mut names: Vec<String> = names(dir, MAX_NAMES)
        .unwrap_or_default()
        .into_iter()
        .filter(|(_, node)| *node == Node::Folder)
        .filter_map(|(name, _)| String::from_utf8(name).ok())
        .collect();
    names.sort();
    names
        .into_iter()
        .filter_map(|name| Some((name.clone(), beneath::child_folder(dir, name.as_bytes()).ok()?)))
        .collect()
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
        let names = names(&folder, room + 1).map_err(|error| unreadable(&path, error))?;
        if names.len() > room || depth > MAX_DEPTH {
            return Err(Unfit::TooLarge);
        }
        for (name, node) in names {
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

/// The first names of a folder, at most so many.
fn names(dir: &Dir, most: usize) -> io::Result<Vec<(Vec<u8>, Node)>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let listing = rustix::fs::Dir::new(rustix::fs::openat(dir, ".", flags, Mode::empty())?)?;
    let mut names = Vec::new();
    for entry in listing {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        if names.len() == most {
            break;
        }
        // Not every file system says of what kind an entry is.
        names.push((name.to_vec(), Node::of(&beneath::stat(dir, name)?)));
    }
    Ok(names)
}
