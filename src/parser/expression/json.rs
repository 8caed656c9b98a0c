//! JSON in and out.

use super::budget::Meter;
use super::error::ExprError;
use super::{
    Budget, Context, Dialect, FileHasher, Names, Object, Scope, StatusCheck, Value, evaluate, number_to_text, parse_in,
};

/// A JSON value as an expression's.
pub fn from_json(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(truth) => Value::Bool(*truth),
        serde_json::Value::Number(number) => Value::Number(number.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(text) => Value::text(text.as_str()),
        serde_json::Value::Array(items) => Value::array(items.iter().map(from_json).collect()),
        serde_json::Value::Object(entries) => match special_number(entries) {
            Some(number) => Value::Number(number),
            None => Value::object(entries.iter().map(|(key, value)| (key.as_str(), from_json(value)))),
        },
    }
}

/// `{"$number": "NaN"}` and the like.
fn special_number(entries: &serde_json::Map<String, serde_json::Value>) -> Option<f64> {
    match (entries.len(), entries.get("$number")?.as_str()?) {
        (1, "NaN") => Some(f64::NAN),
        (1, "Infinity") => Some(f64::INFINITY),
        (1, "-Infinity") => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// An expression's value as JSON; what JSON lacks is `{"$number": "NaN" | "Infinity" | "-Infinity"}`.
pub fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Number(number) => number_to_json(*number),
        Value::Text(text) => (**text).into(),
        Value::Array(items) => items.iter().map(to_json).collect(),
        Value::Object(object) => {
            let entries = object.entries().iter().map(|(key, value)| (key.to_string(), to_json(value)));
            serde_json::Value::Object(entries.collect())
        }
    }
}

fn number_to_json(number: f64) -> serde_json::Value {
    /// Below this every whole number is exact, and prints without a fraction.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if !number.is_finite() {
        return serde_json::json!({ "$number": number_to_text(number) });
    }
    if number.fract() == 0.0 && number.abs() < EXACT {
        #[allow(clippy::cast_possible_truncation, reason = "it is whole and in range")]
        return (number as i64).into();
    }
    number.into()
}

/// `fromJSON`.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Err("empty input".to_owned());
    }
    let json: serde_json::Value =
        serde_json::from_str(text).map_err(|error| format!("Error parsing JSON when evaluating fromJson: {error}"))?;
    Ok(plain(&json))
}

/// As [`from_json`], but an object is always one.
fn plain(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Array(items) => Value::array(items.iter().map(plain).collect()),
        serde_json::Value::Object(entries) => {
            Value::object(entries.iter().map(|(key, value)| (key.as_str(), plain(value))))
        }
        other => from_json(other),
    }
}

/// `toJSON`: two spaces a level.
pub(super) fn pretty(value: &Value, meter: &mut Meter<'_>) -> Result<String, String> {
    let mut text = String::new();
    write(value, 0, &mut text, meter)?;
    Ok(text)
}

/// Lists and objects inside each other, beyond which nobody meant it; values come from JSON, which has a limit below this.
const MAX_DEPTH: usize = 300;

fn write(value: &Value, level: usize, text: &mut String, meter: &mut Meter<'_>) -> Result<(), String> {
    let before = text.len();
    if level > MAX_DEPTH {
        return Err("the value is nested too deeply for toJSON".to_owned());
    }
    match value {
        Value::Null => text.push_str("null"),
        Value::Text(value) => quote(value, text),
        Value::Bool(_) | Value::Number(_) => text.push_str(&value.to_text()),
        Value::Array(items) if items.is_empty() => text.push_str("[]"),
        Value::Object(object) if object.is_empty() => text.push_str("{}"),
        Value::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                line(at > 0, level + 1, text, meter)?;
                write(item, level + 1, text, meter)?;
            }
            line(false, level, text, meter)?;
            text.push(']');
        }
        Value::Object(object) => {
            text.push('{');
            for (at, (key, value)) in object.entries().iter().enumerate() {
                line(at > 0, level + 1, text, meter)?;
                quote(key, text);
                meter.bytes(key.len()).map_err(|error| error.message)?;
                text.push_str(": ");
                write(value, level + 1, text, meter)?;
            }
            line(false, level, text, meter)?;
            text.push('}');
        }
    }
    let primitive = if value.is_primitive() { text.len() - before } else { 4 };
    meter.bytes(primitive).map_err(|error| error.message)
}

fn line(comma: bool, level: usize, text: &mut String, meter: &mut Meter<'_>) -> Result<(), String> {
    if comma {
        text.push(',');
    }
    text.push('\n');
    text.extend(std::iter::repeat_n("  ", level));
    meter.bytes(2 * level + 2).map_err(|error| error.message)
}

fn quote(value: &str, text: &mut String) {
    // Text always serializes.
    text.push_str(&serde_json::to_string(value).unwrap_or_default());
}

/// Evaluates text with the keys of a JSON object as its named values, for `forgehand eval` and tests.
///
/// # Errors
/// What is wrong with the text, or what cannot be evaluated; a named value that is no key of `context` is unknown.
pub fn eval_json(text: &str, dialect: Dialect, context: &serde_json::Value) -> Result<serde_json::Value, ExprError> {
    let budget = if dialect == Dialect::GitHub { Budget::of_github() } else { Budget::default() };
    eval_json_within(text, dialect, context, &budget)
}

/// As [`eval_json`], within a budget.
///
/// # Errors
/// As [`eval_json`], and what is too much.
pub fn eval_json_within(
    text: &str,
    dialect: Dialect,
    context: &serde_json::Value,
    budget: &Budget<'_>,
) -> Result<serde_json::Value, ExprError> {
    eval_json_among(text, dialect, context, budget, None)
}

/// As [`eval_json_within`], with files for `hashFiles`. The status functions tell of the `job.status` in the context; without one,
/// all has gone well.
///
/// # Errors
/// As [`eval_json_within`], and files that cannot be listed or read.
pub fn eval_json_among(
    text: &str,
    dialect: Dialect,
    context: &serde_json::Value,
    budget: &Budget<'_>,
    files: Option<&dyn FileHasher>,
) -> Result<serde_json::Value, ExprError> {
    let context = from_json(context);
    let empty = Object::default();
    let named = context.as_object().unwrap_or(&empty);
    let names: Vec<&str> = named.entries().iter().map(|(name, _)| &**name).collect();
    let expr = parse_in(text, dialect, Scope { names: Names::Only(&names), functions: None })?;
    evaluate(&expr, &Given { named, files }, budget).map(|value| to_json(&value))
}

/// What an expression by itself is evaluated with.
struct Given<'a> {
    named: &'a Object,
    files: Option<&'a dyn FileHasher>,
}

impl Context for Given<'_> {
    fn named(&self, name: &str) -> Option<Value> {
        self.named.get(name).cloned()
    }

    fn status(&self, check: StatusCheck, arguments: &[Value]) -> Option<bool> {
        if !arguments.is_empty() {
            return None;
        }
        let job = self.named.get("job").and_then(Value::as_object);
        let status = job.and_then(|job| job.get("status")).map(Value::to_text);
        let is = |word: &str| status.as_deref().is_some_and(|status| status.eq_ignore_ascii_case(word));
        Some(match check {
            StatusCheck::Always => true,
            StatusCheck::Cancelled => is("cancelled"),
            StatusCheck::Failure => is("failure"),
            StatusCheck::Success => !is("cancelled") && !is("failure"),
        })
    }

    fn files(&self) -> Option<&dyn FileHasher> {
        self.files
    }
}

impl Context for Object {
    fn named(&self, name: &str) -> Option<Value> {
        self.get(name).cloned()
    }
}
