//! Text with references to its parts.

use std::ops::Range;

use smol_str::SmolStr;

use super::{VariableError, VariableErrorKind};
use crate::parser::expression::{self, Dialect, Expr};

/// What is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Every reference.
    Value,
    /// Only what a shell cannot know: expressions and names with dots.
    Script,
}

/// Text with references in it, parsed once.
#[derive(Clone, Debug)]
pub struct Text {
    /// Its parts.
    pub segments: Vec<Segment>,
}

/// A part.
#[derive(Clone, Debug)]
pub enum Segment {
    /// Text.
    Text(SmolStr),
    /// `${name}` and what is done with its value.
    Reference {
        /// A name, or names with dots between them.
        name: SmolStr,
        /// What is done.
        operation: Operation,
        /// The bytes of the text that the reference takes.
        at: Range<usize>,
    },
    /// `${{ expression }}`.
    Expr {
        /// The expression.
        expr: Box<Expr>,
        /// Where its text begins.
        offset: usize,
    },
}

/// What is done with a value.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Nothing.
    Plain,
    /// `:-`: this, where there is none or it is empty.
    Default(Text),
    /// `:+`: this, where there is one that is not empty; else nothing.
    Alternate(Text),
    /// `:?`: an error with this message, where there is none or it is empty.
    Required(SmolStr),
    /// `/pattern/replacement`: every occurrence of the pattern, which is plain text.
    Replace {
        /// What is looked for.
        pattern: SmolStr,
        /// What stands there then.
        with: Text,
    },
}

/// References inside defaults of references.
const MAX_DEPTH: usize = 16;

impl Text {
    /// Parses text.
    ///
    /// # Errors
    /// All that is wrong with its references.
    pub fn parse(text: &str, style: Style) -> Result<Self, Vec<VariableError>> {
        let mut errors = Vec::new();
        let parsed = parse(text, 0..text.len(), style, 0, &mut errors);
        if errors.is_empty() { Ok(parsed) } else { Err(errors) }
    }

    /// The text, if it holds no reference.
    pub fn as_literal(&self) -> Option<&str> {
        match self.segments.as_slice() {
            [] => Some(""),
            [Segment::Text(text)] => Some(text),
            _ => None,
        }
    }
}

fn parse(text: &str, range: Range<usize>, style: Style, depth: usize, errors: &mut Vec<VariableError>) -> Text {
    let mut segments = Vec::new();
    let mut plain = String::new();
    let mut at = range.start;
    let slice = |range: Range<usize>| text.get(range).unwrap_or("");
    while at < range.end {
        let rest = slice(at..range.end);
        let Some(found) = rest.find("${") else {
            plain.push_str(rest);
            break;
        };
        let open = at + found;
        let before = slice(at..open);
        // `$${` is `${` itself.
        if style == Style::Value && before.ends_with('$') {
            plain.push_str(before);
            plain.push('{');
            at = open + 2;
            continue;
        }
        plain.push_str(before);
        let Some(end) = end_of(text, open, range.end) else {
            if style == Style::Script && !slice(open..range.end).starts_with("${{") {
                plain.push_str("${");
                at = open + 2;
                continue;
            }
            let message = "the reference is never closed";
            errors.push(
                VariableError::new(VariableErrorKind::Syntax, open..range.end, message)
                    .help("close it with `}`, or write `$${` for the characters themselves"),
            );
            break;
        };
        match segment(text, open..end, style, depth, errors) {
            Some(segment) => {
                if !plain.is_empty() {
                    segments.push(Segment::Text(std::mem::take(&mut plain).into()));
                }
                segments.push(segment);
            }
            None => plain.push_str(slice(open..end)),
        }
        at = end;
    }
    if !plain.is_empty() {
        segments.push(Segment::Text(plain.into()));
    }
    Text { segments }
}

