//! Events to trees, within limits.

use std::borrow::Cow;
use std::collections::HashMap;

use smol_str::SmolStr;

use super::events::{Event, EventError, Events, Mark, Name, RawScalar};
use super::explain::explain;
use super::node::{Entry, Mapping, Node, Scalar, Style, Tag, Value};
use super::pile::Pile;
use super::span::{FileId, Span};

/// How a text is read.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What `<<` means.
    pub merge: Merge,
    /// What is too much.
    pub limits: Limits,
}

/// What the key `<<` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// As in Ruby: the keys come in where it stands, over those before it, under those after it. In a list the first wins.
    Ruby,
    /// As YAML 1.1 has it: the mapping's own keys win, wherever they stand.
    Standard,
    /// A key like any other.
    None,
}

/// What is too much. An alias counts as all that its anchor holds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of text.
    pub bytes: usize,
    /// Levels of lists and mappings inside each other.
    pub depth: usize,
    /// Nodes, aliases expanded.
    pub nodes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 32 << 20, depth: 200, nodes: 8_000_000 }
    }
}

/// The text is not YAML, or too much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Where.
    pub span: Span,
    /// What, in libyaml's words or ours.
    pub problem: String,
}

/// All documents of a text; none where it is empty or has comments alone.
///
/// # Errors
/// What is wrong first: after it nothing can be understood.
pub fn read(file: FileId, text: &str, options: Options) -> Result<Vec<Node>, SyntaxError> {
    if text.len() > options.limits.bytes {
        let problem = format!("the file has {} bytes, more than the limit of {}", text.len(), options.limits.bytes);
        return Err(SyntaxError { span: Span::start_of(file), problem });
    }
    let mut events = Events::new(text);
    let mut builder = Builder {
        file,
        options,
        open: Vec::new(),
        done: Pile::default(),
        anchors: HashMap::new(),
        documents: Vec::new(),
        nodes: 0,
        quoted: None,
    };
    loop {
        let taken = events.next(|event, start, end| match event {
            Event::StreamEnd => Ok(true),
            event => builder.take(event, start, end).map(|()| false),
        });
        match taken {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => return Ok(builder.documents),
            Ok(Err(error)) => return Err(error),
            Err(error) => return Err(builder.syntax(text, error)),
        }
    }
}

struct Builder {
    file: FileId,
    options: Options,
    open: Vec<Open>,
    /// What stands in the open lists and mappings so far.
    done: Pile,
    anchors: HashMap<String, Anchor>,
    documents: Vec<Node>,
    /// Nodes so far, aliases expanded.
    nodes: usize,
    /// The last text in quotes, if it took more than a line: its beginning and end.
    quoted: Option<(Mark, Mark)>,
}

/// A list or a mapping that has begun.
struct Open {
    span: Span,
    tag: Option<Tag>,
    anchor: Option<String>,
    kind: Kind,
    /// Where its insides begin in `done`.
    from: usize,
    /// `nodes` before it.
    before: usize,
    /// Levels inside it.
    height: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sequence,
    Mapping,
    /// A mapping with `<<` among its keys.
    Merging,
}

enum Anchor {
    /// Its node has not ended: an alias to it would hold itself.
    Open,
    Ready {
        node: Node,
        weight: usize,
        /// Levels of lists and mappings in it, itself too.
        height: usize,
    },
}

impl Builder {
    fn take(&mut self, event: Event, start: Mark, end: Mark) -> Result<(), SyntaxError> {
        let span = self.span(start, end);
        match event {
            Event::DocumentStart => self.anchors.clear(),
            Event::Frame | Event::StreamEnd => {}
            Event::Scalar(scalar) => {
                if scalar.style == Style::Quoted && start.line != end.line {
                    self.quoted = Some((start, end));
                }
                self.scalar(scalar, span)?;
            }
            Event::SequenceStart(name) => self.begin(span, name, Kind::Sequence)?,
            Event::MappingStart(name) => self.begin(span, name, Kind::Mapping)?,
            Event::End => self.end(end),
            Event::Alias(name) => self.alias(&name.get().unwrap_or_default(), span)?,
        }
        Ok(())
    }

