//! A document to tokens, with every violation of the schema.

use std::collections::HashMap;
use std::sync::Arc;

use smol_str::SmolStr;

use super::definition::{Def, MappingDef, Mappings, Property, Shape};
use super::events::passes_over_keys;
use super::expressions::{Segment, Segments};
use super::jobs::TakeJobs;
use super::scope::{ScopeSet, Scopes};
use super::seen::Seen;
use super::tags;
use super::workflow::{ANY, JOBS};
use crate::parser::diagnostics::{Diagnostic, Diagnostics, did_you_mean};
use crate::parser::document::{Entry, Mapping, Node, Schema, Span, Typed, Value, lend};
use crate::parser::expression::{Template, number_to_text};
use crate::parser::github::codes;
use crate::parser::github::dialect::Dialect;
use crate::parser::github::workflow::token::{Pair, Token, TokenKind};

/// Reads documents by definitions.
pub struct Reader<'d> {
    pub(super) scopes: Scopes,
    pub(super) diagnostics: &'d mut Diagnostics,
    dialect: Dialect,
    depth: usize,
    max_depth: usize,
    too_deep: bool,
    /// Keys of the mappings that are open, the innermost's last: one pile for all of them.
    seen: Vec<SmolStr>,
    /// Texts with expressions that were read already, and what they became: big workflows say the same many times.
    templates: HashMap<(SmolStr, ScopeSet), TokenKind>,
}

/// Longer texts are hardly ever repeated.
const LONGEST_REPEATED: usize = 256;

impl<'d> Reader<'d> {
    /// A reader that tells `diagnostics` what it finds, and refuses more levels than `max_depth`.
    pub fn new(dialect: Dialect, max_depth: usize, diagnostics: &'d mut Diagnostics) -> Self {
        let scopes = Scopes::new(dialect.context_aliases());
        Self {
            scopes,
            diagnostics,
            dialect,
            depth: 0,
            max_depth,
            too_deep: false,
            seen: Vec::new(),
            templates: HashMap::new(),
        }
    }

