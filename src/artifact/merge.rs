//! Moving a tree that is complete into another one: what is unpacked elsewhere is either all there or not at all.
//!
//! The rules are those of unpacking: files and symlinks give way, folders stay with what is in them, no symlink is followed.
//! A folder that is not there yet is moved as a whole, so that a fresh work tree costs one rename a folder of its root.

use std::io;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, Mode, Stat, Timespec, Timestamps};

use super::beneath::{self, Node};
use super::{Remark, Remarks, Unnamed, shown};

/// Moves everything in `from` into `to`, a folder of the same file system. Of the folders that both have, those that are `unnamed` in
/// `from` stay as they are in `to`. Returns what had to give way or was left out. Blocking.
pub(crate) fn move_into(from: &Dir, to: &Dir, unnamed: &Unnamed) -> io::Result<Vec<Remark>> {
    let mut merge = Merge { from, to, unnamed, todo: vec![Visit::Enter(Vec::new())], remarks: Remarks::default() };
    while let Some(visit) = merge.todo.pop() {
        match visit {
            Visit::Enter(path) => merge.folder(&path)?,
            Visit::Leave(path, stat) => merge.leave(&path, &stat),
        }
    }
    Ok(merge.remarks.into_list())
}

/// A folder that both trees have.
enum Visit {
    Enter(Vec<u8>),
    /// All in it is moved: it gets the mode, owner and times that it has where it came from.
    Leave(Vec<u8>, Box<Stat>),
}

struct Merge<'a> {
    from: &'a Dir,
    to: &'a Dir,
    unnamed: &'a Unnamed,
    todo: Vec<Visit>,
    remarks: Remarks,
}

impl Merge<'_> {
    /// Moves what is in the folder `path`, and puts what both trees have as folders on the list.
    fn folder(&mut self, path: &[u8]) -> io::Result<()> {
        let from = beneath::folder_nofollow(self.from, path)?;
        let to = beneath::folder_nofollow(self.to, path)?;
        for (name, _) in beneath::children(&from)? {
            let whole = beneath::join(path, &name);
            let source = beneath::stat(&from, &name)?;
            match (Node::of(&source), beneath::stat(&to, &name).as_ref().map(Node::of)) {
                (Node::Folder, Ok(Node::Folder)) => {
                    // Before it is emptied: that changes its time.
                    if !self.unnamed.has(&whole) {
                        self.todo.push(Visit::Leave(whole.clone(), Box::new(source)));
                    }
                    self.todo.push(Visit::Enter(whole));
                    open_up(&from, &name)?;
                    continue;
                }
                (Node::Folder, Ok(_)) => {
                    let text = format!("{}: replaced by a folder, which the archive has there", shown(&whole));
                    self.remarks.push(Remark::warning(text));
                    rustix::fs::unlinkat(&to, name.as_slice(), AtFlags::empty())?;
                }
                (_, Ok(Node::Folder)) if rustix::fs::unlinkat(&to, name.as_slice(), AtFlags::REMOVEDIR).is_err() => {
                    let why = "there is a folder of this name that is not empty";
                    self.remarks.push(Remark::warning(format!("{}: not unpacked: {why}", shown(&whole))));
                    continue;
                }
                // An empty folder has just gone; a file takes a file's place by being moved there.
                _ => {}
            }
            rename(&from, &to, &name, &source)?;
        }
        Ok(())
    }

    fn leave(&mut self, path: &[u8], stat: &Stat) {
        let restored = beneath::folder_nofollow(self.to, path).and_then(|dir| {
            if rustix::process::geteuid().is_root() {
                let owner = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
                rustix::fs::fchown(&dir, Some(owner.0), Some(owner.1))?;
            }
            rustix::fs::fchmod(&dir, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
            let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
            Ok(rustix::fs::futimens(&dir, &Timestamps { last_access: time, last_modification: time })?)
        });
        if let Err(error) = restored {
            self.remarks.push(Remark::warning(format!("{}: mode and time not restored: {error}", shown(path))));
        }
    }
}

