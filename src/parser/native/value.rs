//! Values of one kind: text, lists, truths, numbers, words.

use std::ops::RangeInclusive;

use super::check::{Check, Place, listed};
use super::codes;
use super::condition::truth;
use crate::parser::diagnostics::did_you_mean;
use crate::parser::document::{Node, Schema, Typed};

impl Check<'_> {
    /// A value of another kind than wanted: `help` says how one is written.
    pub(super) fn wrong(&mut self, node: &Node, key: &str, wanted: &str, help: String) {
        let message = format!("`{key}` is {wanted}, not {}", node.kind(Schema::Core));
        self.error(codes::WRONG_TYPE, node.span, message, help);
    }

    /// Text as it is written; numbers and truths count as the text they are written with.
    pub(super) fn text(&mut self, node: &Node, key: &str) -> Option<String> {
        match (node.as_scalar(), node.typed(Schema::Core)) {
            (Some(scalar), Some(typed)) if !matches!(typed, Typed::Null) => Some(scalar.text.to_string()),
            _ => {
                let help = match node.is_null(Schema::Core) {
                    true => format!("write a value behind `{key}:`, or remove the key"),
                    false => format!("write one value: `{}: text`", key.trim_end_matches("[]")),
                };
                self.wrong(node, key, "text", help);
                None
            }
        }
    }

    /// Text of at least one character that is no blank.
    pub(super) fn filled(&mut self, node: &Node, key: &str, place: Place) -> Option<String> {
        let text = self.checked_text(node, key, place)?;
        if text.trim().is_empty() {
            let help = match key.ends_with("[]") {
                true => "write something between the quotes, or remove the item".to_owned(),
                false => "write something between the quotes, or remove the key".to_owned(),
            };
            self.error(codes::EMPTY, node.span, format!("`{key}` is empty"), help);
        }
        Some(text)
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
                let help = "add one, or remove the key".to_owned();
                self.error(codes::EMPTY, node.span, format!("`{key}` has no item"), help);
                &[]
            }
            Some(items) => items,
            None => {
                let written = node.as_scalar().map(|scalar| scalar.text.as_str()).filter(|text| !text.is_empty());
                let help = match written.filter(|text| text.len() < 40 && !text.contains(['\n', '[', ']'])) {
                    Some(text) => format!("write `{key}: [{text}]`"),
                    None => format!("write `{key}: [...]`, or its items each behind a dash"),
                };
                self.wrong(node, key, "a list", help);
                &[]
            }
        }
    }

    /// A list of texts that are not empty.
    pub(super) fn texts(&mut self, node: &Node, key: &str, needs_one: bool, place: Place) -> Vec<String> {
        let items = self.list(node, key, needs_one);
        items.iter().filter_map(|item| self.filled(item, &format!("{key}[]"), place)).collect()
    }

    /// A truth, or a reference that makes one.
    pub(super) fn boolean(&mut self, node: &Node, key: &str) -> Option<bool> {
        match node.typed(Schema::Core) {
            Some(Typed::Bool(truth)) => Some(truth),
            Some(Typed::Text(text)) if text.contains("${") => {
                let resolved = self.resolved(node, text)?;
                let value = truth(&resolved);
                if value.is_none() {
                    let message = format!("`{key}` is `true` or `false`, and `{text}` makes `{resolved}`");
                    self.error(codes::WRONG_TYPE, node.span, message, "give the variable one of these".to_owned());
                }
                value
            }
            _ => {
                self.wrong(node, key, "`true` or `false`", format!("write `{key}: true` or `{key}: false`"));
                None
            }
        }
    }

    /// A whole number in a range, or text with references that makes one.
    pub(super) fn integer(&mut self, node: &Node, key: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let (number, made_by) = match node.typed(Schema::Core) {
            Some(Typed::Int(number)) => (number, None),
            Some(Typed::Text(text)) if text.contains("${") => {
                let resolved = self.resolved(node, text)?;
                let Ok(number) = resolved.trim().parse() else {
                    let message = format!("`{key}` is a whole number, and `{text}` makes `{resolved}`");
                    let help = format!("give the variable {}", in_range(&range));
                    self.error(codes::WRONG_TYPE, node.span, message, help);
                    return None;
                };
                (number, Some(text))
            }
            _ => {
                let written = node.as_scalar().map_or("", |scalar| scalar.text.as_str());
                let message = match node.typed(Schema::Core) {
                    Some(Typed::Float(_)) => format!("`{key}` is a whole number, and {written} is none"),
                    Some(Typed::Text(text)) if text.trim().parse::<i64>().is_ok() => {
                        format!("`{key}` is a number, and `{text}` in quotes is text")
                    }
                    _ => format!("`{key}` is a whole number, not {}", node.kind(Schema::Core)),
                };
                let help = format!("write {}: `{key}: {}`", in_range(&range), example(written, &range));
                self.error(codes::WRONG_TYPE, node.span, message, help);
                return None;
            }
        };
        match u32::try_from(number) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                let made = made_by.map(|text| format!(", which `{text}` makes,")).unwrap_or_default();
                let message = match *range.end() {
                    u32::MAX => format!("`{key}` is {number}{made} and must be at least {}", range.start()),
                    end => format!("`{key}` is {number}{made} and must lie between {} and {end}", range.start()),
                };
                let message = if made.is_empty() { message.replacen(" and must", ", and must", 1) } else { message };
                let nearest = number.clamp(i64::from(*range.start()), i64::from(*range.end()));
                let help = match number > nearest && key == "timeout" {
                    true => format!("write `{key}: {nearest}` at most, or split the work"),
                    false => format!("write `{key}: {nearest}`, the nearest it can be"),
                };
                self.error(codes::OUT_OF_RANGE, node.span, message, help);
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
}

fn in_range(range: &RangeInclusive<u32>) -> String {
    match *range.end() {
        u32::MAX => format!("a whole number of at least {}", range.start()),
        end => format!("a whole number from {} to {end}", range.start()),
    }
}

/// What was written as a whole number in the range; else one that is.
fn example(written: &str, range: &RangeInclusive<u32>) -> u32 {
    const USUAL: u32 = 600;
    let number = written.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "held within the range")]
    let number = number.map(|number| number.clamp(0.0, f64::from(u32::MAX)) as u32);
    number.unwrap_or(USUAL).clamp(*range.start(), *range.end())
}
