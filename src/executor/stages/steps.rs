//! The job's own commands: one message to the shim a step, its output from the spool into the log.

use std::time::Duration;

use tokio::time::Instant;

use crate::executor::halt::{HaltCause, in_words};
use crate::executor::job::{Running, StageError, now_ms};
use crate::executor::log::{LogStream, StageLog, Tone, now_us};
use crate::executor::progress::StepProgress;
use crate::executor::sandbox::shim::{
    Program, ShimClient, SpoolEvent, SpoolReader, StepExit, StepId, StepRequest, Stream,
};
use crate::executor::script::{self, ScriptStyle, SectionStyle};
use crate::forge::Reporter;
use crate::pipeline::{FailureReason, JobFailure, PipelineStep, Secret, StepKind};

/// How long a step that is told to stop has before it is killed.
const GRACE: Duration = Duration::from_secs(10);
/// How long the end of a step that was told to stop is waited for, over its grace.
const END: Duration = Duration::from_secs(60);

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
        let end = match running.stillborn.take() {
            Some(stillborn) => Ok(tell_stillborn(running, (&section, &title), &stillborn)),
            None => run_step(running, index, &step, "running", limit, (&section, &title), None).await,
        };
        running.run.log.end_section(&section);
        judge(end?, false)?;
    }
    Ok(())
}

