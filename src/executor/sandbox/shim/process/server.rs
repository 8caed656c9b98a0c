//! The shim's one loop: waits for signals, connections, keepers and spool threads, and lets every step advance.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{WaitOptions, wait};

use super::super::step::{StepExit, StepId};
use super::super::wire::{Facts, Reply, Request, StepState, StepWire};
use super::connection::{Close, Connection, Keyring};
use super::folder::RunFolder;
use super::launch::{self, Ground, Pipes};
use super::memory::OomCounter;
use super::running::{Cause, RunningStep, Surroundings};
use super::spooler::{SpoolFiles, Spooler};
use super::sys::{self, Arrived, Waker};
use super::{probe, relay, tree};

/// Connections at the same time. More are closed at once, so that nobody can take all descriptors.
const CONNECTIONS: usize = 64;
/// Probes at the same time.
const PROBES: usize = 64;
/// Between SIGTERM and SIGKILL when the engine stops the sandbox: engines wait 10 s before they kill the shim.
const ENGINE_GRACE: Duration = Duration::from_secs(4);

/// Longest remark about a step that did not start, bytes.
const REMARK: usize = 4096;

/// Why the shim ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// SIGTERM.
    StoppedByEngine,
    /// The agent said so.
    Shutdown,
    /// No agent ever came.
    Unclaimed,
}

impl End {
    /// What the end file says.
    pub fn as_str(self) -> &'static str {
        match self {
            End::StoppedByEngine => "stopped by the engine",
            End::Shutdown => "shut down by the agent",
            End::Unclaimed => "no agent ever came",
        }
    }
}

/// What the loop works with.
pub struct Server {
    /// The run directory.
    pub folder: Arc<RunFolder>,
    /// The socket.
    pub listener: UnixListener,
    /// From [`sys::signal_descriptor`].
    pub signals: OwnedFd,
    /// Who is obeyed.
    pub keyring: Keyring,
    /// Whether peers inside our own PID namespace are heard. Not in a container: there they are the job.
    pub hears_neighbours: bool,
    /// What steps start from.
    pub ground: Ground,
    /// Told to the agent.
    pub facts: Facts,
    /// Kills at the memory limit.
    pub oom: OomCounter,
    /// When to end if no agent has proven itself by then.
    pub claim_by: Option<Instant>,
}

struct State {
    server: Server,
    waker: Arc<Waker>,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    steps: Vec<RunningStep>,
    ended: BTreeMap<StepId, StepExit>,
    /// Children that the entrypoint had started before it became the shim: never a step's.
    inherited: HashSet<i32>,
    probes: usize,
    probe_results: (mpsc::Sender<ProbeResult>, mpsc::Receiver<ProbeResult>),
    /// Relays that were asked for, each with the port that it listens at.
    relays: Vec<((u16, String, u16), u16)>,
    end: Option<End>,
    /// Connections that are told when the shim ends.
    waiting: Vec<u64>,
}

struct ProbeResult {
    connection: u64,
    met: Option<String>,
}

/// Runs until the shim is to end.
pub fn serve(server: Server) -> io::Result<End> {
    let shim = server.facts.pid as i32;
    let inherited = tree::snapshot()?.iter().filter(|p| p.parent == shim).map(|p| p.pid).collect();
    let mut state = State {
        server,
        waker: Arc::new(Waker::new()?),
        connections: BTreeMap::new(),
        next_connection: 0,
        steps: Vec::new(),
        ended: BTreeMap::new(),
        inherited,
        probes: 0,
        probe_results: mpsc::channel(),
        relays: Vec::new(),
        end: None,
        waiting: Vec::new(),
    };
    loop {
        let look_at = state.advance();
        if let Some(end) = state.over() {
            state.server.folder.write_end(end.as_str());
            if end == End::StoppedByEngine {
                state.server.folder.sync_all();
            }
            state.say_goodbye();
            return Ok(end);
        }
        state.wait(look_at)?;
    }
}

