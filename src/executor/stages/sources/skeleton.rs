//! The files of a repository that we write ourselves rather than have git make them: then nothing else is in it.

use std::io;

use super::folder::Folder;
use super::git::config_value;

/// What a repository's own configuration says. There is nothing else in it while git runs on the agent's machine.
pub(super) struct RepositoryConfig<'a> {
    /// `sha1` or `sha256`.
    pub object_format: &'a str,
    /// Without a work tree.
    pub is_bare: bool,
    /// The remote `origin`, without credentials.
    pub origin: Option<&'a str>,
    /// The work tree of a submodule's repository, relative to it.
    pub worktree: Option<&'a str>,
    /// Objects that were left out on purpose (`--filter`) are fetched from `origin` when needed.
    pub is_partial: bool,
    /// Further lines.
    pub more: &'a str,
}

impl RepositoryConfig<'_> {
    /// The text of the file `config`.
    pub fn text(&self) -> String {
        let is_sha256 = self.object_format == "sha256";
        let version = u8::from(is_sha256 || self.is_partial);
        let mut text = format!(
            "[core]\n\trepositoryformatversion = {version}\n\tfilemode = true\n\tbare = {}\n\tlogallrefupdates = {}\n",
            self.is_bare, !self.is_bare
        );
        if let Some(worktree) = self.worktree {
            text.push_str(&format!("\tworktree = {}\n", config_value(worktree)));
        }
        if is_sha256 || self.is_partial {
            text.push_str("[extensions]\n");
        }
        if is_sha256 {
            text.push_str("\tobjectformat = sha256\n");
        }
        if self.is_partial {
            text.push_str("\tpartialClone = origin\n");
        }
        if let Some(origin) = self.origin {
            let fetch = "+refs/heads/*:refs/remotes/origin/*";
            text.push_str(&format!("[remote \"origin\"]\n\turl = {}\n\tfetch = {fetch}\n", config_value(origin)));
            if self.is_partial {
                text.push_str("\tpromisor = true\n");
            }
        }
        text.push_str(self.more);
        text
    }
}

/// Where a repository's `HEAD` points before anything is checked out.
pub(super) const NOWHERE: &str = "ref: refs/heads/none\n";

/// Writes what a repository needs around its objects. Whatever had these names is replaced.
pub(super) fn write(git: &Folder, config: &RepositoryConfig<'_>, head: &str) -> io::Result<()> {
    let refs = git.folder_or_new("refs")?;
    refs.folder_or_new("heads")?;
    refs.folder_or_new("tags")?;
    let objects = git.folder_or_new("objects")?;
    objects.folder_or_new("pack")?;
    objects.folder_or_new("info")?;
    git.folder_or_new("info")?;
    git.write("config", config.text().as_bytes())?;
    git.write("HEAD", head.as_bytes())
}
