//! One job: its stages in order, and what the outcome of each means for the rest.

use std::sync::Arc;
use std::time::{Duration, Instant as Stopwatch};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::environment::{self, Environment};
use super::halt::{Halt, HaltCause};
use super::log::{JobLog, StageLog, Tone, now_us};
use super::progress::{Progress, StatusWord};
use super::sandbox::shim::client::ShimClient;
use super::sandbox::{JobPaths, SandboxRecord};
use super::stage::Stage;
use super::stages;
use super::tools::Tools;
use crate::forge::Reporter;
use crate::pipeline::{FlowEvent, JobFailure, JobOutcome, PipelineJob};
use crate::state::JobJournal;

/// How long a shim may take to say that it is there.
const SHIM_PATIENCE: Duration = Duration::from_secs(10);

/// Everything one job needs to run, or to go on where an earlier agent was cut.
pub struct JobRun<R> {
    /// What should happen.
    pub job: PipelineJob,
    /// Its folders on this machine.
    pub paths: JobPaths,
    /// The way to its forge, for artifacts; log and outcome go by the pump.
    pub reporter: Arc<R>,
    /// Its part of the journal.
    pub journal: JobJournal,
    /// Its log.
    pub log: JobLog,
    /// What the registration offers all its jobs.
    pub tools: Arc<Tools>,
    /// What can end it early.
    pub halt: Halt,
    /// How far it has come.
    pub progress: Progress,
    /// Its sandbox, if an earlier agent made one.
    pub sandbox: Option<SandboxRecord>,
}

/// A job that runs.
pub(super) struct Running<R> {
    pub(super) run: JobRun<R>,
    pub(super) shim: Option<ShimClient>,
    pub(super) environment: Environment,
    /// What the container said before the shim did; stands at the head of the first step.
    pub(super) greeting: Vec<u8>,
    /// The image's entrypoint ended instead of running the shim: its exit code and what it printed.
    pub(super) stillborn: Option<(i32, Vec<u8>)>,
    /// The job's services, where their output is shown.
    pub(super) services: Option<stages::services::Listening>,
    /// Why there is no sandbox where an earlier agent had one.
    lost: Option<String>,
    /// Where the earlier agent was cut; `None` once the job goes on by itself.
    cut_at: Option<Stage>,
    tell: Box<dyn Fn(FlowEvent) + Send + Sync>,
}

/// Why a stage did not end well.
#[derive(Debug)]
pub(super) enum StageError {
    /// It failed; the job can still save what there is to save.
    Failed(JobFailure),
    /// It failed and nothing more is to happen.
    Fatal(JobFailure),
    /// The job must not go on.
    Halted(HaltCause, Duration),
}

impl From<JobFailure> for StageError {
    fn from(failure: JobFailure) -> Self {
        StageError::Failed(failure)
    }
}

/// Runs every stage that applies. Does not fail: what went wrong is in the outcome, and in the log.
///
/// `tell` hears which stage begins and ends. Comes back with the sandbox, which the caller removes.
pub async fn run<R: Reporter>(
    run: JobRun<R>,
    resumed: bool,
    tell: impl Fn(FlowEvent) + Send + Sync + 'static,
) -> (JobOutcome, Option<SandboxRecord>) {
    let environment = environment::of(&run.job);
    let cut_at = resumed.then_some(run.progress.stage);
    let mut running = Running {
        run,
        shim: None,
        environment,
        greeting: Vec::new(),
        stillborn: None,
        services: None,
        lost: None,
        cut_at,
        tell: Box::new(tell),
    };
    if !resumed {
        running.announce();
    }
    running.stages().await;
    let outcome = running.outcome();
    running.last_line(&outcome);
    (outcome, running.run.sandbox)
}

impl<R: Reporter> Running<R> {
    async fn stages(&mut self) {
        for stage in Stage::ORDER {
            if self.cut_at.is_some_and(|cut_at| stage < cut_at) || !stage.runs(&self.run.progress.standing) {
                continue;
            }
            if let Err(failure) = self.enter(stage).await {
                self.note(stage, Err(StageError::Fatal(failure)));
                continue;
            }
            let (job, name) = (self.run.job.key.clone(), stage.name());
            (self.tell)(FlowEvent::StageStarted { job: job.clone(), stage: name });
            let began = Stopwatch::now();
            let result = self.run_stage(stage).await;
            (self.tell)(FlowEvent::StageFinished { job, stage: name, ok: result.is_ok(), took: began.elapsed() });
            self.note(stage, result);
            self.cut_at = None;
        }
        if let Some(services) = self.services.take() {
            services.end().await;
        }
    }

