//! Files that are whole or absent after a crash.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces `path` by `parts`, one after the other, readable by the owner only (0600).
///
/// A reader, or the next start after a crash at any instruction, sees the old or the new content and never a part of
/// it. Durable when it returns. Blocking: call it off the runtime.
pub fn replace(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = folder.join(format!(".{}.{}.tmp", name.to_string_lossy(), uuid::Uuid::new_v4().simple()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?; // the content, before its name
        fs::rename(&temporary, path)?;
        sync_folder(folder) // the name, before we say "done"
    })();
    if written.is_err() {
        // Gone already when it was the last step that failed: nothing to do then.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Makes the names in `folder` durable.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Whether `error` says that there is no room (disk, quota, inodes).
pub fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_replaced_file_is_whole_private_and_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        replace(&path, &[b"old"]).unwrap();
        replace(&path, &[b"new ", b"content"]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new content");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_full_disk_leaves_no_part_behind() {
        // A folder in which nothing can be made stands for the disk: the error comes back and nothing is left.
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent").join("x");
        assert_eq!(replace(&absent, &[b"x"]).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(is_disk_full(&io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error())));
        assert!(is_disk_full(&io::Error::from_raw_os_error(rustix::io::Errno::DQUOT.raw_os_error())));
    }
}