    /// One that goes on where this one stands, in another thread; [`Self::rejoin`] takes in what it found.
    pub(super) fn fork<'o>(&self, diagnostics: &'o mut Diagnostics) -> Reader<'o> {
        Reader { depth: self.depth, too_deep: self.too_deep, ..Reader::new(self.dialect, self.max_depth, diagnostics) }
    }

    /// What one that was forked found, behind all that was found here; and whether something was too deep, which is told once.
    pub(super) fn rejoin(&mut self, mut found: Diagnostics, too_deep: bool) {
        if self.too_deep {
            found.drop_of(codes::LIMIT);
        }
        self.diagnostics.extend(found);
        self.too_deep |= too_deep;
    }

    /// Whether there were more levels than may be.
    pub(super) fn is_too_deep(&self) -> bool {
        self.too_deep
    }

    /// Reads a whole document. It is taken apart on the way, so that its memory serves for what is made of it. The jobs go to
    /// `jobs`, and are not in the result.
    pub fn read(&mut self, mut node: Node, def: &'static Def, jobs: &mut impl TakeJobs) -> Token {
        self.value(&mut node, def, ScopeSet::NONE, jobs)
    }

    fn value(&mut self, node: &mut Node, def: &'static Def, outer: ScopeSet, jobs: &mut impl TakeJobs) -> Token {
        let scope = outer.and(def.scope);
        let span = node.span;
        if node.as_scalar().is_some() {
            return self.scalar(node, def, scope);
        }
        match node.take_value() {
            Value::Scalar(_) => self.scalar(node, def, scope),
            // What an anchor and its aliases share is copied, one level at a time.
            Value::Sequence(items) => self.deeper(span, |reader| reader.sequence(span, items, def, scope, jobs)),
            Value::Mapping(mapping) => self.deeper(span, |reader| reader.mapping(span, mapping, def, scope, jobs)),
        }
    }

    /// One level down, as long as there may be one.
    fn deeper(&mut self, span: Span, read: impl FnOnce(&mut Self) -> Token) -> Token {
        self.depth += 1;
        let token = if self.depth > self.max_depth {
            if !std::mem::replace(&mut self.too_deep, true) {
                let help = format!("there may be {} levels of lists and mappings inside each other", self.max_depth);
                self.diagnostics
                    .push(Diagnostic::error(codes::LIMIT, span, "Maximum object depth exceeded").help(help));
            }
            Token { span, kind: TokenKind::Null }
        } else {
            read(self)
        };
        self.depth -= 1;
        token
    }

    fn scalar(&mut self, node: &Node, def: &'static Def, scope: ScopeSet) -> Token {
        if let Some(tag) = node.tag.as_deref()
            && let Some(problem) = tags::problem(node, tag)
        {
            self.error(codes::SYNTAX, node.span, problem, Some(tags::help(tag)));
            return Token { span: node.span, kind: TokenKind::Null };
        }
        let token = self.text(literal(node), node, scope);
        self.validate(token, def, scope)
    }

    fn sequence(
        &mut self,
        span: Span,
        items: Arc<[Node]>,
        def: &'static Def,
        scope: ScopeSet,
        jobs: &mut impl TakeJobs,
    ) -> Token {
        let Some(item) = def.sequence() else {
            let help = shape_help(def);
            self.error(codes::WRONG_SHAPE, span, "A sequence was not expected".into(), help);
            return Token { span, kind: TokenKind::Null };
        };
        let tokens = lend(items, |items| items.iter_mut().map(|node| self.value(node, item, scope, jobs)).collect());
        Token { span, kind: TokenKind::Sequence(tokens) }
    }

    fn mapping(
        &mut self,
        span: Span,
        mapping: Mapping,
        def: &'static Def,
        scope: ScopeSet,
        jobs: &mut impl TakeJobs,
    ) -> Token {
        let span = mapping_span(span, mapping.entries());
        let mappings = def.mappings();
        if mappings.is_empty() {
            let help = shape_help(def);
            self.error(codes::WRONG_SHAPE, span, "A mapping was not expected".into(), help);
            return Token { span, kind: TokenKind::Null };
        }
        let seen = Seen::new(mapping.len(), &self.seen);
        let mut open = Open { mappings, seen, has_expression: false };
        let pairs = mapping.lend(|entries| {
            if std::ptr::eq(def, &JOBS) {
                self.jobs(entries, &mut open, scope, jobs);
                return Vec::new();
            }
            let mut pairs = Vec::with_capacity(entries.len());
            pairs.extend(entries.iter_mut().filter_map(|entry| self.entry(entry, &mut open, scope, jobs)));
            pairs
        });
        self.finish(span, def, &open);
        open.seen.clear(&mut self.seen);
        Token { span, kind: TokenKind::Mapping(pairs.into()) }
    }

    pub(super) fn entry(
        &mut self,
        Entry { key: key_node, value }: &mut Entry,
        open: &mut Open,
        scope: ScopeSet,
        jobs: &mut impl TakeJobs,
    ) -> Option<Pair> {
        let key = self.text(key_text(key_node), key_node, scope);
        if key.is_expression() {
            return self.expression_key(key, value, open, scope, jobs);
        }
        let name = key.source();
        if !name.is_empty() && !open.seen.add(&name, &mut self.seen) {
            let help = "keys do not tell upper from lower case; keep one of the two".to_owned();
            self.error(codes::DUPLICATE, key.span, format!("'{name}' is already defined"), Some(help));
            return None;
        }
        let first = open.mappings.iter().next()?;
        let known = open.mappings.take(&name).map(|property| property.def);
        let def = match (known, first.others) {
            (Some(def), _) => def,
            (None, Some(others)) if name.is_empty() => {
                let help = Some("a key must not be empty".to_owned());
                self.error(codes::UNEXPECTED_VALUE, key.span, "Unexpected value ''".into(), help);
                // What is wrong below it is told too.
                self.value(value, others, scope, jobs);
                return None;
            }
            (None, Some(others)) => others,
            (None, None) => {
                self.unknown_key(&name, key.span, &open.mappings);
                return None;
            }
        };
        let value = self.value(value, def, scope, jobs);
        Some(Pair { key, value })
    }

    fn expression_key(
        &mut self,
        key: Token,
        value: &mut Node,
        open: &mut Open,
        scope: ScopeSet,
        jobs: &mut impl TakeJobs,
    ) -> Option<Pair> {
        open.has_expression = true;
        if scope.is_empty() {
            self.not_allowed(key.span);
            return None;
        }
        let is_loose = open.mappings.only().filter(|mapping| mapping.properties.is_empty());
        // `insert` brings a whole mapping, whatever the values of the others are.
        let def = match is_loose.and_then(|mapping| mapping.others) {
            Some(others) if !matches!(key.kind, TokenKind::Insert) => others,
            _ => &ANY,
        };
        let value = self.value(value, def, scope, jobs);
        Some(Pair { key, value })
    }

    fn unknown_key(&mut self, name: &str, span: Span, mappings: &Mappings) {
        let is_root = self.depth == 1;
        if is_root && self.dialect.knows_root_key(name) {
            return;
        }
        let known = || mappings.iter().flat_map(|mapping| mapping.properties).map(|property| property.name);
        let help = did_you_mean(name, known()).or_else(|| Some(elsewhere(name)?.to_owned())).or_else(|| {
            let mut names: Vec<_> = known().collect();
            names.sort_unstable();
            names.dedup();
            Some(format!("known here: {}", listed(&names)))
        });
        if self.dialect.ignores_unknown_keys() || mappings.only().is_some_and(passes_over_keys) {
            let message = format!("`{name}` is no key that {} knows here; it is passed over", self.dialect.forge());
            self.diagnostics.push(Diagnostic::warning(codes::IGNORED_KEY, span, message).maybe_help(help));
        } else {
            self.error(codes::UNEXPECTED_VALUE, span, format!("Unexpected value '{name}'"), help);
        }
    }

    /// What can be said of a mapping when all its keys are known.
    fn finish(&mut self, span: Span, def: &'static Def, open: &Open) {
        match open.mappings.only() {
            Some(mapping) if !open.has_expression => {
                for property in mapping.properties.iter().filter(|property| property.required) {
                    if !open.seen.has(property.name, &self.seen) && !self.is_optional(property) {
                        let message = format!("Required property is missing: {}", property.name);
                        self.error(codes::MISSING, span, message, required_help(property));
                    }
                }
            }
            Some(_) => {}
            None => {
                let message = format!(
                    "There's not enough info to determine what you meant. Add one of these properties: {}",
                    distinguishing(&open.mappings).join(", ")
                );
                let help = std::ptr::eq(def, &super::workflow::STEP).then(|| {
                    "a step has `run` or `uses`; or one of `wait`, `wait-all`, `cancel` for background steps".to_owned()
                });
                self.error(codes::MISSING, span, message, help);
            }
        }
    }

    fn is_optional(&self, property: &Property) -> bool {
        property.name == "runs-on" && !self.dialect.needs_runs_on()
    }

    fn validate(&mut self, token: Token, def: &'static Def, scope: ScopeSet) -> Token {
        if matches!(token.kind, TokenKind::Insert) {
            let help = "`${{ insert }}` is a key: what its value holds comes in beside the other keys".to_owned();
            self.error(
                codes::UNEXPECTED_VALUE,
                token.span,
                format!("Unexpected value '{}'", token.source()),
                Some(help),
            );
            return Token { kind: TokenKind::Null, ..token };
        }
        if token.is_expression() {
            if scope.is_empty() {
                self.not_allowed(token.span);
            }
            return token;
        }
        if def.any_scalar(&|shape| fits(shape, &token.kind)) {
            return token;
        }
        let text = token.source();
        let span = token.span;
        if token.as_text().is_none() {
            let as_text = TokenKind::Text(text.clone());
            if def.any_scalar(&|shape| fits(shape, &as_text)) {
                return Token { span, kind: as_text };
            }
        }
        let help = value_help(def, &text);
        self.error(codes::UNEXPECTED_VALUE, span, format!("Unexpected value '{text}'"), help);
        token
    }

    /// Text with its expressions parsed; other literals as they are.
    fn text(&mut self, kind: TokenKind, node: &Node, scope: ScopeSet) -> Token {
        let span = node.span;
        let TokenKind::Text(text) = kind else { return Token { span, kind } };
        if !has_expression(&text) {
            return Token { span, kind: TokenKind::Text(text) };
        }
        let is_short = text.len() <= LONGEST_REPEATED;
        let key = (text, scope);
        if let Some(kind) = self.templates.get(&key).filter(|_| is_short) {
            return Token { span, kind: kind.clone() };
        }
        match Segments::read(&key.0, self, node, scope) {
            None => Token { span, kind: TokenKind::Text(key.0) },
            Some(segments) => {
                let kind = of_segments(key.0.clone(), segments);
                if is_short {
                    self.templates.insert(key, kind.clone());
                }
                Token { span, kind }
            }
        }
    }

    fn not_allowed(&mut self, span: Span) {
        let message = "A template expression is not allowed in this context".to_owned();
        let help = Some("this value has to be known before the run starts; write it out".to_owned());
        self.error(codes::EXPRESSION_NOT_ALLOWED, span, message, help);
    }

    /// Adds a finding.
    pub fn tell(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Whether an error stands in this stretch of text.
    pub fn has_error_within(&self, span: Span) -> bool {
        let within = |at: Span| {
            if at.file != span.file {
                return false;
            }
            // What stands right behind a block begins where the block ends.
            let (at, start, end) = ((at.line, at.column), (span.line, span.column), (span.end_line, span.end_column));
            at == start || (at > start && at < end)
        };
        self.diagnostics.has_errors() && self.diagnostics.iter().any(|finding| within(finding.span))
    }

    pub(super) fn error(
        &mut self,
        code: crate::parser::diagnostics::Code,
        span: Span,
        message: String,
        help: Option<String>,
    ) {
        self.diagnostics.push(Diagnostic::error(code, span, message).maybe_help(help));
    }
}

