//! One step from its start to its exit file: a small machine that is looked at whenever something may have changed.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::super::LEFTOVER_GRACE;
use super::super::step::{StepExit, StepId, StepRecord};
use super::super::wire::StepState;
use super::keeper::{WORD, Word};
use super::launch::Launched;
use super::memory::OomCounter;
use super::spooler::Spooler;
use super::sys::now_us;
use super::tree::{self, Process};

/// After the main process has ended, output of what it left running is waited for until it pauses for so long ...
const QUIET: Duration = Duration::from_millis(500);
/// ... but no longer than this.
const LONGEST_DRAIN: Duration = Duration::from_secs(5);
/// A keeper whose last child was the main process ends at once. Only one that has not by then has others, and /proc, a
/// few milliseconds on a busy machine, is looked at.
const KEEPER_EXIT: Duration = Duration::from_millis(20);
/// How long killing goes on before processes that do not die are left behind.
const KILL_FOR: Duration = Duration::from_secs(10);
/// Between two looks at processes that are being ended: first, and at most.
const LOOK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));

/// Why a step is being ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its time is over.
    TimedOut,
    /// The agent said so.
    Terminated,
    /// The shim was told to stop.
    Engine,
    /// Its output cannot be written.
    OutputLost,
    /// The main process has ended; what it left running has to.
    Leftovers,
}

struct Ending {
    cause: Cause,
    kill_at: Instant,
    give_up_at: Instant,
    asked: HashSet<(i32, u64)>,
    next_look: Instant,
    pause: Duration,
}

/// What the machine knows of the step's processes.
struct Processes {
    /// The keeper, while it lives.
    keeper: Option<i32>,
    /// The pipe on which it speaks, until its end.
    words: Option<OwnedFd>,
    main: Option<i32>,
    /// Wait status of the main process.
    status: Option<i32>,
    /// The keeper was killed before its last child had ended: the step's processes are the shim's children now.
    orphaned: bool,
}

/// What a step needs to know about the others to tell its processes from theirs.
pub struct Surroundings<'a> {
    /// The shim itself.
    pub shim: i32,
    /// Children of the shim that are no orphans of this step: keepers, and what the entrypoint had started.
    pub not_ours: &'a HashSet<i32>,
}

/// One step that has been started and has no exit file yet.
pub struct RunningStep {
    id: StepId,
    processes: Processes,
    spooler: Spooler,
    deadline: Option<Instant>,
    grace: Duration,
    main_ended: Option<Instant>,
    ending: Option<Ending>,
    oom_before: u64,
    started_us: u64,
    left_behind: u32,
    exit: Option<StepExit>,
}

impl RunningStep {
    /// A step whose process was just started.
    pub fn new(id: StepId, launched: Launched, spooler: Spooler, oom_before: u64) -> Self {
        let Launched { keeper, words } = launched;
        let processes =
            Processes { keeper: Some(keeper), words: Some(words), main: None, status: None, orphaned: false };
        Self {
            id,
            processes,
            spooler,
            deadline: None,
            grace: Duration::ZERO,
            main_ended: None,
            ending: None,
            oom_before,
            started_us: now_us(),
            left_behind: 0,
            exit: None,
        }
    }

    /// Sets its limits, counted from now.
    pub fn limit(&mut self, timeout: Option<Duration>, grace: Duration) {
        self.deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.grace = grace;
    }

    /// A step that did not start, with the words about it on their way to the spool.
    pub fn stillborn(id: StepId, spooler: Spooler, code: i32) -> Self {
        let processes = Processes { keeper: None, words: None, main: None, status: Some(code << 8), orphaned: false };
        let now = Instant::now();
        Self {
            id,
            processes,
            spooler,
            deadline: None,
            grace: Duration::ZERO,
            main_ended: Some(now),
            ending: None,
            oom_before: u64::MAX,
            started_us: now_us(),
            left_behind: 0,
            exit: None,
        }
    }

    /// Its name.
    pub fn id(&self) -> &StepId {
        &self.id
    }

    /// The descriptor to poll for words of the keeper.
    pub fn words(&self) -> Option<&OwnedFd> {
        self.processes.words.as_ref()
    }

