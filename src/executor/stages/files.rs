//! Files that the runner puts into a job's workspace for its commands.
//!
//! The workspace is as trustworthy as the jobs that wrote it: every access goes through a directory handle, so that a
//! link planted by an earlier job leads nowhere.

use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt, PermissionsExt};

use crate::artifact::beneath;
use crate::executor::environment::{ENV_FILE, Environment};
use crate::executor::script::is_shell_name;
use crate::pipeline::definition::JobDirs;

/// As much of what scripts hand on is read.
const HANDED_ON_LIMIT: u64 = 1 << 20;

/// Where `path`, as the job sees it, lies below the workspace. `None` when it lies elsewhere.
pub(in crate::executor) fn below_workspace(dirs: &JobDirs, path: &str) -> Option<PathBuf> {
    let relative = Path::new(path).strip_prefix(&dirs.builds).ok()?;
    let is_plain = relative.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    (is_plain && !relative.as_os_str().is_empty()).then(|| relative.to_owned())
}

/// Makes the job's temporary folder anew and writes its file variables into it. Any user of the job can read them and
/// write beside them, as the job's image may run as any user.
pub(in crate::executor) fn write(workspace: &Path, dirs: &JobDirs, environment: &Environment) -> io::Result<()> {
    let (root, relative) = open(workspace, dirs)?;
    remove(&root, &relative)?;
    root.create_dir_all(&relative)?;
    let temp = root.open_dir(&relative)?;
    open_to_all(&root, &relative)?;
    for (name, content) in &environment.files {
        put(&temp, name, content.expose().as_bytes())?;
    }
    put(&temp, ENV_FILE, b"")
}

/// What a cache is unpacked into before it gets into the work tree, in the job's temporary folder.
const STAGING: &str = "restore";

/// Makes the folder anew that a cache is unpacked into, beside the work tree and on its file system. Only the agent enters it.
pub(in crate::executor) fn staging(workspace: &Path, dirs: &JobDirs) -> io::Result<Dir> {
    let (root, relative) = open(workspace, dirs)?;
    let relative = relative.join(STAGING);
    remove(&root, &relative)?;
    root.create_dir_all(&relative)?;
    root.set_permissions(&relative, cap_std::fs::Permissions::from_mode(0o700))?;
    root.open_dir(&relative)
}

/// Takes that folder away, with what is left in it.
pub(in crate::executor) fn take_staging_away(workspace: &Path, dirs: &JobDirs) -> io::Result<()> {
    let (root, relative) = open(workspace, dirs)?;
    remove(&root, &relative.join(STAGING))
}

/// The variables that the job's scripts have handed on so far (`GITLAB_ENV`): a name and a value from each line that is an
/// assignment. What cannot be read says nothing.
pub(in crate::executor) fn handed_on(workspace: &Path, dirs: &JobDirs) -> Vec<(String, String)> {
    let read = || {
        let (root, relative) = open(workspace, dirs)?;
        let (file, _stat) = beneath::regular_file(&root.open_dir(relative)?, ENV_FILE.as_bytes())?;
        let mut text = Vec::new();
        file.take(HANDED_ON_LIMIT).read_to_end(&mut text)?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&text).into_owned())
    };
    let text = read().unwrap_or_default();
    let assignments = text.lines().filter_map(|line| line.split_once('=')).filter(|(name, _)| is_shell_name(name));
    assignments.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Writes the file variables anew, since a script may have changed or removed them: every script finds them as the job's
/// definition has them. What scripts have handed on stays.
pub(in crate::executor) fn renew(workspace: &Path, dirs: &JobDirs, environment: &Environment) -> io::Result<()> {
    let (root, relative) = open(workspace, dirs)?;
    root.create_dir_all(&relative)?;
    let temp = root.open_dir(&relative)?;
    for (name, content) in &environment.files {
        remove(&temp, Path::new(name))?;
        put(&temp, name, content.expose().as_bytes())?;
    }
    match put(&temp, ENV_FILE, b"") {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Takes the job's temporary folder, with all secrets in it, away.
pub(in crate::executor) fn take_away(workspace: &Path, dirs: &JobDirs) -> io::Result<()> {
    let (root, relative) = open(workspace, dirs)?;
    remove(&root, &relative)
}

fn open(workspace: &Path, dirs: &JobDirs) -> io::Result<(Dir, PathBuf)> {
    let root = Dir::open_ambient_dir(workspace, ambient_authority())?;
    let relative = below_workspace(dirs, &dirs.temp).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{} lies outside {}", dirs.temp, dirs.builds))
    })?;
    Ok((root, relative))
}

