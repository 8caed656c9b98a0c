//! What happened to a job, one line after the other: for whoever wants to know later what went wrong.
//!
//! Nothing is decided by these lines. They are written beside what they tell of, in the same transaction where there is
//! one, so that they say no more and no less than what the journal itself believed.

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::phase::JobPhase;
use crate::executor::log::StepStatus;
use crate::executor::stage::Stage;
use crate::pipeline::{JobChange, JobKey, JobStatus};

/// Most lines about one job: one that is restarted without end does not fill the disk.
const MOST: i64 = 5000;

/// Something that happened to a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Moved {
    /// It became ours.
    Accepted {
        /// The how many-th try it is, from 1, where tries have the job's name in common.
        attempt: u32,
        /// What its status is from the beginning.
        status: JobStatus,
        /// How far it has come: farther than accepted only where an earlier journal was lost.
        phase: JobPhase,
    },
    /// What the agent owes changed.
    Phase {
        /// What it was.
        from: JobPhase,
        /// What it is.
        to: JobPhase,
    },
    /// What became of it changed.
    Status {
        /// What it was.
        from: JobStatus,
        /// What happened.
        change: JobChange,
        /// What it is.
        to: JobStatus,
    },
    /// A stage begins, for the first time or again after a restart of the agent.
    Stage {
        /// Which.
        stage: Stage,
        /// How often the job had been taken over by a later agent.
        restarts: u32,
    },
    /// A stage failed, or the job was halted in it.
    StageFailed {
        /// Which.
        stage: Stage,
        /// Why.
        message: String,
    },
    /// A step begins.
    Step {
        /// Its place in the job, from 0.
        number: u32,
        /// The name the forge shows.
        name: String,
    },
    /// A step ended.
    StepEnded {
        /// Its place in the job, from 0.
        number: u32,
        /// The name the forge shows.
        name: String,
        /// How.
        status: StepStatus,
        /// The exit code, where a process ended with one.
        exit_code: Option<i32>,
    },
    /// Somebody asked for a change that a job in this state cannot take. It was not made.
    Refused {
        /// The refusal.
        what: String,
    },
}

/// A line about a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// When, by the machine's clock.
    pub at: jiff::Timestamp,
    /// Milliseconds since the machine was started, its sleep included: a clock that nobody sets.
    pub uptime_ms: Option<u64>,
    /// The machine's boot.
    pub boot_id: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub moved: Moved,
}

/// Adds a line. Beyond the most there may be, none is added.
pub(super) fn add(connection: &Connection, key: &JobKey, at: i64, moved: &Moved) -> rusqlite::Result<()> {
    let text = serde_json::to_string(moved).map_err(|cause| rusqlite::Error::ToSqlConversionFailure(cause.into()))?;
    let uptime = super::uptime_ms().and_then(|ms| i64::try_from(ms).ok());
    let mut statement = connection.prepare_cached(
        "INSERT INTO transitions (key, at, uptime, boot, moved)
         SELECT ?1, ?2, ?3, ?4, ?5 WHERE (SELECT count(*) FROM transitions WHERE key = ?1) < ?6",
    )?;
    statement.execute(params![key.as_str(), at, uptime, super::boot_id_once(), text, MOST]).map(drop)
}

/// The lines about a job in their order. What a newer forgehand wrote and this one does not know is left out; none where an older
/// one wrote the journal.
pub(super) fn of(connection: &Connection, key: &JobKey) -> rusqlite::Result<Vec<Transition>> {
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version < 2 {
        return Ok(Vec::new());
    }
    let mut statement =
        connection.prepare("SELECT at, uptime, boot, moved FROM transitions WHERE key = ?1 ORDER BY number")?;
    let rows = statement.query_map([key.as_str()], |row| {
        let (at, uptime): (i64, Option<i64>) = (row.get(0)?, row.get(1)?);
        let (boot_id, moved): (Option<String>, String) = (row.get(2)?, row.get(3)?);
        Ok((at, uptime, boot_id, moved))
    })?;
    let mut found = Vec::new();
    for row in rows {
        let (at, uptime, boot_id, moved) = row?;
        if let (Ok(at), Ok(moved)) = (jiff::Timestamp::from_millisecond(at), serde_json::from_str(&moved)) {
            let uptime_ms = uptime.and_then(|ms| u64::try_from(ms).ok());
            found.push(Transition { at, uptime_ms, boot_id, moved });
        }
    }
    Ok(found)
}
