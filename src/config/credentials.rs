//! The registrations' tokens: `credentials.json` in the state directory, readable by its owner only.
//!
//! Tokens never stand in `forgehand.toml`, which people show each other. Every change is one replacement of the whole
//! file under a lock, so that several processes (`register` beside a running agent that renews a token) lose nothing.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::private_file::{self, Lock, Readers};
use crate::pipeline::Secret;

/// Far beyond thousands of registrations.
const MAX_SIZE: u64 = 16 << 20;

/// What one registration needs to speak to its forge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialRecord {
    /// The token.
    pub token: Secret,
    /// The runner's id at the forge, where it told one.
    pub runner_id: Option<u64>,
    /// When the token was obtained.
    pub obtained_at: Timestamp,
    /// When it stops working; `None`: never.
    pub expires_at: Option<Timestamp>,
    /// What tells this machine from others with the same token (protocols/gitlab.md 1.5).
    pub system_id: String,
}

/// Why tokens cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Reading or writing failed.
    #[error("cannot {action} {}: {source}; check the owner of the state directory and the free space", file.display())]
    Io {
        /// `read`, `write` or `lock`.
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others could have read the tokens.
    #[error(
        "{} has mode {mode:04o}, so that others can read the tokens in it; run `chmod 600 {}`, and renew the tokens if \
         others use this machine", file.display(), file.display()
    )]
    Exposed {
        /// The file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is somebody else's, who could change it under our hands.
    #[error("{} belongs to user {owner}, not to user {me} who runs this; run as that user, or `chown {me} {}`", file.display(), file.display())]
    ForeignOwner {
        /// The file.
        file: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who we are.
        me: u32,
    },
    /// It is there, but is not what we write.
    #[error("{} is not a credentials file of this version ({reason}); restore it from a backup, or move it away and register again", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where it breaks; no content.
        reason: String,
    },
}

/// The credentials file of one state directory. Cheap; holds nothing open and nothing in memory.
#[derive(Clone, Debug)]
pub struct Credentials {
    file: PathBuf,
}

impl Credentials {
    /// The credentials of a state directory, checked to be readable where they exist. Makes nothing.
    pub fn open(state_dir: &Path) -> Result<Self, CredentialsError> {
        let credentials = Self { file: state_dir.join("credentials.json") };
        credentials.read()?;
        Ok(credentials)
    }

    /// The file.
    #[cfg(test)]
    fn file(&self) -> &Path {
        &self.file
    }

    /// The record of a registration, as it is on disk now.
    pub fn get(&self, registration: &str) -> Result<Option<CredentialRecord>, CredentialsError> {
        Ok(self.read()?.registrations.remove(registration).map(CredentialRecord::from))
    }

    /// The names that have a record, sorted.
    pub fn names(&self) -> Result<Vec<String>, CredentialsError> {
        Ok(self.read()?.registrations.into_keys().collect())
    }

    /// Keeps a record, in place of an earlier one of that name. On disk when it returns.
    pub fn put(&self, registration: &str, record: &CredentialRecord) -> Result<(), CredentialsError> {
        self.change(|stored| {
            stored.registrations.insert(registration.to_owned(), StoredRecord::from(record));
        })
    }

    /// Forgets a record; whether there was one.
    pub fn remove(&self, registration: &str) -> Result<bool, CredentialsError> {
        let mut existed = false;
        self.change(|stored| existed = stored.registrations.remove(registration).is_some())?;
        Ok(existed)
    }

    /// This agent's own system id. Made at the first question and then kept, so that it stays even where the machine id
    /// changes (an image that is cloned).
    pub fn system_id(&self) -> Result<String, CredentialsError> {
        if let Some(known) = self.read()?.system_id {
            return Ok(known);
        }
        let mut id = super::system_id::of_this_machine();
        self.change(|stored| id = stored.system_id.get_or_insert_with(|| id.clone()).clone())?;
        Ok(id)
    }

    /// Sets the system id when none is known yet; whether it was set. For migration: the forge then sees the same
    /// machine as before.
    pub fn adopt_system_id(&self, id: &str) -> Result<bool, CredentialsError> {
        let mut adopted = false;
        self.change(|stored| {
            adopted = stored.system_id.is_none();
            stored.system_id.get_or_insert_with(|| id.to_owned());
        })?;
        Ok(adopted)
    }

    fn change(&self, change: impl FnOnce(&mut Stored)) -> Result<(), CredentialsError> {
        // A file of its own: the folder may be the configuration's too, whose lock our caller may hold.
        let lock_file = self.file.with_extension("lock");
        let lock = Lock::on_file(&lock_file);
        let _lock = lock.map_err(|source| CredentialsError::Io { action: "lock", file: lock_file, source })?;
        let mut stored = self.read()?;
        change(&mut stored);
        let unwritable = |source| CredentialsError::Io { action: "write", file: self.file.clone(), source };
        let mut text = serde_json::to_vec_pretty(&stored).map_err(|error| unwritable(error.into()))?;
        text.push(b'\n');
        private_file::replace(&self.file, &text, Readers::Owner).map_err(unwritable)
    }

