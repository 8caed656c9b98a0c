//! The agent's one loop: what it waits for, and who handles it.
//!
//! - [`stopping`]: how far the agent has been told to stop.
//! - `serving`: registrations and their poll loops. `jobs`: jobs and their slots.
//! - `commands`: what others ask over the socket. `chores`: what takes time, in tasks that come back as events.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

mod chores;
mod commands;
mod jobs;
mod serving;
pub mod stopping;

use self::chores::Chore;
use self::serving::Served;
use self::stopping::Stopping;
use super::backoff::Random;
use super::board::Board;
use super::capacity::Capacity;
use super::claims::Claims;
use super::control::{ControlRequest, ControlServer, Progress};
use super::job::{JobRunner, SlotEnded};
use super::memory;
use super::numbers::Numbers;
use super::poll::Assigned;
use super::registration::{PlanError, Registrar};
use super::signals::{Signal, Signals};
use super::sweep::Sweeper;
use super::watchdog::ServiceManager;
use crate::pipeline::JobKey;
use crate::state::journal::Clock;
use crate::state::{Journal, JournalError};

/// How often what nobody needs is removed.
const SWEEP_EVERY: Duration = Duration::from_secs(15 * 60);

/// After how long a job that could not be closed is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// How long the agent has been idle when it gives back what it needed before. Jobs often come one after the other.
const GIVE_BACK_AFTER: Duration = Duration::from_secs(1);

/// Jobs that may wait between the poll loops and the agent's loop.
const ASSIGNED: usize = 16;

/// What the operator said on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// At most so many jobs at once, in place of `concurrent`.
    pub max_jobs: Option<u32>,
    /// Drain after no job has run for so long.
    pub exit_when_idle: Option<Duration>,
    /// Drain after so long.
    pub max_uptime: Option<Duration>,
}

/// What an agent is made of.
pub struct AgentParts<G, R, W> {
    /// Where registrations come from.
    pub registrar: Arc<G>,
    /// Who runs jobs.
    pub runner: R,
    /// Who looks after sandboxes.
    pub sweeper: Arc<W>,
    /// What is owed. The caller holds the state lock.
    pub journal: Journal,
    /// What the operator said.
    pub options: RunOptions,
    /// What the process is told.
    pub signals: Signals,
    /// Tells the time.
    pub clock: Clock,
    /// For jitter.
    pub random: Random,
}

/// The long-running process.
pub struct Agent<G: Registrar, R, W> {
    registrar: Arc<G>,
    runner: R,
    sweeper: Arc<W>,
    journal: Journal,
    options: RunOptions,
    signals: Signals,
    clock: Clock,
    random: Random,

    stopping: Stopping,
    is_paused: bool,
    since: jiff::Timestamp,
    started: Instant,
    idle_since: Option<Instant>,
    /// When what jobs needed is given back to the machine.
    give_back_at: Option<Instant>,
    drain_timeout: Option<Duration>,
    shutdown_timeout: Duration,
    /// When the next step of stopping is taken without being asked for.
    next_step_at: Option<Instant>,
    unhealthy_interval: Duration,

    /// Cancelled: take no more jobs.
    drain: CancellationToken,
    /// Cancelled: end the jobs, tidily.
    cancel: CancellationToken,
    /// Cancelled: a job is here, and what nobody waits for waits for it.
    idle: CancellationToken,
    capacity: Capacity,
    claims: Claims,
    numbers: Numbers,
    board: Board,

    served: BTreeMap<String, Served<G::Forge, G::Settings>>,
    polls: JoinSet<()>,
    poll_tasks: HashMap<Id, (String, u32)>,
    slots: JoinSet<SlotEnded>,
    /// With the registration that the job came through.
    slot_tasks: HashMap<Id, (JobKey, String)>,
    /// Tasks that decide how jobs go on: the agent does not end before they have.
    looks: JoinSet<Chore<G::Forge, G::Settings>>,
    /// Tasks that may be dropped at any time.
    chores: JoinSet<Chore<G::Forge, G::Settings>>,
    rotation: Option<tokio::task::AbortHandle>,
    assigned: mpsc::Receiver<Assigned<G::Forge, G::Settings>>,
    assigned_sender: mpsc::Sender<Assigned<G::Forge, G::Settings>>,
    control: Option<ControlServer>,
    requests: mpsc::Receiver<ControlRequest>,
    progress: watch::Sender<Progress>,
    sweep: Interval,
    feed: Option<Interval>,
    service_manager: ServiceManager,
}

