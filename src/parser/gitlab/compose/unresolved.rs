//! A tree without the references that could not be resolved: they were complained about, and what they stand for is unknown.

use crate::parser::document::{Entry, Node, Value};

use super::reference;

/// The tree without references. A key whose value is one is gone, and so is a list or a mapping of which nothing stays.
pub(in super::super) fn without(root: &Node) -> Node {
    match stays(root, true) {
        Kept::Changed(node) => node,
        Kept::Same => root.clone(),
        Kept::Nothing => Node::mapping(Vec::new(), root.span),
    }
}

enum Kept {
    Same,
    Changed(Node),
    Nothing,
}

/// `root`: the values of the mapping are jobs.
fn stays(node: &Node, root: bool) -> Kept {
    if reference::is(node) {
        return Kept::Nothing;
    }
    match &node.value {
        Value::Scalar(_) => Kept::Same,
        Value::Sequence(items) => {
            let kept = items.iter().map(|item| stays(item, false)).collect();
            part(items, kept, |items| Node::sequence(items, node.span))
        }
        Value::Mapping(mapping) => {
            let entries = mapping.entries();
            let kept = entries.iter().map(|entry| value(entry, root)).collect();
            part(entries, kept, |entries| Node::mapping(entries, node.span))
        }
    }
}

/// What stays of an entry's value, as an entry.
fn value(entry: &Entry, root: bool) -> Kept {
    match stays(&entry.value, false) {
        Kept::Nothing if !root => stands_for(entry).map_or(Kept::Nothing, Kept::Changed),
        kept => kept,
    }
}

/// Something in the place of what makes a job: it is one, whatever it does.
fn stands_for(entry: &Entry) -> Option<Node> {
    let span = entry.value.span;
    let text = || Node::text("unknown", span);
    match entry.key.as_scalar()?.text.as_str() {
        "script" | "trigger" => Some(text()),
        "run" => {
            let [name, script] = ["name", "script"].map(|key| Entry { key: Node::text(key, span), value: text() });
            Some(Node::sequence(vec![Node::mapping(vec![name, script], span)], span))
        }
        _ => None,
    }
}

/// Something that a changed value can be put into.
trait Holder: Clone {
    fn with(self, value: Node) -> Self;
}

impl Holder for Node {
    fn with(self, value: Node) -> Self {
        value
    }
}

impl Holder for Entry {
    fn with(self, value: Node) -> Self {
        Self { value, ..self }
    }
}

fn part<T: Holder>(of: &[T], kept: Vec<Kept>, make: impl FnOnce(Vec<T>) -> Node) -> Kept {
    if kept.iter().all(|kept| matches!(kept, Kept::Same)) {
        return Kept::Same;
    }
    let with = |(old, kept): (&T, Kept)| match kept {
        Kept::Same => Some(old.clone()),
        Kept::Changed(new) => Some(old.clone().with(new)),
        Kept::Nothing => None,
    };
    let new: Vec<T> = of.iter().zip(kept).filter_map(with).collect();
    if new.is_empty() { Kept::Nothing } else { Kept::Changed(make(new)) }
}
