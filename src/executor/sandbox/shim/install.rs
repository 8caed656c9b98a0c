//! The copy of this binary that sandboxes run as their shim.
//!
//! An agent that is upgraded must not change the file under running shims, and a container engine mounts by path. So
//! each build stands under its own hash in the state directory until no sandbox uses it.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::SHIM_NAME;

mod seen;

const BLOCK: usize = 256 << 10;
/// An agent's binary is not longer, bytes.
const LIMIT: u64 = 1 << 30;

/// An installed shim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShimBinary {
    /// The file, named [`SHIM_NAME`].
    pub path: PathBuf,
    /// SHA-256 of its content, hex; the name of its folder.
    pub sha256: String,
}

/// The shim cannot be installed.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep a copy of this binary for sandboxes in {path}: {source}; check space and permissions there")]
pub struct InstallError {
    /// The folder.
    path: PathBuf,
    /// Why.
    source: io::Error,
}

impl ShimBinary {
    /// Copies the running binary below `folder` (`STATE/shim`), if it is not there already, and verifies the copy. Neither is
    /// read again while the file system says that both are what was verified before.
    pub async fn install(folder: &Path) -> Result<Self, InstallError> {
        Self::install_from(Path::new("/proc/self/exe"), folder).await
    }

    /// Copies `source` instead: for tests, whose binary is not the agent's.
    pub async fn install_from(source: &Path, folder: &Path) -> Result<Self, InstallError> {
        let (from, to) = (source.to_owned(), folder.to_owned());
        let done = tokio::task::spawn_blocking(move || install(&from, &to)).await;
        done.unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| InstallError { path: folder.to_owned(), source })
    }

    /// Removes the copies whose hash is not in `in_use`, and leftovers of installations that were cut off. To be called
    /// with the hashes of every known sandbox; an installation under way in another process is not there by the state
    /// directory's lock.
    pub async fn remove_unused(folder: &Path, in_use: &[String]) -> io::Result<Vec<String>> {
        let (folder, in_use) = (folder.to_owned(), in_use.to_vec());
        let removal = tokio::task::spawn_blocking(move || remove_unused(&folder, &in_use));
        removal.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

fn install(source: &Path, folder: &Path) -> io::Result<ShimBinary> {
    let mut source = File::open(source)?;
    if let Some(installed) = seen::unchanged(&source, folder) {
        return Ok(installed);
    }
    let sha256 = hash_of(&mut source)?;
    let home = folder.join(&sha256);
    let path = home.join(SHIM_NAME);
    let installed = ShimBinary { path: path.clone(), sha256: sha256.clone() };
    if is_sound(&path, &sha256) {
        seen::note(&source, &installed, folder);
        return Ok(installed);
    }
    // A container's root may be an ordinary user of the machine (userns-remap): it must pass these folders.
    for folder in [folder, home.as_path()] {
        DirBuilder::new().recursive(true).mode(0o711).create(folder)?;
        std::fs::set_permissions(folder, Permissions::from_mode(0o711))?;
    }
    let staged = folder.join(format!(".{sha256}.{}", std::process::id()));
    let written = stage(&mut source, &staged).and_then(|()| {
        // Read again from the file: what counts is what stands there.
        if !is_sound(&staged, &sha256) {
            return Err(io::Error::other("the copy differs from the original"));
        }
        std::fs::rename(&staged, &path)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&staged);
    }
    written?;
    File::open(&home)?.sync_all()?;
    seen::note(&source, &installed, folder);
    Ok(installed)
}

fn stage(source: &mut File, staged: &Path) -> io::Result<()> {
    io::Seek::rewind(source)?;
    let mut copy = File::create(staged)?;
    io::copy(source, &mut copy)?;
    copy.flush()?;
    copy.set_permissions(Permissions::from_mode(0o755))?;
    copy.sync_all()
}

fn is_sound(path: &Path, sha256: &str) -> bool {
    let Ok(mut file) = File::open(path) else { return false };
    let executable = file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o777 == 0o755);
    executable && hash_of(&mut file).is_ok_and(|found| found == sha256)
}

fn hash_of(file: &mut File) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut block = vec![0; BLOCK];
    let mut file = file.take(LIMIT);
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hex::encode(hash.finalize())),
            length => hash.update(&block[..length]),
        }
    }
}

fn remove_unused(folder: &Path, in_use: &[String]) -> io::Result<Vec<String>> {
    let mut removed = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if in_use.contains(&name) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
            removed.push(name);
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_binary(dir: &Path, content: &[u8]) -> PathBuf {
        let path = dir.join("agent");
        std::fs::write(&path, content).unwrap();
        path
    }

    #[tokio::test]
    async fn a_copy_is_made_once_and_a_damaged_one_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let agent = a_binary(dir.path(), b"agent one");
        let folder = dir.path().join("shim");
        let first = ShimBinary::install_from(&agent, &folder).await.unwrap();
        assert_eq!(first.path, folder.join(&first.sha256).join(SHIM_NAME));
        let found = std::fs::metadata(&first.path).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o755);
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
        let before = inode(&first.path);
        assert_eq!(ShimBinary::install_from(&agent, &folder).await.unwrap(), first);
        assert_eq!(inode(&first.path), before, "a sound copy is left alone");
        std::fs::write(&first.path, b"damaged").unwrap();
        assert_eq!(ShimBinary::install_from(&agent, &folder).await.unwrap(), first);
        assert_eq!(std::fs::read(&first.path).unwrap(), b"agent one");
    }

    #[tokio::test]
    async fn only_copies_in_use_stay() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("shim");
        let one = ShimBinary::install_from(&a_binary(dir.path(), b"one"), &folder).await.unwrap();
        let two = ShimBinary::install_from(&a_binary(dir.path(), b"two"), &folder).await.unwrap();
        std::fs::write(folder.join(".cut-off"), b"half").unwrap();
        let removed = ShimBinary::remove_unused(&folder, std::slice::from_ref(&two.sha256)).await.unwrap();
        assert_eq!(removed, [one.sha256]);
        assert!(two.path.exists() && !one.path.exists() && !folder.join(".cut-off").exists());
    }

    #[tokio::test]
    async fn an_unwritable_place_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let agent = a_binary(dir.path(), b"agent");
        let error = ShimBinary::install_from(&agent, &agent.join("shim")).await.unwrap_err();
        assert!(error.to_string().contains("agent/shim"), "{error}");
    }
}
