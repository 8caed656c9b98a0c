//! All steps of a job whose program decides them.

use std::collections::HashMap;
use std::sync::PoisonError;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::beside::Besides;
use super::files::Temp;
use super::one::{self, Done, REST};
use super::step::{JobPlace, Next, ReadyStep, StepNumber, StepReport, WorkTree};
use super::{SharedProgram, StepProgram};
use crate::executor::evidence::StepEnding;
use crate::executor::evidence::collect::FailedStep;
use crate::executor::halt::{Halt, HaltCause};
use crate::executor::log::{StageLog as _, StepName, StepStatus, Tone};
use crate::executor::running::{Running, StageError, now_ms};
use crate::executor::sandbox::SandboxRecord;
use crate::executor::stages::files::below_workspace;
use crate::forge::Reporter;
use crate::pipeline::JobFailure;
use crate::state::Moved;

/// A program that says so many things in a row without a step that begins or ends is broken.
const MOST_IDLE: usize = 100_000;

/// Runs the steps that `program` decides, to their end.
pub(in crate::executor) async fn main<R: Reporter>(
    running: &mut Running<R>,
    program: SharedProgram,
) -> Result<(), StageError> {
    if let Some((code, output)) = running.stillborn.take() {
        running.run.log.output(&output);
        let words = "the image's entrypoint ended before the first step; it must run its arguments (`exec \"$@\"`)";
        let code = if code == 0 { 1 } else { code };
        return Err(JobFailure { message: words.to_owned(), ..JobFailure::exit(code) }.into());
    }
    running.run.progress.standing.steps_began = true;
    running.run.progress.steps_began_ms.get_or_insert_with(now_ms);
    running.journal().await.map_err(StageError::Fatal)?;
    let greeting = std::mem::take(&mut running.greeting);
    running.run.log.output(&greeting);
    begin(running, &program).await?;
    let besides = Besides::default();
    let ended = Steps::new(running, &program, &besides).all().await;
    let made = besides.made();
    if let Some(SandboxRecord::Docker { services, .. }) = &mut running.run.sandbox {
        services.extend(made);
    }
    running.checkpoint().map_err(StageError::Fatal)?;
    ended
}

/// Tells the program where the job lives, and lays down what it wants there.
async fn begin<R: Reporter>(running: &Running<R>, program: &SharedProgram) -> Result<(), StageError> {
    let dirs = running.run.job.dirs.clone();
    let mut place = JobPlace {
        project: dirs.project.clone(),
        temp: dirs.temp.clone(),
        tool_cache: dirs.tool_cache.clone(),
        host_name: running.run.progress.host_name.clone(),
        service_ports: running.run.progress.service_ports.clone(),
        ..JobPlace::default()
    };
    if let Some(record @ SandboxRecord::Docker { container, services, .. }) = &running.run.sandbox {
        (place.container, place.network, place.services) =
            (Some(container.clone()), record.network_mode(), services.clone());
    }
    let beginning = lock(program).begin(&place);
    running.run.log.hide(&beginning.hide).map_err(|error| {
        StageError::Fatal(JobFailure::configuration(format!("the job's secrets cannot be hidden: {error}")))
    })?;
    let workspace = running.run.paths.workspace.clone();
    let work = move || {
        let temp = Temp::new(&workspace, &dirs);
        beginning.files.iter().try_for_each(|(path, content)| {
            temp.write(path, content, 0o666).map_err(|error| format!("{path} cannot be written: {error}"))
        })
    };
    let written = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()));
    written.map_err(|problem| StageError::Fatal(JobFailure::system(problem)))
}

/// The job must not go on.
struct Halted {
    cause: HaltCause,
    /// Steps that run whatever happened have until then.
    until: Instant,
    /// Not even those are wanted.
    is_over: bool,
}

struct Steps<'a, R> {
    running: &'a Running<R>,
    program: &'a SharedProgram,
    besides: &'a Besides,
    tree: WorkTree,
    active: FuturesUnordered<BoxFuture<'a, Done>>,
    /// How to end each running step.
    stops: HashMap<StepNumber, CancellationToken>,
    halted: Option<Halted>,
    part_limit: Option<Instant>,
    idle: usize,
}

