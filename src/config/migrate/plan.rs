//! What a migration would do, and doing it.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use toml_edit::{DocumentMut, Item, Table, Value};

use crate::config::credentials::{CredentialRecord, Credentials, CredentialsError};
use crate::config::document::ConfigDocument;
use crate::config::edit::ConfigEditor;
use crate::config::error::{ConfigError, Step, display_path};
use crate::config::layers::Overrides;
use crate::config::load::resolve;
use crate::config::locations::Locations;
use crate::config::private_file::{self, Readers};
use crate::pipeline::Secret;

/// Everything found in a foreign configuration.
#[derive(Debug, Default)]
pub struct Migration {
    /// Settings of the agent as a whole, by our key.
    pub agent: Vec<(&'static str, Value)>,
    /// The runners that can be carried over.
    pub registrations: Vec<Migrated>,
    /// The runners that cannot, with the reason.
    pub refused: Vec<Note>,
    /// What could not be carried over of the rest.
    pub notes: Vec<Note>,
    /// Settings that would be safer than what was kept.
    pub safer: Vec<String>,
    /// The machine's id at the forge.
    pub system_id: Option<String>,
}

/// One runner as a registration of ours.
#[derive(Debug)]
pub struct Migrated {
    /// Its name; made unique when it is added.
    pub name: String,
    /// Its table.
    pub table: Table,
    /// Its token; `None`: it must be registered again.
    pub token: Option<MigratedToken>,
    /// The secret of the bucket that its caches are kept in, where the table names one.
    pub cache_secret: Option<Secret>,
}

/// A token as it stood in the foreign file.
#[derive(Clone, Debug)]
pub struct MigratedToken {
    /// The token.
    pub token: Secret,
    /// The runner's id at the forge.
    pub runner_id: Option<u64>,
    /// When it was obtained, where the file says.
    pub obtained_at: Option<Timestamp>,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

/// A key that stays behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The runner it belongs to; `None`: the whole file.
    pub runner: Option<String>,
    /// The foreign key.
    pub key: String,
    /// Why, and what to do where something can be done.
    pub reason: String,
}

/// Whether a migration is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only shown: nothing is written.
    DryRun,
    /// Written.
    Write,
}

/// What became of a migration.
#[derive(Debug, Default)]
pub struct Applied {
    /// `forgehand.toml` as it is now, or would be.
    pub text: String,
    /// The names of the registrations that were added.
    pub added: Vec<String>,
    /// Registrations that an earlier migration had added.
    pub already_there: Vec<String>,
    /// Registrations without a token.
    pub without_token: Vec<String>,
    /// What could not be carried over, besides the migration's own notes.
    pub notes: Vec<Note>,
}

