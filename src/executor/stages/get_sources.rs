//! The work tree: git runs on this machine, the job's own hooks run in its sandbox.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::artifacts::{blocking, open_project};
use super::files::below_workspace;
use super::retry::Tries;
use super::sources::{self, AllowedRemotes, GitNetwork, JobSide, SourcesContext, SourcesError};
use super::steps;
use crate::executor::halt::HaltCause;
use crate::executor::log::{StageLog as _, Tone};
use crate::executor::running::{Running, StageError};
use crate::executor::steps::Checkout;
use crate::forge::Reporter;
use crate::pipeline::{FailureReason, JobFailure};

/// The variable by which the job's own git finds its password.
const TOKEN_VARIABLE: &str = "CI_JOB_TOKEN";
/// How long listing the untracked files may take.
const LISTING: Duration = Duration::from_secs(300);

/// How long cleaning up after a job may take.
const CLEANING: Duration = Duration::from_secs(300);

/// Fills the work tree, as often as the job asks for until it works.
pub(in crate::executor) async fn run<R: Reporter>(running: &mut Running<R>) -> Result<(), StageError> {
    let mut tries = Tries::new(running.run.job.attempts.get_sources);
    for attempt in 1.. {
        if attempt == 2 {
            let title = "Deleting all tracked and untracked files due to source fetch failure";
            let _section = running.section("clear_worktree", title);
            running.run.log.say(Tone::Notice, "The next attempt begins with an empty work tree");
        }
        let section = running.section("get_sources", "Getting source from Git repository");
        let limit = running.run.job.timeouts.get_sources;
        let filled = running.run.halt.guard(limit, false, |stop| fill(running, attempt, stop)).await;
        drop(section);
        let whole = limit.unwrap_or(running.run.job.timeouts.job);
        match filled.map_err(|cause| StageError::Halted(cause, whole))? {
            Ok(()) => break,
            Err(SourcesError::TimedOut { .. }) => return Err(StageError::Halted(HaltCause::PartTimeout, whole)),
            Err(error)
                if error.may_retry() && tries.again(&error.to_string(), &running.run.log, &running.run.halt).await => {}
            Err(error) => return Err(StageError::Failed(failure(&error))),
        }
    }
    Ok(())
}

async fn fill<R: Reporter>(running: &Running<R>, attempt: u32, stop: CancellationToken) -> Result<(), SourcesError> {
    let run = &running.run;
    let outside = || SourcesError::Refused {
        setting: "GIT_CLONE_PATH".to_owned(),
        problem: format!("{} lies outside {}", run.job.dirs.project, run.job.dirs.builds),
    };
    let project = below_workspace(&run.job.dirs, &run.job.dirs.project).ok_or_else(outside)?;
    let (network, side) = (network(running), Side { running, attempt });
    let left = run.job.timeouts.get_sources.unwrap_or(run.job.timeouts.job);
    let deadline = run.halt.deadline.min(Instant::now() + left);
    let cx = context(running, &network, &side, deadline, attempt);
    sources::get_sources(&cx, &run.job.sources, &run.paths.workspace.join(project), &run.log, &stop).await
}

/// Lays the job's sources into the work tree because a step asks for it. The error is what its user reads.
pub(in crate::executor) async fn lay_down<R: Reporter>(
    running: &Running<R>,
    checkout: &Checkout,
    stop: &CancellationToken,
) -> Result<(), String> {
    let run = &running.run;
    let project =
        below_workspace(&run.job.dirs, &run.job.dirs.project).ok_or("the work tree lies outside the builds folder")?;
    let (network, side) = (network(running), Side { running, attempt: 1 });
    let cx = context(running, &network, &side, run.halt.deadline, 1);
    let tree = run.paths.workspace.join(project);
    let place = (Path::new(&checkout.path), checkout.clean, checkout.submodules);
    let laid = sources::lay_down(&cx, &run.job.sources, &tree, place, &run.log, stop).await;
    laid.map_err(|error| format!("the checkout failed: {error}"))
}

/// What git does not track in the work tree, ignored files included. Empty, with a warning, where git cannot tell.
pub(in crate::executor) async fn untracked_files<R: Reporter>(
    running: &Running<R>,
    stop: &CancellationToken,
) -> Vec<PathBuf> {
    untracked(running, stop).await.unwrap_or_else(|error| {
        running.run.log.say(Tone::Warning, &format!("The untracked files cannot be listed: {error}"));
        Vec::new()
    })
}

