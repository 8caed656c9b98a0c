//! The job's own commands: one message to the shim a step, its output from the spool into the log.

use std::time::Duration;

use tokio::time::Instant;

use super::output::Output;
use crate::executor::evidence::StepEnding;
use crate::executor::evidence::collect::{FailedProgram, FailedStep};
use crate::executor::evidence::launcher::Interpreter;
use crate::executor::halt::HaltCause;
use crate::executor::log::{LogStream, StageLog, StepName, StepStatus, Tone, now_us};
use crate::executor::on_failure::AfterFailure;
use crate::executor::progress::StepProgress;
use crate::executor::running::{Running, StageError, now_ms};
use crate::executor::sandbox::shim::{Program, ShimClient, SpoolReader, StepExit, StepId, StepRequest, StepState};
use crate::executor::sandbox::terminal::ShellRequest;
use crate::executor::script::{self, ScriptStyle, SectionStyle};
use crate::executor::stages::artifacts::{blocking, disk};
use crate::executor::stages::files;
use crate::forge::Reporter;
use crate::pipeline::duration::in_words;
use crate::pipeline::{FailureReason, JobFailure, PipelineStep, Secret, StepKind};
use crate::state::Moved;

/// How long a step that is told to stop has before it is killed.
const GRACE: Duration = Duration::from_secs(10);
/// How long the end of a step that was told to stop is waited for, over its grace.
const END: Duration = Duration::from_secs(60);

/// How long the output of a step is read on whose sandbox is gone: nobody writes to it any more.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A step as observers hear of it.
fn named(index: usize, step: &PipelineStep) -> StepName {
    StepName { number: u32::try_from(index).unwrap_or(u32::MAX), name: step.name.as_str().into() }
}

/// Tells observers how the step ended that runs alone.
fn tell_end<R>(running: &Running<R>, end: &Result<StepEnd, StageError>) {
    let (status, exit_code) = match end {
        Ok(StepEnd::Exited(exit)) if exit.is_success() => (StepStatus::Success, Some(0)),
        Ok(StepEnd::Exited(exit)) => (StepStatus::Failed, Some(exit.code())),
        Ok(StepEnd::Halted(HaltCause::JobTimeout | HaltCause::PartTimeout, _)) | Err(_) => (StepStatus::Failed, None),
        Ok(StepEnd::Halted(_, _)) => (StepStatus::Cancelled, None),
    };
    running.run.log.end_step(status, exit_code);
}

/// Notes how a step ended, and of one that ended badly what ran: for whoever looks at the job later.
async fn note_end<R: Reporter>(
    running: &Running<R>,
    (index, step): (usize, &PipelineStep),
    status: &str,
    end: &Result<StepEnd, StageError>,
    counts: bool,
) {
    let ending = match end {
        Ok(StepEnd::Exited(StepExit::Code(code))) => StepEnding::Code(*code),
        Ok(StepEnd::Exited(StepExit::OomKilled)) => StepEnding::OutOfMemory,
        Ok(StepEnd::Exited(StepExit::TimedOut)) => StepEnding::TimedOut,
        Ok(StepEnd::Exited(StepExit::Terminated)) => StepEnding::Cancelled,
        Ok(StepEnd::Exited(StepExit::StoppedByEngine)) => StepEnding::Stopped,
        Ok(StepEnd::Exited(StepExit::OutputLost | StepExit::Unknown)) | Err(_) => StepEnding::Broken,
        Ok(StepEnd::Halted(HaltCause::JobTimeout | HaltCause::PartTimeout, _)) => StepEnding::TimedOut,
        Ok(StepEnd::Halted(_, _)) => StepEnding::Cancelled,
    };
    let number = named(index, step).number;
    let status_of = match ending {
        StepEnding::Code(0) => StepStatus::Success,
        StepEnding::Cancelled => StepStatus::Cancelled,
        _ => StepStatus::Failed,
    };
    let ended = Moved::StepEnded { number, name: step.name.clone(), status: status_of, exit_code: ending.code() };
    running.run.journal.note(ended).await;
    if ending == StepEnding::Code(0) {
        return;
    }
    let program = FailedProgram {
        interpreter: Interpreter::Shell,
        script: text_of(running, step),
        env: running.environment.for_step(status),
        path: Vec::new(),
        cwd: running.run.job.dirs.project.clone(),
        files: vec![running.environment.env_file.clone()],
    };
    let name = step.name.clone();
    running.clues.add(FailedStep { number, name, ending, counts, program: Some(program), container: None });
}