    fn read(&self) -> Result<Stored, CredentialsError> {
        let unreadable = |source| CredentialsError::Io { action: "read", file: self.file.clone(), source };
        let no_follow = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits() as i32;
        let open = match OpenOptions::new().read(true).custom_flags(no_follow).open(&self.file) {
            Ok(open) => open,
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Stored::default()),
            Err(cause) => return Err(unreadable(cause)),
        };
        // Of the open file, not of its name: what is checked is what is read.
        let meta = open.metadata().map_err(unreadable)?;
        if !meta.is_file() {
            return Err(self.damaged("not a regular file"));
        }
        let me = rustix::process::geteuid().as_raw();
        if meta.uid() != me {
            return Err(CredentialsError::ForeignOwner { file: self.file.clone(), owner: meta.uid(), me });
        }
        if meta.mode() & 0o077 != 0 {
            return Err(CredentialsError::Exposed { file: self.file.clone(), mode: meta.mode() & 0o7777 });
        }
        let mut bytes = Vec::new();
        open.take(MAX_SIZE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_SIZE {
            return Err(self.damaged("too large"));
        }
        // Only the place: the message of the parser may quote a value.
        let stored: Stored = serde_json::from_slice(&bytes).map_err(|error| {
            self.damaged(&format!("unexpected content at line {}, column {}", error.line(), error.column()))
        })?;
        if stored.version == FORMAT { Ok(stored) } else { Err(self.damaged(&format!("format {}", stored.version))) }
    }

    fn damaged(&self, reason: &str) -> CredentialsError {
        CredentialsError::Damaged { file: self.file.clone(), reason: reason.to_owned() }
    }
}

/// The version of the file's form.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    system_id: Option<String>,
    #[serde(default)]
    registrations: BTreeMap<String, StoredRecord>,
}

impl Default for Stored {
    fn default() -> Self {
        Self { version: FORMAT, system_id: None, registrations: BTreeMap::new() }
    }
}

#[derive(Serialize, Deserialize)]
struct StoredRecord {
    token: String,
    #[serde(default)]
    runner_id: Option<u64>,
    obtained_at: Timestamp,
    #[serde(default)]
    expires_at: Option<Timestamp>,
    system_id: String,
}

impl From<&CredentialRecord> for StoredRecord {
    fn from(record: &CredentialRecord) -> Self {
        Self {
            token: record.token.expose().to_owned(),
            runner_id: record.runner_id,
            obtained_at: record.obtained_at,
            expires_at: record.expires_at,
            system_id: record.system_id.clone(),
        }
    }
}

impl From<StoredRecord> for CredentialRecord {
    fn from(stored: StoredRecord) -> Self {
        Self {
            token: Secret::new(stored.token),
            runner_id: stored.runner_id,
            obtained_at: stored.obtained_at,
            expires_at: stored.expires_at,
            system_id: stored.system_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn record(token: &str) -> CredentialRecord {
        CredentialRecord {
            token: Secret::new(token),
            runner_id: Some(7),
            obtained_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
            system_id: "s_0123456789ab".to_owned(),
        }
    }

    #[test]
    fn what_is_kept_is_read_back_and_only_its_owner_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("a/b");
        let credentials = Credentials::open(&state).unwrap();
        assert_eq!(credentials.get("x").unwrap(), None);
        credentials.put("x", &record("glrt-1")).unwrap();
        credentials.put("x", &record("glrt-2")).unwrap();
        assert_eq!(Credentials::open(&state).unwrap().get("x").unwrap(), Some(record("glrt-2")));
        let mode = std::fs::metadata(credentials.file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(credentials.remove("x").unwrap() && !credentials.remove("x").unwrap());
        let left = std::fs::read_dir(&state).unwrap().count();
        assert_eq!(left, 2, "the file and its lock, nothing else");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let credentials = Credentials::open(dir.path()).unwrap();
        credentials.put("x", &record("t")).unwrap();
        for mode in [0o640, 0o604, 0o620] {
            std::fs::set_permissions(credentials.file(), std::fs::Permissions::from_mode(mode)).unwrap();
            let error = Credentials::open(dir.path()).unwrap_err().to_string();
            assert!(error.contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_that_shows_none_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("credentials.json");
        for text in ["", "{\"version\":1,\"registrations\":{\"x\":\"glrt-hidden\"}}", "{\"version\":99}", "\0"] {
            private_file::replace(&file, text.as_bytes(), Readers::Owner).unwrap();
            let error = Credentials::open(dir.path()).unwrap_err();
            assert!(matches!(error, CredentialsError::Damaged { .. }), "{error}");
            assert!(!error.to_string().contains("glrt-hidden"), "{error}");
        }
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
        assert!(Credentials::open(dir.path()).is_err());
    }

    #[test]
    fn writers_at_the_same_time_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let credentials = Credentials::open(dir.path()).unwrap();
                scope.spawn(move || {
                    for number in 0..10 {
                        credentials.put(&format!("{writer}-{number}"), &record("t")).unwrap();
                    }
                });
            }
        });
        assert_eq!(Credentials::open(dir.path()).unwrap().names().unwrap().len(), 40);
    }

    #[test]
    fn the_system_id_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let credentials = Credentials::open(dir.path()).unwrap();
        let id = credentials.system_id().unwrap();
        assert!(super::super::system_id::is_valid(&id), "{id}");
        assert_eq!(credentials.system_id().unwrap(), id);
        assert!(!credentials.adopt_system_id("r_abcdefghijkl").unwrap());
        assert_eq!(credentials.system_id().unwrap(), id);
    }
}
