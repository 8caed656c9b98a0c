//! Places in the files that make a pipeline.

use std::sync::{Arc, OnceLock};

/// A file among those that were read for one pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u16);

/// A stretch of text in a file. Lines and columns count from 1; columns are characters, not bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// Line of the first character.
    pub line: u32,
    /// Column of the first character.
    pub column: u32,
    /// Line after the last character.
    pub end_line: u32,
    /// Column after the last character.
    pub end_column: u32,
}

impl Span {
    /// A place without extent.
    pub fn point(file: FileId, line: u32, column: u32) -> Self {
        Self { file, line, column, end_line: line, end_column: column }
    }

    /// The beginning of a file.
    pub fn start_of(file: FileId) -> Self {
        Self::point(file, 1, 1)
    }

    /// The stretch of `length` characters that begins `offset` characters after this one does, on the same line.
    pub fn part(self, offset: u32, length: u32) -> Self {
        let column = self.column.saturating_add(offset);
        Self { column, end_line: self.line, end_column: column.saturating_add(length), ..self }
    }
}

/// A file as it was read.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// What people call it: a path relative to the project root, or where else it came from.
    pub name: Arc<str>,
    /// Its text.
    pub text: Arc<str>,
    /// Where its lines begin, once somebody has asked for a place.
    lines: OnceLock<Vec<usize>>,
}

impl SourceFile {
    /// The bytes at which its lines begin: one line at least.
    pub fn lines(&self) -> &[usize] {
        self.lines.get_or_init(|| {
            let text = self.text.as_bytes();
            let breaks = memchr::memchr2_iter(b'\n', b'\r', text)
                .filter(|at| text.get(*at) == Some(&b'\n') || text.get(at + 1) != Some(&b'\n'));
            std::iter::once(0).chain(breaks.map(|at| at + 1)).collect()
        })
    }

    /// The number of the line, from 0, that holds the byte `offset`.
    pub fn line_of(&self, offset: usize) -> usize {
        self.lines().partition_point(|begin| *begin <= offset).saturating_sub(1)
    }

    /// The byte at which a line and column lie, both from 1.
    fn offset(&self, line: u32, column: u32) -> usize {
        let Some(begin) = self.lines().get(line.saturating_sub(1) as usize) else { return self.text.len() };
        let rest = &self.text[*begin..];
        let in_line = rest.char_indices().nth(column.saturating_sub(1) as usize).map_or(rest.len(), |(at, _)| at);
        begin + in_line
    }
}

/// All files that were read for one pipeline.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<SourceFile>,
}

impl Sources {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file. After 65,535 files the last id is given out again; limits on includes end long before.
    pub fn add(&mut self, name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> FileId {
        let id = FileId(u16::try_from(self.files.len()).unwrap_or(u16::MAX));
        self.files.push(SourceFile { name: name.into(), text: text.into(), lines: OnceLock::new() });
        id
    }

    /// The bytes of all of them.
    pub fn bytes(&self) -> usize {
        self.files.iter().map(|file| file.text.len()).sum()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The file of this id.
    pub fn get(&self, id: FileId) -> Option<&SourceFile> {
        self.files.get(usize::from(id.0))
    }

    /// What people call the file of this id; empty where it is unknown.
    pub fn name(&self, id: FileId) -> &str {
        self.get(id).map_or("", |file| &file.name)
    }

    /// The byte range of a span in its file's text, cut to what the text has.
    pub fn range(&self, span: Span) -> std::ops::Range<usize> {
        let Some(file) = self.get(span.file) else { return 0..0 };
        let start = file.offset(span.line, span.column);
        let end = file.offset(span.end_line, span.end_column).max(start);
        start..end
    }
}
