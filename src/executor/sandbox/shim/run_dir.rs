//! The agent's access to a run directory. Everything in it is as trustworthy as the job.
//!
//! All goes through the directory's handle: no symlinks, no waiting on a FIFO, regular files only, and a limit on what
//! is read into memory. A job can make these calls fail, never reach anything else by them.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, fstat, open, openat};

use super::step::{StepId, StepRecord};
use super::{END_NAME, SOCKET_NAME};

/// Longest text of an end file, bytes.
const END_LIMIT: u64 = 256;

/// A run directory, by its handle. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RunDir {
    folder: Arc<OwnedFd>,
    path: PathBuf,
}

/// Something in a run directory is not as a shim leaves it.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// The folder itself.
    #[error("cannot open the run directory {path}: {source}")]
    Folder {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not there (yet).
    #[error("there is no {name} in {path}")]
    Missing {
        /// The folder.
        path: PathBuf,
        /// The file.
        name: String,
    },
    /// Not a regular file, or not a socket.
    #[error("{name} in {path} is not what the shim left there (another kind of file): the job replaced it")]
    Kind {
        /// The folder.
        path: PathBuf,
        /// The file.
        name: String,
    },
    /// Too long, or no text of ours.
    #[error("{name} in {path} is not what the shim left there ({what}): the job changed it")]
    Content {
        /// The folder.
        path: PathBuf,
        /// The file.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// The disk.
    #[error("cannot read {name} in {path}: {source}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// The file.
        name: String,
        /// Why.
        source: io::Error,
    },
}

impl RunDirError {
    /// Whether the file is just not there (yet).
    pub fn is_missing(&self) -> bool {
        matches!(self, RunDirError::Missing { .. })
    }
}

impl RunDir {
    /// Makes the folder for a new job and opens it: 0777, so that the shim can be any user, in a parent that is made
    /// 0700 where it is missing. The parent must let nobody else of the machine pass.
    pub fn create(path: &Path) -> Result<Self, RunDirError> {
        let failed = |source| RunDirError::Folder { path: path.to_owned(), source };
        if let Some(parent) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
        }
        match DirBuilder::new().mode(0o777).create(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        let this = Self::open(path)?;
        // Whatever the umask is.
        File::from(this.folder.try_clone().map_err(failed)?)
            .set_permissions(std::fs::Permissions::from_mode(0o777))
            .map_err(failed)?;
        Ok(this)
    }

