//! The journal's page on one job.

use rusqlite::{Connection, OptionalExtension, ToSql, params};
use serde::Serialize;

use super::error::JournalError;
use super::journal::{Inner, Journal, phase_of};
use super::phase::{JobPhase, PhaseChange};
use super::transition::{self, Moved};
use super::{folders, record};
use crate::executor::sandbox::{JobPaths, SandboxRecord};
use crate::forge::{LogDigest, RunnerFacts};
use crate::pipeline::{JobChange, JobKey, JobOutcome, JobStatus};

/// What is written down about one job while it runs. Cheap to clone. Every call may be repeated with the same
/// arguments, by this agent or the next.
#[derive(Clone)]
pub struct JobJournal {
    journal: Journal,
    key: JobKey,
}

impl JobJournal {
    pub(super) fn new(journal: Journal, key: JobKey) -> Self {
        Self { journal, key }
    }

    /// Which job.
    pub fn key(&self) -> &JobKey {
        &self.key
    }

    /// The journal it belongs to.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Work begins: what was decided about the job, and its folders. Durable; moves an accepted job to running.
    pub async fn set_facts(&self, facts: &RunnerFacts, paths: &JobPaths) -> Result<(), JournalError> {
        let (facts, paths) = (self.json(facts)?, self.json(paths)?);
        self.change(move |page| {
            match page.phase {
                JobPhase::Accepted => page.start()?,
                JobPhase::Running => {}
                JobPhase::Ended | JobPhase::Acknowledged => return Err(page.invalid(PhaseChange::Start)),
            }
            page.set("facts = ?2, paths = ?3", &[&facts, &paths])
        })
        .await
    }

    /// The job has a sandbox: call it before anything runs there. Survives the agent's death; a power cut ends the
    /// sandbox, too.
    pub async fn set_sandbox(&self, sandbox: &SandboxRecord) -> Result<(), JournalError> {
        let sandbox = self.json(sandbox)?;
        self.update("sandbox = ?2", vec![Box::new(sandbox)]).await
    }

    /// What the executor needs to know to go on after a crash. No secrets.
    pub async fn set_progress<T: Serialize>(&self, progress: &T) -> Result<(), JournalError> {
        let progress = self.json(progress)?;
        self.update("progress = ?2", vec![Box::new(progress)]).await
    }

    /// The same at a turn of the job, which is noted for whoever looks at it later.
    pub async fn set_progress_at<T: Serialize>(&self, progress: &T, moved: Moved) -> Result<(), JournalError> {
        let progress = self.json(progress)?;
        let key = self.key.clone();
        self.journal
            .blocking(move |inner| {
                let connection = inner.connection();
                let transaction = inner.sql(connection.unchecked_transaction())?;
                set(inner, &transaction, &key, "progress = ?2", &[&progress])?;
                inner.sql(transition::add(&transaction, &key, (inner.clock)().as_millisecond(), &moved))?;
                inner.sql(transaction.commit())
            })
            .await
    }

    /// Notes something that happened, for whoever looks at the job later. Nothing depends on it.
    pub async fn note(&self, moved: Moved) {
        let key = self.key.clone();
        let noted = self.journal.blocking(move |inner| {
            inner.sql(transition::add(&inner.connection(), &key, (inner.clock)().as_millisecond(), &moved))
        });
        if let Err(error) = noted.await {
            tracing::debug!(job_key = %self.key, %error, "what happened to the job is not noted");
        }
    }

    /// The forge has the log up to this byte.
    pub async fn set_acked(&self, bytes: u64) -> Result<(), JournalError> {
        self.update("acked = ?2", vec![Box::new(i64::try_from(bytes).unwrap_or(i64::MAX))]).await
    }

