//! Credential helpers: programs `docker-credential-NAME` that hand out logins (protocol of Docker's credential store:
//! `get` reads a server address on stdin and prints `{"ServerURL", "Username", "Secret"}`).

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::auth::Login;

/// How long a helper may think.
const DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of a helper's answer that are read.
const LARGEST_ANSWER: u64 = 64 * 1024;
/// Helpers answer with this user name when the secret is a token.
const TOKEN_USER: &str = "<token>";

/// Why a helper gave nothing. Names the helper, never what it printed on success.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// The name could lead to another program.
    #[error("the credential helper `{0}` is refused: a helper's name consists of letters, digits, `-`, `_` and `.`")]
    BadName(String),
    /// It could not be started.
    #[error("the credential helper docker-credential-{name} could not be started: {cause}")]
    NotStarted {
        /// Its name.
        name: String,
        /// The system's words.
        cause: std::io::Error,
    },
    /// It did not answer in time or at all.
    #[error("the credential helper docker-credential-{name} gave no answer: {why}")]
    NoAnswer {
        /// Its name.
        name: String,
        /// What happened.
        why: String,
    },
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username", default)]
    username: String,
    #[serde(rename = "Secret", default)]
    secret: String,
}

/// Asks the helper `name` for the login of `server`. `None`: it knows none. `path` is where helpers are looked for; `None`: as the
/// agent's own PATH says.
pub(super) async fn get(name: &str, server: &str, path: Option<&OsStr>) -> Result<Option<Login>, HelperError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 128 || !name.chars().all(is_plain) {
        return Err(HelperError::BadName(name.chars().filter(|c| !c.is_control()).take(128).collect()));
    }
    match tokio::time::timeout(DEADLINE, ask(name, server, path)).await {
        Ok(answer) => answer,
        Err(_elapsed) => {
            let why = format!("it took longer than {} s", DEADLINE.as_secs());
            Err(HelperError::NoAnswer { name: name.into(), why })
        }
    }
}

async fn ask(name: &str, server: &str, path: Option<&OsStr>) -> Result<Option<Login>, HelperError> {
    let mut command = Command::new(format!("docker-credential-{name}"));
    if let Some(path) = path {
        command.env("PATH", path);
    }
    let mut child = command
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|cause| HelperError::NotStarted { name: name.into(), cause })?;
    let broken = |cause: std::io::Error| HelperError::NoAnswer { name: name.into(), why: cause.to_string() };
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that ends without reading has its reason; it is in its answer.
        stdin.write_all(format!("{server}\n").as_bytes()).await.ok();
    }
    let mut printed = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(LARGEST_ANSWER).read_to_end(&mut printed).await.map_err(broken)?;
    }
    let status = child.wait().await.map_err(broken)?;
    if !status.success() {
        let words = String::from_utf8_lossy(&printed);
        if words.contains("credentials not found") {
            return Ok(None);
        }
        return Err(HelperError::NoAnswer { name: name.into(), why: format!("it ended with {status}") });
    }
    let answer: Answer = serde_json::from_slice(&printed).map_err(|_| HelperError::NoAnswer {
        name: name.into(),
        why: "what it printed is not what helpers print".into(),
    })?;
    Ok(match answer {
        Answer { secret, .. } if secret.is_empty() => None,
        Answer { username, secret } if username == TOKEN_USER => Some(Login::IdentityToken(secret.into())),
        Answer { username, secret } => Some(Login::Password { username, password: secret.into() }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_helper_that_could_be_another_program_is_refused() {
        for name in ["../evil", "a/b", "", "a b", "a\0b"] {
            assert!(matches!(get(name, "r", None).await, Err(HelperError::BadName(_))), "{name:?}");
        }
    }

    #[tokio::test]
    async fn a_missing_helper_is_named() {
        let error = get("forgehand-has-no-such-helper", "r", None).await.unwrap_err();
        assert!(error.to_string().contains("docker-credential-forgehand-has-no-such-helper"), "{error}");
    }
}
