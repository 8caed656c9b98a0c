//! A foreign table that is emptied key by key, so that what nobody took is known at the end.

use toml::{Table, Value};

use super::plan::Note;

/// A table being read. Keys are compared without regard to case, as gitlab-runner does.
#[derive(Debug)]
pub struct Taken {
    table: Table,
    path: String,
    notes: Vec<Note>,
}

impl Taken {
    /// Begins with a whole table, called `path` in notes.
    pub fn new(table: Table, path: &str) -> Self {
        let table = table.into_iter().map(|(key, value)| (key.to_ascii_lowercase(), value)).collect();
        Self { table, path: path.to_owned(), notes: Vec::new() }
    }

    /// Takes a value as it is.
    pub fn value(&mut self, key: &str) -> Option<Value> {
        self.table.remove(key)
    }

    /// Takes a text; an empty one counts as absent.
    pub fn text(&mut self, key: &str) -> Option<String> {
        match self.table.remove(key)? {
            Value::String(text) => Some(text).filter(|text| !text.is_empty()),
            _ => self.wrong_type(key, "a text"),
        }
    }

    /// Takes a boolean.
    pub fn flag(&mut self, key: &str) -> Option<bool> {
        match self.table.remove(key)? {
            Value::Boolean(flag) => Some(flag),
            _ => self.wrong_type(key, "true or false"),
        }
    }

    /// Takes a whole number.
    pub fn number(&mut self, key: &str) -> Option<i64> {
        match self.table.remove(key)? {
            Value::Integer(number) => Some(number),
            _ => self.wrong_type(key, "a whole number"),
        }
    }

    /// Takes a list of texts, or one text in place of a list of one; an empty list counts as absent.
    pub fn list(&mut self, key: &str) -> Option<Vec<String>> {
        let value = self.table.remove(key)?;
        let entries = match value {
            Value::String(one) => Some(vec![one]),
            Value::Array(entries) => entries.into_iter().map(|entry| entry.as_str().map(str::to_owned)).collect(),
            _ => None,
        };
        match entries {
            Some(entries) => Some(entries).filter(|entries| !entries.is_empty()),
            None => self.wrong_type(key, "a list of texts"),
        }
    }

    /// Takes a table.
    pub fn table(&mut self, key: &str) -> Option<Table> {
        match self.table.remove(key)? {
            Value::Table(table) => Some(table),
            _ => self.wrong_type(key, "a table"),
        }
    }

    /// Takes a list of tables.
    pub fn tables(&mut self, key: &str) -> Vec<Table> {
        let Some(value) = self.table.remove(key) else { return Vec::new() };
        let Value::Array(entries) = value else { return self.wrong_type(key, "a list of tables").unwrap_or_default() };
        entries
            .into_iter()
            .filter_map(|entry| if let Value::Table(table) = entry { Some(table) } else { None })
            .collect()
    }

    /// Leaves each of these keys behind, with its reason, where it says anything.
    pub fn leave(&mut self, keys: &[(&str, &str)]) {
        for (key, reason) in keys {
            if self.table.remove(*key).is_some_and(|value| says_something(&value)) {
                self.note(key, *reason);
            }
        }
    }

    /// Leaves all that is left behind without a word: why was told.
    pub fn leave_rest(&mut self) {
        self.table.clear();
    }

    /// Tells why a key, or what it says, is left behind.
    pub fn note(&mut self, key: &str, reason: impl Into<String>) {
        let key = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        self.notes.push(Note { runner: None, key, reason: reason.into() });
    }

    /// Takes over the notes of a table below this one, which is done with.
    pub fn take_notes(&mut self, below: Self) {
        self.notes.extend(below.into_notes());
    }

    /// What was left behind, what nobody asked for included.
    pub fn into_notes(mut self) -> Vec<Note> {
        let unknown: Vec<String> = std::mem::take(&mut self.table)
            .into_iter()
            .filter(|(_, value)| says_something(value))
            .map(|(key, _)| key)
            .collect();
        for key in unknown {
            self.note(&key, "not a key that this version knows");
        }
        self.notes
    }

    fn wrong_type<T>(&mut self, key: &str, expected: &str) -> Option<T> {
        self.note(key, format!("not readable: expected {expected}"));
        None
    }
}

/// Whether a value is more than the zero value that `gitlab-runner register` writes for everything.
fn says_something(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty(),
        Value::Integer(number) => *number != 0,
        Value::Float(number) => *number != 0.0,
        Value::Boolean(flag) => *flag,
        Value::Datetime(_) => true,
        Value::Array(entries) => entries.iter().any(says_something),
        Value::Table(table) => table.iter().any(|(_, value)| says_something(value)),
    }
}
