//! Single values: texts, truths, lists of texts, and what GitLab takes for each.
//!
//! `null` counts as not written everywhere, as in GitLab; the readers give `None` for it without a finding.

use std::collections::HashMap;
use std::sync::Arc;

use smol_str::{SmolStr, format_smolstr};

use super::model::{Job, Name, Spanned, When};
use super::place::At;
use super::{Completeness, codes};
use crate::parser::diagnostics::{Code, Diagnostic, Diagnostics, did_you_mean};
use crate::parser::document::{Entry, Mapping, Node, Schema, Span, Style, Typed, Value, big_whole, ruby_float_text};
use crate::parser::expression::gitlab::Expr;

/// What the checks share: where findings go.
pub(super) struct Checker<'d> {
    pub out: &'d mut Diagnostics,
    /// Whether keys may be missing because they are in an include that is left out.
    pub completeness: Completeness,
    /// Whether an `extends` leads nowhere.
    pub bases_wrong: bool,
    /// Conditions that were understood: jobs mostly have the same few.
    pub conditions: HashMap<SmolStr, Arc<Expr>>,
    /// Jobs that nothing makes a job: they are in no pipeline, and others may name them.
    pub unmade: Vec<Job>,
}

impl Checker<'_> {
    /// One for another thread, whose findings go elsewhere.
    pub(super) fn fork<'o>(&self, out: &'o mut Diagnostics) -> Checker<'o> {
        Checker::new(out, self.completeness, self.bases_wrong)
    }
}

impl<'d> Checker<'d> {
    /// One that has seen nothing yet.
    pub(super) fn new(out: &'d mut Diagnostics, completeness: Completeness, bases_wrong: bool) -> Self {
        Self { out, completeness, bases_wrong, conditions: HashMap::new(), unmade: Vec::new() }
    }
}

/// Whether nothing is written.
pub(super) fn is_null(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar(scalar) if scalar.style == Style::Plain && node.is_null(Schema::Ruby))
}

/// The items of nested lists; of what is no list, itself.
pub(in crate::parser::gitlab) fn flat(node: &Node) -> Vec<&Node> {
    let mut items = Vec::new();
    let mut waiting = vec![node];
    while let Some(node) = waiting.pop() {
        match node.as_sequence() {
            Some(inner) => waiting.extend(inner.iter().rev()),
            None => items.push(node),
        }
    }
    items
}

/// [`flat`] without items that are nothing, as keywords read their lists that GitLab composes of entries.
pub(in crate::parser::gitlab) fn flat_items(node: &Node) -> impl Iterator<Item = &Node> {
    flat(node).into_iter().filter(|item| !is_null(item))
}

/// The text of a key, the colon of a symbol gone.
pub(super) fn key_text(key: &Node) -> &str {
    let Some(scalar) = key.as_scalar() else { return "" };
    match scalar.text.as_bytes() {
        [b':', _, ..] if scalar.style == Style::Plain => &scalar.text[1..],
        _ => &scalar.text,
    }
}

/// Text or a symbol.
pub(super) fn as_text(node: &Node) -> Option<SmolStr> {
    let scalar = node.as_scalar()?;
    if scalar.style != Style::Plain && node.tag.is_none() {
        return Some(scalar.text.clone());
    }
    match node.typed(Schema::Ruby)? {
        Typed::Text(_) => Some(scalar.text.clone()),
        Typed::Symbol(name) => Some(SmolStr::from(name)),
        _ => None,
    }
}

/// Any scalar as Ruby's `to_s` writes it.
pub(super) fn as_string(node: &Node) -> Option<SmolStr> {
    match node.typed(Schema::Ruby)? {
        Typed::Null | Typed::Time(_) => None,
        Typed::Bool(is) => Some(SmolStr::new_static(if is { "true" } else { "false" })),
        Typed::Int(number) => Some(format_smolstr!("{number}")),
        Typed::Float(number) => {
            let whole = node.as_scalar().and_then(|scalar| big_whole(&scalar.text));
            Some(whole.map_or_else(|| ruby_float_text(number), SmolStr::from))
        }
        Typed::Symbol(name) => Some(SmolStr::from(name)),
        Typed::Text(_) => node.as_scalar().map(|scalar| scalar.text.clone()),
    }
}

/// A whole number.
pub(super) fn as_int(node: &Node) -> Option<i64> {
    match node.typed(Schema::Ruby)? {
        Typed::Int(number) => Some(number),
        _ => None,
    }
}

