//! One step, from its folder and files to what it left.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::files::Temp;
use super::listener::Listener;
use super::step::{ReadyStep, Script, StepEnd, StepEnded, StepNumber, Work};
use super::{SharedProgram, beside};
use crate::executor::evidence::collect::{FailedProgram, FailedStep};
use crate::executor::evidence::launcher::Interpreter;
use crate::executor::evidence::{ContainerEvidence, StepEnding};
use crate::executor::log::{StepName, StepVoice, Tone};
use crate::executor::on_failure::AfterFailure;
use crate::executor::running::Running;
use crate::executor::sandbox::shim::{Program, ShimClient, SpoolReader, StepExit, StepId, StepRequest};
use crate::executor::sandbox::terminal::ShellRequest;
use crate::executor::stages::get_sources;
use crate::forge::Reporter;
use crate::pipeline::Secret;
use crate::state::Moved;

/// How long a step that is told to stop has before it is killed.
const GRACE: Duration = Duration::from_secs(30);
/// How long the end of such a step is waited for, over its grace.
const END: Duration = Duration::from_secs(60);
/// How long the output of a step is read on whose place is gone.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How much longer than the job's own limit steps may take that run whatever happened.
pub(super) const REST: Duration = Duration::from_secs(300);

/// A step that has ended, its voice still open.
pub(super) struct Done {
    pub(super) number: StepNumber,
    pub(super) ended: StepEnded,
    pub(super) voice: StepVoice,
    /// What ran, where it ended badly.
    pub(super) failed: Option<Box<FailedStep>>,
}

/// Runs `ready` to its end. Does not fail: what went wrong is in how it ended.
pub(super) async fn run<R: Reporter>(
    running: &Running<R>,
    program: &SharedProgram,
    besides: &beside::Besides,
    ready: Box<ReadyStep>,
    stop: CancellationToken,
) -> Done {
    let name = StepName { number: ready.number.0, name: ready.name.as_str().into() };
    let began = Moved::Step { number: ready.number.0, name: ready.name.clone() };
    running.run.journal.note(began).await;
    let mut voice = StepVoice::begin(&running.run.log, name);
    let mut failed = None;
    for remark in &ready.remarks {
        voice.say(remark.tone, &remark.text);
    }
    let is_stopped = tokio::select! {
        biased;
        () = stop.cancelled() => true,
        () = tokio::time::sleep(ready.pause) => false,
    };
    let end = match &ready.work {
        _ if is_stopped => StepEnd::Cancelled,
        Work::Script(script) => {
            let mut container = None;
            let end = run_script(running, program, besides, &ready, script, (&mut voice, &mut container), &stop).await;
            let end = end.unwrap_or_else(StepEnd::Broken);
            failed = failed_step(running, &ready, script, &end, container);
            end
        }
        Work::Checkout(checkout) => match get_sources::lay_down(running, checkout, &stop).await {
            Ok(()) => StepEnd::Code(0),
            Err(_stopped) if stop.is_cancelled() => StepEnd::Cancelled,
            Err(problem) => StepEnd::Broken(problem),
        },
    };
    if let StepEnd::Broken(why) = &end {
        voice.say(Tone::Error, why);
    }
    let (files, problems) = collect(running, &ready).await;
    for problem in &problems {
        voice.say(Tone::Error, problem);
    }
    Done { number: ready.number, ended: StepEnded { end, files, problems }, voice, failed }
}

/// What ran, of a step that ended badly.
fn failed_step<R: Reporter>(
    running: &Running<R>,
    ready: &ReadyStep,
    script: &Script,
    end: &StepEnd,
    container: Option<ContainerEvidence>,
) -> Option<Box<FailedStep>> {
    let ending = match end {
        StepEnd::Code(0) => return None,
        StepEnd::Code(code) => StepEnding::Code(*code),
        StepEnd::OutOfMemory => StepEnding::OutOfMemory,
        StepEnd::TimedOut => StepEnding::TimedOut,
        StepEnd::Cancelled => StepEnding::Cancelled,
        StepEnd::Broken(_) => StepEnding::Broken,
    };
    let mut env = running.environment.without_gitlab();
    env.extend(ready.env.iter().cloned());
    let program = FailedProgram {
        interpreter: Interpreter::FirstOf { programs: script.programs.clone(), arguments: script.arguments.clone() },
        script: script.text.clone(),
        env,
        path: ready.path.clone(),
        cwd: folder_of(running, script),
        files: ready.files.clone(),
    };
    let name = ready.name.clone();
    // Whether the job fails by it is the program's to say.
    let step = FailedStep { number: ready.number.0, name, ending, counts: true, program: Some(program), container };
    Some(Box::new(step))
}

