//! One job from its assignment to the last word, or from wherever an earlier agent was cut.
//!
//! Forge and executor meet here. The order matters, because the agent may be killed between any two lines: what is
//! decided is journalled before it has an effect, the outcome is journalled before the forge hears it, and the sandbox is
//! removed before the journal closes the job.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::board::JobLine;
use super::job::{JobRunner, JobStart, JobWork, SlotEnded};
use super::recovery::{Lost, Repair};
use super::registration::Readiness;
use super::seat::Occupied;
use crate::executor::halt::{Halt, Pauses};
use crate::executor::job;
use crate::executor::log::{JobLog, LogPump, PumpEnd};
use crate::executor::progress::Progress;
use crate::executor::running::{JobRun, now_ms};
use crate::executor::sandbox::{JobPaths, SandboxRecord};
use crate::executor::tools::Tools;
use crate::forge::{Assignment, Demand, Forge, LogDigest, ReportError, Reporter, RunnerFacts};
use crate::pipeline::definition::LogSpec;
use crate::pipeline::{FlowEvent, JobChange, JobFailure, JobOutcome, PipelineJob};
use crate::state::JobJournal;

/// How often the forge is told that a job begins before the job begins anyway; how often it is told of a job that is not
/// journalled.
const WORD_TRIES: u32 = 5;
const WORD_PAUSE: Duration = Duration::from_secs(1);
/// How long the end of a job may be on its way to the forge before the job's slot goes to another one, and an agent that is
/// to end does not wait for it. A forge counts the job as running until it has heard.
const WORD_BEFORE_SLOT: Duration = Duration::from_secs(15);
/// The log limit of a job that cannot even be read.
const REFUSAL_LOG_LIMIT: u64 = 64 * 1024;

/// Runs jobs with the executor.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExecutorRunner;

/// What the configuration of a registration comes to, for its jobs.
pub struct RegistrationTools {
    /// What its jobs work with.
    pub tools: Arc<Tools>,
}

impl Readiness for RegistrationTools {
    async fn is_ready(&self) -> Result<(), String> {
        self.tools.place.is_ready().await
    }
}

/// One job that is being run here.
struct Slot<'a, F> {
    forge: &'a F,
    registration: &'a str,
    tools: Arc<Tools>,
    page: JobJournal,
    cancel: CancellationToken,
    drain: CancellationToken,
    line: JobLine,
    assignment: &'a Assignment,
    facts: RunnerFacts,
    paths: JobPaths,
    /// An agent before this one had it.
    is_recovered: bool,
}

/// What is known of a job when a slot takes it.
#[derive(Default)]
struct Start {
    sandbox: Option<SandboxRecord>,
    progress: Option<Progress>,
    acked: u64,
    outcome: Option<JobOutcome>,
    /// It cannot be gone on with, for this reason.
    lost: Option<JobOutcome>,
    is_recovered: bool,
}

