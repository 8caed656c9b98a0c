//! Brings the commits into the work tree's repository: from the mirror, refreshed for this job, or from the remote.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::error::SourcesError;
use super::flags;
use super::git::{Call, Git, Place, Reach, WorkTree};
use super::mirror::{Mirror, Mirrors, RefreshFailure, is_the_remotes};
use super::request::Request;
use crate::executor::log::{StageLog, Tone};
use crate::pipeline::Owner;

/// The largest `FETCH_HEAD` that is mended.
const FETCH_HEAD_LIMIT: u64 = 16 << 20;

/// The longest wait for other jobs of the project that use the mirror.
const MIRROR_WAIT: Duration = Duration::from_secs(600);

/// Why the commits did not come.
pub(super) enum FetchFailure {
    /// Perhaps the repository in the work tree is at fault: starting anew may help.
    WorkTree(SourcesError),
    /// Anything else.
    Final(SourcesError),
}

/// What a fetch works on.
pub(super) struct Fetch<'a> {
    /// Runs git.
    pub git: &'a Git<'a>,
    /// What is asked for.
    pub request: &'a Request<'a>,
    /// Where it goes.
    pub tree: &'a WorkTree,
    /// The mirrors and whose is used.
    pub mirrors: &'a Mirrors,
    /// On whose behalf.
    pub owner: &'a Owner,
    /// Whether the repository has objects of an earlier job.
    pub is_reused: bool,
    /// The job's log.
    pub log: &'a dyn StageLog,
}

/// Why the mirror did not serve.
enum MirrorFailure {
    /// As without a mirror: what git printed and its exit code.
    Remote(String, Option<i32>),
    /// The mirror is at fault.
    Mirror(String),
    /// The repository in the work tree is at fault, or the mirror.
    WorkTree(String),
    /// Nothing can go on.
    Stopped(SourcesError),
}

