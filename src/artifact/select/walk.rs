//! Finding what a pattern means, by walking only where it can match.
//!
//! Names without wildcards are opened, not searched for. A folder that the pattern names may be a symlink as long as
//! it stays inside the tree; `**` and the walk below a match never follow one, so there are no loops.

use std::collections::{BTreeMap, HashSet};

use cap_std::fs::Dir;

use super::glob::{Glob, Segment};
use super::{MAX_ENTRIES, SelectError};
use crate::artifact::beneath::{self, Node};

/// Folders deep below which nothing is looked for: names longer than a path can be.
const MAX_DEPTH: usize = 1024;

/// Every path that the pattern matches and everything below those that are folders.
pub(super) fn matches(root: &Dir, glob: &Glob) -> Result<Matches, SelectError> {
    let mut walk = Walk { root, found: BTreeMap::new(), searched: HashSet::new(), unlisted: BTreeMap::new() };
    for (segments, is_path) in glob.searches() {
        walk.searched.clear();
        // A choice of nothing (`{,a}`) is no path, and not the whole tree.
        let is_nothing = segments.is_empty() && glob.has_choices();
        if is_path && (is_nothing || walk.is_dangling(segments)) {
            continue;
        }
        walk.search(segments)?;
    }
    Ok(Matches { found: walk.found, unlisted: walk.unlisted })
}

/// What a pattern means.
pub(super) struct Matches {
    pub(super) found: BTreeMap<Vec<u8>, Node>,
    /// Folders in which nobody could look, and why not.
    pub(super) unlisted: BTreeMap<Vec<u8>, std::io::Error>,
}

struct Walk<'a> {
    root: &'a Dir,
    found: BTreeMap<Vec<u8>, Node>,
    /// Folders already searched with the same rest of the pattern: several `**` meet the same folder in many ways.
    searched: HashSet<(usize, Vec<u8>)>,
    unlisted: BTreeMap<Vec<u8>, std::io::Error>,
}

/// A folder, and from which segment on the pattern applies to what is in it.
type Place = (Vec<u8>, usize);

impl Walk<'_> {
    /// Whether a mere path names a link to what is not in the tree: as with the official runner, that is no file. One that
    /// leads out of the tree is: nobody looks there. Wildcards and folders take links whatever they lead to.
    fn is_dangling(&self, segments: &[Segment]) -> bool {
        let names = segments.iter().filter_map(|segment| match segment {
            Segment::Name(name) => Some(name.as_slice()),
            Segment::AnyFolders | Segment::Wild(_) => None,
        });
        let path = names.fold(Vec::new(), |path, name| beneath::join(&path, name));
        let seen = self.root.metadata(beneath::path(&path));
        !path.is_empty() && seen.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    }

    fn search(&mut self, segments: &[Segment]) -> Result<(), SelectError> {
        if segments.iter().any(|segment| matches!(segment, Segment::Name(name) if name == b"..")) {
            return Ok(());
        }
        let mut todo: Vec<Place> = vec![(Vec::new(), 0)];
        while let Some((folder, at)) = todo.pop() {
            if self.searched.insert((at, folder.clone())) {
                self.step(segments, folder, at, &mut todo)?;
            }
        }
        Ok(())
    }

    fn step(
        &mut self,
        segments: &[Segment],
        folder: Vec<u8>,
        at: usize,
        todo: &mut Vec<Place>,
    ) -> Result<(), SelectError> {
        let last = at + 1 == segments.len();
        match segments.get(at) {
            None => self.hit(folder),
            // The rest is `**`: everything from here on.
            Some(Segment::AnyFolders) if last => self.hit(folder),
            Some(Segment::AnyFolders) => {
                for (name, node) in self.list(&folder) {
                    if node == Node::Folder && depth(&folder) < MAX_DEPTH {
                        todo.push((beneath::join(&folder, &name), at));
                    }
                }
                todo.push((folder, at + 1));
                Ok(())
            }
            Some(Segment::Name(name)) => {
                let path = beneath::join(&folder, name);
                if last {
                    return self.hit(path);
                }
                todo.push((path, at + 1));
                Ok(())
            }
            Some(segment @ Segment::Wild(_)) => {
                for (name, node) in self.list(&folder) {
                    if !segment.matches(&name) {
                        continue;
                    }
                    let path = beneath::join(&folder, &name);
                    if last {
                        self.hit(path)?;
                    } else if matches!(node, Node::Folder | Node::Symlink) {
                        todo.push((path, at + 1));
                    }
                }
                Ok(())
            }
        }
    }

    /// What is in a folder that the pattern leads to; nothing where it is not there, not a folder, or leads out.
    fn list(&mut self, folder: &[u8]) -> Vec<(Vec<u8>, Node)> {
        let listed = beneath::folder_within(self.root, folder).and_then(|dir| beneath::children(&dir));
        self.or_nothing(listed, folder)
    }

    /// What is in a folder. Where that may not be known, it is told.
    fn or_nothing(&mut self, listed: std::io::Result<Vec<(Vec<u8>, Node)>>, folder: &[u8]) -> Vec<(Vec<u8>, Node)> {
        listed.unwrap_or_else(|error| {
            if error.kind() == std::io::ErrorKind::PermissionDenied && depth(folder) < MAX_DEPTH {
                self.unlisted.insert(folder.to_vec(), error);
            }
            Vec::new()
        })
    }

    /// Takes a match and, if it is a folder, everything below it.
    fn hit(&mut self, path: Vec<u8>) -> Result<(), SelectError> {
        if path.is_empty() {
            self.add(Vec::new(), Node::Folder)?;
            return self.below(self.root, Vec::new());
        }
        if self.found.contains_key(&path) {
            return Ok(()); // met before, and so was what is below
        }
        let (folder, name) = beneath::split(&path);
        let Ok(dir) = beneath::folder_within(self.root, folder) else { return Ok(()) };
        let Ok(stat) = beneath::stat(&dir, name) else { return Ok(()) };
        let node = Node::of(&stat);
        self.add(path.clone(), node)?;
        if node != Node::Folder {
            return Ok(());
        }
        match beneath::child_folder(&dir, name) {
            Ok(inner) => self.below(&inner, path),
            Err(error) => {
                self.or_nothing(Err(error), &path);
                Ok(())
            }
        }
    }

    /// Everything below the folder `base`, whose path is `path`. One handle at a time, however wide or deep.
    fn below(&mut self, base: &Dir, path: Vec<u8>) -> Result<(), SelectError> {
        let mut todo = vec![Vec::new()];
        while let Some(relative) = todo.pop() {
            // Replaced by something else or gone meanwhile: then there is nothing below it.
            let listed = beneath::folder_nofollow(base, &relative).and_then(|dir| beneath::children(&dir));
            for (name, node) in self.or_nothing(listed, &beneath::join(&path, &relative)) {
                let inner = beneath::join(&relative, &name);
                self.add(beneath::join(&path, &inner), node)?;
                if node == Node::Folder && depth(&inner) < MAX_DEPTH {
                    todo.push(inner);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, path: Vec<u8>, node: Node) -> Result<(), SelectError> {
        self.found.insert(path, node);
        if self.found.len() > MAX_ENTRIES { Err(SelectError::TooMany) } else { Ok(()) }
    }
}

fn depth(path: &[u8]) -> usize {
    path.iter().filter(|b| **b == b'/').count() + usize::from(!path.is_empty())
}
