//! The folder in which a job finds tools that earlier jobs installed. Nothing here fails a job: it installs them itself where there are none.

use tokio_util::sync::CancellationToken;

use super::artifacts::{blocking, interruptible, tell};
use crate::artifact::in_full;
use crate::artifact::tools::{JobTools, Keeping, Laid, Layering, Laying, ToolError};
use crate::executor::log::{StageLog as _, Tone};
use crate::executor::running::{Running, StageError};
use crate::forge::Reporter;
use crate::pipeline::JobFailure;

/// Gives the job its tools, before its place is made.
pub(in crate::executor) async fn lay<R: Reporter>(running: &Running<R>) -> Result<(), StageError> {
    let run = &running.run;
    if run.job.dirs.tool_cache.is_none() {
        return Ok(());
    }
    if run.paths.tools().exists() {
        // Of an earlier try, whose containers may be there still.
        run.tools.place.remove_job(&run.job.key).await;
        run.tools.place.remove_tools(&run.paths).await;
    }
    let laid = run.halt.guard(None, false, |stop| lay_now(running, stop)).await;
    match laid.map_err(|cause| StageError::Halted(cause, running.time_left().0))? {
        Ok(laid) => {
            tell(&run.log, &laid.remarks);
            if laid.tools.given() > 0 {
                let words = format!("Found {} tools of earlier jobs in the tool cache", laid.tools.given());
                run.log.say(Tone::Plain, &words);
            }
        }
        Err(failure) => {
            let words = format!("The job begins without tools of earlier jobs: {}", failure.message);
            run.log.say(Tone::Warning, &words);
            run.tools.place.remove_tools(&run.paths).await;
            let bare = lay_nothing(running).await;
            if let Err(failure) = bare {
                run.log.say(Tone::Warning, &failure.message);
            }
        }
    }
    Ok(())
}

async fn lay_now<R: Reporter>(running: &Running<R>, stop: CancellationToken) -> Result<Laid, JobFailure> {
    let run = &running.run;
    let (tools, owner, job) = (run.tools.tool_cache.clone(), run.job.owner.clone(), run.job.key.clone());
    let view = {
        let tools = tools.clone();
        blocking(move || tools.view(&owner).map_err(|error| in_words(&error))).await?
    };
    // Asked only where it matters.
    let layering = if view.is_empty() { Layering::Copy } else { run.tools.place.layering().await };
    let folder = run.paths.tools();
    interruptible(&stop, move |interrupt| {
        let laying = Laying { view: &view, job: &job, folder: &folder, layering, interrupt };
        tools.lay(&laying).map_err(|error| in_words(&error))
    })
    .await
}

/// An empty folder.
async fn lay_nothing<R: Reporter>(running: &Running<R>) -> Result<(), JobFailure> {
    let run = &running.run;
    let (tools, job, folder) = (run.tools.tool_cache.clone(), run.job.key.clone(), run.paths.tools());
    blocking(move || {
        let laying = Laying {
            view: &Default::default(),
            job: &job,
            folder: &folder,
            layering: Layering::Copy,
            interrupt: Default::default(),
        };
        tools.lay(&laying).map(drop).map_err(|error| in_words(&error))
    })
    .await
}

/// Keeps what the job installed. It has succeeded.
pub(in crate::executor) async fn save<R: Reporter>(running: &mut Running<R>) -> Result<(), StageError> {
    let run = &running.run;
    if run.job.dirs.tool_cache.is_none() {
        return Ok(());
    }
    let kept = run.halt.guard(None, true, |stop| {
        let (cache, owner, job) = (run.tools.tool_cache.clone(), run.job.owner.clone(), run.job.key.clone());
        let (name, folder) = (run.job.name.clone(), run.paths.tools());
        async move {
            interruptible(&stop, move |interrupt| {
                let Some(tools) = JobTools::load(&folder) else { return Ok(Vec::new()) };
                let keeping =
                    Keeping { owner: &owner, job: &job, job_name: &name, folder: &folder, tools: &tools, interrupt };
                cache.keep(&keeping).map_err(|error| in_words(&error))
            })
            .await
        }
    });
    match kept.await.map_err(|cause| StageError::Halted(cause, running.time_left().0))? {
        Ok(remarks) if remarks.is_empty() => {}
        Ok(remarks) => {
            let _section = running.section("save_tools", "Keeping tools for later jobs");
            tell(&running.run.log, &remarks);
        }
        Err(failure) => {
            let words = format!("Tools are not kept for later jobs: {}", failure.message);
            running.run.log.say(Tone::Warning, &words);
        }
    }
    Ok(())
}

fn in_words(error: &ToolError) -> JobFailure {
    JobFailure::system(in_full(error))
}