/// The image's entrypoint ended instead of running the first step: what it said stands where the step's output would.
fn tell_stillborn<R: Reporter>(
    running: &Running<R>,
    section: (&str, &str),
    (code, output): &(i32, Vec<u8>),
) -> StepEnd {
    running.run.log.begin_section(section.0, section.1);
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
    let end = run_step(running, index, &step, status, limit, ("after_script", "Running after_script"), greeting).await;
    let result = end.and_then(|end| judge(end, true));
    let result = match result {
        Err(StageError::Failed(failure)) if !fails_job => {
            running.run.log.say(
                Tone::Warning,
                &format!("after_script failed, but job will continue unaffected: {}", failure.message),
            );
            Ok(())
        }
        Err(StageError::Halted(HaltCause::PartTimeout, limit)) if !fails_job => {
            let limit = in_words(limit);
            running.run.log.say(
                Tone::Warning,
                &format!("after_script took longer than {limit} and was ended; the job is not affected (RUNNER_AFTER_SCRIPT_TIMEOUT)"),
            );
            Ok(())
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
    let style = ScriptStyle { trace_commands: running.run.job.log.trace_commands, sections: None };
    let script = script::assemble(commands, Some(&running.environment.env_file), &style);
    let request = StepRequest {
        id: id.clone(),
        program: Program::Shell { script: Secret::new(script) },
        env: running.environment.for_step("running"),
        cwd: cwd.to_owned(),
        user: None,
        timeout: Some(running.time_left().1),
        grace: GRACE,
    };
    let cannot = |what: &str, error: &dyn std::fmt::Display| JobFailure::system(format!("{what}: {error}"));
    shim.start(&request).await.map_err(|error| cannot("the commands could not be started", &error))?;
    let mut spool = SpoolReader::open(&running.run.paths.run, &id)
        .map_err(|error| cannot("the commands' output cannot be read", &error))?;
    match drain(&mut spool, running).await? {
        StepExit::Code(0) => Ok(()),
        exit => Err(JobFailure::exit(exit.code())),
    }
}

/// Starts a step, or finds the one an earlier agent started, and follows it to its end. Its section stays open.
async fn run_step<R: Reporter>(
    running: &mut Running<R>,
    index: usize,
    step: &PipelineStep,
    status: &str,
    limit: Limit,
    (section, title): (&str, &str),
    greeting: Option<&str>,
) -> Result<StepEnd, StageError> {
    let taken_over =
        running.run.progress.step.as_ref().filter(|known| known.index == index).map(|known| known.id.clone());
    let id = match taken_over {
        Some(id) => step_id(&id)?,
        None => {
            running.run.log.begin_section(section, title);
            if let Some(greeting) = greeting {
                running.run.log.say(Tone::Notice, greeting);
            }
            let said_before = std::mem::take(&mut running.greeting);
            running.run.log.write(LogStream::Stdout, now_us(), &said_before);
            begin(running, index, step, status, limit).await?
        }
    };
    follow(running, &id, limit, matches!(step.kind, StepKind::After { .. })).await
}

fn step_id(text: &str) -> Result<StepId, StageError> {
    StepId::new(text).map_err(|error| StageError::Fatal(JobFailure::system(error.to_string())))
}

/// Journals the step, then starts it.
async fn begin<R: Reporter>(
    running: &mut Running<R>,
    index: usize,
    step: &PipelineStep,
    status: &str,
    limit: Limit,
) -> Result<StepId, StageError> {
    let id = step_id(&format!("{index}"))?;
    let log_offset = running.run.log.checkpoint().map_err(|error| StageError::Fatal(disk_failure(&error)))?;
    running.run.progress.step = Some(StepProgress { index, id: id.as_str().to_owned(), log_offset });
    running.journal().await.map_err(StageError::Fatal)?;
    let request = StepRequest {
        id: id.clone(),
        program: Program::Shell { script: Secret::new(text_of(running, step)) },
        env: running.environment.for_step(status),
        cwd: running.run.job.dirs.project.clone(),
        user: None,
        timeout: Some(limit.left),
        grace: GRACE,
    };
    running.shim().map_err(StageError::Fatal)?.start(&request).await.map_err(|error| {
        StageError::Fatal(JobFailure::system(format!("the step {:?} could not be started: {error}", step.name)))
    })?;
    Ok(id)
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
    let style = ScriptStyle { trace_commands: log.trace_commands, sections };
    script::assemble(&step.commands, Some(&running.environment.env_file), &style)
}

/// Brings the step's output into the log until the step has ended, ending it when the job must not go on.
async fn follow<R: Reporter>(
    running: &Running<R>,
    id: &StepId,
    limit: Limit,
    is_after: bool,
) -> Result<StepEnd, StageError> {
    let mut spool = SpoolReader::open(&running.run.paths.run, id)
        .map_err(|error| StageError::Fatal(JobFailure::system(format!("the step's output cannot be read: {error}"))))?;
    // The shim keeps the limit too; the agent's is for a shim that cannot.
    let deadline = Instant::now() + limit.left + GRACE + END;
    let cause = tokio::select! {
        exit = drain(&mut spool, running) => return ended(exit, limit),
        cause = running.run.halt.wait(Some(deadline), is_after) => cause,
        cause = running.sandbox_gone() => return Err(gone(&mut spool, running, cause).await),
    };
    if cause == HaltCause::JobTimeout || cause == HaltCause::PartTimeout {
        // The shim is about to end the step by itself.
        let _ = tokio::time::timeout(GRACE + END, drain(&mut spool, running)).await;
        stop(running.shim.as_ref(), id).await;
        return Ok(StepEnd::Halted(limit.cause, limit.whole));
    }
    stop(running.shim.as_ref(), id).await;
    let _ = tokio::time::timeout(GRACE + END, drain(&mut spool, running)).await;
    Ok(StepEnd::Halted(cause, limit.whole))
}

async fn stop(shim: Option<&ShimClient>, id: &StepId) {
    if let Some(shim) = shim
        && let Err(error) = shim.terminate(id, GRACE).await
    {
        tracing::warn!(%error, step = id.as_str(), "the step could not be told to stop; its sandbox will be removed");
    }
}

/// Reads the spool to its end into the log.
async fn drain<R: Reporter>(spool: &mut SpoolReader, running: &Running<R>) -> Result<StepExit, JobFailure> {
    loop {
        match spool.next().await {
            Ok(SpoolEvent::Frame { time_us, stream, bytes }) => {
                let stream = match stream {
                    Stream::Stdout => LogStream::Stdout,
                    Stream::Stderr => LogStream::Stderr,
                };
                running.run.log.write(stream, time_us, &bytes);
            }
            Ok(SpoolEvent::Lost { bytes, .. }) => running
                .run
                .log
                .say(Tone::Warning, &format!("{bytes} bytes of output are missing here: the runner's disk was full")),
            Ok(SpoolEvent::Ended(exit)) => {
                running.run.log.checkpoint().map_err(|error| disk_failure(&error))?;
                return Ok(exit);
            }
            Err(error) => {
                return Err(JobFailure::system(format!("the step's output cannot be read any more: {error}")));
            }
        }
    }
}

/// The sandbox ended under the step: what it spooled is delivered, then the cause is told.
async fn gone<R: Reporter>(spool: &mut SpoolReader, running: &Running<R>, failure: JobFailure) -> StageError {
    if let Ok(Ok(exit)) = tokio::time::timeout(Duration::from_secs(2), drain(spool, running)).await
        && let Err(error) = judge(StepEnd::Exited(exit), false)
    {
        return error;
    }
    StageError::Fatal(failure)
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

fn disk_failure(error: &std::io::Error) -> JobFailure {
    JobFailure::system(format!(
        "the job's log cannot be written on the runner's disk: {error}; free some space there and run the job again"
    ))
}
