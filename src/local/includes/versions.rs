//! Which commit a component's version is: the refs of its repository, asked of git.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use url::Url;

use crate::outbound::GitNetwork;
use crate::parser::gitlab::compose::{RemoteError, component};

/// How long git may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// The longest list of refs, in bytes.
const LONGEST: u64 = 16 << 20;
/// The length of a commit's hash.
const HASHES: [usize; 2] = [40, 64];

/// The tags and branches of a repository with their commits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refs {
    tags: BTreeMap<String, String>,
    branches: BTreeMap<String, String>,
}

/// Whether a reference is a commit, which never changes.
pub fn is_commit(reference: &str) -> bool {
    HASHES.contains(&reference.len()) && reference.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Refs {
    /// The refs that `git ls-remote` printed.
    pub fn read(text: &str) -> Self {
        let mut refs = Self::default();
        for line in text.lines() {
            let Some((commit, name)) = line.split_once('\t').filter(|(commit, _)| is_commit(commit)) else { continue };
            if let Some(tag) = name.strip_prefix("refs/tags/") {
                // Of a tag with a message, the commit stands in a second line.
                let tag = tag.strip_suffix("^{}").unwrap_or(tag);
                refs.tags.insert(tag.to_owned(), commit.to_owned());
            } else if let Some(branch) = name.strip_prefix("refs/heads/") {
                refs.branches.insert(branch.to_owned(), commit.to_owned());
            }
        }
        refs
    }

    /// The commit of a version, and the release that it is.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find(&self, version: &str, project: &str) -> Result<(String, Option<String>), String> {
        let release = component::release(version, self.tags.keys().map(String::as_str));
        if let Some((release, commit)) = release.and_then(|release| self.tags.get_key_value(release)) {
            return Ok((commit.clone(), Some(release.clone())));
        }
        let named = self.tags.get(version).or_else(|| self.branches.get(version));
        match named {
            Some(commit) => Ok((commit.clone(), None)),
            None if version == component::LATEST => Err(format!("`{project}` has no release: no tag like `1.2.3`")),
            None => Err(format!("`{project}` has no release, tag or branch `{version}`")),
        }
    }
}

/// Asks for the refs of a repository.
pub async fn list(repository: Url, network: GitNetwork) -> Result<Refs, RemoteError> {
    let unavailable = |why: String| RemoteError::Unavailable(format!("git ls-remote {repository}: {why}"));
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GIT_") {
            command.env_remove(name);
        }
    }
    // Nobody's settings but ours: no helper that would hand out passwords, no address in place of this one, no redirect to a
    // host that was not allowed.
    command
        .args(["-c", "http.followRedirects=false", "-c", "credential.helper=", "-c", "core.askPass="])
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ALLOW_PROTOCOL", repository.scheme())
        .env("LC_ALL", "C")
        .envs(network.env.iter().map(|(name, value)| (name, value.expose())));
    if let Some(file) = &network.ca_file {
        command.env("GIT_SSL_CAINFO", file);
    }
    command.args(["ls-remote", "--heads", "--tags", "--", repository.as_str()]).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let asked = async {
        let mut child = command.spawn().map_err(|error| format!("it cannot be started: {error}"))?;
        let (mut text, mut said) = (String::new(), String::new());
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let read = async { read(stdout, LONGEST, &mut text).await };
        tokio::join!(read, read_quietly(stderr, &mut said)).0?;
        let status = child.wait().await.map_err(|error| error.to_string())?;
        if status.success() { Ok(text) } else { Err(said.lines().last().unwrap_or("it failed").trim().to_owned()) }
    };
    match tokio::time::timeout(DEADLINE, asked).await {
        Ok(Ok(text)) => Ok(Refs::read(&text)),
        Ok(Err(why)) => Err(unavailable(why)),
        Err(_elapsed) => Err(unavailable(format!("no answer within {} s", DEADLINE.as_secs()))),
    }
}

async fn read(from: Option<impl tokio::io::AsyncRead + Unpin>, limit: u64, into: &mut String) -> Result<(), String> {
    let Some(from) = from else { return Ok(()) };
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes).await.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > limit {
        return Err(format!("the list of refs is longer than {limit} bytes"));
    }
    *into = String::from_utf8_lossy(&bytes).into_owned();
    Ok(())
}

/// What git says, as much of it as anybody reads.
async fn read_quietly(from: Option<impl tokio::io::AsyncRead + Unpin>, into: &mut String) {
    let _more_than_that = read(from, 64 << 10, into).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_are_read_and_found() {
        let hash = |digit: &str| digit.repeat(40);
        let text = format!(
            "{}\trefs/heads/main\n{}\trefs/tags/1.0.0\n{}\trefs/tags/1.1.0\n{}\trefs/tags/1.1.0^{{}}\nwarning: x\n",
            hash("a"),
            hash("b"),
            hash("c"),
            hash("d")
        );
        let refs = Refs::read(&text);
        assert_eq!(refs.find("~latest", "g/p"), Ok((hash("d"), Some("1.1.0".to_owned()))));
        assert_eq!(refs.find("1.0.0", "g/p"), Ok((hash("b"), Some("1.0.0".to_owned()))));
        assert_eq!(refs.find("main", "g/p"), Ok((hash("a"), None)));
        assert!(refs.find("2", "g/p").unwrap_err().contains("`2`"));
        assert!(is_commit(&hash("a")) && !is_commit("main"));
    }
}
