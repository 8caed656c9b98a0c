//! What git says about a checkout.

use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What git says about a checkout. Outside git all of it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The branch that is checked out; `None` on a commit without one.
    pub branch: Option<String>,
    /// The commit that is checked out; `None` before the first.
    pub commit: Option<Commit>,
    /// Where `origin` is.
    pub remote: Option<Remote>,
    /// The default branch: that of `origin`, else the only one of main and master, else the current one.
    pub default_branch: Option<String>,
    /// The tags of the commit, sorted.
    pub tags: Vec<String>,
}

/// A commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Its hash.
    pub sha: String,
    /// The hash before it; `None` of the first.
    pub parent: Option<String>,
    /// Its author's name.
    pub author_name: String,
    /// Its author's address.
    pub author_email: String,
    /// When it was made, as RFC 3339 has it.
    pub committed_at: String,
    /// Its whole message.
    pub message: String,
}

impl Commit {
    /// The first line of the message.
    pub fn title(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }

    /// What follows the first line.
    pub fn description(&self) -> &str {
        self.message.split_once('\n').map_or("", |(_, rest)| rest.trim_start_matches('\n'))
    }

    /// The author's login: the local part of the address.
    pub fn login(&self) -> &str {
        self.author_email.split('@').next().unwrap_or_default()
    }
}

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// The scheme of its web address: `https` unless the address itself is `http`.
    pub scheme: String,
    /// The host's name.
    pub host: String,
    /// The port of its web address, where one is named.
    pub port: Option<u16>,
    /// The repository's path without `.git`, `group/project`.
    pub path: String,
}

/// Questions that git is working on.
pub struct Asked<'p> {
    root: &'p Path,
    refs: Option<Child>,
    log: Option<Child>,
    url: Option<Child>,
}

impl<'p> Asked<'p> {
    /// Asks git about the work tree at `root`: all at once, as each question takes a few milliseconds of starting.
    pub fn about(root: &'p Path) -> Self {
        Self { root, refs: start(root, &REFS), log: start(root, &LOG), url: start(root, &URL) }
    }

    /// What it says. What it does not is left out: a folder without commits has no commit.
    pub fn answers(self) -> Facts {
        let refs = Refs::parse(&answer(self.refs).unwrap_or_default());
        let (commit, tags) = answer(self.log).as_deref().and_then(parse_commit).unzip();
        // A branch before its first commit is no ref.
        let unborn = || git(self.root, &["symbolic-ref", "--quiet", "--short", "HEAD"]).filter(|name| !name.is_empty());
        let branch = refs.current.clone().or_else(|| if commit.is_none() { unborn() } else { None });
        Facts {
            default_branch: refs.default_branch().or_else(|| branch.clone()),
            branch,
            commit,
            remote: answer(self.url).as_deref().and_then(|url| Remote::parse(url.trim())),
            tags: tags.unwrap_or_default(),
        }
    }
}

impl Facts {
    /// Asks git about the work tree at `root`, and waits.
    pub fn of(root: &Path) -> Self {
        Asked::about(root).answers()
    }

    /// The files that differ from where this work began: from the default branch's fork point on another branch, from the commit
    /// before on the default branch; work that is not committed counts. `None` where there is nothing to compare with.
    pub fn changed_files(&self, root: &Path) -> Option<Vec<String>> {
        let base = self.base_of_changes(root)?;
        differing(root, &base)
    }

    /// The files of the work tree that differ from the fork point of `reference`; `None`: there is no such ref.
    pub fn changed_since(root: &Path, reference: &str) -> Option<Vec<String>> {
        // A name that looks like an option is none of git's refs.
        if reference.is_empty() || reference.starts_with('-') {
            return None;
        }
        let named = [format!("refs/remotes/origin/{reference}"), reference.to_owned()];
        let base = named.iter().find_map(|name| answer(start(root, &["merge-base", "HEAD", name])))?;
        differing(root, base.trim())
    }

    fn base_of_changes(&self, root: &Path) -> Option<String> {
        let commit = self.commit.as_ref()?;
        let is_aside = self.branch.is_some() && self.branch != self.default_branch;
        let fork_point = if is_aside { self.fork_point(root) } else { None };
        fork_point.or_else(|| commit.parent.clone())
    }

