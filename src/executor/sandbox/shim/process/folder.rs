//! The run directory as the shim sees it: everything by the directory's handle, new files only, no symlinks.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, fchmod, flock, open, openat, renameat, unlinkat};
use rustix::process::{fchdir, umask};

use super::super::step::{StepId, StepRecord};
use super::super::{END_NAME, SOCKET_NAME};

/// The run directory.
pub struct RunFolder(OwnedFd);

impl RunFolder {
    /// Opens it and takes it for this process: two shims never serve one folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        let folder = open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        flock(&folder, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self(folder))
    }

    /// Replaces the socket by one of ours and listens. Changes the working directory to the folder: a socket's path
    /// must be shorter than 108 bytes, which the folder's own path may not be. To be called before any thread starts.
    pub fn listen(&self) -> io::Result<UnixListener> {
        fchdir(&self.0)?;
        match unlinkat(&self.0, SOCKET_NAME, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        // The agent may be another user than the sandbox's; who is obeyed is decided by the key.
        let before = umask(Mode::empty());
        let listener = UnixListener::bind(SOCKET_NAME);
        umask(before);
        let listener = listener?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    /// A file that did not exist, readable by the agent whatever the umask is.
    pub fn create(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR)?;
        fchmod(&file, Mode::from_raw_mode(0o644))?;
        Ok(file.into())
    }

    /// Takes the room of an exit file before the step starts, so that a full disk cannot keep its end from being told.
    pub fn create_pending_exit(&self, id: &StepId) -> io::Result<File> {
        let name = id.pending_exit_name();
        let _ = unlinkat(&self.0, name.as_str(), AtFlags::empty());
        let file = self.create(&name)?;
        file.write_all_at(&[b' '; StepRecord::LIMIT], 0)?;
        Ok(file)
    }

    /// Writes the record over the room taken for it and lets it appear under its name.
    pub fn publish_exit(&self, pending: &File, record: &StepRecord) -> io::Result<()> {
        let text = serde_json::to_vec(record).map_err(io::Error::other)?;
        pending.write_all_at(&text, 0)?;
        renameat(&self.0, record.step.pending_exit_name().as_str(), &self.0, record.step.exit_name().as_str())?;
        Ok(())
    }

    /// The record that an earlier shim left of a step.
    pub fn read_exit(&self, id: &StepId) -> Option<StepRecord> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(&self.0, id.exit_name().as_str(), flags, Mode::empty()).ok()?);
        let mut text = vec![0; StepRecord::LIMIT];
        let length = file.read_at(&mut text, 0).ok()?;
        serde_json::from_slice(&text[..length]).ok()
    }

    /// Removes the files of a step that was never started.
    pub fn forget(&self, id: &StepId) {
        for name in [id.spool_name(), id.pending_exit_name()] {
            let _ = unlinkat(&self.0, name.as_str(), AtFlags::empty());
        }
    }

    /// Leaves the reason of the shim's own end.
    pub fn write_end(&self, reason: &str) {
        let _ = unlinkat(&self.0, END_NAME, AtFlags::empty());
        if let Ok(file) = self.create(END_NAME) {
            let _ = file.write_all_at(reason.as_bytes(), 0);
            let _ = file.sync_all();
        }
    }

    /// Makes names durable.
    pub fn sync(&self) {
        let _ = rustix::fs::fsync(&self.0);
    }

    /// Makes all of it durable.
    pub fn sync_all(&self) {
        let _ = rustix::fs::syncfs(&self.0);
    }
}