/// Moves one entry. A folder that its owner may not write to cannot be moved by anybody but root: it is opened for that.
fn rename(from: &Dir, to: &Dir, name: &[u8], source: &Stat) -> io::Result<()> {
    let is_closed = Node::of(source) == Node::Folder && source.st_mode & 0o700 != 0o700;
    if is_closed {
        open_up(from, name)?;
    }
    rustix::fs::renameat(from, name, to, name)?;
    if is_closed {
        let moved = beneath::child_folder(to, name)?;
        rustix::fs::fchmod(&moved, Mode::from_raw_mode(source.st_mode & 0o7777))?;
    }
    Ok(())
}

/// Lets the agent change the folder `name`, which is its own.
fn open_up(dir: &Dir, name: &[u8]) -> io::Result<()> {
    Ok(beneath::set_mode(dir, name, Mode::RWXU)?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::path::Path;

    use super::*;

    fn dir(path: &Path) -> Dir {
        Dir::open_ambient_dir(path, cap_std::ambient_authority()).unwrap()
    }

    #[test]
    fn what_is_there_stays_or_gives_way_and_nothing_leads_out() {
        let (from, to, outside) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (a, b) = (from.path(), to.path());
        for folder in ["new/deep", "both/in", "link", "file"] {
            fs::create_dir_all(a.join(folder)).unwrap();
            fs::write(a.join(folder).join("f"), "moved").unwrap();
        }
        fs::write(a.join("full"), "left out").unwrap();
        fs::write(a.join("empty"), "moved").unwrap();
        symlink("nowhere", a.join("both/sym")).unwrap();
        fs::set_permissions(a.join("both/in"), fs::Permissions::from_mode(0o555)).unwrap();
        fs::set_permissions(a.join("new"), fs::Permissions::from_mode(0o555)).unwrap();
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        fs::File::open(a.join("both/in")).unwrap().set_modified(time).unwrap();

        fs::create_dir_all(b.join("both/in")).unwrap();
        fs::write(b.join("both/in/f"), "old").unwrap();
        fs::write(b.join("both/kept"), "kept").unwrap();
        fs::write(b.join("both/sym"), "old").unwrap();
        symlink(outside.path(), b.join("link")).unwrap();
        fs::write(b.join("file"), "old").unwrap();
        fs::create_dir_all(b.join("full/of")).unwrap();
        fs::create_dir(b.join("empty")).unwrap();

        let mut unnamed = Unnamed::default();
        unnamed.add(b"both");
        fs::set_permissions(b.join("both"), fs::Permissions::from_mode(0o711)).unwrap();
        let remarks = move_into(&dir(a), &dir(b), &unnamed).unwrap();
        assert_eq!(fs::metadata(b.join("both")).unwrap().mode() & 0o777, 0o711, "nobody said what mode it has");
        for path in ["new/deep/f", "both/in/f", "link/f", "file/f", "empty"] {
            assert_eq!(fs::read_to_string(b.join(path)).unwrap(), "moved", "{path}");
        }
        assert_eq!(fs::read_to_string(b.join("both/kept")).unwrap(), "kept");
        assert_eq!(fs::read_link(b.join("both/sym")).unwrap(), Path::new("nowhere"));
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        assert!(b.join("full/of").is_dir());
        let texts: Vec<_> = remarks.into_iter().map(|remark| remark.text).collect();
        assert_eq!(texts.len(), 3, "{texts:?}");
        let folder = fs::metadata(b.join("both/in")).unwrap();
        assert_eq!((folder.mode() & 0o777, folder.mtime()), (0o555, 1_000_000_000));
        assert_eq!(fs::metadata(b.join("new")).unwrap().mode() & 0o777, 0o555);
        for closed in ["both/in", "new"] {
            fs::set_permissions(b.join(closed), fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
}