/// Whether there is nothing in it but white space.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(char::is_whitespace)
}

/// What stands there, for messages: the text if it is short, else its kind.
pub(super) fn shown(node: &Node) -> String {
    match node.as_scalar() {
        Some(scalar) if scalar.text.is_empty() => "nothing".to_owned(),
        Some(scalar) if scalar.text.chars().count() <= 60 => format!("`{}`", scalar.text),
        _ => node.kind(Schema::Ruby).to_owned(),
    }
}

impl Checker<'_> {
    /// Reports an error.
    pub fn error(&mut self, code: Code, span: Span, at: At<'_>, what: impl std::fmt::Display) {
        self.out.push(Diagnostic::error(code, span, format!("{at} {what}")));
    }

    /// Reports an error with what to do.
    pub fn error_help(
        &mut self,
        code: Code,
        span: Span,
        at: At<'_>,
        what: impl std::fmt::Display,
        help: Option<String>,
    ) {
        self.out.push(Diagnostic::error(code, span, format!("{at} {what}")).maybe_help(help));
    }

    /// Reports that a key is missing: a note where an include that is left out may have it.
    pub fn missing(&mut self, span: Span, at: At<'_>, what: impl std::fmt::Display, help: Option<String>) {
        self.perhaps(codes::MISSING, span, at, what, help);
    }

    /// Reports an error, or a note where an include that is left out may have the key that makes it right.
    pub fn perhaps(&mut self, code: Code, span: Span, at: At<'_>, what: impl std::fmt::Display, help: Option<String>) {
        let finding = match self.completeness {
            Completeness::Whole => Diagnostic::error(code, span, format!("{at} {what}")),
            Completeness::Part => {
                let message = format!("{at} {what} here; an include that is left out may have it");
                Diagnostic::note(code, span, message)
            }
        };
        self.out.push(finding.maybe_help(help));
    }

    /// A value of the wrong kind.
    pub fn wrong_type(&mut self, node: &Node, at: At<'_>, want: &str) {
        let kind = node.kind(Schema::Ruby);
        let help = match (node.typed(Schema::Ruby), want.contains("text")) {
            (Some(Typed::Int(_) | Typed::Float(_) | Typed::Bool(_) | Typed::Time(_)), true) => {
                node.as_scalar().map(|scalar| format!("put it in quotes: `\"{}\"`", scalar.text))
            }
            _ => None,
        };
        self.error_help(codes::WRONG_TYPE, node.span, at, format_args!("should be {want}, not {kind}"), help);
    }

    /// A key that is not among `known`.
    pub fn unknown_key(&mut self, entry: &Entry, at: At<'_>, known: &[&str]) {
        let key = key_text(&entry.key);
        let help =
            did_you_mean(key, known.iter().copied()).unwrap_or_else(|| format!("known here: {}", known.join(", ")));
        self.error_help(
            codes::UNKNOWN_KEY,
            entry.key.span,
            at,
            format_args!("contains an unknown key: `{key}`"),
            Some(help),
        );
    }

    /// The mapping that has to be here.
    pub fn mapping<'n>(&mut self, node: &'n Node, at: At<'_>) -> Option<&'n Mapping> {
        let mapping = node.as_mapping();
        if mapping.is_none() && !is_null(node) {
            self.wrong_type(node, at, "a mapping");
        }
        mapping
    }

    /// A mapping of `known` keys alone.
    pub fn mapping_of<'n>(&mut self, node: &'n Node, at: At<'_>, known: &[&str]) -> Option<&'n Mapping> {
        let mapping = self.mapping(node, at)?;
        for entry in mapping.entries() {
            if !known.contains(&key_text(&entry.key)) {
                self.unknown_key(entry, at, known);
            }
        }
        Some(mapping)
    }

    /// Text.
    pub fn text(&mut self, node: &Node, at: At<'_>) -> Option<SmolStr> {
        let text = as_text(node);
        if text.is_none() && !is_null(node) {
            self.wrong_type(node, at, "text");
        }
        text
    }

    /// Text and where it stands.
    pub fn name(&mut self, node: &Node, at: At<'_>) -> Option<Name> {
        Some(Spanned { value: self.text(node, at)?, span: node.span })
    }

    /// Text that has to be there and not blank; `span` is where it is missed.
    pub fn required_text(&mut self, node: Option<&Node>, span: Span, at: At<'_>) -> Option<SmolStr> {
        match node.filter(|node| !is_null(node)) {
            None => {
                self.missing(node.map_or(span, |node| node.span), at, "is missing", None);
                None
            }
            Some(node) => {
                let text = self.text(node, at)?;
                if is_blank(&text) {
                    self.error(codes::MISSING, node.span, at, "is blank");
                    return None;
                }
                Some(text)
            }
        }
    }

    /// A truth.
    pub fn boolean(&mut self, node: &Node, at: At<'_>) -> Option<bool> {
        match node.typed(Schema::Ruby) {
            Some(Typed::Bool(is)) => Some(is),
            Some(Typed::Null) => None,
            _ => {
                self.error(
                    codes::WRONG_TYPE,
                    node.span,
                    at,
                    format_args!("should be true or false, not {}", shown(node)),
                );
                None
            }
        }
    }

    /// One of these texts.
    pub fn choice(&mut self, node: &Node, at: At<'_>, known: &[&str]) -> Option<SmolStr> {
        let text = match as_text(node) {
            Some(text) => text,
            None if is_null(node) => return None,
            None => {
                let want = format!("text, one of {}", known.join(", "));
                self.wrong_type(node, at, &want);
                return None;
            }
        };
        if known.contains(&text.as_str()) {
            return Some(text);
        }
        let help = did_you_mean(&text, known.iter().copied());
        let what = format!("should be one of {}, not `{text}`", known.join(", "));
        self.error_help(codes::WRONG_VALUE, node.span, at, what, help);
        None
    }

    /// `when`, one of these.
    pub fn when(&mut self, node: &Node, at: At<'_>, known: &[&str]) -> Option<Spanned<When>> {
        let text = self.choice(node, at, known)?;
        let value = match text.as_str() {
            "on_success" => When::OnSuccess,
            "on_failure" => When::OnFailure,
            "always" => When::Always,
            "manual" => When::Manual,
            "delayed" => When::Delayed,
            _ => When::Never,
        };
        Some(Spanned { value, span: node.span })
    }

    /// A list of texts.
    pub fn texts(&mut self, node: &Node, at: At<'_>) -> Option<Arc<[SmolStr]>> {
        let Some(items) = node.as_sequence() else {
            if !is_null(node) {
                self.wrong_type(node, at, "a list of texts");
            }
            return None;
        };
        self.items(items, at, |_, text| text)
    }

    /// A list of texts and where they stand. Of a list with other items too, the texts.
    pub fn names(&mut self, node: &Node, at: At<'_>) -> Option<Arc<[Name]>> {
        let Some(items) = node.as_sequence() else {
            if !is_null(node) {
                self.wrong_type(node, at, "a list of texts");
            }
            return None;
        };
        Some(self.those_read(items, at, |item, value| Spanned { value, span: item.span }).into())
    }

    /// A list of texts, or one.
    pub fn texts_or_text(&mut self, node: &Node, at: At<'_>) -> Option<Arc<[SmolStr]>> {
        match &node.value {
            Value::Sequence(items) => self.items(items, at, |_, text| text),
            _ if is_null(node) => None,
            _ => match as_text(node) {
                Some(text) => Some(Arc::from([text])),
                None => {
                    self.wrong_type(node, at, "a text or a list of texts");
                    None
                }
            },
        }
    }

    fn items<T>(&mut self, items: &[Node], at: At<'_>, make: impl Fn(&Node, SmolStr) -> T) -> Option<Arc<[T]>> {
        let before = self.out.len();
        let made = self.those_read(items, at, make);
        (self.out.len() == before).then(|| made.into())
    }

    fn those_read<T>(&mut self, items: &[Node], at: At<'_>, make: impl Fn(&Node, SmolStr) -> T) -> Vec<T> {
        let mut made = Vec::with_capacity(items.len());
        for item in items {
            match as_text(item) {
                Some(text) => made.push(make(item, text)),
                None => self.wrong_type(item, at, "a list of texts: an item of it is no text"),
            }
        }
        made
    }

    /// A whole number, or a list of such.
    pub fn integers(&mut self, node: &Node, at: At<'_>) -> Option<Vec<i64>> {
        if is_null(node) {
            return None;
        }
        let one = std::slice::from_ref(node);
        let items = node.as_sequence().unwrap_or(one);
        let bad = items.iter().find(|item| as_int(item).is_none());
        if let Some(bad) = bad {
            let what = format!("should be a whole number or a list of such, not {}", shown(bad));
            self.error(codes::WRONG_TYPE, bad.span, at, what);
            return None;
        }
        Some(items.iter().filter_map(as_int).collect())
    }
}
