//! `--watch`: which files of the project have changed.
//!
//! The machine says that something happened in a folder; whether a file that counts is another one now is then looked up, by
//! git's own rules of what is ignored. So an editor's temporary files, a build in an ignored folder, or a file that is written
//! as it was start nothing. Where folders cannot be watched, all is looked up every now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::house::{blocking, words};
use super::project::Project;
use crate::parser::document::Files as _;

/// So long nothing must happen before files are looked at: who saves one often saves more.
const QUIET: Duration = Duration::from_millis(200);
/// So long that is waited for where something happens all the time.
const LONGEST: Duration = Duration::from_secs(3);
/// How often files are looked at where folders cannot be watched.
const PACE: Duration = Duration::from_secs(2);
/// Folders of ours and git's, whose files never count.
const OURS: [&str; 2] = [".git", ".forgehand"];

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    size: u64,
    mode: u32,
    inode: u64,
}

type State = BTreeMap<String, Stamp>;

/// The project's folders, watched.
struct Watched {
    root: PathBuf,
    /// What runs write themselves: it does not count.
    but: Vec<PathBuf>,
    is_git: bool,
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
}

/// Tells from now on which files have changed but those that runs write themselves, each time some have. Ends with the receiver.
///
/// # Errors
/// The project's files cannot be listed.
pub async fn start(project: &Project, but: &[&Path]) -> Result<mpsc::Receiver<Vec<String>>, String> {
    let (root, is_git) = (project.root().to_owned(), project.is_git());
    let but: Vec<PathBuf> = but.iter().filter_map(|path| full(path)).collect();
    let (heard, mut events) = mpsc::channel::<()>(1);
    let (created, mut folders) = mpsc::unbounded_channel::<PathBuf>();
    let hears = {
        let root = root.clone();
        move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            if event.kind.is_access() || event.paths.iter().all(|path| is_ours(&root, path)) {
                return;
            }
            if event.kind.is_create() || event.kind.is_modify() {
                event.paths.iter().filter(|path| path.is_dir()).for_each(|path| drop(created.send(path.clone())));
            }
            // One that waits is enough.
            let _ = heard.try_send(());
        }
    };
    let mut watched =
        Watched { root, but, is_git, watcher: notify::recommended_watcher(hears).ok(), folders: BTreeSet::new() };
    let (mut watched, mut state) = blocking(move || {
        let state = watched.look()?;
        Ok((watched, state))
    })
    .await?;
    let (tell, changes) = mpsc::channel(64);
    tokio::spawn(async move {
        loop {
            let happened = match watched.watcher {
                Some(_) => events.recv().await.is_some(),
                None => {
                    tokio::time::sleep(PACE).await;
                    true
                }
            };
            if !happened || tell.is_closed() {
                return;
            }
            let end = Instant::now() + LONGEST;
            while timeout_at(end, timeout(QUIET, events.recv())).await.is_ok_and(|quiet| matches!(quiet, Ok(Some(()))))
            {
            }
            let mut new = Vec::new();
            while let Ok(folder) = folders.try_recv() {
                new.push(folder);
            }
            let looked = blocking(move || {
                new.iter().for_each(|folder| watched.add_new(folder));
                let state = watched.look();
                Ok((watched, state))
            });
            let Ok((back, now)) = looked.await else { return };
            watched = back;
            // git may be at work; it is looked at again when the next thing happens.
            let Ok(now) = now else { continue };
            let changed = difference(&state, &now);
            state = now;
            if !changed.is_empty() && tell.send(changed).await.is_err() {
                return;
            }
        }
    });
    Ok(changes)
}

/// Where a file is or will be, without links in its folder's path.
fn full(path: &Path) -> Option<PathBuf> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(folder.canonicalize().ok()?.join(path.file_name()?))
}

/// Files that are in one of the states only, or differ.
fn difference(before: &State, now: &State) -> Vec<String> {
    let gone = before.keys().filter(|path| !now.contains_key(*path));
    let other = now.iter().filter(|(path, stamp)| before.get(*path) != Some(stamp)).map(|(path, _)| path);
    gone.chain(other).cloned().collect()
}

fn is_ours(root: &Path, path: &Path) -> bool {
    let first = path.strip_prefix(root).ok().and_then(|path| path.components().next());
    matches!(first, Some(Component::Normal(name)) if OURS.iter().any(|ours| name == *ours))
}