/// A mapping that is being read.
pub(super) struct Open {
    pub(super) mappings: Mappings,
    pub(super) seen: Seen,
    pub(super) has_expression: bool,
}

/// Whether `${{` stands in a text.
pub(super) fn has_expression(text: &str) -> bool {
    memchr::memchr_iter(b'$', text.as_bytes()).any(|at| text.as_bytes().get(at..at + 3) == Some(b"${{"))
}

fn literal(node: &Node) -> TokenKind {
    let Some(scalar) = node.as_scalar() else { return TokenKind::Null };
    match scalar.typed_with(Schema::Core, node.tag.as_deref()) {
        Typed::Null => TokenKind::Null,
        Typed::Bool(truth) => TokenKind::Bool(truth),
        Typed::Int(number) => TokenKind::Number(number as f64),
        Typed::Float(number) => TokenKind::Number(number),
        Typed::Text(_) | Typed::Symbol(_) | Typed::Time(_) => TokenKind::Text(scalar.text.clone()),
    }
}

/// A key, which is text whatever it looks like.
pub(super) fn key_text(node: &Node) -> TokenKind {
    TokenKind::Text(match literal(node) {
        TokenKind::Text(text) => text,
        TokenKind::Bool(true) => "true".into(),
        TokenKind::Bool(false) => "false".into(),
        TokenKind::Number(number) => number_to_text(number).into(),
        _ => SmolStr::default(),
    })
}

