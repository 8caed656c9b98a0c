//! Text with `${{ }}` in it.

use smol_str::SmolStr;

use super::{Budget, Context, Dialect, ErrorKind, Expr, ExprError, Scope, Value, evaluate, parse_in};

/// Text with expressions in it, parsed once.
#[derive(Clone, Debug)]
pub struct Template {
    /// The text as it is written.
    pub source: SmolStr,
    /// What it is made of, in order; no part for empty text.
    pub parts: Vec<Part>,
}

/// A part of a template.
#[derive(Clone, Debug)]
pub enum Part {
    /// Text.
    Text(SmolStr),
    /// An expression; `offset` is where its text begins in the source, in bytes.
    Expr {
        /// The expression.
        expr: Expr,
        /// Where it begins, after `${{` and blanks.
        offset: usize,
    },
}

/// What is wrong with one expression of a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct TemplateError {
    /// What is wrong; its offset counts in `expression`.
    pub error: ExprError,
    /// The text of the expression, trimmed.
    pub expression: SmolStr,
    /// Where that begins in the template's text, in bytes.
    pub offset: usize,
}

const OPEN: &str = "${{";
const CLOSE: &str = "}}";

impl Template {
    /// Parses text in which any named value and function may be used.
    ///
    /// # Errors
    /// What is wrong with each of its expressions.
    pub fn parse(text: &str, dialect: Dialect) -> Result<Self, Vec<TemplateError>> {
        Self::parse_in(text, dialect, Scope::default())
    }

    /// Parses text whose expressions may use what `scope` says.
    ///
    /// # Errors
    /// What is wrong with each of its expressions.
    pub fn parse_in(text: &str, dialect: Dialect, scope: Scope<'_>) -> Result<Self, Vec<TemplateError>> {
        let mut parts = Vec::new();
        let mut errors = Vec::new();
        let mut from = 0;
        while let Some(open) = text.get(from..).and_then(|rest| rest.find(OPEN)).map(|at| from + at) {
            if open > from {
                parts.push(Part::Text(text.get(from..open).unwrap_or("").into()));
            }
            let begin = open + OPEN.len();
            let Some(end) = end_of(text, begin) else {
                errors.push(unclosed(text, open));
                from = text.len();
                break;
            };
            let inner = text.get(begin..end).unwrap_or("");
            let offset = begin + (inner.len() - inner.trim_start().len());
            match expression(inner.trim(), dialect, scope) {
                Ok(expr) => parts.push(Part::Expr { expr, offset }),
                Err(error) => errors.push(TemplateError { error, expression: inner.trim().into(), offset }),
            }
            from = end + CLOSE.len();
        }
        if from < text.len() {
            parts.push(Part::Text(text.get(from..).unwrap_or("").into()));
        }
        if errors.is_empty() { Ok(Self { source: text.into(), parts }) } else { Err(errors) }
    }

    /// A text without expressions, whatever it holds.
    pub fn literal(text: &str) -> Self {
        let parts = if text.is_empty() { Vec::new() } else { vec![Part::Text(text.into())] };
        Self { source: text.into(), parts }
    }

    /// The text, if there is no expression in it.
    pub fn as_literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The expression, if it is all there is.
    pub fn as_expr(&self) -> Option<&Expr> {
        match self.parts.as_slice() {
            [Part::Expr { expr, .. }] => Some(expr),
            _ => None,
        }
    }

    /// The expressions, and where each begins in the source.
    pub fn exprs(&self) -> impl Iterator<Item = (&Expr, usize)> {
        self.parts.iter().filter_map(|part| match part {
            Part::Expr { expr, offset } => Some((expr, *offset)),
            Part::Text(_) => None,
        })
    }

    /// The value: that of the expression where it is all there is, else text.
    ///
    /// # Errors
    /// What cannot be evaluated.
    pub fn evaluate(&self, context: &dyn Context, budget: &Budget<'_>) -> Result<Value, TemplateError> {
        match self.parts.as_slice() {
            [Part::Expr { expr, offset }] => one(expr, *offset, context, budget),
            _ => self.evaluate_text(context, budget).map(Value::from),
        }
    }

    /// The value as text.
    ///
    /// # Errors
    /// What cannot be evaluated.
    pub fn evaluate_text(&self, context: &dyn Context, budget: &Budget<'_>) -> Result<String, TemplateError> {
        let mut text = String::with_capacity(self.source.len());
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Expr { expr, offset } => {
                    text.push_str(&one(expr, *offset, context, budget)?.to_text());
                    if text.len() > budget.bytes {
                        let message = "its values take more memory than a text may";
                        let error = ExprError::new(ErrorKind::Budget, 0, 0, message);
                        return Err(TemplateError { error, expression: expr.text.clone(), offset: *offset });
                    }
                }
            }
        }
        Ok(text)
    }
}

fn one(expr: &Expr, offset: usize, context: &dyn Context, budget: &Budget<'_>) -> Result<Value, TemplateError> {
    evaluate(expr, context, budget).map_err(|error| TemplateError { error, expression: expr.text.clone(), offset })
}

fn expression(text: &str, dialect: Dialect, scope: Scope<'_>) -> Result<Expr, ExprError> {
    if text.is_empty() {
        return Err(ExprError::new(ErrorKind::UnexpectedEnd, 0, 0, "An expression was expected"));
    }
    parse_in(text, dialect, scope)
}

/// The `}}` that ends an expression: the first outside quotes.
fn end_of(text: &str, begin: usize) -> Option<usize> {
    let mut quoted = false;
    let bytes = text.as_bytes();
    let mut at = begin;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\'' => quoted = !quoted,
            b'}' if !quoted && bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

fn unclosed(text: &str, open: usize) -> TemplateError {
    let message =
        "The expression is not closed. An unescaped ${{ sequence was found, but the closing }} sequence was not found.";
    let error = ExprError::new(ErrorKind::UnexpectedEnd, 0, OPEN.len(), message);
    TemplateError { error, expression: text.get(open..).unwrap_or("").into(), offset: open }
}