impl Watched {
    /// The files that count as they are now; their folders are watched.
    fn look(&mut self) -> Result<State, String> {
        // A project lists its files once.
        let project = Project::containing(&self.root).map_err(words)?;
        let files = project.list().map_err(|error| error.problem)?;
        let mut state = State::new();
        let mut folders = BTreeSet::from([self.root.clone()]);
        for file in files.iter() {
            let path = self.root.join(file);
            if is_ours(&self.root, &path) || self.but.contains(&path) {
                continue;
            }
            for folder in path.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.root)) {
                if !folders.insert(folder.to_owned()) {
                    break;
                }
            }
            if let Ok(meta) = fs::symlink_metadata(&path) {
                let modified = (meta.mtime(), meta.mtime_nsec());
                let stamp = Stamp { modified, size: meta.len(), mode: meta.mode(), inode: meta.ino() };
                state.insert(file.clone(), stamp);
            }
        }
        self.folders.retain(|folder| folder.is_dir());
        folders.into_iter().for_each(|folder| self.add(folder));
        Ok(state)
    }

    /// Watches a folder that has come, and those in it, unless git ignores it.
    fn add_new(&mut self, folder: &Path) {
        let mut open = vec![folder.to_owned()];
        while let Some(folder) = open.pop() {
            if is_ours(&self.root, &folder) || self.folders.contains(&folder) || self.is_ignored(&folder) {
                continue;
            }
            let inner = fs::read_dir(&folder).into_iter().flatten().flatten();
            open.extend(
                inner.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
            );
            self.add(folder);
        }
    }

    fn is_ignored(&self, folder: &Path) -> bool {
        let asked = self.is_git.then(|| {
            let mut git = Command::new("git");
            git.args(["-c", "core.fsmonitor=false", "check-ignore", "-q", "--"]).arg(folder);
            git.current_dir(&self.root).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
        });
        asked.is_some_and(|status| status.is_ok_and(|status| status.success()))
    }

    fn add(&mut self, folder: PathBuf) {
        let Some(watcher) = &mut self.watcher else { return };
        if self.folders.contains(&folder) {
            return;
        }
        match watcher.watch(&folder, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.folders.insert(folder);
            }
            // It went again.
            Err(_) if !folder.is_dir() => {}
            Err(error) => {
                tracing::warn!(%error, "folders cannot be watched; files are looked at every two seconds");
                self.watcher = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A git work tree that ignores `target` and `*.log`.
    fn project() -> (tempfile::TempDir, Project) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".gitignore"), "target/\n*.log\n").unwrap();
        fs::write(folder.path().join("a"), "a").unwrap();
        fs::create_dir(folder.path().join("target")).unwrap();
        let git = Command::new("git").args(["init", "-q"]).current_dir(folder.path()).status().unwrap();
        assert!(git.success());
        let project = Project::containing(folder.path()).unwrap();
        (folder, project)
    }

    async fn next(changes: &mut mpsc::Receiver<Vec<String>>) -> Vec<String> {
        timeout(Duration::from_secs(30), changes.recv()).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn what_counts_is_told_and_what_is_ignored_is_not() {
        let (folder, project) = project();
        let root = project.root().to_owned();
        let mut changes = start(&project, &[]).await.unwrap();
        fs::write(root.join("target/x"), "x").unwrap();
        fs::write(root.join("x.log"), "x").unwrap();
        fs::create_dir(root.join(".forgehand")).unwrap();
        fs::write(root.join(".forgehand/x"), "x").unwrap();
        fs::write(root.join("a"), "other").unwrap();
        assert_eq!(next(&mut changes).await, ["a"]);
        // A folder that comes empty is watched, too; one that is ignored is not.
        fs::create_dir_all(root.join("new/deep")).unwrap();
        tokio::time::sleep(QUIET * 3).await;
        fs::write(root.join("new/deep/b"), "b").unwrap();
        assert_eq!(next(&mut changes).await, ["new/deep/b"]);
        fs::remove_file(root.join("a")).unwrap();
        assert_eq!(next(&mut changes).await, ["a"]);
        assert!(changes.try_recv().is_err());
        drop(folder);
    }
}
