//! Putting entries of an archive into a work tree: the only code that does.
//!
//! A name is taken apart, and each folder on its way is opened by handle without following a symlink. What stands where a
//! folder has to be, a symlink or a file, of the tree or of the archive itself, is removed; so nothing an archive brings can
//! lead a later entry out.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid};

use super::error::ArchiveError;
use super::limits::Budget;
use super::{Unpacked, Unpacking};
use crate::artifact::beneath::{self, Node};
use crate::artifact::{Interrupt, Remark, Remarks, shown};

/// Bytes copied at a time.
const BUFFER: usize = 256 << 10;

/// What is restored of an entry besides its content.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attributes {
    /// Permission bits; `None`: the archive does not say.
    pub(super) mode: Option<u32>,
    /// User and group.
    pub(super) owner: Option<(u32, u32)>,
    /// Seconds since 1970.
    pub(super) mtime: Option<i64>,
}

/// A name of an archive, known to stay inside.
#[derive(Clone, Debug)]
pub(super) struct Name(Vec<u8>);

impl Name {
    /// Takes a name as the archive has it. `None`: it is the tree itself.
    pub(super) fn parse(raw: &[u8], budget: &Budget) -> Result<Option<Self>, ArchiveError> {
        let names: Vec<&[u8]> = raw.split(|b| *b == b'/').filter(|n| !n.is_empty() && *n != b".").collect();
        if raw.starts_with(b"/") || raw.contains(&0) || names.contains(&b"..".as_slice()) {
            return Err(ArchiveError::UnsafeName(shown(&raw[..raw.len().min(256)])));
        }
        budget.path(raw.len(), names.len())?;
        Ok(if names.is_empty() { None } else { Some(Self(names.join(&b'/'))) })
    }

    pub(super) fn shown(&self) -> String {
        shown(&self.0)
    }
}

/// What went wrong with one file: whose side it was on.
enum Trouble {
    /// The archive's: ends everything.
    Archive(ArchiveError),
    /// The tree's: a remark, unless the disk is full.
    Tree(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Trouble::Tree(error)
    }
}

/// A work tree that an archive is unpacked into.
pub(super) struct Tree<'a> {
    root: &'a Dir,
    pub(super) budget: Budget,
    interrupt: Interrupt,
    /// The folder of the entry before, which is mostly that of the next, too.
    near: Option<(Vec<u8>, Dir)>,
    /// Folders named by entries. They get their modes and times last, since both stand in the way of filling them.
    folders: BTreeMap<Vec<u8>, Attributes>,
    may_chown: bool,
    buffer: Vec<u8>,
    unpacked: Unpacked,
    remarks: Remarks,
}

impl<'a> Tree<'a> {
    pub(super) fn new(root: &'a Dir, archive_bytes: u64, unpacking: &Unpacking) -> Self {
        Self {
            root,
            budget: Budget::new(&unpacking.limits, archive_bytes),
            interrupt: unpacking.interrupt.clone(),
            near: None,
            folders: BTreeMap::new(),
            may_chown: rustix::process::geteuid().is_root(),
            buffer: vec![0; BUFFER],
            unpacked: Unpacked::default(),
            remarks: Remarks::default(),
        }
    }

