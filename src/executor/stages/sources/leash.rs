//! Programs that die with the agent, and with them all that they started.
//!
//! Three things hold a program: it is killed when the thread that started it ends (`PR_SET_PDEATHSIG`); it leads a
//! session of its own, so that one signal reaches its whole group; and that session has a terminal of its own whose
//! other end only the agent holds. The terminal is for the children, which inherit no death signal: the kernel hangs up
//! on the whole group when the agent's end closes or the leader dies, in whatever way. No program sees the terminal: its
//! descriptor closes on exec, and the confinement denies `/dev/tty`.
//!
//! The death signal follows the *thread* that forked. Threads of a runtime may end (`spawn_blocking`, `block_in_place`),
//! so one thread that lives as long as the process starts everything.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::ExitStatus;
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::Duration;

use landlock::RulesetCreated;
use rustix::fs::Mode;
use rustix::process::{Pid, Signal};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// How long a killed program may take to be gone; only one that hangs in the kernel takes longer.
const REAP_LIMIT: Duration = Duration::from_secs(5);

/// A running program. Dropping it kills the program and its group.
pub(super) struct Leashed {
    child: Child,
    pid: Option<Pid>,
    /// The agent's end of the terminal: closing it hangs up on the program's group.
    _terminal: Option<OwnedFd>,
}

/// What happens to a program between fork and exec.
pub(super) struct Entry {
    /// The permissions that files of the program do *not* get.
    pub umask: Mode,
    /// What it may touch; `None` where this kernel has no such confinement.
    pub confinement: Option<RulesetCreated>,
}

/// Starts `command` on a leash.
pub(super) async fn start(command: std::process::Command, entry: Entry) -> io::Result<Leashed> {
    let (answer, started) = oneshot::channel();
    let start = Start { command, entry, runtime: Handle::current(), answer };
    spawner()?.send(start).map_err(|_| io::Error::other("the thread that starts programs is gone"))?;
    started.await.map_err(|_| io::Error::other("the thread that starts programs is gone"))?
}

impl Leashed {
    /// Waits for the program's end. Cancel-safe.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.pid = None;
        Ok(status)
    }

    /// Kills the program and all of its group, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.kill_group();
        // An error here means that there is nothing to wait for any more.
        let _ = tokio::time::timeout(REAP_LIMIT, self.wait()).await;
    }

    /// Only while the leader is not reaped: its id may belong to somebody else afterwards.
    fn kill_group(&self) {
        if let Some(pid) = self.pid {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Leashed {
    fn drop(&mut self) {
        self.kill_group();
    }
}

struct Start {
    command: std::process::Command,
    entry: Entry,
    runtime: Handle,
    answer: oneshot::Sender<io::Result<Leashed>>,
}

/// The one thread that starts programs. It never ends before the process does.
fn spawner() -> io::Result<mpsc::Sender<Start>> {
    static SPAWNER: OnceLock<Mutex<Option<mpsc::Sender<Start>>>> = OnceLock::new();
    let mut slot = SPAWNER.get_or_init(Mutex::default).lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(sender) = slot.as_ref() {
        return Ok(sender.clone());
    }
    let (sender, starts) = mpsc::channel::<Start>();
    std::thread::Builder::new().name("program-starter".to_owned()).spawn(move || {
        for start in starts {
            let _runtime = start.runtime.enter();
            // The asker may be gone; then the program goes with the unread answer.
            let _ = start.answer.send(launch(start.command, start.entry));
        }
    })?;
    *slot = Some(sender.clone());
    Ok(sender)
}

fn launch(mut command: std::process::Command, entry: Entry) -> io::Result<Leashed> {
    let (terminal, peer) = match pair_of_terminals() {
        Ok((terminal, peer)) => (Some(terminal), Some(peer)),
        // A machine without pseudo terminals: the death signal still holds the program itself.
        Err(_) => (None, None),
    };
    let parent = rustix::process::getpid();
    let Entry { umask, mut confinement } = entry;
    // SAFETY: between fork and exec the closure makes system calls only and allocates nothing; all that it uses was
    // prepared before the fork.
    unsafe {
        command.pre_exec(move || enter(parent, peer.as_ref(), umask, confinement.take()));
    }
    let child = Command::from(command).kill_on_drop(true).spawn()?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    Ok(Leashed { child, pid, _terminal: terminal })
}

fn pair_of_terminals() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = openpt(flags)?;
    unlockpt(&terminal)?;
    let peer = ioctl_tiocgptpeer(&terminal, flags)?;
    Ok((terminal, peer))
}

/// Runs in the child, between fork and exec.
fn enter(parent: Pid, terminal: Option<&OwnedFd>, umask: Mode, confinement: Option<RulesetCreated>) -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() != Some(parent) {
        // The agent died between the fork and the line above: nobody would send the signal.
        return Err(io::Error::from(rustix::io::Errno::SRCH));
    }
    if let Some(terminal) = terminal {
        let _ = rustix::process::ioctl_tiocsctty(terminal);
    }
    heed_hangup();
    rustix::process::umask(umask);
    let _ = rustix::process::setpriority_process(None, 0);
    prefer_as_victim_of_memory_shortage();
    rustix::thread::set_no_new_privs(true)?;
    if let Some(confinement) = confinement {
        confinement.restrict_self().map_err(|_| io::Error::from(rustix::io::Errno::PERM))?;
    }
    Ok(())
}

/// An agent that was started to outlive a terminal (`nohup`) ignores hang-ups, and so would all that it starts.
fn heed_hangup() {
    // SAFETY: a system call that touches nothing but this signal's disposition.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_DFL) };
}

/// A repository can be made to need any amount of memory; when there is none left, git goes, not the agent.
fn prefer_as_victim_of_memory_shortage() {
    use rustix::fs::{OFlags, open};
    if let Ok(file) = open(c"/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
        let _ = rustix::io::write(&file, b"500");
    }
}
