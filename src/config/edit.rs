//! Changes `forgehand.toml` as a careful person would: what is not meant stays as it is, comments and order included.

use std::path::{Path, PathBuf};

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, Value};

use super::document::ConfigDocument;
use super::error::{ConfigError, Place, Problem};
use super::layers::Overrides;
use super::load;
use super::private_file::{self, Lock, Readers};

/// The file, opened to be changed. Others who open it likewise wait until this is dropped. Nothing is written before
/// [`ConfigEditor::save`].
#[derive(Debug)]
pub struct ConfigEditor {
    file: PathBuf,
    document: DocumentMut,
    _lock: Option<Lock>,
}

impl ConfigEditor {
    /// Opens a file to change it; one that does not exist begins empty, and its folder is made.
    pub fn open(file: &Path) -> Result<Self, ConfigError> {
        let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let lock = Lock::on_folder(folder);
        let lock = lock.map_err(|source| ConfigError::Unwritable { file: file.to_owned(), source })?;
        Ok(Self { _lock: Some(lock), ..Self::preview(file)? })
    }

    /// Opens a file to see what a change would make of it: nothing is locked or made.
    pub fn preview(file: &Path) -> Result<Self, ConfigError> {
        let read = ConfigDocument::read(file)?;
        let parsed = read.text().parse::<DocumentMut>();
        let document = parsed.map_err(|error| invalid(file, format!("not valid TOML: {}", error.message())))?;
        let mut editor = Self { file: file.to_owned(), document, _lock: None };
        editor.tables()?;
        Ok(editor)
    }

    /// The names of the registrations, in order.
    pub fn names(&self) -> Vec<String> {
        let tables = self.document.get("registration").and_then(Item::as_array_of_tables);
        let names = tables.into_iter().flatten().filter_map(|table| table.get("name")?.as_str());
        names.map(str::to_owned).collect()
    }

    /// Adds a registration at the end. Its name must be new: one that exists is an error.
    pub fn add(&mut self, table: Table) -> Result<(), ConfigError> {
        let name = table.get("name").and_then(Item::as_str).unwrap_or_default();
        if self.names().iter().any(|known| known == name) {
            let message = format!("there is already a registration `{name}`; choose another with --name");
            return Err(invalid(&self.file, message));
        }
        let has_content = !self.document.as_table().is_empty();
        let mut table = table;
        forget_places(&mut table);
        if has_content && table.decor().prefix().is_none() {
            table.decor_mut().set_prefix("\n");
        }
        self.tables()?.push(table);
        Ok(())
    }

    /// Removes the registration of this name, with the comment above it; whether there was one.
    pub fn remove(&mut self, name: &str) -> Result<bool, ConfigError> {
        let tables = self.tables()?;
        let before = tables.len();
        tables.retain(|table| table.get("name").and_then(Item::as_str) != Some(name));
        let removed = tables.len() < before;
        if tables.is_empty() {
            self.document.remove("registration");
        }
        Ok(removed)
    }

    /// What the top level says about a key (`concurrent`, `log.level`), as it stands there.
    pub fn top_level(&self, key: &str) -> Option<String> {
        let mut item = self.document.as_item();
        for part in key.split('.') {
            item = item.get(part)?;
        }
        item.as_value().map(|value| value.clone().decorated("", "").to_string())
    }

    /// Sets a key of the top level (`concurrent`, `log.level`) where the operator has said nothing; whether it was set.
    pub fn set_where_absent(&mut self, key: &str, value: Value) -> bool {
        let mut table = self.document.as_table_mut();
        let mut parts = key.split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                let is_absent = !table.contains_key(part);
                if is_absent {
                    table.insert(part, Item::Value(value));
                }
                return is_absent;
            }
            match table.entry(part).or_insert_with(toml_edit::table) {
                Item::Table(inner) => table = inner,
                Item::None | Item::Value(_) | Item::ArrayOfTables(_) => return false,
            }
        }
        false
    }

    /// The text as it would be written.
    pub fn text(&self) -> String {
        self.document.to_string()
    }

    /// Whether the file could be loaded as it would be written, in this process's environment.
    pub fn check(&self) -> Result<(), ConfigError> {
        let document = ConfigDocument::parse(&self.file, self.text())?;
        load::resolve(&document, std::env::vars_os(), &Overrides::none()).map(drop)
    }

    /// Replaces the file, whole or not at all. What would not be readable again is not written.
    pub fn save(&self) -> Result<(), ConfigError> {
        let text = self.text();
        ConfigDocument::parse(&self.file, text.clone())?;
        private_file::replace(&self.file, text.as_bytes(), Readers::AsBefore)
            .map_err(|source| ConfigError::Unwritable { file: self.file.clone(), source })
    }

    /// The registrations' tables. An inline list is turned into them, the only notation that holds comments.
    fn tables(&mut self) -> Result<&mut ArrayOfTables, ConfigError> {
        let file = &self.file;
        let item = self.document.entry("registration").or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
        if !item.is_array_of_tables() {
            let taken = std::mem::take(item);
            *item = match taken.into_array_of_tables() {
                Ok(tables) => Item::ArrayOfTables(tables),
                Err(_) => return Err(invalid(file, "write `[[registration]]`, with two brackets".to_owned())),
            };
        }
        item.as_array_of_tables_mut().ok_or_else(|| invalid(file, "`registration` is no list of tables".to_owned()))
    }
}

