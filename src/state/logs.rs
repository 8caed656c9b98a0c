//! The logs of jobs: a growing file while a job runs, compressed and kept for some days when it is over.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use super::dir::StateDir;
use super::durable;
use crate::pipeline::JobKey;

/// Fast enough not to be felt at the end of a job (300 MB/s), a tenth of the size for what builds print.
const LEVEL: i32 = 1;

/// How much of old logs is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// How long after a job's end its log can be read.
    pub age: Duration,
    /// How many compressed bytes there may be; the oldest go first.
    pub bytes: u64,
}

impl Default for LogLimits {
    /// Seven days, 1 GiB.
    fn default() -> Self {
        Self { age: Duration::from_secs(7 * 24 * 3600), bytes: 1 << 30 }
    }
}

/// The logs of the jobs of a state directory.
#[derive(Clone, Debug)]
pub struct JobLogs {
    dir: StateDir,
    limits: LogLimits,
}

/// A log to read from.
pub enum LogSource {
    /// The job is not over: the file may grow.
    Growing(File),
    /// The job is over: this is all.
    Complete(Box<dyn Read + Send>),
}

impl JobLogs {
    /// The logs below `dir`, kept within `limits`.
    pub fn new(dir: StateDir, limits: LogLimits) -> Self {
        Self { dir, limits }
    }

    /// The log of a job; `None` when there is none (any more). Blocking.
    pub fn open(&self, key: &JobKey) -> io::Result<Option<LogSource>> {
        // Twice: the job may end, and its log move, between the two looks.
        for _ in 0..2 {
            if let Some(file) = present(File::open(self.dir.job_log(key)))? {
                return Ok(Some(LogSource::Growing(file)));
            }
            if let Some(file) = present(File::open(self.dir.kept_log(key)))? {
                return Ok(Some(LogSource::Complete(Box::new(zstd::Decoder::new(file)?))));
            }
        }
        Ok(None)
    }

    /// Compresses the log of a job that is over. The log itself goes with the job's folder. Nothing to do when there is
    /// none, or when it has been kept already. Blocking, for a second per 300 MB.
    pub(super) fn keep(&self, key: &JobKey) -> io::Result<()> {
        let Some(mut log) = present(File::open(self.dir.job_log(key)))? else { return Ok(()) };
        let kept = self.dir.kept_log(key);
        let temporary = self.dir.logs().join(format!(".{key}.tmp"));
        let written = (|| {
            // The name is ours alone: one agent, one end of a job. What a crash left there is overwritten.
            let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            let mut encoder = zstd::Encoder::new(file, LEVEL)?;
            io::copy(&mut log, &mut encoder)?;
            encoder.finish()?.sync_all()?;
            fs::rename(&temporary, &kept)?;
            durable::sync_folder(&self.dir.logs())
        })();
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// Removes what is too old or too much. Blocking.
    pub(super) fn prune(&self, now: jiff::Timestamp) -> io::Result<()> {
        let mut logs = self.kept()?;
        logs.sort_by_key(|log| std::cmp::Reverse(log.ended));
        let oldest = now.as_second() - self.limits.age.as_secs() as i64;
        let mut total = 0_u64;
        for log in logs {
            total = total.saturating_add(log.bytes);
            if log.ended < oldest || total > self.limits.bytes {
                present(fs::remove_file(&log.path))?;
            }
        }
        Ok(())
    }

    fn kept(&self) -> io::Result<Vec<KeptLog>> {
        use std::os::unix::fs::MetadataExt;
        let mut logs = Vec::new();
        for entry in fs::read_dir(self.dir.logs())? {
            let entry = entry?;
            if let Some(metadata) = present(entry.metadata())?.filter(fs::Metadata::is_file) {
                logs.push(KeptLog { path: entry.path(), ended: metadata.mtime(), bytes: metadata.len() });
            }
        }
        Ok(logs)
    }
}

struct KeptLog {
    path: PathBuf,
    /// Seconds since 1970.
    ended: i64,
    bytes: u64,
}

fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn key(name: &str) -> JobKey {
        serde_json::from_value(name.into()).unwrap()
    }

    fn kept(logs: &JobLogs, name: &str, text: &str, age_days: u64) {
        let key = key(name);
        logs.dir.make_job(&key).unwrap();
        fs::write(logs.dir.job_log(&key), text).unwrap();
        logs.keep(&key).unwrap();
        fs::remove_dir_all(logs.dir.job(&key)).unwrap();
        let then = SystemTime::now() - Duration::from_secs(age_days * 24 * 3600);
        File::options().write(true).open(logs.dir.kept_log(&key)).unwrap().set_modified(then).unwrap();
    }

    fn text(logs: &JobLogs, name: &str) -> Option<String> {
        let mut text = String::new();
        match logs.open(&key(name)).unwrap()? {
            LogSource::Growing(mut file) => file.read_to_string(&mut text).unwrap(),
            LogSource::Complete(mut log) => log.read_to_string(&mut text).unwrap(),
        };
        Some(text)
    }

    #[test]
    fn a_log_can_be_read_while_the_job_runs_and_after_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let logs = JobLogs::new(StateDir::open(folder.path()).unwrap(), LogLimits::default());
        logs.dir.make_job(&key("1-a")).unwrap();
        fs::write(logs.dir.job_log(&key("1-a")), "so far").unwrap();
        assert_eq!(text(&logs, "1-a").as_deref(), Some("so far"));
        kept(&logs, "1-a", "all of it", 0);
        assert_eq!(text(&logs, "1-a").as_deref(), Some("all of it"));
        assert_eq!(text(&logs, "2-b"), None);
        logs.keep(&key("2-b")).unwrap();
    }

    #[test]
    fn logs_go_when_they_are_old_and_the_oldest_first_when_they_are_many() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(folder.path()).unwrap();
        let logs = JobLogs::new(dir.clone(), LogLimits::default());
        kept(&logs, "old", "x", 8);
        kept(&logs, "middle", "y", 2);
        kept(&logs, "new", "z", 1);
        let now = jiff::Timestamp::now();
        logs.prune(now).unwrap();
        assert_eq!((text(&logs, "old"), text(&logs, "middle")), (None, Some("y".into())));
        let one = fs::metadata(dir.kept_log(&key("new"))).unwrap().len();
        JobLogs::new(dir, LogLimits { bytes: one, ..LogLimits::default() }).prune(now).unwrap();
        assert_eq!((text(&logs, "middle"), text(&logs, "new")), (None, Some("z".into())));
    }
}
