//! All `$[[ ]]` of a tree.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;

use crate::parser::diagnostics::{Diagnostic, Diagnostics};
use crate::parser::document::{Entry, Mapping, Node, Sources, Span, Value};

use super::super::{ComposeContext, codes};
use super::access::Fault;
use super::{Values, block, value};

/// A block and what is in it. `None` never happens: the pattern is constant.
static BLOCK: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\$\[\[\s*(\S.*?\S)\s*\]\]").ok());

/// Different blocks of a file.
const MOST_BLOCKS: usize = 10_000;
/// Bytes of one text.
const MOST_TEXT: usize = 1 << 20;
/// Bytes of all texts that are made.
const MOST_BYTES: usize = 64 << 20;
/// Nodes of a file with its inputs in place.
const MOST_NODES: usize = 500_000;

/// The tree with every block replaced; `None` where one cannot be. Without any it is the very same.
pub(in super::super) fn interpolate(
    root: &Node,
    values: &Values,
    context: &ComposeContext,
    sources: &Sources,
    diagnostics: &mut Diagnostics,
) -> Option<Node> {
    let mut work = Work {
        values,
        context,
        sources,
        diagnostics,
        blocks: HashMap::new(),
        nodes: 0,
        bytes: 0,
        failed: false,
        stopped: false,
    };
    let replaced = work.node(root);
    (!work.failed).then(|| replaced.unwrap_or_else(|| root.clone()))
}

struct Work<'a> {
    values: &'a Values,
    context: &'a ComposeContext,
    sources: &'a Sources,
    diagnostics: &'a mut Diagnostics,
    /// What was found for a block before.
    blocks: HashMap<String, Result<Option<Node>, Fault>>,
    nodes: usize,
    bytes: usize,
    failed: bool,
    stopped: bool,
}

