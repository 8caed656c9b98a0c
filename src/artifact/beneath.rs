//! Files of a work tree by directory handle and single name.
//!
//! The tree is written by a job that may still run while we read: every name may become a symlink, a FIFO or nothing
//! between two calls. So a name is used once, with `O_NOFOLLOW`, and what was opened is asked what it is. Where in-tree
//! symlinks may be followed (a parent folder that the user named), `cap_std` resolves the path beneath the root.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::path::Arg;

/// What a name of the tree stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    File,
    Folder,
    Symlink,
    /// Socket, FIFO or device.
    Special,
}

impl Node {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self::from_type(FileType::from_raw_mode(stat.st_mode))
    }

    fn from_type(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Node::File,
            FileType::Directory => Node::Folder,
            FileType::Symlink => Node::Symlink,
            _ => Node::Special,
        }
    }
}

/// The path of these bytes.
pub(crate) fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// Splits `a/b/c` into `a/b` and `c`; the first part is empty for a name in the root.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

/// `folder/name`, or `name` in the root.
pub(crate) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

/// A second handle of the same folder.
pub(crate) fn again(dir: &Dir) -> io::Result<Dir> {
    dir.try_clone()
}

/// The folder `relative` of `root` (empty: the root itself). Symlinks are followed as long as they stay inside.
pub(crate) fn folder_within(root: &Dir, relative: &[u8]) -> io::Result<Dir> {
    if relative.is_empty() { again(root) } else { root.open_dir(path(relative)) }
}

/// The folder `relative` of `root`, refusing every symlink on the way. Holds two handles at most, however deep.
pub(crate) fn folder_nofollow(root: &Dir, relative: &[u8]) -> io::Result<Dir> {
    let mut dir = again(root)?;
    for name in relative.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
        dir = child_folder(&dir, name)?;
    }
    Ok(dir)
}

/// The folder `name` of `dir`; an error if it is anything else, a symlink to a folder included.
pub(crate) fn child_folder(dir: &Dir, name: &[u8]) -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    Ok(Dir::from_std_file(File::from(fd)))
}

/// What `name` in `dir` is, itself, not what it points to.
pub(crate) fn stat(dir: &Dir, name: &[u8]) -> io::Result<Stat> {
    Ok(rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Sets the mode of `name` in `dir`, itself. `chmod` follows links, and a name may have become one: so the file is held by a
/// handle first, for which no right to it is needed, and changed through that.
///
/// # Errors
/// A symlink is `ELOOP`.
pub(crate) fn set_mode(dir: impl AsFd, name: impl Arg, mode: Mode) -> Result<(), Errno> {
    let held = rustix::fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&held)?.st_mode) == FileType::Symlink {
        return Err(Errno::LOOP);
    }
    rustix::fs::chmod(format!("/proc/self/fd/{}", held.as_raw_fd()), mode)
}

/// Opens the regular file `name` of `dir`. Never waits (a FIFO without a writer) and never follows.
pub(crate) fn regular_file(dir: &Dir, name: &[u8]) -> io::Result<(File, Stat)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?);
    let stat = rustix::fs::fstat(&file)?;
    match Node::of(&stat) {
        Node::File => Ok((file, stat)),
        Node::Folder | Node::Symlink | Node::Special => Err(io::Error::other("not a regular file any more")),
    }
}

/// Where the symlink `name` of `dir` points to.
pub(crate) fn link_target(dir: &Dir, name: &[u8]) -> io::Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes())
}

/// Whether a folder could not be opened because there is none (any more): gone, or something else.
pub(crate) fn is_no_folder(error: &io::Error) -> bool {
    // A symlink in its place is `ELOOP`.
    let errno = rustix::io::Errno::from_io_error(error);
    matches!(errno, Some(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP))
}

/// The names in `dir`, unsorted, without `.` and `..`.
pub(crate) fn children(dir: &Dir) -> io::Result<Vec<(Vec<u8>, Node)>> {
    some_children(dir, |_| true)
}

/// The first names in `dir`: as long as `wants_more`, asked with how many there are, says so.
pub(crate) fn some_children(dir: &Dir, wants_more: impl Fn(usize) -> bool) -> io::Result<Vec<(Vec<u8>, Node)>> {
    // Opened anew: a handle may be one that only stands for its folder (`O_PATH`), and two listings must not share a position.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let listing = rustix::fs::Dir::new(rustix::fs::openat(dir, ".", flags, Mode::empty())?)?;
    let mut names = Vec::new();
    for entry in listing {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        if !wants_more(names.len()) {
            break;
        }
        let node = match entry.file_type() {
            // Some file systems do not say.
            FileType::Unknown => match stat(dir, name) {
                Ok(stat) => Node::of(&stat),
                Err(_) => continue, // gone again
            },
            kind => Node::from_type(kind),
        };
        names.push((name.to_vec(), node));
    }
    Ok(names)
}

/// Whether the disk or a quota is full, which ends the work, in contrast to trouble with one file.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symlink_is_neither_a_folder_nor_a_file() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("real")).unwrap();
        std::fs::write(temp.path().join("real/file"), "x").unwrap();
        std::os::unix::fs::symlink("real", temp.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/etc", temp.path().join("out")).unwrap();
        let root = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();

        assert!(child_folder(&root, b"link").is_err());
        assert!(folder_nofollow(&root, b"link").is_err());
        assert!(regular_file(&root, b"link").is_err());
        assert!(folder_within(&root, b"link").is_ok(), "stays inside");
        assert!(folder_within(&root, b"out").is_err(), "leads out");
        assert_eq!(link_target(&root, b"link").unwrap(), b"real");
    }

    #[test]
    fn a_mode_is_that_of_the_name_itself() {
        use std::os::unix::fs::PermissionsExt as _;
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", temp.path().join("link")).unwrap();
        let root = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        let mode = || std::fs::metadata(temp.path().join("real")).unwrap().permissions().mode() & 0o777;
        set_mode(&root, "real", Mode::empty()).unwrap();
        assert_eq!(mode(), 0);
        assert_eq!(set_mode(&root, "link", Mode::RWXU), Err(Errno::LOOP));
        assert_eq!(mode(), 0, "whoever put the link there gained nothing");
        set_mode(&root, "real", Mode::RWXU).unwrap();
        assert_eq!(mode(), 0o700);
    }

    #[test]
    fn a_pipe_does_not_hold_us() {
        let temp = tempfile::tempdir().unwrap();
        let root = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        rustix::fs::mknodat(&root, "pipe", FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(regular_file(&root, b"pipe").is_err());
        assert_eq!(children(&root).unwrap(), [(b"pipe".to_vec(), Node::Special)]);
    }
}