    /// The log is complete and amounts to this: said again with the last word.
    pub async fn set_digest(&self, digest: LogDigest) -> Result<(), JournalError> {
        let size = i64::try_from(digest.size).unwrap_or(i64::MAX);
        self.update("log_crc32 = ?2, log_size = ?3", vec![Box::new(i64::from(digest.crc32)), Box::new(size)]).await
    }

    /// The job's end is settled: call it before the forge hears it. Durable. The first outcome counts: setting the same
    /// again changes nothing, another one is an error.
    pub async fn set_outcome(&self, outcome: &JobOutcome) -> Result<(), JournalError> {
        let text = self.json(outcome)?;
        let change = outcome.change();
        self.change(move |page| {
            match page.phase {
                // Refused before it began: it passes through running, so that the status machine needs no short cut.
                JobPhase::Accepted => page.start()?,
                JobPhase::Running => {}
                JobPhase::Ended | JobPhase::Acknowledged if page.has_outcome(&text)? => return Ok(()),
                JobPhase::Ended | JobPhase::Acknowledged => return Err(page.invalid(PhaseChange::End)),
            }
            page.end(change)?;
            page.set("outcome = ?2", &[&text])
        })
        .await
    }

    /// The job is over: its forge knows or does not want to hear it. Keeps the log, forgets the payload, removes the
    /// job's folder. Needs an outcome. May be repeated.
    pub async fn close(&self) -> Result<(), JournalError> {
        let key = self.key.clone();
        self.journal
            .blocking(move |inner| {
                // Before the row says that all is done; slow for a long log, so outside the connection's lock.
                if let Err(error) = inner.logs.keep(&key) {
                    tracing::warn!(job_key = %key, %error, "the job's log cannot be kept");
                }
                in_transaction(inner, &key, |page| match page.phase {
                    JobPhase::Acknowledged => Ok(()),
                    JobPhase::Accepted | JobPhase::Running | JobPhase::Ended => page.acknowledge(),
                })?;
                folders::remove(&inner.dir, &key);
                Ok(())
            })
            .await
    }

    fn json<T: Serialize>(&self, value: &T) -> Result<String, JournalError> {
        serde_json::to_string(value).map_err(|cause| JournalError::Unwritable { key: self.key.clone(), cause })
    }

    /// A change of phase: in one transaction, durable.
    async fn change(
        &self,
        work: impl FnOnce(&mut Page<'_>) -> Result<(), JournalError> + Send + 'static,
    ) -> Result<(), JournalError> {
        let key = self.key.clone();
        self.journal.blocking(move |inner| in_transaction(inner, &key, work)).await
    }

    /// A change within a phase: cheap. `?1` is the key.
    async fn update(&self, assignments: &'static str, values: Vec<Box<dyn ToSql + Send>>) -> Result<(), JournalError> {
        let key = self.key.clone();
        self.journal
            .blocking(move |inner| {
                let values: Vec<&dyn ToSql> = values.iter().map(|value| value.as_ref() as &dyn ToSql).collect();
                set(inner, &inner.connection(), &key, assignments, &values)
            })
            .await
    }
}

/// A job's row within a transaction.
struct Page<'a> {
    inner: &'a Inner,
    connection: &'a Connection,
    key: &'a JobKey,
    phase: JobPhase,
    now: i64,
}

