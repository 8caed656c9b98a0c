//! Which file lies where.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::pipeline::JobKey;

/// Less than this free, in bytes, is too little for a job: its payload, its log, the journal's pages.
const ROOM_FOR_A_JOB: u64 = 16 << 20;

/// Folders directly below the state directory, all 0700. Names are short: sockets lie below some of them.
const FOLDERS: [&str; 6] = ["jobs", "builds", "mirrors", "store", "logs", "shim"];

/// The agent's folder on this machine and the places in it. Cheap to clone; says where things are, touches nothing
/// except in [`StateDir::open`].
///
/// ```text
/// lock  state.db  credentials.json  control.sock  paused
/// shim/HASH                 copies of this program that containers use
/// jobs/KEY/assignment       what the forge sent (0600)
/// jobs/KEY/log              the job's log as the forge sees it
/// jobs/KEY/run/             shared with the job's sandbox
/// builds/ mirrors/ store/   work trees, git mirrors, artifacts and caches
/// logs/KEY.log.zst          logs of jobs that have ended
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir {
    root: PathBuf,
}

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// A folder could not be made or looked at.
    #[error("the state directory {path} cannot be used: {cause}. Name another one with --state-dir, or make this one writable for this user", path = .path.display())]
    Unusable {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// Others could put their own files where ours are trusted.
    #[error("the state directory {path} can be written by other users; use a folder of its own, or `chmod 700 {path}`", path = .path.display())]
    Shared {
        /// Which folder.
        path: PathBuf,
    },
}

impl StateDir {
    /// Where things are below `root`, without making or checking anything: for readers beside a running agent.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Makes what is missing, everything 0700, and refuses a folder that other users can write to. Blocking.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StateDirError> {
        let root = root.into();
        let root = std::path::absolute(&root).unwrap_or(root);
        let unusable = |path: &Path, cause| StateDirError::Unusable { path: path.to_owned(), cause };
        let builder = private_folders();
        private_folders().recursive(true).create(&root).map_err(|e| unusable(&root, e))?;
        let dir = Self { root };
        dir.keep_others_out()?;
        for name in FOLDERS {
            let path = dir.root.join(name);
            match builder.create(&path) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    let mode = fs::symlink_metadata(&path).map_err(|e| unusable(&path, e))?.mode();
                    if mode & 0o077 != 0 {
                        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))
                            .map_err(|e| unusable(&path, e))?;
                    }
                }
                Err(e) => return Err(unusable(&path, e)),
            }
        }
        Ok(dir)
    }

    /// A folder that is ours alone (empty, or used by an agent before) becomes 0700. One that holds other things is
    /// left as it is, but only used when nobody else can write there.
    fn keep_others_out(&self) -> Result<(), StateDirError> {
        let unusable = |cause| StateDirError::Unusable { path: self.root.clone(), cause };
        let mode = fs::metadata(&self.root).map_err(unusable)?.mode();
        if mode & 0o077 == 0 {
            return Ok(());
        }
        let ours = self.lock().exists() || fs::read_dir(&self.root).map_err(unusable)?.next().is_none();
        if ours && fs::set_permissions(&self.root, fs::Permissions::from_mode(0o700)).is_ok() {
            return Ok(());
        }
        if mode & 0o022 != 0 { Err(StateDirError::Shared { path: self.root.clone() }) } else { Ok(()) }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the disk has so little room left that the next job would fail for it. A disk that does not tell has room.
    pub fn is_short_of_room(&self) -> bool {
        rustix::fs::statvfs(&self.root).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < ROOM_FOR_A_JOB)
    }

    /// The file that the running agent holds locked.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The journal's database.
    pub fn database(&self) -> PathBuf {
        self.root.join("state.db")
    }

    /// The socket on which the running agent takes commands (0600).
    pub fn control_socket(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// Exists while the agent has been told to take no jobs: a restart does not forget it.
    pub fn paused(&self) -> PathBuf {
        self.root.join("paused")
    }

    /// The copies of this program that sandboxes run.
    pub fn shim(&self) -> PathBuf {
        self.root.join("shim")
    }

    /// Folders of jobs that are not over.
    pub fn jobs(&self) -> PathBuf {
        self.root.join("jobs")
    }

    /// Work trees.
    pub fn builds(&self) -> PathBuf {
        self.root.join("builds")
    }

    /// Git mirrors.
    pub fn mirrors(&self) -> PathBuf {
        self.root.join("mirrors")
    }

    /// Artifacts and caches.
    pub fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    /// Tools that jobs installed for later ones.
    pub fn tools(&self) -> PathBuf {
        self.root.join("tools")
    }

    /// Logs of jobs that are over.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The private folder of a job.
    pub fn job(&self, key: &JobKey) -> PathBuf {
        self.jobs().join(key.as_str())
    }

    /// What the forge sent for a job.
    pub fn assignment(&self, key: &JobKey) -> PathBuf {
        self.job(key).join("assignment")
    }

    /// The log of a job that is not over.
    pub fn job_log(&self, key: &JobKey) -> PathBuf {
        self.job(key).join("log")
    }

    /// The folder that a job's sandbox shares with the agent.
    pub fn run(&self, key: &JobKey) -> PathBuf {
        self.job(key).join("run")
    }

    /// The log of a job that is over.
    pub fn kept_log(&self, key: &JobKey) -> PathBuf {
        self.logs().join(format!("{key}.log.zst"))
    }

    /// Makes the private folder of a job. Blocking.
    pub(super) fn make_job(&self, key: &JobKey) -> io::Result<PathBuf> {
        let path = self.job(key);
        match private_folders().create(&path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
            _ => Ok(path),
        }
    }
}

fn private_folders() -> fs::DirBuilder {
    let mut builder = fs::DirBuilder::new();
    builder.mode(0o700);
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn every_folder_is_private_even_where_it_was_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("deep").join("state");
        StateDir::open(&root).unwrap();
        fs::set_permissions(root.join("jobs"), fs::Permissions::from_mode(0o777)).unwrap();
        let dir = StateDir::open(&root).unwrap();
        assert_eq!(mode(dir.root()), 0o700);
        for name in FOLDERS {
            assert_eq!(mode(&root.join(name)), 0o700, "{name}");
        }
    }

    #[test]
    fn an_empty_folder_is_made_private() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o775)).unwrap();
        StateDir::open(folder.path()).unwrap();
        assert_eq!(mode(folder.path()), 0o700);
    }

    #[test]
    fn a_folder_that_others_use_is_neither_closed_to_them_nor_trusted() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("theirs"), "x").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = StateDir::open(folder.path()).unwrap_err();
        assert!(matches!(error, StateDirError::Shared { .. }), "{error}");
        assert_eq!(mode(folder.path()), 0o777);
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "x").unwrap();
        assert!(StateDir::open(&path).unwrap_err().to_string().contains("file"));
    }
}
