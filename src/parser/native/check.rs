//! What all rules share: where they are, what they may find, and how they say what is wrong.

use std::collections::HashSet;
use std::ops::Range;

use super::codes;
use crate::parser::diagnostics::{Code, Diagnostic, Diagnostics, did_you_mean, nearest};
use crate::parser::document::{Entry, Mapping, Node, Schema, Span, Style, Typed};
use crate::parser::expression::Object;
use crate::parser::variables::{
    Hierarchy, Operation, Resolver, Segment, Source, Style as TextStyle, Text, VariableError, VariableErrorKind,
};

/// What is known before the file is read.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// `--var`.
    pub runtime: Vec<(String, String)>,
    /// Variables of the machine; `CI`, `BUILD_NUMBER` and `BRANCH_NAME` are there in any case.
    pub system: Vec<(String, String)>,
}

/// Variables that the machine always gives.
pub(super) const SYSTEM: [&str; 3] = ["CI", "BUILD_NUMBER", "BRANCH_NAME"];

/// What may stand in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A variable's value: secrets may.
    Environment,
    /// Another setting.
    Setting,
    /// Commands of a shell.
    Script,
}

pub(super) struct Check<'a> {
    pub diagnostics: &'a mut Diagnostics,
    pub hierarchy: Hierarchy,
    /// Names of all jobs, sorted.
    pub jobs: Vec<&'a str>,
    /// Axes of the job's matrix; `None` outside jobs.
    pub axes: Option<Vec<&'a str>>,
    /// "in job `a`, step `b`".
    pub job: Option<&'a str>,
    pub step: Option<&'a str>,
}

impl<'a> Check<'a> {
    pub(super) fn new(given: &Given, diagnostics: &'a mut Diagnostics) -> Self {
        let mut hierarchy = Hierarchy::new();
        for name in SYSTEM {
            hierarchy.set(Source::System, name, "");
        }
        for (name, value) in &given.system {
            hierarchy.set(Source::System, name.as_str(), value.as_str());
        }
        for (name, value) in &given.runtime {
            hierarchy.set(Source::Runtime, name.as_str(), value.as_str());
        }
        Self { diagnostics, hierarchy, jobs: Vec::new(), axes: None, job: None, step: None }
    }

    /// Reports an error; where it is in the pipeline is added.
    pub(super) fn error(&mut self, code: Code, span: Span, message: impl AsRef<str>, help: impl Into<Option<String>>) {
        let place = match (self.job, self.step) {
            (Some(job), Some(step)) => format!(", in job `{job}`, step `{step}`"),
            (Some(job), None) => format!(", in job `{job}`"),
            _ => String::new(),
        };
        let message = format!("{}{place}", message.as_ref());
        self.diagnostics.push(Diagnostic::error(code, span, message).maybe_help(help.into()));
    }