/// Does `work` on the job's row, wholly or not at all, durably.
fn in_transaction(
    inner: &Inner,
    key: &JobKey,
    work: impl FnOnce(&mut Page<'_>) -> Result<(), JournalError>,
) -> Result<(), JournalError> {
    let connection = inner.connection();
    let mut result = Ok(());
    let committed = inner.durably(&connection, |connection| {
        // Dropped without a commit, it rolls back.
        let transaction = rusqlite::Transaction::new_unchecked(connection, rusqlite::TransactionBehavior::Immediate)?;
        let Some(phase) = phase_of(&transaction, key)? else {
            result = Err(JournalError::Unknown(key.clone()));
            return Ok(());
        };
        let now = (inner.clock)().as_millisecond();
        result = work(&mut Page { inner, connection: &transaction, key, phase, now });
        if result.is_ok() { transaction.commit() } else { Ok(()) }
    });
    if let Err(JournalError::Phase { .. } | JournalError::Status { .. }) = &result {
        // A defect of somebody's: whoever looks at the job later should know.
        let what = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let refused = Moved::Refused { what };
        let noted = transition::add(&connection, key, (inner.clock)().as_millisecond(), &refused);
        if let Err(error) = noted {
            tracing::debug!(job_key = %key, %error, "a change that was refused is not noted");
        }
    }
    result.and_then(|()| inner.sql(committed))
}

impl Page<'_> {
    fn start(&mut self) -> Result<(), JournalError> {
        self.move_phase(PhaseChange::Start)?;
        self.move_status(JobChange::Start)?;
        let now = self.now;
        self.set("started_at = ?2", &[&now])
    }

    fn end(&mut self, change: JobChange) -> Result<(), JournalError> {
        self.move_phase(PhaseChange::End)?;
        self.move_status(change)?;
        let now = self.now;
        self.set("ended_at = ?2", &[&now])
    }

    fn acknowledge(&mut self) -> Result<(), JournalError> {
        self.move_phase(PhaseChange::Acknowledge)?;
        let now = self.now;
        self.set("closed_at = ?2, progress = NULL, paths = NULL", &[&now])
    }

    fn move_phase(&mut self, change: PhaseChange) -> Result<(), JournalError> {
        let (from, after) = (self.phase, self.phase.after(change));
        self.phase = after.map_err(|cause| JournalError::Phase { key: self.key.clone(), cause })?;
        self.note(&Moved::Phase { from, to: self.phase })?;
        let name = self.phase.as_str();
        self.set("phase = ?2", &[&name])
    }

    fn move_status(&mut self, change: JobChange) -> Result<(), JournalError> {
        let query = "SELECT status FROM jobs WHERE key = ?1";
        let read = self.connection.query_row(query, [self.key.as_str()], |row| record::json_text(row, 0));
        let status: JobStatus = self.inner.sql(read)?;
        let to = status.after(change).map_err(|cause| JournalError::Status { key: self.key.clone(), cause })?;
        self.note(&Moved::Status { from: status, change, to })?;
        self.set("status = ?2", &[&to.to_string()])
    }

    fn note(&self, moved: &Moved) -> Result<(), JournalError> {
        self.inner.sql(transition::add(self.connection, self.key, self.now, moved))
    }

    fn has_outcome(&self, text: &str) -> Result<bool, JournalError> {
        let query = "SELECT 1 FROM jobs WHERE key = ?1 AND outcome = ?2";
        let found = self.connection.query_row(query, params![self.key.as_str(), text], |_| Ok(())).optional();
        Ok(self.inner.sql(found)?.is_some())
    }

    fn invalid(&self, change: PhaseChange) -> JournalError {
        let cause = super::phase::InvalidPhase { from: self.phase, change };
        JournalError::Phase { key: self.key.clone(), cause }
    }

    fn set(&self, assignments: &'static str, values: &[&dyn ToSql]) -> Result<(), JournalError> {
        set(self.inner, self.connection, self.key, assignments, values)
    }
}

fn set(
    inner: &Inner,
    connection: &Connection,
    key: &JobKey,
    assignments: &'static str,
    values: &[&dyn ToSql],
) -> Result<(), JournalError> {
    let name = key.as_str();
    let mut all: Vec<&dyn ToSql> = vec![&name];
    all.extend_from_slice(values);
    let updated = connection
        .prepare_cached(&format!("UPDATE jobs SET {assignments} WHERE key = ?1"))
        .and_then(|mut statement| statement.execute(all.as_slice()));
    match inner.sql(updated)? {
        0 => Err(JournalError::Unknown(key.clone())),
        _ => Ok(()),
    }
}
