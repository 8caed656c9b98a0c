//! Which shell runs a script, and how it gets it.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

/// In this order, the first that can be executed: bash where there is one. GitLab's order (protocols/gitlab.md).
pub const SHELLS: [&str; 7] =
    ["/usr/local/bin/bash", "/usr/bin/bash", "/bin/bash", "/usr/local/bin/sh", "/usr/bin/sh", "/bin/sh", "/busybox/sh"];

/// What a step prints where there is none.
pub const NOT_FOUND: &str = "shell not found\n";

/// The shell of this sandbox.
pub fn find() -> Option<&'static str> {
    let executable = |path: &&str| {
        std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    SHELLS.into_iter().find(executable)
}

/// The script as a file without a name that nobody can change any more. Never in argv or on a disk: it may hold secrets.
pub fn script_file(script: &str) -> io::Result<OwnedFd> {
    let fd = memfd_create("script", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(fd);
    file.write_all(script.as_bytes())?;
    file.rewind()?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_script_file_reads_from_its_start_and_cannot_be_changed() {
        let mut file = File::from(script_file("echo hi").unwrap());
        assert!(file.write_all(b"rm -rf /").is_err());
        assert!(file.set_len(0).is_err());
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "echo hi");
    }
}