/// Where a script runs.
fn folder_of<R>(running: &Running<R>, script: &Script) -> String {
    let project = &running.run.job.dirs.project;
    match script.working_directory.as_str() {
        "" => project.clone(),
        absolute if absolute.starts_with('/') => absolute.to_owned(),
        relative => format!("{project}/{}", relative.strip_prefix("./").unwrap_or(relative)),
    }
}

async fn run_script<R: Reporter>(
    running: &Running<R>,
    program: &SharedProgram,
    besides: &beside::Besides,
    ready: &ReadyStep,
    script: &Script,
    (voice, container): (&mut StepVoice, &mut Option<ContainerEvidence>),
    stop: &CancellationToken,
) -> Result<StepEnd, String> {
    let place = tokio::select! {
        place = besides.of(running, ready.image.as_ref(), ready.number) => place?,
        () = stop.cancelled() => return Ok(StepEnd::Cancelled),
    };
    let mut tries = 0;
    let end = loop {
        let cwd = lay_out(running, ready, script).await?;
        let request = request(running, ready, script, cwd, tries)?;
        let (id, timeout) = (request.id.clone(), request.timeout.unwrap_or(REST));
        place.shim.start(&request).await.map_err(|error| format!("the step could not be started: {error}"))?;
        let spool =
            SpoolReader::open(&place.run, &id).map_err(|error| format!("its output cannot be read: {error}"))?;
        let mut listener = Listener::new(running, program, ready.number, voice, spool);
        let deadline = Instant::now() + timeout;
        let end = follow(running, &place.shim, place.is_own, &id, &mut listener, deadline, stop).await;
        drop(listener);
        let how = match &end {
            _ if ready.tries_left > 0 => break end,
            Ok(StepEnd::Code(code)) if *code != 0 => format!("exit code {code}"),
            Ok(StepEnd::OutOfMemory) => "killed at the memory limit of its container".to_owned(),
            Ok(StepEnd::TimedOut) => "its time was up".to_owned(),
            _ => break end,
        };
        let StepRequest { env, path, cwd, .. } = request;
        let shell = ShellRequest { container: place.container.clone(), env, path, cwd, env_file: None };
        match running.after_failure(&ready.name, how, shell, stop.cancelled()).await {
            AfterFailure::Fail => break end,
            AfterFailure::GoOn => break Ok(StepEnd::Code(0)),
            AfterFailure::Retry => tries += 1,
        }
    };
    if let (Some(own), true) = (&place.container, !matches!(end, Ok(StepEnd::Code(0)))) {
        *container = running.look_at(own, &mut Vec::new()).await;
    }
    besides.release(running, place).await;
    end
}

/// What the shim is to start. `tries`: how often the step has run by hand before.
fn request<R: Reporter>(
    running: &Running<R>,
    ready: &ReadyStep,
    script: &Script,
    cwd: String,
    tries: u32,
) -> Result<StepRequest, String> {
    let path = script_path(running, ready, script);
    let again = if tries == 0 { String::new() } else { format!("-{tries}") };
    let id = StepId::new(format!("step-{}-{}{again}", ready.number.0, ready.attempt));
    let (_, job_left) = running.time_left();
    let most = job_left + REST;
    let mut env = running.environment.without_gitlab();
    env.extend(ready.env.iter().cloned());
    Ok(StepRequest {
        id: id.map_err(|error| error.to_string())?,
        program: Program::FirstOf {
            programs: script.programs.clone(),
            arguments: script.arguments.iter().map(|argument| argument.replace("{0}", &path)).collect(),
        },
        env,
        path: ready.path.clone(),
        cwd,
        user: None,
        timeout: Some(ready.timeout.map_or(most, |own| own.min(most))),
        grace: GRACE,
    })
}

