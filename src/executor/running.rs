//! A job that runs: what its stages work with, and what they ask of it.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tracing::warn;

use super::environment::Environment;
use super::evidence::collect::Clues;
use super::halt::{Halt, HaltCause};
use super::listening::{Listening, listen};
use super::log::{JobLog, Tone, now_us};
use super::on_failure::{AfterFailure, FailedStep, FailureHook};
use super::progress::Progress;
use super::sandbox::shim::client::ShimClient;
use super::sandbox::terminal::ShellRequest;
use super::sandbox::{JobPaths, SandboxRecord};
use super::stage::Stage;
use super::stages::kept_here::HeldAhead;
use super::steps::SharedProgram;
use super::tools::Tools;
use crate::executor::log::StageLog as _;
use crate::forge::Reporter;
use crate::pipeline::{FlowEvent, JobFailure, PipelineJob};
use crate::state::{JobJournal, JournalError, Moved};

/// How long a shim may take to say that it is there.
pub(super) const SHIM_PATIENCE: Duration = Duration::from_secs(10);

/// How long the journal waits for room on a full disk: as long as a step's output does.
const DISK_PATIENCE: Duration = super::sandbox::shim::process::spooler::PATIENCE;
/// How often it looks.
const DISK_RETRY: Duration = Duration::from_millis(200);

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
    /// Decides its steps as it runs; `None`: they are those of the job.
    pub program: Option<SharedProgram>,
    /// Is asked what becomes of a main step that failed; `None`: it has failed.
    pub on_failure: Option<Arc<dyn FailureHook>>,
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
    pub(super) services: Option<Listening>,
    /// Why there is no sandbox where an earlier agent had one.
    pub(super) lost: Option<String>,
    /// Where the earlier agent was cut; `None` once the job goes on by itself.
    pub(super) cut_at: Option<Stage>,
    /// What tells why the job failed, if it does.
    pub(super) clues: Clues,
    pub(super) tell: Box<dyn Fn(FlowEvent) + Send + Sync>,
    /// Holds what is kept of the job's dependencies, while the first stages run.
    pub(super) held_ahead: Option<HeldAhead>,
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

impl<R: Reporter> Running<R> {
    /// Writes how far the job has come. Waits a while for room on a full disk: what filled it may be gone in a
    /// moment, and a job that an agent comes back to is not to fail for it.
    pub(super) async fn journal(&self) -> Result<(), JobFailure> {
        patiently(|| self.run.journal.set_progress(&self.run.progress)).await
    }

    /// The same at a turn of the job.
    pub(super) async fn journal_at(&self, moved: Moved) -> Result<(), JobFailure> {
        patiently(|| self.run.journal.set_progress_at(&self.run.progress, moved.clone())).await
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

    /// Asks whoever looks at failures what becomes of a step that failed, `how` in words; cuts that short when `unwanted` returns.
    pub(super) async fn after_failure(
        &self,
        step: &str,
        how: String,
        mut shell: ShellRequest,
        unwanted: impl Future<Output = ()>,
    ) -> AfterFailure {
        let Some(hook) = &self.run.on_failure else { return AfterFailure::Fail };
        if shell.container.is_none()
            && let Some(SandboxRecord::Docker { container, .. }) = &self.run.sandbox
        {
            shell.container = Some(container.clone());
        }
        let words = format!("The step `{step}` failed ({how})");
        let (job, place) = (self.run.job.name.as_str(), &self.run.tools.place);
        let decided = tokio::select! {
            decided = hook.step_failed(FailedStep { job, step, how, place, shell }) => decided,
            () = unwanted => AfterFailure::Fail,
        };
        let log = &self.run.log;
        match decided {
            AfterFailure::Fail => {}
            AfterFailure::Retry => log.say(Tone::Notice, &format!("{words} and runs again, as its user wants")),
            AfterFailure::GoOn => {
                log.say(Tone::Notice, &format!("{words} and is taken as a success, as its user wants"));
            }
        }
        decided
    }

    /// Listens from now on to the job's services, if it asks for that: to all they said, or to what they say after `since`.
    pub(super) fn listen_to_services(&mut self, since: Option<SystemTime>) {
        let Some(sandbox) = self.run.sandbox.clone().filter(|_| self.run.job.log.services) else { return };
        self.services = Some(listen(self.run.tools.clone(), sandbox, self.run.log.clone(), since));
    }

    /// The job's time limit and what is left of it.
    pub(super) fn time_left(&self) -> (Duration, Duration) {
        let deadline = self.run.halt.deadline + self.run.halt.pauses.total();
        (self.run.job.timeouts.job, deadline.saturating_duration_since(Instant::now()))
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

/// Writes into the journal, again and again while the disk is full and there is patience left.
async fn patiently<W: Future<Output = Result<(), JournalError>>>(write: impl Fn() -> W) -> Result<(), JobFailure> {
    let until = Instant::now() + DISK_PATIENCE;
    let mut is_told = false;
    loop {
        match write().await {
            Err(error @ JournalError::DiskFull { .. }) if Instant::now() < until => {
                if !std::mem::replace(&mut is_told, true) {
                    warn!(%error, "a job waits for room on the disk");
                }
                tokio::time::sleep(DISK_RETRY).await;
            }
            written => return written.map_err(unwritten),
        }
    }
}

fn unwritten(error: JournalError) -> JobFailure {
    JobFailure::system(format!("the runner cannot write its journal: {error}; look at the disk of its state directory"))
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
