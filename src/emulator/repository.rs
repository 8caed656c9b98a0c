//! Bare repositories, made and read with the `git` program. Everything here blocks.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Why git did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The program is not there.
    #[error("`git` could not be started: {0}; install it (Debian: `apt-get install git`)")]
    NoGit(#[source] std::io::Error),
    /// It said no.
    #[error("`git {command}` failed in {place}: {message}")]
    Git {
        /// What it was asked.
        command: String,
        /// The repository.
        place: String,
        /// What it said.
        message: String,
    },
    /// A file of the repository could not be written.
    #[error("{path}: {cause}")]
    File {
        /// Which.
        path: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// No project has this id.
    #[error("there is no project {0}")]
    UnknownProject(u64),
}

/// What a project's repository begins with.
#[derive(Clone, Debug)]
pub enum Repository {
    /// One commit on `main` with these files.
    Files(Vec<RepositoryFile>),
    /// A copy of this bare repository.
    CopyOf(PathBuf),
}

/// A file to commit.
#[derive(Clone, Debug)]
pub struct RepositoryFile {
    /// Its path.
    pub path: String,
    /// Its content.
    pub content: Vec<u8>,
    /// Whether it can be run.
    pub executable: bool,
}

impl RepositoryFile {
    /// A file that is only read.
    pub fn text(path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), content: content.into(), executable: false }
    }

    /// A file that is run.
    pub fn program(path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        Self { executable: true, ..Self::text(path, content) }
    }
}

impl Repository {
    /// Makes the bare repository at `target`, whose parent exists. Fails when something is there.
    pub fn create(&self, target: &Path) -> Result<(), RepositoryError> {
        match self {
            Repository::CopyOf(source) => {
                let arguments = ["clone", "--quiet", "--mirror"].map(Into::into);
                git(None, arguments.into_iter().chain([source.into(), target.into()]))?;
            }
            Repository::Files(files) => {
                git(
                    None,
                    ["init", "--quiet", "--bare", "--initial-branch=main"]
                        .map(Into::into)
                        .into_iter()
                        .chain([target.into()]),
                )?;
                commit(target, "main", files, "first commit")?;
            }
        }
        // Commits of any ref may be asked for, as GitLab's own git server lets runners do.
        for (key, value) in [("uploadpack.allowAnySHA1InWant", "true"), ("uploadpack.allowFilter", "true")] {
            git(Some(target), ["config", key, value].map(Into::into))?;
        }
        Ok(())
    }
}

/// Adds a commit with `files` (over those that are there) to `branch` of a bare repository; its hash.
pub fn commit(
    repository: &Path,
    branch: &str,
    files: &[RepositoryFile],
    message: &str,
) -> Result<String, RepositoryError> {
    let index = repository.join("emulator-index");
    let branch_ref = format!("refs/heads/{branch}");
    let parent = resolve(repository, &branch_ref).ok();
    let with_index = |arguments: Vec<std::ffi::OsString>| git_with(Some(repository), arguments, Some(&index), None);
    match &parent {
        Some(parent) => with_index(vec!["read-tree".into(), parent.into()])?,
        None => with_index(vec!["read-tree".into(), "--empty".into()])?,
    };
    for file in files {
        let hash =
            git_with(Some(repository), ["hash-object", "-w", "--stdin"].map(Into::into), None, Some(&file.content))?;
        let mode = if file.executable { "100755" } else { "100644" };
        let entry = format!("{mode},{},{}", hash.trim(), file.path);
        with_index(vec!["update-index".into(), "--add".into(), "--cacheinfo".into(), entry.into()])?;
    }
    let tree = with_index(vec!["write-tree".into()])?;
    let mut arguments = vec!["commit-tree".to_owned(), tree.trim().to_owned(), "-m".to_owned(), message.to_owned()];
    arguments.extend(parent.into_iter().flat_map(|parent| ["-p".to_owned(), parent]));
    let hash = git(Some(repository), arguments.into_iter().map(Into::into))?.trim().to_owned();
    set_ref(repository, &branch_ref, &hash)?;
    let _ = std::fs::remove_file(&index);
    Ok(hash)
}