    pub(super) fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(Remark::warning(text));
    }

    /// An error as soon as somebody wants the work to end.
    pub(super) fn go_on(&self) -> Result<(), ArchiveError> {
        if self.interrupt.is_raised() { Err(ArchiveError::Interrupted) } else { Ok(()) }
    }

    /// A folder; one that exists stays, with what is in it.
    pub(super) fn folder(&mut self, name: &Name, attributes: Attributes) -> Result<(), ArchiveError> {
        let done = self.enter(&name.0).map(drop).map_err(Trouble::from);
        if self.settle(name, done)? {
            self.unpacked.unnamed.take(&name.0);
            self.folders.insert(name.0.clone(), attributes);
        }
        Ok(())
    }

    /// A file with this content. `content` gives an error where the archive is damaged; then the file is removed again.
    pub(super) fn file(
        &mut self,
        name: &Name,
        attributes: Attributes,
        content: &mut dyn Read,
    ) -> Result<(), ArchiveError> {
        let done = self.try_file(name, attributes, content);
        self.settle(name, done).map(drop)
    }

    /// A symlink. Where it points to is the job's affair: nothing here follows it.
    pub(super) fn symlink(&mut self, name: &Name, attributes: Attributes, target: &[u8]) -> Result<(), ArchiveError> {
        let done = self.try_symlink(name, attributes, target).map_err(Trouble::from);
        self.settle(name, done).map(drop)
    }

    /// A second name for a file of the tree.
    pub(super) fn hard_link(&mut self, name: &Name, to: &Name) -> Result<(), ArchiveError> {
        let done = self.try_hard_link(name, to).map_err(Trouble::from);
        self.settle(name, done).map(drop)
    }

    /// Folders get their modes and times, the inner ones first.
    pub(super) fn finish(mut self) -> Result<Unpacked, ArchiveError> {
        let folders = u64::try_from(self.folders.len()).unwrap_or(u64::MAX);
        self.unpacked.files = self.unpacked.entries.saturating_sub(folders);
        for (path, attributes) in std::mem::take(&mut self.folders).into_iter().rev() {
            let restored = beneath::folder_nofollow(self.root, &path).and_then(|dir| {
                self.own(&dir, attributes);
                let mode = attributes.mode.unwrap_or(0o777) & 0o777;
                rustix::fs::fchmod(&dir, Mode::from_raw_mode(mode))?;
                stamp(&dir, attributes)
            });
            if let Err(error) = restored {
                self.remark(format!("{}: mode and time not restored: {error}", shown(&path)));
            }
        }
        self.unpacked.remarks = self.remarks.into_list();
        self.unpacked.bytes = self.budget.content_so_far();
        Ok(self.unpacked)
    }

    /// Sorts what became of an entry: true, it is there; false, it is not and a remark says why.
    fn settle(&mut self, name: &Name, done: Result<(), Trouble>) -> Result<bool, ArchiveError> {
        self.go_on()?;
        match done {
            Ok(()) => {
                self.unpacked.entries += 1;
                Ok(true)
            }
            Err(Trouble::Archive(error)) => Err(error),
            Err(Trouble::Tree(error)) if beneath::is_no_space(&error) => {
                Err(ArchiveError::NoSpace { doing: format!("unpacking `{}`", name.shown()) })
            }
            Err(Trouble::Tree(error)) => {
                self.remark(format!("{}: not unpacked: {error}", name.shown()));
                Ok(false)
            }
        }
    }

    fn try_file(&mut self, name: &Name, attributes: Attributes, content: &mut dyn Read) -> Result<(), Trouble> {
        let (dir, last) = self.clear(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&dir, last, flags, Mode::RUSR | Mode::WUSR).map_err(io::Error::from)?;
        let mut file = File::from(file);
        let written = self.copy(content, &mut file).and_then(|()| {
            self.own(&file, attributes);
            let mode = attributes.mode.unwrap_or(0o666) & 0o777;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(io::Error::from)?;
            Ok(stamp(&file, attributes)?)
        });
        if written.is_err() {
            // Half a file is worse than none. If it cannot be removed either, the error below says enough.
            let _ = rustix::fs::unlinkat(&dir, last, AtFlags::empty());
        }
        written
    }

    fn copy(&mut self, content: &mut dyn Read, file: &mut File) -> Result<(), Trouble> {
        loop {
            self.go_on().map_err(Trouble::Archive)?;
            let n = match content.read(&mut self.buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Trouble::Archive(ArchiveError::Damaged(error.to_string()))),
            };
            self.budget.content(n as u64).map_err(Trouble::Archive)?;
            file.write_all(&self.buffer[..n])?;
        }
    }

    fn try_symlink(&mut self, name: &Name, attributes: Attributes, target: &[u8]) -> io::Result<()> {
        if target.is_empty() || target.contains(&0) {
            return Err(io::Error::other("a symlink that points nowhere"));
        }
        let (dir, last) = self.clear(name)?;
        rustix::fs::symlinkat(target, &dir, last)?;
        if let (true, Some((uid, gid))) = (self.may_chown, attributes.owner) {
            let _ = rustix::fs::chownat(&dir, last, user(uid), group(gid), AtFlags::SYMLINK_NOFOLLOW);
        }
        if let Some(times) = times(attributes) {
            rustix::fs::utimensat(&dir, last, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    fn try_hard_link(&mut self, name: &Name, to: &Name) -> io::Result<()> {
        if name.0 == to.0 {
            return Err(io::Error::other("a link to itself"));
        }
        let (folder, from) = beneath::split(&to.0);
        let source = beneath::folder_nofollow(self.root, folder)?;
        if Node::of(&beneath::stat(&source, from)?) != Node::File {
            return Err(io::Error::other("it links to something that is not a file"));
        }
        let (dir, last) = self.clear(name)?;
        // Without AT_SYMLINK_FOLLOW: a file that became a symlink meanwhile is linked as one.
        Ok(rustix::fs::linkat(&source, from, &dir, last, AtFlags::empty())?)
    }

    /// The folder for an entry and its name there, with nothing of that name in it.
    fn clear<'n>(&mut self, name: &'n Name) -> io::Result<(Dir, &'n [u8])> {
        let (folder, last) = beneath::split(&name.0);
        let dir = self.enter(folder)?;
        match beneath::stat(&dir, last) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(stat) => {
                let is_folder = Node::of(&stat) == Node::Folder;
                let how = if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
                rustix::fs::unlinkat(&dir, last, how).map_err(|error| match error {
                    rustix::io::Errno::NOTEMPTY | rustix::io::Errno::EXIST => {
                        io::Error::other("there is a folder of this name that is not empty")
                    }
                    error => error.into(),
                })?;
                if is_folder {
                    self.folders.remove(&name.0);
                    self.unpacked.unnamed.take(&name.0);
                    self.near = None;
                }
            }
        }
        Ok((dir, last))
    }

    /// Opens a folder, making it and those above it where they are missing.
    fn enter(&mut self, path: &[u8]) -> io::Result<Dir> {
        if let Some((near, dir)) = &self.near
            && near == path
        {
            return beneath::again(dir);
        }
        let mut dir = beneath::again(self.root)?;
        let mut at = 0;
        for name in path.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
            at += name.len() + 1;
            dir = self.enter_child(&dir, name, &path[..at - 1])?;
        }
        self.near = Some((path.to_vec(), beneath::again(&dir)?));
        Ok(dir)
    }

    fn enter_child(&mut self, dir: &Dir, name: &[u8], path: &[u8]) -> io::Result<Dir> {
        // A running job can put something there again and again; it does not get us to follow.
        for _ in 0..8 {
            match beneath::child_folder(dir, name) {
                Ok(child) => return Ok(child),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    make_folder(dir, name)?;
                    self.unpacked.unnamed.add(path);
                }
                Err(error) if is_in_the_way(&error) => {
                    self.remark(format!("{}: replaced by a folder, which the archive has there", shown(path)));
                    unlink(dir, name)?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("it changes all the time"))
    }

    /// Gives a file to whom the archive says. Only root may; where it may not after all, the file stays ours.
    fn own(&self, file: &impl rustix::fd::AsFd, attributes: Attributes) {
        if let (true, Some((uid, gid))) = (self.may_chown, attributes.owner) {
            let _ = rustix::fs::fchown(file, user(uid), group(gid));
        }
    }
}

