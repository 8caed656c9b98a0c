//! Maps and sets by names. A big pipeline asks them hundreds of thousands of times, so their hash is a quick one, with a seed of each
//! process's own: nobody outside can make names collide on purpose.

use std::collections::{HashMap, HashSet};

use foldhash::quality::RandomState;

/// By names.
pub type NameMap<K, V> = HashMap<K, V, RandomState>;
/// Of names.
pub type NameSet<K> = HashSet<K, RandomState>;

/// A map with room for so many names.
pub fn map_for<K, V>(names: usize) -> NameMap<K, V> {
    NameMap::with_capacity_and_hasher(names, RandomState::default())
}

/// A set with room for so many names.
pub fn set_for<K>(names: usize) -> NameSet<K> {
    NameSet::with_capacity_and_hasher(names, RandomState::default())
}
