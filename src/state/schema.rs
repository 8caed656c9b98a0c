//! The database: its tables, how it is opened, and what is done with one that is damaged.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::journal::JournalError;

/// How long a statement waits for another process (`status`, a backup) that has the database.
const BUSY: Duration = Duration::from_secs(5);

/// Databases up to this size are checked as a whole when they are opened: some milliseconds.
const CHECKED_SIZE: u64 = 8 << 20;

/// One step of the schema after the other. Only ever appended to: `PRAGMA user_version` counts the steps taken.
const MIGRATIONS: [&str; 2] = [
    "
    CREATE TABLE jobs (
        key            TEXT PRIMARY KEY,
        id             TEXT NOT NULL,
        name           TEXT NOT NULL,
        project_path   TEXT NOT NULL,
        registration   TEXT NOT NULL,
        correlation_id TEXT NOT NULL,
        phase          TEXT NOT NULL,
        status         TEXT NOT NULL,
        accepted_at    INTEGER NOT NULL,
        started_at     INTEGER,
        ended_at       INTEGER,
        closed_at      INTEGER,
        facts          TEXT,
        paths          TEXT,
        sandbox        TEXT,
        progress       TEXT,
        acked          INTEGER NOT NULL DEFAULT 0,
        outcome        TEXT,
        log_crc32      INTEGER,
        log_size       INTEGER
    ) STRICT;
    CREATE INDEX open_jobs ON jobs (accepted_at) WHERE phase <> 'acknowledged';
    CREATE INDEX jobs_by_age ON jobs (accepted_at);
    CREATE INDEX jobs_by_id ON jobs (id);
",
    "
    CREATE TABLE transitions (
        number INTEGER PRIMARY KEY,
        key    TEXT NOT NULL,
        at     INTEGER NOT NULL,
        uptime INTEGER,
        boot   TEXT,
        moved  TEXT NOT NULL
    ) STRICT;
    CREATE INDEX transitions_by_job ON transitions (key);
    CREATE TRIGGER forget_transitions AFTER DELETE ON jobs
        BEGIN DELETE FROM transitions WHERE key = OLD.key; END;
",
];

/// A database that is ready, and whether it had to be started anew.
pub(super) struct Opened {
    pub connection: Connection,
    /// Where the damaged one was put.
    pub moved_aside: Option<PathBuf>,
}

/// Opens the database for writing, brings its schema up to date, moves a damaged one aside.
pub(super) fn open(path: &Path, now: jiff::Timestamp) -> Result<Opened, JournalError> {
    match open_sound(path) {
        Ok(connection) => Ok(Opened { connection, moved_aside: None }),
        Err(error) if error.is_damage() => {
            let aside = move_aside(path, now).map_err(|cause| JournalError::from_io(path, cause))?;
            Ok(Opened { connection: open_sound(path)?, moved_aside: Some(aside) })
        }
        Err(error) => Err(error),
    }
}

/// Opens the database for reading beside its agent. `None` when there is none.
pub(super) fn open_to_read(path: &Path) -> Result<Option<Connection>, JournalError> {
    if !path.exists() {
        return Ok(None);
    }
    let tried = (|| {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(BUSY)?;
        Ok(connection)
    })();
    let connection = tried.map_err(|cause| JournalError::from_sqlite(path, cause))?;
    match version(&connection).map_err(|cause| JournalError::from_sqlite(path, cause))? {
        0 => Ok(None),
        version if version > MIGRATIONS.len() as i64 => Err(newer(path)),
        _ => Ok(Some(connection)),
    }
}

fn open_sound(path: &Path) -> Result<Connection, JournalError> {
    let sqlite = |cause| JournalError::from_sqlite(path, cause);
    let mut connection = Connection::open(path).map_err(sqlite)?;
    restrict(path).map_err(|cause| JournalError::from_io(path, cause))?;
    prepare(&connection).map_err(sqlite)?;
    if version(&connection).map_err(sqlite)? > MIGRATIONS.len() as i64 {
        return Err(newer(path));
    }
    migrate(&mut connection).map_err(sqlite)?;
    if fs::metadata(path).map_err(|cause| JournalError::from_io(path, cause))?.len() <= CHECKED_SIZE {
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(sqlite)?;
        if verdict != "ok" {
            return Err(JournalError::Damaged { path: path.to_owned(), what: verdict });
        }
    }
    Ok(connection)
}

fn newer(path: &Path) -> JournalError {
    JournalError::Newer { path: path.to_owned() }
}

/// Nobody else may read it. SQLite gives its side files the mode of the main file.
fn restrict(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

/// NORMAL: a killed process loses nothing, a power cut the last moments. What must survive a power cut is written
/// within `durably`.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "journal_size_limit", 1 << 20)?;
    // In KiB when negative. The agent's memory counts more than the speed of a handful of small rows.
    connection.pragma_update(None, "cache_size", -256)
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let done = usize::try_from(version(&transaction)?).unwrap_or(0);
    for (step, statements) in MIGRATIONS.iter().enumerate().skip(done) {
        transaction.execute_batch(statements)?;
        transaction.pragma_update(None, "user_version", step as i64 + 1)?;
    }
    transaction.commit()
}

/// Renames the database and its side files; they belong together.
fn move_aside(path: &Path, now: jiff::Timestamp) -> io::Result<PathBuf> {
    let suffix = format!(".damaged-{}", now.as_millisecond());
    let renamed = |side: &str| PathBuf::from(format!("{}{side}{suffix}", path.display()));
    for side in ["-wal", "-shm"] {
        let from = PathBuf::from(format!("{}{side}", path.display()));
        match fs::rename(&from, renamed(side)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    let to = renamed("");
    fs::rename(path, &to)?;
    Ok(to)
}

/// Whether SQLite says that the file is no sound database.
pub(super) fn is_damage(cause: &rusqlite::Error) -> bool {
    matches!(cause.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Whether SQLite says that there is no room.
pub(super) fn is_disk_full(cause: &rusqlite::Error) -> bool {
    cause.sqlite_error_code() == Some(ErrorCode::DiskFull)
}
