//! YAML values that know where they stand, so that each refusal can say so.

use serde_json::json;
use serde_yaml::Value;

use super::CiError;

/// How deep script lists may be nested.
const NESTING: usize = 10;

/// A value and its place in the file.
#[derive(Clone, Debug)]
pub struct Node {
    /// The keywords that lead to it.
    pub place: String,
    /// The value.
    pub value: Value,
}

impl Node {
    /// The value at the top of the file.
    pub fn root(value: Value) -> Self {
        Self { place: String::new(), value }
    }

    /// An error at this place.
    pub fn wrong(&self, problem: impl Into<String>) -> CiError {
        let place = if self.place.is_empty() { "the file" } else { &self.place };
        CiError::Content { place: place.to_owned(), problem: problem.into() }
    }

    fn child(&self, key: &str, value: &Value) -> Self {
        let place = if self.place.is_empty() { key.to_owned() } else { format!("{}:{key}", self.place) };
        Self { place, value: value.clone() }
    }

    /// The keys and values of a mapping.
    pub fn entries(&self) -> Result<Vec<(String, Node)>, CiError> {
        let Value::Mapping(mapping) = &self.value else {
            return Err(self.wrong("should be a mapping of keys to values"));
        };
        let pairs = mapping.iter().map(|(key, value)| {
            let key = scalar(key).ok_or_else(|| self.wrong("a key should be a text"))?;
            let node = self.child(&key, value);
            Ok((key, node))
        });
        pairs.collect()
    }

    /// The mapping's entries, all of them among `known`; the error lists these.
    pub fn known_entries(&self, known: &[&str]) -> Result<Vec<(String, Node)>, CiError> {
        let entries = self.entries()?;
        for (key, _) in &entries {
            if !known.contains(&key.as_str()) {
                return Err(self.wrong(format!(
                    "the keyword `{key}` is not understood by the embedded forge's plain reader, which knows here: {}",
                    known.join(", ")
                )));
            }
        }
        Ok(entries)
    }

    /// A text; numbers and booleans as they are written.
    pub fn text(&self) -> Result<String, CiError> {
        scalar(&self.value).ok_or_else(|| self.wrong("should be a text"))
    }

    /// A list of texts; one text counts as a list of one.
    pub fn texts(&self) -> Result<Vec<String>, CiError> {
        match &self.value {
            Value::Sequence(items) => {
                items.iter().map(|item| scalar(item).ok_or_else(|| self.wrong("should be a list of texts"))).collect()
            }
            _ => Ok(vec![self.text()?]),
        }
    }

    /// The commands of a script; nested lists are flattened.
    pub fn script(&self) -> Result<Vec<String>, CiError> {
        let mut commands = Vec::new();
        self.flatten(&self.value, NESTING, &mut commands)?;
        Ok(commands)
    }

    fn flatten(&self, value: &Value, depth: usize, into: &mut Vec<String>) -> Result<(), CiError> {
        match value {
            Value::Sequence(_) if depth == 0 => Err(self.wrong(format!("lists nested deeper than {NESTING}"))),
            Value::Sequence(items) => items.iter().try_for_each(|item| self.flatten(item, depth - 1, into)),
            Value::String(text) => {
                into.push(text.clone());
                Ok(())
            }
            _ => Err(self.wrong("should be a text or a list of texts")),
        }
    }

    /// Yes or no.
    pub fn boolean(&self) -> Result<bool, CiError> {
        self.value.as_bool().ok_or_else(|| self.wrong("should be true or false"))
    }

    /// The items of a list.
    pub fn items(&self) -> Result<Vec<Node>, CiError> {
        let Value::Sequence(items) = &self.value else { return Err(self.wrong("should be a list")) };
        Ok(items.iter().enumerate().map(|(at, value)| self.child(&format!("[{at}]"), value)).collect())
    }

    /// A length of time in seconds: `1h 30m`, `90 minutes`, `1 week`; a bare number is seconds.
    pub fn seconds(&self) -> Result<u64, CiError> {
        let text = self.text()?;
        parse_seconds(&text).ok_or_else(|| self.wrong(format!("`{text}` is no length of time, as `1h 30m` is")))
    }

    /// The value as JSON, unchecked.
    pub fn json(&self) -> serde_json::Value {
        serde_json::to_value(&self.value).unwrap_or_else(|_| json!(null))
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn parse_seconds(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut total = 0_u64;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let unit = match rest[..letters].trim_end_matches('s') {
            "" | "sec" | "second" => 1,
            "m" | "min" | "minute" => 60,
            "h" | "hr" | "hour" => 3600,
            "d" | "day" => 86_400,
            "w" | "week" => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = rest[letters..].trim_start_matches(|c: char| c == ',' || c.is_whitespace());
    }
    (!text.trim().is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::parse_seconds;

    #[test]
    fn lengths_of_time_as_people_write_them() {
        for (text, seconds) in [("90", 90), ("1h 30m", 5400), ("10 minutes", 600), ("1 week", 604_800), ("2s", 2)] {
            assert_eq!(parse_seconds(text), Some(seconds), "{text}");
        }
        for text in ["", "soon", "1 fortnight", "h"] {
            assert_eq!(parse_seconds(text), None, "{text}");
        }
    }
}
