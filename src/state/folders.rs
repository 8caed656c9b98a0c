//! The folders of jobs and the rows about them, brought together after a crash.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::dir::StateDir;
use super::error::JournalError;
use super::journal::{Inner, Journal, insert, phase_of};
use super::payload;
use super::phase::JobPhase;
use crate::pipeline::JobKey;

/// What a folder means that no row speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// The agent died between keeping the assignment and entering it: nothing has been done for the job.
    IsNew,
    /// The rows were lost: the job may have run for hours. It is looked for, and never started a second time.
    MayRun,
}

/// Enters jobs whose assignment was kept, closes rows whose assignment is gone, removes what no job needs.
pub(super) fn complete(journal: &Journal, unknown: Unknown) -> Result<(), JournalError> {
    let inner = &*journal.inner;
    for key in keys(&inner.dir)? {
        let phase = inner.sql(phase_of(&inner.connection(), &key))?;
        match phase {
            Some(JobPhase::Acknowledged) => remove(&inner.dir, &key),
            Some(JobPhase::Accepted | JobPhase::Running | JobPhase::Ended) => {}
            None => adopt(inner, &key, unknown)?,
        }
    }
    close_without_payload(inner)
}

/// Removes the folders of jobs that are over, where that was not possible at once.
pub(super) fn remove_finished(inner: &Inner) -> Result<(), JournalError> {
    for key in keys(&inner.dir)? {
        let phase = inner.sql(phase_of(&inner.connection(), &key))?;
        if phase == Some(JobPhase::Acknowledged) {
            remove(&inner.dir, &key);
        }
    }
    Ok(())
}

/// Removes the folder of a job. What a job left there that cannot be removed stays until the next sweep.
pub(super) fn remove(dir: &StateDir, key: &JobKey) {
    // The payload first: whatever becomes of the rest, its secrets are gone.
    let _ = fs::remove_file(dir.assignment(key));
    let folder = dir.job(key);
    let removed = fs::remove_dir_all(&folder).or_else(|error| match error.kind() {
        // An agent that is not root was killed while it unpacked an archive there.
        io::ErrorKind::PermissionDenied => open_up(&folder).and_then(|()| fs::remove_dir_all(&folder)),
        _ => Err(error),
    });
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(job_key = %key, %error, "the folder of a job that is over cannot be removed yet");
        }
        _ => {}
    }
}

/// Lets us into every folder of ours below `folder`: nobody else can write there.
fn open_up(folder: &Path) -> io::Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            // Of a link it says that it is one.
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}

fn adopt(inner: &Inner, key: &JobKey, unknown: Unknown) -> Result<(), JournalError> {
    let kept = match payload::read(&inner.dir, key) {
        Ok(kept) => kept,
        Err(error) => {
            if !error.is_absent() {
                tracing::error!(job_key = %key, %error, "a job is lost: what its forge sent cannot be read");
            }
            remove(&inner.dir, key);
            return Ok(());
        }
    };
    let phase = match unknown {
        Unknown::IsNew => JobPhase::Accepted,
        Unknown::MayRun => JobPhase::Running,
    };
    tracing::info!(job_id = %kept.assignment.id, %phase, "a job was found that the journal did not know");
    let connection = inner.connection();
    inner.sql(inner.durably(&connection, |c| insert(c, &kept, phase, 1)))
}

/// Without its payload nothing can be said about a job to its forge, which gives it up by itself in time.
fn close_without_payload(inner: &Inner) -> Result<(), JournalError> {
    let connection = inner.connection();
    let read = (|| {
        let mut statement = connection.prepare("SELECT key FROM jobs WHERE phase <> 'acknowledged'")?;
        let rows = statement.query_map([], |row| super::record::json_text(row, 0))?;
        rows.collect::<rusqlite::Result<Vec<JobKey>>>()
    })();
    for key in inner.sql(read)? {
        if inner.dir.assignment(&key).exists() {
            continue;
        }
        tracing::error!(job_key = %key, "a job is lost: what its forge sent is gone");
        let outcome = crate::pipeline::JobOutcome::Failed(crate::pipeline::JobFailure::system(
            "what the forge sent for this job was removed from the state directory",
        ));
        let outcome =
            serde_json::to_string(&outcome).map_err(|cause| JournalError::Unwritable { key: key.clone(), cause })?;
        let close = "UPDATE jobs SET phase = 'acknowledged', status = 'failed', closed_at = ?2,
                     outcome = coalesce(outcome, ?3) WHERE key = ?1";
        let now = (inner.clock)().as_millisecond();
        inner.sql(connection.execute(close, rusqlite::params![key.as_str(), now, outcome]))?;
        remove(&inner.dir, &key);
    }
    Ok(())
}

/// The names of the folders below `jobs`, as keys.
fn keys(dir: &StateDir) -> Result<Vec<JobKey>, JournalError> {
    let path = dir.jobs();
    let read = (|| {
        let mut keys = Vec::new();
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            if let (true, Some(name)) = (entry.file_type()?.is_dir(), entry.file_name().to_str()) {
                keys.extend(serde_json::from_value::<JobKey>(serde_json::Value::String(name.to_owned())));
            }
        }
        Ok(keys)
    })();
    read.map_err(|cause| JournalError::from_io(&path, cause))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Root may everything; without these it is as any user.
    const RIGHTS: &str = "-dac_override,-dac_read_search";

    #[test]
    fn a_folder_that_an_agent_without_rights_may_not_enter_goes_all_the_same() {
        let me = std::env::current_exe().unwrap();
        let name = "state::folders::tests::an_agent_without_rights";
        let test = ["--exact", name, "--ignored", "--nocapture"];
        let output = Command::new("setpriv").args(["--bounding-set", RIGHTS]).arg(me).args(test).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    #[ignore = "run by a_folder_that_an_agent_without_rights_may_not_enter_goes_all_the_same"]
    fn an_agent_without_rights() {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::open(temp.path().join("state")).unwrap();
        let id = crate::pipeline::JobId::new("1");
        let key = JobKey::of(&crate::pipeline::ForgeInstance::new("https://forge.example"), &id, "token");
        let outside = temp.path().join("outside");
        let closed = dir.job(&key).join("private/unpacked/closed");
        fs::create_dir_all(closed.join("within")).unwrap();
        fs::write(closed.join("within/file"), "x").unwrap();
        fs::create_dir(&outside).unwrap();
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o500)).unwrap();
        std::os::unix::fs::symlink(&outside, dir.job(&key).join("private/link")).unwrap();
        for (folder, mode) in [(closed.join("within"), 0o500), (closed.clone(), 0o000)] {
            fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
        }
        assert!(fs::remove_dir_all(dir.job(&key)).is_err(), "else this shows nothing");
        remove(&dir, &key);
        assert!(!dir.job(&key).exists());
        assert_eq!(
            fs::metadata(&outside).unwrap().permissions().mode() & 0o777,
            0o500,
            "where a link leads nothing changes"
        );
    }
}