impl<'a, R: Reporter> Steps<'a, R> {
    fn new(running: &'a Running<R>, program: &'a SharedProgram, besides: &'a Besides) -> Self {
        let dirs = &running.run.job.dirs;
        let project = below_workspace(dirs, &dirs.project).unwrap_or_default();
        Self {
            running,
            program,
            besides,
            tree: WorkTree { root: running.run.paths.workspace.join(project) },
            active: FuturesUnordered::new(),
            stops: HashMap::new(),
            halted: None,
            part_limit: running.run.job.timeouts.script.map(|limit| Instant::now() + limit),
            idle: 0,
        }
    }

    async fn all(mut self) -> Result<(), StageError> {
        let result = loop {
            let must_end = Self::must_end(self.running, self.halted.as_ref(), self.part_limit).now_or_never();
            if let Some(cause) = must_end {
                self.halt(cause).await;
            }
            if self.halted.as_ref().is_some_and(|halted| halted.is_over) {
                break Ok(());
            }
            self.idle += 1;
            if self.idle > MOST_IDLE {
                break Err(JobFailure::system("the job's steps do not come to an end: a defect of the runner"));
            }
            match next(self.program.clone(), self.tree.clone()).await {
                Next::Start(mut step) => {
                    step.name = self.running.run.log.masked(&step.name);
                    self.start(step).await;
                }
                Next::Over(report) => {
                    let report = self.shown(report);
                    // A step that is skipped is no news; in a long list they would be most of it.
                    if report.status != StepStatus::Skipped {
                        note_end(self.running, &report, None).await;
                    }
                    self.tell_over(&report);
                }
                Next::Wait(steps) => self.wait_for_any(&steps).await,
                Next::Cancel(steps) => {
                    self.stop(&steps);
                    while steps.iter().any(|step| self.stops.contains_key(step)) {
                        self.progress().await;
                    }
                }
                Next::End(result) => break result,
            }
        };
        // A program that ends leaves nothing behind.
        let left: Vec<StepNumber> = self.stops.keys().copied().collect();
        self.stop(&left);
        while !self.stops.is_empty() {
            self.progress().await;
        }
        match self.halted {
            Some(ref halted) => Err(StageError::Halted(halted.cause, self.limit_of(halted.cause))),
            None => result.map_err(StageError::Failed),
        }
    }

    async fn start(&mut self, step: Box<ReadyStep>) {
        let (number, is_background, stop) = (step.number, step.background, CancellationToken::new());
        self.idle = 0;
        self.stops.insert(number, stop.clone());
        self.active.push(one::run(self.running, self.program, self.besides, step, stop).boxed());
        while !is_background && self.stops.contains_key(&number) {
            self.progress().await;
        }
    }

    async fn wait_for_any(&mut self, steps: &[StepNumber]) {
        let waiting: Vec<StepNumber> = steps.iter().copied().filter(|step| self.stops.contains_key(step)).collect();
        while !waiting.is_empty() && waiting.iter().all(|step| self.stops.contains_key(step)) {
            self.progress().await;
        }
    }

    /// Waits until a step has ended, or the job must.
    async fn progress(&mut self) {
        let halt = Self::must_end(self.running, self.halted.as_ref(), self.part_limit);
        let cause = tokio::select! {
            Some(done) = self.active.next() => return self.done(done).await,
            cause = halt => cause,
        };
        self.halt(cause).await;
    }

    async fn done(&mut self, done: Done) {
        self.idle = 0;
        self.stops.remove(&done.number);
        let ended = lock(self.program).ended(done.number, done.ended);
        let report = self.shown(ended);
        note_end(self.running, &report, done.failed).await;
        let mut voice = done.voice;
        for remark in &report.remarks {
            voice.say(remark.tone, &remark.text);
        }
        voice.end(report.status, report.exit_code, report.reason.as_deref());
    }

