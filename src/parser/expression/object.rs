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
        let mut known: HashMap<String, usize> = HashMap::new();
        let mut list: Vec<(Arc<str>, Value)> = Vec::new();
        for (key, value) in entries {
            let key = key.into();
            match known.entry(folded(&key, exact)) {
                std::collections::hash_map::Entry::Occupied(at) => {
                    if let Some(entry) = list.get_mut(*at.get()) {
                        entry.1 = value;
                    }
                }
                std::collections::hash_map::Entry::Vacant(free) => {
                    free.insert(list.len());
                    list.push((key, value));
                }
            }
        }
        let index = OnceLock::new();
        if list.len() >= INDEX_FROM {
            // It is fresh, so that this cannot fail.
            let _ = index.set(known);
        }
        Self { entries: list, exact, index }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        if self.entries.len() < INDEX_FROM {
            let is_it = |known: &str| if self.exact { known == key } else { super::compare::same_text(known, key) };
            return self.entries.iter().find(|(known, _)| is_it(known)).map(|(_, value)| value);
        }
        let index = self.index.get_or_init(|| {
            self.entries.iter().enumerate().map(|(at, (key, _))| (folded(key, self.exact), at)).collect()
        });
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
