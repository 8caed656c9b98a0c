//! The tree.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use smol_str::SmolStr;

use super::scalar::{Schema, Typed};
use super::span::Span;

/// A node and its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it stands. What an alias or a merge key brought stands where its anchor does.
    pub span: Span,
    /// Its tag, if one is written: `!reference`, `tag:yaml.org,2002:str` (written `!!str`), `!` alone.
    pub tag: Option<Tag>,
    /// What it is.
    pub value: Value,
}

// A big file is a million of them, and walking through them costs what they weigh.
const _: () = assert!(size_of::<Node>() <= 64);

/// A tag. Hardly any node has one, so it takes the room of one pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(Arc<SmolStr>);

/// What a node is. Clones share what is inside lists and mappings.
#[derive(Clone, Debug)]
pub enum Value {
    /// Text.
    Scalar(Scalar),
    /// A list.
    Sequence(Arc<[Node]>),
    /// Keys and values.
    Mapping(Mapping),
}

/// Text as it is written, without quotes and escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar {
    /// The text.
    pub text: SmolStr,
    /// How it is written.
    pub style: Style,
}

/// How a scalar is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Bare; may mean a number, a truth, nothing.
    Plain,
    /// In quotes, single or double: always text.
    Quoted,
    /// After `|` or `>`: always text.
    Block,
}

/// A key and its value, one after the other in memory.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct Entry {
    /// The key.
    pub key: Node,
    /// The value.
    pub value: Node,
}

/// Keys and values in the order of the file. Keys may come twice; [`Mapping::get`] finds the last. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Mapping {
    entries: Arc<[Entry]>,
    /// Of a long one, made when it is first asked for: where the last of each key stands.
    index: Option<Arc<OnceLock<HashMap<SmolStr, usize>>>>,
}

/// Below so many entries a search is faster than an index.
const INDEX_FROM: usize = 12;

impl Node {
    /// A text that stands at `span`.
    pub fn text(text: impl Into<SmolStr>, span: Span) -> Self {
        Self { span, tag: None, value: Value::Scalar(Scalar { text: text.into(), style: Style::Quoted }) }
    }

    /// A plain scalar at `span`: a number, a truth, nothing.
    pub fn plain(text: impl Into<SmolStr>, span: Span) -> Self {
        Self { span, tag: None, value: Value::Scalar(Scalar { text: text.into(), style: Style::Plain }) }
    }

    /// A list that stands at `span`.
    pub fn sequence(items: Vec<Node>, span: Span) -> Self {
        Self { span, tag: None, value: Value::Sequence(items.into()) }
    }

    /// Keys and values that stand at `span`.
    pub fn mapping(entries: Vec<Entry>, span: Span) -> Self {
        Self { span, tag: None, value: Value::Mapping(Mapping::new(entries)) }
    }

    /// What it is, with nothing left in its place.
    pub fn take_value(&mut self) -> Value {
        std::mem::replace(&mut self.value, Value::Scalar(Scalar { text: SmolStr::default(), style: Style::Plain }))
    }

    /// The scalar, if it is one.
    pub fn as_scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The items, if it is a list.
    pub fn as_sequence(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The keys and values, if it has such.
    pub fn as_mapping(&self) -> Option<&Mapping> {
        match &self.value {
            Value::Mapping(mapping) => Some(mapping),
            _ => None,
        }
    }

    /// The value of `key`, if this has keys and has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_mapping()?.get(key)
    }