/// The commit that a name stands for: a branch or tag first, then anything git knows.
pub fn resolve(repository: &Path, name: &str) -> Result<String, RepositoryError> {
    let candidates =
        [format!("refs/heads/{name}^{{commit}}"), format!("refs/tags/{name}^{{commit}}"), format!("{name}^{{commit}}")];
    let mut last = None;
    for candidate in candidates {
        match git(Some(repository), ["rev-parse".into(), "--verify".into(), "--quiet".into(), candidate.into()]) {
            Ok(hash) => return Ok(hash.trim().to_owned()),
            Err(error) => last = Some(error),
        }
    }
    Err(match last {
        Some(RepositoryError::Git { place, .. }) => RepositoryError::Git {
            command: "rev-parse".to_owned(),
            place,
            message: format!("`{name}` is no branch, tag or commit"),
        },
        Some(other) => other,
        None => RepositoryError::UnknownProject(0),
    })
}

/// Whether `name` is a tag.
pub fn is_tag(repository: &Path, name: &str) -> bool {
    let reference = format!("refs/tags/{name}");
    git(Some(repository), ["show-ref".into(), "--verify".into(), "--quiet".into(), reference.into()]).is_ok()
}

/// Points `reference` (its full name) at a commit.
pub fn set_ref(repository: &Path, reference: &str, hash: &str) -> Result<(), RepositoryError> {
    git(Some(repository), ["update-ref", reference, hash].map(Into::into)).map(drop)
}

/// A file's bytes at a commit.
pub fn read_bytes(repository: &Path, commit: &str, path: &str) -> Result<Vec<u8>, RepositoryError> {
    let arguments = ["cat-file".into(), "blob".into(), format!("{commit}:{path}").into()];
    git_bytes(Some(repository), arguments, None, None)
}

/// The paths of all files of a commit.
pub fn paths(repository: &Path, commit: &str) -> Result<Vec<String>, RepositoryError> {
    git(Some(repository), ["ls-tree", "-r", "-z", "--name-only", commit].map(Into::into)).map(|text| names(&text))
}

/// The paths of the files that differ between two commits.
pub fn changed(repository: &Path, from: &str, to: &str) -> Result<Vec<String>, RepositoryError> {
    git(Some(repository), ["diff-tree", "-r", "-z", "--name-only", from, to].map(Into::into)).map(|text| names(&text))
}

/// The last commit that two commits share.
pub fn merge_base(repository: &Path, one: &str, other: &str) -> Result<String, RepositoryError> {
    git(Some(repository), ["merge-base", one, other].map(Into::into)).map(|text| text.trim().to_owned())
}

/// The last commit up to `commit` that changed `path`; empty where none did.
pub fn last_commit(repository: &Path, commit: &str, path: &str) -> Result<String, RepositoryError> {
    let arguments = ["log", "-1", "--format=%H", commit, "--", path].map(Into::into);
    git(Some(repository), arguments).map(|text| text.trim().to_owned())
}

/// The names of all tags.
pub fn tags(repository: &Path) -> Result<Vec<String>, RepositoryError> {
    let text = git(Some(repository), ["for-each-ref", "--format=%(refname:strip=2)", "refs/tags"].map(Into::into))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// The message of a tag that has one; else empty.
pub fn tag_message(repository: &Path, name: &str) -> String {
    let format = "--format=%(if:equals=tag)%(objecttype)%(then)%(contents)%(end)";
    let text = git(Some(repository), ["for-each-ref".into(), format.into(), format!("refs/tags/{name}").into()]);
    text.unwrap_or_default().trim().to_owned()
}

/// What a commit says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitFacts {
    /// Its first parent.
    pub parent: Option<String>,
    /// `Name <mail>`.
    pub author: String,
    /// When it was committed, as ISO 8601.
    pub timestamp: String,
    /// Its whole message.
    pub message: String,
}

/// What a commit says of itself.
pub fn commit_facts(repository: &Path, commit: &str) -> Result<CommitFacts, RepositoryError> {
    let arguments = ["log", "-1", "--format=%P%x00%an <%ae>%x00%cI%x00%B", commit].map(Into::into);
    let text = git(Some(repository), arguments)?;
    let mut parts = text.splitn(4, '\0').map(|part| part.trim_end().to_owned());
    let mut next = || parts.next().unwrap_or_default();
    let parent = next().split(' ').next().filter(|hash| !hash.is_empty()).map(str::to_owned);
    Ok(CommitFacts { parent, author: next(), timestamp: next(), message: next() })
}

