//! Equality and order, as GitHub has them.

use std::cmp::Ordering;
use std::sync::Arc;

use super::Value;

/// Upper case of one character, where that is one character: text is compared like this.
pub(super) fn upper(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_uppercase();
    }
    let mut mapped = c.to_uppercase();
    match (mapped.next(), mapped.next()) {
        // As in .NET, nothing outside ASCII is the same as a letter of it: not the dotless i, not the long s.
        (Some(one), None) if !one.is_ascii() => one,
        _ => c,
    }
}

/// Whether both are the same but for case.
pub(super) fn same_text(a: &str, b: &str) -> bool {
    if a.is_ascii() && b.is_ascii() {
        return a.eq_ignore_ascii_case(b);
    }
    a == b || a.chars().map(upper).eq(b.chars().map(upper))
}

/// The order of texts whatever their case, by UTF-16 units.
fn order_of_text(a: &str, b: &str) -> Ordering {
    fn units(text: &str) -> impl Iterator<Item = u16> {
        text.chars().map(upper).flat_map(|c| {
            let mut buffer = [0; 2];
            let length = c.encode_utf16(&mut buffer).len();
            buffer.into_iter().take(length)
        })
    }
    units(a).cmp(units(b))
}

/// Both sides after coercion: numbers, where their kinds differ and can be made numbers.
fn coerced(a: &Value, b: &Value) -> (Value, Value) {
    use Value::{Bool, Null, Number, Text};
    match (a, b) {
        (Null, Null) | (Bool(_), Bool(_)) | (Number(_), Number(_)) | (Text(_), Text(_)) => (a.clone(), b.clone()),
        (Null | Bool(_) | Number(_) | Text(_), Null | Bool(_) | Number(_) | Text(_)) => {
            (Number(a.to_number()), Number(b.to_number()))
        }
        _ => (a.clone(), b.clone()),
    }
}

/// `==`.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match coerced(a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Number(a), Value::Number(b)) => a == b,
        (Value::Text(a), Value::Text(b)) => same_text(&a, &b),
        // Lists and objects are equal only to themselves.
        (Value::Array(a), Value::Array(b)) => Arc::ptr_eq(&a, &b),
        (Value::Object(a), Value::Object(b)) => Arc::ptr_eq(&a, &b),
        _ => false,
    }
}

/// How `a` stands to `b`; `None` where they have no order.
pub(super) fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match coerced(a, b) {
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(&b)),
        (Value::Number(a), Value::Number(b)) => a.partial_cmp(&b),
        (Value::Text(a), Value::Text(b)) => Some(order_of_text(&a, &b)),
        _ => None,
    }
}