/// Why nothing was migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The foreign file cannot be read.
    #[error("cannot read {}: {reason}", file.display())]
    Source {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// Our file cannot be read or written.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The tokens cannot be kept.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The secret of a cache's bucket cannot be kept.
    #[error("cannot write {}: {source}; check the owner of the state directory and the free space", file.display())]
    Secret {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Migration {
    /// Adds what was found to the configuration at `locations`. What stands there wins and stays; a second migration of
    /// the same file adds nothing. Tokens go into the credentials first: a crash in between leaves a token without a
    /// registration, never a registration without its token.
    pub fn apply(&self, locations: &Locations, mode: Mode, now: Timestamp) -> Result<Applied, MigrationError> {
        let mut editor = match mode {
            Mode::DryRun => ConfigEditor::preview(&locations.config_file)?,
            Mode::Write => ConfigEditor::open(&locations.config_file)?,
        };
        let credentials = Credentials::open(&locations.state_dir)?;
        let mut applied = Applied::default();
        self.set_agent_keys(&mut editor, &mut applied);
        let mut records = Vec::new();
        let mut secrets = Vec::new();
        for found in &self.registrations {
            if is_there(found, &editor, &credentials)? {
                applied.already_there.push(found.name.clone());
                continue;
            }
            let name = free_name(&found.name, &editor.names());
            let mut table = found.table.clone();
            let secret = found.cache_secret.as_ref().map(|secret| (cache_secret_file(locations, &name), secret));
            if let Some((file, _)) = &secret {
                name_secret(&mut table, file);
            }
            let Some(mut table) = without_contradictions(table, &name, &mut applied.notes) else {
                continue;
            };
            secrets.extend(secret);
            table.insert("name", toml_edit::value(&name));
            editor.add(table)?;
            match &found.token {
                Some(token) => records.push((name.clone(), token)),
                None => applied.without_token.push(name.clone()),
            }
            applied.added.push(name);
        }
        if mode == Mode::Write {
            self.keep_tokens(&credentials, records, now)?;
            for (file, secret) in secrets {
                private_file::replace(&file, secret.expose().as_bytes(), Readers::Owner)
                    .map_err(|source| MigrationError::Secret { file, source })?;
            }
            editor.save()?;
        }
        applied.text = editor.text();
        Ok(applied)
    }

    fn set_agent_keys(&self, editor: &mut ConfigEditor, applied: &mut Applied) {
        for (key, value) in &self.agent {
            let theirs = value.to_string();
            if !editor.set_where_absent(key, value.clone()) && editor.top_level(key).as_deref() != Some(theirs.trim()) {
                let ours = editor.top_level(key).unwrap_or_else(|| "another value".to_owned());
                let reason =
                    format!("forgehand.toml says {ours}, which stays; the old file asks for {}", theirs.trim());
                applied.notes.push(Note { runner: None, key: (*key).to_owned(), reason });
            }
        }
    }

    fn keep_tokens(
        &self,
        credentials: &Credentials,
        records: Vec<(String, &MigratedToken)>,
        now: Timestamp,
    ) -> Result<(), MigrationError> {
        if let Some(id) = &self.system_id {
            credentials.adopt_system_id(id)?;
        }
        for (name, found) in records {
            let system_id = match &self.system_id {
                Some(id) => id.clone(),
                None => credentials.system_id()?,
            };
            let record = CredentialRecord {
                token: found.token.clone(),
                runner_id: found.runner_id,
                obtained_at: found.obtained_at.unwrap_or(now),
                expires_at: found.expires_at,
                system_id,
            };
            credentials.put(&name, &record)?;
        }
        Ok(())
    }
}

/// Where the secret of a registration's cache bucket is kept: not in the file that people show each other.
fn cache_secret_file(locations: &Locations, name: &str) -> PathBuf {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
    // Names that look alike afterwards stay apart.
    let hash = hex::encode(&Sha256::digest(name)[..4]);
    let file = format!("{}-{hash}", name.chars().take(64).map(plain).collect::<String>());
    let state_dir = std::path::absolute(&locations.state_dir).unwrap_or_else(|_| locations.state_dir.clone());
    state_dir.join("cache-secrets").join(file)
}

/// Has the table of a registration name the file in which the secret of its caches' bucket is.
fn name_secret(table: &mut Table, file: &Path) {
    let remote = table.get_mut("runner_cache").and_then(|cache| cache.get_mut("remote")).and_then(Item::as_table_mut);
    if let Some(remote) = remote {
        remote.insert("secret_access_key_file", toml_edit::value(file.display().to_string()));
    }
}

/// Whether some registration already has this runner's token (or, without one, its name).
fn is_there(found: &Migrated, editor: &ConfigEditor, credentials: &Credentials) -> Result<bool, CredentialsError> {
    let names = editor.names();
    let Some(token) = &found.token else { return Ok(names.contains(&found.name)) };
    for name in &names {
        if credentials.get(name)?.is_some_and(|record| record.token == token.token) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn free_name(wanted: &str, taken: &[String]) -> String {
    let is_free = |name: &String| !taken.contains(name);
    let numbered = (2..).map(|number| format!("{wanted}-{number}"));
    std::iter::once(wanted.to_owned()).chain(numbered).find(is_free).unwrap_or_else(|| wanted.to_owned())
}

/// The table without the keys that loading would refuse: what the other runner let pass (and its engine then refused in
/// each job) must not keep our agent from starting. `None`: what is wrong is what a registration cannot be without.
fn without_contradictions(table: Table, name: &str, notes: &mut Vec<Note>) -> Option<Table> {
    let mut table = table;
    // Each turn removes at least one key, so that it ends.
    loop {
        let mut document = DocumentMut::new();
        let mut tables = toml_edit::ArrayOfTables::new();
        tables.push(table.clone());
        document.insert("registration", Item::ArrayOfTables(tables));
        let problems = match ConfigDocument::parse("migrated".as_ref(), document.to_string())
            .and_then(|document| resolve(&document, std::iter::empty(), &Overrides::none()))
        {
            Ok(_) | Err(ConfigError::Unreadable { .. } | ConfigError::Unwritable { .. }) => return Some(table),
            Err(ConfigError::Invalid(problems)) => problems,
        };
        // From the end: indices of lists stay right.
        let mut removed = false;
        for problem in problems.iter().rev() {
            let [_, Step::Index(0), path @ ..] = &problem.path[..] else { continue };
            let is_needed =
                matches!(path, [] | [Step::Key(_)]) && matches!(display_path(path).as_str(), "" | "name" | "url");
            removed |= !is_needed && remove_at(&mut table, path);
            let reason = if is_needed {
                format!("{}; the whole runner stays behind", problem.message)
            } else {
                problem.message.clone()
            };
            notes.push(Note { runner: Some(name.to_owned()), key: display_path(path), reason });
            if is_needed {
                return None;
            }
        }
        if !removed {
            return None;
        }
    }
}

/// Removes the value at a path; whether there was one.
fn remove_at(table: &mut Table, path: &[Step]) -> bool {
    match path {
        [Step::Key(key)] => table.remove(key).is_some(),
        [Step::Key(key), rest @ ..] => match table.get_mut(key) {
            Some(Item::Table(inner)) => remove_at(inner, rest),
            Some(Item::Value(Value::Array(list))) => match rest {
                [Step::Index(index)] if *index < list.len() => {
                    list.remove(*index);
                    true
                }
                _ => table.remove(key).is_some(),
            },
            Some(Item::None | Item::Value(_) | Item::ArrayOfTables(_)) => table.remove(key).is_some(),
            None => false,
        },
        [] | [Step::Index(_), ..] => false,
    }
}
