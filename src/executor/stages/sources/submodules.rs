//! Fills the folders of submodules (protocols/gitlab.md, section 8.5).

use super::checkout::with_lfs_filters;
use super::error::SourcesError;
use super::git::{Finished, Git, Place, Reach, WorkTree};
use super::request::Request;
use crate::executor::log::{StageLog, Tone};
use crate::pipeline::definition::SubmoduleStrategy;

/// Fills the submodules that the request asks for, or says that it does not.
pub(super) async fn update(
    git: &Git<'_>,
    request: &Request<'_>,
    tree: &WorkTree,
    log: &dyn StageLog,
) -> Result<(), SourcesError> {
    let recursive = match request.spec.submodules.depth_of_tree {
        SubmoduleStrategy::None => {
            log.say(Tone::Notice, "Skipping Git submodules setup");
            return Ok(());
        }
        SubmoduleStrategy::Normal => &[][..],
        SubmoduleStrategy::Recursive => &["--recursive"][..],
    };
    let depth = request.spec.submodules.depth;
    let how = if recursive.is_empty() { "" } else { " recursively" };
    let how_deep = if depth > 0 { format!(" with git depth set to {depth}") } else { String::new() };
    log.say(Tone::Notice, &format!("Updating/initializing submodules{how}{how_deep}..."));
    Update { git, request, tree, log, recursive }.run().await
}

struct Update<'a> {
    git: &'a Git<'a>,
    request: &'a Request<'a>,
    tree: &'a WorkTree,
    log: &'a dyn StageLog,
    recursive: &'static [&'static str],
}

impl Update<'_> {
    async fn run(&self) -> Result<(), SourcesError> {
        self.submodule(&["init"], &[]).await?.or_fail("git submodule init failed")?;
        self.sync().await?;
        self.clean().await?;
        self.reset().await?;
        if !self.update().await?.is_success() {
            self.log.say(Tone::Warning, "Updating submodules failed. Retrying...");
            if self.request.spec.submodules.update_flags.iter().any(|flag| flag == "--remote") {
                let all_branches = ["fetch", "origin", "+refs/heads/*:refs/remotes/origin/*"];
                self.in_each(&all_branches).await?.or_fail("fetching the branches of submodules failed")?;
            }
            self.sync().await?;
            self.update().await?.or_fail("git submodule update failed")?;
            self.reset().await?;
        } else {
            self.sync().await?;
        }
        self.clean().await?;
        if self.request.spec.lfs && self.git.has_lfs() {
            let pull = self.git.call("fetching LFS objects of submodules", self.place(), Reach::Remote);
            let pull = pull.args(["submodule", "foreach"]).args(self.recursive).args(["git", "lfs", "pull"]);
            with_lfs_filters(pull).run(Some(self.log)).await?.or_fail("git lfs pull failed in a submodule")?;
        }
        Ok(())
    }

    async fn sync(&self) -> Result<(), SourcesError> {
        let mut args = vec!["sync"];
        args.extend(self.recursive);
        self.submodule(&args, &self.paths()).await?.or_fail("git submodule sync failed")
    }

    async fn update(&self) -> Result<Finished, SourcesError> {
        let submodules = &self.request.spec.submodules;
        let mut args: Vec<String> =
            ["update", "--init"].iter().chain(self.recursive).map(|word| word.to_string()).collect();
        if submodules.depth > 0 {
            args.extend(["--depth".to_owned(), submodules.depth.to_string()]);
        }
        args.extend(submodules.update_flags.iter().cloned());
        let call = self.git.call("updating submodules", self.place(), Reach::Remote);
        call.args(["submodule"]).args(args).args(self.paths()).run(Some(self.log)).await
    }

    async fn clean(&self) -> Result<(), SourcesError> {
        let default = [String::from("-ffdx")];
        let flags = self.request.spec.clean_flags.as_deref().unwrap_or(&default);
        let words: Vec<&str> = ["clean"].into_iter().chain(flags.iter().map(String::as_str)).collect();
        self.in_each(&words).await?.or_fail("cleaning submodules failed")
    }

    async fn reset(&self) -> Result<(), SourcesError> {
        self.in_each(&["reset", "--hard"]).await?.or_fail("resetting submodules failed")
    }

    /// A git command in each submodule that is there.
    async fn in_each(&self, words: &[&str]) -> Result<Finished, SourcesError> {
        let reach = if words.first() == Some(&"fetch") { Reach::Remote } else { Reach::Nothing };
        let call = self.git.call("working on submodules", self.place(), reach);
        let call = call.args(["submodule", "foreach"]).args(self.recursive);
        call.args(["git"]).args(words).run(Some(self.log)).await
    }

    async fn submodule(&self, args: &[&str], paths: &[String]) -> Result<Finished, SourcesError> {
        let call = self.git.call("preparing submodules", self.place(), Reach::Nothing);
        call.args(["submodule"]).args(args).args(paths).run(Some(self.log)).await
    }

    fn paths(&self) -> Vec<String> {
        let paths = &self.request.spec.submodules.paths;
        if paths.is_empty() { Vec::new() } else { [&["--".to_owned()][..], paths].concat() }
    }

    fn place(&self) -> Place<'_> {
        Place::WithSubmodules(self.tree)
    }
}
