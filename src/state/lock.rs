//! One agent for one state directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::dir::StateDir;

/// Longest content of a lock file that is read.
const MAX_HOLDER: u64 = 4096;

/// The state directory is ours while this value lives, and however the process ends, no longer.
///
/// It is an advisory lock on an open file (`flock`): nothing stale can stay behind. Readers such as `status` and `logs`
/// do not take it.
#[derive(Debug)]
pub struct StateLock {
    /// Holds the lock; closed by the kernel with the process.
    _file: File,
}

/// Who holds a state directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// When it took the lock.
    pub since: jiff::Timestamp,
    /// The version of forgehand it runs.
    pub version: String,
}

/// Why the state directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another agent works there.
    #[error("the state directory {path} is in use by {holder}. Stop that agent first (`forgehand drain`), or give this one its own --state-dir", path = .path.display(), holder = name(.holder.as_ref()))]
    Held {
        /// The directory.
        path: PathBuf,
        /// Who holds it, if it said so.
        holder: Option<Holder>,
    },
    /// The lock file cannot be made or locked.
    #[error("the lock file {path} cannot be used: {cause}", path = .path.display())]
    Unusable {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

impl StateLock {
    /// Takes the lock or says who has it. Blocking, for half a second at most.
    pub fn take(dir: &StateDir, since: jiff::Timestamp) -> Result<Self, LockError> {
        let path = dir.lock();
        let unusable = |cause| LockError::Unusable { path: path.clone(), cause };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(unusable)?;
        if !lock_exclusively(&file).map_err(unusable)? {
            return Err(LockError::Held { path: dir.root().to_owned(), holder: read_holder(&mut file) });
        }
        let holder = Holder { pid: std::process::id(), since, version: crate::VERSION.to_owned() };
        write_holder(&mut file, &holder).map_err(unusable)?;
        Ok(Self { _file: file })
    }

    /// Who holds the lock of `dir` now; `None` when nobody does. Takes the lock for an instant to find out.
    pub fn holder(dir: &StateDir) -> io::Result<Option<Holder>> {
        let mut file = match File::open(dir.lock()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(None),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(Some(read_holder(&mut file).unwrap_or_else(Holder::unknown))),
            Err(e) => Err(e.into()),
        }
    }
}

impl Holder {
    fn unknown() -> Self {
        Self { pid: 0, since: jiff::Timestamp::UNIX_EPOCH, version: String::new() }
    }
}

/// Whether the lock could be had. Tries for half a second: [`StateLock::holder`] has it for an instant to look, and a
/// child that a killed agent was about to start has it until it runs its program.
fn lock_exclusively(file: &File) -> io::Result<bool> {
    for _ in 0..10 {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(50)),
            Err(e) => return Err(e.into()),
        }
    }
    Ok(false)
}

fn write_holder(file: &mut File, holder: &Holder) -> io::Result<()> {
    let text = serde_json::to_string(holder).map_err(io::Error::other)?;
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())
}

/// `None` in the instant between taking the lock and writing the name, too.
fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(MAX_HOLDER).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn name(holder: Option<&Holder>) -> String {
    match holder {
        Some(holder) => format!(
            "the agent with process id {}, running since {} (forgehand {})",
            holder.pid,
            started(holder.since),
            holder.version
        ),
        None => "another agent".to_owned(),
    }
}

/// To the second: what people compare with the output of `ps`.
fn started(since: jiff::Timestamp) -> String {
    since.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_told_who_holds_the_directory_and_since_when() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(folder.path()).unwrap();
        let since: jiff::Timestamp = "2026-02-03T04:05:06Z".parse().unwrap();
        let held = StateLock::take(&dir, since).unwrap();
        let message = StateLock::take(&dir, since).unwrap_err().to_string();
        assert!(message.contains(&format!("process id {}", std::process::id())), "{message}");
        assert!(message.contains("2026-02-03 04:05:06 UTC"), "{message}");
        assert_eq!(StateLock::holder(&dir).unwrap().map(|h| h.pid), Some(std::process::id()));
        drop(held);
        StateLock::take(&dir, since).unwrap();
        let unused = tempfile::tempdir().unwrap();
        assert_eq!(StateLock::holder(&StateDir::at(unused.path())).unwrap(), None);
    }

    #[test]
    fn what_a_dead_agent_left_in_the_file_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(folder.path()).unwrap();
        std::fs::write(dir.lock(), "{\"pid\":1,\"since\":\"garbage").unwrap();
        let now = jiff::Timestamp::UNIX_EPOCH;
        let _held = StateLock::take(&dir, now).unwrap();
        assert!(StateLock::take(&dir, now).unwrap_err().to_string().contains("process id"));
    }
}
