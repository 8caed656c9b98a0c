//! Which files of a work tree a job means. (protocols: GitLab 6.2; the same rules for artifacts and caches.)
//!
//! - [`glob`]: reading and matching patterns.
//! - [`expand`]: variables in names and patterns, as a shell does it.
//! - `walk`: finding what a pattern means in a tree.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;

use super::beneath::{self, Node};
use super::{Remark, Remarks, shown};
use crate::pipeline::definition::FileSelection;
use walk::Matches;

pub mod expand;
pub mod glob;
mod walk;

pub use expand::{ExpandError, expand_shell};
pub use glob::{Glob, GlobError};

/// Entries that one selection may hold, so that a job cannot use up the agent's memory with empty files.
pub const MAX_ENTRIES: usize = 5_000_000;

/// A file, folder or symlink to be packed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its path relative to the work tree, without `.` and `..`; bytes as they are, perhaps not UTF-8.
    pub path: PathBuf,
    /// What it was when it was found.
    pub kind: EntryKind,
}

/// What an [`Entry`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder; what is in it has entries of its own.
    Folder,
    /// A symlink: where it points to is kept as text, never followed.
    Symlink,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Sorted by the bytes of their paths, each once.
    pub entries: Vec<Entry>,
    /// Whether the work tree itself is meant too (`.`, `**`), which is no entry.
    pub tree_itself: bool,
    /// What the user should read, in order.
    pub remarks: Vec<Remark>,
}

impl Selection {
    /// Whether there is nothing to pack.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Why no selection could be made at all. What concerns one pattern or file is a remark instead.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// The work tree itself cannot be read.
    #[error("the work tree cannot be read; check that its folder exists and that the agent may enter it")]
    Root(#[source] io::Error),
    /// More than [`MAX_ENTRIES`].
    #[error("more than {MAX_ENTRIES} files and folders match; name fewer folders or exclude some")]
    TooMany,
}

/// Finds what `files` means in the tree `root`, which the job sees at `project_dir` (absolute).
///
/// `untracked` is what git lists as untracked, relative to the tree; it counts only where the selection asks for it.
/// Patterns must have had their variables replaced ([`expand_shell`]). Blocking; a tree that changes meanwhile gives a
/// mixture of before and after, never an error.
pub fn select(
    root: &Dir,
    project_dir: &str,
    files: &FileSelection,
    untracked: Vec<PathBuf>,
) -> Result<Selection, SelectError> {
    root.dir_metadata().map_err(SelectError::Root)?;
    let mut finder = Finder::new(root, project_dir, &files.exclude);
    for pattern in &files.paths {
        finder.pattern(pattern)?;
    }
    if files.untracked {
        finder.untracked(&untracked)?;
    }
    Ok(finder.finish())
}

struct Exclusion {
    text: String,
    glob: Glob,
    dropped: u64,
}

struct Finder<'a> {
    root: &'a Dir,
    project_dir: &'a str,
    exclude: Vec<Exclusion>,
    found: BTreeMap<Vec<u8>, EntryKind>,
    tree_itself: bool,
    specials: u64,
    remarks: Vec<Remark>,
    /// Names that git lists and that lead out; at most a few, unless somebody tampers.
    strays: Remarks,
}

impl<'a> Finder<'a> {
    fn new(root: &'a Dir, project_dir: &'a str, exclude: &[String]) -> Self {
        let mut remarks = Vec::new();
        let mut rules = Vec::new();
        for text in exclude {
            match relative_pattern(text, project_dir).map(|relative| Glob::parse(&relative)) {
                Some(Ok(glob)) => rules.push(Exclusion { text: text.clone(), glob, dropped: 0 }),
                Some(Err(error)) => remarks.push(unreadable(text, error)),
                None => remarks.push(outside(text, project_dir)),
            }
        }
        Self {
            root,
            project_dir,
            exclude: rules,
            found: BTreeMap::new(),
            tree_itself: false,
            specials: 0,
            remarks,
            strays: Remarks::default(),
        }
    }

    fn pattern(&mut self, text: &str) -> Result<(), SelectError> {
        if text.is_empty() {
            self.remarks.push(Remark::warning("No matching files. Path is empty."));
            return Ok(());
        }
        let Some(relative) = relative_pattern(text, self.project_dir) else {
            self.remarks.push(outside(text, self.project_dir));
            return Ok(());
        };
        let glob = match Glob::parse(&relative) {
            Ok(glob) => glob,
            Err(error) => {
                self.remarks.push(unreadable(text, error));
                return Ok(());
            }
        };
        let shown_pattern = shown(if relative.is_empty() { b"." } else { relative.as_bytes() });
        let Matches { found, unlisted } = walk::matches(self.root, &glob)?;
        let found = self.take(found)?;
        for (folder, error) in unlisted {
            self.strays.push(Remark::warning(format!("{}: what is in it is left out: {error}", shown(&folder))));
        }
        self.remarks.push(if found == 0 {
            Remark::warning(format!(
                "{shown_pattern}: no matching files. Ensure that the artifact path is relative to the working directory ({})",
                self.project_dir
            ))
        } else {
            Remark::note(format!("{shown_pattern}: found {found} matching artifact files and directories"))
        });
        Ok(())
    }

