//! Folders that jobs have written, by handle: nothing here ever follows a symbolic link.
//!
//! Every step goes from an open folder to one name in it, so that no part of a path can be exchanged on the way.
//! Blocking: call from `spawn_blocking`.

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, Timestamps};
use rustix::io::Errno;

use crate::artifact::beneath;

/// What everything in a work tree is made with: any user of the job may write there.
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o777);

/// An open folder.
pub(super) struct Folder(OwnedFd);

/// A name in a folder and what it is.
pub(super) struct Entry {
    /// The name.
    pub name: OsString,
    /// What it is, itself, not what it points to.
    pub kind: FileType,
}

impl Folder {
    /// Opens a folder by path. Only for paths no job can change; the last part must not be a link all the same.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::open(path, flags(), Mode::empty())?))
    }

    /// Opens the folder `name`; `None` where there is none, or something else by that name.
    pub fn folder(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Self>> {
        let name = name_of(name.as_ref())?;
        match rustix::fs::openat(&self.0, &name, flags(), Mode::empty()) {
            Ok(fd) => Ok(Some(Self(fd))),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            // A job took its own right to read the folder away; whoever owns it may take it back.
            Err(Errno::ACCESS) => self.reopen_permitted(&name).map(Some),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the folder that `path` leads to, part by part; `None` where any part is not a folder.
    pub fn descend(&self, path: &Path) -> io::Result<Option<Self>> {
        let mut here = self.again()?;
        for part in path.components() {
            let Component::Normal(name) = part else { return Ok(None) };
            match here.folder(name)? {
                Some(next) => here = next,
                None => return Ok(None),
            }
        }
        Ok(Some(here))
    }

    /// Opens the folder `name`, which is made if need be; whatever else has that name is removed first. Never a folder: another job,
    /// whose work tree lies below it, too, may just have made it.
    pub fn folder_or_new(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        const TRIES: usize = 8;
        let raw = name_of(name.as_ref())?;
        for _ in 0..TRIES {
            if let Some(folder) = self.folder(name.as_ref())? {
                return Ok(folder);
            }
            match rustix::fs::mkdirat(&self.0, &raw, FOLDER_MODE) {
                Ok(()) => {
                    let folder = self.folder(name.as_ref())?.ok_or(Errno::NOTDIR)?;
                    rustix::fs::fchmod(&folder.0, FOLDER_MODE)?;
                    return Ok(folder);
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            match rustix::fs::unlinkat(&self.0, &raw, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::NOTDIR.into())
    }

    /// The same handle once more.
    pub fn again(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// At most `limit` of the folder's entries, in no order.
    pub fn entries(&self, limit: usize) -> io::Result<Vec<Entry>> {
        let mut found = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                // Not every file system says.
                FileType::Unknown => match self.stat(&name)? {
                    Some(stat) => FileType::from_raw_mode(stat.st_mode),
                    None => continue,
                },
                kind => kind,
            };
            found.push(Entry { name, kind });
            if found.len() == limit {
                break;
            }
        }
        Ok(found)
    }

    /// What `name` is, itself; `None` where there is nothing.
    pub fn stat(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Stat>> {
        match rustix::fs::statat(&self.0, &name_of(name.as_ref())?, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The folder itself.
    pub fn own_stat(&self) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(&self.0)?)
    }

    /// The content of the regular file `name`; `None` where there is none, or something else. Longer ones than `limit`
    /// are an error.
    pub fn read(&self, name: impl AsRef<OsStr>, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.open_regular(name.as_ref())? else { return Ok(None) };
        let mut content = Vec::new();
        file.take(limit + 1).read_to_end(&mut content)?;
        if content.len() as u64 > limit {
            return Err(io::Error::from(Errno::FBIG));
        }
        Ok(Some(content))
    }

    /// Opens the regular file `name` for reading; `None` where there is none, or something else.
    pub fn open_regular(&self, name: &OsStr) -> io::Result<Option<std::fs::File>> {
        // Non-blocking: a pipe by that name must not hold us up.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.0, &name_of(name)?, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let is_regular = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) == FileType::RegularFile;
        Ok(is_regular.then(|| fd.into()))
    }

    /// Makes the file `name` anew, writable by everybody; whatever had the name is removed first.
    pub fn create(&self, name: impl AsRef<OsStr>) -> io::Result<std::fs::File> {
        self.unlink(name.as_ref())?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o666);
        let fd = rustix::fs::openat(&self.0, &name_of(name.as_ref())?, flags, mode)?;
        rustix::fs::fchmod(&fd, mode)?;
        Ok(fd.into())
    }

    /// Writes the file `name` anew.
    pub fn write(&self, name: impl AsRef<OsStr>, content: &[u8]) -> io::Result<()> {
        self.create(name)?.write_all(content)
    }

    /// Removes a file, link, socket; a folder with all that is in it. Nothing there is fine.
    pub fn unlink(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        super::remove::remove(self, name.as_ref())
    }

    /// Gives everybody the right to read and write `name` (and to enter it, where it is a folder or a program).
    /// Links, devices and files with further names elsewhere are left as they are.
    pub fn open_to_all(&self, name: &OsStr, stat: &Stat) -> io::Result<()> {
        let wanted = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => 0o777,
            FileType::RegularFile if stat.st_nlink == 1 && stat.st_mode & 0o100 != 0 => 0o777,
            FileType::RegularFile if stat.st_nlink == 1 => 0o666,
            _ => return Ok(()),
        };
        if stat.st_mode & wanted == wanted {
            return Ok(());
        }
        beneath::set_mode(&self.0, &name_of(name)?, Mode::from_raw_mode((stat.st_mode & 0o7777) | wanted))
            .map_err(io::Error::from)
    }

    /// Sets the time of the last change of the file `name`.
    pub fn set_times(&self, name: impl AsRef<OsStr>, times: &Timestamps) -> io::Result<()> {
        Ok(rustix::fs::utimensat(&self.0, &name_of(name.as_ref())?, times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    pub(super) fn reopen_permitted(&self, name: &CString) -> io::Result<Self> {
        beneath::set_mode(&self.0, name, Mode::from_raw_mode(0o777))?;
        Ok(Self(rustix::fs::openat(&self.0, name, flags(), Mode::empty())?))
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// `name` for the kernel: one part, never a way up.
pub(super) fn name_of(name: &OsStr) -> io::Result<CString> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        return Err(Errno::INVAL.into());
    }
    CString::new(bytes).map_err(|_| Errno::INVAL.into())
}

fn flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_link_is_never_followed() {
        let dir = tempfile::tempdir().expect("a folder");
        let outside = tempfile::tempdir().expect("a folder");
        std::fs::write(outside.path().join("secret"), "x").expect("written");
        symlink(outside.path(), dir.path().join("team")).expect("linked");
        symlink(outside.path().join("secret"), dir.path().join("file")).expect("linked");

        let folder = Folder::open(dir.path()).expect("opened");
        assert!(folder.folder("team").expect("asked").is_none());
        assert!(folder.descend(Path::new("team/x")).expect("asked").is_none());
        assert!(folder.read("file", 10).expect("asked").is_none());
        assert!(folder.descend(Path::new("../x")).expect("asked").is_none());
        folder.write("file", b"new").expect("written");
        folder.folder_or_new("team").expect("made").write("secret", b"new").expect("written");
        assert_eq!(std::fs::read_to_string(outside.path().join("secret")).expect("read"), "x");
    }

    #[test]
    fn of_two_that_make_the_same_folder_neither_loses_what_it_puts_there() {
        let dir = tempfile::tempdir().expect("a folder");
        for round in 0..500 {
            let (team, ready) = (format!("team-{round}"), std::sync::Barrier::new(2));
            std::thread::scope(|scope| {
                for child in ["one", "other"] {
                    let (top, team, ready) = (Folder::open(dir.path()).expect("opened"), &team, &ready);
                    scope.spawn(move || {
                        ready.wait();
                        let project = top.folder_or_new(team).and_then(|team| team.folder_or_new(child)).expect("made");
                        project.folder_or_new(".git").expect("made");
                    });
                }
            });
            for child in ["one", "other"] {
                assert!(dir.path().join(&team).join(child).join(".git").is_dir(), "{team}/{child}");
            }
        }
    }

    #[test]
    fn rights_are_given_to_everybody_but_not_through_links_and_second_names() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str| dir.path().join(name);
        for name in ["plain", "program", "target", "twice"] {
            std::fs::write(path(name), "x").expect("written");
            std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(0o600)).expect("changed");
        }
        std::fs::set_permissions(path("program"), std::fs::Permissions::from_mode(0o700)).expect("changed");
        symlink(path("target"), path("link")).expect("linked");
        std::fs::hard_link(path("twice"), path("second")).expect("linked");

        let folder = Folder::open(dir.path()).expect("opened");
        for name in ["plain", "program", "link", "twice"] {
            let stat = folder.stat(name).expect("asked").expect("there");
            folder.open_to_all(OsStr::new(name), &stat).expect("changed");
        }
        let mode = |name: &str| std::fs::metadata(path(name)).expect("there").permissions().mode() & 0o7777;
        assert_eq!((mode("plain"), mode("program"), mode("target"), mode("twice")), (0o666, 0o777, 0o600, 0o600));
    }
}