impl<F: Forge> JobRunner<F, RegistrationTools> for ExecutorRunner {
    async fn run(&self, start: JobStart<F, RegistrationTools>) -> SlotEnded {
        let JobStart { work, registration, occupied, page, cancel, drain, line } = start;
        let tools = registration.settings.tools.clone();
        let known = match work {
            JobWork::Refused { assignment, failure } => {
                refuse(&registration.forge, &assignment, failure).await;
                return SlotEnded::Closed;
            }
            JobWork::Repeated { assignment, ended } => {
                say_once(&registration.forge, &assignment, &ended.outcome, ended.digest.unwrap_or_default()).await;
                return SlotEnded::Closed;
            }
            JobWork::Fresh { assignment } => {
                info!(job = %assignment.name, project = %assignment.project_path, "job begins");
                (assignment, None, Start::default())
            }
            JobWork::Recovered { open_job, repair } => {
                info!(job = %open_job.assignment.name, ?repair, "job goes on after a restart");
                let lost = match repair {
                    // Nobody knows how far it had come, and nothing of it may run twice.
                    Repair::ReportLost { cause: cause @ Lost::JournalLost, .. } => {
                        Some(JobOutcome::Failed(JobFailure::system(format!("{cause}; run the job again"))))
                    }
                    _ => None,
                };
                let start = Start {
                    is_recovered: true,
                    lost,
                    sandbox: open_job.sandbox,
                    // Progress that cannot be read is a job that has to begin again: nothing tells what it has done.
                    progress: open_job.progress.and_then(|progress| serde_json::from_value(progress).ok()),
                    acked: open_job.acked,
                    outcome: open_job.outcome,
                };
                (open_job.assignment, open_job.facts.zip(open_job.paths), start)
            }
        };
        let (assignment, decided, start) = known;
        let (facts, paths) = decided.unwrap_or_else(|| {
            let facts = RunnerFacts {
                concurrent_id: occupied.concurrent_id(),
                concurrent_project_id: occupied.concurrent_project_id(),
                builds_dir: tools.builds_dir.clone(),
                shared_environment: tools.place.is_shared(),
            };
            let paths = paths(&page, &registration.name, &assignment, &facts);
            (facts, paths)
        });
        let slot = Slot {
            forge: &registration.forge,
            registration: &registration.name,
            tools,
            page,
            cancel,
            drain,
            line,
            assignment: &assignment,
            facts,
            paths,
            is_recovered: start.is_recovered,
        };
        slot.run(start, occupied).await
    }
}

