//! What the agent knows across its own death: folders, the lock on them, the journal of jobs, and the logs it keeps.
//!
//! - [`dir`]: which file lies where ([`StateDir`]).
//! - [`lock`]: one agent for one state directory ([`StateLock`]). Readers (`status`, `logs`) need no lock.
//! - [`journal`]: every job from assignment to acknowledged end ([`Journal`], [`JobJournal`]).
//! - [`phase`]: how far a job has come, with the one function that moves it ([`JobPhase`]).
//! - [`payload`]: the forge's answer that brought a job, in a file of its own, since it is full of secrets.
//! - [`logs`]: the logs of jobs, while they run and for some days after.
//! - [`durable`]: files that are whole or absent after a crash.
//!
//! What is written before what: the payload file is durable before the journal's row, the row before anybody acts on the
//! job, the outcome before the forge hears it, the kept log before the row is closed, the row before the job's folder is
//! removed. A crash between any two of these leaves a state that [`Journal::open`] completes.

pub mod dir;
pub mod durable;
mod error;
mod folders;
mod job_journal;
pub mod journal;
pub mod lock;
pub mod logs;
pub mod payload;
pub mod phase;
pub mod record;
mod schema;

pub use dir::{StateDir, StateDirError};
pub use journal::{Accepted, JobJournal, Journal, JournalError};
pub use lock::{LockError, StateLock};
pub use logs::{JobLogs, LogLimits};
pub use phase::{InvalidPhase, JobPhase, PhaseChange};
pub use record::{EndedJob, JobRecord, OpenJob};

use std::io;

/// The id the kernel gave to this boot of the machine: another one means that no process of before is left.
///
/// Fails only where `/proc` is not mounted.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}
