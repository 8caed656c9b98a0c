//! Every job from assignment to acknowledged end.
//!
//! SQLite in WAL mode, one connection, blocking work off the runtime. What must survive even a power cut (a job is ours;
//! it has begun; it ended like this) is synced; what only must survive the agent's death (progress, how much of the log
//! the forge has) is not, which makes it cheap enough to be called for every piece of log.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::dir::StateDir;
pub use super::error::JournalError;
pub use super::job_journal::JobJournal;
use super::logs::{JobLogs, LogLimits};
use super::payload::{self, KeptAssignment};
use super::phase::JobPhase;
use super::record::{self, EndedJob, JobDetails, JobRecord, OpenJob, RECORD_COLUMNS};
use super::transition::{self, Moved};
use super::{folders, schema};
use crate::forge::{Assignment, LogDigest};
use crate::pipeline::{JobKey, JobStatus};

/// How long a job that is over is remembered: a forge that hands it over once more within this time hears its last
/// word again instead of having it run twice.
const MEMORY: Duration = Duration::from_secs(30 * 24 * 3600);

/// Most jobs that [`Journal::find`] returns.
const MAX_FOUND: u32 = 100;

/// Tells the time; the real clock in the program, a fixed one in tests.
pub type Clock = fn() -> jiff::Timestamp;

/// What the agent owes, on disk. Cheap to clone; all clones are one journal.
#[derive(Clone)]
pub struct Journal {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub dir: StateDir,
    pub logs: JobLogs,
    pub clock: Clock,
    /// What must be kept survives a power cut; otherwise the process's death alone.
    lasts: bool,
    connection: Mutex<Connection>,
}

/// What came of handing a job to the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is new, and ours now.
    New,
    /// It was handed over before. In [`JobPhase::Acknowledged`] its last word can be said again
    /// ([`Journal::ended`]); otherwise it is being worked on, and this delivery is to be ignored.
    Known(JobPhase),
}

impl Journal {
    /// Opens the journal of the running agent, which holds the state lock. Completes what a crash cut: assignments that
    /// were kept but not yet entered, folders of jobs that are over. A damaged database is moved aside and started
    /// anew; the jobs whose folders are there are then entered as running, so that they are looked for and never
    /// started a second time. Blocking.
    pub fn open(dir: &StateDir, clock: Clock, limits: LogLimits) -> Result<Self, JournalError> {
        let opened = schema::open(&dir.database(), clock())?;
        if let Some(aside) = &opened.moved_aside {
            tracing::error!(
                moved_to = %aside.display(),
                "the journal was damaged and has been started anew; what was known of earlier jobs is lost"
            );
        }
        let journal = Self::from_connection(dir, clock, limits, opened.connection, true);
        let unknown = if opened.moved_aside.is_some() { folders::Unknown::MayRun } else { folders::Unknown::IsNew };
        folders::complete(&journal, unknown)?;
        Ok(journal)
    }

    /// Opens the journal of something that no power cut has to leave as it was: of one run, which a power cut ends. Blocking.
    pub fn open_for_a_run(dir: &StateDir, clock: Clock) -> Result<Self, JournalError> {
        let opened = schema::open(&dir.database(), clock())?;
        let off = opened.connection.pragma_update(None, "synchronous", "OFF");
        off.map_err(|cause| JournalError::from_sqlite(&dir.database(), cause))?;
        Ok(Self::from_connection(dir, clock, LogLimits::default(), opened.connection, false))
    }

    /// Opens the journal for reading, beside a running agent or without one. `None` where there has been none yet.
    /// Calls that write fail. Blocking.
    pub fn open_to_read(dir: &StateDir, clock: Clock) -> Result<Option<Self>, JournalError> {
        let connection = schema::open_to_read(&dir.database())?;
        let limits = LogLimits::default();
        Ok(connection.map(|connection| Self::from_connection(dir, clock, limits, connection, false)))
    }

    fn from_connection(dir: &StateDir, clock: Clock, limits: LogLimits, connection: Connection, lasts: bool) -> Self {
        let logs = JobLogs::new(dir.clone(), limits);
        Self { inner: Arc::new(Inner { dir: dir.clone(), logs, clock, lasts, connection: Mutex::new(connection) }) }
    }