    /// The keys of a mapping, each once and known.
    pub(super) fn mapping<'n>(&mut self, node: &'n Node, what: &str, keys: &[&str]) -> Option<&'n Mapping> {
        let Some(mapping) = node.as_mapping() else {
            let message = format!("{what} is a mapping of keys, not {}", node.kind(Schema::Core));
            let help = format!("its keys are {}", listed(keys));
            self.error(codes::WRONG_TYPE, node.span, message, help);
            return None;
        };
        for entry in self.entries(mapping) {
            let Some(key) = self.key(entry) else { continue };
            if !keys.contains(&key) {
                let help = did_you_mean(key, keys.iter().copied());
                let help = help.unwrap_or_else(|| format!("{what} has the keys {}", listed(keys)));
                self.error(codes::UNKNOWN_KEY, entry.key.span, format!("{what} has no key `{key}`"), help);
            }
        }
        Some(mapping)
    }

    /// The entries, and a word on keys that come twice.
    pub(super) fn entries<'n>(&mut self, mapping: &'n Mapping) -> &'n [Entry] {
        let mut seen = HashSet::new();
        for entry in mapping.entries() {
            if let Some(key) = entry.key.as_scalar()
                && !seen.insert(key.text.as_str())
            {
                let message = format!("the key `{}` is written twice", key.text);
                self.error(codes::DUPLICATE_KEY, entry.key.span, message, "keep one of them".to_owned());
            }
        }
        mapping.entries()
    }

    pub(super) fn key<'n>(&mut self, entry: &'n Entry) -> Option<&'n str> {
        let key = entry.key.as_scalar().map(|key| key.text.as_str());
        if key.is_none() {
            let message = format!("a key is text, not {}", entry.key.kind(Schema::Core));
            self.error(codes::WRONG_TYPE, entry.key.span, message, None);
        }
        key
    }

    pub(super) fn required<'n>(
        &mut self,
        mapping: &'n Mapping,
        at: Span,
        what: &str,
        key: &str,
        help: &str,
    ) -> Option<&'n Node> {
        let node = mapping.get(key).filter(|node| !node.is_null(Schema::Core));
        if node.is_none() {
            let at = mapping.entry(key).map_or(at, |entry| entry.key.span);
            self.error(codes::MISSING_KEY, at, format!("{what} has no `{key}`"), help.to_owned());
        }
        node
    }

    fn wrong(&mut self, node: &Node, key: &str, wanted: &str) {
        let message = format!("`{key}` is {wanted}, not {}", node.kind(Schema::Core));
        self.error(codes::WRONG_TYPE, node.span, message, None);
    }

    /// Text as it is written; numbers and truths count as the text they are written with.
    pub(super) fn text(&mut self, node: &Node, key: &str) -> Option<String> {
        match (node.as_scalar(), node.typed(Schema::Core)) {
            (Some(scalar), Some(typed)) if !matches!(typed, Typed::Null) => Some(scalar.text.to_string()),
            _ => {
                self.wrong(node, key, "text");
                None
            }
        }
    }

    /// Text with its references checked.
    pub(super) fn checked_text(&mut self, node: &Node, key: &str, place: Place) -> Option<String> {
        let text = self.text(node, key)?;
        self.references(node, &text, place);
        Some(text)
    }

    /// A list, of at least one item where `needs_one`.
    pub(super) fn list<'n>(&mut self, node: &'n Node, key: &str, needs_one: bool) -> &'n [Node] {
        match node.as_sequence() {
            Some([]) if needs_one => {
                self.error(
                    codes::EMPTY,
                    node.span,
                    format!("`{key}` has no item"),
                    "add one, or remove the key".to_owned(),
                );
                &[]
            }
            Some(items) => items,
            None => {
                self.wrong(node, key, "a list");
                &[]
            }
        }
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, node: &Node, key: &str, needs_one: bool, place: Place) -> Vec<String> {
        let items = self.list(node, key, needs_one);
        items.iter().filter_map(|item| self.checked_text(item, &format!("{key}[]"), place)).collect()
    }

    /// A truth.
    pub(super) fn boolean(&mut self, node: &Node, key: &str) -> Option<bool> {
        match node.typed(Schema::Core) {
            Some(Typed::Bool(truth)) => Some(truth),
            _ => {
                self.wrong(node, key, "`true` or `false`");
                None
            }
        }
    }

    /// A whole number in a range, or text with references that makes one.
    pub(super) fn integer(&mut self, node: &Node, key: &str, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
        let number = match node.typed(Schema::Core) {
            Some(Typed::Int(number)) => number,
            Some(Typed::Text(text)) if text.contains("${") => {
                let resolved = self.resolved(node, text)?;
                match resolved.trim().parse() {
                    Ok(number) => number,
                    Err(_) => {
                        let message = format!("`{key}` is a whole number, and `{text}` makes `{resolved}`");
                        self.error(codes::WRONG_TYPE, node.span, message, None);
                        return None;
                    }
                }
            }
            _ => {
                self.wrong(node, key, "a whole number");
                return None;
            }
        };
        match u32::try_from(number) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                let message = if *range.end() == u32::MAX {
                    format!("`{key}` is {number}, and must be at least {}", range.start())
                } else {
                    format!("`{key}` is {number}, and must lie between {} and {}", range.start(), range.end())
                };
                self.error(codes::OUT_OF_RANGE, node.span, message, None);
                None
            }
        }
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(&mut self, node: &Node, key: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(node, key)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let help = did_you_mean(&text, names.iter().copied()).unwrap_or_else(|| format!("one of {}", listed(&names)));
        self.error(codes::UNKNOWN_VALUE, node.span, format!("`{key}` cannot be `{text}`"), help);
        None
    }

    /// A name of letters, digits, `_` and, where `dashes`, `-`; the first is no digit and no dash unless `dashes`.
    pub(super) fn name(&mut self, text: &str, span: Span, what: &str, dashes: bool) {
        let first = |c: char| c.is_ascii_alphabetic() || c == '_' || (dashes && c.is_ascii_digit());
        let good = text.starts_with(first)
            && text.len() <= 255
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || (dashes && c == '-'));
        if !good {
            let help = if dashes {
                "letters, digits, `_` and `-`, beginning with none of the signs but `_`, at most 255"
            } else {
                "letters, digits and `_`, beginning with no digit"
            };
            self.error(codes::BAD_NAME, span, format!("`{text}` is no name for {what}"), help.to_owned());
        }
    }

    /// What a text with references makes of the variables that are known now.
    fn resolved(&mut self, node: &Node, text: &str) -> Option<String> {
        let nothing = Object::default();
        let result = Text::parse(text, TextStyle::Value)
            .and_then(|parsed| Resolver::new(&self.hierarchy, &nothing, false, Default::default()).resolve(&parsed));
        result.map_err(|errors| errors.into_iter().for_each(|error| self.variable_error(node, error))).ok()
    }

    fn variable_error(&mut self, node: &Node, error: VariableError) {
        let code = match error.kind {
            VariableErrorKind::Undefined | VariableErrorKind::Required => codes::UNDEFINED_VARIABLE,
            VariableErrorKind::Cycle => codes::VARIABLE_CYCLE,
            VariableErrorKind::Secret => codes::SECRET_PLACE,
            VariableErrorKind::Expression => codes::BAD_EXPRESSION,
            VariableErrorKind::Syntax | VariableErrorKind::Limit => codes::BAD_REFERENCE,
        };
        self.error(code, part_of(node, error.at), error.message, error.help);
    }

    /// Checks the references of a text: written right, defined, and no secret where none may stand.
    pub(super) fn references(&mut self, node: &Node, text: &str, place: Place) {
        if !text.contains("${") {
            return;
        }
        let style = if place == Place::Script { TextStyle::Script } else { TextStyle::Value };
        match Text::parse(text, style) {
            Ok(parsed) => self.segments(node, &parsed, place),
            Err(errors) => errors.into_iter().for_each(|error| self.variable_error(node, error)),
        }
    }

    /// The depth of references is limited when they are parsed, so that this may call itself.
    fn segments(&mut self, node: &Node, text: &Text, place: Place) {
        for segment in &text.segments {
            match segment {
                Segment::Text(_) => {}
                Segment::Expr { expr, offset } => self.names(node, expr, *offset, place),
                Segment::Reference { name, operation, at } => {
                    let needs_it = match operation {
                        Operation::Default(inner) | Operation::Alternate(inner) => {
                            self.segments(node, inner, place);
                            false
                        }
                        Operation::Replace { with, .. } => {
                            self.segments(node, with, place);
                            true
                        }
                        Operation::Plain => true,
                        // Whether it is there is seen when the pipeline runs.
                        Operation::Required(_) => false,
                    };
                    let path: Vec<&str> = name.split('.').collect();
                    self.path(node, &path, at.clone(), place, needs_it);
                }
            }
        }
    }

    /// Reports what is wrong with an expression whose text begins at `offset` of the node's.
    pub(super) fn expression_error(&mut self, node: &Node, offset: usize, error: crate::parser::expression::ExprError) {
        let at = part_of(node, offset + error.offset..offset + error.offset + error.len);
        let help = "the language is described in docs/expressions.md".to_owned();
        self.error(codes::BAD_EXPRESSION, at, error.message, help);
    }

    /// Reports variables that refer to `name` and to which it refers.
    pub(super) fn circle(&mut self, node: &Node, name: &str) {
        if !self.hierarchy.get(name).is_some_and(|value| value.contains("${")) {
            return;
        }
        let nothing = Object::default();
        let Ok(text) = Text::parse(&format!("${{{name}}}"), TextStyle::Value) else { return };
        let errors = Resolver::new(&self.hierarchy, &nothing, false, Default::default()).resolve(&text).err();
        let circle = errors.into_iter().flatten().find(|error| error.kind == VariableErrorKind::Cycle);
        if let Some(error) = circle {
            self.error(codes::VARIABLE_CYCLE, node.span, error.message, error.help);
        }
    }

    /// Checks what an expression names.
    pub(super) fn names(&mut self, node: &Node, expr: &crate::parser::expression::Expr, offset: usize, place: Place) {
        use crate::parser::expression::analysis::{Step, usage};
        for name in usage(expr).names {
            let mut path = vec![name.name.as_str()];
            path.extend(name.path.iter().map_while(|step| match step {
                Step::Key(key) => Some(key.as_str()),
                _ => None,
            }));
            let at = offset + name.whole.start..offset + name.whole.end;
            // What an object lacks is null in an expression, and may be asked for.
            if let Some((root, _)) = path.split_first()
                && !ROOTS.contains(root)
            {
                let help = nearest(root, ROOTS).map(|near| format!("did you mean `{near}`?"));
                let help =
                    help.unwrap_or_else(|| format!("named values are {}; a variable is `env.{root}`", listed(&ROOTS)));
                let at = part_of(node, offset + name.at.start..offset + name.at.end);
                self.error(codes::UNDEFINED_VARIABLE, at, format!("`{root}` is no named value"), help);
                continue;
            }
            self.path(node, &path, at, place, false);
        }
    }

    fn path(&mut self, node: &Node, path: &[&str], at: Range<usize>, place: Place, needs_it: bool) {
        let span = part_of(node, at);
        match path {
            ["secrets", ..] if place != Place::Environment => {
                let help = "put it into `environment` and use that variable: secrets go to processes by their environment only";
                let message = format!("`{}` stands where a secret may not", path.join("."));
                self.error(codes::SECRET_PLACE, span, message, help.to_owned());
            }
            ["matrix", axis, ..] if !self.axes.iter().flatten().any(|known| known == axis) => {
                let axes = self.axes.clone().unwrap_or_default();
                self.unknown(span, &format!("matrix.{axis}"), axis, &axes, "axes");
            }
            ["job", job, ..] if self.jobs.binary_search(job).is_err() => {
                let jobs = self.jobs.clone();
                self.unknown(span, &format!("job.{job}"), job, &jobs, "jobs");
            }
            [name] | ["env", name] if needs_it && self.hierarchy.get(name).is_none() => {
                let names: Vec<String> = self.hierarchy.names().into_iter().map(str::to_owned).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                self.unknown(span, name, name, &names, "variables");
            }
            _ => {}
        }
    }

    fn unknown(&mut self, span: Span, whole: &str, name: &str, known: &[&str], what: &str) {
        let help = did_you_mean(name, known.iter().copied()).unwrap_or_else(|| match known {
            [] => format!("there are no {what} here; a default is written `${{{whole}:-text}}`"),
            known => format!("the {what} are {}; a default is written `${{{whole}:-text}}`", listed(known)),
        });
        self.error(codes::UNDEFINED_VARIABLE, span, format!("variable `{whole}` is not defined"), help);
    }
}

/// The named values of native expressions.
const ROOTS: [&str; 5] = ["env", "job", "matrix", "pipeline", "secrets"];

/// `a`, `b`, `c`, at most a dozen.
pub(super) fn listed(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(12).map(|name| format!("`{name}`")).collect();
    let more = if names.len() > shown.len() { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// The place of some bytes of a node's text, where the text stands in the file as it is.
fn part_of(node: &Node, at: Range<usize>) -> Span {
    let Some(scalar) = node.as_scalar() else { return node.span };
    let one_line = node.span.line == node.span.end_line;
    let length = scalar.text.chars().count();
    let width = node.span.end_column.saturating_sub(node.span.column) as usize;
    let quotes = usize::from(scalar.style == Style::Quoted);
    // With escapes in it the text is shorter than what is written.
    if !one_line || scalar.style == Style::Block || width != length + 2 * quotes {
        return node.span;
    }
    let chars = |range: Range<usize>| scalar.text.get(range).map_or(0, |text| text.chars().count());
    let before = chars(0..at.start) + quotes;
    let (before, part) = (u32::try_from(before), u32::try_from(chars(at).max(1)));
    match (before, part) {
        (Ok(before), Ok(part)) => node.span.part(before, part),
        _ => node.span,
    }
}