    /// Most nodes are scalars: they are made in their place, not moved there.
    fn scalar(&mut self, scalar: RawScalar<'_>, span: Span) -> Result<(), SyntaxError> {
        self.count(1, span)?;
        let text = scalar.text();
        let tag = scalar.name.tag.get().map(|tag| Tag::from(&*tag));
        if text == "<<" && self.is_key() && is_merge(scalar.style, tag.as_deref(), self.options.merge) {
            self.merges();
        }
        let style = scalar.style;
        let node = Node { span, tag, value: Value::Scalar(Scalar { text: SmolStr::new(text), style }) };
        if let Some(anchor) = scalar.name.anchor.get() {
            let ready = Anchor::Ready { node: node.clone(), weight: 1, height: 0 };
            self.anchors.insert(anchor.into_owned(), ready);
        }
        if self.open.is_empty() {
            self.documents.push(node)
        } else {
            self.done.push(node)
        }
        Ok(())
    }

    fn begin(&mut self, span: Span, name: Name<'_>, kind: Kind) -> Result<(), SyntaxError> {
        let before = self.nodes;
        self.count(1, span)?;
        if self.open.len() >= self.options.limits.depth {
            return Err(self.too_deep(span));
        }
        let anchor = name.anchor.get().map(Cow::into_owned);
        if let Some(anchor) = &anchor {
            self.anchors.insert(anchor.clone(), Anchor::Open);
        }
        let from = self.done.len();
        let tag = name.tag.get().map(|tag| Tag::from(&*tag));
        self.open.push(Open { span, tag, anchor, kind, from, before, height: 0 });
        Ok(())
    }

    fn end(&mut self, end: Mark) {
        // libyaml balances beginnings and ends.
        let Some(open) = self.open.pop() else { return };
        let value = match open.kind {
            Kind::Sequence => Value::Sequence(self.done.list(open.from)),
            Kind::Mapping => Value::Mapping(Mapping::new(self.done.entries(open.from))),
            Kind::Merging => {
                let entries = merged(&self.done.entries(open.from), self.options.merge);
                Value::Mapping(Mapping::new(entries))
            }
        };
        let span = Span { end_line: end.line + 1, end_column: end.column + 1, ..open.span };
        let node = Node { span, tag: open.tag, value };
        let height = open.height + 1;
        if let Some(anchor) = open.anchor {
            let weight = self.nodes - open.before;
            self.anchors.insert(anchor, Anchor::Ready { node: node.clone(), weight, height });
        }
        self.rise(height);
        self.put(node);
    }

    /// What stands inside the open list or mapping has so many levels.
    fn rise(&mut self, height: usize) {
        if let Some(open) = self.open.last_mut() {
            open.height = open.height.max(height);
        }
    }

    fn too_deep(&self, span: Span) -> SyntaxError {
        let problem = format!("too deep: more than {} levels of lists and mappings", self.options.limits.depth);
        SyntaxError { span, problem }
    }

    fn alias(&mut self, name: &str, span: Span) -> Result<(), SyntaxError> {
        let (node, weight, height) = match self.anchors.get(name) {
            Some(Anchor::Ready { node, weight, height }) => (node.clone(), *weight, *height),
            Some(Anchor::Open) => {
                let of = self.key().map(|key| format!(" of `{key}`")).unwrap_or_default();
                let problem = format!("the alias `*{name}`{of} stands inside its own anchor: it would hold itself");
                return Err(SyntaxError { span, problem });
            }
            None => {
                let names = self.anchors.keys().map(String::as_str);
                let hint = crate::parser::diagnostics::nearest(name, names)
                    .map(|near| format!("; did you mean `*{near}`?"))
                    .unwrap_or_default();
                return Err(SyntaxError { span, problem: format!("unknown alias `*{name}`{hint}") });
            }
        };
        self.count(weight, span)?;
        // What an alias brings keeps its levels: they count where it lands, so that a chain of aliases ends too.
        if self.open.len() + height > self.options.limits.depth {
            return Err(self.too_deep(span));
        }
        self.rise(height);
        self.put(node);
        Ok(())
    }

    /// The key whose value comes next.
    fn key(&self) -> Option<&str> {
        self.open.last().filter(|open| open.kind != Kind::Sequence)?;
        self.done.last()?.as_scalar().map(|key| key.text.as_str())
    }

    fn put(&mut self, node: Node) {
        let key = node.as_scalar().filter(|key| key.text == "<<");
        if key.is_some_and(|key| self.is_key() && is_merge(key.style, node.tag.as_deref(), self.options.merge)) {
            self.merges();
        }
        if self.open.is_empty() { self.documents.push(node) } else { self.done.push(node) }
    }

