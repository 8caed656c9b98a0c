//! The index: what can be listed and found without reading every record, and when things were used last. A cache: it is made again
//! from the records where it is lost or damaged, and nothing is removed on its word alone.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params};

mod place;

use place::Identity;
pub(super) use place::InUse;

use super::error::StoreError;
use super::id::ObjectId;
use super::record::{ArtifactInfo, Record, RecordKey};
use super::verify::Verification;

/// How long a statement waits for another process.
const BUSY: Duration = Duration::from_secs(30);

/// Between two tries to open it.
const STEP: Duration = Duration::from_millis(10);

/// What the tables look like. Another number: they are made anew.
const VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE kept (
        owner         TEXT NOT NULL,
        key           TEXT NOT NULL,
        name          TEXT,
        tree          TEXT NOT NULL,
        created_at    INTEGER NOT NULL,
        last_accessed INTEGER NOT NULL,
        record        TEXT NOT NULL,
        PRIMARY KEY (owner, key)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX kept_by_name ON kept (owner, name);
    CREATE INDEX kept_by_tree ON kept (tree);
    CREATE TABLE held (
        owner  TEXT NOT NULL,
        key    TEXT NOT NULL,
        tree   TEXT NOT NULL,
        record TEXT NOT NULL,
        PRIMARY KEY (owner, key, tree)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX held_by_tree ON held (owner, tree);
    CREATE TABLE consumers (
        owner TEXT NOT NULL,
        tree  TEXT NOT NULL,
        job   TEXT NOT NULL,
        at    INTEGER NOT NULL,
        PRIMARY KEY (owner, tree, job)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE verifications (
        owner  TEXT NOT NULL,
        tree   TEXT NOT NULL,
        result TEXT NOT NULL,
        PRIMARY KEY (owner, tree)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE verdicts (
        owner TEXT NOT NULL,
        key   TEXT NOT NULL,
        code  TEXT NOT NULL,
        PRIMARY KEY (owner, key)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE usage (owner TEXT PRIMARY KEY, bytes INTEGER NOT NULL) STRICT;
    CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
";

/// Something that is kept, as the index has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What the record says.
    pub info: ArtifactInfo,
    /// When it was kept, restored or found to be kept already.
    pub last_accessed: jiff::Timestamp,
    /// Jobs that hold it, and pins.
    pub references: u32,
    /// Jobs that restored it.
    pub consumers: Vec<String>,
}

/// The index of a store.
pub(super) struct Index {
    // Goes first, then `closing`.
    db: Connection,
    /// The lock, while the database is closed.
    closing: Option<place::Claim>,
    path: PathBuf,
    /// Its lock says who is at it.
    lock: Option<Arc<File>>,
    /// Which file it is.
    identity: Option<Identity>,
    is_damaged: Cell<bool>,
    is_in_memory: bool,
    is_other: Cell<bool>,
}

impl Index {
    /// Whether something in it was found to be damaged.
    pub(super) fn is_damaged(&self) -> bool {
        self.is_damaged.get()
    }

    /// Reads all of it. What does not fit together shows in [`Index::is_damaged`].
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let answer: rusqlite::Result<String> = self.db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0));
        if answer.map_err(|e| self.fail(e))? != "ok" {
            self.note_damage();
        }
        Ok(())
    }

    fn prepare(&mut self) -> rusqlite::Result<bool> {
        self.db.busy_timeout(BUSY)?;
        self.db.pragma_update(None, "journal_mode", "WAL")?;
        // A commit that a loss of power takes back is found out at the next start: see `Store::open`.
        self.db.pragma_update(None, "synchronous", "NORMAL")?;
        let version: i64 = self.db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version == VERSION {
            return Ok(false);
        }
        let work = self.db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let version: i64 = work.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version == VERSION {
            return Ok(false);
        }
        let names: Vec<String> = {
            let mut query = work.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
            query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?
        };
        for name in names {
            work.execute_batch(&format!("DROP TABLE \"{}\"", name.replace('"', "\"\"")))?;
        }
        work.execute_batch(SCHEMA)?;
        work.pragma_update(None, "user_version", VERSION)?;
        work.commit()?;
        Ok(true)
    }

    fn fail(&self, source: rusqlite::Error) -> StoreError {
        if is_damage(&source) {
            self.note_damage();
        }
        StoreError::Index { path: self.path.clone(), source }
    }

    /// Takes a record in; one of the same key gives way. A new one counts as used now.
    pub(super) fn add(&self, record: &Record, now: jiff::Timestamp) -> Result<(), StoreError> {
        self.try_add(record, now).map_err(|e| self.fail(e))
    }

    fn try_add(&self, record: &Record, now: jiff::Timestamp) -> rusqlite::Result<()> {
        let (owner, key) = (record.owner().slug(), record.key().to_string());
        let text = serde_json::to_string(record).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
        if let Record::Kept(info) = record {
            self.db.prepare_cached(
                "INSERT INTO kept (owner, key, name, tree, created_at, last_accessed, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT DO UPDATE SET name = excluded.name, tree = excluded.tree, created_at = excluded.created_at, record = excluded.record,
                     last_accessed = max(last_accessed, excluded.last_accessed)",
            )?
            .execute(params![
                owner,
                key,
                info.what.text(),
                info.content_hash.to_string(),
                info.named_at().as_millisecond(),
                now.as_millisecond(),
                text
            ])?;
            return Ok(());
        }
        self.db.execute("DELETE FROM held WHERE owner = ?1 AND key = ?2", params![owner, key])?;
        for tree in record.trees() {
            self.db
                .prepare_cached("INSERT OR REPLACE INTO held (owner, key, tree, record) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![owner, key, tree.to_string(), text])?;
        }
        Ok(())
    }

    /// Whether it has something that is kept just as the record says. Of other records it is not known.
    pub(super) fn says(&self, record: &Record) -> Result<bool, StoreError> {
        let Record::Kept(info) = record else { return Ok(false) };
        let text =
            serde_json::to_string(record).map_err(|e| self.fail(rusqlite::Error::ToSqlConversionFailure(e.into())))?;
        let found = (|| {
            self.db
                .prepare_cached(
                    "SELECT 1 FROM kept WHERE owner = ?1 AND key = ?2 AND name IS ?3 AND tree = ?4 AND created_at = ?5 AND record = ?6",
                )?
                .exists(params![
                    record.owner().slug(),
                    record.key().to_string(),
                    info.what.text(),
                    info.content_hash.to_string(),
                    info.named_at().as_millisecond(),
                    text
                ])
        })();
        found.map_err(|e| self.fail(e))
    }

    /// Forgets a record.
    pub(super) fn remove(&self, owner: &str, key: &RecordKey) -> Result<(), StoreError> {
        self.remove_row(owner, &key.to_string())
    }

    /// Forgets what the index has under a key, whatever that is.
    pub(super) fn remove_row(&self, owner: &str, key: &str) -> Result<(), StoreError> {
        let removed = (|| {
            self.db.execute("DELETE FROM kept WHERE owner = ?1 AND key = ?2", params![owner, key])?;
            self.db.execute("DELETE FROM verdicts WHERE owner = ?1 AND key = ?2", params![owner, key])?;
            self.db.execute("DELETE FROM held WHERE owner = ?1 AND key = ?2", params![owner, key])
        })();
        removed.map(drop).map_err(|e| self.fail(e))
    }

    /// Notes that something was used.
    pub(super) fn touch(&self, owner: &str, key: &RecordKey, now: jiff::Timestamp) -> Result<(), StoreError> {
        self.db
            .execute(
                "UPDATE kept SET last_accessed = max(last_accessed, ?3) WHERE owner = ?1 AND key = ?2",
                params![owner, key.to_string(), now.as_millisecond()],
            )
            .map(drop)
            .map_err(|e| self.fail(e))
    }

    /// Has something have been used at this time, whatever was noted before.
    pub(super) fn set_back(&self, owner: &str, key: &RecordKey, at: jiff::Timestamp) -> Result<(), StoreError> {
        self.db
            .execute(
                "UPDATE kept SET last_accessed = min(last_accessed, ?3) WHERE owner = ?1 AND key = ?2",
                params![owner, key.to_string(), at.as_millisecond()],
            )
            .map(drop)
            .map_err(|e| self.fail(e))
    }

    /// Notes which job restored a tree.
    pub(super) fn consumed(
        &self,
        owner: &str,
        tree: &ObjectId,
        job: &str,
        at: jiff::Timestamp,
    ) -> Result<(), StoreError> {
        self.db
            .execute(
                "INSERT INTO consumers (owner, tree, job, at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET at = max(at, excluded.at)",
                params![owner, tree.to_string(), job, at.as_millisecond()],
            )
            .map(drop)
            .map_err(|e| self.fail(e))
    }

    /// Whether it is known that a job restored a tree.
    pub(super) fn has_consumed(&self, owner: &str, tree: &ObjectId, job: &str) -> Result<bool, StoreError> {
        self.db
            .prepare_cached("SELECT 1 FROM consumers WHERE owner = ?1 AND tree = ?2 AND job = ?3")
            .and_then(|mut query| query.exists(params![owner, tree.to_string(), job]))
            .map_err(|e| self.fail(e))
    }

    /// Forgets which jobs restored a tree.
    pub(super) fn forget_consumers(&self, owner: &str, tree: &ObjectId) -> Result<(), StoreError> {
        let tree = tree.to_string();
        let forgotten = self.db.execute("DELETE FROM consumers WHERE owner = ?1 AND tree = ?2", [owner, &tree]);
        forgotten.map(drop).map_err(|e| self.fail(e))
    }

    /// Everything that is kept: of one owner, or of all.
    pub(super) fn list(&self, owner: Option<&str>) -> Result<Vec<Listed>, StoreError> {
        self.query("WHERE ?1 IS NULL OR owner = ?1 ORDER BY created_at DESC, key", params![owner])
    }

    /// What an owner keeps under a name, the newest first.
    pub(super) fn named(&self, owner: &str, name: &str) -> Result<Vec<Listed>, StoreError> {
        self.query("WHERE owner = ?1 AND name = ?2 ORDER BY created_at DESC, key", params![owner, name])
    }

    /// What an owner keeps whose name begins like this, the newest first.
    pub(super) fn named_like(&self, owner: &str, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        // Nothing that is no text comes before a text: so there is no end where no text comes behind all that begin so.
        let condition = "WHERE owner = ?1 AND name >= ?2 AND name < coalesce(?3, x'') ORDER BY created_at DESC, key";
        self.query(condition, params![owner, prefix, behind(prefix)])
    }

    /// What an owner keeps whose tree's id begins like this, the newest first.
    pub(super) fn with_tree(&self, owner: &str, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        // Digits only: nothing that LIKE reads otherwise.
        self.query("WHERE owner = ?1 AND tree LIKE ?2 || '%' ORDER BY created_at DESC, key", params![owner, prefix])
    }

    fn query(&self, condition: &str, params: impl rusqlite::Params) -> Result<Vec<Listed>, StoreError> {
        self.try_query(condition, params).map_err(|e| self.fail(e))
    }

    fn try_query(&self, condition: &str, params: impl rusqlite::Params) -> rusqlite::Result<Vec<Listed>> {
        let mut query = self.db.prepare_cached(&format!(
            "SELECT record, last_accessed,
                 (SELECT count(*) FROM held WHERE held.owner = kept.owner AND held.tree = kept.tree),
                 (SELECT group_concat(job, ' ') FROM consumers
                     WHERE consumers.owner = kept.owner AND consumers.tree = kept.tree)
             FROM kept {condition}"
        ))?;
        let rows = query.query_map(params, |row| {
            let (text, used, references): (String, i64, u32) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let consumers: Option<String> = row.get(3)?;
            Ok((text, used, references, consumers))
        })?;
        let mut found = Vec::new();
        for row in rows {
            let (text, used, references, consumers) = row?;
            // What cannot be read is damaged; the record itself says what it should be.
            let Ok(Record::Kept(info)) = serde_json::from_str(&text) else { continue };
            let last_accessed = jiff::Timestamp::from_millisecond(used).unwrap_or(info.created_at);
            let consumers = consumers.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
            found.push(Listed { info, last_accessed, references, consumers });
        }
        Ok(found)
    }

    /// Notes what was decided on an entry. True: it is something else than before.
    pub(super) fn set_verdict(&self, owner: &str, key: &str, code: &str) -> Result<bool, StoreError> {
        self.db
            .prepare_cached(
                "INSERT INTO verdicts (owner, key, code) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET code = excluded.code WHERE code <> excluded.code",
            )
            .and_then(|mut insert| insert.execute([owner, key, code]))
            .map(|changed| changed > 0)
            .map_err(|e| self.fail(e))
    }

    /// The texts of the records that the index has, by owner and key.
    pub(super) fn records(&self) -> Result<BTreeMap<(String, String), String>, StoreError> {
        let all: rusqlite::Result<_> = (|| {
            let mut query =
                self.db.prepare("SELECT owner, key, record FROM kept UNION SELECT owner, key, record FROM held")?;
            query.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?.collect()
        })();
        all.map_err(|e| self.fail(e))
    }

    /// How many bytes the packs of an owner have; all owners, where none is named.
    pub(super) fn usage(&self, owner: Option<&str>) -> Result<u64, StoreError> {
        self.db
            .query_row("SELECT coalesce(sum(bytes), 0) FROM usage WHERE ?1 IS NULL OR owner = ?1", [owner], |row| {
                row.get::<_, i64>(0)
            })
            .map(|bytes| bytes.try_into().unwrap_or(0))
            .map_err(|e| self.fail(e))
    }

    /// Notes how many bytes the packs of an owner have.
    pub(super) fn set_usage(&self, owner: &str, bytes: u64) -> Result<(), StoreError> {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.db
            .execute("INSERT OR REPLACE INTO usage (owner, bytes) VALUES (?1, ?2)", params![owner, bytes])
            .map(drop)
            .map_err(|e| self.fail(e))
    }

    /// A number that is remembered.
    pub(super) fn fact(&self, name: &str) -> Result<Option<i64>, StoreError> {
        self.db
            .query_row("SELECT value FROM facts WHERE name = ?1", [name], |row| row.get(0))
            .optional()
            .map_err(|e| self.fail(e))
    }

    /// Remembers a number.
    pub(super) fn set_fact(&self, name: &str, value: i64) -> Result<(), StoreError> {
        self.db
            .execute("INSERT OR REPLACE INTO facts (name, value) VALUES (?1, ?2)", params![name, value])
            .map(drop)
            .map_err(|e| self.fail(e))
    }

    /// What was found out about a tree.
    pub(super) fn verification(&self, owner: &str, tree: &ObjectId) -> Result<Option<Verification>, StoreError> {
        let text: Option<String> = self
            .db
            .query_row(
                "SELECT result FROM verifications WHERE owner = ?1 AND tree = ?2",
                params![owner, tree.to_string()],
                |row| row.get(0),
            )
            .optional()
            .map_err(|e| self.fail(e))?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// What was found out about all trees, by owner and tree.
    pub(super) fn verifications(&self) -> Result<HashMap<(String, ObjectId), Verification>, StoreError> {
        let all: rusqlite::Result<Vec<(String, String)>> = (|| {
            let mut query = self.db.prepare_cached("SELECT owner, result FROM verifications")?;
            query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })();
        let known = all.map_err(|e| self.fail(e))?.into_iter().filter_map(|(owner, text)| {
            let verification: Verification = serde_json::from_str(&text).ok()?;
            Some(((owner, verification.expected), verification))
        });
        Ok(known.collect())
    }

    /// Forgets that a tree was found to be damaged: nobody has looked since it may have been mended.
    pub(super) fn forget_damage(&self, owner: &str, tree: &ObjectId) -> Result<(), StoreError> {
        if self.verification(owner, tree)?.is_some_and(|known| known.result.is_damage()) {
            let forgotten = self
                .db
                .execute("DELETE FROM verifications WHERE owner = ?1 AND tree = ?2", params![owner, tree.to_string()]);
            forgotten.map_err(|e| self.fail(e))?;
        }
        Ok(())
    }

    /// Forgets what is only known of trees that nobody keeps any more.
    pub(super) fn forget_what_is_gone(&self) -> Result<(), StoreError> {
        ["verifications", "consumers"].into_iter().try_for_each(|table| {
            let is_kept = format!("SELECT 1 FROM kept WHERE kept.tree = {table}.tree AND kept.owner = {table}.owner");
            let forgotten = self.db.execute(&format!("DELETE FROM {table} WHERE NOT EXISTS ({is_kept})"), []);
            forgotten.map(drop).map_err(|e| self.fail(e))
        })
    }

    /// Notes what was found out about a tree.
    pub(super) fn set_verification(&self, owner: &str, verification: &Verification) -> Result<(), StoreError> {
        let text = serde_json::to_string(verification)
            .map_err(|e| self.fail(rusqlite::Error::ToSqlConversionFailure(e.into())))?;
        self.db
            .execute(
                "INSERT OR REPLACE INTO verifications (owner, tree, result) VALUES (?1, ?2, ?3)",
                params![owner, verification.expected.to_string(), text],
            )
            .map(drop)
            .map_err(|e| self.fail(e))
    }

    /// Does several things at once: all of them are seen by others, or none.
    pub(super) fn at_once<T>(&self, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.db.execute_batch("BEGIN IMMEDIATE").map_err(|e| self.fail(e))?;
        let result = work();
        let end = if result.is_ok() { "COMMIT" } else { "ROLLBACK" };
        self.db.execute_batch(end).map_err(|e| self.fail(e))?;
        result
    }
}

/// The first text behind all that begin with `prefix`, as SQLite orders them.
fn behind(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

/// Whether another process is at it.
fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Whether the disk has no room for what SQLite needs to open a database.
fn is_out_of_room(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure))
}

/// Whether the file is no database any more, or not ours: no statement of ours can be wrong otherwise.
fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    let is_other = matches!(
        error,
        FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..)
    );
    // `Unknown` is SQLITE_ERROR: a table or column is not there.
    let code = error.sqlite_error_code();
    is_other || matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown))
}
