//! What is kept of a job that failed, beside its log and as long as that: a record, and the failed step as files.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::dir::StateDir;
use crate::executor::evidence::Evidence;
use crate::pipeline::JobKey;

/// A longer record is not read: we write none.
const LONGEST: u64 = 4 << 20;

/// A step that can be run again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFiles {
    /// Runs the script as the shim did.
    pub launcher: String,
    /// What the step ran.
    pub script: String,
}

/// Keeps what was found. Blocking.
///
/// The files of the step can be read by anyone who gets to them, for they are mounted into containers of any user; only we
/// get into their folder.
pub fn write(dir: &StateDir, key: &JobKey, evidence: &Evidence, files: Option<&StepFiles>) -> io::Result<()> {
    if let Some(files) = files {
        put(&launcher(dir, key), files.launcher.as_bytes(), 0o555)?;
        put(&script(dir, key), files.script.as_bytes(), 0o444)?;
    }
    let text = serde_json::to_vec(evidence)?;
    put(&record(dir, key), &text, 0o600)
}

/// What was kept of a job. `None`: nothing, or not any more. Blocking.
pub fn read(dir: &StateDir, key: &JobKey) -> io::Result<Option<Evidence>> {
    let file = match fs::File::open(record(dir, key)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text)?;
    Ok(Some(serde_json::from_slice(&text)?))
}

/// The file of the launcher.
pub fn launcher(dir: &StateDir, key: &JobKey) -> PathBuf {
    dir.logs().join(format!("{key}.run"))
}

/// The file of the script.
pub fn script(dir: &StateDir, key: &JobKey) -> PathBuf {
    dir.logs().join(format!("{key}.script"))
}

fn record(dir: &StateDir, key: &JobKey) -> PathBuf {
    dir.logs().join(format!("{key}.failure.json"))
}

/// Whole or not at all: somebody may look at any time.
fn put(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let temporary = PathBuf::from(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    let written = file.write_all(bytes).and_then(|()| file.set_permissions(fs::Permissions::from_mode(mode)));
    let kept = written.and_then(|()| fs::rename(&temporary, path));
    if kept.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    kept
}