impl State {
    /// Waits for anything to happen, and takes in what did.
    fn wait(&mut self, look_at: Option<Instant>) -> io::Result<()> {
        let mut ids = Vec::new();
        let ready = {
            let mut polled = vec![
                PollFd::new(&self.server.signals, PollFlags::IN),
                PollFd::new(self.waker.descriptor(), PollFlags::IN),
                PollFd::new(&self.server.listener, PollFlags::IN),
            ];
            for (id, connection) in &self.connections {
                let output = if connection.has_output() { PollFlags::OUT } else { PollFlags::empty() };
                polled.push(PollFd::from_borrowed_fd(connection.descriptor(), PollFlags::IN | output));
                ids.push(*id);
            }
            polled.extend(
                self.steps.iter().filter_map(RunningStep::words).map(|words| PollFd::new(words, PollFlags::IN)),
            );
            let limit = look_at.map(|at| at.saturating_duration_since(Instant::now()));
            // Rounded up by a little, so that what is due is due when we wake.
            let limit = limit.and_then(|limit| Timespec::try_from(limit + Duration::from_micros(500)).ok());
            match poll(&mut polled, limit.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            polled.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<bool>>()
        };
        self.waker.clear();
        // Keepers are heard before their end is noticed, so that a main process is known before it is reaped.
        self.hear_keepers();
        if ready.first() == Some(&true) {
            self.take_signals();
        }
        if ready.get(2) == Some(&true) {
            self.accept();
        }
        for (id, _) in ids.iter().zip(ready.iter().skip(3)).filter(|(_, ready)| **ready) {
            self.serve_connection(*id);
        }
        while let Ok(result) = self.probe_results.1.try_recv() {
            self.probes -= 1;
            self.answer(result.connection, &Reply::Probe(result.met));
        }
        Ok(())
    }

    fn hear_keepers(&mut self) {
        for step in &mut self.steps {
            let main = step.hear();
            // As root the step has done it itself, before it began. Others can only do it from outside: until exec a
            // step's process is not dumpable and its files belong to root.
            if let Some(main) = main.filter(|_| self.server.ground.oom_score < 0 && self.server.ground.uid != 0) {
                let _ = std::fs::write(format!("/proc/{main}/oom_score_adj"), "0");
            }
        }
    }

    fn take_signals(&mut self) {
        for Arrived { signal, sender } in sys::arrived_signals(&self.server.signals) {
            // A job's process may not end the sandbox under its job, as it could not end a PID 1 without this handler.
            let is_from_inside = sender != 0 && std::process::id() == 1;
            if matches!(signal, libc::SIGTERM | libc::SIGINT | libc::SIGQUIT) && !is_from_inside {
                self.stop(End::StoppedByEngine, Cause::Engine, ENGINE_GRACE);
            }
        }
        // One SIGCHLD may stand for many children.
        let mut reaped = Vec::new();
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            reaped.push((pid.as_raw_nonzero().get(), status.as_raw()));
        }
        // Once more: a step can have begun, killed its keeper and ended since. Who has ended has said before who it is.
        self.hear_keepers();
        for (pid, status) in reaped {
            self.inherited.remove(&pid);
            for step in &mut self.steps {
                step.reaped(pid, status);
            }
        }
    }