impl Fetch<'_> {
    /// Fetches what the request asks for.
    pub async fn run(&self) -> Result<(), FetchFailure> {
        let spec = self.request.spec;
        let serves = !self.request.is_local
            && !spec.refspecs.is_empty()
            && flags::mirror_understands(&spec.fetch_flags)
            && self.request.ref_sources().is_some();
        if !serves {
            return self.directly().await;
        }
        match self.through_mirror().await {
            Ok(()) => Ok(()),
            Err(MirrorFailure::Remote(words, code)) => {
                self.log.output(words.as_bytes());
                Err(FetchFailure::Final(self.refusal_of_remote(code)))
            }
            Err(MirrorFailure::WorkTree(words)) => {
                tracing::info!(reason = words, "the repository in a work tree is of no use; making it anew");
                Err(FetchFailure::WorkTree(SourcesError::failed("the repository in the work tree is damaged", None)))
            }
            Err(MirrorFailure::Stopped(error)) => Err(FetchFailure::Final(error)),
            Err(MirrorFailure::Mirror(reason)) => {
                tracing::warn!(owner = self.owner.slug(), reason, "a mirror could not be used");
                let line = "the runner's copy of this repository cannot be used; everything is fetched from the remote";
                self.log.say(Tone::Warning, line);
                self.directly().await
            }
        }
    }

    /// From the remote itself.
    async fn directly(&self) -> Result<(), FetchFailure> {
        let finished = self
            .fetch_call("fetching from the remote", Reach::Remote)
            .map_err(FetchFailure::Final)?
            .run(Some(self.log))
            .await
            .map_err(FetchFailure::Final)?;
        if finished.is_success() {
            return Ok(());
        }
        let error = self.refusal_of_remote(finished.code);
        match self.is_reused && !is_the_remotes(&finished.tail) {
            true => Err(FetchFailure::WorkTree(error)),
            false => Err(FetchFailure::Final(error)),
        }
    }

    fn refusal_of_remote(&self, code: Option<i32>) -> SourcesError {
        let url = &self.request.spec.url;
        SourcesError::failed(format!("fetching from {url} failed; git's words are above"), code)
    }

    async fn through_mirror(&self) -> Result<(), MirrorFailure> {
        // Half of the time that is left is kept for doing it without.
        let now = Instant::now();
        let half = now + self.git.deadline().saturating_duration_since(now) / 2;
        let deadline = half.min(now + MIRROR_WAIT);
        let mirror = self.mirrors.lock(self.owner, deadline, self.git.cancelled()).await?;
        match self.through_this(&mirror).await {
            Err(MirrorFailure::Mirror(reason)) => {
                tracing::warn!(owner = self.owner.slug(), reason, "a mirror is damaged; making it anew");
                mirror.discard().await.map_err(|error| MirrorFailure::Mirror(error.to_string()))?;
                self.through_this(&mirror).await
            }
            other => other,
        }
    }

    async fn through_this(&self, mirror: &Mirror) -> Result<(), MirrorFailure> {
        self.mirrors.refresh(mirror, self.owner, self.git, self.request).await?;
        let repository = mirror.repository();
        let path = repository.to_string_lossy();
        let held = HeldBack::default();
        let finished = self
            .fetch_call("copying from the runner's mirror", Reach::Copy(&repository))
            .map_err(MirrorFailure::Stopped)?
            .setting(format!("url.{path}.insteadOf"), &self.request.spec.url)
            .run(Some(&held))
            .await
            .map_err(MirrorFailure::Stopped)?;
        if !finished.is_success() {
            return Err(match self.is_reused {
                true => MirrorFailure::WorkTree(finished.tail),
                false => MirrorFailure::Mirror(finished.tail),
            });
        }
        held.release(self.log);
        self.mend_fetch_head().map_err(|source| {
            MirrorFailure::Stopped(SourcesError::Machine { doing: "writing FETCH_HEAD".to_owned(), source })
        })
    }

    /// The fetch into the work tree's repository, the same whatever it reads from.
    fn fetch_call<'c>(&'c self, doing: &'c str, reach: Reach<'c>) -> Result<Call<'c>, SourcesError> {
        let spec = self.request.spec;
        let call = self.git.call(doing, Place::WorkTree(self.tree), reach);
        let call = call.args(["fetch", "--no-recurse-submodules", "origin"]).args(&spec.refspecs);
        let call = match spec.depth {
            0 if self.is_shallow()? => call.args(["--unshallow"]),
            0 => call,
            depth => call.args([format!("--depth={depth}")]),
        };
        Ok(call.args(&spec.fetch_flags))
    }

    fn is_shallow(&self) -> Result<bool, SourcesError> {
        let look = || -> io::Result<bool> {
            let Some(git) = self.tree.folder.folder(".git")? else { return Ok(false) };
            Ok(git.stat("shallow")?.is_some())
        };
        look().map_err(SourcesError::machine("looking at the work tree"))
    }

    /// `FETCH_HEAD` names the remote, not our copy of it.
    fn mend_fetch_head(&self) -> io::Result<()> {
        let Some(git) = self.tree.folder.folder(".git")? else { return Ok(()) };
        let Some(content) = git.read("FETCH_HEAD", FETCH_HEAD_LIMIT)? else { return Ok(()) };
        git.write("FETCH_HEAD", &self.git.rewrites.apply(&content))
    }
}

impl From<RefreshFailure> for MirrorFailure {
    fn from(failure: RefreshFailure) -> Self {
        match failure {
            RefreshFailure::Remote(words, code) => MirrorFailure::Remote(words, code),
            RefreshFailure::Mirror(reason) => MirrorFailure::Mirror(reason),
            RefreshFailure::Stopped(error) => MirrorFailure::Stopped(error),
        }
    }
}

/// Output that is shown only if the call it came from counts.
#[derive(Default)]
struct HeldBack(Mutex<Vec<u8>>);

impl HeldBack {
    const LIMIT: usize = 4 << 20;

    fn release(self, log: &dyn StageLog) {
        let held = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        if !held.is_empty() {
            log.output(&held);
        }
    }
}

impl StageLog for HeldBack {
    fn say(&self, _tone: Tone, line: &str) {
        self.output(line.as_bytes());
        self.output(b"\n");
    }

    fn output(&self, bytes: &[u8]) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = Self::LIMIT.saturating_sub(held.len());
        held.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}
