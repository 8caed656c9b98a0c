//! Get sources: fills a job's work tree from its repository (protocols/gitlab.md, section 8).
//!
//! git runs on the agent's machine, often as root, over a folder that earlier jobs wrote. Three things make that safe,
//! each enough for most of what is known:
//! - [`hygiene`]: git never sees a repository as a job left it. What the [`record`] does not know goes.
//! - [`settings`]: no configuration but ours counts; nothing a repository names is run; [`flags`] and [`request`] let
//!   nothing through that git could take for an option or another transport.
//! - [`confine`]: the kernel denies git all but this work tree, this project's mirror and the system's programs.
//!
//! The walk of one call: [`get_sources`] checks the request, [`hygiene`] prepares the work tree, [`fetch`] brings the
//! commits through the [`mirror`], [`checkout`] and [`submodules`] the files, and [`leave`] what the job and the next
//! one need. [`git`] runs each command, on a [`leash`]: it ends with the agent, the job and the stage's time.
//!
//! No path of the machine reaches the job's log ([`output`]), and no token a command line, a log or the work tree.

mod checkout;
mod confine;
mod error;
mod fetch;
mod flags;
mod folder;
mod git;
mod hygiene;
mod leash;
mod leave;
mod mirror;
mod output;
mod record;
mod remove;
mod request;
mod settings;
mod skeleton;
mod snapshot;
mod submodules;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod untracked;
mod upkeep;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use confine::Confinement;
pub use error::SourcesError;
pub use mirror::Mirrors;
pub(in crate::executor::stages) use remove::remove_tree;
pub use request::AllowedRemotes;
pub use settings::{GitNetwork, GitProgram};
pub use snapshot::{own_umask, submodules_of};
pub use untracked::{remove_untracked, untracked_files};
pub use upkeep::{UpkeepLimits, UpkeepReport};

use fetch::{Fetch, FetchFailure};
use folder::Folder;
use git::{Git, WorkTree};
use hygiene::Left;
use output::Rewrites;
use record::{RecordFolder, TreeRecord};
use request::Request;
use settings::PrivateFolder;
use skeleton::{NOWHERE, RepositoryConfig};

use crate::executor::log::{StageLog, Tone};
use crate::pipeline::Owner;
use crate::pipeline::definition::{SourceSpec, SourceStrategy, SubmoduleStrategy};

/// What the stage needs of its surroundings.
#[derive(Clone, Copy)]
pub struct SourcesContext<'a> {
    /// The machine's git.
    pub program: &'a GitProgram,
    /// The agent's copies of repositories.
    pub mirrors: &'a Mirrors,
    /// On whose behalf the job runs.
    pub owner: &'a Owner,
    /// The job's folder for the agent alone (0700).
    pub private_dir: &'a Path,
    /// The folder on the machine that is mounted at the job's builds folder. No job can change its own name or what lies
    /// above it; what lies below, any job of the owner.
    pub workspace: &'a Path,
    /// The work tree's path as the job sees it.
    pub job_project_dir: &'a str,
    /// How git gets through to the forge.
    pub network: &'a GitNetwork,
    /// Which remotes are taken.
    pub remotes: AllowedRemotes,
    /// The variable that holds, in the job, the password of the source's credentials (`CI_JOB_TOKEN`): the job's own git
    /// finds its credentials by it.
    pub token_variable: Option<&'a str>,
    /// What only the job's sandbox can do.
    pub job_side: &'a dyn JobSide,
    /// When the stage must be over.
    pub deadline: Instant,
    /// Which attempt this is, from 1. Later ones start with an empty work tree.
    pub attempt: u32,
}

/// What only the job's sandbox can do for this stage.
pub trait JobSide: Send + Sync {
    /// Runs commands of the job in its sandbox. `hook` is the name GitLab gives them. The error is what the user reads,
    /// with the exit code where there is one.
    fn run_hook<'h>(
        &'h self,
        hook: &'static str,
        commands: &'h [String],
    ) -> BoxFuture<'h, Result<(), (String, Option<i32>)>>;

    /// Removes a folder that the agent's own user may not remove, by a container as root.
    fn remove_as_root<'h>(&'h self, folder: &'h Path) -> BoxFuture<'h, io::Result<()>>;
}