    /// Where the journal and everything beside it lies.
    pub fn dir(&self) -> &StateDir {
        &self.inner.dir
    }

    /// The logs of its jobs.
    pub fn logs(&self) -> &JobLogs {
        &self.inner.logs
    }

    /// Makes a job ours: durable when it returns, before anybody acts on it. A second delivery of the same job changes
    /// nothing. After an error nothing of the job is left here, and its forge should be told that it cannot be run.
    pub async fn accept(&self, assignment: &Assignment, registration: &str) -> Result<Accepted, JournalError> {
        self.accept_attempt(assignment, registration, 1).await
    }

    /// The same for the `attempt`-th try of a job, from 1: one that failed before and is tried again under another key.
    pub async fn accept_attempt(
        &self,
        assignment: &Assignment,
        registration: &str,
        attempt: u32,
    ) -> Result<Accepted, JournalError> {
        let kept = KeptAssignment {
            assignment: assignment.clone(),
            registration: registration.to_owned(),
            accepted_at: (self.inner.clock)(),
        };
        self.blocking(move |inner| {
            let connection = inner.connection();
            if let Some(phase) = inner.sql(phase_of(&connection, &kept.assignment.key))? {
                return Ok(Accepted::Known(phase));
            }
            // The file first: it alone is enough to go on.
            let entered = payload::keep(&inner.dir, &kept).map_err(JournalError::from).and_then(|()| {
                inner.sql(inner.durably(&connection, |c| insert(c, &kept, JobPhase::Accepted, attempt)))
            });
            if let Err(error) = entered {
                // Otherwise the next start would find a new job there, which the forge has long been told we cannot run.
                folders::remove(&inner.dir, &kept.assignment.key);
                return Err(error);
            }
            Ok(Accepted::New)
        })
        .await
    }

    /// The journal's page on one job. Does not ask whether there is such a job.
    pub fn job(&self, key: &JobKey) -> JobJournal {
        JobJournal::new(self.clone(), key.clone())
    }

    /// The jobs that something is still owed for, oldest first.
    pub async fn open_jobs(&self) -> Result<Vec<OpenJob>, JournalError> {
        self.blocking(|inner| {
            let connection = inner.connection();
            let keys = inner.sql(open_keys(&connection))?;
            let mut jobs = Vec::with_capacity(keys.len());
            for key in keys {
                match read_open(inner, &connection, &key) {
                    Ok(job) => jobs.extend(job),
                    // Without its payload nothing can be said to the forge: the others must not wait for it.
                    Err(error) => tracing::error!(job_key = %key, %error, "a job cannot be taken up again"),
                }
            }
            Ok(jobs)
        })
        .await
    }

    /// One job that something is still owed for.
    pub async fn open_job(&self, key: &JobKey) -> Result<Option<OpenJob>, JournalError> {
        let key = key.clone();
        self.blocking(move |inner| read_open(inner, &inner.connection(), &key)).await
    }

    /// How a job ended whose end the forge has acknowledged.
    pub async fn ended(&self, key: &JobKey) -> Result<Option<EndedJob>, JournalError> {
        let key = key.clone();
        self.blocking(move |inner| {
            let connection = inner.connection();
            let found = connection
                .query_row(
                    "SELECT outcome, log_crc32, log_size FROM jobs WHERE key = ?1 AND phase = 'acknowledged'",
                    [key.as_str()],
                    |row| Ok((record::json(row, 0)?, digest(row, 1)?)),
                )
                .optional();
            Ok(inner.sql(found)?.and_then(|(outcome, digest)| Some(EndedJob { outcome: outcome?, digest })))
        })
        .await
    }

    /// The last jobs, newest first.
    pub async fn recent(&self, limit: u32) -> Result<Vec<JobRecord>, JournalError> {
        self.records("ORDER BY accepted_at DESC, key LIMIT ?1", vec![limit.to_string()]).await
    }

    /// The jobs that `name` may mean: a key, the forge's id, or the beginning of a key. Newest first.
    pub async fn find(&self, name: &str) -> Result<Vec<JobRecord>, JournalError> {
        let clause = "WHERE key = ?2 OR id = ?2 OR substr(key, 1, length(?2)) = ?2 ORDER BY accepted_at DESC LIMIT ?1";
        self.records(clause, vec![MAX_FOUND.to_string(), name.to_owned()]).await
    }