/// Names that git ended with zeros.
fn names(text: &str) -> Vec<String> {
    text.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The subject of a commit's message.
pub fn title(repository: &Path, commit: &str) -> Result<String, RepositoryError> {
    let arguments = ["log", "-1", "--format=%s", commit].map(Into::into);
    git(Some(repository), arguments).map(|text| text.trim().to_owned())
}

/// `git` with `arguments`, cut off from the user's configuration; what it printed.
fn git(
    repository: Option<&Path>,
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
) -> Result<String, RepositoryError> {
    git_with(repository, arguments, None, None)
}

fn git_with(
    repository: Option<&Path>,
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
    index: Option<&Path>,
    input: Option<&[u8]>,
) -> Result<String, RepositoryError> {
    let output = git_bytes(repository, arguments, index, input)?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}

fn git_bytes(
    repository: Option<&Path>,
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
    index: Option<&Path>,
    input: Option<&[u8]>,
) -> Result<Vec<u8>, RepositoryError> {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let mut command = Command::new("git");
    isolate(&mut command);
    if let Some(repository) = repository {
        command.arg("--git-dir").arg(repository);
    }
    if let Some(index) = index {
        command.env("GIT_INDEX_FILE", index);
    }
    command.args(&arguments).stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = run(&mut command, input).map_err(RepositoryError::NoGit)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(RepositoryError::Git {
        command: arguments.first().map(|a| a.to_string_lossy().into_owned()).unwrap_or_default(),
        place: repository.map_or_else(|| "a new repository".to_owned(), |path| path.display().to_string()),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

fn run(command: &mut Command, input: Option<&[u8]>) -> std::io::Result<Output> {
    use std::io::Write;
    let mut child = command.spawn()?;
    if let (Some(bytes), Some(mut pipe)) = (input, child.stdin.take()) {
        // `hash-object` reads all of it before it answers, so this cannot block for ever.
        pipe.write_all(bytes)?;
    }
    child.wait_with_output()
}

/// Takes the user's git settings and environment away from a command and fixes names and dates, so that the same files
/// give the same hashes on every machine.
fn isolate(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GIT_") {
            command.env_remove(name);
        }
    }
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Ada Example");
        command.env(format!("GIT_{who}_EMAIL"), "ada@example.com");
        command.env(format!("GIT_{who}_DATE"), "2026-01-02T03:04:05Z");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_become_a_commit_and_can_be_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let repository = dir.path().join("r.git");
        let files = vec![RepositoryFile::text("a/b.txt", "one\n"), RepositoryFile::program("run.sh", "#!/bin/sh\n")];
        Repository::Files(files).create(&repository).unwrap();
        let first = resolve(&repository, "main").unwrap();
        assert_eq!(read_bytes(&repository, &first, "a/b.txt").unwrap(), b"one\n");
        let second = commit(&repository, "main", &[RepositoryFile::text("a/b.txt", "two\n")], "second").unwrap();
        assert_eq!(resolve(&repository, "main").unwrap(), second);
        assert_eq!(read_bytes(&repository, &second, "run.sh").unwrap(), b"#!/bin/sh\n");
        assert_eq!(paths(&repository, &second).unwrap(), ["a/b.txt", "run.sh"]);
        assert_eq!(changed(&repository, &first, &second).unwrap(), ["a/b.txt"]);
        assert_eq!(last_commit(&repository, &second, "run.sh").unwrap(), first);
        let facts = commit_facts(&repository, &second).unwrap();
        assert_eq!((facts.parent, facts.author.as_str()), (Some(first), "Ada Example <ada@example.com>"));
        assert_eq!(facts.message, "second");
        assert!(facts.timestamp.starts_with("2026-01-02T03:04:05"), "{}", facts.timestamp);
        assert_eq!(title(&repository, &second).unwrap(), "second");
        let error = resolve(&repository, "nowhere").unwrap_err().to_string();
        assert!(error.contains("`nowhere` is no branch, tag or commit"), "{error}");
    }
}
