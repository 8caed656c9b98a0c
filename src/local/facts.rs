//! What is known of a checkout: branch, commit, author, remote, default branch.

use std::path::Path;
use std::process::{Command, Stdio};

/// What is known of a checkout. Empty texts where it is no git work tree, or has no commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The branch that is checked out; empty when the head is detached.
    pub branch: String,
    /// The commit that is checked out.
    pub sha: String,
    /// The commit before it.
    pub before_sha: String,
    /// The commit's whole message.
    pub message: String,
    /// When it was made, ISO 8601.
    pub timestamp: String,
    /// Its author's name.
    pub author_name: String,
    /// Its author's address.
    pub author_email: String,
    /// The remote `origin`, without credentials.
    pub remote: Option<url::Url>,
    /// The default branch.
    pub default_branch: String,
    /// The tags of the commit.
    pub tags: Vec<String>,
}

impl Facts {
    /// Asks git. Blocking; a handful of processes, a few milliseconds each.
    pub fn of(root: &Path) -> Self {
        let ask = |words: &[&str]| git(root, words);
        let log = ask(&["log", "-1", "--format=%H%x00%P%x00%an%x00%ae%x00%cI%x00%B"]).unwrap_or_default();
        let mut parts = log.splitn(6, '\0').map(str::to_owned);
        let mut part = || parts.next().unwrap_or_default();
        let (sha, parents, author_name, author_email, timestamp) = (part(), part(), part(), part(), part());
        let message = part();
        let branch = ask(&["symbolic-ref", "--short", "-q", "HEAD"]).unwrap_or_default();
        let tags = ask(&["tag", "--points-at", "HEAD"]).unwrap_or_default();
        let remote = ask(&["config", "--get", "remote.origin.url"]).and_then(|text| remote_url(&text));
        Self {
            default_branch: default_branch(&ask, &branch),
            before_sha: parents.split(' ').next().unwrap_or_default().to_owned(),
            tags: tags.lines().map(str::to_owned).collect(),
            message: message.trim_end().to_owned(),
            branch,
            sha,
            author_name,
            author_email,
            timestamp,
            remote,
        }
    }

    /// The project's path as people write it, `group/project`.
    pub fn project_path(&self, root: &Path) -> String {
        let of_remote = self.remote.as_ref().map(|url| url.path().trim_matches('/').trim_end_matches(".git").to_owned());
        let name = || root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_else(|| "project".into());
        of_remote.filter(|path| !path.is_empty()).unwrap_or_else(|| format!("local/{}", name()))
    }
}

/// From origin's head, else the only one of main and master, else the current branch.
fn default_branch(ask: &dyn Fn(&[&str]) -> Option<String>, current: &str) -> String {
    if let Some(head) = ask(&["symbolic-ref", "--short", "-q", "refs/remotes/origin/HEAD"]) {
        return head.strip_prefix("origin/").unwrap_or(&head).to_owned();
    }
    let found = ask(&["for-each-ref", "--format=%(refname:short)", "refs/heads/main", "refs/heads/master"]);
    match found.unwrap_or_default().lines().collect::<Vec<_>>().as_slice() {
        [only] => (*only).to_owned(),
        _ => current.to_owned(),
    }
}

/// A remote's address as a URL of the web, without credentials: `git@host:group/project.git` too.
fn remote_url(text: &str) -> Option<url::Url> {
    let text = text.trim();
    let mut url = match text.split_once("://") {
        Some(("http" | "https", _)) => url::Url::parse(text).ok()?,
        Some(_) => {
            let url = url::Url::parse(text).ok()?;
            url::Url::parse(&format!("https://{}{}", url.host_str()?, url.path())).ok()?
        }
        None => {
            let (host, path) = text.split_once(':').filter(|(host, _)| !host.contains('/'))?;
            let host = host.rsplit('@').next()?;
            url::Url::parse(&format!("https://{host}/{path}")).ok()?
        }
    };
    // Both fail only for addresses without a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Some(url)
}

/// What git prints, without the last newline; `None` where it fails.
pub(super) fn git(root: &Path, words: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(["-c", "core.fsmonitor=false", "-c", "log.showSignature=false"])
        .args(words)
        .current_dir(root)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| text.trim_end_matches('\n').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes_of_all_forms_are_addresses_of_the_web() {
        for (text, want) in [
            ("git@gitlab.com:group/sub/project.git", Some("https://gitlab.com/group/sub/project.git")),
            ("ssh://git@host.example:2222/g/p.git", Some("https://host.example/g/p.git")),
            ("https://user:secret@host/g/p", Some("https://host/g/p")),
            ("/srv/git/p.git", None),
        ] {
            assert_eq!(remote_url(text).map(|url| url.to_string()).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn a_folder_without_git_has_no_facts() {
        let folder = tempfile::tempdir().unwrap();
        let facts = Facts::of(folder.path());
        assert_eq!((facts.sha.as_str(), facts.branch.as_str()), ("", ""));
        assert!(facts.project_path(Path::new("/x/app")).ends_with("local/app"));
    }
}