fn of_segments(text: SmolStr, segments: Segments) -> TokenKind {
    if segments.is_insert {
        return TokenKind::Insert;
    }
    // `${{ 'text' }}` alone is that text: the way to write `${{` itself.
    if let [Segment::Expr { expr, .. }] = segments.list.as_slice()
        && let Some(literal) = quoted_text(&expr.text)
    {
        return TokenKind::Text(literal);
    }
    TokenKind::Template(Arc::new(Template { source: text, parts: segments.into_parts() }))
}

/// The text of an expression that is one quoted text.
fn quoted_text(expression: &str) -> Option<SmolStr> {
    let inner = expression.strip_prefix('\'')?.strip_suffix('\'')?;
    let unescaped = inner.replace("''", "\u{0}");
    (!unescaped.contains('\'')).then(|| unescaped.replace('\u{0}', "'").into())
}

/// A block mapping begins at its first key; the official parser counts from there, also where an anchor or a tag stands before.
fn mapping_span(span: Span, entries: &[Entry]) -> Span {
    let Some(first) = entries.first().map(|entry| entry.key.span) else { return span };
    let begins_before = (span.line, span.column) < (first.line, first.column);
    // In a flow mapping the brace is the beginning.
    let is_other_line = span.line < first.line;
    if begins_before && is_other_line && first.file == span.file {
        Span { line: first.line, column: first.column, ..span }
    } else {
        span
    }
}