/// Something happened.
enum AgentEvent<F, S> {
    Signal(Signal),
    SlotEnded(Result<(Id, SlotEnded), JoinError>),
    PollEnded(Result<(Id, ()), JoinError>),
    Assigned(Box<Assigned<F, S>>),
    ChoreEnded(Result<Chore<F, S>, JoinError>),
    Asked(ControlRequest),
    SweepDue,
    FeedDue,
    IdleForAWhile,
    IdleTooLong,
    UpTooLong,
    StoppingTooLong,
}

/// Why an agent could not be started.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The configuration cannot be used, or what it names is not there.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The journal cannot be read.
    #[error("{0}")]
    Journal(#[from] JournalError),
    /// The control socket cannot be made.
    #[error("the control socket {path} cannot be made: {cause}", path = .path.display())]
    Control {
        /// Where it should be.
        path: std::path::PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
}

impl<G, R, W> Agent<G, R, W>
where
    G: Registrar,
    R: JobRunner<G::Forge, G::Settings>,
    W: Sweeper,
{
    /// Takes up what an agent before this one left, begins to ask for jobs, and listens for commands.
    pub async fn start(parts: AgentParts<G, R, W>) -> Result<Self, AgentError> {
        let plan = parts.registrar.plan().await?;
        let mut agent = Self::assemble(parts)?;
        agent.serve(plan);
        let open = agent.journal.open_jobs().await?;
        // Their slots and numbers are theirs before anybody can ask for more jobs.
        let taken = open.into_iter().filter_map(|job| agent.take_up(job)).collect();
        agent.look_at(taken);
        agent.start_polls();
        agent.replace_tokens_when_due();
        agent.service_manager.ready();
        tracing::info!(
            version = crate::VERSION,
            registrations = agent.served.len(),
            state_dir = %agent.journal.dir().root().display(),
            "the agent serves"
        );
        Ok(agent)
    }

    fn assemble(parts: AgentParts<G, R, W>) -> Result<Self, AgentError> {
        let (assigned_sender, assigned) = mpsc::channel(ASSIGNED);
        let (requests_sender, requests) = mpsc::channel(ASSIGNED);
        let progress = watch::Sender::new(Progress::default());
        let path = parts.journal.dir().control_socket();
        let control = ControlServer::listen(&path, requests_sender, progress.subscribe())
            .map_err(|cause| AgentError::Control { path, cause })?;
        let service_manager = ServiceManager::of_process();
        let is_paused = parts.journal.dir().paused().exists();
        let capacity = Capacity::default();
        capacity.set_open(!is_paused);
        let now = Instant::now();
        Ok(Self {
            registrar: parts.registrar,
            runner: parts.runner,
            sweeper: parts.sweeper,
            journal: parts.journal,
            options: parts.options,
            signals: parts.signals,
            clock: parts.clock,
            random: parts.random,
            stopping: Stopping::No,
            is_paused,
            since: (parts.clock)(),
            started: now,
            idle_since: Some(now),
            give_back_at: Some(now + GIVE_BACK_AFTER),
            drain_timeout: None,
            shutdown_timeout: Duration::from_secs(30),
            next_step_at: None,
            unhealthy_interval: Duration::from_secs(3600),
            drain: CancellationToken::new(),
            cancel: CancellationToken::new(),
            idle: CancellationToken::new(),
            capacity,
            claims: Claims::default(),
            numbers: Numbers::default(),
            board: Board::new(parts.clock),
            served: BTreeMap::new(),
            polls: JoinSet::new(),
            poll_tasks: HashMap::new(),
            slots: JoinSet::new(),
            slot_tasks: HashMap::new(),
            looks: JoinSet::new(),
            chores: JoinSet::new(),
            rotation: None,
            assigned,
            assigned_sender,
            control: Some(control),
            requests,
            progress,
            sweep: every(SWEEP_EVERY),
            feed: service_manager.feed_every().map(every),
            service_manager,
        })
    }

    /// The one loop: wait for an event, handle it, look whether all is done.
    pub async fn run(mut self) -> Stopping {
        self.show();
        while !self.is_done() {
            let event = self.next_event().await;
            self.handle(event); // never awaits: what takes time is a task that comes back as an event
            self.show();
        }
        self.close().await;
        self.stopping
    }

    /// All branches are cancel-safe.
    async fn next_event(&mut self) -> AgentEvent<G::Forge, G::Settings> {
        let idle_at = self.idle_since.zip(self.options.exit_when_idle).map(|(since, after)| since + after);
        let up_until = self.options.max_uptime.map(|after| self.started + after);
        let serves = self.stopping == Stopping::No;
        tokio::select! {
            biased; // signals first; ends before begins, so that a slot is free before it is filled
            signal = self.signals.recv() => AgentEvent::Signal(signal),
            Some(ended) = self.slots.join_next_with_id() => AgentEvent::SlotEnded(ended),
            Some(ended) = self.polls.join_next_with_id() => AgentEvent::PollEnded(ended),
            Some(job) = self.assigned.recv() => AgentEvent::Assigned(Box::new(job)),
            Some(chore) = self.looks.join_next() => AgentEvent::ChoreEnded(chore),
            Some(chore) = self.chores.join_next() => AgentEvent::ChoreEnded(chore),
            Some(request) = self.requests.recv() => AgentEvent::Asked(request),
            () = at(self.next_step_at) => AgentEvent::StoppingTooLong,
            () = at(self.give_back_at) => AgentEvent::IdleForAWhile,
            () = at(idle_at), if serves => AgentEvent::IdleTooLong,
            () = at(up_until), if serves => AgentEvent::UpTooLong,
            _ = self.sweep.tick() => AgentEvent::SweepDue,
            () = tick(&mut self.feed) => AgentEvent::FeedDue,
        }
    }

    fn handle(&mut self, event: AgentEvent<G::Forge, G::Settings>) {
        match event {
            AgentEvent::Signal(Signal::Stop) => self.stop_once_more(),
            AgentEvent::Signal(Signal::HandOver) => self.stop(Stopping::Now),
            AgentEvent::Signal(Signal::Reload) => self.reload(None),
            AgentEvent::SlotEnded(ended) => self.slot_ended(ended),
            AgentEvent::PollEnded(ended) => self.poll_ended(ended),
            AgentEvent::Assigned(job) => self.seat(*job),
            AgentEvent::ChoreEnded(Ok(chore)) => self.chore_ended(chore),
            AgentEvent::ChoreEnded(Err(error)) => self.chore_broke(&error),
            AgentEvent::Asked(request) => self.answer(request),
            AgentEvent::SweepDue => self.sweep_up(),
            AgentEvent::FeedDue => self.service_manager.feed(&self.board, Instant::now()),
            AgentEvent::IdleForAWhile => {
                self.give_back_at = None;
                memory::give_back();
            }
            AgentEvent::IdleTooLong => self.drain_because("no job has come for the time set by --exit-when-idle"),
            AgentEvent::UpTooLong => self.drain_because("the time set by --max-uptime is over"),
            AgentEvent::StoppingTooLong => {
                tracing::warn!("jobs did not end in the time that the configuration gives them");
                self.stop_once_more();
            }
        }
        self.note_whether_idle();
    }

    fn note_whether_idle(&mut self) {
        let is_idle = self.slots.is_empty() && self.assigned.is_empty() && self.looks.is_empty();
        match (is_idle, self.idle_since) {
            (true, Some(_)) => {}
            (true, None) => {
                let now = Instant::now();
                self.idle_since = Some(now);
                self.give_back_at = Some(now + GIVE_BACK_AFTER);
            }
            (false, _) => {
                self.idle_since = None;
                self.give_back_at = None;
            }
        }
    }

    fn is_done(&self) -> bool {
        let nothing_runs =
            self.polls.is_empty() && self.slots.is_empty() && self.assigned.is_empty() && self.looks.is_empty();
        self.stopping == Stopping::Now || (self.stopping > Stopping::No && nothing_runs)
    }

    /// Those who wait hear the end; the sandboxes of jobs that are not over run on.
    async fn close(&mut self) {
        self.service_manager.stopping();
        let left_running = self.slots.len();
        self.slots.abort_all();
        self.polls.abort_all();
        self.chores.abort_all();
        self.progress.send_modify(|progress| progress.has_ended = true);
        if let Some(control) = self.control.take() {
            control.close().await;
        }
        tracing::info!(left_running, "the agent ends");
    }

    fn show(&mut self) {
        let figures = self.capacity.figures();
        self.progress.send_if_modified(|progress| {
            let is_new = progress.figures != figures;
            progress.figures = figures;
            is_new
        });
        let state = self.state();
        self.service_manager.show(state, figures, self.served.len());
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}
