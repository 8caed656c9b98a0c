//! The last stage: no secret stays in the workspace, and no file of the job where it asks for that.

use crate::executor::log::{StageLog, Tone};
use crate::executor::running::{Running, StageError};
use crate::executor::stages::{files, get_sources, kept_here};
use crate::forge::Reporter;

/// Removes the job's file variables. Shown in the log only when there were any.
pub(in crate::executor) async fn run<R: Reporter>(running: &mut Running<R>) -> Result<(), StageError> {
    let has_files = running.run.job.variables.iter().any(|variable| variable.file);
    let cleans_tree = running.run.job.options.clean_up_work_tree && running.run.progress.standing.sandbox_was_ready;
    let is_shown = (has_files || cleans_tree)
        && running.run.progress.standing.sandbox_was_ready
        && !running.run.progress.standing.is_over;
    let section = is_shown
        .then(|| running.section("cleanup_file_variables", "Cleaning up project directory and file based variables"));
    let (workspace, dirs) = (running.run.paths.workspace.clone(), running.run.job.dirs.clone());
    let removed = tokio::task::spawn_blocking(move || files::take_away(&workspace, &dirs)).await;
    if let Ok(Err(error)) = removed
        && error.kind() != std::io::ErrorKind::NotFound
    {
        running.run.log.say(Tone::Warning, &format!("The job's file variables could not be removed: {error}"));
    }
    if cleans_tree && let Err(error) = get_sources::clean_up(running).await {
        running.run.log.say(Tone::Warning, &format!("The work tree could not be cleaned: {error}"));
    }
    drop(section);
    kept_here::release(running).await;
    Ok(())
}
