//! The work tree as it is, uncommitted changes too, copied once; each job gets a copy of that.
//!
//! Files are copied by the kernel, which shares their blocks where the file system can (`copy_file_range`); never hard links,
//! since jobs write into their files.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::facts::git;
use super::project::Project;
use crate::parser::document::Files as _;

/// How many commits of history a job sees, as on GitLab.
const DEPTH: &str = "20";
/// Our own folder in a project, which no job is given.
const OURS: &str = ".forgehand/";

/// A copy of a work tree that nobody writes to.
#[derive(Debug)]
pub struct Snapshot {
    root: PathBuf,
    entries: Vec<PathBuf>,
    has_history: bool,
}

impl Snapshot {
    /// Copies what is committed or not ignored to `to`, which does not exist. Blocking.
    pub fn take(project: &Project, has_commits: bool, to: &Path) -> io::Result<Self> {
        fs::create_dir_all(to)?;
        let list = project.list().map_err(io::Error::other)?;
        let mut entries = Vec::with_capacity(list.len());
        for path in list.iter().filter(|path| !path.starts_with(OURS)) {
            let path = PathBuf::from(path);
            match copy_entry(&project.root().join(&path), &to.join(&path)) {
                Ok(true) => entries.push(path),
                // A submodule's folder, or a file that is deleted and not committed so.
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
            }
        }
        let has_history = project.is_git() && has_commits && history(project.root(), to)?;
        if has_history {
            walk(&to.join(".git"), Path::new(".git"), &mut entries)?;
        }
        Ok(Self { root: to.to_owned(), entries, has_history })
    }

    /// Where it lies.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A job's own copy, at `to`, which any user of the job may write. Blocking.
    pub fn copy_to(&self, to: &Path) -> io::Result<()> {
        make_folder(to)?;
        let mut last = PathBuf::new();
        for entry in &self.entries {
            if let Some(parent) = entry.parent()
                && parent != last
            {
                let mut folder = to.to_owned();
                for part in parent.components() {
                    folder.push(part);
                    make_folder(&folder)?;
                }
                last = parent.to_owned();
            }
            copy_file(&self.root.join(entry), &to.join(entry))?;
        }
        // Git knows a repository by this folder, which holds no file where all refs are packed.
        if self.has_history {
            make_folder(&to.join(".git/refs"))?;
        }
        Ok(())
    }
}

/// A repository with the last commits, its index as the head has it; whether git made one.
fn history(from: &Path, to: &Path) -> io::Result<bool> {
    let url = format!("file://{}", from.display());
    let git_dir = to.join(".git");
    let clone = git(from, &["clone", "-q", "--bare", "--depth", DEPTH, &url, &git_dir.to_string_lossy()]);
    let steps: [&[&str]; 2] = [&["config", "core.bare", "false"], &["reset", "-q", "--mixed"]];
    let done = clone.is_some() && steps.iter().all(|words| git(to, words).is_some());
    // A job without history still runs; it only cannot ask git.
    if !done && git_dir.exists() {
        fs::remove_dir_all(&git_dir)?;
    }
    Ok(done)
}

fn walk(folder: &Path, relative: &Path, entries: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut open = vec![(folder.to_owned(), relative.to_owned())];
    while let Some((folder, relative)) = open.pop() {
        let Ok(list) = fs::read_dir(&folder) else { continue };
        for entry in list {
            let entry = entry?;
            let path = relative.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                open.push((entry.path(), path));
            } else {
                entries.push(path);
            }
        }
    }
    Ok(())
}

/// Copies a file or a link with the folders above it; `false` for anything else.
fn copy_entry(from: &Path, to: &Path) -> io::Result<bool> {
    let kind = fs::symlink_metadata(from)?.file_type();
    if !kind.is_file() && !kind.is_symlink() {
        return Ok(false);
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    copy_file(from, to)?;
    Ok(true)
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(from)?;
    if meta.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    fs::copy(from, to)?;
    let mode = if meta.permissions().mode() & 0o111 == 0 { 0o666 } else { 0o777 };
    fs::set_permissions(to, fs::Permissions::from_mode(mode))
}

/// A folder that any user of the job may write.
fn make_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(0o777)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_changed_is_in_and_what_is_ignored_is_not_and_the_tree_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("deep/er")).unwrap();
        for (path, text) in [(".gitignore", "junk\n"), ("a", "1"), ("junk", "x"), ("deep/er/b", "2")] {
            fs::write(tree.join(path), text).unwrap();
        }
        let run = |words: &[&str]| git(&tree, words).unwrap();
        run(&["init", "-q", "-b", "main"]);
        run(&["add", "-A"]);
        run(&["-c", "user.name=A", "-c", "user.email=a@x", "commit", "-q", "-m", "one"]);
        fs::write(tree.join("a"), "changed").unwrap();
        fs::write(tree.join("new"), "3").unwrap();
        fs::remove_file(tree.join("deep/er/b")).unwrap();
        let before = run(&["status", "--porcelain"]);

        let project = Project::containing(&tree).unwrap();
        let snapshot = Snapshot::take(&project, true, &folder.path().join("snapshot")).unwrap();
        let copy = folder.path().join("job");
        snapshot.copy_to(&copy).unwrap();
        assert_eq!(fs::read_to_string(copy.join("a")).unwrap(), "changed");
        assert!(copy.join("new").exists() && !copy.join("junk").exists() && !copy.join("deep/er/b").exists());
        assert_eq!(git(&copy, &["log", "-1", "--format=%s"]).unwrap(), "one");
        assert_eq!(git(&copy, &["status", "--porcelain"]).unwrap(), before);
        assert_eq!(run(&["status", "--porcelain"]), before);
    }
}
