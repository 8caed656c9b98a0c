//! Making files, folders and symlinks in the folder that is restored into.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid};

use super::super::error::StoreError;
use super::super::manifest::{Mtime, TreeEntry};
use crate::artifact::{Unnamed, beneath};

/// Bits of a mode that are restored: never setuid, setgid or sticky.
const RESTORED: u32 = 0o777;

fn fail(doing: &'static str, path: &[u8], error: impl Into<io::Error>) -> StoreError {
    let error = error.into();
    if beneath::is_no_space(&error) {
        // Another disk than the store's, or the same: what is full is where it is restored to.
        return StoreError::NoRoom { path: beneath::path(path).to_owned() };
    }
    StoreError::file(doing, beneath::path(path), error)
}

/// The folders of a tree. Neighbours share the handle of their folder.
pub(super) struct Folders<'a> {
    root: &'a Dir,
    near: Option<(Vec<u8>, Dir)>,
    /// Those that entries name. They get modes and times last, since both stand in the way of filling them.
    made: Vec<TreeEntry>,
    /// Those that none does.
    unnamed: Unnamed,
    is_root: bool,
}

impl<'a> Folders<'a> {
    pub(super) fn new(root: &'a Dir) -> Self {
        Self {
            root,
            near: None,
            made: Vec::new(),
            unnamed: Unnamed::default(),
            is_root: rustix::process::geteuid().is_root(),
        }
    }

    fn folder(&mut self, path: &[u8]) -> Result<&Dir, StoreError> {
        let dir = match self.near.take() {
            Some((known, dir)) if known == path => dir,
            _ => beneath::folder_nofollow(self.root, path).map_err(|e| fail("opening", path, e))?,
        };
        Ok(&self.near.insert((path.to_vec(), dir)).1)
    }

    /// Makes the folder of an entry.
    pub(super) fn make(&mut self, entry: TreeEntry) -> Result<(), StoreError> {
        self.make_parents(&entry.path)?;
        self.make_one(&entry.path, Mode::RWXU)?;
        self.made.push(entry);
        Ok(())
    }

    fn make_one(&mut self, path: &[u8], mode: Mode) -> Result<(), StoreError> {
        let (folder, name) = beneath::split(path);
        match rustix::fs::mkdirat(self.folder(folder)?, name, mode) {
            Err(error) if error != rustix::io::Errno::EXIST => Err(fail("making", path, error)),
            _ => Ok(()),
        }
    }

    /// Makes the folders above a path that no entry names. They are open to every user, as in an unpacked archive.
    pub(super) fn make_parents(&mut self, path: &[u8]) -> Result<(), StoreError> {
        let (folder, _) = beneath::split(path);
        if folder.is_empty() || self.near.as_ref().is_some_and(|(known, _)| known == folder) {
            return Ok(());
        }
        if beneath::folder_nofollow(self.root, folder).is_ok() {
            return Ok(());
        }
        self.make_parents(folder)?;
        self.make_one(folder, Mode::from_raw_mode(RESTORED))?;
        self.unnamed.add(folder);
        let (above, name) = beneath::split(folder);
        let mode = Mode::from_raw_mode(RESTORED);
        beneath::set_mode(self.folder(above)?, name, mode).map_err(|e| fail("making", folder, e))
    }

