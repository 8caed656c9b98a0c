//! `forgehand demo`: an embedded forge, one registration, one real pipeline in Docker, live.
//!
//! Nothing is mocked: the forge is reached over HTTP, the repository cloned with git, the agent is this very program,
//! started as its users start it (`register`, `run`), and jobs run in containers of an image made here from busybox.
//! Everything made is removed: the image, the folders, and (by the agent) its containers.

mod agent;
mod image;
mod live;
mod project;
mod table;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Emulator, EmulatorError, EmulatorOptions, PipelineStatus, PipelineView, RunnerSpec};
use agent::DemoAgent;
use live::Live;

/// How long the registration may take.
const REGISTER_LIMIT: Duration = Duration::from_secs(60);
/// How long the agent gets to finish and clean up after the pipeline.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// How often elapsed times are redrawn.
const TICK: Duration = Duration::from_millis(200);

/// Settings of the demo.
#[derive(Clone, Debug)]
pub struct DemoSettings {
    /// An image with a shell to run the jobs in; `None`: one is built from busybox.
    pub image: Option<String>,
    /// How long the pipeline may take.
    pub limit: Duration,
    /// The program to run as the agent: this one.
    pub program: PathBuf,
}

/// How the demo ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DemoOutcome {
    /// The pipeline succeeded.
    Success,
    /// It did not.
    Failed,
    /// The user ended it.
    Cancelled,
}

