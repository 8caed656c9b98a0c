//! Conditions and patterns: `rules:if`, `only:variables`, `only:refs`, `coverage`.

use std::sync::Arc;

use super::super::codes;
use super::super::model::{Condition, Name};
use super::super::place::At;
use super::super::values::{Checker, as_text, is_null};
use crate::parser::diagnostics::Diagnostic;
use crate::parser::document::{Node, Span, Style};
use crate::parser::expression::ExprError;
use crate::parser::expression::gitlab;
use crate::parser::expression::regex::Pattern;

impl Checker<'_> {
    /// A condition.
    pub fn condition(&mut self, node: &Node, at: At<'_>) -> Option<Condition> {
        if is_null(node) {
            return None;
        }
        let Some(text) = as_text(node) else {
            self.wrong_type(node, at, "one expression in text");
            return None;
        };
        if let Some(expr) = self.conditions.get(&text) {
            return Some(Condition { text, expr: Arc::clone(expr), span: node.span });
        }
        match gitlab::parse(&text) {
            Ok(expr) => {
                let expr = Arc::new(expr);
                self.conditions.insert(text.clone(), Arc::clone(&expr));
                Some(Condition { text, expr, span: node.span })
            }
            Err(error) => {
                let what = format!("is not a valid expression, `{text}`: {}", error.message);
                let mut found = Diagnostic::error(codes::WRONG_EXPRESSION, node.span, format!("{at} {what}"));
                if let Some(token) = part(node, &text, &error) {
                    found = found.related(token, "here");
                }
                self.out.push(found.maybe_help(way_out(&text)));
                None
            }
        }
    }

    /// Whether text between slashes is a pattern; if not, that is reported.
    pub fn pattern(&mut self, text: &str, node: &Node, at: At<'_>) -> bool {
        let problem = Pattern::slashed(text).err();
        if let Some(problem) = &problem {
            let what = format!("has a pattern that GitLab cannot use, `{text}`: {problem}");
            let help = Some("patterns are RE2: there is no look-ahead, look-behind or back-reference".to_owned());
            self.error_help(codes::WRONG_PATTERN, node.span, at, what, help);
        }
        problem.is_none()
    }

    /// `coverage`.
    pub fn coverage(&mut self, node: &Node, at: At<'_>) -> Option<Name> {
        let name = self.name(node, at)?;
        if !Pattern::looks_slashed(&name.value) {
            let help = Some("write it between slashes, like `/Coverage: \\d+/`".to_owned());
            self.error_help(codes::WRONG_PATTERN, name.span, at, "must be a regular expression", help);
            return None;
        }
        self.pattern(&name.value, node, at).then_some(name)
    }

    /// A pattern over whole paths: Ruby's own, look-ahead and all.
    pub fn path_pattern(&mut self, name: &Name, at: At<'_>) -> bool {
        let problem = Pattern::ruby(&name.value).err();
        if let Some(problem) = &problem {
            let what = format!("is not a regular expression, `{}`: {problem}", name.value);
            self.error(codes::WRONG_PATTERN, name.span, at, what);
        }
        problem.is_none()
    }
}

/// The offending token in the file, where the text stands there as it is and is more than that token.
fn part(node: &Node, text: &str, error: &ExprError) -> Option<Span> {
    let style = node.as_scalar().map(|scalar| scalar.style);
    let length = text.chars().count();
    let quotes = u32::from(style == Some(Style::Quoted));
    let written = u32::try_from(length).is_ok_and(|length| {
        node.span.line == node.span.end_line && node.span.end_column == node.span.column + length + 2 * quotes
    });
    if !written || style == Some(Style::Block) || error.len == 0 {
        return None;
    }
    let chars = |end: usize| text.get(..end).map_or(0, |before| before.chars().count());
    let (begin, end) = (chars(error.offset), chars(error.offset.saturating_add(error.len)));
    let (begin, length) = (u32::try_from(begin).ok()?, u32::try_from(end.saturating_sub(begin)).ok()?);
    Some(node.span.part(begin + quotes, length))
}

/// What people of other languages write, and what it is here.
fn way_out(text: &str) -> Option<String> {
    if let Some((_, rest)) = text.split_once("${")
        && let Some((name, _)) = rest.split_once('}')
    {
        return Some(format!("variables have no braces here: write `${name}`"));
    }
    let bytes = text.as_bytes();
    let single = |sign: u8, with: &[u8]| {
        bytes.iter().enumerate().any(|(at, byte)| {
            let near = [at.checked_sub(1), at.checked_add(1)];
            let joined = near.into_iter().flatten().filter_map(|at| bytes.get(at)).any(|byte| with.contains(byte));
            *byte == sign && !joined
        })
    };
    if single(b'=', b"=!~<>") {
        return Some("compare with `==`".to_owned());
    }
    if single(b'&', b"&") || single(b'|', b"|") {
        return Some("conditions are joined by `&&` and `||`".to_owned());
    }
    None
}
