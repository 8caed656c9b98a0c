//! The few calls to the kernel that rustix has no safe form of, each behind one function, with its reason.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::event::{EventfdFlags, eventfd};

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Blocks the signals that the shim hears about through the returned descriptor: children and requests to stop.
/// Must be called before any thread is started, which then inherits the mask. Blocked signals reach even a process
/// that is PID 1, which the kernel otherwise shields from signals without a handler.
pub fn signal_descriptor() -> io::Result<OwnedFd> {
    // SAFETY: `set` is a plain value that sigemptyset initialises; the descriptor is new and ours alone.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP] {
            libc::sigaddset(&mut set, signal);
        }
        match libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) {
            0 => {}
            error => return Err(io::Error::from_raw_os_error(error)),
        }
        let fd = check(libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// A signal that has arrived at [`signal_descriptor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Its number.
    pub signal: i32,
    /// The process that sent it, as seen from our PID namespace: 0 where it is not in it, or the kernel sent it.
    pub sender: i32,
}

/// The signals that have arrived at [`signal_descriptor`].
pub fn arrived_signals(descriptor: &OwnedFd) -> Vec<Arrived> {
    const RECORD: usize = std::mem::size_of::<libc::signalfd_siginfo>();
    let mut signals = Vec::new();
    let mut record = [0_u8; RECORD];
    while let Ok(RECORD) = rustix::io::read(descriptor, &mut record) {
        // Fields of the record: the signal's number, its errno, its code, the sender's id, four bytes each.
        let [a, b, c, d, _, _, _, _, _, _, _, _, e, f, g, h, ..] = record;
        signals.push(Arrived { signal: i32::from_ne_bytes([a, b, c, d]), sender: i32::from_ne_bytes([e, f, g, h]) });
    }
    signals
}

/// Process id of the other end of a socket as seen from our PID namespace: 0 where it is not in it.
///
/// rustix cannot say it: its `Pid` is never 0.
pub fn peer_pid(socket: &impl AsFd) -> io::Result<i32> {
    let mut peer = libc::ucred { pid: -1, uid: 0, gid: 0 };
    let mut length = std::mem::size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the pointers are to live values of the sizes that are given.
    check(unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    })?;
    Ok(peer.pid)
}

/// Splits the process: 0 in the new one, its id in the old. Bare system call: no handlers, no locks, so that it may be
/// called between fork and exec.
///
/// # Safety
/// The caller has one thread, and the new process may only do what is allowed in a signal handler.
pub unsafe fn split() -> io::Result<i32> {
    // SAFETY: as promised by the caller; a null stack means a copy of this one. All other arguments are zero, so that
    // the order in which architectures take them does not matter.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(libc::SIGCHLD), 0, 0, 0, 0) };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid as i32) }
}

/// Blocks every signal, or none. Allowed between fork and exec.
pub fn block_all_signals(block: bool) {
    // SAFETY: `set` is initialised by sigfillset or sigemptyset; sigprocmask touches this thread only.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        if block {
            libc::sigfillset(&mut set)
        } else {
            libc::sigemptyset(&mut set)
        };
        libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
    }
}

/// Microseconds since the epoch.
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Wakes a loop that polls its descriptor.
pub struct Waker(OwnedFd);

impl Waker {
    /// A new one.
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Makes the descriptor readable. Never blocks; the only error, a full counter, means that it is.
    pub fn wake(&self) {
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Makes it unreadable.
    pub fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0_u8; 8]);
    }

    /// What to poll.
    pub fn descriptor(&self) -> &OwnedFd {
        &self.0
    }
}