impl Work<'_> {
    /// What a node becomes; `None`: it stays.
    fn node(&mut self, node: &Node) -> Option<Node> {
        if self.stopped {
            return None;
        }
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            self.stop(node.span, format!("the file has more than {MOST_NODES} values with its inputs in place"));
        }
        match &node.value {
            Value::Scalar(scalar) => self.text(&scalar.text, node),
            Value::Sequence(items) => self.sequence(items, node),
            Value::Mapping(mapping) => self.mapping(mapping, node),
        }
    }

    fn sequence(&mut self, items: &[Node], node: &Node) -> Option<Node> {
        let mut out: Option<Vec<Node>> = None;
        for (at, item) in items.iter().enumerate() {
            match self.node(item) {
                None => {
                    if let Some(out) = &mut out {
                        out.push(item.clone());
                    }
                }
                Some(new) => {
                    let out = out.get_or_insert_with(|| items.iter().take(at).cloned().collect());
                    // A list that a block brings joins the list around it.
                    match (new.as_sequence(), item.as_scalar()) {
                        (Some(more), Some(_)) => {
                            self.nodes += more.len();
                            out.extend(more.iter().cloned());
                        }
                        _ => out.push(new),
                    }
                }
            }
        }
        out.map(|items| Node { span: node.span, tag: node.tag.clone(), value: Value::Sequence(items.into()) })
    }

    fn mapping(&mut self, mapping: &Mapping, node: &Node) -> Option<Node> {
        let mut out: Option<Vec<Entry>> = None;
        let mut renamed = false;
        for (at, entry) in mapping.entries().iter().enumerate() {
            let key = self.node(&entry.key).map(|key| match value::text_of(&key) {
                Some(text) => Node::text(text, key.span),
                None => key,
            });
            let value = self.node(&entry.value);
            renamed |= key.is_some();
            if out.is_none() && (key.is_some() || value.is_some()) {
                out = Some(mapping.entries().iter().take(at).cloned().collect());
            }
            if let Some(out) = &mut out {
                let key = key.unwrap_or_else(|| entry.key.clone());
                out.push(Entry { key, value: value.unwrap_or_else(|| entry.value.clone()) });
            }
        }
        let out = if renamed { out.map(unique) } else { out };
        out.map(|entries| {
            let value = Value::Mapping(Mapping::new(entries));
            Node { span: node.span, tag: node.tag.clone(), value }
        })
    }

    fn text(&mut self, text: &str, node: &Node) -> Option<Node> {
        let pattern = BLOCK.as_ref().filter(|_| text.contains("$[["))?;
        let mut out = String::new();
        let mut copied = 0;
        for found in pattern.captures_iter(text) {
            let (Some(whole), Some(data)) = (found.get(0), found.get(1)) else { continue };
            let value = match self.block(whole.as_str(), data.as_str()) {
                Ok(value) => value,
                Err(fault) => {
                    self.fail(node, whole.as_str(), &fault);
                    return None;
                }
            };
            let Some(value) = value else { continue };
            if whole.len() == text.len() {
                // A block alone keeps its type, and stands where it is used.
                return Some(Node { span: node.span, ..value });
            }
            out.push_str(&text[copied..whole.start()]);
            out.push_str(&value::text_in_text(&value));
            copied = whole.end();
            if out.len() > MOST_TEXT {
                self.stop(node.span, format!("a text has more than {MOST_TEXT} bytes with its inputs in place"));
                return None;
            }
        }
        if copied == 0 {
            return None;
        }
        out.push_str(&text[copied..]);
        self.bytes += out.len();
        if self.bytes > MOST_BYTES {
            self.stop(node.span, format!("the texts have more than {MOST_BYTES} bytes with their inputs in place"));
        }
        Some(Node { tag: None, ..Node::text(out, node.span) })
    }

    fn block(&mut self, whole: &str, data: &str) -> Result<Option<Node>, Fault> {
        if let Some(known) = self.blocks.get(whole) {
            return known.clone();
        }
        if self.blocks.len() >= MOST_BLOCKS {
            return Err(Fault::new(format!("more than {MOST_BLOCKS} different blocks in one file")));
        }
        let value = block::value(data, self.values, self.context);
        self.blocks.insert(whole.to_owned(), value.clone());
        value
    }

    fn fail(&mut self, node: &Node, block: &str, fault: &Fault) {
        self.failed = true;
        let span = self.place(node.span, block);
        let finding = Diagnostic::error(codes::INTERPOLATION, span, format!("`{block}`: {}", fault.message));
        self.diagnostics.push(finding.maybe_help(fault.help.clone()));
    }

    fn stop(&mut self, span: Span, message: String) {
        if !self.stopped {
            self.diagnostics.push(Diagnostic::error(codes::LIMIT, span, message));
        }
        self.failed = true;
        self.stopped = true;
    }

    /// Where the block stands inside of a text: texts over several lines and with escapes know only where they begin.
    fn place(&self, span: Span, block: &str) -> Span {
        let range = self.sources.range(span);
        let text = self.sources.get(span.file).and_then(|file| file.text.get(range));
        let Some((before, _)) = text.and_then(|text| text.split_once(block)) else { return span };
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let lines = before.matches('\n').count();
        let column = match before.rsplit_once('\n') {
            Some((_, last)) => number(last.chars().count()) + 1,
            None => span.column + number(before.chars().count()),
        };
        let start = Span::point(span.file, span.line + number(lines), column);
        start.part(0, number(block.chars().count()))
    }
}

/// Of equal keys, which blocks may bring about, the last, where the first stands.
fn unique(entries: Vec<Entry>) -> Vec<Entry> {
    let mut known: HashMap<smol_str::SmolStr, usize> = HashMap::with_capacity(entries.len());
    let mut out: Vec<Entry> = Vec::with_capacity(entries.len());
    for entry in entries {
        let key = entry.key.as_scalar().map(|key| key.text.clone());
        match key.as_ref().and_then(|key| known.get(key)).and_then(|at| out.get_mut(*at)) {
            Some(before) => *before = entry,
            None => {
                if let Some(key) = key {
                    known.insert(key, out.len());
                }
                out.push(entry);
            }
        }
    }
    out
}