    /// Opens the folder of a job.
    pub fn open(path: &Path) -> Result<Self, RunDirError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = open(path, flags, Mode::empty())
            .map_err(|error| RunDirError::Folder { path: path.to_owned(), source: error.into() })?;
        Ok(Self { folder: Arc::new(folder), path: path.to_owned() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path for calls that take no handle. Valid while this value lives; never longer than a few bytes.
    pub(super) fn handle_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.folder.as_raw_fd()))
    }

    fn failed(&self, name: &str, error: rustix::io::Errno) -> RunDirError {
        let (path, name) = (self.path.clone(), name.to_owned());
        match error {
            rustix::io::Errno::NOENT => RunDirError::Missing { path, name },
            // A symlink, a FIFO or socket opened as a file.
            rustix::io::Errno::LOOP | rustix::io::Errno::NXIO | rustix::io::Errno::ISDIR => {
                RunDirError::Kind { path, name }
            }
            error => RunDirError::Io { path, name, source: error.into() },
        }
    }

    /// Opens a regular file for reading, whatever its size.
    pub fn open_file(&self, name: &str) -> Result<File, RunDirError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat(&*self.folder, name, flags, Mode::empty()).map_err(|error| self.failed(name, error))?;
        let found = fstat(&file).map_err(|error| self.failed(name, error))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(RunDirError::Kind { path: self.path.clone(), name: name.to_owned() });
        }
        Ok(File::from(file))
    }

    fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, RunDirError> {
        let file = self.open_file(name)?;
        let failed = |source| RunDirError::Io { path: self.path.clone(), name: name.to_owned(), source };
        let length = file.metadata().map_err(failed)?.len();
        if length > limit {
            let what = format!("{length} bytes long, at most {limit} are right");
            return Err(RunDirError::Content { path: self.path.clone(), name: name.to_owned(), what });
        }
        // As long as it was; if the job shortens it meanwhile the rest stays zero and is no text of ours.
        let mut bytes = vec![0; length as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], filled as u64).map_err(failed)? {
                0 => break,
                more => filled += more,
            }
        }
        Ok(bytes)
    }

    /// How a step ended, if it has. Blocks for a read of a few bytes.
    pub fn exit_of(&self, id: &StepId) -> Result<Option<StepRecord>, RunDirError> {
        let name = id.exit_name();
        let text = match self.read(&name, StepRecord::LIMIT as u64) {
            Ok(text) => text,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error),
        };
        let wrong = |what: String| RunDirError::Content { path: self.path.clone(), name: name.clone(), what };
        let record: StepRecord = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        if record.format != StepRecord::FORMAT {
            return Err(wrong(format!("format {}, this build reads {}", record.format, StepRecord::FORMAT)));
        }
        if record.step != *id {
            return Err(wrong(format!("it tells of step {}", record.step)));
        }
        Ok(Some(record))
    }

    /// Why the shim ended, in its own words, if it had the time to say so.
    pub fn end_of_shim(&self) -> Option<String> {
        let text = String::from_utf8(self.read(END_NAME, END_LIMIT).ok()?).ok()?;
        Some(text.chars().filter(|c| !c.is_control()).collect())
    }

    /// The socket, by a handle on the very inode: what is connected to is what was looked at, and its path is short
    /// whatever the state directory's name is.
    pub(super) fn socket(&self) -> Result<OwnedFd, RunDirError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let socket = openat(&*self.folder, SOCKET_NAME, flags, Mode::empty())
            .map_err(|error| self.failed(SOCKET_NAME, error))?;
        let found = fstat(&socket).map_err(|error| self.failed(SOCKET_NAME, error))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
            return Err(RunDirError::Kind { path: self.path.clone(), name: SOCKET_NAME.to_owned() });
        }
        Ok(socket)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, mkfifoat};

    use super::super::step::StepExit;
    use super::*;

    fn a_run_dir() -> (tempfile::TempDir, RunDir, StepId) {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(&dir.path().join("private/run")).unwrap();
        (dir, run, StepId::new("s").unwrap())
    }

    fn a_record(step: &str) -> Vec<u8> {
        serde_json::to_vec(&StepRecord {
            format: StepRecord::FORMAT,
            step: StepId::new(step).unwrap(),
            exit: StepExit::Code(3),
            spool_bytes: 16,
            lost_bytes: 0,
            started_us: 1,
            ended_us: 2,
            left_behind: 0,
        })
        .unwrap()
    }

    #[test]
    fn the_folder_is_open_to_all_below_one_that_is_closed() {
        let (dir, run, _) = a_run_dir();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(run.path()), 0o777);
        assert_eq!(mode(&dir.path().join("private")), 0o700);
    }

    #[test]
    fn a_padded_exit_file_is_read_and_none_is_none() {
        let (_dir, run, id) = a_run_dir();
        assert!(run.exit_of(&id).unwrap().is_none());
        let mut text = a_record("s");
        text.resize(StepRecord::LIMIT, b' ');
        std::fs::write(run.path().join("s.exit"), text).unwrap();
        assert_eq!(run.exit_of(&id).unwrap().unwrap().exit, StepExit::Code(3));
    }

    #[test]
    fn an_exit_file_of_another_kind_is_an_error_and_is_not_waited_for() {
        let (dir, run, id) = a_run_dir();
        let path = run.path().join("s.exit");
        let outside = dir.path().join("outside");
        std::fs::write(&outside, a_record("s")).unwrap();
        symlink(&outside, &path).unwrap();
        assert!(matches!(run.exit_of(&id), Err(RunDirError::Kind { .. })), "a symlink");
        std::fs::remove_file(&path).unwrap();
        mkfifoat(CWD, &path, Mode::from_raw_mode(0o666)).unwrap();
        assert!(matches!(run.exit_of(&id), Err(RunDirError::Kind { .. })), "a fifo");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(run.exit_of(&id), Err(RunDirError::Kind { .. })), "a folder");
    }

    #[test]
    fn an_exit_file_that_is_huge_garbage_or_another_steps_is_an_error() {
        let (_dir, run, id) = a_run_dir();
        let path = run.path().join("s.exit");
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(matches!(run.exit_of(&id), Err(RunDirError::Content { .. })), "huge");
        for bad in [b"".as_slice(), b"{", b"null", &a_record("other")] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(run.exit_of(&id), Err(RunDirError::Content { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_socket_of_another_kind_is_never_connected_to() {
        let (dir, run, _) = a_run_dir();
        let path = run.path().join(SOCKET_NAME);
        assert!(run.socket().unwrap_err().is_missing());
        let other = dir.path().join("engine.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&other).unwrap();
        symlink(&other, &path).unwrap();
        assert!(matches!(run.socket(), Err(RunDirError::Kind { .. })), "a symlink to another socket");
        std::fs::remove_file(&path).unwrap();
        mkfifoat(CWD, &path, Mode::from_raw_mode(0o666)).unwrap();
        assert!(matches!(run.socket(), Err(RunDirError::Kind { .. })), "a fifo");
    }
}
