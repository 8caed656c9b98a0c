//! The file as it was written: its text, and the line of each of its keys.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use toml_edit::{Document, Item, TableLike};

use super::error::{ConfigError, Place, Problem, Step};

/// Far beyond any configuration; keeps a wrong path (a log, a device) from filling the memory.
const MAX_SIZE: u64 = 8 << 20;

/// A parsed file that knows its lines.
#[derive(Debug)]
pub struct ConfigDocument {
    file: PathBuf,
    document: Document<String>,
}

impl ConfigDocument {
    /// Reads a file. One that does not exist counts as empty.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { file: file.to_owned(), source };
        let mut bytes = Vec::new();
        match File::open(file) {
            Ok(open) => {
                open.take(MAX_SIZE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
            }
            Err(cause) if cause.kind() == ErrorKind::NotFound => {}
            Err(cause) => return Err(unreadable(cause)),
        }
        let problem = |message: String| whole_file_problem(file, None, message);
        if bytes.len() as u64 > MAX_SIZE {
            return Err(problem(format!("larger than {} MiB: this is no configuration file", MAX_SIZE >> 20)));
        }
        let text =
            String::from_utf8(bytes).map_err(|_| problem("not UTF-8: this is no configuration file".to_owned()))?;
        Self::parse(file, text)
    }

    /// Parses a text as if it stood in `file`.
    pub fn parse(file: &Path, text: String) -> Result<Self, ConfigError> {
        match Document::parse(text.clone()) {
            Ok(document) => Ok(Self { file: file.to_owned(), document }),
            Err(error) => {
                let line = error.span().map(|span| line_at(&text, span.start));
                Err(whole_file_problem(file, line, format!("not valid TOML: {}", error.message().trim())))
            }
        }
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        self.document.raw()
    }

    /// The top-level table.
    pub fn root(&self) -> &dyn TableLike {
        self.document.as_table()
    }

    /// Whether the file itself says something at `path`.
    pub fn contains(&self, path: &[Step]) -> bool {
        self.find(path).is_some_and(|(_, found)| found == path.len())
    }

    /// The line of the key at `path`, or of the nearest table around it.
    pub fn line_of(&self, path: &[Step]) -> Option<usize> {
        self.find(path).and_then(|(line, _)| line)
    }

    /// The place of the key at `path`.
    pub fn place_of(&self, path: &[Step]) -> Place {
        Place::File { file: self.file.clone(), line: self.line_of(path) }
    }

    /// Walks down as far as the file goes: the last line seen, and how many steps were found.
    fn find(&self, path: &[Step]) -> Option<(Option<usize>, usize)> {
        let mut line = None;
        let mut node = Node::Table(self.document.as_table());
        for (depth, step) in path.iter().enumerate() {
            let Some((next, start)) = node.child(step) else { return Some((line, depth)) };
            line = start.map(|start| line_at(self.text(), start)).or(line);
            node = next;
        }
        Some((line, path.len()))
    }
}

/// A place in the tree; toml_edit has different types for the same thing in its two notations.
enum Node<'a> {
    Table(&'a dyn TableLike),
    Tables(&'a toml_edit::ArrayOfTables),
    Array(&'a toml_edit::Array),
    Leaf,
}

impl<'a> Node<'a> {
    /// The child, and the offset where it begins.
    fn child(&self, step: &Step) -> Option<(Node<'a>, Option<usize>)> {
        match (self, step) {
            (Self::Table(table), Step::Key(key)) => {
                let (key, item) = table.get_key_value(key)?;
                let start = key.span().or_else(|| item.span()).map(|span| span.start);
                Some((Node::of_item(item), start))
            }
            (Self::Tables(tables), Step::Index(index)) => {
                let table = tables.get(*index)?;
                Some((Node::Table(table), table.span().map(|span| span.start)))
            }
            (Self::Array(array), Step::Index(index)) => {
                let value = array.get(*index)?;
                Some((Node::of_value(value), value.span().map(|span| span.start)))
            }
            (Self::Table(_) | Self::Tables(_) | Self::Array(_) | Self::Leaf, Step::Key(_) | Step::Index(_)) => None,
        }
    }

    fn of_item(item: &'a Item) -> Node<'a> {
        match item {
            Item::None => Node::Leaf,
            Item::Value(value) => Node::of_value(value),
            Item::Table(table) => Node::Table(table),
            Item::ArrayOfTables(tables) => Node::Tables(tables),
        }
    }

    fn of_value(value: &'a toml_edit::Value) -> Node<'a> {
        match value {
            toml_edit::Value::InlineTable(table) => Node::Table(table),
            toml_edit::Value::Array(array) => Node::Array(array),
            toml_edit::Value::String(_)
            | toml_edit::Value::Integer(_)
            | toml_edit::Value::Float(_)
            | toml_edit::Value::Boolean(_)
            | toml_edit::Value::Datetime(_) => Node::Leaf,
        }
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

fn whole_file_problem(file: &Path, line: Option<usize>, message: String) -> ConfigError {
    let place = Place::File { file: file.to_owned(), line };
    ConfigError::Invalid(vec![Problem { place, path: Vec::new(), message, help: None }])
}