/// Brings the step's output into the log until it has ended; ends it when it is not wanted any more.
async fn follow<R: Reporter>(
    running: &Running<R>,
    shim: &ShimClient,
    is_own: bool,
    id: &StepId,
    listener: &mut Listener<'_>,
    deadline: Instant,
    stop: &CancellationToken,
) -> Result<StepEnd, String> {
    let gone = async {
        match is_own {
            true => beside::gone(shim).await,
            false => running.sandbox_gone().await.message,
        }
    };
    // The shim keeps the limit too; this one is for a shim that cannot.
    let overdue = tokio::time::sleep_until(deadline + GRACE + END);
    let was_stopped = tokio::select! {
        exit = listener.drain() => return exit.map(end_of),
        () = stop.cancelled() => true,
        () = overdue => false,
        why = gone => {
            return match tokio::time::timeout(LAST_WORDS, listener.drain()).await {
                Ok(Ok(StepExit::StoppedByEngine | StepExit::Unknown)) | Ok(Err(_)) | Err(_) => Err(why),
                Ok(Ok(exit)) => Ok(end_of(exit)),
            };
        }
    };
    if let Err(error) = shim.terminate(id, GRACE).await {
        tracing::warn!(%error, step = id.as_str(), "the step could not be told to stop; its sandbox will be removed");
    }
    let last = tokio::time::timeout(GRACE + END, listener.drain()).await;
    if !was_stopped {
        return Ok(StepEnd::TimedOut);
    }
    // One that had ended by itself meanwhile has its own end.
    Ok(match last {
        Ok(Ok(exit @ StepExit::Code(_))) => end_of(exit),
        _ => StepEnd::Cancelled,
    })
}

fn end_of(exit: StepExit) -> StepEnd {
    match exit {
        StepExit::Code(code) => StepEnd::Code(code),
        StepExit::OomKilled => StepEnd::OutOfMemory,
        StepExit::TimedOut => StepEnd::TimedOut,
        StepExit::Terminated => StepEnd::Cancelled,
        StepExit::StoppedByEngine | StepExit::OutputLost | StepExit::Unknown => {
            StepEnd::Broken(format!("the step was cut: {exit}; run the job again"))
        }
    }
}

fn script_path<R>(running: &Running<R>, ready: &ReadyStep, script: &Script) -> String {
    format!("{}/script-{}-{}{}", running.run.job.dirs.temp, ready.number.0, ready.attempt, script.extension)
}

/// The script's file and the files for what it hands on; where it runs.
async fn lay_out<R: Reporter>(running: &Running<R>, ready: &ReadyStep, script: &Script) -> Result<String, String> {
    let (workspace, dirs) = (running.run.paths.workspace.clone(), running.run.job.dirs.clone());
    let (path, text) = (script_path(running, ready, script), Secret::new(script.text.clone()));
    let cwd = folder_of(running, script);
    let files = ready.files.clone();
    let work = move || {
        let temp = Temp::new(&workspace, &dirs);
        if !temp.is_folder(&cwd) {
            return Err(format!("the working directory {cwd} does not exist; make it in an earlier step"));
        }
        let wrong = |path: &str, error: &std::io::Error| format!("{path} cannot be written: {error}");
        temp.write(&path, text.expose().as_bytes(), 0o777).map_err(|error| wrong(&path, &error))?;
        for file in &files {
            temp.write(file, b"", 0o666).map_err(|error| wrong(file, &error))?;
        }
        Ok(cwd)
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}

/// What the step left in its files, which go.
async fn collect<R: Reporter>(running: &Running<R>, ready: &ReadyStep) -> (Vec<Vec<u8>>, Vec<String>) {
    let (workspace, dirs) = (running.run.paths.workspace.clone(), running.run.job.dirs.clone());
    let mut paths = ready.files.clone();
    let count = paths.len();
    if let Work::Script(script) = &ready.work {
        paths.push(script_path(running, ready, script));
    }
    let work = move || {
        let temp = Temp::new(&workspace, &dirs);
        let (mut files, mut problems) = (Vec::new(), Vec::new());
        for path in paths.iter().take(count) {
            files.push(temp.read(path).unwrap_or_else(|problem| {
                problems.push(problem);
                Vec::new()
            }));
        }
        paths.iter().for_each(|path| temp.remove(path));
        (files, problems)
    };
    let failed = |error: tokio::task::JoinError| (vec![Vec::new(); count], vec![error.to_string()]);
    tokio::task::spawn_blocking(work).await.unwrap_or_else(failed)
}
