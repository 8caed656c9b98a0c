//! Removes what jobs leave in folders of ours: files of other users, folders without the right to write, trees of any
//! depth, names of any bytes.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags};
use rustix::io::Errno;

use super::Docker;
use super::error::EngineError;
use crate::artifact::beneath;

/// Names that are read from a folder at once.
const BATCH: usize = 4096;

/// Why a folder is not empty.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be removed: {cause}", path.display())]
pub struct EmptyError {
    /// The folder, and what in it stays.
    pub path: PathBuf,
    /// The system's words.
    pub cause: io::Error,
}

impl Docker {
    /// Empties `folder`: as this user where that is enough, else as root in a container. The folder itself stays.
    pub async fn empty_folder(&self, folder: &Path) -> Result<(), EngineError> {
        let here = folder.to_owned();
        let failed = |message: String| EngineError::State { what: format!("emptying {}", folder.display()), message };
        let emptied = tokio::task::spawn_blocking(move || empty(&here)).await.map_err(|e| failed(e.to_string()))?;
        match emptied {
            Ok(()) => Ok(()),
            Err(error) if error.cause.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) if error.cause.kind() == io::ErrorKind::PermissionDenied => {
                tracing::info!(folder = %folder.display(), %error, "removing what a job left, as root in a container");
                self.empty_as_root(folder).await
            }
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// Removes `folder` with everything in it. One that is gone is no error.
    pub async fn remove_folder(&self, folder: &Path) -> Result<(), EngineError> {
        self.empty_folder(folder).await?;
        match tokio::fs::remove_dir(folder).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(EngineError::State { what: format!("removing {}", folder.display()), message: error.to_string() })
            }
            _ => Ok(()),
        }
    }
}

/// Empties `folder` with this process's rights; it stays itself. Never follows a symbolic link, never leaves the folder.
/// Blocking.
///
/// Trees are not descended into: a folder's folders are moved up into `folder`, so that depth costs neither stack nor
/// descriptors, and a path is never longer than one name.
pub fn empty(folder: &Path) -> Result<(), EmptyError> {
    let failed = |name: &CStr, cause: Errno| EmptyError {
        path: folder.join(name.to_string_lossy().as_ref()),
        cause: cause.into(),
    };
    let root = open(CWD, folder).map_err(|cause| failed(c"", cause))?;
    let mut moved = 0u64;
    loop {
        let names = names_in(&root).map_err(|cause| failed(c"", cause))?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            remove(root.as_fd(), &name, &mut moved).map_err(|cause| failed(&name, cause))?;
        }
    }
}

/// Removes one entry of `root`; what lies below it is removed or moved up.
fn remove(root: BorrowedFd<'_>, name: &CStr, moved: &mut u64) -> Result<(), Errno> {
    match rustix::fs::unlinkat(root, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {} // a folder; PERM on file systems that say so
        Err(error) => return Err(error),
    }
    if rustix::fs::unlinkat(root, name, AtFlags::REMOVEDIR).is_ok() {
        return Ok(());
    }
    let folder = open(root, name)?;
    loop {
        let children = names_in(&folder)?;
        if children.is_empty() {
            break;
        }
        for child in children {
            lift(root, folder.as_fd(), &child, moved)?;
        }
    }
    rustix::fs::unlinkat(root, name, AtFlags::REMOVEDIR)
}

/// Removes `child` of `folder`, or moves it into `root` where it is a folder that is not empty.
fn lift(root: BorrowedFd<'_>, folder: BorrowedFd<'_>, child: &CStr, moved: &mut u64) -> Result<(), Errno> {
    match rustix::fs::unlinkat(folder, child, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    if rustix::fs::unlinkat(folder, child, AtFlags::REMOVEDIR).is_ok() {
        return Ok(());
    }
    loop {
        *moved += 1;
        let name = format!(".leftover-{moved}");
        let up = rustix::fs::renameat_with(folder, child, root, name.as_str(), rustix::fs::RenameFlags::NOREPLACE);
        match up {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {} // a job may call its files what it likes
            // Moving a folder changes its `..`, which takes the right to write in it.
            Err(Errno::ACCESS) => {
                open(folder, child)?;
                rustix::fs::renameat(folder, child, root, name.as_str())?;
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
}

/// Opens a folder, never through a symbolic link, with the rights to read and change it where it is ours to give them.
fn open(at: impl AsFd, name: impl rustix::path::Arg + Copy) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = match rustix::fs::openat(&at, name, flags | OFlags::RDONLY, Mode::empty()) {
        Err(Errno::ACCESS) => {
            beneath::set_mode(&at, name, Mode::RWXU)?;
            rustix::fs::openat(&at, name, flags | OFlags::RDONLY, Mode::empty())?
        }
        opened => opened?,
    };
    let folder = File::from(folder);
    let mode = folder.metadata().map(|meta| std::os::unix::fs::MetadataExt::mode(&meta)).unwrap_or(0);
    if mode & 0o700 != 0o700 {
        // Not ours: the calls that need it will say so.
        let _ = rustix::fs::fchmod(&folder, Mode::from_raw_mode((mode & 0o7777) | 0o700));
    }
    Ok(folder.into())
}

/// The next names in a folder, at most [`BATCH`].
fn names_in(folder: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
        if names.len() == BATCH {
            break;
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn deep_read_only_and_linked_trees_go_and_what_links_point_to_stays() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("precious"), "x").unwrap();
        let root = tempfile::tempdir().unwrap();
        symlink(outside.path(), root.path().join("link")).unwrap();
        std::fs::write(root.path().join(".leftover-1"), "taken").unwrap();
        let locked = root.path().join("locked");
        std::fs::create_dir_all(locked.join("inner")).unwrap();
        std::fs::write(locked.join("inner/file"), "x").unwrap();
        symlink(outside.path(), locked.join("inner/link")).unwrap();
        std::fs::set_permissions(locked.join("inner"), std::fs::Permissions::from_mode(0o000)).unwrap();
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o500)).unwrap();

        empty(root.path()).unwrap();
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
        assert!(outside.path().join("precious").exists());
    }

    #[test]
    fn depth_does_not_matter() {
        let root = tempfile::tempdir().unwrap();
        let mut at = open(CWD, root.path()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, "deep", Mode::RWXU).unwrap();
            at = open(&at, "deep").unwrap();
        }
        empty(root.path()).unwrap();
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_a_link_is_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("precious"), "x").unwrap();
        let root = tempfile::tempdir().unwrap();
        let link = root.path().join("link");
        symlink(outside.path(), &link).unwrap();
        assert!(empty(&link).is_err());
        assert!(outside.path().join("precious").exists());
    }
}