    /// What it means in `schema`; `None` for lists and mappings.
    pub fn typed(&self, schema: Schema) -> Option<Typed<'_>> {
        self.as_scalar().map(|scalar| scalar.typed_with(schema, self.tag.as_deref()))
    }

    /// Whether it is nothing in `schema`.
    pub fn is_null(&self, schema: Schema) -> bool {
        matches!(self.typed(schema), Some(Typed::Null))
    }

    /// What kind of thing it is, for messages.
    pub fn kind(&self, schema: Schema) -> &'static str {
        match &self.value {
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
            Value::Scalar(_) => self.typed(schema).map_or("text", |typed| typed.kind()),
        }
    }

    /// Whether both say the same in `schema`, wherever they stand. The order of keys does not matter.
    pub fn same(&self, other: &Node, schema: Schema) -> bool {
        match (&self.value, &other.value) {
            (Value::Scalar(_), Value::Scalar(_)) => self.typed(schema) == other.typed(schema),
            (Value::Sequence(a), Value::Sequence(b)) => {
                Arc::ptr_eq(a, b) || a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.same(b, schema))
            }
            (Value::Mapping(a), Value::Mapping(b)) => {
                a.is_same(b)
                    || a.len() == b.len()
                        && a.entries().iter().all(|entry| {
                            entry
                                .key
                                .as_scalar()
                                .and_then(|key| b.get(&key.text))
                                .is_some_and(|other| entry.value.same(other, schema))
                        })
            }
            _ => false,
        }
    }
}

impl Scalar {
    /// What the text means in `schema`, without a tag.
    pub fn typed(&self, schema: Schema) -> Typed<'_> {
        self.typed_with(schema, None)
    }
}

impl Mapping {
    /// Of these entries in this order.
    pub fn new(entries: impl Into<Arc<[Entry]>>) -> Self {
        let entries = entries.into();
        let index = (entries.len() >= INDEX_FROM).then(Arc::default);
        Self { entries, index }
    }

    /// Whether others share it.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.entries) > 1
    }

    /// Where it lies in memory: the same for all that share it.
    pub fn address(&self) -> *const Entry {
        self.entries.as_ptr()
    }

    /// Whether both are one that is shared.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.entries, &other.entries)
    }

    /// The entries in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The last value of a key that is written like this.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The last entry whose key is written like this.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.position(key).and_then(|at| self.entries.get(at))
    }

    /// Where among the entries the last is whose key is written like this.
    pub fn position(&self, key: &str) -> Option<usize> {
        let is_it = |entry: &Entry| entry.key.as_scalar().is_some_and(|scalar| scalar.text == key);
        let Some(index) = &self.index else { return self.entries.iter().rposition(is_it) };
        let index = index.get_or_init(|| {
            let named = self.entries.iter().enumerate();
            named.filter_map(|(at, entry)| Some((entry.key.as_scalar()?.text.clone(), at))).collect()
        });
        index.get(key).copied()
    }

    /// Lends the entries to be taken apart; see [`lend`].
    pub fn lend<R>(self, to: impl FnOnce(&mut [Entry]) -> R) -> R {
        lend(self.entries, to)
    }

    /// The entries, to make others of them; copied only where others share them.
    pub fn into_entries(self) -> Vec<Entry> {
        self.lend(|entries| entries.iter_mut().map(std::mem::take).collect())
    }

    /// The entries, to make others of them.
    pub fn to_entries(&self) -> Vec<Entry> {
        self.entries.to_vec()
    }
}

/// Lends what a list holds to be taken apart: itself where nobody shares the list, else a copy of it. Handing over each would
/// cost more than the taking apart: they are big, and hardly any is wanted whole.
pub fn lend<T: Clone, R>(mut list: Arc<[T]>, to: impl FnOnce(&mut [T]) -> R) -> R {
    match Arc::get_mut(&mut list) {
        Some(own) => to(own),
        None => to(&mut list.to_vec()),
    }
}

impl Default for Node {
    /// Nothing, nowhere.
    fn default() -> Self {
        Self::plain(SmolStr::default(), Span::default())
    }
}

impl From<&str> for Tag {
    fn from(tag: &str) -> Self {
        Self(Arc::new(SmolStr::new(tag)))
    }
}

impl std::ops::Deref for Tag {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<Vec<Entry>> for Mapping {
    fn from(entries: Vec<Entry>) -> Self {
        Self::new(entries)
    }
}
