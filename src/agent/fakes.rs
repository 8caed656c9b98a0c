//! A forge, a runner and the rest for the agent's tests: each does what the test says, and can be waited for.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::registration::{ExpiringToken, PlanError, Readiness};
use super::signals::{Signal, Signals};
use super::*;
use crate::executor::sandbox::JobPaths;
use crate::forge::*;
use crate::pipeline::definition::{ArtifactSpec, DependencySpec};
use crate::pipeline::{JobFailure, JobKey, JobOutcome, PipelineJob};
use crate::state::journal::tests_support::noon;
use crate::state::{Journal, OpenJob};

/// What a fake forge and the test share.
#[derive(Default)]
pub struct ForgeScript {
    answers: Mutex<VecDeque<Result<Polled, PollError>>>,
    changed: Notify,
    /// How many polls there were, and whether one is open now.
    pub polls: watch::Sender<(u32, bool)>,
    /// What was reported: `accept 1`, `alive 1`.
    pub reports: watch::Sender<Vec<String>>,
    demand: Mutex<Option<Demand>>,
    /// Answers come even when the question was withdrawn.
    pub answers_late: std::sync::atomic::AtomicBool,
}

impl ForgeScript {
    /// The next poll, or the one that is open, is answered with this job.
    pub fn give(&self, job: Assignment) {
        self.answer(Ok(Polled::Job(Box::new(job))));
    }

    /// The next poll, or the one that is open, is told that there is no job, and when to ask again.
    pub fn give_nothing(&self, pause: Duration) {
        self.answer(Ok(Polled::Nothing { pause }));
    }

    /// The next poll, or the one that is open, is answered like this.
    pub fn answer(&self, answer: Result<Polled, PollError>) {
        self.answers.lock().unwrap().push_back(answer);
        self.changed.notify_waiters();
    }

    /// What reports are answered with from now on.
    pub fn demand(&self, demand: Demand) {
        *self.demand.lock().unwrap() = Some(demand);
    }

    /// Waits until a poll is open.
    pub async fn asked(&self) {
        self.polls.subscribe().wait_for(|(_, open)| *open).await.unwrap();
    }

    /// Waits until this was reported.
    pub async fn reported(&self, what: &str) {
        self.reports.subscribe().wait_for(|all| all.iter().any(|one| one == what)).await.unwrap();
    }

    /// How many polls there were.
    pub fn count(&self) -> u32 {
        self.polls.borrow().0
    }

