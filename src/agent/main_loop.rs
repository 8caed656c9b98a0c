//! The agent's one loop.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::backoff::Random;
use super::board::{AgentStatus, Board};
use super::capacity::Capacity;
use super::chores::{Chore, Taken};
use super::claims::Claims;
use super::control::{Answer, Command, ControlRequest, ControlServer, Progress};
use super::job::{JobRunner, SlotEnded};
use super::numbers::Numbers;
use super::poll::{Assigned, Poller, Pulse};
use super::registration::{Plan, PlanError, Registrar, Registration};
use super::seat::{Place, Seat};
use super::signals::{Signal, Signals};
use super::stopping::Stopping;
use super::sweep::Sweeper;
use super::watchdog::ServiceManager;
use crate::pipeline::JobKey;
use crate::state::journal::Clock;
use crate::state::{Journal, JournalError};

/// How often what nobody needs is removed.
const SWEEP_EVERY: Duration = Duration::from_secs(15 * 60);

/// After how long a job that could not be closed is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

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
    pub(super) registrar: Arc<G>,
    runner: R,
    pub(super) sweeper: Arc<W>,
    pub(super) journal: Journal,
    options: RunOptions,
    signals: Signals,
    pub(super) clock: Clock,
    random: Random,

    stopping: Stopping,
    is_paused: bool,
    since: jiff::Timestamp,
    started: Instant,
    idle_since: Option<Instant>,
    drain_timeout: Option<Duration>,
    shutdown_timeout: Duration,
    /// When the next step of stopping is taken without being asked for.
    next_step_at: Option<Instant>,
    unhealthy_interval: Duration,

    /// Cancelled: take no more jobs.
    drain: CancellationToken,
    /// Cancelled: end the jobs, tidily.
    cancel: CancellationToken,
    capacity: Capacity,
    pub(super) claims: Claims,
    numbers: Numbers,
    pub(super) board: Board,

    served: BTreeMap<String, Served<G::Forge, G::Settings>>,
    polls: JoinSet<()>,
    poll_tasks: HashMap<Id, (String, u32)>,
    slots: JoinSet<SlotEnded>,
    slot_tasks: HashMap<Id, JobKey>,
    /// Tasks that decide how jobs go on: the agent does not end before they have.
    pub(super) looks: JoinSet<Chore<G::Forge, G::Settings>>,
    /// Tasks that may be dropped at any time.
    pub(super) chores: JoinSet<Chore<G::Forge, G::Settings>>,
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