async fn untracked<R: Reporter>(running: &Running<R>, stop: &CancellationToken) -> Result<Vec<PathBuf>, String> {
    let run = &running.run;
    let project =
        below_workspace(&run.job.dirs, &run.job.dirs.project).ok_or("the work tree lies outside the builds folder")?;
    let (workspace, dirs) = (run.paths.workspace.clone(), run.job.dirs.clone());
    let has_repository = blocking(move || Ok(open_project(&workspace, &dirs)?.symlink_metadata(".git").is_ok()));
    if !has_repository.await.map_err(|failure| failure.message)? {
        return Err("there is no repository in the work tree".to_owned());
    }
    let (network, side) = (network(running), Side { running, attempt: 1 });
    let deadline = run.halt.deadline.min(Instant::now() + LISTING);
    let cx = context(running, &network, &side, deadline, 1);
    let (format, tree) = (&run.job.sources.object_format, run.paths.workspace.join(project));
    let listed = sources::untracked_files(&cx, format, &tree, stop).await;
    listed.map_err(|error| error.to_string())
}

/// Cleans the work tree after the job, as far as the next one would not keep it.
pub(in crate::executor) async fn clean_up<R: Reporter>(running: &Running<R>) -> Result<(), String> {
    let run = &running.run;
    let project =
        below_workspace(&run.job.dirs, &run.job.dirs.project).ok_or("the work tree lies outside the builds folder")?;
    let (network, side) = (network(running), Side { running, attempt: 1 });
    // The job's own time may be over.
    let cx = context(running, &network, &side, Instant::now() + CLEANING, 1);
    let tree = run.paths.workspace.join(project);
    let cleaned = sources::clean_up(&cx, &run.job.sources, &tree, &run.log, &CancellationToken::new()).await;
    cleaned.map_err(|error| error.to_string())
}

fn context<'a, R: Reporter>(
    running: &'a Running<R>,
    network: &'a GitNetwork,
    side: &'a Side<'a, R>,
    deadline: Instant,
    attempt: u32,
) -> SourcesContext<'a> {
    let run = &running.run;
    SourcesContext {
        program: &run.tools.git,
        mirrors: &run.tools.mirrors,
        owner: &run.job.owner,
        private_dir: &run.paths.private,
        workspace: &run.paths.workspace,
        job_project_dir: &run.job.dirs.project,
        network,
        remotes: AllowedRemotes::Http,
        token_variable: Some(TOKEN_VARIABLE),
        job_side: side,
        deadline,
        attempt,
    }
}

/// What git needs to get through to the forge. A URL that is none is told by the stage itself.
fn network<R: Reporter>(running: &Running<R>) -> GitNetwork {
    let Ok(url) = url::Url::parse(&running.run.job.sources.url) else { return GitNetwork::default() };
    let network = running.run.tools.outbound.for_git(&url);
    GitNetwork {
        env: network.env,
        ca_file: network.ca_file,
        client_certificate: network.client_certificate,
        client_key: network.client_key,
    }
}

/// What only the job's sandbox can do.
struct Side<'a, R> {
    running: &'a Running<R>,
    attempt: u32,
}

impl<R: Reporter> JobSide for Side<'_, R> {
    fn run_hook<'h>(
        &'h self,
        hook: &'static str,
        commands: &'h [String],
    ) -> BoxFuture<'h, Result<(), (String, Option<i32>)>> {
        Box::pin(async move {
            // The sources are got anew after a restart, so the hook's work is done anew.
            let id = format!("{hook}-{}-{}", self.running.run.progress.restarts, self.attempt);
            let dirs = &self.running.run.job.dirs;
            // Before the sources are there, the work tree may not be.
            let cwd = if hook == "pre_get_sources_script" { &dirs.builds } else { &dirs.project };
            steps::run_aside(self.running, &id, cwd, commands)
                .await
                .map_err(|failure| (failure.message, failure.exit_code))
        })
    }

    fn remove_as_root<'h>(&'h self, folder: &'h Path) -> BoxFuture<'h, io::Result<()>> {
        Box::pin(async move { self.running.run.tools.place.remove_folder(folder).await.map_err(io::Error::other) })
    }
}

fn failure(error: &SourcesError) -> JobFailure {
    let reason = match error {
        // A variable of the job that git, or this runner, will not take.
        SourcesError::Refused { .. } => FailureReason::ScriptFailure,
        SourcesError::Hook { .. } | SourcesError::Failed { .. } => FailureReason::ScriptFailure,
        SourcesError::Cancelled { .. } => FailureReason::JobCanceled,
        SourcesError::TimedOut { .. } => FailureReason::JobExecutionTimeout,
        SourcesError::Machine { .. } => FailureReason::RunnerSystemFailure,
    };
    // git's own codes are no business of the job's: with the official runner, too, a failed clone is exit code 1.
    let exit_code = match error {
        SourcesError::Failed { .. } | SourcesError::Refused { .. } => Some(1),
        other => other.exit_code(),
    };
    JobFailure { exit_code, ..JobFailure::new(reason, format!("getting the sources failed: {error}")) }
}
