//! Files by which a step and its program speak to each other: scripts, command files, what a program lays down. They lie in
//! the job's temporary folder, which is as trustworthy as the job: every access goes by directory handle, no link is
//! followed, and nothing is read without a limit.

use std::io::{self, Read as _, Write as _};
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt};

use crate::artifact::beneath;
use crate::executor::stages::files::below_workspace;
use crate::pipeline::definition::JobDirs;

/// As much of one file is read.
pub(super) const LIMIT: u64 = 16 << 20;

/// The temporary folder of a job.
pub(super) struct Temp<'a> {
    workspace: &'a Path,
    dirs: &'a JobDirs,
}

impl<'a> Temp<'a> {
    pub(super) fn new(workspace: &'a Path, dirs: &'a JobDirs) -> Self {
        Self { workspace, dirs }
    }

    /// Writes `path`, as the job sees it, anew; every user of the job can read and change it.
    pub(super) fn write(&self, path: &str, content: &[u8], mode: u32) -> io::Result<()> {
        let (folder, name) = self.parent(path, true)?;
        match folder.remove_file(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = folder.open_with(&name, OpenOptions::new().write(true).create_new(true).mode(mode))?;
        // Whatever the umask is.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(content)
    }

    /// What stands in `path` now; empty where it is gone.
    pub(super) fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("{path} cannot be read: {error}");
        let (folder, name) = match self.parent(path, false) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(wrong(&error)),
        };
        let file = match beneath::regular_file(&folder, name.as_bytes()) {
            Ok((file, _stat)) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(wrong(&error)),
        };
        let mut content = Vec::new();
        file.take(LIMIT + 1).read_to_end(&mut content).map_err(|error| wrong(&error))?;
        if content.len() as u64 > LIMIT {
            return Err(format!("{path} is longer than {} MiB and is not read", LIMIT >> 20));
        }
        Ok(content)
    }

    /// Takes `path` away.
    pub(super) fn remove(&self, path: &str) {
        // What stays goes with the folder at the job's end.
        if let Ok((folder, name)) = self.parent(path, false) {
            let _ = folder.remove_file(name);
        }
    }

    /// Whether `path`, as the job sees it, is a folder; true where it lies outside the workspace and nobody here can know.
    pub(super) fn is_folder(&self, path: &str) -> bool {
        let Some(relative) = below_workspace(self.dirs, path) else { return true };
        let open = || Dir::open_ambient_dir(self.workspace, ambient_authority())?.metadata(relative);
        match open() {
            Ok(metadata) => metadata.is_dir(),
            // A link that leads out of the workspace: into the image, perhaps.
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    fn parent(&self, path: &str, make: bool) -> io::Result<(Dir, String)> {
        let outside = || io::Error::new(io::ErrorKind::InvalidInput, "it lies outside the job's folders");
        let relative = below_workspace(self.dirs, path).ok_or_else(outside)?;
        let name = relative.file_name().and_then(|name| name.to_str()).ok_or_else(outside)?.to_owned();
        let mut folder = Dir::open_ambient_dir(self.workspace, ambient_authority())?;
        for part in relative.parent().into_iter().flat_map(Path::components) {
            let part = Path::new(part.as_os_str());
            if make {
                match folder.create_dir(part) {
                    Ok(()) => folder.set_permissions(part, Permissions::from_mode(0o777))?,
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(error),
                }
            }
            if !folder.symlink_metadata(part)?.is_dir() {
                return Err(io::Error::other("a part of its path is no folder"));
            }
            folder = folder.open_dir(part)?;
        }
        Ok((folder, name))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_a_job_plants_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = dir.path().join("w");
        std::fs::create_dir(&workspace).unwrap();
        std::fs::write(dir.path().join("secret"), "of the machine").unwrap();
        let dirs = JobDirs {
            builds: "/b".into(),
            project: "/b/p".into(),
            temp: "/b/t".into(),
            also_at: None,
            tool_cache: None,
        };
        let temp = Temp::new(&workspace, &dirs);
        temp.write("/b/t/files/env", b"A=1\n", 0o666).unwrap();
        assert_eq!(temp.read("/b/t/files/env").unwrap(), b"A=1\n");
        let planted = workspace.join("t/files/env");
        std::fs::remove_file(&planted).unwrap();
        symlink(dir.path().join("secret"), &planted).unwrap();
        assert!(temp.read("/b/t/files/env").is_err());
        temp.write("/b/t/files/env", b"again", 0o666).unwrap();
        assert_eq!(std::fs::read(dir.path().join("secret")).unwrap(), b"of the machine");
        temp.remove("/b/t/files/env");
        assert_eq!(temp.read("/b/t/files/env").unwrap(), b"");
        std::fs::File::create(&planted).unwrap().set_len(LIMIT + 1).unwrap();
        assert!(temp.read("/b/t/files/env").unwrap_err().contains("longer than 16 MiB"));
        std::fs::remove_dir_all(workspace.join("t")).unwrap();
        symlink(dir.path(), workspace.join("t")).unwrap();
        assert!(temp.read("/b/t/secret").is_err());
        assert!(temp.write("/b/t/secret", b"x", 0o666).is_err());
        assert!(temp.write("/etc/x", b"x", 0o666).is_err());
    }
}