fn make_folder(dir: &Dir, name: &[u8]) -> io::Result<()> {
    match rustix::fs::mkdirat(dir, name, Mode::RWXU) {
        Ok(()) => {}
        Err(rustix::io::Errno::EXIST) => return Ok(()), // somebody was faster; the caller looks again
        Err(error) => return Err(error.into()),
    }
    // Not by mkdir's mode, which the umask cuts: any user of the job may write here.
    let made = beneath::child_folder(dir, name)?;
    Ok(rustix::fs::fchmod(&made, Mode::from_raw_mode(0o777))?)
}

/// A file, or a symlink whatever it points to.
fn is_in_the_way(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    [rustix::io::Errno::NOTDIR, rustix::io::Errno::LOOP].iter().any(|e| Some(e.raw_os_error()) == errno)
}

fn unlink(dir: &Dir, name: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn stamp(file: &impl rustix::fd::AsFd, attributes: Attributes) -> io::Result<()> {
    match times(attributes) {
        Some(times) => Ok(rustix::fs::futimens(file, &times)?),
        None => Ok(()),
    }
}

fn times(attributes: Attributes) -> Option<Timestamps> {
    let time = Timespec { tv_sec: attributes.mtime?, tv_nsec: 0 };
    Some(Timestamps { last_access: time, last_modification: time })
}

/// `None` for the number that means "leave it".
fn user(id: u32) -> Option<Uid> {
    (id != u32::MAX).then(|| Uid::from_raw(id))
}

fn group(id: u32) -> Option<Gid> {
    (id != u32::MAX).then(|| Gid::from_raw(id))
}
