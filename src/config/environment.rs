//! Variables as a list of `KEY=value`, in order: later ones may refer to earlier ones.

use serde::{Deserialize, Deserializer, Serializer};

/// Takes `KEY=value` apart. The value may hold anything, `=` included.
pub fn parse(entry: &str) -> Result<(String, String), String> {
    // A message never repeats the value: it may be a secret.
    match entry.split_once('=') {
        Some(("", _)) => Err("a variable has no name; write `KEY=value`".to_owned()),
        Some((key, _)) if key.contains(char::is_whitespace) || key.contains('\0') => {
            Err(format!("`{key}` is no name of a variable; write `KEY=value`"))
        }
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err("an entry without `=`; write `KEY=value`".to_owned()),
    }
}

/// Writes the entries. For files: the values are whole.
pub fn serialize<S: Serializer>(entries: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(entries.iter().map(|(key, value)| format!("{key}={value}")))
}

/// Reads the entries.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, String)>, D::Error> {
    let entries = Vec::<String>::deserialize(deserializer)?;
    entries.iter().map(|entry| parse(entry)).collect::<Result<_, _>>().map_err(serde::de::Error::custom)
}

/// Whether a variable's name says that its value is nobody else's business.
pub fn is_secret_name(name: &str) -> bool {
    const WORDS: [&str; 9] = ["TOKEN", "SECRET", "PASS", "KEY", "CREDENTIAL", "AUTH", "COOKIE", "PRIVATE", "DSN"];
    let upper = name.to_ascii_uppercase();
    WORDS.iter().any(|word| upper.contains(word))
}