/// How a step ended.
enum StepEnd {
    Exited(StepExit),
    Halted(HaltCause, Duration),
}

/// The time limits of a step and which of them is the nearest.
#[derive(Clone, Copy)]
struct Limit {
    /// What is left.
    left: Duration,
    /// The limit as configured, for the message.
    whole: Duration,
    cause: HaltCause,
}

/// The main steps, one after the other; the first that fails ends them.
pub(in crate::executor) async fn main<R: Reporter>(running: &mut Running<R>) -> Result<(), StageError> {
    let resume_from = running.run.progress.step.as_ref().map_or(0, |step| step.index);
    running.run.progress.standing.steps_began = true;
    let began_ms = *running.run.progress.steps_began_ms.get_or_insert_with(now_ms);
    let steps: Vec<(usize, PipelineStep)> = running
        .run
        .job
        .steps
        .iter()
        .cloned()
        .enumerate()
        .skip(resume_from)
        .filter(|(_, step)| step.kind == StepKind::Main)
        .collect();
    for (index, step) in steps {
        let limit = main_limit(running, began_ms);
        let section = format!("step_{}", step.name.to_lowercase());
        let title = format!("Executing \"{section}\" stage of the job script");
        let mut tries = 0;
        loop {
            let limit = if tries == 0 { limit } else { main_limit(running, began_ms) };
            let end = match running.stillborn.take() {
                Some(stillborn) => Ok(tell_stillborn(running, named(index, &step), (&section, &title), &stillborn)),
                None => run_step(running, (index, tries), &step, "running", limit, (&section, &title), None).await,
            };
            tell_end(running, &end);
            let decided = after_failure(running, &step, &end).await;
            note_end(running, (index, &step), "running", &end, decided == AfterFailure::Fail).await;
            running.run.log.end_section(&section);
            match decided {
                AfterFailure::Fail => break judge(end?, false)?,
                AfterFailure::GoOn => break,
                AfterFailure::Retry => tries += 1,
            }
            running.run.progress.step = None;
        }
    }
    Ok(())
}

/// What becomes of a main step that may have failed.
async fn after_failure<R: Reporter>(
    running: &Running<R>,
    step: &PipelineStep,
    end: &Result<StepEnd, StageError>,
) -> AfterFailure {
    let how = match end {
        Ok(StepEnd::Exited(StepExit::Code(code))) if *code != 0 => format!("exit code {code}"),
        Ok(StepEnd::Exited(exit @ StepExit::OomKilled)) => exit.to_string(),
        Ok(_) | Err(_) => return AfterFailure::Fail,
    };
    let shell = ShellRequest {
        env: running.environment.for_step("running"),
        cwd: running.run.job.dirs.project.clone(),
        env_file: Some(running.environment.env_file.clone()),
        ..ShellRequest::default()
    };
    let unwanted = async {
        running.run.halt.wait(None, false).await;
    };
    running.after_failure(&step.name, how, shell, unwanted).await
}

/// The image's entrypoint ended instead of running the first step: what it said stands where the step's output would.
fn tell_stillborn<R: Reporter>(
    running: &Running<R>,
    name: StepName,
    section: (&str, &str),
    (code, output): &(i32, Vec<u8>),
) -> StepEnd {
    running.run.log.begin_section(section.0, section.1);
    running.run.log.begin_step(name, &[]);
    running.run.log.write(LogStream::Stdout, now_us(), output);
    running.run.log.say(
        Tone::Error,
        "The image's entrypoint ended before the first command; it must run its arguments (`exec \"$@\"`), or be cleared by \
         `image:entrypoint: [\"\"]`",
    );
    StepEnd::Exited(StepExit::Code(if *code == 0 { 1 } else { *code }))
}