    /// Whether what comes next is a key.
    fn is_key(&self) -> bool {
        let inside = |open: &Open| open.kind != Kind::Sequence && (self.done.len() - open.from).is_multiple_of(2);
        self.open.last().is_some_and(inside)
    }

    /// The open mapping has a merge key.
    fn merges(&mut self) {
        if let Some(open) = self.open.last_mut() {
            open.kind = Kind::Merging;
        }
    }

    fn count(&mut self, more: usize, span: Span) -> Result<(), SyntaxError> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes > self.options.limits.nodes {
            let problem = format!("the aliases expand to more than {} nodes", self.options.limits.nodes);
            return Err(SyntaxError { span, problem });
        }
        Ok(())
    }

    fn span(&self, start: Mark, end: Mark) -> Span {
        let (line, column) = (start.line + 1, start.column + 1);
        Span { file: self.file, line, column, end_line: end.line + 1, end_column: end.column + 1 }
    }

    fn syntax(&self, text: &str, error: EventError) -> SyntaxError {
        let (at, problem) = explain(text, &error, self.quoted);
        let mark = at.unwrap_or_else(|| place(text, error.offset));
        SyntaxError { span: Span::point(self.file, mark.line + 1, mark.column + 1), problem }
    }
}

/// Line and column of a byte.
fn place(text: &str, offset: usize) -> Mark {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count();
    let begin = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let column = String::from_utf8_lossy(&before[begin..]).chars().count();
    Mark { line: u32::try_from(line).unwrap_or(u32::MAX), column: u32::try_from(column).unwrap_or(u32::MAX) }
}

/// Whether `<<` so written is the merge key.
fn is_merge(style: Style, tag: Option<&str>, merge: Merge) -> bool {
    match merge {
        // Ruby looks at the text alone, quoted or not.
        Merge::Ruby => tag != Some("tag:yaml.org,2002:str"),
        Merge::Standard => style == Style::Plain,
        Merge::None => false,
    }
}

/// The entries with what `<<` brings in its place.
fn merged(entries: &[Entry], merge: Merge) -> Vec<Entry> {
    let mut out = Merging::default();
    let (mut own, mut brought) = (Vec::new(), Vec::new());
    for entry in entries.iter().cloned() {
        let key = entry.key.as_scalar().filter(|key| key.text == "<<");
        match key.is_some_and(|key| is_merge(key.style, entry.key.tag.as_deref(), merge)) {
            true => match brings(&entry.value) {
                Some(more) if merge == Merge::Ruby => more.into_iter().for_each(|entry| out.set(entry)),
                Some(more) => brought.extend(more),
                None => out.set(entry),
            },
            false if merge == Merge::Ruby => out.set(entry),
            false => own.push(entry),
        }
    }
    own.into_iter().for_each(|entry| out.set(entry));
    brought.into_iter().for_each(|entry| out.set_if_absent(entry));
    out.entries
}

/// What a merge key's value brings: the entries of a mapping, or of a list of mappings of which the first wins. `None`:
/// it is neither, and the key is one like any other.
fn brings(value: &Node) -> Option<Vec<Entry>> {
    match &value.value {
        Value::Mapping(mapping) => Some(mapping.to_entries()),
        Value::Sequence(items) => {
            let mut out = Merging::default();
            for item in items.iter().rev() {
                item.as_mapping()?.entries().iter().for_each(|entry| out.set(entry.clone()));
            }
            Some(out.entries)
        }
        Value::Scalar(_) => None,
    }
}

/// Entries in which a key stands once, where it stood first.
#[derive(Default)]
struct Merging {
    entries: Vec<Entry>,
    known: HashMap<SmolStr, usize>,
}

impl Merging {
    fn set(&mut self, entry: Entry) {
        let Some(key) = entry.key.as_scalar().map(|key| key.text.clone()) else { return self.entries.push(entry) };
        match self.known.get(&key).and_then(|at| self.entries.get_mut(*at)) {
            Some(place) => *place = entry,
            None => {
                self.known.insert(key, self.entries.len());
                self.entries.push(entry);
            }
        }
    }

    fn set_if_absent(&mut self, entry: Entry) {
        let known = entry.key.as_scalar().is_some_and(|key| self.known.contains_key(&key.text));
        if !known {
            self.set(entry);
        }
    }
}
