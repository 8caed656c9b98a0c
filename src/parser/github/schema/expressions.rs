//! The expressions in a text.

use smol_str::SmolStr;

use super::reader::Reader;
use super::scope::ScopeSet;
use crate::parser::diagnostics::{Diagnostic, did_you_mean};
use crate::parser::document::{Node, Span, Style};
use crate::parser::expression::{Dialect, ErrorKind, Expr, ExprError, FUNCTIONS, Names, Part, Scope, parse_in};
use crate::parser::github::codes;

/// A text, cut at its expressions.
pub(super) struct Segments {
    pub(super) list: Vec<Segment>,
    /// It is `${{ insert }}`.
    pub(super) is_insert: bool,
}

/// A part of a text.
pub(super) enum Segment {
    Text(SmolStr),
    Expr { expr: Expr, offset: usize },
}

const OPEN: &str = "${{";
/// Characters that the one expression which a text with expressions becomes may have.
const MAX_LENGTH: usize = 21_000;

impl Segments {
    /// Cuts a text and parses its expressions; `None` where something is wrong with them, which has been told then.
    pub(super) fn read(text: &SmolStr, reader: &mut Reader<'_>, node: &Node, scope: ScopeSet) -> Option<Self> {
        // Most texts are one expression; else text stands between them.
        let opens = memchr::memmem::find_iter(text.as_bytes(), OPEN).count();
        let is_one = opens == 1 && text.starts_with(OPEN) && text.ends_with("}}");
        let mut list = Vec::with_capacity(if is_one { 1 } else { 2 * opens + 1 });
        let mut is_good = true;
        let mut is_insert = false;
        let mut from = 0;
        while let Some(open) = text.get(from..)?.find(OPEN).map(|at| from + at) {
            if open > from {
                list.push(Segment::Text(text.get(from..open)?.into()));
            }
            let begin = open + OPEN.len();
            let Some(end) = end_of(text, begin) else {
                let message = "The expression is not closed. An unescaped ${{ sequence was found, but the closing }} \
                               sequence was not found.";
                let help = "close it with `}}`; to write `${{` itself: `${{ '${{' }}`";
                reader.error(codes::EXPRESSION, node.span, message.into(), Some(help.into()));
                return None;
            };
            let inner = text.get(begin..end)?;
            let offset = begin + (inner.len() - inner.trim_start().len());
            from = end + 2;
            let trimmed = inner.trim();
            match directive(trimmed) {
                Some(Ok(())) if open == 0 && from == text.len() => is_insert = true,
                Some(Ok(())) => {
                    let message = "The directive 'insert' is not allowed in this context. Directives are not supported for \
                                   expressions that are embedded within a string. Directives are only supported when the \
                                   entire value is an expression.";
                    reader.error(codes::EXPRESSION, node.span, message.into(), None);
                    return None;
                }
                Some(Err(message)) => {
                    reader.error(codes::EXPRESSION, node.span, message, None);
                    is_good = false;
                }
                None => match parse(trimmed, reader, scope) {
                    Ok(expr) => list.push(Segment::Expr { expr, offset }),
                    Err(error) => {
                        reader.expression_error(&error, trimmed, node, scope, (text, offset));
                        is_good = false;
                    }
                },
            }
        }
        if from < text.len() {
            list.push(Segment::Text(text.get(from..)?.into()));
        }
        let segments = Self { list, is_insert };
        if is_good && segments.length() > MAX_LENGTH {
            let message = format!("Exceeded max expression length {MAX_LENGTH}");
            let help = "a text with `${{ }}` in it is evaluated as one expression; hand the values over in `env` and keep the text \
                        free of expressions, or put the script into a file";
            reader.error(codes::LIMIT, node.span, message, Some(help.into()));
            return None;
        }
        is_good.then_some(segments)
    }

    /// The length of the one expression that this text becomes: `format('…', …)`.
    fn length(&self) -> usize {
        let [_, _, ..] = self.list.as_slice() else { return 0 };
        let of = |segment: &Segment| match segment {
            Segment::Text(text) => {
                text.chars().count() + text.chars().filter(|c| matches!(c, '\'' | '{' | '}')).count()
            }
            Segment::Expr { expr, .. } => expr.text.chars().count() + ", {0}".len(),
        };
        "format('')".len() + self.list.iter().map(of).sum::<usize>()
    }

    pub(super) fn into_parts(self) -> Vec<Part> {
        let part = |segment| match segment {
            Segment::Text(text) => Part::Text(text),
            Segment::Expr { expr, offset } => Part::Expr { expr, offset },
        };
        self.list.into_iter().map(part).collect()
    }
}

/// The `}}` that ends an expression: the first outside quotes.
fn end_of(text: &str, begin: usize) -> Option<usize> {
    let mut quoted = false;
    let bytes = text.as_bytes();
    let mut previous = 0;
    for at in begin..bytes.len() {
        match bytes.get(at) {
            Some(b'\'') => quoted = !quoted,
            Some(b'}') if !quoted && previous == b'}' => return Some(at - 1),
            _ => {}
        }
        previous = bytes.get(at).copied().unwrap_or(0);
    }
    None
}

/// Whether it is the directive `insert`, and what is wrong with it.
fn directive(text: &str) -> Option<Result<(), String>> {
    let rest = text.strip_prefix("insert")?;
    if rest.is_empty() {
        return Some(Ok(()));
    }
    rest.starts_with(char::is_whitespace).then(|| {
        let message =
            "Exactly 0 parameter(s) were expected following the directive 'insert'. Actual parameter count: 1";
        Err(message.to_owned())
    })
}

