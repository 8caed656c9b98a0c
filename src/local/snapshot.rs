//! The work tree as it is, uncommitted changes too, copied once; each job gets a copy of that.
//!
//! Files are copied by the kernel, which shares their blocks where the file system can (`copy_file_range`); never hard links,
//! since jobs write into their files.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::facts::git;
use super::project::{Project, git_files};
use crate::executor::stages::sources::submodules_of;

/// How many commits of history a job sees, as on GitLab.
const DEPTH: &str = "20";
/// Our own folder in a project, which no job is given.
const OURS: &str = ".forgehand";
/// Submodules in submodules deeper than this are left out.
const DEEPEST: usize = 32;

/// A copy of a work tree that nobody writes to.
#[derive(Debug)]
pub struct Snapshot {
    root: PathBuf,
    entries: Vec<PathBuf>,
    /// Files of submodules: the folder that holds them, and the path below it.
    of_submodules: Vec<(PathBuf, PathBuf)>,
    has_history: bool,
}

impl Snapshot {
    /// Copies what is committed or not ignored to `to`, which does not exist. No job is given what is below `private`: the
    /// state directory, which may lie in the work tree. Blocking.
    pub fn take(project: &Project, has_commits: bool, to: &Path, private: &Path) -> io::Result<Self> {
        fs::create_dir_all(to)?;
        let private = below(project.root(), private);
        let list = project.paths().map_err(io::Error::other)?;
        let mut entries = Vec::with_capacity(list.len());
        let mut submodules = Vec::new();
        for path in list {
            if path.starts_with(OURS) || private.as_ref().is_some_and(|private| path.starts_with(private)) {
                continue;
            }
            let from = project.root().join(&path);
            match copy_entry(&from, &to.join(&path)) {
                Ok(true) => entries.push(path),
                // A submodule: its folder is part of the tree, what is in it comes with who asks for it.
                Ok(false) if from.is_dir() => {
                    fs::create_dir_all(to.join(&path))?;
                    submodules.push(path);
                }
                Ok(false) => {}
                // A file that is deleted and not committed so.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
            }
        }
        let mut of_submodules = Vec::new();
        for path in submodules {
            copy_submodule(project.root(), &path, to, false, &mut of_submodules)?;
        }
        let has_history = project.is_git() && has_commits && history(project.root(), to)?;
        if has_history {
            walk(&to.join(".git"), Path::new(".git"), &mut entries)?;
        }
        Ok(Self { root: to.to_owned(), entries, of_submodules, has_history })
    }

    /// Where it lies.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A job's own copy, at `to`, without the rights of this umask: with none, any user of the job may write it. Blocking.
    pub fn copy_to(&self, to: &Path, umask: u32) -> io::Result<()> {
        make_folder(to, umask)?;
        let mut last = PathBuf::new();
        let own = self.entries.iter().map(|entry| (&self.root, entry));
        for (root, entry) in own.chain(self.of_submodules.iter().map(|(root, entry)| (root, entry))) {
            if let Some(parent) = entry.parent()
                && parent != last
            {
                let mut folder = to.to_owned();
                for part in parent.components() {
                    folder.push(part);
                    make_folder(&folder, umask)?;
                }
                last = parent.to_owned();
            }
            copy_file(&root.join(entry), &to.join(entry), umask)?;
        }
        // Git knows a repository by this folder, which holds no file where all refs are packed.
        if self.has_history {
            make_folder(&to.join(".git/refs"), umask)?;
        }
        Ok(())
    }
}

/// The path of `folder` below `root`, whatever links lead to either. `None`: it lies elsewhere, or is the root itself.
fn below(root: &Path, folder: &Path) -> Option<PathBuf> {
    let (root, folder) = (root.canonicalize().ok()?, folder.canonicalize().ok()?);
    folder.strip_prefix(root).ok().filter(|path| !path.as_os_str().is_empty()).map(Path::to_owned)
}

/// Copies what a submodule holds, by its own rules of what is ignored, beside the snapshot. One that was never fetched has nothing.
fn copy_submodule(
    root: &Path,
    path: &Path,
    to: &Path,
    nested: bool,
    found: &mut Vec<(PathBuf, PathBuf)>,
) -> io::Result<()> {
    let mut open = vec![(path.to_owned(), nested, 0)];
    while let Some((path, nested, depth)) = open.pop() {
        let folder = root.join(&path);
        if depth > DEEPEST || !folder.join(".git").exists() {
            continue;
        }
        let beside = submodules_of(to, nested);
        for name in git_files(&folder).map_err(io::Error::other)? {
            let path = path.join(name);
            match copy_entry(&root.join(&path), &beside.join(&path)) {
                Ok(true) => found.push((beside.clone(), path)),
                Ok(false) if root.join(&path).is_dir() => {
                    fs::create_dir_all(beside.join(&path))?;
                    open.push((path, true, depth + 1));
                }
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
            }
        }
    }
    Ok(())
}