    /// What is known of a job beyond its line; nothing where it is not known at all.
    pub async fn details(&self, key: &JobKey) -> Result<JobDetails, JournalError> {
        let key = key.clone();
        self.blocking(move |inner| {
            let connection = inner.connection();
            let query = "SELECT progress, sandbox, paths, outcome FROM jobs WHERE key = ?1";
            let read = (|| {
                let row = connection.query_row(query, [key.as_str()], |row| {
                    Ok(JobDetails {
                        transitions: Vec::new(),
                        progress: record::json(row, 0)?,
                        sandbox: record::json(row, 1)?,
                        paths: record::json(row, 2)?,
                        outcome: record::json(row, 3)?,
                    })
                });
                let Some(details) = row.optional()? else { return Ok(JobDetails::default()) };
                Ok(JobDetails { transitions: transition::of(&connection, &key)?, ..details })
            })();
            inner.sql(read)
        })
        .await
    }

    async fn records(&self, clause: &'static str, values: Vec<String>) -> Result<Vec<JobRecord>, JournalError> {
        self.blocking(move |inner| {
            let connection = inner.connection();
            let read = (|| {
                let mut statement = connection.prepare(&format!("SELECT {RECORD_COLUMNS} FROM jobs {clause}"))?;
                let rows = statement.query_map(rusqlite::params_from_iter(values), JobRecord::from_row)?;
                rows.collect::<rusqlite::Result<Vec<_>>>()
            })();
            inner.sql(read)
        })
        .await
    }

    /// Forgets jobs that ended long ago, removes kept logs beyond their limits and folders of jobs that are over. Level
    /// based: may be called at any time.
    pub async fn sweep(&self) -> Result<(), JournalError> {
        self.blocking(|inner| {
            let now = (inner.clock)();
            folders::remove_finished(inner)?;
            let before = now.as_millisecond() - MEMORY.as_millis() as i64;
            let connection = inner.connection();
            let forget = "DELETE FROM jobs WHERE phase = 'acknowledged' AND closed_at < ?1";
            let forgotten = inner.sql(connection.execute(forget, [before]))?;
            drop(connection);
            if forgotten > 0 {
                tracing::debug!(forgotten, "jobs that ended long ago are forgotten");
            }
            inner.logs.prune(now).map_err(|cause| JournalError::from_io(&inner.dir.logs(), cause))
        })
        .await
    }

    /// Runs `work` where it may block.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let inner = self.inner.clone();
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_cancelled) => Err(JournalError::Closed),
            },
        }
    }
}

impl Inner {
    /// The one connection. A panic of another caller left no half-done transaction: rusqlite rolls back when it unwinds.
    pub fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names the database in an error of SQLite.
    pub fn sql<T>(&self, result: rusqlite::Result<T>) -> Result<T, JournalError> {
        result.map_err(|cause| JournalError::from_sqlite(&self.database(), cause))
    }

    /// Does `work` in such a way that it survives a power cut once this has returned, where this journal is to.
    pub fn durably<T>(
        &self,
        connection: &Connection,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        if !self.lasts {
            return work(connection);
        }
        connection.pragma_update(None, "synchronous", "FULL")?;
        let result = work(connection);
        let restored = connection.pragma_update(None, "synchronous", "NORMAL");
        result.and_then(|value| restored.map(|()| value))
    }

    fn database(&self) -> PathBuf {
        self.dir.database()
    }
}

