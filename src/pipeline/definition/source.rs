//! The sources of a job.

use std::path::PathBuf;

use crate::pipeline::secret::Secret;

/// What the work tree is filled with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSpec {
    /// How.
    pub strategy: SourceStrategy,
    /// Without a repository the work tree begins empty all the same: nothing an earlier job left is in it.
    pub begins_empty: bool,
    /// A folder of this machine that holds the sources as they are, for work trees that are not fetched from anywhere: copied,
    /// never changed. With [`SourceStrategy::Snapshot`] before the steps, else where a step asks for it.
    pub snapshot: Option<PathBuf>,
    /// Whether any user of the job may write what a snapshot lays down, as users of containers must; else the agent's umask holds.
    pub open_to_all: bool,
    /// The repository, without credentials.
    pub url: String,
    /// Credentials for the repository and for others on the same host (submodules).
    pub credentials: Option<GitCredentials>,
    /// Further rewrites: a URL prefix and what it is replaced with (SSH to HTTPS for submodules).
    pub url_rewrites: Vec<UrlRewrite>,
    /// The ref's name, for the log.
    pub ref_name: String,
    /// The commit to check out, hexadecimal.
    pub sha: String,
    /// What to fetch.
    pub refspecs: Vec<String>,
    /// How many commits deep; 0: all.
    pub depth: u32,
    /// `sha1` or `sha256`.
    pub object_format: String,
    /// Whether the commit is checked out.
    pub checkout: bool,
    /// Words for `git clean` before the checkout; `None`: no cleaning.
    pub clean_flags: Option<Vec<String>>,
    /// Words for `git fetch`.
    pub fetch_flags: Vec<String>,
    /// Submodules.
    pub submodules: Submodules,
    /// Whether LFS objects are fetched where git-lfs is installed.
    pub lfs: bool,
    /// Commands of the job before and after its sources are there.
    pub pre_script: Vec<String>,
    /// See `pre_script`.
    pub post_script: Vec<String>,
    /// Value of git's `http.userAgent`.
    pub user_agent: String,
    /// An extra HTTP header for git, `Name: value`.
    pub extra_header: Option<String>,
}

impl SourceSpec {
    /// No repository: the work tree begins empty.
    pub fn none() -> Self {
        Self {
            strategy: SourceStrategy::Empty,
            begins_empty: true,
            snapshot: None,
            open_to_all: true,
            url: String::new(),
            credentials: None,
            url_rewrites: Vec::new(),
            ref_name: String::new(),
            sha: String::new(),
            refspecs: Vec::new(),
            depth: 0,
            object_format: "sha1".to_owned(),
            checkout: false,
            clean_flags: None,
            fetch_flags: Vec::new(),
            submodules: Submodules {
                depth_of_tree: SubmoduleStrategy::None,
                depth: 0,
                paths: Vec::new(),
                update_flags: Vec::new(),
            },
            lfs: false,
            pre_script: Vec::new(),
            post_script: Vec::new(),
            user_agent: String::new(),
            extra_header: None,
        }
    }
}

/// How the work tree is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceStrategy {
    /// A new work tree each time.
    Clone,
    /// The work tree of an earlier job of the same owner, cleaned, where there is one.
    Fetch,
    /// What an earlier job left, untouched.
    None,
    /// An empty folder.
    Empty,
    /// An empty folder, then the files of [`SourceSpec::snapshot`].
    Snapshot,
}

/// User name and password for git over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitCredentials {
    /// User name.
    pub username: String,
    /// Password: the job's token.
    pub password: Secret,
    /// The base URLs, `https://host[:port]`, that the credentials are for.
    pub hosts: Vec<String>,
}

/// A URL prefix and what git is to use in its place (`url.TO.insteadOf=FROM`). Without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlRewrite {
    /// The prefix as it stands in `.gitmodules`.
    pub from: String,
    /// What is used in its place.
    pub to: String,
}

/// What to do with submodules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submodules {
    /// Whether, and how deep.
    pub depth_of_tree: SubmoduleStrategy,
    /// How many commits deep each is fetched; 0: all.
    pub depth: u32,
    /// Pathspecs; empty: all.
    pub paths: Vec<String>,
    /// Words for `git submodule update`.
    pub update_flags: Vec<String>,
}

/// Which submodules are fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubmoduleStrategy {
    /// None.
    #[default]
    None,
    /// Those of the repository itself.
    Normal,
    /// Theirs too.
    Recursive,
}