/// Fills the work tree at `project_dir`, a path of the machine below the context's workspace, as `spec` says.
///
/// May be called again after a crash or a failure at any point: what is half done is removed. Dropping the future kills
/// git and its children.
///
/// # Errors
/// [`SourcesError`]; what git printed is in `log`. Whether another attempt makes sense: [`SourcesError::may_retry`].
pub async fn get_sources(
    cx: &SourcesContext<'_>,
    spec: &SourceSpec,
    project_dir: &Path,
    log: &dyn StageLog,
    cancel: &CancellationToken,
) -> Result<(), SourcesError> {
    let stage = Stage { cx, spec, project_dir, log, cancel };
    match spec.strategy {
        SourceStrategy::None => {
            log.say(Tone::Notice, "Skipping Git repository setup");
            match spec.begins_empty {
                true => stage.empty_tree().await.map(drop),
                false => stage.in_parent(|parent, name| parent.folder_or_new(name)).await.map(drop),
            }
        }
        SourceStrategy::Empty => {
            log.say(Tone::Notice, "Skipping Git repository setup and creating an empty build directory");
            stage.empty_tree().await.map(drop)
        }
        SourceStrategy::Snapshot => stage.lay_down(None, true, spec.submodules.depth_of_tree).await,
        SourceStrategy::Clone | SourceStrategy::Fetch => stage.fill().await,
    }
}

/// Lays the sources of `spec`'s snapshot into the work tree, below it at `path` where that is given. `clean`: what was there
/// goes.
///
/// # Errors
/// There is no snapshot; or the disk's.
pub async fn lay_down(
    cx: &SourcesContext<'_>,
    spec: &SourceSpec,
    project_dir: &Path,
    (path, clean, submodules): (&Path, bool, SubmoduleStrategy),
    log: &dyn StageLog,
    cancel: &CancellationToken,
) -> Result<(), SourcesError> {
    let stage = Stage { cx, spec, project_dir, log, cancel };
    stage.lay_down(Some(path).filter(|path| !path.as_os_str().is_empty()), clean, submodules).await
}

/// Cleans the work tree of a job that has ended: what git does not track goes where the next job fetches into it; else all
/// of it goes.
///
/// # Errors
/// What cannot be removed; the next job tries again.
pub async fn clean_up(
    cx: &SourcesContext<'_>,
    spec: &SourceSpec,
    project_dir: &Path,
    log: &dyn StageLog,
    cancel: &CancellationToken,
) -> Result<(), SourcesError> {
    let stage = Stage { cx, spec, project_dir, log, cancel };
    match (spec.strategy, &spec.clean_flags) {
        (SourceStrategy::None, _) | (SourceStrategy::Fetch, None) => {
            log.say(Tone::Notice, "Skipping build directory cleanup step");
            Ok(())
        }
        (SourceStrategy::Fetch, Some(flags)) => {
            remove_untracked(cx, stage.object_format(), project_dir, flags, log, cancel).await
        }
        (SourceStrategy::Clone | SourceStrategy::Empty | SourceStrategy::Snapshot, _) => {
            drop(stage.records().take());
            stage.empty_tree().await?;
            stage.in_parent(|parent, name| parent.unlink(name)).await
        }
    }
}

/// One call of [`get_sources`].
struct Stage<'a> {
    cx: &'a SourcesContext<'a>,
    spec: &'a SourceSpec,
    project_dir: &'a Path,
    log: &'a dyn StageLog,
    cancel: &'a CancellationToken,
}

