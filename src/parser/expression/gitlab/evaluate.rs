//! A tree and its variables to a value.

use std::borrow::Cow;

use super::{Node, NodeKind, Operator, Pattern};

/// A value.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// Nothing: `null`, a variable that is not set.
    Null,
    /// A truth.
    Bool(bool),
    /// Text.
    Text(Cow<'a, str>),
    /// A pattern.
    Pattern(&'a Pattern),
}

/// Where variables and inputs come from.
pub trait Lookup {
    /// The value of a variable; `None` where it is not set.
    fn variable(&self, name: &str) -> Option<Cow<'_, str>>;

    /// Whether references in the value of a variable are left as they are.
    fn is_raw(&self, name: &str) -> bool {
        let _ = name;
        false
    }

    /// The value of an input; `None` where there is none.
    fn input(&self, name: &str) -> Option<Cow<'_, str>> {
        let _ = name;
        None
    }
}

/// A function that looks variables up.
pub struct By<'s>(pub &'s dyn Fn(&str) -> Option<Cow<'s, str>>);

impl Lookup for By<'_> {
    fn variable(&self, name: &str) -> Option<Cow<'_, str>> {
        (self.0)(name)
    }
}

impl Value<'_> {
    /// Whether the whole holds with it: nothing, false and blank text do not.
    pub fn is_present(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(truth) => *truth,
            Self::Text(text) => !text.trim().is_empty(),
            Self::Pattern(_) => true,
        }
    }

    /// Truth inside an expression, which is Ruby's: empty text is true.
    fn truth(&self) -> bool {
        !matches!(self, Self::Null | Self::Bool(false))
    }

    fn to_text(&self) -> Cow<'_, str> {
        match self {
            Self::Null | Self::Pattern(_) => Cow::Borrowed(""),
            Self::Bool(truth) => Cow::Borrowed(if *truth { "true" } else { "false" }),
            Self::Text(text) => Cow::Borrowed(text),
        }
    }
}

/// The number of tokens is limited, so that this may call itself.
pub(super) fn node<'a>(at: &'a Node, lookup: &'a dyn Lookup) -> Value<'a> {
    match &at.kind {
        NodeKind::Null => Value::Null,
        NodeKind::Bool(truth) => Value::Bool(*truth),
        NodeKind::Text(text) => Value::Text(Cow::Borrowed(text)),
        NodeKind::Pattern(pattern) => Value::Pattern(pattern),
        NodeKind::Variable(name) => lookup.variable(name).map_or(Value::Null, Value::Text),
        NodeKind::Input(name) => lookup.input(name).map_or(Value::Null, Value::Text),
        NodeKind::Not(side) => Value::Bool(!node(side, lookup).is_present()),
        NodeKind::Binary(operator, left, right) => {
            let left = node(left, lookup);
            match operator {
                Operator::And if !left.truth() => left,
                Operator::Or if left.truth() => left,
                Operator::And | Operator::Or => node(right, lookup),
                Operator::Equal => Value::Bool(equal(&left, &node(right, lookup))),
                Operator::NotEqual => Value::Bool(!equal(&left, &node(right, lookup))),
                Operator::Match => Value::Bool(found(&left, &node(right, lookup)).unwrap_or(false)),
                Operator::NoMatch => Value::Bool(!found(&left, &node(right, lookup)).unwrap_or(false)),
            }
        }
    }
}

fn equal(left: &Value<'_>, right: &Value<'_>) -> bool {
    match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Null, _) | (_, Value::Null) => false,
        (Value::Pattern(a), Value::Pattern(b)) => std::ptr::eq(*a, *b),
        (Value::Pattern(_), _) | (_, Value::Pattern(_)) => false,
        // A truth equals its own spelling.
        (left, right) => left.to_text() == right.to_text(),
    }
}

/// Whether the right side is found in the left; `None` where the right side is nothing. Text that is written like a pattern is one.
fn found(left: &Value<'_>, right: &Value<'_>) -> Option<bool> {
    let text = left.to_text();
    match right {
        Value::Null | Value::Bool(false) => None,
        Value::Pattern(pattern) => Some(pattern.is_match(&text)),
        Value::Text(right) if Pattern::looks_slashed(right) && is_token(right) => match Pattern::slashed(right) {
            Ok(pattern) => Some(pattern.is_match(&text)),
            Err(_) => Some(right.contains(&*text)),
        },
        // As in GitLab: other text on the right is searched for the left side.
        Value::Text(right) => Some(right.contains(&*text)),
        Value::Bool(true) => Some("true".contains(&*text)),
    }
}

/// Whether there is something between the slashes.
fn is_token(text: &str) -> bool {
    !text.starts_with("//")
}