/// A registration that is being served.
struct Served<F, S> {
    registration: Arc<Registration<F, S>>,
    pulse: Arc<Pulse>,
    /// Cancelled: ask no more. A child of `drain`.
    stop: CancellationToken,
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
            drain_timeout: None,
            shutdown_timeout: Duration::from_secs(30),
            next_step_at: None,
            unhealthy_interval: Duration::from_secs(3600),
            drain: CancellationToken::new(),
            cancel: CancellationToken::new(),
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
            AgentEvent::IdleTooLong => self.drain_because("no job has come for the time set by --exit-when-idle"),
            AgentEvent::UpTooLong => self.drain_because("the time set by --max-uptime is over"),
            AgentEvent::StoppingTooLong => {
                tracing::warn!("jobs did not end in the time that the configuration gives them");
                self.stop_once_more();
            }
        }
        let is_idle = self.slots.is_empty() && self.assigned.is_empty() && self.looks.is_empty();
        self.idle_since = is_idle.then(|| self.idle_since.unwrap_or_else(Instant::now));
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

    // --- stopping ---

    fn stop_once_more(&mut self) {
        self.stop(self.stopping.once_more());
    }

    fn drain_because(&mut self, why: &str) {
        tracing::info!(why, "the agent takes no more jobs");
        self.stop(self.stopping.max(Stopping::Drain));
    }

    fn stop(&mut self, how_far: Stopping) {
        if how_far <= self.stopping {
            return;
        }
        self.stopping = how_far;
        let running = self.slots.len();
        self.drain.cancel(); // polls end; jobs go on
        self.next_step_at = None;
        match how_far {
            Stopping::No => {}
            Stopping::Drain => {
                tracing::info!(running, "no more jobs are taken; the agent ends with the last of them");
                self.next_step_at = self.drain_timeout.map(|timeout| Instant::now() + timeout);
            }
            Stopping::Cancel => {
                tracing::warn!(running, "running jobs are cancelled");
                self.cancel.cancel(); // jobs end; after-steps still run
                self.next_step_at = Some(Instant::now() + self.shutdown_timeout);
            }
            Stopping::Now => tracing::warn!(running, "the agent ends at once; the next one goes on with its jobs"),
        }
    }

    // --- registrations ---

    /// Serves `plan` from now on. What is the same as before is left alone; running jobs always are.
    fn serve(&mut self, plan: Plan<G::Forge, G::Settings>) {
        // Flags are over the file, in both directions.
        let concurrent = self.options.max_jobs.unwrap_or(plan.concurrent);
        self.drain_timeout = plan.drain_timeout;
        self.shutdown_timeout = plan.shutdown_timeout;
        self.unhealthy_interval = plan.unhealthy_interval;
        let mut before = std::mem::take(&mut self.served);
        for registration in plan.registrations {
            let same = |served: &Served<_, _>| served.registration.fingerprint == registration.fingerprint;
            let kept = before.remove(&registration.name).filter(|served| {
                let is_same = same(served);
                if !is_same {
                    served.stop.cancel();
                }
                is_same
            });
            let name = registration.name.clone();
            self.served.insert(name, kept.unwrap_or_else(|| Served::new(registration, &self.drain)));
        }
        for gone in before.values() {
            gone.stop.cancel();
        }
        let limits = self.served.values().map(|served| (served.registration.name.as_str(), served.registration.limit));
        self.capacity.set_limits(concurrent, limits);
        self.board.set_registrations(self.served.keys().map(String::as_str));
        if self.served.is_empty() {
            tracing::warn!("there is nothing to serve; add a registration with `forgehand register`");
        }
    }

    /// Starts the poll loops that are missing.
    fn start_polls(&mut self) {
        if self.stopping > Stopping::No {
            return;
        }
        let running: Vec<&(String, u32)> = self.poll_tasks.values().collect();
        let wanted = self.served.values().flat_map(|served| {
            let registration = &served.registration;
            (0..registration.request_concurrency.max(1)).map(move |index| (served, index))
        });
        let missing: Vec<_> = wanted
            .filter(|(served, index)| {
                let place = (served.lane_name(), *index);
                !running.iter().any(|running| **running == place)
            })
            .map(|(served, index)| (served.registration.name.clone(), index))
            .collect();
        for (name, index) in missing {
            self.start_poll(&name, index);
        }
    }

    fn start_poll(&mut self, name: &str, index: u32) {
        let Some(served) = self.served.get(name) else { return };
        let poller = Poller {
            registration: served.registration.clone(),
            index,
            pulse: served.pulse.clone(),
            capacity: self.capacity.clone(),
            journal: self.journal.clone(),
            claims: self.claims.clone(),
            stop: served.stop.clone(),
            assigned: self.assigned_sender.clone(),
            lane: self.board.lane(name, index),
            unhealthy_interval: self.unhealthy_interval,
            random: self.random,
        };
        let lane = served.lane_name();
        let task = self.polls.spawn(poller.run());
        self.poll_tasks.insert(task.id(), (lane, index));
    }

    fn poll_ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        self.poll_tasks.remove(&id);
        if let Err(error) = ended.map_err(|error| error.to_string()) {
            // A defect of ours in one registration's loop must not end the service of all.
            tracing::error!(error, "a poll loop broke; it is started again in a while");
            self.look_again_in(LOOK_AGAIN);
        }
    }

    /// Reads the configuration again, in a task of its own.
    fn reload(&mut self, reply: Option<oneshot::Sender<Answer>>) {
        let registrar = self.registrar.clone();
        self.chores.spawn(async move { Chore::Planned { plan: registrar.plan().await, reply } });
    }

    fn planned(
        &mut self,
        plan: Result<Plan<G::Forge, G::Settings>, PlanError>,
        reply: Option<oneshot::Sender<Answer>>,
    ) {
        let answer = match plan {
            Ok(plan) => {
                self.serve(plan);
                self.start_polls();
                self.replace_tokens_when_due();
                self.look_again_in(Duration::ZERO); // jobs whose registration is back
                tracing::info!(registrations = self.served.len(), "the configuration was read again");
                Answer::Done
            }
            Err(error) => {
                tracing::error!(%error, "the new configuration cannot be used; the old one stays");
                Answer::Refused { message: format!("the old configuration stays: {error}") }
            }
        };
        if let Some(reply) = reply {
            let _ = reply.send(answer);
        }
    }

    fn replace_tokens_when_due(&mut self) {
        if let Some(running) = self.rotation.take() {
            running.abort();
        }
        let (registrar, clock) = (self.registrar.clone(), self.clock);
        let task = self.chores.spawn(async move {
            super::rotation::rotate_next(&registrar, clock).await;
            Chore::TokenReplaced
        });
        self.rotation = Some(task);
    }

    // --- jobs ---

    fn seat(&mut self, job: Assigned<G::Forge, G::Settings>) {
        let key = job.work.key().clone();
        let seat = self.make_seat(job.registration, job.claim);
        let task = self.slots.spawn(seat.run(job.work, Place::Queued(job.ticket)));
        self.slot_tasks.insert(task.id(), key);
    }

    fn make_seat(
        &self,
        registration: Arc<Registration<G::Forge, G::Settings>>,
        claim: super::claims::Claim,
    ) -> Seat<G::Forge, G::Settings, R> {
        Seat {
            registration,
            runner: self.runner.clone(),
            journal: self.journal.clone(),
            board: self.board.clone(),
            numbers: self.numbers.clone(),
            cancel: self.cancel.clone(),
            claim,
        }
    }

    fn slot_ended(&mut self, ended: Result<(Id, SlotEnded), JoinError>) {
        match ended {
            Ok((id, ended)) => {
                let key = self.slot_tasks.remove(&id);
                if let (SlotEnded::Open { why }, Some(key)) = (ended, key) {
                    tracing::error!(job_key = %key, why, "a job could not be brought to its end; it is tried again");
                    self.look_again_in(LOOK_AGAIN);
                }
            }
            Err(error) => {
                let Some(key) = self.slot_tasks.remove(&error.id()) else { return };
                if !error.is_cancelled() {
                    tracing::error!(job_key = %key, %error, "a defect of forgehand ended a job");
                    self.board.remove_job(&key);
                    self.fail_broken(key);
                }
            }
        }
    }

    /// The slots and numbers of a job that is taken up, and the right to work on it; `None` when somebody does, or
    /// nobody can.
    pub(super) fn take_up(&mut self, job: crate::state::OpenJob) -> Option<Taken> {
        let claim = self.claims.take(&job.assignment.key)?;
        if !self.served.contains_key(&job.registration) {
            self.leave_or_give_up(&job, claim);
            return None;
        }
        let numbers = job.facts.as_ref().map(|facts| {
            let numbers = [facts.concurrent_id, facts.concurrent_project_id];
            self.numbers.restore(&job.registration, &job.assignment.owner.project, numbers)
        });
        let slot = self.capacity.occupy(&job.registration);
        Some(Taken { claim, place: Place::Kept(slot, numbers), job })
    }

    /// Starts the jobs that were looked at.
    pub(super) fn go_on(&mut self, jobs: Vec<(Taken, super::Repair)>) {
        for (taken, repair) in jobs {
            let Some(served) = self.served.get(&taken.job.registration) else { continue };
            let key = taken.job.assignment.key.clone();
            tracing::info!(job_id = %taken.job.assignment.id, ?repair, "a job is taken up again");
            let seat = self.make_seat(served.registration.clone(), taken.claim);
            let work = super::JobWork::Recovered { open_job: Box::new(taken.job), repair };
            let task = self.slots.spawn(seat.run(work, taken.place));
            self.slot_tasks.insert(task.id(), key);
        }
    }

    fn chore_ended(&mut self, chore: Chore<G::Forge, G::Settings>) {
        match chore {
            Chore::Planned { plan, reply } => self.planned(plan, reply),
            Chore::TokenReplaced => self.reload(None),
            Chore::Listed { open } => {
                let taken = open.into_iter().filter_map(|job| self.take_up(job)).collect();
                self.start_polls();
                self.look_at(taken);
            }
            Chore::LookedAt { jobs } => self.go_on(jobs),
            Chore::Over => {}
        }
    }

    fn chore_broke(&mut self, error: &JoinError) {
        if error.is_panic() {
            tracing::error!(%error, "a defect of forgehand ended one of its own tasks");
            self.look_again_in(LOOK_AGAIN);
        }
    }

    // --- commands ---

    fn answer(&mut self, request: ControlRequest) {
        let answer = match request.command {
            Command::Status => Answer::Status { status: Box::new(self.status()) },
            Command::Pause { .. } => self.pause(true),
            Command::Resume => self.pause(false),
            Command::Drain { .. } => {
                self.drain_because("a command asked for it");
                Answer::Done
            }
            Command::Reload => return self.reload(Some(request.reply)),
        };
        let _ = request.reply.send(answer);
    }

    /// Small and rare file work, done here so that the answer tells what is.
    fn pause(&mut self, is_paused: bool) -> Answer {
        let path = self.journal.dir().paused();
        let done = if is_paused {
            std::fs::write(&path, "")
        } else {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                done => done,
            }
        };
        self.is_paused = is_paused;
        self.capacity.set_open(!is_paused);
        tracing::info!(is_paused, "a command changed whether jobs are taken");
        match done {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Refused {
                message: format!("done, but a restart will forget it: {} cannot be changed: {error}", path.display()),
            },
        }
    }

    /// What the agent does.
    pub fn status(&self) -> AgentStatus {
        AgentStatus {
            version: 1,
            pid: std::process::id(),
            forgehand: crate::VERSION.to_owned(),
            since: self.since,
            state: self.state().to_owned(),
            capacity: self.capacity.figures(),
            registrations: self.board.registrations(),
            jobs: self.board.jobs(),
        }
    }

    fn state(&self) -> &'static str {
        if self.is_paused && self.stopping == Stopping::No { "paused" } else { self.stopping.as_str() }
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

impl<F, S> Served<F, S> {
    fn new(registration: Registration<F, S>, drain: &CancellationToken) -> Self {
        Self { registration: Arc::new(registration), pulse: Arc::default(), stop: drain.child_token() }
    }

    /// Tells the poll loops of this registration from those of one of the same name before it.
    fn lane_name(&self) -> String {
        format!("{} {}", self.registration.name, self.registration.fingerprint)
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
