//! The first stages: a place for the job, and what its commands find there.

use crate::executor::log::{StageLog, Tone};
use crate::executor::running::{Running, StageError};
use crate::executor::sandbox::place::{PlaceRequest, Preparation};
use crate::executor::stages::artifacts::{blocking, disk};
use crate::executor::stages::{files, tool_cache};
use crate::forge::Reporter;
use crate::pipeline::PipelineJob;

/// Network, services, image, container, shim.
pub(in crate::executor) async fn sandbox<R: Reporter>(running: &mut Running<R>) -> Result<(), StageError> {
    let title = format!("Preparing the \"{}\" executor", running.run.tools.place.name());
    // Of an earlier agent, which was cut in this stage.
    if let Some(record) = running.run.sandbox.take() {
        running.run.tools.place.remove(&record, &running.run.paths).await;
    }
    if running.run.job.options.log_images {
        log_images(&running.run.job);
    }
    let section = running.section("prepare_executor", &title);
    tool_cache::lay(running).await?;
    let run = &running.run;
    let limit = run.job.timeouts.prepare;
    let journal = run.journal.clone();
    let prepared = run
        .halt
        .guard(limit, false, |stop| {
            let request = PlaceRequest {
                job: &run.job,
                paths: &run.paths,
                env: match run.program {
                    Some(_) => running.environment.without_gitlab(),
                    None => running.environment.for_step("running"),
                },
                log: &run.log,
                stop,
            };
            run.tools.place.prepare(request, move |record| {
                let journal = journal.clone();
                async move { journal.set_sandbox(&record).await.map_err(|error| error.to_string()) }
            })
        })
        .await;
    drop(section);
    if !matches!(prepared, Ok(Ok(Preparation::Ready(_)))) {
        running.run.tools.place.remove_tools(&running.run.paths).await;
    }
    let halted = |cause| StageError::Halted(cause, limit.unwrap_or(running.run.job.timeouts.job));
    match prepared.map_err(halted)?? {
        Preparation::Ready(ready) => {
            running.greeting = ready.greeting;
            running.run.sandbox = Some(ready.record);
            running.run.progress.host_name = ready.host_name;
            running.run.progress.service_ports = ready.service_ports;
            running.shim = Some(ready.shim);
            running.listen_to_services(None);
        }
        Preparation::EntrypointEnded { exit_code, output, container } => {
            running.clues.stillborn = container.map(|container| Box::new(running.masked(*container)));
            running.stillborn = Some((exit_code, output));
        }
    }
    Ok(())
}

/// The images that the job asks for, in the runner's own log.
fn log_images(job: &PipelineJob) {
    let image = job.image.as_ref().map_or("", |image| &image.name);
    let services: Vec<&str> = job.services.iter().map(|service| service.image.name.as_str()).collect();
    tracing::info!(image, services = services.join(" "), "images configured for the job");
}

/// File variables, and the line that says where the job runs.
pub(in crate::executor) async fn environment<R: Reporter>(running: &mut Running<R>) -> Result<(), StageError> {
    let _section = running.section("prepare_script", "Preparing environment");
    running.run.log.say(Tone::Plain, &format!("Running on {}...", running.run.progress.host_name));
    let (workspace, dirs) = (running.run.paths.workspace.clone(), running.run.job.dirs.clone());
    let environment = running.environment.clone();
    blocking(move || {
        files::write(&workspace, &dirs, &environment)
            .map_err(|error| disk("prepare environment: the job's file variables cannot be written", &error))
    })
    .await?;
    Ok(())
}