    /// Journals that `stage` begins, before its first effect; after a restart, finds the sandbox again.
    async fn enter(&mut self, stage: Stage) -> Result<(), JobFailure> {
        if self.cut_at == Some(stage) {
            return self.take_over(stage).await;
        }
        self.run.progress.log_offset = self.checkpoint()?;
        self.run.progress.stage = stage;
        self.run.progress.step = None;
        self.journal().await
    }

    /// Goes on with the stage that an earlier agent was cut in.
    async fn take_over(&mut self, stage: Stage) -> Result<(), JobFailure> {
        self.run.progress.restarts += 1;
        self.journal().await?;
        // The first stage makes the sandbox anew; those after the steps do without.
        if stage > Stage::PrepareSandbox && stage <= Stage::AfterSteps {
            self.find_sandbox(stage).await?;
        }
        if self.run.progress.log_is_made_again_from().is_none() {
            self.run.log.say(Tone::Warning, "The runner was restarted here; this part of the job is done again.");
        }
        Ok(())
    }

    async fn find_sandbox(&mut self, stage: Stage) -> Result<(), JobFailure> {
        let Some(record) = self.run.sandbox.clone() else { return Ok(()) };
        let place = &self.run.tools.place;
        // The stage meets the same cause, and may have work for the sandbox even then: the after-step.
        let halted = async {
            self.run.halt.wait(None, false).await;
            tokio::time::sleep(SHIM_PATIENCE).await;
        };
        let found = tokio::select! {
            found = place.reattach(&record, &self.run.paths) => found,
            () = halted => Err("it did not answer before the job had to end".to_owned()),
        };
        match found {
            Ok(shim) => {
                if self.run.progress.step.is_none() && stage <= Stage::Steps {
                    self.greeting = place.greeting(&record).await;
                }
                self.shim = Some(shim);
                stages::services::listen(self, self.run.log.left_at());
                if stage < Stage::Steps { stages::steps::end_those_aside(self).await } else { Ok(()) }
            }
            // A step's spool and exit file may still tell how it ended; the steps' stage looks.
            Err(cause) if matches!(stage, Stage::Steps | Stage::AfterSteps) => {
                warn!(%cause, "the sandbox is gone; looking at what it left");
                self.lost = Some(cause);
                Ok(())
            }
            Err(cause) => {
                Err(JobFailure::system(format!("the runner was restarted and the job's sandbox is gone: {cause}")))
            }
        }
    }

    async fn run_stage(&mut self, stage: Stage) -> Result<(), StageError> {
        match stage {
            Stage::PrepareSandbox => stages::prepare::sandbox(self).await,
            Stage::PrepareEnvironment => stages::prepare::environment(self).await,
            Stage::GetSources => stages::get_sources::run(self).await,
            Stage::RestoreCache => stages::cache::restore(self).await,
            Stage::DownloadArtifacts => stages::artifacts::download(self).await,
            Stage::Steps => stages::steps::main(self).await,
            Stage::AfterSteps => stages::steps::after(self).await,
            Stage::SaveCache => stages::cache::save(self).await,
            Stage::UploadArtifacts => stages::artifacts::upload(self).await,
            Stage::CleanUp => stages::clean_up::run(self).await,
        }
    }

    fn note(&mut self, stage: Stage, result: Result<(), StageError>) {
        let progress = &mut self.run.progress;
        match result {
            Ok(()) => progress.standing.sandbox_was_ready |= stage == Stage::PrepareSandbox,
            Err(StageError::Failed(failure)) => {
                progress.standing.is_over |= matches!(stage, Stage::PrepareSandbox | Stage::PrepareEnvironment);
                progress.fail(failure);
            }
            Err(StageError::Fatal(failure)) => {
                progress.standing.is_over = true;
                progress.fail(failure);
            }
            Err(StageError::Halted(cause, limit)) => {
                progress.status_word = match cause {
                    HaltCause::JobTimeout | HaltCause::PartTimeout => StatusWord::TimedOut,
                    HaltCause::CancelledGracefully | HaltCause::Aborted => StatusWord::Canceled,
                    HaltCause::Interrupted => StatusWord::Failed,
                };
                // A limit of the steps alone, or a tidy cancel of them, leaves time for the after-step.
                let goes_on =
                    stage >= Stage::Steps && matches!(cause, HaltCause::PartTimeout | HaltCause::CancelledGracefully);
                progress.standing.is_over |= !goes_on;
                progress.fail(cause.failure(limit));
            }
        }
    }