fn fits(shape: &Shape, kind: &TokenKind) -> bool {
    match (shape, kind) {
        (Shape::Null, TokenKind::Null)
        | (Shape::Bool, TokenKind::Bool(_))
        | (Shape::Number, TokenKind::Number(_))
        | (Shape::Text, TokenKind::Text(_)) => true,
        (Shape::NonEmpty, TokenKind::Text(text)) => !text.is_empty(),
        (Shape::Words(words), TokenKind::Text(text)) => words.contains(&text.as_str()),
        _ => false,
    }
}

/// The properties that only one of the mappings has: naming one of them tells which is meant. Those of background steps are left
/// out, as in the official message.
fn distinguishing(mappings: &Mappings) -> Vec<&'static str> {
    let mut count: Vec<(&str, usize)> = Vec::new();
    for property in mappings.iter().flat_map(|mapping: &'static MappingDef| mapping.properties) {
        match count.iter_mut().find(|(name, _)| *name == property.name) {
            Some((_, times)) => *times += 1,
            None => count.push((property.name, 1)),
        }
    }
    let once =
        count.into_iter().filter(|(name, times)| *times == 1 && !matches!(*name, "wait" | "wait-all" | "cancel"));
    let mut names: Vec<_> = once.map(|(name, _)| name).collect();
    names.sort_unstable();
    names
}

/// What may stand where something of another shape does.
fn shape_help(def: &'static Def) -> Option<String> {
    let mut kinds = Vec::new();
    if def.any_scalar(&|shape| {
        matches!(shape, Shape::Text | Shape::NonEmpty | Shape::Words(_) | Shape::Bool | Shape::Number)
    }) {
        kinds.push("a single value");
    }
    if def.sequence().is_some() {
        kinds.push("a list");
    }
    if !def.mappings().is_empty() {
        kinds.push("a mapping of keys and values");
    }
    if kinds.is_empty() {
        return Some("nothing may stand here: leave the value out".to_owned());
    }
    let place = if std::ptr::eq(def, &super::workflow::STEPS) { "`steps` is" } else { "here stands" };
    Some(format!("{place} {}", kinds.join(" or ")))
}

fn required_help(property: &Property) -> Option<String> {
    Some(match property.name {
        "jobs" => "a workflow has `jobs:` with at least one job under it".to_owned(),
        "on" => "say what starts it: `on: push`".to_owned(),
        "runs-on" => "say where it runs: `runs-on: ubuntu-latest`".to_owned(),
        name => format!("add `{name}:` to this mapping"),
    })
}

fn value_help(def: &'static Def, text: &str) -> Option<String> {
    let mut words = Vec::new();
    def.words(&mut words);
    if !words.is_empty() {
        let all = || format!("it is one of {}", listed(&words));
        return Some(did_you_mean(text, words.iter().copied()).unwrap_or_else(all));
    }
    if def.any_scalar(&|shape| matches!(shape, Shape::NonEmpty)) && text.is_empty() {
        return Some("a value has to stand here".to_owned());
    }
    if def.any_scalar(&|shape| matches!(shape, Shape::Bool)) {
        return Some("this is `true` or `false`, without quotes".to_owned());
    }
    if def.any_scalar(&|shape| matches!(shape, Shape::Number)) {
        return Some("this is a number, without quotes".to_owned());
    }
    if std::ptr::eq(def, &super::workflow::STEP) {
        return Some("a step is a mapping: write `run:` or `uses:` before it".to_owned());
    }
    shape_help(def)
}

/// What people from other languages mean by a key, or where a key belongs.
fn elsewhere(name: &str) -> Option<&'static str> {
    Some(match name {
        "script" | "command" | "commands" | "cmd" => "scripts are steps here: `steps:` with `- run: …`",
        "image" => "the image of a job stands in `container:`",
        "stage" | "depends_on" | "dependencies" => "the order of jobs comes from `needs:`",
        "variables" | "environment_variables" => "variables stand in `env:`",
        "when" | "only" | "rules" => "conditions stand in `if:`",
        "timeout" => "time limits stand in `timeout-minutes:`",
        "allow_failure" | "allow-failure" => "write `continue-on-error: true`",
        "uses" | "run" => "a step has either `run` or `uses`; make two steps of it",
        "runs-on" | "steps" => "a job that calls a workflow by `uses` has no `runs-on` and no `steps` of its own",
        _ => return None,
    })
}

fn listed(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