    /// The keeper's process id, while it lives.
    pub fn keeper(&self) -> Option<i32> {
        self.processes.keeper
    }

    /// The shim has reaped one of its children.
    pub fn reaped(&mut self, pid: i32, status: i32) {
        if self.processes.keeper == Some(pid) {
            self.processes.keeper = None;
            // A keeper exits by itself with 0 when nobody is left. Anything else: it was killed.
            self.processes.orphaned |= status != 0;
        }
        if self.processes.main == Some(pid) && self.processes.status.is_none() {
            self.main_ended(status);
        }
    }

    fn main_ended(&mut self, status: i32) {
        self.processes.status = Some(status);
        self.main_ended = Some(Instant::now());
    }

    /// Reads what the keeper says. Returns the main process's id when it is told.
    pub fn hear(&mut self) -> Option<i32> {
        let mut told = None;
        while let Some(words) = &self.processes.words {
            let mut word = [0; WORD];
            match rustix::io::read(words, &mut word) {
                Ok(WORD) => match Word::from_bytes(word) {
                    Some(Word::Main(pid)) => {
                        self.processes.main = Some(pid);
                        told = Some(pid);
                    }
                    Some(Word::MainEnded(status)) => self.main_ended(status),
                    None => {}
                },
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => break,
                Ok(_) | Err(_) => self.processes.words = None,
            }
        }
        told
    }

    /// Begins to end it, or hastens an end that has begun. The first cause stays; what only cleans up after a main
    /// process that has ended by itself changes no result.
    pub fn end(&mut self, cause: Cause, grace: Duration) {
        let now = Instant::now();
        let kill_at = now.checked_add(grace).unwrap_or(now + Duration::from_secs(86_400));
        match &mut self.ending {
            Some(ending) => {
                ending.kill_at = ending.kill_at.min(kill_at);
                ending.give_up_at = ending.kill_at + KILL_FOR;
                ending.next_look = now;
            }
            None => {
                let cause = if self.main_ended.is_some() { Cause::Leftovers } else { cause };
                let (asked, next_look, pause) = (HashSet::new(), now, LOOK.0);
                let give_up_at = kill_at + KILL_FOR;
                self.ending = Some(Ending { cause, kill_at, give_up_at, asked, next_look, pause });
            }
        }
    }

    /// Does what is due. Returns when to look again at the latest, or `None` for "when something happens".
    pub fn advance(&mut self, around: &Surroundings, oom: &OomCounter) -> Option<Instant> {
        let now = Instant::now();
        if self.exit.is_some() {
            return None;
        }
        self.notice_lost_status(around);
        self.begin_ending(now);
        if self.processes.nobody_left(around) {
            self.finish(oom);
            return None;
        }
        match &mut self.ending {
            Some(ending) => {
                if now >= ending.give_up_at {
                    let left = self.processes.living(around).len();
                    self.left_behind = u32::try_from(left).unwrap_or(u32::MAX);
                    self.finish(oom);
                    return None;
                }
                if now >= ending.next_look {
                    ending.look(now, &self.processes, around);
                    if self.processes.orphaned && self.processes.nobody_left(around) {
                        self.finish(oom);
                        return None;
                    }
                }
                self.ending.as_ref().map(|ending| ending.next_look)
            }
            None => [self.deadline, self.drained_at()].into_iter().flatten().min(),
        }
    }

    /// A keeper that was killed between reaping the main process and telling of it took the status with it.
    fn notice_lost_status(&mut self, around: &Surroundings) {
        if self.processes.orphaned && self.processes.words.is_none() && self.main_ended.is_none() {
            let main = self.processes.main.and_then(tree::process);
            if main.is_none_or(|main| main.parent != around.shim) {
                self.main_ended = Some(Instant::now());
            }
        }
    }

    fn begin_ending(&mut self, now: Instant) {
        if self.ending.is_some() {
            return;
        }
        if self.spooler.has_failed() {
            self.end(Cause::OutputLost, self.grace.min(Duration::from_secs(5)));
        } else if self.main_ended.is_none() && self.deadline.is_some_and(|deadline| now >= deadline) {
            self.end(Cause::TimedOut, self.grace);
        } else if self.drained_at().is_some_and(|at| now >= at) {
            self.end(Cause::Leftovers, LEFTOVER_GRACE);
        }
    }