    /// The commit where this work parted from the default branch, origin's where there is one.
    pub fn fork_point(&self, root: &Path) -> Option<String> {
        let default = self.default_branch.as_deref()?;
        let names = [format!("refs/remotes/origin/{default}"), format!("refs/heads/{default}")];
        let base = names.iter().find_map(|name| answer(start(root, &["merge-base", "HEAD", name])))?;
        Some(base.trim().to_owned())
    }
}

/// The files of the work tree, committed or not ignored, that differ from a commit.
fn differing(root: &Path, base: &str) -> Option<Vec<String>> {
    let changed = answer(start(root, &["diff", "--name-only", "--no-renames", "-z", base, "--"]))?;
    let untracked = answer(start(root, &["ls-files", "--others", "--exclude-standard", "-z"])).unwrap_or_default();
    let mut files: Vec<String> =
        changed.split('\0').chain(untracked.split('\0')).filter(|path| !path.is_empty()).map(str::to_owned).collect();
    files.sort();
    files.dedup();
    Some(files)
}

/// Where `origin` is.
const URL: [&str; 3] = ["config", "--get", "remote.origin.url"];

/// The branches, and which of them `origin` takes for its own.
const REFS: [&str; 4] =
    ["for-each-ref", "--format=%(HEAD)%00%(refname)%00%(symref)", "refs/heads", "refs/remotes/origin/HEAD"];

/// The commit that is checked out, with the tags that name it.
const LOG: [&str; 6] = [
    "log",
    "-1",
    "--no-show-signature",
    "--decorate=full",
    "--decorate-refs=refs/tags/",
    "--format=%H%x00%P%x00%an%x00%ae%x00%cI%x00%D%x00%B",
];

/// The branches there are.
#[derive(Debug, Default)]
struct Refs {
    /// The one that is checked out.
    current: Option<String>,
    branches: Vec<String>,
    origin_head: Option<String>,
}

impl Refs {
    fn parse(text: &str) -> Self {
        let mut refs = Self::default();
        for line in text.lines() {
            let mut fields = line.split('\0');
            let (mark, name, target) =
                (fields.next(), fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
            if let Some(branch) = name.strip_prefix("refs/heads/") {
                if mark == Some("*") {
                    refs.current = Some(branch.to_owned());
                }
                refs.branches.push(branch.to_owned());
            } else if let Some(branch) = target.strip_prefix("refs/remotes/origin/") {
                refs.origin_head = Some(branch.to_owned());
            }
        }
        refs
    }

    fn default_branch(&self) -> Option<String> {
        if let Some(head) = &self.origin_head {
            return Some(head.clone());
        }
        let mut usual = self.branches.iter().filter(|name| matches!(name.as_str(), "main" | "master"));
        match (usual.next(), usual.next()) {
            (Some(only), None) => Some(only.clone()),
            _ => None,
        }
    }
}

impl Remote {
    /// The remote of a git address: `https://host/group/project.git`, `git@host:group/project.git`, `ssh://...`. `None` for a
    /// path of the machine.
    pub fn parse(address: &str) -> Option<Self> {
        let trimmed = |path: &str| {
            let path = path.trim_matches('/');
            path.strip_suffix(".git").unwrap_or(path).to_owned()
        };
        if let Ok(url) = url::Url::parse(address)
            && let Some(host) = url.host_str()
            && matches!(url.scheme(), "http" | "https" | "ssh" | "git")
        {
            let is_web = matches!(url.scheme(), "http" | "https");
            let scheme = if url.scheme() == "http" { "http" } else { "https" };
            let port = url.port().filter(|_| is_web);
            return Some(Self { scheme: scheme.to_owned(), host: host.to_owned(), port, path: trimmed(url.path()) });
        }
        let (host, path) = address.split_once(':')?;
        if host.contains('/') || host.is_empty() {
            return None;
        }
        let host = host.rsplit('@').next().unwrap_or(host);
        Some(Self { scheme: "https".to_owned(), host: host.to_owned(), port: None, path: trimmed(path) })
    }

