//! What a local pipeline is started with: event, ref, variables, secrets, inputs.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::includes::Includes;
use crate::pipeline::Secret;

/// The biggest file of variables, secrets or event payload, in bytes.
const BIGGEST: u64 = 4 << 20;

/// What a local pipeline is started with.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The event's name in the language's words; `None`: a push of what is checked out.
    pub event: Option<String>,
    /// The ref, `main`, `refs/heads/main`, `refs/tags/v1`; `None`: what is checked out.
    pub ref_name: Option<String>,
    /// Variables by name, in the order in which they were given: the last of a name counts.
    pub variables: Vec<(String, String)>,
    /// Secrets by name.
    pub secrets: Vec<(String, Secret)>,
    /// Inputs by name.
    pub inputs: Vec<(String, String)>,
    /// Of matrices with these keys only the jobs with these values.
    pub matrix: Vec<(String, String)>,
    /// The event's payload, laid over the one that is made of the checkout.
    pub payload: Option<serde_json::Value>,
    /// Where included files may come from that are not in the checkout.
    pub includes: Includes,
}

/// Why something that was given cannot be used.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum RequestError {
    /// No `=`, or nothing before it.
    #[error("`{text}` is no {what}: it wants NAME=VALUE")]
    NoPair {
        /// What was expected.
        what: &'static str,
        /// What was given; of a secret its name at most.
        text: String,
    },
    /// A secret by name alone, and no environment variable of that name.
    #[error("the secret `{name}` has no value, and the environment has no variable of that name")]
    Unset {
        /// The name.
        name: String,
    },
    /// A file that cannot be read.
    #[error("{} cannot be read: {problem}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// A line of a file that says nothing.
    #[error("{}, line {line}: it wants NAME=VALUE", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A file of secrets that others can read.
    #[error("{} holds secrets, and others than its owner can read it (mode {mode:04o})", path.display())]
    #[diagnostic(help("chmod 600 {}", path.display()))]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A payload that is no JSON object.
    #[error("{} is no event: {problem}", path.display())]
    Payload {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
}

/// `NAME=VALUE`, split at the first `=`.
///
/// # Errors
/// There is no `=` or no name. The message does not hold the value.
pub fn pair(what: &'static str, text: &str) -> Result<(String, String), RequestError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) => Err(RequestError::NoPair { what, text: "=...".to_owned() }),
        None => {
            Err(RequestError::NoPair { what, text: if what == "secret" { "...".to_owned() } else { text.to_owned() } })
        }
    }
}

/// A secret: `NAME=VALUE`, or `NAME` alone for the value of the environment variable of that name, which keeps it off the
/// command line.
///
/// # Errors
/// Neither is there.
pub fn secret(text: &str, environment: impl Fn(&str) -> Option<String>) -> Result<(String, Secret), RequestError> {
    // What looks like a name is one; anything else may be the secret itself, and is not told.
    let is_name = !text.is_empty() && text.chars().all(|c| c == '_' || c.is_ascii_uppercase() || c.is_ascii_digit());
    if !text.contains('=') {
        match environment(text) {
            Some(value) => return Ok((text.to_owned(), Secret::new(value))),
            None if is_name => return Err(RequestError::Unset { name: text.to_owned() }),
            None => {}
        }
    }
    pair("secret", text).map(|(name, value)| (name, Secret::new(value)))
}

/// The pairs of a file: `NAME=VALUE` a line; empty lines and those that begin with `#` are skipped, a value in matching
/// quotes loses them.
///
/// # Errors
/// The file cannot be read, or a line is no pair.
pub fn pairs_of_file(path: &Path) -> Result<Vec<(String, String)>, RequestError> {
    let text = read(path)?;
    let mut pairs = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=').filter(|(name, _)| !name.trim().is_empty()) else {
            return Err(RequestError::Line { path: path.to_owned(), line: number + 1 });
        };
        pairs.push((name.trim().to_owned(), unquoted(value.trim()).to_owned()));
    }
    Ok(pairs)
}

/// The secrets of a file that only its owner can read.
///
/// # Errors
/// As [`pairs_of_file`]; also where others can read the file.
pub fn secrets_of_file(path: &Path) -> Result<Vec<(String, Secret)>, RequestError> {
    let unreadable = |problem: String| RequestError::Unreadable { path: path.to_owned(), problem };
    let meta = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if meta.is_file() && meta.mode() & 0o077 != 0 {
        return Err(RequestError::Open { path: path.to_owned(), mode: meta.mode() & 0o7777 });
    }
    Ok(pairs_of_file(path)?.into_iter().map(|(name, value)| (name, Secret::new(value))).collect())
}

/// An event's payload.
///
/// # Errors
/// The file cannot be read or is no JSON object.
pub fn payload_of_file(path: &Path) -> Result<serde_json::Value, RequestError> {
    let text = read(path)?;
    let wrong = |problem: String| RequestError::Payload { path: path.to_owned(), problem };
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if value.is_object() { Ok(value) } else { Err(wrong("it is not an object".to_owned())) }
}

fn unquoted(value: &str) -> &str {
    let inner = |quote: char| value.strip_prefix(quote).and_then(|value| value.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

fn read(path: &Path) -> Result<String, RequestError> {
    let unreadable = |problem: String| RequestError::Unreadable { path: path.to_owned(), problem };
    let file = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut text = String::new();
    // One byte more than the limit tells that it is passed; a pipe has no length to ask for.
    let read = file.take(BIGGEST + 1).read_to_string(&mut text).map_err(|error| unreadable(error.to_string()))?;
    if read as u64 > BIGGEST { Err(unreadable(format!("it is bigger than {BIGGEST} bytes"))) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_pair_splits_at_the_first_sign_and_a_bad_secret_is_not_told() {
        assert_eq!(pair("variable", "A=b=c").unwrap(), ("A".into(), "b=c".into()));
        assert_eq!(pair("variable", "oops").unwrap_err().to_string(), "`oops` is no variable: it wants NAME=VALUE");
        assert!(!secret("hunter2", |_| None).unwrap_err().to_string().contains("hunter2"));
        assert!(secret("TOKEN", |_| None).unwrap_err().to_string().contains("`TOKEN` has no value"));
        assert_eq!(secret("T", |_| Some("x".into())).unwrap().1.expose(), "x");
    }

    #[test]
    fn files_of_secrets_are_their_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        std::fs::write(&path, "# c\n\nexport A=\"x y\"\nB='z'\nC=1=2\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(secrets_of_file(&path), Err(RequestError::Open { mode: 0o644, .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let secrets = secrets_of_file(&path).unwrap();
        let seen: Vec<_> = secrets.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        assert_eq!(seen, [("A", "x y"), ("B", "z"), ("C", "1=2")]);
        std::fs::write(&path, "A=1\nnothing\n").unwrap();
        assert!(matches!(pairs_of_file(&path), Err(RequestError::Line { line: 2, .. })));
    }
}
