//! A folder of this machine as a job's sources: each job has a copy of its own, sharing blocks where the file system can.
//!
//! Links are laid down as links and never followed, on neither side. What is neither file, folder nor link is left out.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use super::folder::{Folder, name_of};

/// Folders deeper than this are no sources.
const DEEPEST: usize = 256;
/// Entries of one folder at most.
const WIDEST: usize = 10_000_000;

/// The folder at `path` below `top`, made where it is missing; a link on the way is replaced.
pub(super) fn folder_at(top: &Folder, path: &Path) -> io::Result<Folder> {
    let mut here = top.again()?;
    for part in path.components() {
        match part {
            Component::Normal(name) => here = here.folder_or_new(name)?,
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err(Errno::INVAL.into()),
        }
    }
    Ok(here)
}

/// Where the submodules of the snapshot at `root` lie, below their own paths: those of the repository itself, or `nested` ones.
pub fn submodules_of(root: &Path, nested: bool) -> PathBuf {
    let mut name = root.file_name().unwrap_or_default().to_owned();
    name.push(if nested { ".nested-submodules" } else { ".submodules" });
    root.with_file_name(name)
}

/// What of the snapshot is laid down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    All,
    /// Git's folder alone: the job does not want files checked out.
    History,
}

/// The umask of this process. 022 where the system does not say.
pub fn own_umask() -> u32 {
    // Asking by the call would set it, for a moment, for all threads.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok()).unwrap_or(0o022)
}

/// Copies what is in `source` into `target`, whose entries of the same names are replaced: this part of it, without the rights
/// of this umask.
///
/// # Errors
/// The disk's; [`io::ErrorKind::Interrupted`] where `is_over` says so.
pub(super) fn copy(
    source: &Path,
    target: &Folder,
    (part, umask): (Part, u32),
    is_over: &dyn Fn() -> bool,
) -> io::Result<()> {
    let mut copy = Copy { is_over, umask, can_share: true };
    let source = Folder::open(source)?;
    copy.limit(target)?;
    match part {
        Part::All => copy.folder(&source, target, 0),
        Part::History => match source.folder(".git")? {
            Some(git) => {
                let target = target.folder_or_new(".git")?;
                copy.limit(&target)?;
                copy.folder(&git, &target, 1)
            }
            None => Ok(()),
        },
    }
}

struct Copy<'a> {
    is_over: &'a dyn Fn() -> bool,
    /// What others are not to do.
    umask: u32,
    /// Blocks could be shared so far.
    can_share: bool,
}

impl Copy<'_> {
    fn folder(&mut self, source: &Folder, target: &Folder, depth: usize) -> io::Result<()> {
        if depth > DEEPEST {
            return Err(Errno::NAMETOOLONG.into());
        }
        for entry in source.entries(WIDEST)? {
            if (self.is_over)() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let name = entry.name.as_os_str();
            match entry.kind {
                FileType::Directory => {
                    let Some(inner) = source.folder(name)? else { continue };
                    let target = target.folder_or_new(name)?;
                    self.limit(&target)?;
                    self.folder(&inner, &target, depth + 1)?;
                }
                FileType::RegularFile => self.file(source, target, name)?,
                FileType::Symlink => link(source, target, name)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Folders are made open to all.
    fn limit(&self, folder: &Folder) -> io::Result<()> {
        match self.umask {
            0 => Ok(()),
            umask => Ok(rustix::fs::fchmod(folder, Mode::from_raw_mode(0o777 & !umask))?),
        }
    }

    fn file(&mut self, source: &Folder, target: &Folder, name: &OsStr) -> io::Result<()> {
        let Some(mut from) = source.open_regular(name)? else { return Ok(()) };
        let mut to = target.create(name)?;
        let shared = self.can_share && rustix::fs::ioctl_ficlone(&to, &from).is_ok();
        if !shared {
            self.can_share = false;
            io::copy(&mut from, &mut to)?;
        }
        let stat = rustix::fs::fstat(&from)?;
        let mode = if stat.st_mode & 0o111 != 0 { 0o777 } else { 0o666 };
        if mode != 0o666 || self.umask != 0 {
            rustix::fs::fchmod(&to, Mode::from_raw_mode(mode & !self.umask))?;
        }
        rustix::fs::futimens(&to, &times(&stat))?;
        Ok(())
    }
}

fn link(source: &Folder, target: &Folder, name: &OsStr) -> io::Result<()> {
    let raw = name_of(name)?;
    let to = rustix::fs::readlinkat(source, &raw, Vec::new())?;
    target.unlink(name)?;
    Ok(rustix::fs::symlinkat(OsStr::from_bytes(to.as_bytes()), target, &raw)?)
}

/// The file's own times: whoever compares them (git, make) finds nothing changed.
fn times(stat: &Stat) -> Timestamps {
    let changed = Timespec { tv_sec: stat.st_mtime, tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0) };
    Timestamps { last_access: changed, last_modification: changed }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_copy_has_modes_times_and_links_and_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        std::fs::create_dir_all(at("from/deep/er")).unwrap();
        std::fs::create_dir_all(at("to")).unwrap();
        std::fs::create_dir_all(at("outside")).unwrap();
        std::fs::write(at("from/deep/er/run.sh"), "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(at("from/deep/er/run.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(at("from/plain"), "x").unwrap();
        symlink("/etc/passwd", at("from/link")).unwrap();
        // What is in the way is replaced, not followed.
        symlink(at("outside"), at("to/deep")).unwrap();
        symlink(at("outside/file"), at("to/plain")).unwrap();
        copy(&at("from"), &Folder::open(&at("to")).unwrap(), (Part::All, 0), &|| false).unwrap();
        assert_eq!(std::fs::read_dir(at("outside")).unwrap().count(), 0);
        let script = std::fs::metadata(at("to/deep/er/run.sh")).unwrap();
        assert_eq!(script.permissions().mode() & 0o777, 0o777);
        assert_eq!(
            script.modified().unwrap(),
            std::fs::metadata(at("from/deep/er/run.sh")).unwrap().modified().unwrap()
        );
        assert_eq!(std::fs::metadata(at("to/plain")).unwrap().permissions().mode() & 0o777, 0o666);
        assert_eq!(std::fs::read_link(at("to/link")).unwrap(), Path::new("/etc/passwd"));
        assert_eq!(
            copy(&at("from"), &Folder::open(&at("to")).unwrap(), (Part::All, 0), &|| true).unwrap_err().kind(),
            io::ErrorKind::Interrupted
        );
        assert!(folder_at(&Folder::open(&at("to")).unwrap(), Path::new("a/../../b")).is_err());
    }

    #[test]
    fn a_umask_and_a_part_are_kept_to() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        std::fs::create_dir_all(at("from/.git/refs")).unwrap();
        std::fs::create_dir_all(at("to")).unwrap();
        std::fs::create_dir_all(at("history")).unwrap();
        std::fs::write(at("from/plain"), "x").unwrap();
        std::fs::write(at("from/.git/HEAD"), "ref").unwrap();
        copy(&at("from"), &Folder::open(&at("to")).unwrap(), (Part::All, 0o027), &|| false).unwrap();
        let mode = |path: &str| std::fs::metadata(at(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("to"), mode("to/.git/refs"), mode("to/plain")), (0o750, 0o750, 0o640));
        copy(&at("from"), &Folder::open(&at("history")).unwrap(), (Part::History, 0), &|| false).unwrap();
        assert!(at("history/.git/HEAD").exists() && !at("history/plain").exists());
    }
}