    /// As others may see it: a name may be made of secrets, a reason be what a script printed.
    fn shown(&self, report: StepReport) -> StepReport {
        let log = &self.running.run.log;
        let reason = report.reason.as_deref().map(|reason| log.masked(reason));
        StepReport { name: log.masked(&report.name), reason, ..report }
    }

    fn tell_over(&self, report: &StepReport) {
        let log = &self.running.run.log;
        for remark in &report.remarks {
            log.say(remark.tone, &remark.text);
        }
        let step = StepName { number: report.number.0, name: report.name.as_str().into() };
        if report.status == StepStatus::Skipped {
            log.skip_step(&step, report.reason.as_deref());
        } else {
            // It came to nothing before anything of it ran: its condition, perhaps, was wrong.
            let mut voice = crate::executor::log::StepVoice::begin(log, step);
            // Its remarks were told above.
            if let Some(reason) = &report.reason
                && !report.remarks.iter().any(|remark| remark.text == *reason)
            {
                voice.say(Tone::Error, reason);
            }
            voice.end(report.status, report.exit_code, report.reason.as_deref());
        }
    }

    fn stop(&self, steps: &[StepNumber]) {
        steps.iter().filter_map(|step| self.stops.get(step)).for_each(CancellationToken::cancel);
    }

    async fn must_end(running: &Running<R>, halted: Option<&Halted>, part_limit: Option<Instant>) -> HaltCause {
        let halt = &running.run.halt;
        match halted {
            None => halt.wait(part_limit, false).await,
            Some(halted) if halted.is_over => std::future::pending().await,
            Some(halted) => Halt { deadline: halted.until, ..halt.clone() }.wait(None, true).await,
        }
    }

    /// The job must not go on: the first time, steps that are there for that still run; the second time nothing does.
    async fn halt(&mut self, cause: HaltCause) {
        let is_over = self.halted.is_some() || matches!(cause, HaltCause::Aborted | HaltCause::Interrupted);
        let to_end = if is_over {
            self.stops.keys().copied().collect()
        } else {
            let (program, tree) = (self.program.clone(), self.tree.clone());
            let asked = tokio::task::spawn_blocking(move || lock(&program).cancel(cause, &tree)).await;
            asked.unwrap_or_else(|_panicked| self.stops.keys().copied().collect())
        };
        self.stop(&to_end);
        let first = self.halted.as_ref().map_or(cause, |halted| halted.cause);
        let cause = if cause == HaltCause::Aborted { cause } else { first };
        self.halted = Some(Halted { cause, until: Instant::now() + REST, is_over });
    }

    fn limit_of(&self, cause: HaltCause) -> std::time::Duration {
        let timeouts = &self.running.run.job.timeouts;
        match cause {
            HaltCause::PartTimeout => timeouts.script.unwrap_or(timeouts.job),
            _ => timeouts.job,
        }
    }
}

/// Notes how a step ended, for whoever looks at the job later.
async fn note_end<R: Reporter>(running: &Running<R>, report: &StepReport, failed: Option<Box<FailedStep>>) {
    let (number, name) = (report.number.0, report.name.clone());
    let (status, exit_code) = (report.status, report.exit_code);
    if status == StepStatus::Failed {
        let failed = failed.map(|failed| *failed).unwrap_or_else(|| FailedStep {
            number,
            name: name.clone(),
            // It came to nothing: its condition was wrong, or it is of a kind that cannot be run.
            ending: exit_code.filter(|code| *code != 0).map_or(StepEnding::Broken, StepEnding::Code),
            counts: true,
            program: None,
            container: None,
        });
        running.clues.add(FailedStep { counts: report.counts, ..failed });
    }
    running.run.journal.note(Moved::StepEnded { number, name, status, exit_code }).await;
}

async fn next(program: SharedProgram, tree: WorkTree) -> Next {
    let asked = tokio::task::spawn_blocking(move || lock(&program).next(&tree)).await;
    asked.unwrap_or_else(|error| Next::End(Err(JobFailure::system(format!("a part of the runner failed: {error}")))))
}

fn lock(program: &SharedProgram) -> std::sync::MutexGuard<'_, dyn StepProgram + 'static> {
    program.lock().unwrap_or_else(PoisonError::into_inner)
}