/// Enters a job, for its `attempt`-th try. Does nothing where there is one already.
pub(super) fn insert(
    connection: &Connection,
    kept: &KeptAssignment,
    phase: JobPhase,
    attempt: u32,
) -> rusqlite::Result<()> {
    let job = &kept.assignment;
    let status = match phase {
        JobPhase::Accepted if attempt > 1 => JobStatus::Retry,
        JobPhase::Accepted => JobStatus::Pending,
        JobPhase::Running | JobPhase::Ended | JobPhase::Acknowledged => JobStatus::Running,
    };
    // Both or none.
    let transaction = connection.unchecked_transaction()?;
    let added = transaction.execute(
        "INSERT OR IGNORE INTO jobs
            (key, id, name, project_path, registration, correlation_id, phase, status, accepted_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            job.key.as_str(),
            job.id.as_str(),
            job.name,
            job.project_path,
            kept.registration,
            job.correlation_id,
            phase.as_str(),
            status.to_string(),
            kept.accepted_at.as_millisecond(),
        ],
    )?;
    if added > 0 {
        let at = kept.accepted_at.as_millisecond();
        transition::add(&transaction, &job.key, at, &Moved::Accepted { attempt, status, phase })?;
    }
    transaction.commit()
}

/// How far a job has come; `None` when it is not known.
pub(super) fn phase_of(connection: &Connection, key: &JobKey) -> rusqlite::Result<Option<JobPhase>> {
    let query = "SELECT phase FROM jobs WHERE key = ?1";
    connection.query_row(query, [key.as_str()], |row| record::phase(row, 0)).optional()
}

fn open_keys(connection: &Connection) -> rusqlite::Result<Vec<JobKey>> {
    let query = "SELECT key FROM jobs WHERE phase <> 'acknowledged' ORDER BY accepted_at, key";
    let mut statement = connection.prepare(query)?;
    statement.query_map([], |row| record::json_text(row, 0))?.collect()
}

fn read_open(inner: &Inner, connection: &Connection, key: &JobKey) -> Result<Option<OpenJob>, JournalError> {
    let query = "SELECT phase, facts, paths, sandbox, progress, acked, outcome, log_crc32, log_size
                 FROM jobs WHERE key = ?1 AND phase <> 'acknowledged'";
    let known = connection.prepare_cached(query).and_then(|mut statement| statement.exists([key.as_str()]));
    if !inner.sql(known)? {
        return Ok(None);
    }
    let kept = payload::read(&inner.dir, key)?;
    let read = connection.query_row(query, [key.as_str()], |row| {
        Ok(OpenJob {
            assignment: kept.assignment,
            registration: kept.registration,
            phase: record::phase(row, 0)?,
            facts: record::json(row, 1)?,
            paths: record::json(row, 2)?,
            sandbox: record::json(row, 3)?,
            progress: record::json(row, 4)?,
            acked: row.get::<_, i64>(5)?.max(0) as u64,
            outcome: record::json(row, 6)?,
            digest: digest(row, 7)?,
            accepted_at: kept.accepted_at,
        })
    });
    inner.sql(read.optional())
}

/// A log's digest from the column `at` and the next one.
fn digest(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Option<LogDigest>> {
    let (crc32, size): (Option<i64>, Option<i64>) = (row.get(at)?, row.get(at + 1)?);
    Ok(crc32.zip(size).map(|(crc32, size)| LogDigest { crc32: crc32 as u32, size: size.max(0) as u64 }))
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;

#[cfg(test)]
pub(crate) mod tests_support {
    //! Jobs and journals for tests.

    use bytes::Bytes;

    use super::*;
    use crate::pipeline::{ForgeInstance, JobId, Owner, ProjectId, Trust};

    /// Job `id` as handed over with `token`.
    pub fn assignment(id: &str, token: &str) -> Assignment {
        let forge = ForgeInstance::new("https://gitlab.example.com");
        let id = JobId::new(id);
        Assignment {
            key: JobKey::of(&forge, &id, token),
            name: format!("build {id}"),
            id,
            project_path: "group/project".into(),
            owner: Owner { forge, project: ProjectId::new("1"), trust: Trust::Member },
            payload: Bytes::from(format!("{{\"token\":\"{token}\"}}")),
            correlation_id: "c0ffee".into(),
        }
    }

    /// A clock for tests that do not care.
    pub fn noon() -> jiff::Timestamp {
        jiff::Timestamp::from_second(1_770_000_000).expect("a time in range")
    }

    /// The journal of `folder`.
    pub fn journal(folder: &std::path::Path) -> Journal {
        let dir = StateDir::open(folder).expect("the folder can be used");
        Journal::open(&dir, noon, LogLimits::default()).expect("the journal opens")
    }
}