    /// Makes a symlink.
    pub(super) fn link(&mut self, entry: &TreeEntry, target: &[u8]) -> Result<(), StoreError> {
        self.make_parents(&entry.path)?;
        let (owner, times) = (self.owner(entry), times(entry.mtime));
        let (folder, name) = beneath::split(&entry.path);
        let dir = self.folder(folder)?;
        let made = rustix::fs::symlinkat(target, dir, name)
            .and_then(|()| rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW));
        made.map_err(|e| fail("linking", &entry.path, e))?;
        if let Some((uid, gid)) = owner {
            rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|e| fail("giving away", &entry.path, e))?;
        }
        Ok(())
    }

    /// Makes the file of an entry, empty.
    pub(super) fn create(&mut self, entry: &TreeEntry) -> Result<OpenFile, StoreError> {
        let owner = self.owner(entry);
        let (folder, name) = beneath::split(&entry.path);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.folder(folder)?, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| fail("making", &entry.path, e))?;
        Ok(OpenFile { file: File::from(file), entry: entry.clone(), owner })
    }

    fn owner(&self, entry: &TreeEntry) -> Option<(Uid, Gid)> {
        let (uid, gid) = entry.owner.filter(|_| self.is_root)?;
        Some((Uid::from_raw(uid), Gid::from_raw(gid)))
    }

    /// Gives the folders what entries say of them, the innermost first. Returns those of which none says anything.
    fn finish(mut self) -> Result<Unnamed, StoreError> {
        for entry in std::mem::take(&mut self.made).into_iter().rev() {
            let owner = self.owner(&entry);
            let dir = beneath::folder_nofollow(self.root, &entry.path).map_err(|e| fail("opening", &entry.path, e))?;
            if let Some((uid, gid)) = owner {
                rustix::fs::fchown(&dir, Some(uid), Some(gid)).map_err(|e| fail("giving away", &entry.path, e))?;
            }
            set_xattrs(&dir, &entry)?;
            let given = (|| {
                // Where the handle only stands for its folder it cannot be changed through it.
                rustix::fs::fchmod(&dir, Mode::from_raw_mode(entry.mode & RESTORED))?;
                rustix::fs::futimens(&dir, &times(entry.mtime))
            })();
            given.map_err(|e: rustix::io::Errno| fail("finishing", &entry.path, e))?;
        }
        Ok(self.unnamed)
    }

    /// [`Folders::finish`], unless what was restored is of no use.
    pub(super) fn finish_unless(self, is_useless: bool) -> Result<Unnamed, StoreError> {
        if is_useless { Ok(Unnamed::default()) } else { self.finish() }
    }
}

fn times(mtime: Mtime) -> Timestamps {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

fn set_xattrs(file: impl std::os::fd::AsFd, entry: &TreeEntry) -> Result<(), StoreError> {
    for (name, value) in &entry.xattrs {
        match rustix::fs::fsetxattr(&file, name.as_slice(), value, rustix::fs::XattrFlags::empty()) {
            // Some are the machine's (`security.*`) or the file system has none: what can be set is.
            Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) | Ok(()) => {}
            Err(error) => return Err(fail("finishing", &entry.path, error)),
        }
    }
    Ok(())
}

/// A file that is being filled.
pub(super) struct OpenFile {
    file: File,
    entry: TreeEntry,
    owner: Option<(Uid, Gid)>,
}

impl OpenFile {
    pub(super) fn set_length(&self, length: u64) -> Result<(), StoreError> {
        self.file.set_len(length).map_err(|e| self.fail(e))
    }

    pub(super) fn write_at(&self, content: &[u8], at: u64) -> Result<(), StoreError> {
        self.file.write_all_at(content, at).map_err(|e| self.fail(e))
    }

    /// Writes all of it.
    pub(super) fn write_whole(self, content: &[u8]) -> Result<(), StoreError> {
        self.write_at(content, 0)?;
        self.finish()
    }

    /// Gives it owner, attributes, mode and time.
    pub(super) fn finish(self) -> Result<(), StoreError> {
        if let Some((uid, gid)) = self.owner {
            rustix::fs::fchown(&self.file, Some(uid), Some(gid)).map_err(|e| self.fail(e))?;
        }
        // The kernel takes `security.capability` from what changes its owner.
        set_xattrs(&self.file, &self.entry)?;
        let given = (|| {
            rustix::fs::fchmod(&self.file, Mode::from_raw_mode(self.entry.mode & RESTORED))?;
            rustix::fs::futimens(&self.file, &times(self.entry.mtime))
        })();
        given.map_err(|e: rustix::io::Errno| self.fail(e))
    }

    fn fail(&self, error: impl Into<io::Error>) -> StoreError {
        fail("writing", &self.entry.path, error)
    }
}