    /// The server's web address.
    pub fn server(&self) -> String {
        match self.port {
            Some(port) => format!("{}://{}:{port}", self.scheme, self.host),
            None => format!("{}://{}", self.scheme, self.host),
        }
    }
}

/// A commit as [`LOG`] tells it, and its tags, sorted.
fn parse_commit(text: &str) -> Option<(Commit, Vec<String>)> {
    let mut fields = text.splitn(7, '\0');
    let mut next = || fields.next();
    let mut commit = Commit {
        sha: next()?.to_owned(),
        parent: next()?.split(' ').next().filter(|sha| !sha.is_empty()).map(str::to_owned),
        author_name: next()?.to_owned(),
        author_email: next()?.to_owned(),
        committed_at: next()?.to_owned(),
        message: String::new(),
    };
    // No name of a ref has a comma and a space in it: no space at all.
    let decorations = next()?.split(", ");
    let mut tags: Vec<String> =
        decorations.filter_map(|name| Some(name.strip_prefix("tag: refs/tags/")?.to_owned())).collect();
    tags.sort();
    next()?.trim_end().clone_into(&mut commit.message);
    Some((commit, tags))
}

/// git with the checkout's own configuration, but nothing of it that starts programs for questions like these.
fn start(root: &Path, words: &[&str]) -> Option<Child> {
    Command::new("git")
        // git goes there itself: for a command with a working directory the standard library copies this process, with all its
        // memory.
        .arg("-C")
        .arg(root)
        .args(["-c", "core.fsmonitor=false", "--no-optional-locks"])
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()
}

/// What git prints, without the last newline; `None` where it fails.
pub(super) fn git(root: &Path, words: &[&str]) -> Option<String> {
    answer(start(root, words)).map(|text| text.trim_end_matches('\n').to_owned())
}

/// What it said, if it succeeded.
fn answer(child: Option<Child>) -> Option<String> {
    let output = child?.wait_with_output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(root: &Path, words: &[&str]) {
        let status = Command::new("git")
            .args(["-c", "user.name=A B", "-c", "user.email=ab@example.com", "-c", "init.defaultBranch=main"])
            .args(words)
            .current_dir(root)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "git {words:?}");
    }

    #[test]
    fn remotes_of_all_kinds() {
        let remote = |text: &str| Remote::parse(text).map(|remote| (remote.server(), remote.path));
        let want = |server: &str, path: &str| Some((server.to_owned(), path.to_owned()));
        assert_eq!(remote("git@gitlab.com:gcl/test-project.git"), want("https://gitlab.com", "gcl/test-project"));
        assert_eq!(remote("https://u:p@forge.example:8443/a/b/c.git"), want("https://forge.example:8443", "a/b/c"));
        assert_eq!(remote("ssh://git@forge.example:2222/a/b"), want("https://forge.example", "a/b"));
        assert_eq!(remote("/srv/git/x.git"), None);
    }

    #[test]
    fn a_checkout_tells_branch_commit_default_branch_and_changes() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        git(root, &["init", "-q"]);
        assert_eq!(Facts::of(root).commit, None);
        assert_eq!(Facts::of(root).branch.as_deref(), Some("main"));
        std::fs::write(root.join("a"), "1").unwrap();
        git(root, &["add", "."]);
        git(root, &["commit", "-qm", "title\n\nbody"]);
        git(root, &["tag", "v1"]);
        git(root, &["checkout", "-qb", "work"]);
        std::fs::write(root.join("b"), "1").unwrap();
        let facts = Facts::of(root);
        let commit = facts.commit.clone().unwrap();
        assert_eq!((commit.title(), commit.description(), commit.login()), ("title", "body", "ab"));
        assert_eq!(facts.default_branch.as_deref(), Some("main"));
        assert_eq!((facts.branch.as_deref(), facts.tags.as_slice()), (Some("work"), ["v1".to_owned()].as_slice()));
        assert_eq!(facts.changed_files(root), Some(vec!["b".to_owned()]));
        git(root, &["add", "."]);
        git(root, &["commit", "-qm", "more"]);
        assert_eq!(Facts::of(root).fork_point(root), Some(commit.sha));
    }
}
