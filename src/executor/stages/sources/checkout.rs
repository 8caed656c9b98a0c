//! Puts the commit's files into the work tree.

use super::error::SourcesError;
use super::fetch::FetchFailure;
use super::git::{Call, Git, Place, Reach, WorkTree};
use super::request::Request;
use crate::executor::log::{StageLog, Tone};
use crate::pipeline::definition::SourceSpec;

/// The largest `.gitattributes` that is looked at.
const ATTRIBUTES_LIMIT: u64 = 1 << 20;

/// Checks the commit out, cleans, and fetches LFS objects; or says that it does not.
pub(super) async fn check_out(
    git: &Git<'_>,
    request: &Request<'_>,
    tree: &WorkTree,
    log: &dyn StageLog,
) -> Result<(), FetchFailure> {
    let spec = request.spec;
    if !spec.checkout {
        log.say(Tone::Notice, "Skipping Git checkout");
        return Ok(());
    }
    let short = spec.sha.get(..8).unwrap_or(&spec.sha);
    log.say(Tone::Notice, &format!("Checking out {short} as detached HEAD (ref is {})...", request.shown_ref()));
    // With objects left out on purpose, git fetches those of the commit now.
    let reach = if is_partial(request) { Reach::Remote } else { Reach::Nothing };
    put_files(git, request, tree, reach, log).await?;
    if spec.lfs { fetch_large_files(git, tree, log).await.map_err(FetchFailure::Final) } else { Ok(()) }
}

async fn put_files(
    git: &Git<'_>,
    request: &Request<'_>,
    tree: &WorkTree,
    reach: Reach<'_>,
    log: &dyn StageLog,
) -> Result<(), FetchFailure> {
    let (spec, place) = (request.spec, Place::WorkTree(tree));
    let checkout = git.call("checking out", place, reach).args(["checkout", "-f", "-q", &spec.sha]);
    let finished = checkout.run(Some(log)).await.map_err(FetchFailure::Final)?;
    if !finished.is_success() {
        is_commit_there(git, request, place, reach).await.map_err(FetchFailure::Final)?;
    }
    finished.or_fail("git checkout failed").map_err(FetchFailure::WorkTree)?;
    let Some(flags) = &spec.clean_flags else { return Ok(()) };
    let clean = git.call("cleaning the work tree", place, Reach::Nothing).args(["clean"]).args(flags);
    let finished = clean.run(Some(log)).await.map_err(FetchFailure::Final)?;
    finished.or_fail("git clean failed").map_err(FetchFailure::WorkTree)
}

/// Whether objects are left out on purpose.
pub(super) fn is_partial(request: &Request<'_>) -> bool {
    is_partial_spec(request.spec)
}

/// The same of what was not checked yet.
pub(super) fn is_partial_spec(spec: &SourceSpec) -> bool {
    spec.fetch_flags.iter().any(|flag| flag.starts_with("--filter"))
}

/// A checkout fails for the remote's reasons or for the work tree's: an error says that the commit never came.
async fn is_commit_there(
    git: &Git<'_>,
    request: &Request<'_>,
    place: Place<'_>,
    reach: Reach<'_>,
) -> Result<(), SourcesError> {
    let spec = request.spec;
    let commit = format!("{}^{{commit}}", spec.sha);
    let finished = git.call("looking for the commit", place, reach).args(["cat-file", "-e", &commit]).run(None).await?;
    if finished.is_success() {
        return Ok(());
    }
    let depth = match spec.depth {
        0 => "the whole history".to_owned(),
        1 => "1 commit of history".to_owned(),
        depth => format!("{depth} commits of history"),
    };
    let message = format!(
        "the commit {} is not in {depth} of what was fetched ({}): the ref was overwritten since the pipeline started, or \
         GIT_DEPTH is too small",
        spec.sha,
        spec.refspecs.join(" ")
    );
    Err(SourcesError::failed(message, finished.code))
}

/// `git lfs pull`, where git-lfs is installed on the runner's machine.
async fn fetch_large_files(git: &Git<'_>, tree: &WorkTree, log: &dyn StageLog) -> Result<(), SourcesError> {
    if !git.has_lfs() {
        if uses_lfs(tree) {
            let line = "this repository keeps files in Git LFS, but git-lfs is not installed on the runner's machine: \
                        they are pointers only";
            log.say(Tone::Warning, line);
        }
        return Ok(());
    }
    let pull = git.call("fetching LFS objects", Place::WorkTree(tree), Reach::Remote).args(["lfs", "pull"]);
    with_lfs_filters(pull).run(Some(log)).await?.or_fail("git lfs pull failed")
}

/// git-lfs compares files with their pointers through git's filters; only its own calls have them.
pub(super) fn with_lfs_filters(call: Call<'_>) -> Call<'_> {
    call.setting("filter.lfs.clean", "git-lfs clean -- %f")
        .setting("filter.lfs.smudge", "git-lfs smudge --skip -- %f")
        .setting("filter.lfs.process", "git-lfs filter-process --skip")
        .setting("filter.lfs.required", "true")
}

fn uses_lfs(tree: &WorkTree) -> bool {
    let attributes = tree.folder.read(".gitattributes", ATTRIBUTES_LIMIT);
    matches!(attributes, Ok(Some(text)) if String::from_utf8_lossy(&text).contains("filter=lfs"))
}
