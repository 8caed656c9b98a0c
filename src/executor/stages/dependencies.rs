//! Files between jobs: what this one is given of those it depends on. What it gives away: `artifacts`.
//!
//! Several archives come at the same time; each is put into the work tree when those before it are, so that later ones win.

use std::path::PathBuf;

use futures_util::StreamExt as _;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use super::artifacts::{given_up, interruptible, tell, transfer_failure, unless_stopped};
use super::kept_here::{self, Found, Keeper};
use super::meter::{self, Moved};
use super::retry::Tries;
use super::unpack::Unpack;
use crate::executor::log::{StageLog, Tone};
use crate::executor::running::{Running, StageError};
use crate::forge::Reporter;
use crate::pipeline::JobFailure;
use crate::pipeline::definition::DependencySpec;

/// Archives that come at the same time, or lie here until they are unpacked.
const AT_ONCE: usize = 3;

/// Brings the files of the jobs this one depends on into the work tree, in their order: later ones win.
pub(in crate::executor) async fn download<R: Reporter>(running: &mut Running<R>) -> Result<(), StageError> {
    if running.run.job.dependencies.is_empty() {
        return Ok(());
    }
    let mut tries = Tries::new(running.run.job.attempts.download_artifacts);
    loop {
        let _section = running.section("download_artifacts", "Downloading artifacts");
        let all = running.run.halt.guard(None, false, |stop| download_all(running, stop)).await;
        match all.map_err(|cause| StageError::Halted(cause, running.time_left().0))? {
            Ok(()) => return Ok(()),
            Err(failure) if tries.again(&failure.message, &running.run.log, &running.run.halt).await => {}
            Err(failure) => return Err(StageError::Failed(failure)),
        }
    }
}

async fn download_all<R: Reporter>(running: &Running<R>, stop: CancellationToken) -> Result<(), JobFailure> {
    let room = Semaphore::new(AT_ONCE);
    // Those that come are never kept waiting by one that is unpacked: whoever has begun goes on.
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let mut coming = Vec::new();
    for (number, dependency) in running.run.job.dependencies.iter().enumerate() {
        coming.push(bring(running, number, dependency, &room, &stop));
    }
    let bring = async move {
        let mut coming = futures_util::stream::iter(coming).buffered(AT_ONCE);
        while let Some(arrival) = coming.next().await {
            if arrived.send(arrival).is_err() {
                break;
            }
        }
        Ok(())
    };
    let place = async {
        for DependencySpec { id, name, .. } in &running.run.job.dependencies {
            running.run.log.say(Tone::Plain, &format!("Downloading artifacts for {name} ({id})..."));
            // In this order, too.
            let Some(arrival) = arrivals.recv().await else { break };
            let Arrived { dependency, arrival, _room } = arrival?;
            place(running, dependency, arrival, &stop).await?;
        }
        Ok(())
    };
    tokio::try_join!(bring, place).map(drop)
}

/// What a dependency left, on this machine.
enum Arrival {
    /// The store has it.
    Kept(Box<Found>),
    /// Its archive lies here.
    Archive(PathBuf),
}

struct Arrived<'d> {
    dependency: &'d DependencySpec,
    arrival: Arrival,
    /// Given back when it is in its place.
    _room: Option<SemaphorePermit<'d>>,
}

async fn bring<'d, R: Reporter>(
    running: &Running<R>,
    number: usize,
    dependency: &'d DependencySpec,
    room: &'d Semaphore,
    stop: &CancellationToken,
) -> Result<Arrived<'d>, JobFailure> {
    // Nobody closes it.
    let its_room = room.acquire().await.ok();
    if let Some(found) = kept_here::find(running, dependency, stop).await {
        return Ok(Arrived { dependency, arrival: Arrival::Kept(Box::new(found)), _room: its_room });
    }
    let archive = running.run.paths.private.join(format!("download-{number}"));
    let archive = fetch(running, dependency, archive, stop).await?;
    Ok(Arrived { dependency, arrival: Arrival::Archive(archive), _room: its_room })
}

async fn fetch<R: Reporter>(
    running: &Running<R>,
    dependency: &DependencySpec,
    archive: PathBuf,
    stop: &CancellationToken,
) -> Result<PathBuf, JobFailure> {
    let name = &dependency.name;
    let download = running.run.reporter.download_artifact(dependency, &archive);
    let moved = || Moved::of_download(&archive, dependency.size);
    let download = meter::told(running, format!("Downloading artifacts of {name}"), moved, download);
    unless_stopped(stop, download)
        .await?
        .map_err(|error| transfer_failure(&format!("the artifacts of {name} could not be downloaded"), error))?;
    Ok(archive)
}

/// Puts what has come into the work tree.
async fn place<R: Reporter>(
    running: &Running<R>,
    dependency: &DependencySpec,
    arrival: Arrival,
    stop: &CancellationToken,
) -> Result<(), JobFailure> {
    let (log, name) = (&running.run.log, &dependency.name);
    let archive = match arrival {
        Arrival::Archive(archive) => archive,
        Arrival::Kept(found) => {
            let place = found.place();
            match kept_here::restore(running, *found, stop).await {
                Ok((entries, remarks)) => {
                    tell(log, &remarks);
                    let text = format!("Restored artifacts of {name} from {place}: {entries} files and folders");
                    log.say(Tone::Plain, &text);
                    return Ok(());
                }
                Err(_) if stop.is_cancelled() => return Err(given_up()),
                Err(failure) => {
                    let text = format!("what {place} keeps of them cannot be used: {}", failure.message);
                    log.say(Tone::Warning, &text);
                }
            }
            fetch(running, dependency, running.run.paths.private.join("download"), stop).await?
        }
    };
    let unpack = Unpack {
        archive,
        staging: running.run.paths.private.join("unpacked"),
        workspace: running.run.paths.workspace.clone(),
        dirs: running.run.job.dirs.clone(),
        keeper: Keeper::of(running, dependency),
    };
    let unpacked = interruptible(stop, move |interrupt| unpack.run(&interrupt)).await?;
    tell(log, &unpacked.remarks);
    log.say(Tone::Plain, &format!("Downloaded artifacts of {name}: {} files and folders", unpacked.entries));
    Ok(())
}
