//! Keys and values.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::Value;

/// Keys and values in order. Keys are found whatever their case, unless it was made otherwise.
#[derive(Clone, Debug, Default)]
pub struct Object {
    entries: Vec<(Arc<str>, Value)>,
    exact: bool,
    index: OnceLock<HashMap<String, usize>>,
}

/// Below so many entries a search is faster than an index.
const INDEX_FROM: usize = 12;

impl Object {
    /// Of these entries; of two with the same key the later counts, at the place of the first.
    pub fn new<K: Into<Arc<str>>>(entries: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::build(entries, false)
    }

    /// Of these entries, and the case of keys matters: as in the `env` context on Linux.
    pub fn exact<K: Into<Arc<str>>>(entries: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::build(entries, true)
    }

    fn build<K: Into<Arc<str>>>(entries: impl IntoIterator<Item = (K, Value)>, exact: bool) -> Self {
        let entries = entries.into_iter();
        let mut object = Self { entries: Vec::with_capacity(entries.size_hint().0), exact, index: OnceLock::new() };
        // As long as they are few, they are compared one by one.
        let mut known: HashMap<String, usize> = HashMap::new();
        for (key, value) in entries {
            let key = key.into();
            if object.entries.len() == INDEX_FROM && known.is_empty() {
                known = object.indexed();
            }
            let before = match known.is_empty() {
                true => object.entries.iter().position(|(known, _)| object.is_same(known, &key)),
                false => known.get(&folded(&key, exact)).copied(),
            };
            match before.and_then(|at| object.entries.get_mut(at)) {
                Some(entry) => entry.1 = value,
                None => {
                    if !known.is_empty() {
                        known.insert(folded(&key, exact), object.entries.len());
                    }
                    object.entries.push((key, value));
                }
            }
        }
        if object.entries.len() >= INDEX_FROM && !known.is_empty() {
            // It is fresh, so that this cannot fail.
            let _ = object.index.set(known);
        }
        object
    }

    fn is_same(&self, a: &str, b: &str) -> bool {
        if self.exact { a == b } else { super::compare::same_text(a, b) }
    }

    fn indexed(&self) -> HashMap<String, usize> {
        self.entries.iter().enumerate().map(|(at, (key, _))| (folded(key, self.exact), at)).collect()
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        if self.entries.len() < INDEX_FROM {
            return self.entries.iter().find(|(known, _)| self.is_same(known, key)).map(|(_, value)| value);
        }
        let index = self.index.get_or_init(|| self.indexed());
        index.get(&folded(key, self.exact)).and_then(|at| self.entries.get(*at)).map(|(_, value)| value)
    }

    /// The entries in order.
    pub fn entries(&self) -> &[(Arc<str>, Value)] {
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
}

fn folded(key: &str, exact: bool) -> String {
    if exact { key.to_owned() } else { key.chars().map(super::compare::upper).collect() }
}
