//! Files of the store: durable writes, checked reads. The store's folder is the agent's own; no job can reach it.

use std::fs::{self, File};
use std::io::{self, IoSlice, Read as _, Write as _};
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use super::error::StoreError;

/// Makes a folder and what is above it; what was made is on disk.
pub(super) fn make_folder(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        // A name by itself is one in the folder we are in.
        _ => Path::new("."),
    };
    make_folder(parent)?;
    match fs::create_dir(path) {
        Ok(()) => sync_folder(parent),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(StoreError::file("making", path, error)),
    }
}

/// Has the names in a folder on disk.
pub(super) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|e| StoreError::file("writing", path, e))
}

/// Gives a file that is on disk its name, for good. What was there under the name gives way.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    let folder = to.parent().unwrap_or(to);
    make_folder(folder)?;
    fs::rename(from, to).map_err(|e| StoreError::file("writing", to, e))?;
    sync_folder(folder)
}

/// Replaces `path` by `bytes`, whole or not at all, for good. `session` is a folder of ours on the same file system.
pub(super) fn replace(session: &Path, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let fail = |e| StoreError::file("writing", path, e);
    let mut file = tempfile::NamedTempFile::new_in(session).map_err(fail)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(fail)?;
    // Dropped without the new name, the file is gone.
    let temporary = file.into_temp_path();
    rename(&temporary, path)
}

/// Writes all of these bytes, one slice after the other.
pub(super) fn write_all_at(file: &File, mut slices: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
    // What is empty goes.
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match rustix::io::pwritev(file, slices, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                IoSlice::advance_slices(&mut slices, written);
                offset += written as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Has the disk begin to write this part of a file, and does not wait for it. Where that is not possible, it is written later: nothing may
/// rely on it.
pub(super) fn write_back(file: &File, range: Range<u64>) {
    let (Ok(start), Ok(length)) = (i64::try_from(range.start), i64::try_from(range.end - range.start)) else { return };
    // SAFETY: it takes numbers only, and the file is open.
    unsafe { libc::sync_file_range(file.as_raw_fd(), start, length, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Removes a file; one that is gone already is no error.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::file("removing", path, error)),
        _ => Ok(()),
    }
}

/// The content of a small file; `None` where there is none. What is longer than `limit` is cut.
pub(super) fn read_small(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let fail = |e| StoreError::file("reading", path, e);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(fail)?;
    Ok(Some(bytes))
}

/// What is in a folder, sorted; nothing where it is not there.
pub(super) fn names(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let fail = |e| StoreError::file("reading", path, e);
    let listing = match fs::read_dir(path) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut names = listing.map(|entry| entry.map(|e| e.path())).collect::<io::Result<Vec<_>>>().map_err(fail)?;
    names.sort();
    Ok(names)
}

/// The files two folders below `path`, where names are spread by their first digits.
pub(super) fn fanned(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut files = Vec::new();
    for outer in names(path)? {
        for inner in names(&outer)? {
            files.extend(names(&inner)?);
        }
    }
    Ok(files)
}

/// Where a file of this name lies below `path`: `ab/cd/abcd...`.
pub(super) fn fan(path: &Path, name: &str) -> PathBuf {
    let (outer, rest) = name.split_at(name.len().min(2));
    let inner = &rest[..rest.len().min(2)];
    path.join(outer).join(inner).join(name)
}

/// Bytes of the disk: what is free for us, and what there is for everybody: what nobody but root may use counts as neither.
pub(super) fn disk_bytes(path: &Path) -> Result<(u64, u64), StoreError> {
    let stat = rustix::fs::statvfs(path).map_err(|e| StoreError::file("looking at the disk of", path, e.into()))?;
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok((bytes(stat.f_bavail), bytes(used.saturating_add(stat.f_bavail))))
}
