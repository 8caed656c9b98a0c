//! `format`.

use super::budget::Meter;
use super::{Dialect, Value};

/// Puts arguments into a text: `{0}` the first, `{{` and `}}` braces; in the native language `{}` the next one.
pub(super) fn format(
    template: &str,
    arguments: &[Value],
    dialect: Dialect,
    meter: &mut Meter<'_>,
) -> Result<Value, String> {
    let invalid = || format!("The following format string is invalid: {template}");
    let mut text = String::new();
    let mut rest = template;
    let mut next = 0;
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(rest.get(..at).unwrap_or(""));
        let tail = rest.get(at..).unwrap_or("");
        if tail.starts_with("{{") || tail.starts_with("}}") {
            text.push_str(tail.get(..1).unwrap_or(""));
            rest = tail.get(2..).unwrap_or("");
            continue;
        }
        let end = tail.find('}').filter(|end| *end > 0).ok_or_else(invalid)?;
        let index = tail.get(1..end).unwrap_or("");
        let index = if index.is_empty() && dialect == Dialect::Native {
            next += 1;
            next - 1
        } else if !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit()) {
            index.parse().map_err(|_| invalid())?
        } else {
            return Err(invalid());
        };
        let argument: &Value = arguments.get(index).ok_or_else(|| {
            format!("The following format string references more arguments than were supplied: {template}")
        })?;
        let before = text.len();
        text.push_str(&argument.to_text());
        meter.bytes(text.len() - before).map_err(|error| error.message)?;
        rest = tail.get(end + 1..).unwrap_or("");
    }
    text.push_str(rest);
    meter.bytes(template.len()).map_err(|error| error.message)?;
    Ok(text.into())
}
