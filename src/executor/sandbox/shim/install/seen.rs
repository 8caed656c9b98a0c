//! That a copy was verified, so that the next start need not read two long files for it: both are named by what the file
//! system knows of them, and the time of the last change of either cannot be set by anybody but the kernel.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::{SHIM_NAME, ShimBinary};

/// Its file, beside the copies.
const SEEN: &str = ".verified";
/// A change so shortly before the note may have been after the look: the kernel's clock stands still for a while.
const GRAIN_NS: i128 = 20_000_000;
/// A longer note is none of ours.
const LONGEST: u64 = 4096;

/// The copy of `source`, if both are as they were when the copy was verified.
pub(super) fn unchanged(source: &File, folder: &Path) -> Option<ShimBinary> {
    let note = folder.join(SEEN);
    let noted = std::fs::metadata(&note).ok().filter(|noted| noted.is_file() && noted.len() <= LONGEST)?;
    let text = std::fs::read_to_string(&note).ok()?;
    let sha256 = text.split_whitespace().next()?.to_owned();
    let is_hash = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
    let path = folder.join(is_hash.then_some(&sha256)?).join(SHIM_NAME);
    let (source, copy) = (source.metadata().ok()?, std::fs::symlink_metadata(&path).ok()?);
    let is_old = |file: &Metadata| changed_ns(file) + GRAIN_NS < changed_ns(&noted);
    let is_same = text == words(&sha256, &source, &copy) && is_old(&source) && is_old(&copy);
    is_same.then_some(ShimBinary { path, sha256 })
}

/// Notes that `installed` is a copy of `source`. It is only ever a saving: what goes wrong costs the next start some time.
pub(super) fn note(source: &File, installed: &ShimBinary, folder: &Path) {
    let (Ok(source), Ok(copy)) = (source.metadata(), std::fs::symlink_metadata(&installed.path)) else { return };
    let staged = folder.join(format!("{SEEN}.{}", std::process::id()));
    let text = words(&installed.sha256, &source, &copy);
    let written = std::fs::write(&staged, text).and_then(|()| std::fs::rename(&staged, folder.join(SEEN)));
    if let Err(error) = written {
        tracing::debug!(%error, "it is not noted that the shim was verified");
        let _ = std::fs::remove_file(&staged);
    }
}

fn words(sha256: &str, source: &Metadata, copy: &Metadata) -> String {
    let of = |file: &Metadata| {
        format!(
            "{}:{}:{}:{:o}:{}.{}:{}",
            file.dev(),
            file.ino(),
            file.size(),
            file.mode(),
            file.mtime(),
            file.mtime_nsec(),
            changed_ns(file)
        )
    };
    format!("{sha256} {} {}\n", of(source), of(copy))
}

fn changed_ns(file: &Metadata) -> i128 {
    i128::from(file.ctime()) * 1_000_000_000 + i128::from(file.ctime_nsec())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_verified_copy_is_known_until_either_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (agent, folder) = (dir.path().join("agent"), dir.path().join("shim"));
        std::fs::write(&agent, b"agent").unwrap();
        let installed = super::super::install(&agent, &folder).unwrap();
        let known = || unchanged(&File::open(&agent).unwrap(), &folder);
        // What is noted in the very moment of the copy is verified once more, until the kernel's clock has gone on.
        let known_in_the_end = || {
            let until = Instant::now() + Duration::from_secs(10);
            while known().is_none() && Instant::now() < until {
                super::super::install(&agent, &folder).unwrap();
            }
            known()
        };
        assert_eq!(known_in_the_end(), Some(installed.clone()));
        std::fs::set_permissions(&installed.path, Permissions::from_mode(0o700)).unwrap();
        assert_eq!(known(), None, "the copy");
        assert_eq!(super::super::install(&agent, &folder).unwrap(), installed);
        assert_eq!(std::fs::metadata(&installed.path).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(known_in_the_end(), Some(installed));
        std::fs::write(&agent, b"other").unwrap();
        assert_eq!(known(), None, "the original");
    }
}
