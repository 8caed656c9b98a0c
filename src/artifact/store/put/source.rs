//! What is put: the files of a tree, in the order of their paths.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use cap_std::fs::Dir;
use rustix::fs::Stat;

use super::super::manifest::{MAX_XATTRS, Mtime};
use crate::artifact::Unnamed;
use crate::artifact::beneath::{self, Node};
use crate::artifact::select::Entry;

/// The paths of a tree that are to be put. Sorted by their bytes, each once.
pub(in super::super) enum Paths<'a> {
    /// These.
    Listed(Box<dyn Iterator<Item = Vec<u8>> + 'a>),
    /// All that there are.
    Everything(Walk),
    /// All but these folders.
    EverythingBut(Walk, &'a Unnamed),
}

impl<'a> Paths<'a> {
    /// Those of a selection. The tree itself is no entry of it.
    pub(in super::super) fn listed(entries: &'a [Entry]) -> Self {
        let path = |entry: &'a Entry| entry.path.as_os_str().as_bytes();
        let is_sorted = entries.is_sorted_by(|a, b| path(a) < path(b));
        let mut paths: Vec<&[u8]> = entries.iter().map(path).filter(|path| *path != b".").collect();
        if !is_sorted {
            paths.sort_unstable();
            paths.dedup();
        }
        Self::Listed(Box::new(paths.into_iter().map(<[u8]>::to_vec)))
    }
}

/// A folder of the tree that cannot be listed; the tree itself has an empty path.
pub(in super::super) struct Unlisted {
    pub(in super::super) folder: Vec<u8>,
    pub(in super::super) error: io::Error,
}

impl Iterator for Paths<'_> {
    type Item = Result<Vec<u8>, Unlisted>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Paths::Listed(paths) => paths.next().map(Ok),
            Paths::Everything(walk) => walk.next(),
            Paths::EverythingBut(walk, unnamed) => loop {
                match walk.next()? {
                    Ok(path) if unnamed.has(&path) => {}
                    next => return Some(next),
                }
            },
        }
    }
}

/// Walks a tree without holding more of it than the folders on the way.
pub(in super::super) struct Walk {
    root: Dir,
    /// What is still to be visited, the next one last.
    todo: Vec<Visit>,
}

struct Visit {
    path: Vec<u8>,
    what: What,
}

#[derive(PartialEq, Eq)]
enum What {
    Entry,
    Inside,
}

impl Walk {
    /// Everything below `root`.
    pub(in super::super) fn new(root: Dir) -> Self {
        Self { root, todo: vec![Visit { path: Vec::new(), what: What::Inside }] }
    }

    fn enter(&mut self, folder: &[u8]) -> io::Result<()> {
        let listed = beneath::folder_nofollow(&self.root, folder).and_then(|dir| beneath::children(&dir));
        let listed = match listed {
            // It went, or is no folder any more: whoever looks at it as an entry tells.
            Err(error) if !folder.is_empty() && beneath::is_no_folder(&error) => return Ok(()),
            listed => listed?,
        };
        let from = self.todo.len();
        for (name, node) in listed {
            let path = beneath::join(folder, &name);
            if node == Node::Folder {
                self.todo.push(Visit { path: path.clone(), what: What::Inside });
            }
            self.todo.push(Visit { path, what: What::Entry });
        }
        // What is inside `a` is called `a/...`, which comes after `a-b`.
        let key = |visit: &Visit| match visit.what {
            What::Entry => visit.path.clone(),
            What::Inside => [&visit.path[..], b"/"].concat(),
        };
        self.todo[from..].sort_by_cached_key(|visit| std::cmp::Reverse(key(visit)));
        Ok(())
    }

    fn next(&mut self) -> Option<Result<Vec<u8>, Unlisted>> {
        loop {
            let Visit { path, what } = self.todo.pop()?;
            match what {
                What::Entry => return Some(Ok(path)),
                What::Inside => {
                    if let Err(error) = self.enter(&path) {
                        return Some(Err(Unlisted { folder: path, error }));
                    }
                }
            }
        }
    }
}

/// An entry as it is now.
pub(super) enum Opened {
    File { stat: Stat, file: File },
    Folder(Stat),
    Symlink { stat: Stat, target: Vec<u8> },
}

/// Opens entries of a tree. Neighbours share the handle of their folder.
pub(super) struct Opener<'a> {
    root: &'a Dir,
    folder: Option<(Vec<u8>, Dir)>,
}

impl<'a> Opener<'a> {
    pub(super) fn new(root: &'a Dir) -> Self {
        Self { root, folder: None }
    }

    /// What the entry is now, without opening it.
    pub(super) fn stat(&mut self, path: &[u8]) -> io::Result<Stat> {
        let (folder, name) = beneath::split(path);
        beneath::stat(self.folder(folder)?, name)
    }

    /// Opens the entry whose `stat` was just taken.
    pub(super) fn open(&mut self, path: &[u8], stat: Stat) -> io::Result<Opened> {
        let (folder, name) = beneath::split(path);
        let dir = self.folder(folder)?;
        match Node::of(&stat) {
            Node::File => {
                let (file, stat) = beneath::regular_file(dir, name)?;
                Ok(Opened::File { stat, file })
            }
            Node::Folder => Ok(Opened::Folder(stat)),
            Node::Symlink => Ok(Opened::Symlink { stat, target: beneath::link_target(dir, name)? }),
            Node::Special => Err(io::Error::other("sockets, pipes and devices cannot be kept")),
        }
    }

    /// The extended attributes of a file or folder, sorted.
    pub(super) fn xattrs(&mut self, path: &[u8], opened: &Opened) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let (folder, name) = beneath::split(path);
        match opened {
            Opened::File { file, .. } => xattrs_of(file),
            Opened::Folder(_) => {
                let dir = beneath::child_folder(self.folder(folder)?, name)?;
                xattrs_of(&dir)
            }
            Opened::Symlink { .. } => Ok(Vec::new()),
        }
    }

    fn folder(&mut self, path: &[u8]) -> io::Result<&Dir> {
        let dir = match self.folder.take() {
            Some((known, dir)) if known == path => dir,
            _ => beneath::folder_within(self.root, path)?,
        };
        Ok(&self.folder.insert((path.to_vec(), dir)).1)
    }
}

fn xattrs_of(file: impl std::os::fd::AsFd) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = vec![0_u8; MAX_XATTRS];
    let length = match rustix::fs::flistxattr(&file, names.as_mut_slice()) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut all = Vec::new();
    for name in names[..length].split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0_u8; MAX_XATTRS];
        let length = rustix::fs::fgetxattr(&file, name, value.as_mut_slice())?;
        value.truncate(length);
        all.push((name.to_vec(), value));
    }
    all.sort();
    Ok(all)
}

/// When the entry was changed last.
pub(super) fn mtime(stat: &Stat) -> Mtime {
    Mtime { seconds: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_goes_by_the_bytes_of_whole_paths() {
        let temp = tempfile::tempdir().unwrap();
        for path in ["a/b/c", "a/x", "a-b/y", "a.txt", "a0", "é/z"] {
            let path = temp.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        std::os::unix::fs::symlink("a", temp.path().join("link")).unwrap();
        let root = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        let found: Vec<Vec<u8>> = Paths::Everything(Walk::new(root)).map(|path| path.ok().unwrap()).collect();
        let mut sorted = found.clone();
        sorted.sort();
        assert_eq!(found, sorted);
        assert_eq!(found.len(), 11, "folders are entries; nobody walks through a link");
    }
}