    fn stop(&mut self, end: End, cause: Cause, grace: Duration) {
        self.end.get_or_insert(end);
        for step in &mut self.steps {
            step.end(cause, grace);
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.server.listener.accept() {
            // Outside our PID namespace the kernel reports 0. A visible peer in a container is a process of the job:
            // it gets no answer, not even the hello.
            let welcome = self.server.hears_neighbours || sys::peer_pid(&stream).is_ok_and(|pid| pid == 0);
            if !welcome || self.connections.len() >= CONNECTIONS {
                continue;
            }
            self.next_connection += 1;
            if let Ok(connection) = Connection::new(self.next_connection, stream) {
                self.connections.insert(connection.id, connection);
            }
        }
    }

    fn serve_connection(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let requests = connection.send().and_then(|()| connection.receive(&mut self.server.keyring));
        match requests {
            Ok(requests) => {
                for request in requests {
                    self.server.claim_by = None;
                    if let Some(reply) = self.handle(id, request) {
                        self.answer(id, &reply);
                    }
                }
            }
            Err(Close) => drop(self.connections.remove(&id)),
        }
    }

    fn answer(&mut self, id: u64, reply: &Reply) {
        // An agent that is gone asks again when it is back.
        let sent = self.connections.get_mut(&id).map(|connection| connection.reply(reply));
        if let Some(Err(Close)) = sent {
            self.connections.remove(&id);
        }
    }

    /// Does what is asked. `None`: the answer comes later.
    fn handle(&mut self, id: u64, request: Request) -> Option<Reply> {
        match request {
            Request::Ping => Some(Reply::Facts(self.server.facts.clone())),
            Request::Start(step) => Some(match self.start(step) {
                Ok(state) => Reply::Step(state),
                Err(reason) => Reply::Refused(reason),
            }),
            Request::Terminate { step, grace_ms } => Some(self.terminate(&step, Duration::from_millis(grace_ms))),
            Request::Probe { host, port, timeout_ms } => self.probe(id, host, port, Duration::from_millis(timeout_ms)),
            Request::Relay { listen, host, port } => Some(self.relay(listen, host, port)),
            Request::List => Some(Reply::Steps(self.list())),
            Request::Shutdown { grace_ms } => {
                self.stop(End::Shutdown, Cause::Terminated, Duration::from_millis(grace_ms));
                self.waiting.push(id);
                None
            }
        }
    }

    fn list(&self) -> Vec<(StepId, StepState)> {
        let ended = self.ended.iter().map(|(id, exit)| (id.clone(), StepState::Ended(*exit)));
        ended.chain(self.steps.iter().map(|step| (step.id().clone(), step.state()))).collect()
    }

    fn state_of(&self, id: &StepId) -> Option<StepState> {
        match self.ended.get(id) {
            Some(exit) => Some(StepState::Ended(*exit)),
            None => self.steps.iter().find(|step| step.id() == id).map(RunningStep::state),
        }
    }

    fn terminate(&mut self, id: &StepId, grace: Duration) -> Reply {
        for step in self.steps.iter_mut().filter(|step| step.id() == id) {
            step.end(Cause::Terminated, grace);
        }
        match self.state_of(id) {
            Some(state) => Reply::Step(state),
            None => Reply::Refused(format!("no step {id} was ever started here")),
        }
    }

    fn relay(&mut self, listen: u16, host: String, port: u16) -> Reply {
        let asked = (listen, host.clone(), port);
        if let Some((_, bound)) = self.relays.iter().find(|(known, _)| *known == asked) {
            return Reply::Relay(*bound);
        }
        if self.relays.len() >= relay::MOST {
            return Reply::Refused(format!("there are {} relays already", relay::MOST));
        }
        match relay::start(listen, host, port) {
            Ok(bound) => {
                self.relays.push((asked, bound));
                Reply::Relay(bound)
            }
            Err(error) => Reply::Refused(error.to_string()),
        }
    }

    fn probe(&mut self, connection: u64, host: String, port: u16, timeout: Duration) -> Option<Reply> {
        if self.probes >= PROBES {
            return Some(Reply::Refused(format!("{PROBES} probes are under way already")));
        }
        let (results, waker) = (self.probe_results.0.clone(), self.waker.clone());
        let thread = std::thread::Builder::new().name("probe".into()).stack_size(256 << 10).spawn(move || {
            let met = probe::tcp(&host, port, timeout);
            // A loop that is gone has ended the process.
            let _ = results.send(ProbeResult { connection, met });
            waker.wake();
        });
        match thread {
            Ok(_) => {
                self.probes += 1;
                None
            }
            Err(error) => Some(Reply::Refused(format!("cannot start a thread in the sandbox: {error}"))),
        }
    }

    fn start(&mut self, step: StepWire) -> Result<StepState, String> {
        if let Some(state) = self.state_of(&step.id) {
            return Ok(state);
        }
        if self.end.is_some() {
            return Err("the sandbox is being stopped".into());
        }
        launch::check(&step)?;
        let who = launch::identity(&step, &self.server.ground)?;
        let files = match self.files(&step.id) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(self.of_an_earlier_shim(&step.id)),
            Err(error) => {
                self.server.folder.forget(&step.id);
                return Err(format!("cannot write the output of step {} into the run directory: {error}", step.id));
            }
        };
        let running = self.run(&step, who, files).map_err(|error| {
            self.server.folder.forget(&step.id);
            format!("cannot start a thread for the output of step {}: {error}", step.id)
        })?;
        self.steps.push(running);
        Ok(StepState::Running)
    }

