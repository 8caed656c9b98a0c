//! What the native language can do with text and lists: `+`, and what stands after a dot.

use std::ops::Range;
use std::sync::Arc;

use super::budget::Meter;
use super::error::{ErrorKind, ExprError};
use super::{Value, compare, functions};

/// Names of methods, and how many arguments they take.
const METHODS: &[(&str, usize, usize)] = &[
    ("contains", 1, 1),
    ("endsWith", 1, 1),
    ("first", 0, 0),
    ("indexOf", 1, 1),
    ("join", 0, 1),
    ("keys", 0, 0),
    ("last", 0, 0),
    ("length", 0, 0),
    ("lower", 0, 0),
    ("replace", 2, 2),
    ("reverse", 0, 0),
    ("slice", 1, 2),
    ("sort", 0, 0),
    ("split", 1, 1),
    ("startsWith", 1, 1),
    ("trim", 0, 0),
    ("unique", 0, 0),
    ("upper", 0, 0),
    ("values", 0, 0),
];

/// How many arguments a method takes; `None` where there is none of this name.
pub(super) fn arguments(name: &str) -> Option<(usize, usize)> {
    METHODS.iter().find(|(known, ..)| *known == name).map(|(_, min, max)| (*min, *max))
}

/// Whether a method takes so many arguments.
pub(super) fn check_count(name: &str, count: usize, at: Range<usize>) -> Result<(), ExprError> {
    let (min, max) = arguments(name).unwrap_or((0, 255));
    let wrong = |kind, what: &str| Err(ExprError::new(kind, at.start, at.len(), format!("{what}: '{name}'")));
    if count < min {
        return wrong(ErrorKind::TooFewArguments, "Too few parameters supplied");
    }
    if count > max {
        return wrong(ErrorKind::TooManyArguments, "Too many parameters supplied");
    }
    Ok(())
}

/// What a value has after a dot without parentheses; an object's own key goes before it.
pub(super) fn property(value: &Value, name: &str) -> Option<Value> {
    if name != "length" {
        return None;
    }
    let length = match value {
        Value::Text(text) => text.chars().count(),
        Value::Array(items) => items.len(),
        Value::Object(object) => object.len(),
        _ => return None,
    };
    Some(Value::Number(length as f64))
}

/// `a + b`: numbers are added, lists put together, everything else is text.
pub(super) fn add(a: &Value, b: &Value, meter: &mut Meter<'_>) -> Result<Result<Value, String>, ExprError> {
    Ok(Ok(match (a, b) {
        (Value::Number(a), Value::Number(b)) => Value::Number(a + b),
        (Value::Array(a), Value::Array(b)) => {
            meter.bytes((a.len() + b.len()) * 16)?;
            Value::array(a.iter().chain(b.iter()).cloned().collect())
        }
        (a, b) if a.is_primitive() && b.is_primitive() => {
            let (a, b) = (a.to_text(), b.to_text());
            meter.bytes(a.len() + b.len())?;
            [&*a, &*b].concat().into()
        }
        (a, b) => return Ok(Err(format!("{} and {} cannot be added", a.kind(), b.kind()))),
    }))
}

/// Calls a method.
pub(super) fn call(value: &Value, name: &str, arguments: &[Value], meter: &mut Meter<'_>) -> Result<Value, String> {
    let none = || format!("{} has no `{name}()`", value.kind());
    if name == "length" {
        return property(value, name).ok_or_else(none);
    }
    if let Value::Array(items) = value {
        meter.bytes(items.len() * 16).map_err(|error| error.message)?;
        return of_list(value, items, name, arguments, meter).unwrap_or_else(|| Err(none()));
    }
    if let Value::Object(object) = value {
        meter.bytes(object.len() * 16).map_err(|error| error.message)?;
        let entries = object.entries().iter();
        return match name {
            "keys" => Ok(Value::array(entries.map(|(key, _)| Value::Text(key.clone())).collect())),
            "values" => Ok(Value::array(entries.map(|(_, value)| value.clone()).collect())),
            _ => Err(none()),
        };
    }
    let text = value.to_text();
    meter.bytes(text.len()).map_err(|error| error.message)?;
    of_text(&text, name, arguments, meter).unwrap_or_else(|| Err(none()))
}