/// The after-step, whatever became of the main ones.
pub(in crate::executor) async fn after<R: Reporter>(running: &mut Running<R>) -> Result<(), StageError> {
    let found = running.run.job.steps.iter().cloned().enumerate().find_map(|(index, step)| match step.kind {
        StepKind::After { fails_job } if !step.commands.is_empty() => Some((index, step, fails_job)),
        StepKind::After { .. } | StepKind::Main => None,
    });
    let Some((index, step, fails_job)) = found else { return Ok(()) };
    let (whole_job, job_left) = running.time_left();
    let own = running.run.job.timeouts.after_script;
    let limit = if own <= job_left {
        Limit { left: own, whole: own, cause: HaltCause::PartTimeout }
    } else {
        Limit { left: job_left, whole: whole_job, cause: HaltCause::JobTimeout }
    };
    let status = running.run.progress.status_word.as_str();
    let greeting = Some("Running after script...");
    let end =
        run_step(running, (index, 0), &step, status, limit, ("after_script", "Running after_script"), greeting).await;
    tell_end(running, &end);
    note_end(running, (index, &step), status, &end, false).await;
    let result = end.and_then(|end| judge(end, true));
    let result = match result {
        Err(StageError::Failed(failure)) if !fails_job => {
            running.run.log.say(
                Tone::Warning,
                &format!("after_script failed, but job will continue unaffected: {}", failure.message),
            );
            Ok(())
        }
        // Its own limit is no time limit of the job: it is an after-step that failed.
        Err(StageError::Halted(HaltCause::PartTimeout, limit)) => {
            let (limit, so) = (in_words(limit), if fails_job { "fails" } else { "is not affected" });
            running.run.log.say(
                Tone::Warning,
                &format!(
                    "after_script took longer than {limit} and was ended; the job {so} (RUNNER_AFTER_SCRIPT_TIMEOUT)"
                ),
            );
            if fails_job { Err(StageError::Failed(JobFailure::exit(1))) } else { Ok(()) }
        }
        other => other,
    };
    running.run.log.end_section("after_script");
    result
}

fn main_limit<R: Reporter>(running: &Running<R>, began_ms: u64) -> Limit {
    let (whole_job, job_left) = running.time_left();
    let of_job = Limit { left: job_left, whole: whole_job, cause: HaltCause::JobTimeout };
    let Some(whole) = running.run.job.timeouts.script else { return of_job };
    let passed = Duration::from_millis(now_ms().saturating_sub(began_ms));
    let passed = passed.saturating_sub(running.run.halt.pauses.total());
    let left = whole.saturating_sub(passed);
    if left <= job_left { Limit { left, whole, cause: HaltCause::PartTimeout } } else { of_job }
}

/// Runs commands of the job that are no step of it (hooks) in the folder `cwd`, as part of the stage at hand.
pub(super) async fn run_aside<R: Reporter>(
    running: &Running<R>,
    id: &str,
    cwd: &str,
    commands: &[String],
) -> Result<(), JobFailure> {
    let shim = running.shim()?;
    let id = StepId::new(id).map_err(|error| JobFailure::system(error.to_string()))?;
    let style = style(running, None);
    let script = script::assemble(commands, Some(&running.environment.env_file), &style);
    let request = StepRequest {
        id: id.clone(),
        program: Program::Shell { script: Secret::new(script) },
        env: running.environment.for_step("running"),
        path: Vec::new(),
        cwd: cwd.to_owned(),
        user: None,
        timeout: Some(running.time_left().1),
        grace: GRACE,
    };
    let cannot = |what: &str, error: &dyn std::fmt::Display| JobFailure::system(format!("{what}: {error}"));
    running.run.log.begin_aside(&script::shown(commands));
    shim.start(&request).await.map_err(|error| cannot("the commands could not be started", &error))?;
    match Output::open(running, &id, None)?.drain(running).await? {
        StepExit::Code(0) => Ok(()),
        exit => Err(JobFailure::exit(exit.code())),
    }
}

/// Ends the commands that an agent before this one ran aside: their stage is done again from its beginning.
pub(in crate::executor) async fn end_those_aside<R: Reporter>(running: &Running<R>) -> Result<(), JobFailure> {
    let cannot =
        |error: &dyn std::fmt::Display| JobFailure::system(format!("the job's commands cannot be ended: {error}"));
    let shim = running.shim()?;
    for (id, state) in shim.steps().await.map_err(|error| cannot(&error))? {
        if !matches!(state, StepState::Running) {
            continue;
        }
        shim.terminate(&id, GRACE).await.map_err(|error| cannot(&error))?;
        let mut spool = SpoolReader::open(&running.run.paths.run, &id).map_err(|error| cannot(&error))?;
        tokio::time::timeout(GRACE + END, spool.ended())
            .await
            .map_err(|error| cannot(&error))?
            .map_err(|error| cannot(&error))?;
    }
    Ok(())
}

