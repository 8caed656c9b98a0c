//! Which files of a work tree git does not track, after the job: for `untracked` in artifacts and caches, and to remove them.

use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::error::SourcesError;
use super::folder::Folder;
use super::git::{Git, Place, Reach, WorkTree};
use super::output::Rewrites;
use super::settings::PrivateFolder;
use super::skeleton::{self, NOWHERE, RepositoryConfig};
use super::{SourcesContext, blocking, project_folder};
use crate::executor::log::StageLog;

/// The longest list of files that is read.
const LIST_LIMIT: u64 = 256 << 20;

/// The largest index of a job that git is shown.
const INDEX_LIMIT: u64 = 1 << 30;

/// The files below `project_dir` that git does not track, ignored ones included, relative to it and sorted. A nested
/// repository is one entry that ends with a slash.
///
/// The job's own repository is not used, only a copy of its index: what the job has added counts as tracked.
///
/// # Errors
/// There is no work tree, or the job damaged its index.
pub async fn untracked_files(
    cx: &SourcesContext<'_>,
    object_format: &str,
    project_dir: &Path,
    cancel: &CancellationToken,
) -> Result<Vec<PathBuf>, SourcesError> {
    let around = Around::new(cx, object_format, project_dir, cancel, "listing untracked files").await?;
    let place = Place::Outside(&around.tree, &around.repository);
    let call = around.git.call("listing untracked files", place, Reach::Nothing);
    let (finished, listed) = call.args(["ls-files", "--others", "-z"]).output(LIST_LIMIT).await?;
    let reason = format!("listing untracked files failed: {}", finished.tail.trim());
    finished.or_fail(&reason)?;
    let names = listed.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut files: Vec<PathBuf> = names.map(|name| std::ffi::OsString::from_vec(name.to_vec()).into()).collect();
    files.sort();
    Ok(files)
}

/// Removes what git does not track from the work tree of a job that has ended, as `git clean` with these `flags` does.
///
/// # Errors
/// There is no work tree, the job damaged its index, or something cannot be removed.
pub async fn remove_untracked(
    cx: &SourcesContext<'_>,
    object_format: &str,
    project_dir: &Path,
    flags: &[String],
    log: &dyn StageLog,
    cancel: &CancellationToken,
) -> Result<(), SourcesError> {
    let around = Around::new(cx, object_format, project_dir, cancel, "cleaning the work tree").await?;
    let place = Place::Around(&around.tree, &around.repository);
    let call = around.git.call("cleaning the work tree", place, Reach::Nothing).args(["clean"]).args(flags);
    call.run(Some(log)).await?.or_fail("git clean failed")
}

/// git around the work tree of a job that has ended: an empty repository of ours with a copy of the job's index.
struct Around<'a> {
    git: Git<'a>,
    tree: WorkTree,
    repository: PathBuf,
}

impl<'a> Around<'a> {
    async fn new(
        cx: &'a SourcesContext<'a>,
        object_format: &str,
        project_dir: &'a Path,
        cancel: &'a CancellationToken,
        doing: &'static str,
    ) -> Result<Self, SourcesError> {
        let private = PrivateFolder::create(cx.private_dir).map_err(SourcesError::machine(doing))?;
        let repository = private.path().join("repository");
        let (workspace, project, format) = (cx.workspace.to_owned(), project_dir.to_owned(), object_format.to_owned());
        let stand_in = repository.clone();
        let tree = blocking(move || {
            let (path, folder) = project_folder(&workspace, &project)?;
            make_stand_in(&stand_in, &folder, &format)?;
            Ok(WorkTree { path, folder: Arc::new(folder) })
        });
        let tree = tree.await.map_err(SourcesError::machine(doing))?;
        let mut rewrites = Rewrites::default();
        rewrites.add_folder(project_dir, cx.job_project_dir);
        let git = Git::new(cx.program, private, None, &[project_dir], rewrites, cx.deadline, cancel);
        Ok(Self { git: git.map_err(SourcesError::machine(doing))?, tree, repository })
    }
}

fn make_stand_in(path: &Path, project: &Folder, object_format: &str) -> io::Result<()> {
    std::fs::create_dir(path)?;
    let config =
        RepositoryConfig { object_format, is_bare: false, origin: None, worktree: None, is_partial: false, more: "" };
    let folder = Folder::open(path)?;
    skeleton::write(&folder, &config, NOWHERE)?;
    let Some(git) = project.folder(".git")? else { return Ok(()) };
    let Some(index) = git.open_regular("index".as_ref())? else { return Ok(()) };
    if index.metadata()?.len() > INDEX_LIMIT {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    io::copy(&mut io::Read::take(index, INDEX_LIMIT), &mut folder.create("index")?).map(drop)
}
