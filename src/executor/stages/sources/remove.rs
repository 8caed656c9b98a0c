//! Removing what a job has left: folders it made unreadable, trees deeper than any path, links to anywhere.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, RenameFlags};
use rustix::io::Errno;

use super::folder::{Folder, name_of};

/// How deep we go down before a folder is moved up instead: each level holds one descriptor.
const DEPTH_LIMIT: usize = 48;

/// How many names are held in memory at once.
const BATCH: usize = 4096;

/// Removes what is at `path`, as [`remove`] does. Only for paths no job can change, but for what is in them.
pub(in crate::executor::stages) fn remove_tree(path: &Path) -> io::Result<()> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => remove(&Folder::open(parent)?, name),
        _ => Err(Errno::INVAL.into()),
    }
}

/// Removes `name` from `parent`, whatever it is, with all that is in it. Links are removed, never followed; other file
/// systems mounted inside are refused. Nothing there is fine.
pub(super) fn remove(parent: &Folder, name: &OsStr) -> io::Result<()> {
    let raw = name_of(name)?;
    match rustix::fs::unlinkat(parent, &raw, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // What unlink says of a folder.
        Err(Errno::ISDIR) => {}
        Err(Errno::PERM | Errno::ACCESS) if is_folder(parent, name)? => {}
        Err(error) => return Err(error.into()),
    }
    let Some(folder) = parent.folder(name)? else { return Err(Errno::NOTDIR.into()) };
    clear(&folder)?;
    drop(folder);
    Ok(rustix::fs::unlinkat(parent, &raw, AtFlags::REMOVEDIR)?)
}

/// Removes everything in `folder`.
pub(super) fn clear(folder: &Folder) -> io::Result<()> {
    clear_but(folder, &[])
}

/// Removes everything in `folder` but what has one of these names.
pub(super) fn clear_but(folder: &Folder, kept: &[&str]) -> io::Result<()> {
    let device = folder.own_stat()?.st_dev;
    let mut sweep = Sweep { top: folder, device, moved: 0 };
    loop {
        make_writable(folder)?;
        let names = folder.entries(BATCH + kept.len())?;
        let mut removed_any = false;
        for entry in names {
            if !kept.iter().any(|kept| entry.name == *kept) {
                sweep.remove_entry(folder, &entry.name, entry.kind, 0)?;
                removed_any = true;
            }
        }
        if !removed_any {
            return Ok(());
        }
    }
}

struct Sweep<'a> {
    /// Where folders that lie too deep are moved to.
    top: &'a Folder,
    device: u64,
    moved: u64,
}

impl Sweep<'_> {
    fn remove_entry(&mut self, parent: &Folder, name: &OsStr, kind: FileType, depth: usize) -> io::Result<()> {
        let raw = name_of(name)?;
        if kind != FileType::Directory {
            return ignore_absent(rustix::fs::unlinkat(parent, &raw, AtFlags::empty()));
        }
        if depth >= DEPTH_LIMIT {
            return self.move_up(parent, name);
        }
        let Some(folder) = parent.folder(name)? else { return Ok(()) };
        if folder.own_stat()?.st_dev != self.device {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another file system is mounted in the work tree"));
        }
        loop {
            make_writable(&folder)?;
            let entries = folder.entries(BATCH)?;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                self.remove_entry(&folder, &entry.name, entry.kind, depth + 1)?;
            }
        }
        drop(folder);
        ignore_absent(rustix::fs::unlinkat(parent, &raw, AtFlags::REMOVEDIR))
    }

    /// The tree gets shallower by this, and the folder's turn comes with the next round at the top.
    fn move_up(&mut self, parent: &Folder, name: &OsStr) -> io::Result<()> {
        if let Some(folder) = parent.folder(name)? {
            // Moving changes the folder's `..`, for which it must be writable.
            make_writable(&folder)?;
        }
        loop {
            self.moved += 1;
            let new_name = format!("moved-up-{}", self.moved);
            match rustix::fs::renameat_with(parent, name_of(name)?, self.top, &new_name, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                other => return ignore_absent(other),
            }
        }
    }
}

/// Entries can only be removed from a folder that its owner may write and enter.
fn make_writable(folder: &Folder) -> io::Result<()> {
    let stat = folder.own_stat()?;
    if stat.st_mode & 0o700 != 0o700 {
        rustix::fs::fchmod(folder, rustix::fs::Mode::from_raw_mode(0o700))?;
    }
    Ok(())
}

fn is_folder(parent: &Folder, name: &OsStr) -> io::Result<bool> {
    Ok(parent.stat(name)?.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory))
}

fn ignore_absent(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn what_a_job_left_goes_and_what_its_links_point_to_stays() {
        let dir = tempfile::tempdir().expect("a folder");
        let outside = tempfile::tempdir().expect("a folder");
        std::fs::write(outside.path().join("kept"), "x").expect("written");
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("a/b")).expect("made");
        std::fs::write(tree.join("a/b/file"), "x").expect("written");
        symlink(outside.path(), tree.join("a/out")).expect("linked");
        symlink("nowhere", tree.join("a/dangling")).expect("linked");
        std::fs::set_permissions(tree.join("a/b"), std::fs::Permissions::from_mode(0o000)).expect("changed");
        std::fs::set_permissions(tree.join("a"), std::fs::Permissions::from_mode(0o500)).expect("changed");

        let folder = Folder::open(dir.path()).expect("opened");
        folder.unlink("tree").expect("removed");
        folder.unlink("tree").expect("nothing there is fine");
        assert!(!tree.exists());
        assert!(outside.path().join("kept").exists());
    }

    #[test]
    fn a_tree_deeper_than_any_path_is_removed_with_few_descriptors() {
        let dir = tempfile::tempdir().expect("a folder");
        let top = Folder::open(dir.path()).expect("opened");
        let mut here = top.folder_or_new("deep").expect("made");
        for _ in 0..3000 {
            here = here.folder_or_new("a-folder-with-a-name").expect("made");
        }
        drop(here);
        top.unlink("deep").expect("removed");
        assert!(top.entries(10).expect("listed").is_empty());
    }

    #[test]
    fn what_is_to_be_kept_is_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["a", "b", "c"] {
            std::fs::write(dir.path().join(name), "x").expect("written");
        }
        clear_but(&Folder::open(dir.path()).expect("opened"), &["b"]).expect("cleared");
        let left: Vec<_> =
            std::fs::read_dir(dir.path()).expect("listed").map(|e| e.expect("read").file_name()).collect();
        assert_eq!(left, ["b"]);
    }
}