/// Why there was no demo.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum DemoError {
    /// No engine.
    #[error("the Docker engine does not answer: {0}")]
    #[diagnostic(code(demo::engine), help("start it, or run scripts/setup, which installs and starts one"))]
    Engine(#[source] bollard::errors::Error),
    /// Nothing to make an image of.
    #[error("no statically linked busybox in /bin, /usr/bin or PATH")]
    #[diagnostic(
        code(demo::busybox),
        help(
            "install it (Debian: `apt-get install busybox-static`), or name an image that has a shell: --image IMAGE"
        )
    )]
    NoBusybox,
    /// The engine refused the image.
    #[error("the image for the jobs could not be made")]
    #[diagnostic(code(demo::image), help("does the engine have disk space? `docker system df` tells"))]
    Image(#[source] std::io::Error),
    /// The embedded forge failed.
    #[error(transparent)]
    #[diagnostic(code(demo::forge))]
    Forge(#[from] EmulatorError),
    /// The agent failed.
    #[error("`forgehand {command}` failed ({status}):\n{output}")]
    #[diagnostic(code(demo::agent), help("`forgehand doctor` checks what the agent needs"))]
    Agent {
        /// The command.
        command: &'static str,
        /// How it ended.
        status: String,
        /// The end of what it wrote.
        output: String,
    },
    /// A folder, a process or a signal could not be had.
    #[error("{what}: {cause}")]
    #[diagnostic(code(demo::system))]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
}

/// Runs the demo, printing as it goes; ends with the table.
pub async fn run(settings: DemoSettings) -> Result<DemoOutcome, DemoError> {
    // From here on a signal does not end the process, so that whatever was made is removed.
    let mut stop = Stop::listen()?;
    let image = image::DemoImage::ready(settings.image.clone()).await?;
    let result = with_image(&settings, image.name(), &mut stop).await;
    image.remove().await;
    result
}

/// The user's wish to end the demo.
#[derive(Debug)]
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn listen() -> Result<Self, DemoError> {
        let on = |kind| signal(kind).map_err(|cause| DemoError::System { what: "listening for signals", cause });
        Ok(Self { interrupt: on(SignalKind::interrupt())?, terminate: on(SignalKind::terminate())? })
    }

    /// Waits for Ctrl-C or SIGTERM. Cancel-safe.
    async fn wished(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn with_image(settings: &DemoSettings, image: &str, stop: &mut Stop) -> Result<DemoOutcome, DemoError> {
    let options = EmulatorOptions { trace_update_interval: 1, ..EmulatorOptions::default() };
    let forge = Arc::new(Emulator::start(options).await?);
    let mut live = Live::new();
    live.say(&format!("the embedded forge listens at {}", forge.url()));
    let project = blocking(&forge, |forge| forge.add_project("demo/greeter", &project::repository())).await?;
    let (_, token) = forge.add_runner(RunnerSpec { description: "forgehand demo".to_owned(), ..RunnerSpec::default() });
    let mut agent = DemoAgent::new(settings.program.clone())?;
    live.say("forgehand register --url ... --token glrt-... --executor docker");
    agent.register(forge.url(), &token, image, REGISTER_LIMIT).await?;
    live.say("forgehand run --max-jobs 2");
    agent.run()?;
    let pipeline = blocking(&forge, move |forge| forge.create_pipeline(project, "main")).await?;
    let watched = watch(settings, &forge, pipeline, &mut agent, &mut live, stop).await;
    live.finish();
    // The agent is ended in any case: with an error it still has containers to remove.
    let stopped = agent.stop(STOP_LIMIT).await;
    let (view, cancelled) = watched?;
    println!("\n{}", table::jobs(&view));
    for error in &view.errors {
        eprintln!("{error}");
    }
    for violation in forge.violations() {
        eprintln!("the embedded forge complains: {violation}");
    }
    forge.stop().await;
    stopped?;
    Ok(match view.status {
        _ if cancelled => DemoOutcome::Cancelled,
        PipelineStatus::Success => DemoOutcome::Success,
        PipelineStatus::Failed | PipelineStatus::Cancelled | PipelineStatus::Running | PipelineStatus::Manual => {
            DemoOutcome::Failed
        }
    })
}

/// Shows the pipeline until it has ended; its last view, and whether the user ended it.
async fn watch(
    settings: &DemoSettings,
    forge: &Arc<Emulator>,
    pipeline: u64,
    agent: &mut DemoAgent,
    live: &mut Live,
    stop: &mut Stop,
) -> Result<(PipelineView, bool), DemoError> {
    let mut changes = forge.world().changes();
    let deadline = Instant::now() + settings.limit;
    let (mut cancelled, mut late) = (false, false);
    loop {
        let view = {
            let shown = forge.clone();
            let offsets = live.offsets();
            let (view, pieces) = blocking(&shown, move |forge| Ok(look(forge, pipeline, &offsets))).await?;
            let Some(view) = view else {
                return Err(DemoError::System {
                    what: "the pipeline is gone",
                    cause: std::io::ErrorKind::NotFound.into(),
                });
            };
            live.update(&view, pieces);
            view
        };
        if view.status != PipelineStatus::Running {
            return Ok((view, cancelled));
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = tokio::time::sleep(TICK) => {}
            () = stop.wished() => cancelled = true,
            error = agent.ended() => return Err(error),
        }
        if !late && Instant::now() > deadline {
            live.say(&format!("not finished after {} s: cancelled", settings.limit.as_secs()));
            late = true;
        }
        if cancelled || late {
            for job in &view.jobs {
                forge.force_cancel(job.id);
            }
        }
    }
}

/// The pipeline as it looks now, and the new log of each job from the offset known.
fn look(forge: &Emulator, pipeline: u64, offsets: &live::Offsets) -> (Option<PipelineView>, Vec<(u64, Vec<u8>)>) {
    let view = forge.pipeline(pipeline);
    let jobs = view.iter().flat_map(|view| &view.jobs);
    let pieces = jobs.map(|job| (job.id, forge.log_from(job.id, offsets.get(&job.id).copied().unwrap_or_default())));
    let pieces = pieces.collect();
    (view, pieces)
}

/// Runs what blocks off the runtime.
async fn blocking<T: Send + 'static>(
    forge: &Arc<Emulator>,
    work: impl FnOnce(&Emulator) -> Result<T, EmulatorError> + Send + 'static,
) -> Result<T, DemoError> {
    let forge = forge.clone();
    match tokio::task::spawn_blocking(move || work(&forge)).await {
        Ok(result) => Ok(result?),
        Err(panicked) => {
            Err(DemoError::System { what: "a task of the embedded forge", cause: std::io::Error::other(panicked) })
        }
    }
}
