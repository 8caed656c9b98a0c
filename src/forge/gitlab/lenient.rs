//! Readers for JSON as real servers send it: `null` for anything, numbers as text, text as numbers.

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error};
use serde_json::Value;

use crate::pipeline::Secret;

/// A text; a number or a boolean becomes its text, `null` nothing.
pub(super) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    as_text(Value::deserialize(from)?).map_err(D::Error::custom)
}

/// A text that must not be printed.
pub(super) fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
    text(from).map(Secret::new)
}

/// A whole number; a text with one in it counts, a fraction is cut, anything else is 0.
pub(super) fn int<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    Ok(match Value::deserialize(from)? {
        #[expect(clippy::cast_possible_truncation, reason = "a fraction is cut; casts of floats saturate")]
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|f| f as i64)).unwrap_or_default(),
        Value::String(text) => text.trim().parse().unwrap_or_default(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => 0,
    })
}

/// Yes or no; what is neither is no.
pub(super) fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    optional_flag(from).map(|flag| flag == Some(true))
}

/// Yes, no, or not said.
pub(super) fn optional_flag<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::Bool(flag) => Some(flag),
        Value::String(text) => super::convert::parse_bool(&text),
        Value::Number(number) => Some(number.as_i64() == Some(1)),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    })
}

/// A list of texts; one text alone is a list of one, `null` an empty list; `null` inside is left out.
pub(super) fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    optional_texts(from).map(Option::unwrap_or_default)
}

/// As [`texts`], telling an empty list from none.
pub(super) fn optional_texts<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(None),
        Value::Array(values) => values
            .into_iter()
            .filter(|value| !value.is_null())
            .map(|value| as_text(value).map_err(D::Error::custom))
            .collect::<Result<_, _>>()
            .map(Some),
        one => as_text(one).map(|text| Some(vec![text])).map_err(D::Error::custom),
    }
}

/// A list; `null` is an empty one, `null` inside is left out.
pub(super) fn items<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Vec<T>, D::Error> {
    let list: Option<Vec<Option<T>>> = Deserialize::deserialize(from)?;
    Ok(list.unwrap_or_default().into_iter().flatten().collect())
}

/// An object; `null` and an empty list (an empty map in some serialisers) are an empty one.
pub(super) fn object<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(from: D) -> Result<T, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(T::default()),
        Value::Array(list) if list.is_empty() => Ok(T::default()),
        value => serde_json::from_value(value).map_err(D::Error::custom),
    }
}

fn as_text(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Null => Ok(String::new()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Array(_) => Err("expected a text, found a list".to_owned()),
        Value::Object(_) => Err("expected a text, found an object".to_owned()),
    }
}