impl Stage<'_> {
    async fn fill(&self) -> Result<(), SourcesError> {
        let request = Request::check(self.spec, self.cx.remotes)?;
        self.hook("pre_get_sources_script", &self.spec.pre_script).await?;
        let git = self.git(&request)?;
        let may_reuse = self.spec.strategy == SourceStrategy::Fetch && self.cx.attempt <= 1;
        match self.try_to_fill(&git, &request, may_reuse).await {
            Ok(()) => {}
            Err(FetchFailure::WorkTree(error)) if error.may_retry() => {
                tracing::info!(%error, "a work tree is of no use; starting with an empty one");
                let line = "the work tree of an earlier job cannot be used; starting with an empty one";
                self.log.say(Tone::Warning, line);
                self.try_to_fill(&git, &request, false).await.map_err(FetchFailure::into_error)?;
            }
            Err(failure) => return Err(failure.into_error()),
        }
        self.hook("post_get_sources_script", &self.spec.post_script).await
    }

    async fn lay_down(
        &self,
        below: Option<&Path>,
        clean: bool,
        submodules: SubmoduleStrategy,
    ) -> Result<(), SourcesError> {
        let Some(snapshot) = self.spec.snapshot.clone() else {
            let problem = "this job has no sources on this machine".to_owned();
            return Err(SourcesError::Refused { setting: "checkout".to_owned(), problem });
        };
        if below.is_none() {
            self.hook("pre_get_sources_script", &self.spec.pre_script).await?;
        }
        let folder = match (below, clean) {
            (None, true) => self.empty_tree().await?,
            _ => self.in_parent(|parent, name| parent.folder_or_new(name)).await?,
        };
        let (below, cancel) = (below.map(Path::to_owned), self.cancel.clone());
        // A step that asks for the sources wants them all, whatever came before the steps.
        let without_files = self.spec.strategy == SourceStrategy::Snapshot && !self.spec.checkout;
        let part = if without_files { snapshot::Part::History } else { snapshot::Part::All };
        let umask = if self.spec.open_to_all { 0 } else { snapshot::own_umask() };
        let is_part = below.is_some();
        let copied = blocking(move || {
            let folder = match below {
                Some(below) => snapshot::folder_at(&folder, &below)?,
                None => folder,
            };
            if clean && is_part {
                remove::clear(&folder)?;
            }
            snapshot::copy(&snapshot, &folder, (part, umask), &|| cancel.is_cancelled())?;
            let layers: &[bool] = match submodules {
                _ if part == snapshot::Part::History => &[],
                SubmoduleStrategy::None => &[],
                SubmoduleStrategy::Normal => &[false],
                SubmoduleStrategy::Recursive => &[false, true],
            };
            for source in layers.iter().map(|nested| submodules_of(&snapshot, *nested)).filter(|source| source.is_dir())
            {
                snapshot::copy(&source, &folder, (snapshot::Part::All, umask), &|| cancel.is_cancelled())?;
            }
            Ok(())
        });
        copied.await.map_err(SourcesError::machine("laying the sources into the work tree"))?;
        if is_part { Ok(()) } else { self.hook("post_get_sources_script", &self.spec.post_script).await }
    }

    async fn try_to_fill(&self, git: &Git<'_>, request: &Request<'_>, may_reuse: bool) -> Result<(), FetchFailure> {
        let (folder, left) = self.prepare(may_reuse).await.map_err(FetchFailure::Final)?;
        let tree = WorkTree { path: self.project_dir.to_owned(), folder: Arc::new(folder) };
        self.announce(left);
        let fetch = Fetch {
            git,
            request,
            tree: &tree,
            mirrors: self.cx.mirrors,
            owner: self.cx.owner,
            is_reused: left == Some(Left::Everything),
            log: self.log,
        };
        fetch.run().await?;
        let files = async {
            checkout::check_out(git, request, &tree, self.log).await?;
            submodules::update(git, request, &tree, self.log).await.map_err(FetchFailure::WorkTree)
        };
        files.await.map_err(|failure| if left.is_some() { failure } else { failure.into_final() })?;
        self.leave(git, request, &tree).await.map_err(FetchFailure::Final)
    }

    async fn leave(&self, git: &Git<'_>, request: &Request<'_>, tree: &WorkTree) -> Result<(), SourcesError> {
        match leave::record(git, request, tree, &self.records()).await {
            // Without a record the next job starts anew, which is no reason for this one to fail.
            Err(SourcesError::Machine { doing, source }) => {
                tracing::warn!(doing, error = %source, "no record was kept")
            }
            other => other?,
        }
        leave::configure_for_job(request, &tree.folder, self.cx.token_variable)
            .map_err(SourcesError::machine("writing the repository's configuration"))
    }

    /// The lines GitLab's users know.
    fn announce(&self, left: Option<Left>) {
        let depth = self.spec.depth;
        let how_deep = if depth > 0 { format!(" with git depth set to {depth}") } else { String::new() };
        self.log.say(Tone::Notice, &format!("Fetching changes{how_deep}..."));
        let (words, is_new) = match left {
            Some(_) => ("Reinitialized existing", false),
            None => ("Initialized empty", true),
        };
        self.log.output(format!("{words} Git repository in {}/.git/\n", self.cx.job_project_dir).as_bytes());
        if is_new {
            self.log.say(Tone::Notice, "Created fresh repository.");
        }
    }

    fn git<'g>(&'g self, request: &Request<'_>) -> Result<Git<'g>, SourcesError> {
        let private = PrivateFolder::create(self.cx.private_dir);
        let private = private.map_err(SourcesError::machine("making git's private folder"))?;
        let mirror = self.cx.mirrors.folder_of(self.cx.owner).join("repo");
        let mut rewrites = Rewrites::default();
        rewrites.add_folder(self.cx.mirrors.root(), "(mirrors)");
        rewrites.add_folder(&mirror, self.spec.url.strip_suffix(".git").unwrap_or(&self.spec.url));
        rewrites.add_folder(self.project_dir, self.cx.job_project_dir);
        rewrites.add_folder(self.cx.workspace, self.job_builds_dir());
        let trusted = [self.project_dir, &mirror];
        Git::new(
            self.cx.program,
            private,
            Some((request, self.cx.network)),
            &trusted,
            rewrites,
            self.cx.deadline,
            self.cancel,
        )
        .map_err(SourcesError::machine("preparing git"))
    }

    /// What the workspace is called in the job.
    fn job_builds_dir(&self) -> &str {
        let relative = self.project_dir.strip_prefix(self.cx.workspace).ok().and_then(Path::to_str).unwrap_or_default();
        let builds = self.cx.job_project_dir.strip_suffix(relative).unwrap_or("(workspace)");
        builds.strip_suffix('/').unwrap_or(builds)
    }

    async fn hook(&self, name: &'static str, commands: &[String]) -> Result<(), SourcesError> {
        if commands.is_empty() {
            return Ok(());
        }
        let doing = || name.to_owned();
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(SourcesError::Cancelled { doing: doing() }),
            () = tokio::time::sleep_until(self.cx.deadline) => Err(SourcesError::TimedOut { doing: doing() }),
            done = self.cx.job_side.run_hook(name, commands) => {
                done.map_err(|(message, exit_code)| SourcesError::Hook { message: format!("{name}: {message}"), exit_code })
            }
        }
    }

    /// The work tree, cleaned by hygiene where an earlier job's is of use, else new. Its repository is ours in both
    /// cases.
    async fn prepare(&self, may_reuse: bool) -> Result<(Folder, Option<Left>), SourcesError> {
        let (records, origin) = (self.records(), self.spec.url.clone());
        // Taken out in any case: a work tree that is about to change is no longer what the record says.
        let record = records.take().filter(|record| may_reuse && record.object_format == self.object_format());
        if let Some(record) = record {
            let restored = self.in_parent(move |parent, name| reuse(parent, name, &record, &records, &origin)).await;
            match restored {
                Ok((folder, left)) => return Ok((folder, Some(left))),
                Err(error) => tracing::info!(%error, "a work tree cannot be used again; removing it"),
            }
        }
        let folder = self.empty_tree().await?;
        let (format, origin) = (self.object_format().to_owned(), self.spec.url.clone());
        let is_partial = checkout::is_partial_spec(self.spec);
        let folder = blocking(move || {
            let config = RepositoryConfig {
                object_format: &format,
                is_bare: false,
                origin: Some(&origin),
                worktree: None,
                is_partial,
                more: "",
            };
            skeleton::write(&folder.folder_or_new(".git")?, &config, NOWHERE)?;
            Ok(folder)
        });
        Ok((folder.await.map_err(SourcesError::machine("making the repository"))?, None))
    }

    /// An empty folder in the place of whatever is there.
    async fn empty_tree(&self) -> Result<Folder, SourcesError> {
        let renew = |parent: &Folder, name: &std::ffi::OsStr| {
            parent.unlink(name)?;
            parent.folder_or_new(name)
        };
        match self.in_parent(renew).await {
            Err(SourcesError::Machine { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                let removed = self.cx.job_side.remove_as_root(self.project_dir).await;
                removed.map_err(SourcesError::machine("removing what an earlier job left as root"))?;
                self.in_parent(renew).await
            }
            other => other,
        }
    }

    /// Does something with the work tree's name in the folder above it, which is reached without following any link.
    async fn in_parent<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder, &std::ffi::OsStr) -> io::Result<T> + Send + 'static,
    ) -> Result<T, SourcesError> {
        let (workspace, project_dir) = (self.cx.workspace.to_owned(), self.project_dir.to_owned());
        let done = blocking(move || {
            let relative = project_dir.strip_prefix(&workspace).map_err(io::Error::other)?;
            let (Some(parent), Some(name)) = (relative.parent(), relative.file_name()) else {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "the work tree is the workspace itself"));
            };
            work(&hygiene::open_project(&Folder::open(&workspace)?, parent)?, name)
        });
        let done = done.await.map_err(SourcesError::machine("preparing the work tree"))?;
        match (self.cancel.is_cancelled(), Instant::now() < self.cx.deadline) {
            (true, _) => Err(SourcesError::Cancelled { doing: "preparing the work tree".to_owned() }),
            (false, false) => Err(SourcesError::TimedOut { doing: "preparing the work tree".to_owned() }),
            (false, true) => Ok(done),
        }
    }

    fn records(&self) -> RecordFolder {
        RecordFolder::of(&self.cx.mirrors.records_of(self.cx.owner), self.project_dir)
    }

    fn object_format(&self) -> &str {
        if self.spec.object_format == "sha256" { "sha256" } else { "sha1" }
    }
}

