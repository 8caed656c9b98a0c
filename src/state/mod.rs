//! What the agent knows across its own death: folders, the lock on them, the journal of jobs, and the logs it keeps.
//!
//! - [`dir`]: which file lies where ([`StateDir`]).
//! - [`lock`]: one agent for one state directory ([`StateLock`]). Readers (`status`, `logs`) need no lock.
//! - [`journal`]: every job from assignment to acknowledged end ([`Journal`], [`JobJournal`]).
//! - [`phase`]: how far a job has come, with the one function that moves it ([`JobPhase`]).
//! - [`transition`]: what happened to a job, line by line, for `forgehand debug`.
//! - [`payload`]: the forge's answer that brought a job, in a file of its own, since it is full of secrets.
//! - [`logs`]: the logs of jobs, while they run and for some days after.
//! - [`evidence`]: what is kept of a job that failed.
//! - [`durable`]: files that are whole or absent after a crash.
//!
//! What is written before what: the payload file is durable before the journal's row, the row before anybody acts on the
//! job, the outcome before the forge hears it, the kept log before the row is closed, the row before the job's folder is
//! removed. A crash between any two of these leaves a state that [`Journal::open`] completes.

pub mod dir;
pub mod durable;
mod error;
pub mod evidence;
mod folders;
mod job_journal;
pub mod journal;
pub mod lock;
pub mod logs;
pub mod payload;
pub mod phase;
pub mod record;
mod schema;
pub mod transition;

pub use dir::{StateDir, StateDirError};
pub use journal::{Accepted, JobJournal, Journal, JournalError};
pub use lock::{LockError, StateLock};
pub use logs::{JobLogs, LogLimits};
pub use phase::{InvalidPhase, JobPhase, PhaseChange};
pub use record::{EndedJob, JobDetails, JobRecord, OpenJob};
pub use transition::{Moved, Transition};

use std::io;
use std::sync::OnceLock;

/// The id the kernel gave to this boot of the machine: another one means that no process of before is left.
///
/// Fails only where `/proc` is not mounted.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The same, asked for once. `None` where it cannot be known.
pub(crate) fn boot_id_once() -> Option<&'static str> {
    static BOOT: OnceLock<Option<String>> = OnceLock::new();
    BOOT.get_or_init(|| boot_id().ok()).as_deref()
}

/// Milliseconds since the machine was started, its sleep included.
pub(crate) fn uptime_ms() -> Option<u64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Some(u64::try_from(time.tv_sec).ok()? * 1000 + u64::try_from(time.tv_nsec).ok()? / 1_000_000)
}
