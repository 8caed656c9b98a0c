//! `!reference [job, key]`: what stands elsewhere.

use std::collections::HashMap;
use std::sync::Arc;

use crate::parser::diagnostics::{Diagnostic, Diagnostics, did_you_mean};
use crate::parser::document::{Entry, Mapping, Node, Schema, Typed, Value};

use super::{codes, missing};

/// The tag.
pub(super) const TAG: &str = "!reference";

/// Levels of lists and mappings, what references bring counted where it lands.
const MOST_LEVELS: usize = 200;

/// Nodes, what references bring counted each time.
const MOST_NODES: usize = 8_000_000;

/// Whether this is a reference that is not resolved.
pub(super) fn is(node: &Node) -> bool {
    node.tag.as_deref() == Some(TAG)
}

/// The root with every reference replaced by what it names. One that cannot be is complained about and stays; whether there is
/// such a one.
pub(super) fn resolve(root: Node, incomplete: bool, diagnostics: &mut Diagnostics) -> (Node, bool) {
    let mut resolver = Resolver {
        root: &root,
        incomplete,
        diagnostics,
        references: HashMap::new(),
        shared: HashMap::new(),
        hops: 0,
        stopped: false,
        unresolved: false,
    };
    let resolved = resolver.node(&root, 0);
    let unresolved = resolver.unresolved;
    (resolved.node.unwrap_or_else(|| root.clone()), unresolved)
}

/// What became of a node.
#[derive(Clone)]
struct Resolved {
    /// The node, where it is another than before.
    node: Option<Node>,
    /// Nodes in it.
    weight: usize,
    /// Levels in it.
    height: usize,
}

impl Resolved {
    const LEAF: Self = Self { node: None, weight: 1, height: 0 };
}

enum Progress {
    Open,
    Done(Resolved),
}

struct Resolver<'a> {
    root: &'a Node,
    incomplete: bool,
    diagnostics: &'a mut Diagnostics,
    /// By the address of the reference's list, which all copies of it share.
    references: HashMap<*const Node, Progress>,
    /// Lists and mappings that stand in several places.
    shared: HashMap<*const (), Resolved>,
    /// References that are being followed.
    hops: usize,
    /// A limit is exceeded, and was complained about.
    stopped: bool,
    /// A reference stays as it is.
    unresolved: bool,
}

impl Resolver<'_> {
    fn node(&mut self, node: &Node, level: usize) -> Resolved {
        if self.stopped {
            return Resolved::LEAF;
        }
        if level > MOST_LEVELS {
            self.stop(node, format!("too deep: references lead to more than {MOST_LEVELS} levels"));
            return Resolved::LEAF;
        }
        if is(node) {
            return self.reference(node, level);
        }
        let shared = match &node.value {
            Value::Scalar(_) => return Resolved::LEAF,
            Value::Sequence(items) => (Arc::strong_count(items) > 1).then(|| items.as_ptr().cast::<()>()),
            Value::Mapping(mapping) => mapping.is_shared().then(|| mapping.address().cast::<()>()),
        };
        if let Some(known) = shared.and_then(|key| self.shared.get(&key)) {
            return self.land(node, known.clone(), level);
        }
        let resolved = match &node.value {
            Value::Sequence(items) => self.sequence(node, items, level),
            Value::Mapping(mapping) => self.mapping(node, mapping, level),
            Value::Scalar(_) => Resolved::LEAF,
        };
        if let Some(key) = shared {
            self.shared.insert(key, resolved.clone());
        }
        resolved
    }

    fn sequence(&mut self, node: &Node, items: &[Node], level: usize) -> Resolved {
        let mut out = Gathered::default();
        for (at, item) in items.iter().enumerate() {
            let resolved = self.node(item, level + 1);
            out.add(&resolved);
            if let Some(new) = resolved.node {
                out.changed.push((at, new));
            }
        }
        self.bounded(node, &out);
        let changed = (!out.changed.is_empty()).then(|| {
            let mut items = items.to_vec();
            for (at, new) in out.changed {
                if let Some(item) = items.get_mut(at) {
                    *item = new;
                }
            }
            Node { span: node.span, tag: node.tag.clone(), value: Value::Sequence(items.into()) }
        });
        Resolved { node: changed, weight: out.weight + 1, height: out.height + 1 }
    }

    fn mapping(&mut self, node: &Node, mapping: &Mapping, level: usize) -> Resolved {
        let mut out = Gathered::default();
        for (at, entry) in mapping.entries().iter().enumerate() {
            let resolved = self.node(&entry.value, level + 1);
            out.add(&resolved);
            if let Some(new) = resolved.node {
                out.changed.push((at, new));
            }
        }
        self.bounded(node, &out);
        let changed = (!out.changed.is_empty()).then(|| {
            let mut entries = mapping.to_entries();
            for (at, new) in out.changed {
                if let Some(Entry { value, .. }) = entries.get_mut(at) {
                    *value = new;
                }
            }
            Node { span: node.span, tag: node.tag.clone(), value: Value::Mapping(Mapping::new(entries)) }
        });
        Resolved { node: changed, weight: out.weight + 1, height: out.height + 1 }
    }

    fn reference(&mut self, node: &Node, level: usize) -> Resolved {
        let Some(path) = path(node) else {
            let message = "`!reference` takes a list of texts, the way to a value".to_owned();
            let help = "write `!reference [job, script]`";
            self.diagnostics.push(Diagnostic::error(codes::REFERENCE, node.span, message).help(help));
            return self.unresolved();
        };
        let Value::Sequence(items) = &node.value else { return Resolved::LEAF };
        let key = items.as_ptr();
        match self.references.get(&key) {
            Some(Progress::Open) => {
                let message = format!("`{}` leads back to itself", written(&path));
                let help = "let one of the references on this way name something else";
                self.diagnostics.push(Diagnostic::error(codes::REFERENCE_CYCLE, node.span, message).help(help));
                return self.unresolved();
            }
            Some(Progress::Done(resolved)) => {
                let resolved = resolved.clone();
                return self.land(node, resolved, level);
            }
            None => {}
        }
        self.references.insert(key, Progress::Open);
        let root = self.root;
        let resolved = match target(root, &path) {
            Ok(target) => {
                self.hops += 1;
                if self.hops > MOST_LEVELS {
                    self.stop(node, format!("a chain of more than {MOST_LEVELS} references"));
                }
                let resolved = self.node(target, level);
                self.hops -= 1;
                Resolved { node: Some(resolved.node.unwrap_or_else(|| target.clone())), ..resolved }
            }
            Err((at, keys)) => {
                self.diagnostics.push(unknown(node, &path, at, keys, self.incomplete));
                self.unresolved()
            }
        };
        self.references.insert(key, Progress::Done(resolved.clone()));
        resolved
    }

    fn unresolved(&mut self) -> Resolved {
        self.unresolved = true;
        Resolved::LEAF
    }

    /// What was resolved before, at another place.
    fn land(&mut self, node: &Node, resolved: Resolved, level: usize) -> Resolved {
        if level + resolved.height > MOST_LEVELS {
            self.stop(node, format!("too deep: references lead to more than {MOST_LEVELS} levels"));
        }
        resolved
    }

    fn bounded(&mut self, node: &Node, gathered: &Gathered) {
        if gathered.weight > MOST_NODES {
            self.stop(node, format!("references expand to more than {MOST_NODES} nodes"));
        }
    }

    fn stop(&mut self, node: &Node, message: String) {
        if !self.stopped {
            self.stopped = true;
            self.diagnostics.push(Diagnostic::error(codes::LIMIT, node.span, message));
        }
    }
}