    fn untracked(&mut self, list: &[PathBuf]) -> Result<(), SelectError> {
        let mut matches = BTreeMap::new();
        for path in list {
            let Some(clean) = inside(path) else {
                self.strays.push(outside(&shown(path.as_os_str().as_bytes()), self.project_dir));
                continue;
            };
            let (folder, name) = beneath::split(&clean);
            // Gone since git looked, or below a symlink: not there.
            let node = beneath::folder_nofollow(self.root, folder).and_then(|dir| beneath::stat(&dir, name));
            if let Ok(stat) = node {
                matches.insert(clean, Node::of(&stat));
            }
        }
        let found = self.take(matches)?;
        self.remarks.push(if found == 0 {
            Remark::warning("untracked: no files")
        } else {
            Remark::note(format!("untracked: found {found} files"))
        });
        Ok(())
    }

    /// Keeps what no exclusion drops, and says how much that was.
    fn take(&mut self, matches: BTreeMap<Vec<u8>, Node>) -> Result<u64, SelectError> {
        let mut kept = 0;
        for (path, node) in matches {
            let drops = |rule: &&mut Exclusion| rule.glob.matches(&path) || path.is_empty() && rule.glob.matches_tree();
            if let Some(rule) = self.exclude.iter_mut().find(drops) {
                rule.dropped += 1;
                continue;
            }
            let kind = match node {
                Node::File => EntryKind::File,
                Node::Folder => EntryKind::Folder,
                Node::Symlink => EntryKind::Symlink,
                Node::Special => {
                    self.specials += 1;
                    continue;
                }
            };
            kept += 1;
            if path.is_empty() {
                self.tree_itself = true;
            } else {
                self.found.insert(path, kind);
            }
        }
        if self.found.len() > MAX_ENTRIES { Err(SelectError::TooMany) } else { Ok(kept) }
    }

    fn finish(mut self) -> Selection {
        self.remarks.extend(std::mem::take(&mut self.strays).into_list());
        for rule in self.exclude.iter().filter(|rule| rule.dropped > 0) {
            self.remarks.push(Remark::note(format!(
                "{}: excluded {} files",
                shown(rule.text.as_bytes()),
                rule.dropped
            )));
        }
        if self.specials > 0 {
            self.remarks.push(Remark::warning(format!(
                "{} sockets, pipes or devices left out: an archive cannot hold them",
                self.specials
            )));
        }
        if self.found.keys().any(|path| path == b".git" || path.starts_with(b".git/")) {
            self.remarks.push(Remark::warning(
                "the files to archive include a part of the `.git` folder; unpacked over another checkout it can break it",
            ));
        }
        let entries = self
            .found
            .into_iter()
            .map(|(path, kind)| Entry { path: PathBuf::from(std::ffi::OsString::from_vec(path)), kind })
            .collect();
        Selection { entries, tree_itself: self.tree_itself, remarks: self.remarks }
    }
}

fn outside(pattern: &str, project_dir: &str) -> Remark {
    Remark::warning(format!(
        "{}: ignored, because it is outside of the project directory ({project_dir})",
        shown(pattern.as_bytes())
    ))
}

fn unreadable(pattern: &str, error: GlobError) -> Remark {
    Remark::warning(format!("{}: ignored, because the pattern cannot be read: {error}", shown(pattern.as_bytes())))
}

/// `pattern` relative to the work tree, `.` and `..` resolved by name; `None` when it leaves the tree.
fn relative_pattern(pattern: &str, project_dir: &str) -> Option<String> {
    let absolute =
        if pattern.starts_with('/') { pattern.to_owned() } else { format!("{}/{pattern}", escape(project_dir)) };
    let mut names: Vec<&str> = Vec::new();
    for name in absolute.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    for own in project_dir.split('/').filter(|name| !name.is_empty() && *name != ".") {
        let first = names.first()?;
        // The job writes its own path into a pattern as it is, wildcard characters included.
        if *first != own && unescape(first) != own {
            return None;
        }
        names.remove(0);
    }
    Some(names.join("/"))
}

/// `path` without `.` and `..`, if it stays inside; empty and absolute paths do not.
fn inside(path: &Path) -> Option<Vec<u8>> {
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.as_os_str().as_bytes().split(|b| *b == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                names.pop()?;
            }
            name => names.push(name),
        }
    }
    if path.is_absolute() || names.is_empty() { None } else { Some(names.join(&b'/')) }
}

fn escape(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let special = matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '\\' | ',');
            special.then_some('\\').into_iter().chain([c])
        })
        .collect()
}

fn unescape(text: &str) -> String {
    let mut chars = text.chars();
    let mut out = String::with_capacity(text.len());
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    out
}

#[cfg(test)]
mod tests;
