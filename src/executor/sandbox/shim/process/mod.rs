//! The shim itself: the process inside the sandbox.
//!
//! - [`server`]: the one loop. [`connection`]: who may say what.
//! - A step's life: [`launch`] starts it ([`shell`], [`user`]) below a [`keeper`], [`spooler`] writes its output,
//!   [`running`] follows it to its exit file; [`tree`] finds and ends its processes.
//! - [`folder`]: the run directory. [`memory`]: the out-of-memory killer. [`probe`], [`dns`]: are services up? [`relay`]: their
//!   ports at the loopback address.
//! - [`sys`]: the few system calls that need `unsafe`.
//!
//! It shares its pages with the agent, whose binary it is, and starts nothing of it: no runtime, no logging, no
//! configuration. It works as any user, as PID 1 or not, without arguments and environment.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{DumpableBehavior, getgid, getpid, getuid, set_child_subreaper, set_dumpable_behavior, setsid};

use super::key::{KEY_LENGTH, SessionKey, ShimKey, random};
use super::wire::Facts;
use super::{ENTERED, RUN_NAME, SHIM_NAME};

pub mod connection;
pub mod dns;
pub mod folder;
pub mod keeper;
pub mod launch;
pub mod memory;
pub mod probe;
pub mod relay;
pub mod running;
pub mod server;
pub mod shell;
pub mod spooler;
pub mod sys;
pub mod tree;
pub mod user;

/// First argument of a shim of the host sandbox. The second is the sandbox's mark, see [`MARK_VARIABLE`].
pub const HOST_ARGUMENT: &str = "host-sandbox";
/// In the environment of every step of a host sandbox: which one, so that its processes are known even when its shim
/// was killed.
pub const MARK_VARIABLE: &str = "FORGEHAND_SANDBOX";
/// A host sandbox's shim that no agent has spoken to for so long ends itself: its agent died before it wrote it down.
const CLAIM_WITHIN: Duration = Duration::from_secs(120);

/// Whether this process was started as a shim: its file is called [`SHIM_NAME`], and a run directory lies beside it or
/// it is told to serve a host sandbox. Cheap; reads no more than a link.
pub fn is_shim() -> bool {
    let Some(file) = own_file() else { return false };
    file.file_name() == Some(OsStr::new(SHIM_NAME)) && (host_mark().is_some() || run_folder(&file).is_dir())
}

/// Runs the shim. Never returns; exit code 0 after an orderly end, 1 where it could not begin.
pub fn main() -> ! {
    let code = match run() {
        Ok(_) => 0,
        Err(error) => {
            // Goes where the entrypoint's words go; there is nothing else yet. A closed stderr is no reason to panic.
            let _ = writeln!(io::stderr(), "{SHIM_NAME}: {error}");
            1
        }
    };
    std::process::exit(code)
}

fn own_file() -> Option<PathBuf> {
    std::fs::read_link("/proc/self/exe").ok()
}

fn run_folder(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("/")).join(RUN_NAME)
}

fn host_mark() -> Option<String> {
    let mut arguments = std::env::args_os().skip(1);
    arguments.next().filter(|first| first == HOST_ARGUMENT)?;
    arguments.next()?.into_string().ok()
}

fn run() -> io::Result<server::End> {
    let named = |what: &'static str| move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
    let mark = host_mark();
    let cwd = std::env::current_dir().unwrap_or_default();
    let instance = random().map_err(named("the kernel gives no random numbers"))?;
    let (path, key) = match &mark {
        // The host sandbox's folder may lie below one that its user cannot pass: it is given as the working directory.
        Some(_) => (PathBuf::from("."), Some(begin_on_host(&instance)?)),
        None => {
            let file = own_file().ok_or_else(|| io::Error::other("/proc is not mounted"))?;
            (run_folder(&file), None)
        }
    };
    let opened = folder::RunFolder::open(&path);
    let folder = Arc::new(opened.map_err(named("the run directory is not there, or another shim serves it"))?);
    // While the files of this process are still its own.
    let oom_score = memory::shield();
    let oom = memory::OomCounter::open();
    // From here on no process of the job can read our memory or trace us, whatever its user is, short of CAP_SYS_PTRACE.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    set_child_subreaper(Some(getpid()))?;
    // However its file was reached.
    rustix::thread::set_name(c"forgehand-shim")?;
    let signals = sys::signal_descriptor()?;
    if mark.is_none() {
        tell_engine();
    }
    let listener = folder.listen().map_err(named("cannot listen in the run directory"))?;
    if mark.is_some() {
        // Whoever started us waits for this line.
        tell_starter()?;
    }
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    let mut environment: Vec<_> = std::env::vars_os().collect();
    environment.extend(mark.iter().map(|mark| (MARK_VARIABLE.into(), mark.into())));
    server::serve(server::Server {
        folder,
        listener,
        signals,
        keyring: connection::Keyring { instance, takes_key: key.is_none(), key },
        hears_neighbours: mark.is_some(),
        ground: launch::Ground { environment, uid, gid, oom_score },
        facts: Facts {
            version: crate::VERSION.to_owned(),
            pid: std::process::id(),
            uid,
            gid,
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            cwd: cwd.to_string_lossy().into_owned(),
        },
        oom,
        claim_by: mark.map(|_| Instant::now() + CLAIM_WITHIN),
    })
}

/// Ends the entrypoint's words in the engine's log. A stream that is closed, or full because nobody reads it, is left alone.
fn tell_engine() {
    for stream in [rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let mut ready = [PollFd::new(&stream, PollFlags::OUT)];
        let is_ready = poll(&mut ready, Some(&Timespec::default())).is_ok_and(|count| count > 0);
        if is_ready && ready[0].revents().contains(PollFlags::OUT) {
            let _ = rustix::io::write(stream, ENTERED);
        }
    }
}

/// Reads the key from standard input and leaves the session and the parent of whoever started us.
fn begin_on_host(instance: &[u8; KEY_LENGTH]) -> io::Result<SessionKey> {
    let mut key = [0; KEY_LENGTH];
    io::stdin().read_exact(&mut key)?;
    setsid()?;
    // SAFETY: this process has one thread, and both sides go on as ordinary processes.
    match unsafe { libc::fork() } {
        0 => Ok(ShimKey::from_bytes(key).session(instance)),
        // SAFETY: ends at once; nothing buffered may be written twice.
        1.. => unsafe { libc::_exit(0) },
        _ => Err(io::Error::last_os_error()),
    }
}

/// Says who we are on standard output, then lets go of all three standard streams.
fn tell_starter() -> io::Result<()> {
    let start_time = tree::process(std::process::id() as i32).map_or(0, |process| process.start_time);
    let mut out = io::stdout();
    writeln!(out, "{} {start_time}", std::process::id())?;
    out.flush()?;
    let nothing = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(nothing.as_fd())?;
    rustix::stdio::dup2_stdout(nothing.as_fd())?;
    rustix::stdio::dup2_stderr(nothing.as_fd())?;
    Ok(())
}
