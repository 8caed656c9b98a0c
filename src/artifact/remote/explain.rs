//! What a failure means, in one sentence for people.

use std::error::Error;

use super::bound::Stopped;
use crate::artifact::shown;
use crate::artifact::store::LevelError;

/// As much of a server's text is repeated.
const LONGEST: usize = 300;

/// Why a call did not do what it should.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server, or the way to it.
    Server(object_store::Error),
    /// What it sent: the end of a sentence.
    Wrong(String),
    /// A file of this machine.
    File(std::io::Error),
    /// It was ended.
    Stopped(Stopped),
}

impl From<object_store::Error> for Trouble {
    fn from(error: object_store::Error) -> Self {
        Self::Server(error)
    }
}

impl From<Stopped> for Trouble {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

/// What a server said, or why it could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

impl Trouble {
    /// The error for whoever asked.
    pub(super) fn told(self, doing: &'static str, name: &str, level: &str) -> LevelError {
        let (name, level) = (shown(if name.is_empty() { b"*" } else { name.as_bytes() }), level.to_owned());
        match self {
            Self::Server(error) => LevelError::Failed { doing, name, level, source: Box::new(Said(meaning(&error))) },
            Self::Wrong(what) => LevelError::Wrong { name, level, what },
            Self::File(source) => LevelError::File { path: name, source },
            Self::Stopped(Stopped::Interrupted) => LevelError::Interrupted,
            Self::Stopped(Stopped::Late(after)) => LevelError::Slow { doing, name, level, seconds: after.as_secs() },
        }
    }
}

/// Whether there is no such object, in a bucket that is there.
pub(super) fn is_missing(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotFound { .. }) && code(&innermost(error)).as_deref() != Some("NoSuchBucket")
}

fn meaning(error: &object_store::Error) -> String {
    let said = innermost(error);
    let text = match (code(&said), element(&said, "Message")) {
        (Some(code), Some(message)) => format!("the server says {code}: {message}"),
        (Some(code), None) => format!("the server says {code}"),
        (None, _) => plain(&said),
    };
    text + advice(error, &said)
}

/// The beginning of a way out. By the status where the client does not tell refusals apart, as for listings.
fn advice(error: &object_store::Error, said: &str) -> &'static str {
    use object_store::Error as E;
    let code = code(said).unwrap_or_default();
    let is_refusal = matches!(error, E::PermissionDenied { .. } | E::Unauthenticated { .. })
        || ["status code: 401", "status code: 403"].iter().any(|status| said.contains(status));
    if is_refusal {
        "; check the credentials, what they may do in the bucket, and this machine's clock"
    } else if matches!(error, E::NotFound { .. }) || code == "NoSuchBucket" {
        "; check the bucket's name, `region` and `endpoint`"
    } else if said.contains("status code: 3") || said.contains("redirect") {
        "; it points elsewhere: check `region`, `endpoint` and `path_style`"
    } else {
        ""
    }
}

/// The text of the first cause.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |&cause| cause.source()).take(32);
    chain.last().map(ToString::to_string).unwrap_or_default()
}

fn code(said: &str) -> Option<String> {
    element(said, "Code")
}

/// The content of the first element of a name. Of errors only, and only for people and well-known words: no parser of XML is
/// needed for that.
fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (content, _) = rest.split_once(&format!("</{name}>"))?;
    Some(plain(content))
}

/// One line of bounded length without control characters.
fn plain(text: &str) -> String {
    let line: String = text.trim().chars().take(LONGEST).collect();
    shown(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_text_stays_one_short_line() {
        let said = format!(
            "403: <Error><Code>AccessDenied</Code><Message>no\n\u{1b}[31m{}</Message></Error>",
            "x".repeat(5000)
        );
        assert_eq!(code(&said).as_deref(), Some("AccessDenied"));
        let message = element(&said, "Message").unwrap();
        assert!(message.starts_with("no\\n\\u{1b}[31mxxx") && message.len() < 400, "{message}");
        assert_eq!(element("<Code>cut", "Code"), None);
    }
}
