//! The functions.

use std::ops::Range;
use std::sync::Arc;

use super::budget::Meter;
use super::compare::{equal, upper};
use super::error::{ErrorKind, ExprError};
use super::{Dialect, Value, format, json};

/// A function's name and how many arguments it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Its name; calls may write it in any case.
    pub name: &'static str,
    /// At least so many arguments.
    pub min: usize,
    /// At most so many.
    pub max: usize,
}

const fn signature(name: &'static str, min: usize, max: usize) -> Signature {
    Signature { name, min, max }
}

/// All functions of GitHub's language, those that only some places allow at the end.
pub const FUNCTIONS: &[Signature] = &[
    signature("contains", 2, 2),
    signature("endsWith", 2, 2),
    signature("format", 1, 255),
    signature("join", 1, 2),
    signature("startsWith", 2, 2),
    signature("toJson", 1, 1),
    signature("fromJson", 1, 1),
    signature("case", 3, 255),
    signature("hashFiles", 1, 255),
    signature("always", 0, 0),
    signature("cancelled", 0, 0),
    signature("failure", 0, 255),
    signature("success", 0, 255),
];

/// The functions of the native language: the same.
pub(super) fn of(_dialect: Dialect) -> &'static [Signature] {
    FUNCTIONS
}

/// Whether a function takes so many arguments.
pub(super) fn check_count(function: &Signature, count: usize, at: Range<usize>) -> Result<(), ExprError> {
    let name = function.name;
    let wrong = |kind, what: &str| Err(ExprError::new(kind, at.start, at.len(), format!("{what}: '{name}'")));
    if count < function.min {
        return wrong(ErrorKind::TooFewArguments, "Too few parameters supplied");
    }
    if count > function.max {
        return wrong(ErrorKind::TooManyArguments, "Too many parameters supplied");
    }
    if name == "case" && count.is_multiple_of(2) {
        let what = "Even number of parameters supplied, requires an odd number of parameters";
        return wrong(ErrorKind::EvenArguments, what);
    }
    Ok(())
}

/// Calls a function that needs nothing but its arguments; `None` where there is none of this name.
pub(super) fn call(
    name: &str,
    arguments: &[Value],
    dialect: Dialect,
    meter: &mut Meter<'_>,
) -> Option<Result<Value, String>> {
    let first = arguments.first().unwrap_or(&Value::Null);
    let second = arguments.get(1).unwrap_or(&Value::Null);
    Some(match name {
        "contains" => metered(meter, &[first, second], || Ok(Value::Bool(contains(first, second)))),
        "startsWith" => Ok(Value::Bool(affix(first, second, |text, part| starts_with(text.chars(), part.chars())))),
        "endsWith" => {
            Ok(Value::Bool(affix(first, second, |text, part| starts_with(text.chars().rev(), part.chars().rev()))))
        }
        "format" => format::format(&first.to_text(), arguments.get(1..).unwrap_or(&[]), dialect, meter),
        "join" => join(first, arguments.get(1), meter),
        "toJson" => json::pretty(first, meter).map(Value::from),
        "fromJson" => {
            let text = first.to_text();
            metered(meter, &[first], || json::parse(&text))
        }
        _ => return None,
    })
}

fn metered(
    meter: &mut Meter<'_>,
    sizes: &[&Value],
    call: impl FnOnce() -> Result<Value, String>,
) -> Result<Value, String> {
    let size: usize = sizes.iter().map(|value| size(value)).sum();
    meter.bytes(size).map_err(|error| error.message)?;
    call()
}

fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Array(items) => items.len() * 16,
        _ => 8,
    }
}

/// Whether a list has an equal item, or a text the other in it, whatever its case.
pub(super) fn contains(search: &Value, item: &Value) -> bool {
    match search {
        Value::Array(items) => items.iter().any(|known| equal(known, item)),
        Value::Object(_) => false,
        _ if !item.is_primitive() => false,
        _ => {
            let fold = |value: &Value| value.to_text().chars().map(upper).collect::<String>();
            memchr::memmem::find(fold(search).as_bytes(), fold(item).as_bytes()).is_some()
        }
    }
}

fn affix(text: &Value, part: &Value, test: impl Fn(&str, &str) -> bool) -> bool {
    text.is_primitive() && part.is_primitive() && test(&text.to_text(), &part.to_text())
}

fn starts_with(mut text: impl Iterator<Item = char>, mut part: impl Iterator<Item = char>) -> bool {
    part.all(|c| text.next().is_some_and(|other| upper(other) == upper(c)))
}

/// The items as one text.
pub(super) fn join(list: &Value, separator: Option<&Value>, meter: &mut Meter<'_>) -> Result<Value, String> {
    let separator: Arc<str> = match separator {
        Some(separator) if separator.is_primitive() => separator.to_text(),
        _ => ",".into(),
    };
    match list {
        Value::Array(items) => {
            let mut text = String::new();
            for (at, item) in items.iter().enumerate() {
                let before = text.len();
                if at > 0 {
                    text.push_str(&separator);
                }
                text.push_str(&item.to_text());
                meter.bytes(text.len() - before).map_err(|error| error.message)?;
            }
            Ok(text.into())
        }
        Value::Object(_) => Ok("".into()),
        primitive => Ok(Value::Text(primitive.to_text())),
    }
}
