//! The keeper: a tiny process between the shim and a step's main process.
//!
//! It is a child subreaper, so everything a step leaves behind, daemons included, becomes its child and nobody else's:
//! what belongs to a step is exactly what is below its keeper, whatever the image's entrypoint started before and
//! whatever other steps run. It ends when its last descendant has. A job may kill it; then the shim takes its place,
//! for it is a subreaper too.
//!
//! The keeper is a fork without exec, made between fork and exec of the step: it has the shim's memory (not dumpable),
//! and everything here is restricted to bare system calls: no allocation, no lock, no panic.

use std::io;
use std::os::fd::RawFd;

use super::sys;

/// What the shim is told: 4 bytes which, 4 bytes value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The process id of the main process; its own first word.
    Main(i32),
    /// The main process ended with this wait status.
    MainEnded(i32),
}

/// Length of a [`Word`] on the pipe.
pub const WORD: usize = 8;

impl Word {
    fn to_bytes(self) -> [u8; WORD] {
        let (kind, value) = match self {
            Word::Main(pid) => (1_u32, pid),
            Word::MainEnded(status) => (2, status),
        };
        let ([a, b, c, d], [e, f, g, h]) = (kind.to_le_bytes(), value.to_le_bytes());
        [a, b, c, d, e, f, g, h]
    }

    /// Reads a word.
    pub fn from_bytes([a, b, c, d, e, f, g, h]: [u8; WORD]) -> Option<Self> {
        let value = i32::from_le_bytes([e, f, g, h]);
        match u32::from_le_bytes([a, b, c, d]) {
            1 => Some(Word::Main(value)),
            2 => Some(Word::MainEnded(value)),
            _ => None,
        }
    }
}

/// Splits the calling process: it becomes the keeper and never returns; its new child does.
///
/// # Safety
/// Only between fork and exec, in a process with one thread.
pub unsafe fn put_between(words: RawFd) -> io::Result<()> {
    sys::block_all_signals(true);
    // SAFETY: plain system calls on plain values.
    unsafe {
        if libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: one thread, as the caller promises; both sides stay with bare system calls until exec or exit.
    match unsafe { sys::split()? } {
        0 => {
            // Said by the main process itself, so that it is known before the step can do anything to its keeper.
            // SAFETY: a plain system call.
            say(words, Word::Main(unsafe { libc::getpid() }));
            sys::block_all_signals(false);
            Ok(())
        }
        main => keep(main, words),
    }
}

fn keep(main: i32, words: RawFd) -> ! {
    // SAFETY: plain system calls on plain values; nothing of this process is used afterwards but descriptor 0.
    unsafe {
        // The step's pipes must be held by the step alone, or their end would never come.
        libc::dup2(words, 0);
        if libc::syscall(libc::SYS_close_range, 1 as libc::c_uint, libc::c_uint::MAX, 0 as libc::c_uint) < 0 {
            for fd in 1..4096 {
                libc::close(fd);
            }
        }
        // Nor may it hold a folder of the workspace.
        libc::chdir(c"/".as_ptr());
        libc::prctl(libc::PR_SET_NAME, c"forgehand-keep".as_ptr());
        loop {
            // Looked at, told, and only then reaped: a keeper that is killed in between leaves the status to the shim.
            let mut info: libc::siginfo_t = std::mem::zeroed();
            if libc::waitid(libc::P_ALL, 0, &mut info, libc::WEXITED | libc::WNOWAIT) < 0 {
                if *libc::__errno_location() == libc::EINTR {
                    continue;
                }
                // ECHILD: nobody is left.
                libc::_exit(0);
            }
            let pid = info.si_pid();
            if pid == main {
                say(0, Word::MainEnded(wait_status(info.si_code, info.si_status())));
            }
            libc::waitpid(pid, std::ptr::null_mut(), 0);
        }
    }
}

/// A wait status from what waitid tells.
fn wait_status(code: i32, value: i32) -> i32 {
    if code == libc::CLD_EXITED { (value & 0xff) << 8 } else { value & 0x7f }
}

fn say(words: RawFd, word: Word) {
    let bytes = word.to_bytes();
    // SAFETY: the pointer and length are those of `bytes`. Eight bytes into a pipe are written whole. A shim that is
    // gone cannot be told; SIGPIPE is blocked.
    unsafe {
        libc::write(words, bytes.as_ptr().cast(), bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_what_waitpid_would_have_said() {
        assert_eq!(libc::WEXITSTATUS(wait_status(libc::CLD_EXITED, 37)), 37);
        let killed = wait_status(libc::CLD_KILLED, libc::SIGKILL);
        assert!(libc::WIFSIGNALED(killed) && libc::WTERMSIG(killed) == libc::SIGKILL);
    }

    #[test]
    fn words_survive_the_pipe() {
        for word in [Word::Main(42), Word::MainEnded(0x8500), Word::MainEnded(9)] {
            assert_eq!(Word::from_bytes(word.to_bytes()), Some(word));
        }
        assert_eq!(Word::from_bytes([9; WORD]), None);
    }
}
