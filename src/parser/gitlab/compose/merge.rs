//! Two configurations made one.

use crate::parser::document::{Entry, Mapping, Node, Value};

use super::reference;

/// `over` on top of `base`: mappings are joined key by key, everything else is replaced. Keys keep the order of `base`, new ones
/// follow. What only one of them has is shared, not copied.
pub(super) fn deep_merge(base: &Node, over: &Node) -> Node {
    let (Value::Mapping(below), Value::Mapping(above)) = (&base.value, &over.value) else { return over.clone() };
    if reference::is(base) || reference::is(over) || below.is_empty() || below.is_same(above) {
        return over.clone();
    }
    let mut entries = below.to_entries();
    for entry in above.entries() {
        let at = entry.key.as_scalar().and_then(|key| below.position(&key.text));
        match at.and_then(|at| entries.get_mut(at)) {
            Some(place) => *place = Entry { key: entry.key.clone(), value: deep_merge(&place.value, &entry.value) },
            None => entries.push(entry.clone()),
        }
    }
    Node { span: over.span, tag: None, value: Value::Mapping(Mapping::new(entries)) }
}