impl<F: Forge> Slot<'_, F> {
    async fn run(self, start: Start, occupied: Occupied) -> SlotEnded {
        let folders = make_folders(&self.paths).map_err(|error| {
            JobFailure::system(format!("the job's folders cannot be made on the runner's disk: {error}"))
        });
        // Of a job that has ended, only the last word is owed.
        if start.outcome.is_none()
            && let Err(error) = self.page.set_facts(&self.facts, &self.paths).await
        {
            return SlotEnded::Open { why: format!("the journal cannot be written: {error}") };
        }
        let reporter = match self.forge.reporter(self.assignment) {
            Ok(reporter) => Arc::new(reporter),
            // Without a way back there is nobody to tell.
            Err(failure) => {
                let outcome = start.outcome.unwrap_or(JobOutcome::Failed(failure));
                return self.close(&outcome, start.sandbox.as_ref()).await;
            }
        };
        let job = folders.and_then(|()| self.forge.define(self.assignment, &self.facts));
        let spec = job.as_ref().map_or_else(|_| LogSpec::plain(REFUSAL_LOG_LIMIT), |job| job.log.clone());
        let path = self.page.journal().dir().job_log(&self.assignment.key);
        let log = match open_log(path, spec, keep(&start)).await {
            Ok(log) => log,
            Err(error) => {
                let failure = JobFailure::system(format!("the runner cannot keep the job's log: {error}"));
                match start.outcome {
                    Some(outcome) => {
                        say_once(self.forge, self.assignment, &outcome, LogDigest::default()).await;
                        return self.close(&outcome, start.sandbox.as_ref()).await;
                    }
                    None => {
                        refuse(self.forge, self.assignment, failure.clone()).await;
                        return self.close(&JobOutcome::Failed(failure), start.sandbox.as_ref()).await;
                    }
                }
            }
        };
        let (demand_sender, demand) = watch::channel(Demand::Wanted);
        let has_ended = start.outcome.is_some() || start.lost.is_some();
        if !has_ended && accept(reporter.as_ref(), &demand_sender).await.is_err() {
            // Whoever has the job now tells its end. (protocols: GitLab 2.6)
            info!("the forge does not want the job any more");
            self.line.change(JobChange::Cancel);
            log.close();
            return self.close(&JobOutcome::Cancelled, start.sandbox.as_ref()).await;
        }
        let (outcome_sender, outcome) = watch::channel(None);
        let recorder = AckRecorder::new(self.page.clone());
        let pump = LogPump::new(reporter.clone(), log.clone(), start.acked, demand_sender, move |sent| {
            recorder.record(sent);
        });
        // In the heap: a job's future is as long as all that a job may do, and each one around it would carry it on its stack.
        let work = Box::pin(self.work_and_remove(start, &reporter, job, &log, demand, outcome_sender));
        let (end, outcome) = both(pump.run(outcome), work, occupied, &self.drain).await;
        match end {
            Some(PumpEnd::GaveUp) => {
                warn!("the forge could not be told how the job ended; `forgehand logs` has its log");
            }
            Some(PumpEnd::Acknowledged | PumpEnd::Refused) => {
                let (job, outcome) = (self.assignment.key.clone(), outcome.clone());
                self.line.tell(&FlowEvent::JobFinished { job, outcome });
            }
            None => {
                return SlotEnded::Open {
                    why: "the agent ends, and the forge has not heard of the job's end; the next agent tells it".into(),
                };
            }
        }
        self.close_page(&outcome).await
    }

    /// Runs the job, has the pump told how it ended, and removes what it leaves while the forge is told.
    async fn work_and_remove(
        &self,
        start: Start,
        reporter: &Arc<F::Reporter>,
        job: Result<PipelineJob, JobFailure>,
        log: &JobLog,
        demand: watch::Receiver<Demand>,
        ended: watch::Sender<Option<JobOutcome>>,
    ) -> JobOutcome {
        let (outcome, sandbox) = self.work(start, reporter, job, log, demand).await;
        let digest = log.close();
        let journalled = match self.page.set_digest(digest).await {
            Ok(()) => self.page.set_outcome(&outcome).await,
            Err(error) => Err(error),
        };
        if let Err(error) = journalled {
            warn!(%error, "the job's outcome cannot be journalled; a restart before the forge knows would repeat work");
        }
        ended.send_replace(Some(outcome.clone()));
        self.line.stage("reporting");
        self.remove(sandbox.as_ref()).await;
        self.make_room().await;
        outcome
    }

    /// A job that filled the disk does not keep it full: its work tree is the next job's shortcut, and no more than that.
    async fn make_room(&self) {
        if !self.page.journal().dir().is_short_of_room() {
            return;
        }
        warn!(work_tree = %self.paths.workspace.display(), "the disk is full; the job's spools and work tree are removed");
        // The spools first: all of them that counts is in the log, and without room the journal cannot close the job.
        for folder in [&self.paths.run, &self.paths.workspace] {
            if let Err(error) = self.tools.place.remove_folder(folder).await {
                warn!(%error, folder = %folder.display(), "the disk stays full");
            }
        }
    }

    /// Runs the job, unless it has ended before. Its outcome, and the sandbox that is left to remove.
    async fn work(
        &self,
        start: Start,
        reporter: &Arc<F::Reporter>,
        job: Result<PipelineJob, JobFailure>,
        log: &JobLog,
        demand: watch::Receiver<Demand>,
    ) -> (JobOutcome, Option<SandboxRecord>) {
        if let Some(outcome) = start.outcome {
            return (outcome, start.sandbox);
        }
        if let Some(outcome) = start.lost {
            self.line.change(JobChange::Start); // it ran, under the agent before
            self.line.change(change_to(&outcome));
            if let JobOutcome::Failed(failure) = &outcome {
                log.say_last(&failure.last_words());
            }
            return (outcome, start.sandbox);
        }
        self.line.change(JobChange::Start);
        let job = match job {
            Ok(job) => job,
            Err(failure) => {
                self.line.change(JobChange::Fail);
                log.say_last(&failure.last_words());
                return (JobOutcome::Failed(failure), start.sandbox);
            }
        };
        let resumed = start.progress.is_some();
        let run = JobRun {
            halt: halt(&job, start.progress.as_ref(), demand, self.cancel.clone()),
            job,
            paths: self.paths.clone(),
            reporter: reporter.clone(),
            journal: self.page.clone(),
            log: log.clone(),
            tools: self.tools.clone(),
            progress: start.progress.unwrap_or_else(|| Progress::begin(now_ms())),
            sandbox: start.sandbox,
            program: None,
            on_failure: None,
        };
        let line = self.line.clone();
        let (outcome, sandbox) = Box::pin(job::run(run, resumed, move |event| line.tell(&event))).await;
        self.line.change(change_to(&outcome));
        (outcome, sandbox)
    }

    /// Ends everything of the job's and leaves nothing in the engine.
    async fn remove(&self, sandbox: Option<&SandboxRecord>) {
        if let Some(sandbox) = sandbox {
            self.tools.place.remove(sandbox, &self.paths).await;
        }
        if self.is_recovered {
            // The agent before may have been killed between making something and writing it down.
            self.tools.place.remove_job(&self.assignment.key).await;
        }
    }

    async fn close(&self, outcome: &JobOutcome, sandbox: Option<&SandboxRecord>) -> SlotEnded {
        self.remove(sandbox).await;
        self.close_page(outcome).await
    }

    /// Nothing is owed any more: the journal forgets the job and keeps its log.
    async fn close_page(&self, outcome: &JobOutcome) -> SlotEnded {
        tracing::debug!(registration = self.registration, "closing the job's page");
        let closed = match self.page.set_outcome(outcome).await {
            Ok(()) => self.page.close().await,
            Err(error) => Err(error),
        };
        match closed {
            Ok(()) => SlotEnded::Closed,
            Err(error) => SlotEnded::Open { why: format!("the journal could not close the job: {error}") },
        }
    }
}

