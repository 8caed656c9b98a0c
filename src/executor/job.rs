//! One job: its stages in order, and what the outcome of each means for the rest.

use std::time::Instant as Stopwatch;

use tracing::warn;

use super::environment;
use super::evidence::collect::Clues;
use super::halt::HaltCause;
use super::log::{StageLog, Tone};
use super::progress::StatusWord;
use super::running::{JobRun, Running, SHIM_PATIENCE, StageError};
use super::sandbox::SandboxRecord;
use super::stage::Stage;
use super::stages;
use crate::forge::Reporter;
use crate::pipeline::{FlowEvent, JobFailure, JobOutcome};
use crate::state::Moved;

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
        clues: Clues::default(),
        tell: Box::new(tell),
        held_ahead: None,
    };
    running.held_ahead = stages::kept_here::hold_ahead(&running);
    if !resumed {
        running.announce();
    }
    running.run.progress.timeout_ms = u64::try_from(running.run.job.timeouts.job.as_millis()).unwrap_or(u64::MAX);
    running.stages().await;
    let outcome = running.outcome();
    running.last_line(&outcome);
    running.write_evidence(&outcome).await;
    (outcome, running.run.sandbox)
}

impl<R: Reporter> Running<R> {
    async fn stages(&mut self) {
        for stage in Stage::ORDER {
            if self.cut_at.is_some_and(|cut_at| stage < cut_at) || !stage.runs(&self.run.progress.standing) {
                continue;
            }
            if stage == Stage::SaveTools && self.run.job.dirs.tool_cache.is_none() {
                continue; // nearly all jobs: it is not even journalled
            }
            if let Err(failure) = self.enter(stage).await {
                self.note(stage, Err(StageError::Fatal(failure))).await;
                continue;
            }
            let (job, name) = (self.run.job.key.clone(), stage.name());
            (self.tell)(FlowEvent::StageStarted { job: job.clone(), stage: name });
            let began = Stopwatch::now();
            let result = Box::pin(self.run_stage(stage)).await;
            (self.tell)(FlowEvent::StageFinished { job, stage: name, ok: result.is_ok(), took: began.elapsed() });
            self.note(stage, result).await;
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
        self.journal_at(Moved::Stage { stage, restarts: self.run.progress.restarts }).await
    }

    /// Goes on with the stage that an earlier agent was cut in.
    async fn take_over(&mut self, stage: Stage) -> Result<(), JobFailure> {
        self.run.progress.restarts += 1;
        self.journal_at(Moved::Stage { stage, restarts: self.run.progress.restarts }).await?;
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
                self.listen_to_services(self.run.log.left_at());
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
            Stage::DownloadArtifacts => stages::dependencies::download(self).await,
            Stage::Steps => match self.run.program.clone() {
                Some(program) => super::steps::main(self, program).await,
                None => stages::steps::main(self).await,
            },
            Stage::AfterSteps => stages::steps::after(self).await,
            Stage::SaveCache => stages::cache::save(self).await,
            Stage::UploadArtifacts => stages::artifacts::upload(self).await,
            Stage::SaveTools => stages::tool_cache::save(self).await,
            Stage::CleanUp => stages::clean_up::run(self).await,
        }
    }

    async fn note(&mut self, stage: Stage, result: Result<(), StageError>) {
        let message = match &result {
            Ok(()) => None,
            Err(StageError::Failed(failure) | StageError::Fatal(failure)) => Some(failure.message.clone()),
            Err(StageError::Halted(cause, limit)) => Some(cause.failure(*limit).message),
        };
        if let Some(message) = message {
            self.clues.stage.get_or_insert(stage);
            self.run.journal.note(Moved::StageFailed { stage, message: self.run.log.masked(&message) }).await;
        }
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
}