#[derive(Default)]
struct Gathered {
    changed: Vec<(usize, Node)>,
    weight: usize,
    height: usize,
}

impl Gathered {
    fn add(&mut self, resolved: &Resolved) {
        self.weight = self.weight.saturating_add(resolved.weight);
        self.height = self.height.max(resolved.height);
    }
}

/// The keys of a reference; `None` where it is no list of texts.
fn path(node: &Node) -> Option<Vec<&str>> {
    let items = node.as_sequence().filter(|items| !items.is_empty())?;
    let text = |item| match Node::typed(item, Schema::Ruby) {
        Some(Typed::Text(text)) => Some(text),
        _ => None,
    };
    items.iter().map(text).collect()
}

/// What a way leads to. Where it ends before: at which step, and among which keys.
fn target<'a>(root: &'a Node, path: &[&str]) -> Result<&'a Node, (usize, Option<&'a Mapping>)> {
    let mut node = root;
    for (at, step) in path.iter().enumerate() {
        let mapping = node.as_mapping().filter(|_| !is(node)).ok_or((at, None))?;
        node = mapping.get(step).ok_or((at, Some(mapping)))?;
    }
    // Ruby takes nothing and false for missing.
    match node.typed(Schema::Ruby) {
        Some(Typed::Null | Typed::Bool(false)) => Err((path.len(), None)),
        _ => Ok(node),
    }
}

fn unknown(node: &Node, path: &[&str], at: usize, keys: Option<&Mapping>, incomplete: bool) -> Diagnostic {
    let written = written(path);
    let way = path.get(..at).unwrap_or_default().join(".");
    let step = path.get(at).copied().unwrap_or_default();
    let message = match (keys, at) {
        (_, 0) => format!("`{written}` could not be found: there is no `{step}`"),
        (Some(_), _) => format!("`{written}` could not be found: `{way}` has no `{step}`"),
        (None, at) if at == path.len() => format!("`{written}` could not be found: `{way}` is nothing"),
        (None, _) => format!("`{written}` could not be found: `{way}` has no keys"),
    };
    let names = keys.into_iter().flat_map(Mapping::entries);
    let help = did_you_mean(step, names.filter_map(|entry| Some(entry.key.as_scalar()?.text.as_str())));
    let span = node.as_sequence().and_then(|items| items.get(at)).map_or(node.span, |item| item.span);
    missing(codes::REFERENCE_UNKNOWN, span, message, incomplete).maybe_help(help)
}

fn written(path: &[&str]) -> String {
    format!("!reference [{}]", path.join(", "))
}
