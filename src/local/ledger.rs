//! What is known of local runs, also when they are over: `forgehand debug` tells from it.
//!
//! A run's record is a state directory cut down to what tells: its journal, the evidence of failed jobs, and [`RunRecord`].
//! While the run goes on that is the run's own directory (`exec/runs/ID`); at its end, or when a later run sweeps what a killed
//! one left, these files move to `exec/records/ID`. The last [`MOST`] records are kept.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::pipeline::schedule::PipelineEnd;
use crate::state::{StateDir, StateLock};

/// Records that are kept.
pub const MOST: usize = 20;
/// So much of a run's id is enough to find it.
pub const SHORT: usize = 8;
/// A longer description is none of ours.
const LONGEST: u64 = 1 << 20;

/// What a run was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its id.
    pub id: String,
    /// When it began.
    pub started_at: jiff::Timestamp,
    /// When it ended by itself.
    pub ended_at: Option<jiff::Timestamp>,
    /// How: `success`, `failed`, `cancelled`.
    pub status: Option<String>,
    /// The checkout.
    pub project: PathBuf,
    /// The pipeline file, below it.
    pub file: String,
    /// The process.
    pub pid: u32,
}

/// A run that can be looked at.
#[derive(Clone, Debug)]
pub struct KnownRun {
    /// What it was.
    pub record: RunRecord,
    /// Where its journal is.
    pub dir: StateDir,
    /// Its process is there.
    pub is_alive: bool,
}

/// Describes a run that begins in `dir`. Blocking.
pub fn begin(dir: &StateDir, project: &Path, file: &str) -> io::Result<()> {
    let id = dir.root().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let record = RunRecord {
        id,
        started_at: jiff::Timestamp::now(),
        ended_at: None,
        status: None,
        project: project.to_owned(),
        file: file.to_owned(),
        pid: std::process::id(),
    };
    write(dir, &record)
}

/// Notes how a run ended, and tells by what it is found again; empty where that cannot be noted. A small file: it is not
/// worth a thread.
pub fn end(dir: &StateDir, end: PipelineEnd) -> String {
    let status = match end {
        PipelineEnd::Success => "success",
        PipelineEnd::Failed => "failed",
        PipelineEnd::Cancelled => "cancelled",
    };
    let Ok(Some(record)) = read(dir) else { return String::new() };
    let short: String = record.id.chars().take(SHORT).collect();
    let ended = RunRecord { ended_at: Some(jiff::Timestamp::now()), status: Some(status.to_owned()), ..record };
    match write(dir, &ended) {
        Ok(()) => short,
        Err(error) => {
            tracing::warn!(%error, "the record of this run is not kept");
            String::new()
        }
    }
}

/// Keeps what tells of the run in `dir`, which is about to be removed, and removes the oldest records. Blocking.
pub fn keep(dir: &StateDir, home: &Path) -> io::Result<()> {
    // One that nobody described never came to run anything.
    let Some(record) = read(dir)? else { return Ok(()) };
    let records = home.join("records");
    private(&records)?;
    let to = records.join(&record.id);
    private(&to)?;
    let kept = StateDir::at(&to);
    let database = |dir: &StateDir, side: &str| PathBuf::from(format!("{}{side}", dir.database().display()));
    for side in ["", "-wal"] {
        moved(&database(dir, side), &database(&kept, side))?;
    }
    moved(&dir.logs(), &kept.logs())?;
    moved(&description(dir), &description(&kept))?;
    prune(&records)
}

/// The runs of `state_dir`, the newest first. Blocking.
pub fn runs(state_dir: &Path) -> Vec<KnownRun> {
    let home = state_dir.join("exec");
    let mut found: Vec<KnownRun> = ["runs", "records"]
        .iter()
        .flat_map(|folder| fs::read_dir(home.join(folder)).into_iter().flatten().flatten())
        .filter_map(|entry| {
            let dir = StateDir::at(entry.path());
            let record = read(&dir).ok().flatten()?;
            let is_alive = matches!(StateLock::holder(&dir), Ok(Some(_)));
            Some(KnownRun { record, dir, is_alive })
        })
        .collect();
    found.sort_by_key(|run| std::cmp::Reverse(run.record.started_at));
    found
}

fn read(dir: &StateDir) -> io::Result<Option<RunRecord>> {
    use std::io::Read as _;
    let file = match fs::File::open(description(dir)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text).ok())
}

fn write(dir: &StateDir, record: &RunRecord) -> io::Result<()> {
    let temporary = dir.root().join("run.json.tmp");
    fs::write(&temporary, serde_json::to_vec(record)?)?;
    fs::rename(temporary, description(dir))
}

fn description(dir: &StateDir) -> PathBuf {
    dir.root().join("run.json")
}

fn moved(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Removes the oldest records beyond the most there are.
fn prune(records: &Path) -> io::Result<()> {
    let mut all: Vec<(jiff::Timestamp, PathBuf)> = fs::read_dir(records)?
        .flatten()
        .map(|entry| {
            let started = read(&StateDir::at(entry.path())).ok().flatten().map(|record| record.started_at);
            // What cannot be read goes first.
            (started.unwrap_or(jiff::Timestamp::UNIX_EPOCH), entry.path())
        })
        .collect();
    all.sort_by_key(|(started, _)| std::cmp::Reverse(*started));
    for (_, path) in all.into_iter().skip(MOST) {
        if let Err(error) = fs::remove_dir_all(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(%error, record = %path.display(), "an old record stays");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_can_be_looked_at_while_it_goes_on_and_when_it_is_over() {
        let state = tempfile::tempdir().unwrap();
        let home = state.path().join("exec");
        for number in 0..MOST + 2 {
            let dir = StateDir::open(home.join("runs").join(format!("run{number:02}"))).unwrap();
            begin(&dir, Path::new("/checkout"), ".gitlab-ci.yml").unwrap();
            fs::write(dir.logs().join("1-a.failure.json"), "{}").unwrap();
            assert_eq!(runs(state.path())[0].record.status, None);
            assert_eq!(end(&dir, PipelineEnd::Failed), format!("run{number:02}"));
            keep(&dir, &home).unwrap();
            fs::remove_dir_all(dir.root()).unwrap();
        }
        let runs = runs(state.path());
        assert_eq!(runs.len(), MOST, "the oldest are gone");
        assert_eq!((runs[0].record.id.as_str(), runs[0].record.status.as_deref()), ("run21", Some("failed")));
        assert!(runs[0].dir.logs().join("1-a.failure.json").exists() && !runs[0].is_alive);
    }
}