/// What an outcome does to a job's status.
fn change_to(outcome: &JobOutcome) -> JobChange {
    match outcome {
        JobOutcome::Success => JobChange::Succeed,
        JobOutcome::Failed(_) => JobChange::Fail,
        JobOutcome::Cancelled => JobChange::Cancel,
    }
}

/// From where the log of a job is made again, the same as before. What stands before is final.
fn keep(start: &Start) -> u64 {
    match (&start.outcome, &start.progress) {
        (Some(_ended), _) => u64::MAX,
        (None, Some(progress)) => progress.log_is_made_again_from().unwrap_or(u64::MAX),
        (None, None) => 0,
    }
}

/// Waits for the job and for the word of its end. A forge that does not take that word for a while keeps neither other jobs
/// from running nor the agent from ending: `None` when the word is still owed and the agent is to end.
async fn both<T>(
    pump: impl Future<Output = PumpEnd>,
    work: impl Future<Output = T>,
    occupied: Occupied,
    drain: &CancellationToken,
) -> (Option<PumpEnd>, T) {
    let mut pump = std::pin::pin!(pump);
    let mut work = std::pin::pin!(work);
    let done = tokio::select! {
        end = &mut pump => return (Some(end), work.await),
        done = &mut work => done,
    };
    if let Ok(end) = tokio::time::timeout(WORD_BEFORE_SLOT, &mut pump).await {
        return (Some(end), done);
    }
    info!("the forge has not heard of the job's end yet; its slot is free again");
    drop(occupied);
    (drain.run_until_cancelled(pump).await, done)
}

/// In a thread of its own: how long it takes is up to the job's secrets.
async fn open_log(path: PathBuf, spec: LogSpec, keep: u64) -> io::Result<JobLog> {
    let opened = tokio::task::spawn_blocking(move || JobLog::open(&path, &spec, keep)).await;
    opened.map_err(io::Error::other)?
}

fn halt(
    job: &PipelineJob,
    progress: Option<&Progress>,
    demand: watch::Receiver<Demand>,
    interrupt: CancellationToken,
) -> Halt {
    let began = progress.map_or_else(now_ms, |progress| progress.began_ms);
    let passed = Duration::from_millis(now_ms().saturating_sub(began));
    let deadline = Instant::now() + job.timeouts.job.saturating_sub(passed);
    Halt { deadline, demand, interrupt, pauses: Pauses::default() }
}