fn reuse(
    parent: &Folder,
    name: &std::ffi::OsStr,
    record: &TreeRecord,
    records: &RecordFolder,
    origin: &str,
) -> io::Result<(Folder, Left)> {
    let project = parent.folder(name)?.ok_or_else(|| io::Error::other("it is not there, or not a folder"))?;
    let stat = project.own_stat()?;
    parent.open_to_all(name, &stat)?;
    let left = hygiene::restore(&project, record, records, origin)?;
    Ok((project, left))
}

/// Runs what may block where it may. A panic there comes back as an error.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

impl FetchFailure {
    fn into_error(self) -> SourcesError {
        match self {
            FetchFailure::WorkTree(error) | FetchFailure::Final(error) => error,
        }
    }

    fn into_final(self) -> Self {
        FetchFailure::Final(self.into_error())
    }
}

/// Where git could be asked to work: used by the parts that need no repository of the job's.
fn project_folder(workspace: &Path, project_dir: &Path) -> io::Result<(PathBuf, Folder)> {
    let relative = project_dir.strip_prefix(workspace).map_err(io::Error::other)?;
    let folder = Folder::open(workspace)?.descend(relative)?;
    Ok((project_dir.to_owned(), folder.ok_or_else(|| io::Error::other("the work tree is not there"))?))
}