fn of_list(
    value: &Value,
    items: &[Value],
    name: &str,
    arguments: &[Value],
    meter: &mut Meter<'_>,
) -> Option<Result<Value, String>> {
    let first = arguments.first().unwrap_or(&Value::Null);
    Some(Ok(match name {
        "contains" => functions::contains(value, first).into(),
        "first" => items.first().cloned().unwrap_or_default(),
        "last" => items.last().cloned().unwrap_or_default(),
        "indexOf" => position(items.iter().position(|item| compare::equal(item, first))),
        "join" => return Some(functions::join(value, arguments.first(), meter)),
        "reverse" => Value::array(items.iter().rev().cloned().collect()),
        "slice" => {
            let (from, to) = bounds(arguments, items.len());
            Value::array(items.get(from..to).unwrap_or(&[]).to_vec())
        }
        "sort" => {
            if let Err(error) = meter.steps(items.len().saturating_mul(20)) {
                return Some(Err(error.message));
            }
            return Some(Ok(Value::array(sorted(items))));
        }
        "unique" => return Some(unique(items, meter)),
        _ => return None,
    }))
}

/// Numbers by size where all are numbers, else by their text.
fn sorted(items: &[Value]) -> Vec<Value> {
    let mut sorted = items.to_vec();
    if items.iter().all(|item| matches!(item, Value::Number(_))) {
        sorted.sort_by(|a, b| a.to_number().total_cmp(&b.to_number()));
    } else {
        sorted.sort_by_cached_key(Value::to_text);
    }
    sorted
}

/// The items without those that came before: the same kind and the same text.
fn unique(items: &[Value], meter: &mut Meter<'_>) -> Result<Value, String> {
    let mut seen = std::collections::HashSet::new();
    let mut kept = Vec::new();
    for item in items {
        meter.steps(1).map_err(|error| error.message)?;
        // Lists and objects are equal only to themselves, so that all of them stay.
        if !item.is_primitive() || seen.insert((item.kind(), item.to_text())) {
            kept.push(item.clone());
        }
    }
    Ok(Value::array(kept))
}

fn of_text(text: &str, name: &str, arguments: &[Value], meter: &mut Meter<'_>) -> Option<Result<Value, String>> {
    let argument = |at: usize| arguments.get(at).map_or_else(|| Arc::from(""), Value::to_text);
    Some(Ok(match name {
        "contains" => text.contains(&*argument(0)).into(),
        "startsWith" => text.starts_with(&*argument(0)).into(),
        "endsWith" => text.ends_with(&*argument(0)).into(),
        "indexOf" => {
            position(text.find(&*argument(0)).and_then(|at| text.get(..at)).map(|before| before.chars().count()))
        }
        "lower" => text.to_lowercase().into(),
        "upper" => text.to_uppercase().into(),
        "trim" => text.trim().into(),
        "reverse" => text.chars().rev().collect::<String>().into(),
        "replace" => return Some(replace(text, &argument(0), &argument(1), meter)),
        "slice" => {
            let (from, to) = bounds(arguments, text.chars().count());
            text.chars().skip(from).take(to.saturating_sub(from)).collect::<String>().into()
        }
        "split" => return Some(split(text, &argument(0), meter)),
        _ => return None,
    }))
}

fn replace(text: &str, pattern: &str, with: &str, meter: &mut Meter<'_>) -> Result<Value, String> {
    if pattern.is_empty() {
        return Ok(text.into());
    }
    let count = text.matches(pattern).count();
    meter.bytes(count.saturating_mul(with.len())).map_err(|error| error.message)?;
    Ok(text.replace(pattern, with).into())
}

fn split(text: &str, separator: &str, meter: &mut Meter<'_>) -> Result<Value, String> {
    let parts: Vec<Value> = if separator.is_empty() {
        text.chars().map(|c| Value::from(c.to_string())).collect()
    } else if text.is_empty() {
        Vec::new()
    } else {
        text.split(separator).map(Value::from).collect()
    };
    meter.bytes(parts.len() * 32).map_err(|error| error.message)?;
    Ok(Value::array(parts))
}

fn position(at: Option<usize>) -> Value {
    Value::Number(at.map_or(-1.0, |at| at as f64))
}

/// The range of `slice`: negative numbers count from the end.
fn bounds(arguments: &[Value], length: usize) -> (usize, usize) {
    let bound = |at: usize, default: usize| {
        let Some(value) = arguments.get(at) else { return default };
        let number = value.to_number();
        let from_start = if number < 0.0 { number + length as f64 } else { number };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of floats saturates")]
        let index = from_start.max(0.0) as usize;
        index.min(length)
    };
    let from = bound(0, 0);
    (from, bound(1, length).max(from))
}