    fn outcome(&self) -> JobOutcome {
        if *self.run.halt.demand.borrow() == crate::forge::Demand::Abort {
            return JobOutcome::Cancelled;
        }
        match &self.run.progress.failure {
            Some(failure) => JobOutcome::Failed(failure.clone()),
            None => JobOutcome::Success,
        }
    }

    fn announce(&self) {
        let log = &self.run.log;
        log.say(Tone::Plain, &format!("Running with forgehand {}", crate::VERSION));
        log.say(Tone::Plain, &format!("  on {}", self.run.tools.introduction));
        for warning in self.run.job.warnings.iter().chain(&self.environment.warnings) {
            log.say(Tone::Warning, warning);
        }
    }

    fn last_line(&self, outcome: &JobOutcome) {
        match outcome {
            JobOutcome::Success => self.run.log.say(Tone::Notice, "Job succeeded"),
            JobOutcome::Failed(failure) => self.run.log.say_last(&failure.last_words()),
            JobOutcome::Cancelled => self.run.log.say_last("Job failed: canceled"),
        }
    }

    /// Writes how far the job has come.
    pub(super) async fn journal(&self) -> Result<(), JobFailure> {
        self.run.journal.set_progress(&self.run.progress).await.map_err(|error| {
            JobFailure::system(format!(
                "the runner cannot write its journal: {error}; look at the disk of its state directory"
            ))
        })
    }

    /// Where the log is final, with nothing held back.
    pub(super) fn checkpoint(&self) -> Result<u64, JobFailure> {
        self.run.log.checkpoint().map_err(|error| {
            JobFailure::system(format!(
                "the job's log cannot be written on the runner's disk: {error}; free some space there and run the job again"
            ))
        })
    }

    /// Returns when the job's place has ended by itself, with what that means; at once where there is none.
    pub(super) async fn sandbox_gone(&self) -> JobFailure {
        let Some(shim) = &self.shim else {
            let cause = self.lost.as_deref().unwrap_or("it was never made");
            return JobFailure::system(format!("the job's sandbox is gone: {cause}; run the job again"));
        };
        match shim.watch().await {
            Ok(mut watch) => watch.gone().await,
            // Whether it is gone or only cannot be watched: the spool and the deadline tell.
            Err(error) => warn!(%error, "the job's shim cannot be watched"),
        }
        // It may be only the connection: a shim that answers is there.
        if let Some(record) = &self.run.sandbox
            && shim.ping(Instant::now() + SHIM_PATIENCE).await.is_err()
        {
            let cause = self.run.tools.place.end_cause(record).await;
            return JobFailure::system(format!("the job's sandbox is gone: {cause}; run the job again"));
        }
        std::future::pending().await
    }

    /// What git does not track in the work tree, ignored files included. Empty, with a warning, where git cannot tell.
    pub(super) async fn untracked_files(&self, stop: &CancellationToken) -> Vec<std::path::PathBuf> {
        stages::get_sources::untracked(self, stop).await.unwrap_or_else(|error| {
            self.run.log.say(Tone::Warning, &format!("The untracked files cannot be listed: {error}"));
            Vec::new()
        })
    }

    /// The job's time limit and what is left of it.
    pub(super) fn time_left(&self) -> (Duration, Duration) {
        (self.run.job.timeouts.job, self.run.halt.deadline.saturating_duration_since(Instant::now()))
    }

    /// The shim, which every stage after the first finds there.
    pub(super) fn shim(&self) -> Result<&ShimClient, JobFailure> {
        self.shim.as_ref().ok_or_else(|| {
            let cause = self.lost.as_ref().map(|cause| format!(" ({cause})")).unwrap_or_default();
            JobFailure::system(format!(
                "the job's sandbox is gone{cause} and this part of the job cannot be done without it; run the job again"
            ))
        })
    }

    /// Runs one stage's work inside its section. The section is closed in every case.
    pub(super) fn section<'a>(&'a self, name: &'a str, title: &str) -> Section<'a> {
        self.run.log.begin_section(name, title);
        Section { log: &self.run.log, name }
    }
}

/// An open section of the log; closed when it goes.
pub(super) struct Section<'a> {
    log: &'a JobLog,
    name: &'a str,
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        self.log.end_section(self.name);
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    now_us() / 1000
}
