//! One at a time keeps an entry of a name, on the whole machine: several processes may serve one store.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::refusal::{Refusal, disk};
use crate::artifact::Interrupt;

/// How long a lock is waited for. Its holder keeps one entry.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is tried: the kernel's own waiting has no limit.
const TRY: Duration = Duration::from_millis(10);

/// Holds others off for as long as it lives, and ends with its process at the latest.
#[derive(Debug)]
pub(super) struct NameLock {
    _held: File,
}

impl NameLock {
    /// For the name `name` of the owner `owner`. There are 256 locks, so that their files do not pile up: names share them. Blocking.
    pub(super) fn take(folder: &Path, owner: &str, name: &[u8], interrupt: &Interrupt) -> Result<Self, Refusal> {
        let mut hash = Sha256::new();
        hash.update((owner.len() as u64).to_be_bytes());
        hash.update(owner.as_bytes());
        hash.update(name);
        let number = hash.finalize().first().copied().unwrap_or_default();
        let path = folder.join(format!("{number:02x}"));
        let fail = |error: std::io::Error| disk("opening a lock for cache entries", &error);
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map_err(fail)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _held: file }),
                Err(Errno::WOULDBLOCK | Errno::INTR) if interrupt.is_raised() => return Err(Refusal::Over),
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => std::thread::sleep(TRY),
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    return Err(Refusal::Busy("another process is keeping an entry for long"));
                }
                Err(error) => return Err(fail(error.into())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_is_let_go_when_the_server_ends() {
        let temp = tempfile::tempdir().unwrap();
        let interrupt = Interrupt::default();
        let held = NameLock::take(temp.path(), "a", b"k", &interrupt).unwrap();
        interrupt.raise();
        assert_eq!(NameLock::take(temp.path(), "a", b"k", &interrupt).unwrap_err(), Refusal::Over);
        drop(held);
        NameLock::take(temp.path(), "a", b"k", &interrupt).unwrap();
    }
}