/// A table that was read somewhere has its place there, and would go to the same place here.
fn forget_places(table: &mut Table) {
    table.set_position(None);
    for (_, item) in table.iter_mut() {
        match item {
            Item::Table(inner) => forget_places(inner),
            Item::ArrayOfTables(tables) => tables.iter_mut().for_each(forget_places),
            Item::None | Item::Value(_) => {}
        }
    }
}

fn invalid(file: &Path, message: String) -> ConfigError {
    let place = Place::File { file: file.to_owned(), line: None };
    ConfigError::Invalid(vec![Problem { place, path: vec!["registration".into()], message, help: None }])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::load;

    fn table(name: &str) -> Table {
        let mut table = Table::new();
        table["name"] = toml_edit::value(name);
        table["url"] = toml_edit::value("https://gitlab.example.com/");
        let mut docker = Table::new();
        docker["image"] = toml_edit::value("debian:13");
        table["docker"] = Item::Table(docker);
        table
    }

    #[test]
    fn what_the_operator_wrote_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("forgehand.toml");
        let written = "# ours\nconcurrent = 2 # small machine\n\n# the first\n[[registration]]\nname = \"one\"\nurl = \"https://a.example.com\"\n[registration.docker]\nmemory = \"1GiB\" # enough\n\n[log]\nlevel = \"debug\" # for now\n";
        std::fs::write(&file, written).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        let mut editor = ConfigEditor::open(&file).unwrap();
        editor.add(table("two")).unwrap();
        editor.save().unwrap();
        drop(editor);
        let config = load(&file, &Overrides::none()).unwrap();
        assert_eq!(config.registrations.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(config.registrations[1].docker.image.as_deref(), Some("debian:13"));
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);

        let mut editor = ConfigEditor::open(&file).unwrap();
        assert!(editor.remove("two").unwrap() && !editor.remove("two").unwrap());
        editor.save().unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
    }

    #[test]
    fn the_first_registration_makes_the_file_and_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("etc/forgehand.toml");
        let mut editor = ConfigEditor::open(&file).unwrap();
        editor.add(table("one")).unwrap();
        assert!(editor.add(table("one")).is_err(), "a name is taken once");
        editor.save().unwrap();
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "it may come to hold a proxy's password");
        assert_eq!(load(&file, &Overrides::none()).unwrap().registrations.len(), 1);
        let mut editor = ConfigEditor::preview(&file).unwrap();
        editor.remove("one").unwrap();
        assert_eq!(editor.text().trim(), "");
    }

    #[test]
    fn a_file_that_is_not_understood_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("forgehand.toml");
        for text in ["[[registration", "registration = 1\n", "[registration]\nname = \"x\"\n"] {
            std::fs::write(&file, text).unwrap();
            assert!(ConfigEditor::open(&file).is_err(), "{text}");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
    }

    #[test]
    fn keys_are_set_only_where_nothing_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("forgehand.toml");
        std::fs::write(&file, "concurrent = 3\n[log]\nformat = \"json\"\n").unwrap();
        let mut editor = ConfigEditor::open(&file).unwrap();
        assert!(!editor.set_where_absent("concurrent", 9.into()));
        assert!(editor.set_where_absent("check_interval", "5s".into()));
        assert!(editor.set_where_absent("log.level", "warn".into()));
        assert_eq!(editor.top_level("concurrent").as_deref(), Some("3"));
        editor.save().unwrap();
        let config = load(&file, &Overrides::none()).unwrap();
        assert_eq!((config.concurrent, config.check_interval.as_secs()), (3, 5));
    }
}
