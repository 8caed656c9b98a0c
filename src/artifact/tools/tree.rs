//! Folders that are linked, copied, and opened to every user of a job.
//!
//! What is read here was put here by the store, or by us. Still nothing follows a symlink: they are part of tools, and lead anywhere.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::ToolError;
use crate::artifact::Interrupt;
use crate::artifact::beneath::{self, Node};

/// Bytes that are copied between two looks at whether the work is to end.
const PART: u64 = 16 << 20;

/// How files come from one folder to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// As further names of the same files: for folders that nobody writes to.
    Link,
    /// As files of their own; where the file system can, they share their content until one is changed.
    Copy,
}

/// Opens a folder by its path.
pub(super) fn open(path: &Path) -> Result<Dir, ToolError> {
    Dir::open_ambient_dir(path, ambient_authority()).map_err(|error| ToolError::file("opening", path, error))
}

/// Brings everything in `from` into `to`, which has none of it.
pub(super) fn bring(from: &Dir, to: &Dir, how: How, interrupt: &Interrupt) -> Result<(), ToolError> {
    each_folder(from, interrupt, |folder, path| {
        let into = beneath::folder_nofollow(to, path)?;
        for (name, node) in beneath::children(folder)? {
            bring_one(folder, &into, &name, node, how, interrupt)?;
        }
        Ok(())
    })
}

fn bring_one(from: &Dir, to: &Dir, name: &[u8], node: Node, how: How, interrupt: &Interrupt) -> io::Result<()> {
    if interrupt.is_raised() {
        return Err(interrupted());
    }
    match node {
        Node::Folder => {
            rustix::fs::mkdirat(to, name, Mode::RWXU)?;
            Ok(beneath::set_mode(to, name, Mode::from_raw_mode(0o777))?)
        }
        Node::Symlink => Ok(rustix::fs::symlinkat(beneath::link_target(from, name)?, to, name)?),
        Node::Special => Err(io::Error::other("neither a file nor a folder")),
        Node::File if how == How::Copy => copy(from, to, name, interrupt),
        Node::File => match rustix::fs::linkat(from, name, to, name, AtFlags::empty()) {
            // It has as many names as a file can have, or lies on another file system.
            Err(Errno::MLINK | Errno::XDEV | Errno::PERM) => copy(from, to, name, interrupt),
            linked => Ok(linked?),
        },
    }
}

/// What [`each_folder`] tells as [`ToolError::Interrupted`].
fn interrupted() -> io::Error {
    io::Error::other("interrupted")
}

fn copy(from: &Dir, to: &Dir, name: &[u8], interrupt: &Interrupt) -> io::Result<()> {
    let (mut source, stat) = beneath::regular_file(from, name)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut target = File::from(rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?);
    if rustix::fs::ioctl_ficlone(&target, &source).is_err() {
        // In parts, for a large file takes its time.
        while io::copy(&mut (&mut source).take(PART), &mut target)? > 0 {
            if interrupt.is_raised() {
                return Err(interrupted());
            }
        }
    }
    rustix::fs::fchmod(&target, Mode::from_raw_mode(stat.st_mode & 0o777))?;
    // Interpreters tell by it whether what they compiled is up to date.
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
    Ok(rustix::fs::futimens(&target, &Timestamps { last_access: time, last_modification: time })?)
}

/// Gives every user what the owner may do, and the owner the right to read and write: a job's processes may be any user's.
pub(super) fn open_to_all(root: &Dir, interrupt: &Interrupt) -> Result<(), ToolError> {
    each_folder(root, interrupt, |folder, _| {
        for (name, node) in beneath::children(folder)? {
            let mode = match node {
                Node::Folder => 0o777,
                Node::File => {
                    let owner = beneath::stat(folder, &name)?.st_mode >> 6 & 0o7 | 0o6;
                    owner << 6 | owner << 3 | owner
                }
                Node::Symlink | Node::Special => continue,
            };
            beneath::set_mode(folder, name, Mode::from_raw_mode(mode))?;
        }
        Ok(())
    })
}

/// Shows every folder below `root` to `work`, with its path; one before those in it.
fn each_folder(
    root: &Dir,
    interrupt: &Interrupt,
    mut work: impl FnMut(&Dir, &[u8]) -> io::Result<()>,
) -> Result<(), ToolError> {
    let mut todo = vec![Vec::new()];
    while let Some(path) = todo.pop() {
        if interrupt.is_raised() {
            return Err(ToolError::Interrupted);
        }
        let failed = |error| match interrupt.is_raised() {
            true => ToolError::Interrupted,
            false => ToolError::file("bringing tools to", beneath::path(&path), error),
        };
        let folder = beneath::folder_nofollow(root, &path).map_err(failed)?;
        work(&folder, &path).map_err(failed)?;
        let children = beneath::children(&folder).map_err(failed)?;
        let folders = children.into_iter().filter(|(_, node)| *node == Node::Folder);
        todo.extend(folders.map(|(name, _)| beneath::join(&path, &name)));
    }
    Ok(())
}