/// A repository with the last commits, its index as the head has it; whether git made one.
fn history(from: &Path, to: &Path) -> io::Result<bool> {
    let url = format!("file://{}", from.display());
    let git_dir = to.join(".git");
    let clone = git(from, &["clone", "-q", "--bare", "--depth", DEPTH, &url, &git_dir.to_string_lossy()]);
    // As on the forge, `origin` is where the project comes from; not this folder, which no container sees.
    let origin = git(from, &["config", "--get", "remote.origin.url"]).map(|url| without_password(&url));
    let remote: &[&str] = match &origin {
        Some(url) => &["remote", "set-url", "origin", url],
        None => &["remote", "remove", "origin"],
    };
    let steps: [&[&str]; 3] = [remote, &["config", "core.bare", "false"], &["reset", "-q", "--mixed"]];
    let done = clone.is_some() && steps.iter().all(|words| git(to, words).is_some());
    // A job without history still runs; it only cannot ask git.
    if !done && git_dir.exists() {
        fs::remove_dir_all(&git_dir)?;
    }
    Ok(done)
}

/// An address without what signs its user in.
fn without_password(url: &str) -> String {
    match url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?))) {
        Some((scheme, (user, rest))) if !user.contains('/') && scheme.starts_with("http") => {
            format!("{scheme}://{rest}")
        }
        _ => url.to_owned(),
    }
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
    copy_file(from, to, 0)?;
    Ok(true)
}

fn copy_file(from: &Path, to: &Path, umask: u32) -> io::Result<()> {
    let meta = fs::symlink_metadata(from)?;
    if meta.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    fs::copy(from, to)?;
    let mode = if meta.permissions().mode() & 0o111 == 0 { 0o666 } else { 0o777 };
    fs::set_permissions(to, fs::Permissions::from_mode(mode & !umask))
}

/// A folder that any user of the job may write, or as the umask has it.
fn make_folder(path: &Path, umask: u32) -> io::Result<()> {
    match fs::create_dir(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(0o777 & !umask)),
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
        fs::create_dir(tree.join("state")).unwrap();
        fs::write(tree.join("state/key"), "secret").unwrap();
        let before = run(&["status", "--porcelain"]);

        let project = Project::containing(&tree).unwrap();
        let snapshot = Snapshot::take(&project, true, &folder.path().join("snapshot"), &tree.join("state")).unwrap();
        let copy = folder.path().join("job");
        snapshot.copy_to(&copy, 0).unwrap();
        assert_eq!(fs::read_to_string(copy.join("a")).unwrap(), "changed");
        assert!(!copy.join("state").exists(), "keys of other jobs");
        assert!(copy.join("new").exists() && !copy.join("junk").exists() && !copy.join("deep/er/b").exists());
        assert_eq!(git(&copy, &["log", "-1", "--format=%s"]).unwrap(), "one");
        let in_copy = git(&copy, &["status", "--porcelain"]).unwrap();
        assert_eq!(format!("{in_copy}\n?? state/"), before);
        assert_eq!(run(&["status", "--porcelain"]), before);
        assert_eq!(git(&copy, &["remote"]).unwrap(), "");

        run(&["remote", "add", "origin", "https://me:secret@git.example.com/a/b.git"]);
        let snapshot = Snapshot::take(&project, true, &folder.path().join("again"), folder.path()).unwrap();
        let remote = git(snapshot.root(), &["remote", "get-url", "origin"]).unwrap();
        assert_eq!(remote, "https://git.example.com/a/b.git");
        assert_eq!(without_password("git@git.example.com:a/b.git"), "git@git.example.com:a/b.git");
    }

    #[test]
    fn submodules_lie_beside_it_and_odd_names_in_it() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt as _;

        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        let run = |tree: &str, words: &[&str]| {
            let given = ["-c", "user.name=A", "-c", "user.email=a@x", "-c", "protocol.file.allow=always"];
            git(&at(tree), &[&given, words].concat()).unwrap()
        };
        for tree in ["inner", "middle", "tree"] {
            fs::create_dir(at(tree)).unwrap();
            run(tree, &["init", "-q", "-b", "main"]);
            fs::write(at(tree).join(format!("of-{tree}")), tree).unwrap();
            if let Some(below) = match tree {
                "middle" => Some("inner"),
                "tree" => Some("middle"),
                _ => None,
            } {
                run(tree, &["submodule", "--quiet", "add", &at(below).to_string_lossy(), below]);
            }
            run(tree, &["add", "-A"]);
            run(tree, &["commit", "-q", "-m", "one"]);
        }
        run("tree", &["submodule", "--quiet", "update", "--init", "--recursive"]);
        let odd = OsStr::from_bytes(b"odd-\xff");
        fs::write(at("tree").join(odd), "odd").unwrap();

        let project = Project::containing(&at("tree")).unwrap();
        let snapshot = Snapshot::take(&project, true, &at("snapshot"), folder.path()).unwrap();
        assert!(at("snapshot").join(odd).exists());
        assert_eq!(fs::read_dir(at("snapshot/middle")).unwrap().count(), 0, "an empty folder");
        assert!(submodules_of(&at("snapshot"), false).join("middle/of-middle").exists());
        assert!(submodules_of(&at("snapshot"), true).join("middle/inner/of-inner").exists());
        snapshot.copy_to(&at("job"), 0).unwrap();
        assert!(at("job/middle/inner/of-inner").exists() && at("job").join(odd).exists());
    }
}