fn remove(root: &Dir, relative: &Path) -> io::Result<()> {
    let result = match root.symlink_metadata(relative) {
        Ok(metadata) if metadata.is_dir() => root.remove_dir_all(relative),
        Ok(_) => root.remove_file(relative),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The folders on the way are writable for every user of the job.
fn open_to_all(root: &Dir, relative: &Path) -> io::Result<()> {
    for folder in relative.ancestors().filter(|folder| !folder.as_os_str().is_empty()) {
        match root.set_permissions(folder, cap_std::fs::Permissions::from_mode(0o777)) {
            // Not ours: an earlier job's user made it, who may do with it as they like.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            other => other?,
        }
    }
    Ok(())
}

fn put(folder: &Dir, name: &str, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o666);
    let mut file = folder.open_with(name, &options)?;
    file.set_permissions(cap_std::fs::Permissions::from_mode(0o666))?;
    file.write_all(content)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::pipeline::Secret;

    fn dirs() -> JobDirs {
        JobDirs {
            builds: "/builds".into(),
            project: "/builds/g/p".into(),
            temp: "/builds/g/p.tmp".into(),
            also_at: None,
            tool_cache: None,
        }
    }

    fn environment() -> Environment {
        let mut environment = Environment::default();
        environment.files.insert("KEY".into(), Secret::new("content"));
        environment
    }

    #[test]
    fn file_variables_are_there_and_go_again() {
        let workspace = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            write(workspace.path(), &dirs(), &environment()).unwrap();
            let file = workspace.path().join("g/p.tmp/KEY");
            assert_eq!(std::fs::read_to_string(file).unwrap(), "content");
        }
        take_away(workspace.path(), &dirs()).unwrap();
        assert!(!workspace.path().join("g/p.tmp").exists());
        take_away(workspace.path(), &dirs()).unwrap();
    }

    #[test]
    fn assignments_are_handed_on() {
        let workspace = tempfile::tempdir().unwrap();
        assert_eq!(handed_on(workspace.path(), &dirs()), []);
        write(workspace.path(), &dirs(), &environment()).unwrap();
        let file = workspace.path().join("g/p.tmp").join(ENV_FILE);
        std::fs::write(&file, "A=1 2\nno assignment\na-b=c\nB=x=y").unwrap();
        let handed: Vec<(String, String)> = [("A", "1 2"), ("B", "x=y")].map(|(a, b)| (a.into(), b.into())).into();
        assert_eq!(handed_on(workspace.path(), &dirs()), handed);
        std::fs::remove_file(&file).unwrap();
        symlink("/etc/os-release", &file).unwrap();
        assert_eq!(handed_on(workspace.path(), &dirs()), []);
    }

    #[test]
    fn changed_file_variables_are_made_good() {
        let workspace = tempfile::tempdir().unwrap();
        write(workspace.path(), &dirs(), &environment()).unwrap();
        let temp = workspace.path().join("g/p.tmp");
        let good = || {
            renew(workspace.path(), &dirs(), &environment()).unwrap();
            std::fs::read_to_string(temp.join("KEY")).unwrap() == "content"
        };
        std::fs::write(temp.join("KEY"), "changed").unwrap();
        std::fs::write(temp.join(ENV_FILE), "A=1").unwrap();
        assert!(good());
        std::fs::remove_file(temp.join("KEY")).unwrap();
        std::fs::create_dir_all(temp.join("KEY/folder")).unwrap();
        assert!(good());
        assert_eq!(std::fs::read_to_string(temp.join(ENV_FILE)).unwrap(), "A=1", "what the script handed on stays");
        std::fs::remove_dir_all(&temp).unwrap();
        assert!(good());

        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("KEY"), "theirs").unwrap();
        std::fs::remove_dir_all(&temp).unwrap();
        symlink(outside.path(), &temp).unwrap();
        assert!(renew(workspace.path(), &dirs(), &environment()).is_err());
        assert_eq!(std::fs::read_to_string(outside.path().join("KEY")).unwrap(), "theirs");
    }

    #[test]
    fn a_planted_link_leads_nowhere() {
        let workspace = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::create_dir(workspace.path().join("g")).unwrap();
        symlink(outside.path(), workspace.path().join("g/p.tmp")).unwrap();
        write(workspace.path(), &dirs(), &environment()).unwrap();
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);

        std::fs::remove_dir_all(workspace.path().join("g")).unwrap();
        symlink(outside.path(), workspace.path().join("g")).unwrap();
        assert!(write(workspace.path(), &dirs(), &environment()).is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn paths_outside_the_workspace_have_no_place_in_it() {
        assert_eq!(below_workspace(&dirs(), "/builds/a/b"), Some("a/b".into()));
        for path in ["/etc", "/builds", "/builds/../etc", "relative"] {
            assert_eq!(below_workspace(&dirs(), path), None, "{path}");
        }
    }
}
