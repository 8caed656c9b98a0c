//! The image of the demo's jobs, made from the machine's busybox: nothing is pulled.

use std::io;
use std::path::{Path, PathBuf};

use bollard::Docker;
use bollard::query_parameters::{CreateImageOptionsBuilder, RemoveImageOptions};
use futures_util::StreamExt;

use super::DemoError;
use crate::emulator::world::random_text;

/// An image that is there while the demo runs.
#[derive(Debug)]
pub struct DemoImage {
    name: String,
    /// The engine that has to forget it; `None`: it is the user's own.
    made_by: Option<Docker>,
}

impl DemoImage {
    /// The user's image, or a new one.
    pub async fn ready(wanted: Option<String>) -> Result<Self, DemoError> {
        let engine = Docker::connect_with_defaults().map_err(DemoError::Engine)?;
        let engine = engine.negotiate_version().await.map_err(DemoError::Engine)?;
        engine.ping().await.map_err(DemoError::Engine)?;
        if let Some(name) = wanted {
            return Ok(Self { name, made_by: None });
        }
        let tree = tokio::task::spawn_blocking(root_tree)
            .await
            .map_err(|error| DemoError::Image(io::Error::other(error)))??;
        let tag = random_text(8);
        let options = CreateImageOptionsBuilder::new()
            .from_src("-")
            .repo("forgehand-demo")
            .tag(&tag)
            .changes(vec!["ENV PATH=/bin".to_owned(), "CMD [\"/bin/sh\"]".to_owned()])
            .build();
        let mut progress = engine.create_image(Some(options), Some(bollard::body_full(tree.into())), None);
        while let Some(step) = progress.next().await {
            step.map_err(|error| DemoError::Image(io::Error::other(error)))?;
        }
        drop(progress);
        Ok(Self { name: format!("forgehand-demo:{tag}"), made_by: Some(engine) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Removes it, if it was made here.
    pub async fn remove(self) {
        let Some(engine) = self.made_by else { return };
        let options = RemoveImageOptions { force: true, ..RemoveImageOptions::default() };
        if let Err(error) = engine.remove_image(&self.name, Some(options), None).await {
            eprintln!("the image {} could not be removed: {error}; `docker rmi {}` does it", self.name, self.name);
        }
    }
}

/// A file system with nothing but busybox, its applets and `/tmp`, as a tar archive.
fn root_tree() -> Result<Vec<u8>, DemoError> {
    let busybox = find_busybox().ok_or(DemoError::NoBusybox)?;
    pack(&busybox).map_err(DemoError::Image)
}

fn pack(busybox: &Path) -> io::Result<Vec<u8>> {
    let listed = std::process::Command::new(busybox).arg("--list").output()?;
    let applets = String::from_utf8_lossy(&listed.stdout).into_owned();
    let mut archive = tar::Builder::new(Vec::new());
    for (folder, mode) in [("bin/", 0o755), ("etc/", 0o755), ("root/", 0o700), ("tmp/", 0o1777)] {
        let mut header = header(tar::EntryType::Directory, mode, 0);
        archive.append_data(&mut header, folder, io::empty())?;
    }
    let program = std::fs::read(busybox)?;
    append_file(&mut archive, "bin/busybox", 0o755, &program)?;
    append_file(&mut archive, "etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n")?;
    append_file(&mut archive, "etc/group", 0o644, b"root:x:0:\n")?;
    for applet in applets.lines().filter(|applet| *applet != "busybox" && !applet.contains('/')) {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        archive.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    archive.into_inner()
}

fn append_file(archive: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut header = header(tar::EntryType::Regular, mode, content.len() as u64);
    archive.append_data(&mut header, path, content)
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn find_busybox() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = ["/bin", "/usr/bin"].map(PathBuf::from).into_iter().chain(std::env::split_paths(&path));
    folders.map(|folder| folder.join("busybox")).find(|file| std::fs::read(file).is_ok_and(|bytes| is_static(&bytes)))
}

/// Whether an ELF program needs no loader: it has no segment of the type PT_INTERP. Only 64-bit little-endian programs are
/// looked into; others count as static, and an image of one that is not fails with the engine's own message.
fn is_static(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    if !elf.starts_with(b"\x7fELF") {
        return false;
    }
    if elf.get(4..6) != Some(&[2, 1]) {
        return true;
    }
    let number = |at: usize, length: usize| -> Option<usize> {
        let bytes = elf.get(at..at.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    let segments = || Some((number(32, 8)?, number(54, 2)?, number(56, 2)?));
    let Some((table, size, count)) = segments() else { return false };
    (0..count).all(|index| {
        let at = size.checked_mul(index).and_then(|offset| offset.checked_add(table));
        at.and_then(|at| number(at, 4)) != Some(PT_INTERP as usize)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_programs_are_told_from_others() {
        let ours = std::fs::read(find_busybox().expect("busybox-static; see scripts/setup")).unwrap();
        assert!(is_static(&ours));
        assert!(!is_static(&std::fs::read("/bin/ls").unwrap()));
        assert!(!is_static(b"#!/bin/sh\n"));
        assert!(!is_static(&ours[..40]), "a cut file");
    }
}