/// Starts a step, or finds the one an earlier agent started, and follows it to its end. Its section stays open.
async fn run_step<R: Reporter>(
    running: &mut Running<R>,
    (index, tries): (usize, u32),
    step: &PipelineStep,
    status: &str,
    limit: Limit,
    (section, title): (&str, &str),
    greeting: Option<&str>,
) -> Result<StepEnd, StageError> {
    let is_taken_over = running.run.progress.step.as_ref().is_some_and(|known| known.index == index);
    if is_taken_over {
        running.run.log.begin_step(named(index, step), &script::shown(&step.commands));
    } else {
        running.run.log.begin_section(section, title);
        if let Some(greeting) = greeting {
            running.run.log.say(Tone::Notice, greeting);
        }
        running.run.log.begin_step(named(index, step), &script::shown(&step.commands));
        let said_before = std::mem::take(&mut running.greeting);
        running.run.log.write(LogStream::Stdout, now_us(), &said_before);
        renew_files(running).await;
        note(running, index).await?;
    }
    let id = step_id(index, tries)?;
    start(running, &id, step, status, limit).await?;
    follow(running, &id, limit, matches!(step.kind, StepKind::After { .. })).await
}

/// The file variables as they were, whatever a step before this one made of them.
async fn renew_files<R: Reporter>(running: &Running<R>) {
    let (workspace, dirs) = (running.run.paths.workspace.clone(), running.run.job.dirs.clone());
    let environment = running.environment.clone();
    let renewed = blocking(move || {
        files::renew(&workspace, &dirs, &environment).map_err(|error| disk("the file variables", &error))
    });
    if let Err(failure) = renewed.await
        && !running.environment.files.is_empty()
    {
        running.run.log.say(Tone::Warning, &format!("File variables may not be as they were: {}", failure.message));
    }
}

/// A step that runs again by hand is another one to the shim.
fn step_id(index: usize, tries: u32) -> Result<StepId, StageError> {
    let id = if tries == 0 { index.to_string() } else { format!("{index}-{tries}") };
    StepId::new(id).map_err(|error| StageError::Fatal(JobFailure::system(error.to_string())))
}

/// Journals that the step begins.
async fn note<R: Reporter>(running: &mut Running<R>, index: usize) -> Result<(), StageError> {
    let log_offset = running.checkpoint().map_err(StageError::Fatal)?;
    running.run.progress.step = Some(StepProgress::begin(index, log_offset));
    let name = running.run.job.steps.get(index).map(|step| step.name.clone()).unwrap_or_default();
    let moved = Moved::Step { number: u32::try_from(index).unwrap_or(u32::MAX), name };
    running.journal_at(moved).await.map_err(StageError::Fatal)
}

/// Starts the step. One that was journalled by an earlier agent may or may not have been started by it: the shim starts no
/// step twice.
async fn start<R: Reporter>(
    running: &Running<R>,
    id: &StepId,
    step: &PipelineStep,
    status: &str,
    limit: Limit,
) -> Result<(), StageError> {
    let shim = match running.shim() {
        Ok(shim) => shim,
        // What it left of the step may tell how it ended.
        Err(_gone) if SpoolReader::open(&running.run.paths.run, id).is_ok() => return Ok(()),
        Err(gone) => return Err(StageError::Fatal(gone)),
    };
    let request = StepRequest {
        id: id.clone(),
        program: Program::Shell { script: Secret::new(text_of(running, step)) },
        env: running.environment.for_step(status),
        path: Vec::new(),
        cwd: running.run.job.dirs.project.clone(),
        user: None,
        timeout: Some(limit.left),
        grace: GRACE,
    };
    let Err(error) = shim.start(&request).await else { return Ok(()) };
    if SpoolReader::open(&running.run.paths.run, id).is_ok() {
        return Ok(());
    }
    let failure = match tokio::time::timeout(LAST_WORDS, running.sandbox_gone()).await {
        Ok(gone) => gone,
        Err(_it_is_there) => JobFailure::system(format!("the step {:?} could not be started: {error}", step.name)),
    };
    Err(StageError::Fatal(failure))
}

