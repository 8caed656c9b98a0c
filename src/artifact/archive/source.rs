//! Reading the entries of a selection from their tree.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;

use cap_std::fs::Dir;
use rustix::fs::Stat;

use crate::artifact::beneath::{self, Node};
use crate::artifact::select::Entry;
use crate::artifact::{Remark, shown};

/// What an archive says about an entry besides its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    /// Path in the archive, without a slash at the end.
    pub(super) name: Vec<u8>,
    /// Permission bits, with setuid and the like.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds since 1970.
    pub(super) mtime: i64,
}

/// An entry as it is now, opened.
pub(super) enum Opened {
    File { meta: Meta, file: File, size: u64 },
    Folder(Meta),
    Symlink { meta: Meta, target: Vec<u8> },
}

/// Opens entries of a tree one after the other. Neighbours share the handle of their folder.
pub(in crate::artifact) struct Source<'a> {
    root: &'a Dir,
    folder: Option<(Vec<u8>, Dir)>,
}

impl<'a> Source<'a> {
    pub(super) fn new(root: &'a Dir) -> Self {
        Self { root, folder: None }
    }

    /// Opens an entry as what it is now, whatever it was when it was selected. The remark tells why it cannot be packed.
    pub(super) fn open(&mut self, entry: &Entry) -> Result<Opened, Remark> {
        let path = entry.path.as_os_str().as_bytes();
        self.try_open(path).map_err(|error| {
            let why = match error.kind() {
                io::ErrorKind::NotFound => "it is not there any more".to_owned(),
                _ => error.to_string(),
            };
            Remark::warning(format!("{}: left out: {why}", shown(path)))
        })
    }

    fn try_open(&mut self, path: &[u8]) -> io::Result<Opened> {
        let (folder, name) = beneath::split(path);
        let dir = self.folder(folder)?;
        let stat = beneath::stat(dir, name)?;
        match Node::of(&stat) {
            Node::File => {
                let (file, stat) = beneath::regular_file(dir, name)?;
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                Ok(Opened::File { meta: meta(path, &stat), file, size })
            }
            Node::Folder => Ok(Opened::Folder(meta(path, &stat))),
            Node::Symlink => {
                let target = beneath::link_target(dir, name)?;
                Ok(Opened::Symlink { meta: meta(path, &stat), target })
            }
            Node::Special => Err(io::Error::other("an archive cannot hold sockets, pipes and devices")),
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

fn meta(path: &[u8], stat: &Stat) -> Meta {
    Meta { name: path.to_vec(), mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid, mtime: stat.st_mtime }
}