    fn is_late(&self) -> bool {
        self.answers_late.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// A forge that holds every poll until the test answers it.
pub struct FakeForge(pub Arc<ForgeScript>);

impl Forge for FakeForge {
    type Reporter = FakeReporter;

    async fn poll(&self, stop: &CancellationToken) -> Result<Polled, PollError> {
        self.0.polls.send_modify(|polls| *polls = (polls.0 + 1, true));
        let answer = loop {
            let changed = self.0.changed.notified();
            if let Some(answer) = self.0.answers.lock().unwrap().pop_front() {
                break answer;
            }
            tokio::select! {
                () = changed => {}
                () = stop.cancelled(), if !self.0.is_late() => break Ok(Polled::Nothing { pause: Duration::ZERO }),
            }
        };
        self.0.polls.send_modify(|polls| polls.1 = false);
        answer
    }

    fn reporter(&self, assignment: &Assignment) -> Result<FakeReporter, JobFailure> {
        Ok(FakeReporter { script: self.0.clone(), id: assignment.id.to_string() })
    }

    fn define(&self, _: &Assignment, _: &RunnerFacts) -> Result<PipelineJob, JobFailure> {
        Err(JobFailure::system("the fake forge defines nothing"))
    }
}

pub struct FakeReporter {
    script: Arc<ForgeScript>,
    id: String,
}

impl FakeReporter {
    fn report(&self, what: &str) -> Result<Demand, ReportError> {
        self.script.reports.send_modify(|all| all.push(format!("{what} {}", self.id)));
        Ok(self.script.demand.lock().unwrap().unwrap_or(Demand::Wanted))
    }
}

impl Reporter for FakeReporter {
    async fn accept(&self) -> Result<Demand, ReportError> {
        self.report("accept")
    }

    async fn append_log(&self, at: u64, bytes: Bytes) -> Result<LogAck, ReportError> {
        Ok(LogAck { next: at + bytes.len() as u64, demand: self.report("log")? })
    }

    async fn keep_alive(&self, _: LogDigest) -> Result<Demand, ReportError> {
        self.report("alive")
    }

    async fn finish(&self, _: &JobOutcome, _: LogDigest) -> Result<FinishAck, ReportError> {
        self.report("finish").map(|_| FinishAck::Done)
    }

    fn update_interval(&self) -> Duration {
        Duration::from_secs(3)
    }

    fn keep_alive_interval(&self) -> Duration {
        Duration::from_secs(30)
    }

    async fn upload_artifact(&self, _: &ArtifactSpec, _: &str, _: &ArchiveFile) -> Result<(), TransferError> {
        Ok(())
    }

    async fn download_artifact(&self, _: &DependencySpec, _: &Path) -> Result<(), TransferError> {
        Ok(())
    }
}

/// What a fake runner and the test share.
#[derive(Default)]
pub struct RunnerScript {
    /// Jobs in the order in which they were started, each with what was due.
    pub started: watch::Sender<Vec<Started>>,
    /// Ids of jobs that may end.
    may_end: watch::Sender<Vec<String>>,
    /// Ids of jobs whose runner has a defect.
    pub panics: Mutex<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    pub id: String,
    pub work: String,
    pub concurrent_id: u32,
}

impl RunnerScript {
    /// Waits until job `id` was started, `times` in all.
    pub async fn started(&self, id: &str, times: usize) -> Started {
        let mut all = self.started.subscribe();
        let seen = all.wait_for(|all| all.iter().filter(|one| one.id == id).count() >= times).await.unwrap();
        seen.iter().rfind(|one| one.id == id).unwrap().clone()
    }

    /// Whether job `id` was started.
    pub fn has_started(&self, id: &str) -> bool {
        self.started.borrow().iter().any(|one| one.id == id)
    }

    /// Lets job `id` end well.
    pub fn end(&self, id: &str) {
        self.may_end.send_modify(|all| all.push(id.to_owned()));
    }
}

/// A runner whose jobs run until the test lets them end, or they are cancelled.
#[derive(Clone)]
pub struct FakeRunner(pub Arc<RunnerScript>);

impl JobRunner<FakeForge, ()> for FakeRunner {
    async fn run(&self, start: JobStart<FakeForge, ()>) -> SlotEnded {
        let id = start.work.assignment().id.to_string();
        let work = match &start.work {
            JobWork::Fresh { .. } => "fresh".to_owned(),
            JobWork::Recovered { repair, .. } => {
                let repair = format!("{repair:?}");
                repair.split(' ').next().unwrap_or_default().to_owned()
            }
            JobWork::Repeated { ended, .. } => format!("repeated {:?}", ended.outcome),
            JobWork::Refused { failure, .. } => format!("refused {}", failure.reason),
        };
        let is_recorded = matches!(start.work, JobWork::Fresh { .. } | JobWork::Recovered { .. });
        let fails = matches!(start.work, JobWork::Recovered { repair: Repair::FinishReport { .. }, .. });
        let started = Started { id: id.clone(), work, concurrent_id: start.occupied.concurrent_id() };
        self.0.started.send_modify(|all| all.push(started));
        if !is_recorded {
            return SlotEnded::Closed;
        }
        assert!(!self.0.panics.lock().unwrap().contains(&id) || fails, "the defect of job {id}");
        if !fails {
            self.begin(&start).await;
            let mut may_end = self.0.may_end.subscribe();
            let outcome = tokio::select! {
                _ = may_end.wait_for(|all| all.contains(&id)) => JobOutcome::Success,
                () = start.cancel.cancelled() => JobOutcome::Cancelled,
            };
            start.page.set_outcome(&outcome).await.unwrap();
        }
        start.page.close().await.unwrap();
        SlotEnded::Closed
    }
}

impl FakeRunner {
    async fn begin(&self, start: &JobStart<FakeForge, ()>) {
        let facts = RunnerFacts {
            concurrent_id: start.occupied.concurrent_id(),
            concurrent_project_id: start.occupied.concurrent_project_id(),
            builds_dir: "/builds".into(),
            shared_environment: false,
        };
        let dir = start.page.journal().dir();
        let key = start.page.key();
        let paths = JobPaths { private: dir.job(key), run: dir.run(key), workspace: dir.builds() };
        start.page.set_facts(&facts, &paths).await.unwrap();
    }
}

/// Sandboxes as the test says.
#[derive(Default)]
pub struct FakeSweeper {
    pub found: Mutex<Vec<Found>>,
    pub known: watch::Sender<Option<Vec<JobKey>>>,
    /// It does what takes long.
    pub tidying: watch::Sender<bool>,
}

impl Sweeper for FakeSweeper {
    async fn find(&self, _: &[OpenJob]) -> Result<Vec<Found>, String> {
        Ok(self.found.lock().unwrap().clone())
    }

    async fn sweep(&self, known: &(dyn Fn() -> Vec<JobKey> + Send + Sync)) -> Result<(), String> {
        self.known.send_replace(Some(known()));
        Ok(())
    }

    async fn tidy(&self, idle: &CancellationToken) -> Result<(), String> {
        self.tidying.send_replace(true);
        idle.cancelled().await;
        self.tidying.send_replace(false);
        Ok(())
    }
}

/// What its forge says, its fingerprint, its limit.
pub type FakeEntry = (Arc<ForgeScript>, String, u32);

/// A configuration that the test changes.
#[derive(Default)]
pub struct FakeRegistrar {
    pub concurrent: Mutex<u32>,
    /// By name.
    pub entries: Mutex<BTreeMap<String, FakeEntry>>,
    pub broken: Mutex<Option<String>>,
    pub drain_timeout: Mutex<Option<Duration>>,
    pub expiring: Mutex<Vec<ExpiringToken>>,
    pub rotated: watch::Sender<u32>,
}

impl Readiness for () {
    async fn is_ready(&self) -> Result<(), String> {
        Ok(())
    }
}

impl Registrar for FakeRegistrar {
    type Forge = FakeForge;
    type Settings = ();

    async fn plan(&self) -> Result<Plan<FakeForge, ()>, PlanError> {
        if let Some(error) = self.broken.lock().unwrap().clone() {
            return Err(PlanError::Configuration(error));
        }
        let entries = self.entries.lock().unwrap();
        let registration =
            |(name, (script, fingerprint, limit)): (&String, &(Arc<ForgeScript>, String, u32))| Registration {
                name: name.clone(),
                fingerprint: fingerprint.clone(),
                limit: *limit,
                request_concurrency: 1,
                forge: FakeForge(script.clone()),
                settings: (),
            };
        Ok(Plan {
            concurrent: *self.concurrent.lock().unwrap(),
            drain_timeout: *self.drain_timeout.lock().unwrap(),
            shutdown_timeout: Duration::from_secs(30),
            unhealthy_interval: Duration::from_secs(3600),
            registrations: entries.iter().map(registration).collect(),
        })
    }

    async fn expiring(&self) -> Vec<ExpiringToken> {
        self.expiring.lock().unwrap().clone()
    }

    async fn rotate(&self, registration: &str) -> Result<(), String> {
        self.expiring.lock().unwrap().retain(|token| token.registration != registration);
        self.rotated.send_modify(|times| *times += 1);
        Ok(())
    }
}

/// A state directory, forges, and the agent between them.
pub struct House {
    pub folder: tempfile::TempDir,
    pub journal: Journal,
    pub registrar: Arc<FakeRegistrar>,
    pub runner: Arc<RunnerScript>,
    pub sweeper: Arc<FakeSweeper>,
    pub options: RunOptions,
}

/// An agent at work.
pub struct Running {
    pub signals: mpsc::Sender<Signal>,
    agent: tokio::task::JoinHandle<Stopping>,
}

impl House {
    /// A house with these registrations and room for so many jobs.
    pub fn new(concurrent: u32, registrations: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let house = Self {
            journal: crate::state::journal::tests_support::journal(folder.path()),
            folder,
            registrar: Arc::default(),
            runner: Arc::default(),
            sweeper: Arc::default(),
            options: RunOptions::default(),
        };
        *house.registrar.concurrent.lock().unwrap() = concurrent;
        for name in registrations {
            house.register(name, "1");
        }
        house
    }

    /// Adds a registration to the configuration, or changes one.
    pub fn register(&self, name: &str, fingerprint: &str) {
        let mut entries = self.registrar.entries.lock().unwrap();
        let script = entries.get(name).map(|entry| entry.0.clone()).unwrap_or_default();
        entries.insert(name.to_owned(), (script, fingerprint.to_owned(), 0));
    }

    /// The forge of a registration.
    pub fn forge(&self, name: &str) -> Arc<ForgeScript> {
        self.registrar.entries.lock().unwrap()[name].0.clone()
    }

    /// Starts the agent.
    pub async fn start(&self) -> Running {
        let (signals, received) = mpsc::channel(8);
        let parts = AgentParts {
            registrar: self.registrar.clone(),
            runner: FakeRunner(self.runner.clone()),
            sweeper: self.sweeper.clone(),
            journal: self.journal.clone(),
            options: self.options,
            signals: Signals::from_channel(received),
            clock: noon,
            random: || 0.5,
        };
        let agent = Agent::start(parts).await.unwrap();
        Running { signals, agent: tokio::spawn(agent.run()) }
    }

    /// Waits until nothing is owed for a job.
    pub async fn closed(&self, key: &JobKey) {
        // The journal has no way to wait: with the paused clock this takes no time.
        while self.journal.ended(key).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Running {
    pub async fn signal(&self, signal: Signal) {
        self.signals.send(signal).await.unwrap();
    }

    /// Waits for the end.
    pub async fn ended(self) -> Stopping {
        within(self.agent).await.unwrap()
    }

    /// Whether it is still there.
    pub fn is_running(&self) -> bool {
        !self.agent.is_finished()
    }

    /// As SIGKILL does it: nothing more happens, nothing is tidied.
    pub async fn kill(self) {
        self.agent.abort();
        let _ = self.agent.await;
    }
}

/// Something that must happen, within an hour of the paused clock.
pub async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(3600), what).await.expect("it happens within an hour")
}