/// Tells the forge that the job begins. `Err` when the forge does not want it any more.
async fn accept<R: Reporter>(reporter: &R, demand: &watch::Sender<Demand>) -> Result<(), ()> {
    for attempt in 1..=WORD_TRIES {
        match reporter.accept().await {
            Ok(Demand::Abort) | Err(ReportError::Final(_)) => {
                demand.send_replace(Demand::Abort);
                return Err(());
            }
            Ok(told) => {
                demand.send_replace(told);
                return Ok(());
            }
            Err(ReportError::Transient(message) | ReportError::NotFound(message)) => {
                warn!(%message, attempt, "the forge was not told that the job begins");
                tokio::time::sleep(WORD_PAUSE).await;
            }
        }
    }
    // It will hear from the pump.
    Ok(())
}

/// Where a job's things lie. Work trees are shared by the jobs of one owner and registration that have the same number.
fn paths(page: &JobJournal, registration: &str, assignment: &Assignment, facts: &RunnerFacts) -> JobPaths {
    let dir = page.journal().dir();
    let mut hash = Sha256::new();
    hash.update(registration.as_bytes());
    hash.update([0]);
    hash.update(assignment.owner.slug().as_bytes());
    let place = hex::encode(&hash.finalize()[..8]);
    JobPaths {
        private: dir.job(&assignment.key),
        run: dir.run(&assignment.key),
        workspace: dir.builds().join(place).join(facts.concurrent_project_id.to_string()),
    }
}

/// Fails a job of which nothing can be kept here. Its whole log is the reason.
async fn refuse<F: Forge>(forge: &F, assignment: &Assignment, failure: JobFailure) {
    let line = format!("\x1b[0K\x1b[31;1mERROR: {}\x1b[0;m\n", failure.last_words());
    let mut digest = LogDigest::default();
    if let Ok(reporter) = forge.reporter(assignment) {
        for _ in 0..WORD_TRIES {
            match reporter.append_log(0, Bytes::copy_from_slice(line.as_bytes())).await {
                Ok(ack) if ack.next == line.len() as u64 => {
                    digest = LogDigest { crc32: crc32fast::hash(line.as_bytes()), size: ack.next };
                    break;
                }
                // The forge has a log of this job already, or does not take one.
                Ok(_) | Err(ReportError::Final(_) | ReportError::NotFound(_)) => break,
                Err(ReportError::Transient(_)) => tokio::time::sleep(WORD_PAUSE).await,
            }
        }
    }
    say_once(forge, assignment, &JobOutcome::Failed(failure), digest).await;
}

/// Tells the forge how a job ended of which nothing is kept here.
async fn say_once<F: Forge>(forge: &F, assignment: &Assignment, outcome: &JobOutcome, digest: LogDigest) {
    let Ok(reporter) = forge.reporter(assignment) else { return };
    for _ in 0..WORD_TRIES {
        match reporter.finish(outcome, digest).await {
            Ok(_) | Err(ReportError::Final(_) | ReportError::NotFound(_)) => return,
            Err(ReportError::Transient(message)) => {
                warn!(%message, "the forge was not told how a job ended; trying again");
                tokio::time::sleep(WORD_PAUSE).await;
            }
        }
    }
}

/// Makes the folders of a job: private ones 0700, those the job's processes share 0777 below.
fn make_folders(paths: &JobPaths) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&paths.private)?;
    for shared in [&paths.run, &paths.workspace] {
        if let Some(parent) = shared.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        make_shared(shared)?;
    }
    Ok(())
}

fn make_shared(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    match fs::set_permissions(path, fs::Permissions::from_mode(0o777)) {
        // A job's root made it its own; it is writable for that job's users all the same.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

/// Journals how far the forge has the log, the latest state only, without keeping the pump waiting.
struct AckRecorder(watch::Sender<u64>);

impl AckRecorder {
    fn new(page: crate::state::JobJournal) -> Self {
        let (sender, mut receiver) = watch::channel(0);
        // Ends with the pump, which owns the sender.
        tokio::spawn(async move {
            while receiver.changed().await.is_ok() {
                let sent = *receiver.borrow_and_update();
                if let Err(error) = page.set_acked(sent).await {
                    warn!(%error, "how far the forge has the log was not journalled");
                }
            }
        });
        Self(sender)
    }

    fn record(&self, sent: u64) {
        self.0.send_replace(sent);
    }
}