    /// When what the main process left running is ended.
    fn drained_at(&self) -> Option<Instant> {
        let ended = self.main_ended?;
        if self.spooler.is_at_end() {
            return Some(ended + KEEPER_EXIT);
        }
        Some((self.spooler.quiet_since().max(ended) + QUIET).min(ended + LONGEST_DRAIN))
    }

    fn finish(&mut self, oom: &OomCounter) {
        let exit = self.result(oom);
        self.exit = Some(exit);
        self.spooler.finish(StepRecord {
            format: StepRecord::FORMAT,
            step: self.id.clone(),
            exit,
            spool_bytes: 0,
            lost_bytes: 0,
            started_us: self.started_us,
            ended_us: now_us(),
            left_behind: self.left_behind,
        });
    }

    fn result(&self, oom: &OomCounter) -> StepExit {
        match self.ending.as_ref().map(|ending| ending.cause) {
            Some(Cause::TimedOut) => return StepExit::TimedOut,
            Some(Cause::Terminated) => return StepExit::Terminated,
            Some(Cause::Engine) => return StepExit::StoppedByEngine,
            Some(Cause::OutputLost) => return StepExit::OutputLost,
            Some(Cause::Leftovers) | None => {}
        }
        if self.spooler.has_failed() {
            return StepExit::OutputLost;
        }
        let Some(status) = self.processes.status else { return StepExit::Unknown };
        let code = if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) };
        if code == 137 && oom.read() > self.oom_before { StepExit::OomKilled } else { StepExit::Code(code) }
    }

    /// What the agent is told. Never `Running` when it can have seen the exit file.
    pub fn state(&self) -> StepState {
        self.exit.map_or(StepState::Running, StepState::Ended)
    }

    /// How it ended, once its exit file is there.
    pub fn recorded(&self) -> Option<StepExit> {
        self.exit.filter(|_| self.spooler.is_recorded())
    }

    /// Waits until its files are durable. Only after [`RunningStep::recorded`].
    pub fn join(&mut self) {
        self.spooler.join();
    }
}

impl Processes {
    /// Parents come before their children: a shell hears of the end before it sees its command die.
    fn members(&self, all: &[Process], around: &Surroundings) -> Vec<Process> {
        // While the keeper lives everything is below it, the main process too.
        let mut found = tree::below(all, self.keeper);
        if self.orphaned {
            let ours = |p: &&Process| p.parent == around.shim && !around.not_ours.contains(&p.pid);
            let adopted: Vec<Process> = all.iter().filter(ours).copied().collect();
            found.extend(&adopted);
            found.extend(tree::below(all, adopted.iter().map(|p| p.pid)));
        }
        found
    }

    fn living(&self, around: &Surroundings) -> Vec<Process> {
        tree::living(&|all: &[Process]| self.members(all, around))
    }

    /// Whether no process of the step exists any more. Without a look at /proc while the keeper lives.
    fn nobody_left(&self, around: &Surroundings) -> bool {
        if self.words.is_some() || self.keeper.is_some() {
            return false;
        }
        !self.orphaned || (self.living(around).is_empty() && !self.is_main_unreaped(around))
    }

    /// Whether the main process is the shim's to reap, and its status is still to come.
    fn is_main_unreaped(&self, around: &Surroundings) -> bool {
        self.status.is_none() && self.main.and_then(tree::process).is_some_and(|main| main.parent == around.shim)
    }
}

impl Ending {
    fn look(&mut self, now: Instant, processes: &Processes, around: &Surroundings) {
        if now >= self.kill_at {
            tree::kill_all(|all| processes.members(all, around));
        } else {
            for process in processes.living(around) {
                // Once each: a second SIGTERM means "at once" to some.
                if self.asked.insert((process.pid, process.start_time)) {
                    tree::signal(&process, Signal::TERM);
                }
            }
        }
        self.next_look = now + self.pause;
        if now < self.kill_at {
            self.next_look = self.next_look.min(self.kill_at);
        }
        self.pause = (self.pause * 2).min(LOOK.1);
    }
}
