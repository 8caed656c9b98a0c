//! Two configurations made one.

use std::collections::HashMap;

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

/// All of `layers` on top of each other, the first at the bottom: what [`deep_merge`] one by one comes to, in one pass. `keys` grows
/// by those that the new mappings have.
pub(super) fn merge_all(layers: &[&Node], keys: &mut usize) -> Option<Node> {
    let (top, below) = layers.split_last()?;
    let joins = |node: &&Node| node.as_mapping().is_some() && !reference::is(node);
    let joined = if joins(top) { below.iter().rev().take_while(|node| joins(node)).count() } else { 0 };
    let layers = &layers[below.len() - joined..];
    if joined < 2 {
        let Some((base, over)) = layers.first().zip(layers.get(1)) else { return Some((*top).clone()) };
        let merged = deep_merge(base, over);
        *keys += merged.as_mapping().map_or(0, Mapping::len);
        return Some(merged);
    }
    let mut merged: Vec<Layered<'_>> = Vec::new();
    let mut known: HashMap<&str, usize> = HashMap::new();
    for (layer, mapping) in layers.iter().filter_map(|node| node.as_mapping()).enumerate() {
        for entry in mapping.entries() {
            let name = entry.key.as_scalar().map(|key| key.text.as_str());
            match name.and_then(|name| known.get(name)).and_then(|at| merged.get_mut(*at)) {
                Some(place) => place.add(entry, layer),
                None => {
                    known.extend(name.map(|name| (name, merged.len())));
                    merged.push(Layered { key: &entry.key, values: vec![&entry.value], layer });
                }
            }
        }
    }
    *keys += merged.len();
    let mut entries = Vec::with_capacity(merged.len());
    for Layered { key, values, .. } in merged {
        entries.extend(merge_all(&values, keys).map(|value| Entry { key: key.clone(), value }));
    }
    Some(Node { span: top.span, tag: None, value: Value::Mapping(Mapping::new(entries)) })
}

/// A key with its values, the lowest first.
struct Layered<'n> {
    key: &'n Node,
    values: Vec<&'n Node>,
    /// The layer of the last value.
    layer: usize,
}

impl<'n> Layered<'n> {
    fn add(&mut self, entry: &'n Entry, layer: usize) {
        // Twice in one mapping: the later one replaces the earlier.
        if layer == self.layer {
            self.values.pop();
        }
        self.key = &entry.key;
        self.values.push(&entry.value);
        self.layer = layer;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::document::{FileId, Limits, Merge, Options, read};
    use crate::parser::gitlab::compose::inputs::value::to_json;

    #[test]
    fn many_layers_are_what_one_by_one_comes_to() {
        let texts = [
            "{a: 1, m: {x: 1, y: {p: 1}}, l: [1]}",
            "{b: 2, m: {y: {q: 2}, z: 3}, l: {k: 1}}",
            "{a: {n: 1}, m: 5}",
            "{m: {r: {}}, l: {j: 2}, a: {o: 2}}",
            "{}",
            "{m: {r: {s: 1}, x: 7}, c: null}",
        ];
        let options = Options { merge: Merge::Ruby, limits: Limits::default() };
        let nodes: Vec<Node> =
            texts.iter().map(|text| read(FileId(0), text, options).unwrap().pop().unwrap()).collect();
        for from in 0..nodes.len() {
            for to in from + 1..=nodes.len() {
                let layers: Vec<&Node> = nodes[from..to].iter().collect();
                let one_by_one = layers[1..].iter().fold(layers[0].clone(), |below, above| deep_merge(&below, above));
                let at_once = merge_all(&layers, &mut 0).unwrap();
                assert_eq!(to_json(&at_once), to_json(&one_by_one), "{from}..{to}");
            }
        }
    }
}