fn text_of<R: Reporter>(running: &Running<R>, step: &PipelineStep) -> String {
    let log = &running.run.job.log;
    let sections = (log.sections && log.script_sections).then(|| SectionStyle {
        name: match step.kind {
            StepKind::Main => "script_step".to_owned(),
            StepKind::After { .. } => "after_script_step".to_owned(),
        },
        time: now_ms() / 1000,
    });
    script::assemble(&step.commands, Some(&running.environment.env_file), &style(running, sections))
}

fn style<R: Reporter>(running: &Running<R>, sections: Option<SectionStyle>) -> ScriptStyle {
    let job = &running.run.job;
    ScriptStyle {
        trace_commands: job.log.trace_commands,
        sections,
        check_each: job.options.check_each_command,
        legacy_eval: job.options.legacy_eval,
    }
}

/// Brings the step's output into the log until the step has ended, ending it when the job must not go on.
async fn follow<R: Reporter>(
    running: &Running<R>,
    id: &StepId,
    limit: Limit,
    is_after: bool,
) -> Result<StepEnd, StageError> {
    let mut output = Output::open(running, id, running.run.progress.step.as_ref()).map_err(StageError::Fatal)?;
    // The shim keeps the limit too; the agent's is for a shim that cannot.
    let deadline = Instant::now() + limit.left + GRACE + END;
    let cause = tokio::select! {
        exit = output.drain(running) => return ended(exit, limit),
        cause = running.run.halt.wait(Some(deadline), is_after) => cause,
        cause = running.sandbox_gone() => return gone(&mut output, running, limit, cause).await,
    };
    if cause == HaltCause::JobTimeout || cause == HaltCause::PartTimeout {
        // The shim is about to end the step by itself.
        let _ = tokio::time::timeout(GRACE + END, output.drain(running)).await;
        stop(running.shim.as_ref(), id).await;
        return Ok(StepEnd::Halted(limit.cause, limit.whole));
    }
    stop(running.shim.as_ref(), id).await;
    let _ = tokio::time::timeout(GRACE + END, output.drain(running)).await;
    Ok(StepEnd::Halted(cause, limit.whole))
}

async fn stop(shim: Option<&ShimClient>, id: &StepId) {
    if let Some(shim) = shim
        && let Err(error) = shim.terminate(id, GRACE).await
    {
        tracing::warn!(%error, step = id.as_str(), "the step could not be told to stop; its sandbox will be removed");
    }
}

/// The sandbox ended under the step: what it spooled is delivered. The step counts if it had ended by itself.
async fn gone<R: Reporter>(
    output: &mut Output,
    running: &Running<R>,
    limit: Limit,
    failure: JobFailure,
) -> Result<StepEnd, StageError> {
    match tokio::time::timeout(LAST_WORDS, output.drain(running)).await {
        Ok(Ok(StepExit::StoppedByEngine | StepExit::Unknown)) | Ok(Err(_)) | Err(_) => Err(StageError::Fatal(failure)),
        Ok(exit) => ended(exit, limit),
    }
}

fn ended(exit: Result<StepExit, JobFailure>, limit: Limit) -> Result<StepEnd, StageError> {
    match exit {
        Ok(StepExit::TimedOut) => Ok(StepEnd::Halted(limit.cause, limit.whole)),
        Ok(exit) => Ok(StepEnd::Exited(exit)),
        Err(failure) => Err(StageError::Fatal(failure)),
    }
}

/// What the end of a step means.
fn judge(end: StepEnd, is_after: bool) -> Result<(), StageError> {
    let exit = match end {
        StepEnd::Exited(exit) => exit,
        StepEnd::Halted(cause, limit) => return Err(StageError::Halted(cause, limit)),
    };
    let failure = match exit {
        StepExit::Code(0) => return Ok(()),
        StepExit::Code(code) => JobFailure::exit(code),
        StepExit::OomKilled => JobFailure {
            message:
                "exit code 137: a process was killed at the memory limit of the job's container; raise `docker.memory` \
                      or let the job use less"
                    .to_owned(),
            ..JobFailure::exit(137)
        },
        StepExit::TimedOut | StepExit::Terminated => JobFailure::exit(exit.code()),
        StepExit::StoppedByEngine | StepExit::OutputLost | StepExit::Unknown => {
            JobFailure::system(format!("the step was cut: {exit}; run the job again"))
        }
    };
    let can_go_on = is_after || failure.reason == FailureReason::ScriptFailure;
    Err(if can_go_on { StageError::Failed(failure) } else { StageError::Fatal(failure) })
}