/// Where the reference that begins at `open` ends, its braces included.
fn end_of(text: &str, open: usize, limit: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    if text.get(open..limit)?.starts_with("${{") {
        let mut quoted = false;
        return (open + 3..limit).find_map(|at| match bytes.get(at) {
            Some(b'\'') => {
                quoted = !quoted;
                None
            }
            Some(b'}') if !quoted && at + 1 < limit && bytes.get(at + 1) == Some(&b'}') => Some(at + 2),
            _ => None,
        });
    }
    let mut level = 0;
    let mut at = open + 2;
    while at < limit {
        match bytes.get(at)? {
            b'\\' => at += 1,
            b'$' if bytes.get(at + 1) == Some(&b'{') => {
                level += 1;
                at += 1;
            }
            b'}' if level == 0 => return Some(at + 1),
            b'}' => level -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

/// The reference at `range`; `None` where it is the shell's, or wrong.
fn segment(
    text: &str,
    range: Range<usize>,
    style: Style,
    depth: usize,
    errors: &mut Vec<VariableError>,
) -> Option<Segment> {
    let whole = text.get(range.clone())?;
    if let Some(inner) = whole.strip_prefix("${{").and_then(|inner| inner.strip_suffix("}}")) {
        return expression_in(inner, range, errors);
    }
    let body = range.start + 2..range.end - 1;
    let inner = text.get(body.clone())?;
    let length =
        inner.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))).unwrap_or(inner.len());
    // A dash belongs to a name only behind a dot: `${V-x}` is not one of ours.
    let name = inner.get(..length)?;
    let first = name.split('.').next().unwrap_or("");
    let is_name = first.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && !first.contains('-')
        && !name.split('.').any(str::is_empty);
    if style == Style::Script && !(is_name && name.contains('.')) {
        return None;
    }
    let syntax = |message: String| VariableError::new(VariableErrorKind::Syntax, range.clone(), message);
    if !is_name {
        errors.push(syntax(format!("`{whole}` names no variable")).help("a reference is written `${NAME}`"));
        return None;
    }
    if depth >= MAX_DEPTH {
        errors.push(VariableError::new(
            VariableErrorKind::Limit,
            range.clone(),
            format!("more than {MAX_DEPTH} references inside each other"),
        ));
        return None;
    }
    let rest = inner.get(length..)?;
    let from = body.start + length;
    let mut inside = |skip: usize| parse(text, from + skip..body.end, Style::Value, depth + 1, errors);
    let operation = if rest.is_empty() {
        Operation::Plain
    } else if rest.starts_with(":-") {
        Operation::Default(inside(2))
    } else if rest.starts_with(":+") {
        Operation::Alternate(inside(2))
    } else if let Some(message) = rest.strip_prefix(":?") {
        Operation::Required(message.into())
    } else if let Some(patterns) = rest.strip_prefix('/') {
        match replacement(patterns.strip_prefix('/').unwrap_or(patterns)) {
            Some((pattern, with)) if !pattern.is_empty() => Operation::Replace {
                pattern: pattern.into(),
                with: parse(&with, 0..with.len(), Style::Value, depth + 1, errors),
            },
            _ => {
                errors.push(
                    syntax(format!("`{whole}` does not say what is replaced"))
                        .help("write `${NAME/what/with}`; a slash inside is written `\\/`"),
                );
                return None;
            }
        }
    } else {
        errors.push(syntax(format!("`{rest}` is nothing that can be done with a variable")).help(
            "a default is `${NAME:-text}`, text if it is set `${NAME:+text}`, a replacement `${NAME/what/with}`",
        ));
        return None;
    };
    Some(Segment::Reference { name: name.into(), operation, at: range })
}

fn expression_in(inner: &str, range: Range<usize>, errors: &mut Vec<VariableError>) -> Option<Segment> {
    let offset = range.start + 3 + (inner.len() - inner.trim_start().len());
    if inner.trim().is_empty() {
        errors.push(VariableError::new(VariableErrorKind::Expression, range, "an expression was expected"));
        return None;
    }
    match expression::parse(inner.trim(), Dialect::Native) {
        Ok(expr) => Some(Segment::Expr { expr: Box::new(expr), offset }),
        Err(error) => {
            let at = offset + error.offset..offset + error.offset + error.len;
            errors.push(VariableError::new(VariableErrorKind::Expression, at, error.message));
            None
        }
    }
}

/// `what/with`; a backslash takes its meaning from the character after it.
fn replacement(text: &str) -> Option<(String, String)> {
    let mut pattern = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => pattern.extend(chars.next().map(|(_, c)| c)),
            '/' => return Some((pattern, text.get(at + 1..)?.replace("\\/", "/").replace("\\}", "}"))),
            c => pattern.push(c),
        }
    }
    None
}