fn parse(text: &str, reader: &mut Reader<'_>, scope: ScopeSet) -> Result<Expr, ExprError> {
    if text.is_empty() {
        return Err(ExprError {
            kind: ErrorKind::UnexpectedEnd,
            offset: 0,
            len: 0,
            message: "An expression was expected".to_owned(),
        });
    }
    let lists = reader.scopes.lists(scope);
    let scope = Scope { names: Names::Only(&lists.names), functions: Some(&lists.functions) };
    parse_in(text, Dialect::GitHub, scope)
}

impl Reader<'_> {
    /// Parses a condition, which is an expression without `${{ }}`.
    pub fn condition(&mut self, text: &str, node_span: Span, scope: ScopeSet) -> Option<Expr> {
        match parse(text, self, scope) {
            Ok(expr) => Some(expr),
            Err(error) => {
                self.tell_expression(&error, text, node_span, None, scope);
                None
            }
        }
    }

    fn expression_error(
        &mut self,
        error: &ExprError,
        text: &str,
        node: &Node,
        scope: ScopeSet,
        (whole, offset): (&str, usize),
    ) {
        let place = exact_place(node, whole, offset + error.offset, error.len);
        self.tell_expression(error, text, node.span, place, scope);
    }

    fn tell_expression(&mut self, error: &ExprError, text: &str, span: Span, place: Option<Span>, scope: ScopeSet) {
        let message = if text.is_empty() { error.message.clone() } else { error.official(text) };
        let token = text.get(error.offset..error.offset + error.len).unwrap_or("");
        let (code, help) = match error.kind {
            ErrorKind::UnknownName => (codes::UNKNOWN_CONTEXT, self.name_help(token, scope)),
            ErrorKind::UnknownFunction => (codes::UNKNOWN_CONTEXT, self.function_help(token, scope)),
            ErrorKind::TooLong | ErrorKind::TooDeep => (codes::LIMIT, None),
            _ => (codes::EXPRESSION, syntax_help(token)),
        };
        let mut diagnostic = Diagnostic::error(code, span, message).maybe_help(help);
        if let Some(place) = place.filter(|place| (place.line, place.column) != (span.line, span.column)) {
            diagnostic = diagnostic.related(place, "here");
        }
        self.diagnostics.push(diagnostic);
    }

    fn name_help(&mut self, name: &str, scope: ScopeSet) -> Option<String> {
        let names = &self.scopes.lists(scope).names;
        if names.is_empty() {
            return Some("no expression may stand here: the value has to be known before the run".to_owned());
        }
        if let Some(help) = did_you_mean(name, names.iter().copied()) {
            return Some(help);
        }
        let all = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let exists = super::scope::NAMES.iter().any(|(known, _)| name.eq_ignore_ascii_case(known));
        Some(if exists {
            format!("`{name}` cannot be used in this place; there are {all}")
        } else {
            format!("there are {all}; text stands in single quotes: '{name}'")
        })
    }

    fn function_help(&mut self, call: &str, scope: ScopeSet) -> Option<String> {
        let name = call.split(['(', ' ']).next().unwrap_or(call);
        let functions = &self.scopes.lists(scope).functions;
        if let Some(help) = did_you_mean(name, functions.iter().map(|known| known.name)) {
            return Some(help);
        }
        if FUNCTIONS.iter().any(|known| known.name.eq_ignore_ascii_case(name)) {
            return Some(format!("`{name}` cannot be used in this place"));
        }
        let all: Vec<String> = functions.iter().map(|known| format!("`{}`", known.name)).collect();
        Some(format!("there are {}", all.join(", ")))
    }
}

fn syntax_help(token: &str) -> Option<String> {
    if token.starts_with('"') || token.ends_with('"') {
        return Some("text stands in single quotes: 'text'".to_owned());
    }
    match token {
        "=" => Some("compare with `==`".to_owned()),
        "&" => Some("and is `&&`".to_owned()),
        "|" => Some("or is `||`".to_owned()),
        "+" | "-" | "*" | "/" | "%" => {
            Some("GitHub's expressions do not calculate; join text by `format('{0}{1}', a, b)`".to_owned())
        }
        _ => None,
    }
}

/// Where a byte of a scalar's text stands in its file, where that can be told from the text alone: on one line.
fn exact_place(node: &Node, text: &str, offset: usize, length: usize) -> Option<Span> {
    let scalar = node.as_scalar()?;
    let span = node.span;
    let before = text.get(..offset)?.chars().count();
    let length = u32::try_from(length).ok()?;
    match scalar.style {
        Style::Plain if span.line == span.end_line => Some(span.part(u32::try_from(before).ok()?, length)),
        // An escape before it would move it.
        Style::Quoted if span.line == span.end_line && !text.contains(['\'', '\\', '"']) => {
            Some(span.part(u32::try_from(before + 1).ok()?, length))
        }
        Style::Block => {
            // Lines of a literal block stand one below the other, behind an indentation that the text does not tell.
            let line = u32::try_from(text.get(..offset)?.matches('\n').count()).ok()? + 1;
            let at =
                Span { line: span.line + line, column: 1, end_line: span.line + line, end_column: u32::MAX, ..span };
            (at.line < span.end_line || span.end_line == span.line).then_some(at)
        }
        _ => None,
    }
}