    fn files(&self, id: &StepId) -> io::Result<SpoolFiles> {
        let folder = self.server.folder.clone();
        let spool = folder.create(&id.spool_name())?;
        let pending_exit = folder.create_pending_exit(id)?;
        Ok(SpoolFiles { folder, spool, pending_exit })
    }

    /// A spool is there, but this shim has not begun it: the container was started again. What it was about is over.
    fn of_an_earlier_shim(&mut self, id: &StepId) -> StepState {
        let exit = self.server.folder.read_exit(id).map_or(StepExit::Unknown, |record| record.exit);
        self.ended.insert(id.clone(), exit);
        StepState::Ended(exit)
    }

    /// The thread comes first: a step that cannot be heard must not begin.
    fn run(&self, step: &StepWire, who: Option<super::user::Identity>, files: SpoolFiles) -> io::Result<RunningStep> {
        let oom = self.server.oom.read();
        let pipes = Pipes::new()?;
        let spooler = Spooler::start(files, pipes.read, self.waker.clone())?;
        match launch::launch(step, who, &self.server.ground, &pipes.write) {
            Ok(launched) => {
                let mut running = RunningStep::new(step.id.clone(), launched, spooler, oom);
                running.limit(step.timeout_ms.map(Duration::from_millis), Duration::from_millis(step.grace_ms));
                Ok(running)
            }
            Err(not) => {
                // As if the step had said it. So much an empty pipe takes at once.
                let remark = not.remark.as_bytes();
                let _ = rustix::io::write(&pipes.write[1], remark.get(..REMARK).unwrap_or(remark));
                Ok(RunningStep::stillborn(step.id.clone(), spooler, not.code))
            }
        }
    }

    /// Lets every step do what is due. Returns when to look again at the latest.
    fn advance(&mut self) -> Option<Instant> {
        let now = Instant::now();
        self.connections.retain(|_, connection| connection.drop_at().is_none_or(|at| now < at));
        if self.server.claim_by.is_some_and(|at| now >= at) {
            self.end.get_or_insert(End::Unclaimed);
        }
        let mut not_ours = self.inherited.clone();
        not_ours.extend(self.steps.iter().filter_map(RunningStep::keeper));
        let around = Surroundings { shim: self.server.facts.pid as i32, not_ours: &not_ours };
        let mut look_at = self.connections.values().filter_map(Connection::drop_at).min();
        look_at = earlier(look_at, self.server.claim_by);
        for step in &mut self.steps {
            look_at = earlier(look_at, step.advance(&around, &self.server.oom));
        }
        self.bury();
        look_at
    }

    fn bury(&mut self) {
        let ending = self.end.is_some();
        for step in &mut self.steps {
            if let Some(exit) = step.recorded() {
                self.ended.insert(step.id().clone(), exit);
                if ending {
                    step.join();
                }
            }
        }
        self.steps.retain(|step| step.recorded().is_none());
    }

    /// Whether it is time to go.
    fn over(&self) -> Option<End> {
        self.end.filter(|_| self.steps.is_empty())
    }

    fn say_goodbye(mut self) {
        for id in std::mem::take(&mut self.waiting) {
            self.answer(id, &Reply::Done);
        }
        for (_, connection) in self.connections {
            if connection.is_trusted() {
                connection.flush();
            }
        }
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    [a, b].into_iter().flatten().min()
}
