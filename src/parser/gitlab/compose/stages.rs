//! `.pre` and `.post` around the stages.

use crate::parser::document::{Entry, Mapping, Node, Value};

/// The first and the last stage, which every pipeline has.
pub const EDGES: [&str; 2] = [".pre", ".post"];

/// The root with `.pre` first and `.post` last in `stages`, wherever they are written; the very same where there is no list.
pub(super) fn inject(root: Node) -> Node {
    let stages = root.as_mapping().and_then(|mapping| {
        let key = ["stages", "types"].into_iter().find(|key| mapping.get(key).is_some())?;
        let at = mapping.position(key)?;
        Some((at, mapping.entries().get(at)?.clone()))
    });
    let Some((at, Entry { key, value: stages })) = stages else { return root };
    let items = match stages.as_sequence() {
        Some(items) if !items.is_empty() && stages.tag.is_none() => items,
        _ => return root,
    };
    let is_edge = |item: &&Node| item.as_scalar().is_some_and(|scalar| EDGES.contains(&scalar.text.as_str()));
    let [pre, post] = EDGES.map(|edge| {
        let written = items.iter().find(|item| item.as_scalar().is_some_and(|scalar| scalar.text == edge));
        written.cloned().unwrap_or_else(|| Node::text(edge, stages.span))
    });
    let own = items.iter().filter(|item| !is_edge(item)).cloned();
    let items: Vec<Node> = std::iter::once(pre).chain(own).chain([post]).collect();
    let entry = Entry { key, value: Node::sequence(items, stages.span) };
    replace(root, at, entry)
}

/// The root without the entry at this place.
pub(super) fn without(root: Node, at: usize) -> Node {
    change(root, |entries| {
        if at < entries.len() {
            entries.remove(at);
        }
    })
}

/// The root with another entry at this place; copied only where it is shared.
fn replace(root: Node, at: usize, entry: Entry) -> Node {
    change(root, |entries| {
        if let Some(place) = entries.get_mut(at) {
            *place = entry;
        }
    })
}

fn change(root: Node, change: impl FnOnce(&mut Vec<Entry>)) -> Node {
    let Value::Mapping(mapping) = root.value else { return root };
    let mut entries = mapping.into_entries();
    change(&mut entries);
    Node { span: root.span, tag: None, value: Value::Mapping(Mapping::new(entries)) }
}
