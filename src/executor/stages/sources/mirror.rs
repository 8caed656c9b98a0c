//! The agent's own copy of a project's repository, so that a second job transfers only what is new.
//!
//! One bare repository per [`Owner`], never reachable by a job: the work tree fetches from it as from any remote, through
//! git's protocol, by a git that may only read it. Nothing is shared by links or alternates, so a work tree stays whole
//! when the mirror goes, and no job can damage it.
//!
//! **It mirrors one moment.** Before each refresh all refs go, and only those that this job asks for (and the tags that
//! git follows) are fetched again; so a fetch from the mirror gives what a fetch from the remote would have given: no
//! stale branch, no deleted tag, no clash of `a` and `a/b`. What earlier jobs fetched stays known under `refs/keep`, which
//! the mirror hides from readers but names to the remote: that is what need not be sent again. The lock is held from the
//! refresh to the end of the work tree's fetch, for another refresh would move refs and shallow boundary.
//!
//! **Depth.** The mirror is as deep as the deepest job so far (complete, once a job asked for everything): then the
//! boundary that a job gets from it is the one the remote would have drawn.
//!
//! A damaged mirror is removed and made anew, by whoever notices.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::FlockOperation;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::SourcesError;
use super::folder::Folder;
use super::git::{Git, Place, Reach};
use super::record::read_limited;
use super::request::Request;
use super::skeleton::{self, NOWHERE, RepositoryConfig};
use crate::pipeline::{Owner, Trust};

/// How many earlier tips are named to the remote.
const KEPT_TIPS: usize = 64;

/// With more packs than this, small ones are merged before a refresh.
const PACKS_BEFORE_MERGE: usize = 50;

/// The merge is a favour to later jobs; this one does not wait longer for it.
const MERGE_LIMIT: Duration = Duration::from_secs(60);

/// The largest list of refs that is read.
const REFS_LIMIT: u64 = 256 << 20;

/// All mirrors of an agent. Cheap to share; make one per state directory.
pub struct Mirrors {
    root: PathBuf,
    /// One gate an owner: jobs of this agent wait here in order, without asking the file lock again and again.
    gates: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// A mirror that this job alone may use now.
pub(super) struct Mirror {
    folder: PathBuf,
    _lock: File,
    _gate: OwnedMutexGuard<()>,
}

/// Why the mirror has not what the job asks for.
pub(super) enum RefreshFailure {
    /// The remote said no, as it would without a mirror: what git printed, and its exit code.
    Remote(String, Option<i32>),
    /// The mirror itself is at fault.
    Mirror(String),
    /// The job is cancelled, its time is up, or the machine failed.
    Stopped(SourcesError),
}

impl Mirrors {
    /// Mirrors below `root` (the state directory's `mirrors`), which is made when it is first needed.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), gates: Mutex::default() }
    }

    /// The folder of one owner.
    pub(super) fn folder_of(&self, owner: &Owner) -> PathBuf {
        self.root.join(owner.slug())
    }

    /// Where the records of an owner's work trees are kept.
    pub(super) fn records_of(&self, owner: &Owner) -> PathBuf {
        self.folder_of(owner).join("trees")
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Waits until no other job of `owner` uses the mirror.
    pub(super) async fn lock(
        &self,
        owner: &Owner,
        deadline: Instant,
        cancel: &CancellationToken,
    ) -> Result<Mirror, RefreshFailure> {
        let slug = owner.slug();
        let locked = tokio::time::timeout_at(deadline, self.lock_slug(&slug));
        match cancel.run_until_cancelled(locked).await {
            Some(Ok(locked)) => locked.map_err(|error| at_fault("locking it", &error)),
            Some(Err(_)) => Err(RefreshFailure::Mirror("other jobs of the project use it for too long".to_owned())),
            None => {
                let doing = "waiting for other jobs of the project".to_owned();
                Err(RefreshFailure::Stopped(SourcesError::Cancelled { doing }))
            }
        }
    }

    /// Waits without limit; the caller sets one. Cancel-safe.
    pub(super) async fn lock_slug(&self, slug: &str) -> io::Result<Mirror> {
        let gate = {
            let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
            // Gates nobody waits at are dropped, so that the map does not grow with every project ever seen.
            gates.retain(|known, gate| known == slug || Arc::strong_count(gate) > 1);
            Arc::clone(gates.entry(slug.to_owned()).or_default())
        };
        let gate = gate.lock_owned().await;
        let folder = self.root.join(slug);
        private_folder(&self.root)?;
        private_folder(&folder)?;
        let lock = File::options().create(true).truncate(false).write(true).open(folder.join("lock"))?;
        // Another process is the exception (a command beside the agent), so asking now and then is good enough.
        let mut pause = Duration::from_millis(10);
        loop {
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
        Ok(Mirror { folder, _lock: lock, _gate: gate })
    }

    /// Mirrors of the same project that `owner` may read, the most trusted first.
    fn readable_by(&self, owner: &Owner) -> impl Iterator<Item = PathBuf> {
        [Trust::Protected, Trust::Member, Trust::Fork]
            .into_iter()
            .map(|trust| Owner { trust, ..owner.clone() })
            .filter(move |other| other != owner && owner.may_read(other))
            .map(|other| self.folder_of(&other))
    }

    /// Makes the owner's mirror hold what the job asks for.
    pub(super) async fn refresh(
        &self,
        mirror: &Mirror,
        owner: &Owner,
        git: &Git<'_>,
        request: &Request<'_>,
    ) -> Result<(), RefreshFailure> {
        let Some(sources) = request.ref_sources() else {
            return Err(RefreshFailure::Mirror("a refspec names an object, not a ref".to_owned()));
        };
        if !mirror.repository().join("HEAD").is_file() {
            let bases: Vec<PathBuf> = self.readable_by(owner).collect();
            let (folder, format) = (mirror.folder.clone(), request.spec.object_format.clone());
            let made = tokio::task::spawn_blocking(move || make(&folder, &format, &bases)).await;
            made.map_err(io::Error::other).and_then(|made| made).map_err(|error| at_fault("making it", &error))?;
        }
        mirror.merge_small_packs(git).await?;
        mirror.keep_tips_only(git).await?;
        mirror.fetch(git, request, &sources).await
    }
}

impl Mirror {
    /// The owner's folder.
    pub fn folder(&self) -> PathBuf {
        self.folder.clone()
    }

    /// The bare repository.
    pub fn repository(&self) -> PathBuf {
        self.folder.join("repo")
    }

    /// Removes the repository, so that the next refresh makes it anew.
    pub async fn discard(&self) -> io::Result<()> {
        let folder = self.folder.clone();
        tokio::task::spawn_blocking(move || discard(&folder)).await.map_err(io::Error::other)?
    }

    /// All refs of the last refresh become kept tips.
    async fn keep_tips_only(&self, git: &Git<'_>) -> Result<(), RefreshFailure> {
        let repository = self.repository();
        let listed = git
            .call("reading the mirror's refs", Place::Bare(&repository), Reach::Nothing)
            .args(["for-each-ref", "--sort=-committerdate", "--format=%(objectname) %(objecttype) %(refname)"])
            .output(REFS_LIMIT)
            .await
            .map_err(RefreshFailure::of)?;
        let (finished, listed) = listed;
        if !finished.is_success() {
            return Err(RefreshFailure::Mirror(finished.tail));
        }
        let mut tips = BTreeSet::new();
        for line in String::from_utf8_lossy(&listed).lines() {
            if let [object, "commit", _] = line.split(' ').collect::<Vec<_>>()[..]
                && tips.len() < KEPT_TIPS
            {
                tips.insert(object.to_owned());
            }
        }
        tokio::task::spawn_blocking(move || rewrite_refs(&repository, &tips))
            .await
            .map_err(io::Error::other)
            .and_then(|done| done)
            .map_err(|error| at_fault("rewriting its refs", &error))
    }

    async fn fetch(
        &self,
        git: &Git<'_>,
        request: &Request<'_>,
        sources: &BTreeSet<&str>,
    ) -> Result<(), RefreshFailure> {
        let spec = request.spec;
        let repository = self.repository();
        let mut args =
            vec!["fetch", "--quiet", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules"];
        let depth = Depth::read(&self.folder).max(Depth::of(spec.depth));
        let option = match depth {
            Depth::All if repository.join("shallow").exists() => Some("--unshallow".to_owned()),
            Depth::All => None,
            Depth::Commits(commits) => Some(format!("--depth={commits}")),
        };
        args.extend(option.as_deref());
        let about_tags = |word: &&str| matches!(*word, "--tags" | "-t" | "--no-tags" | "-n");
        args.extend(spec.fetch_flags.iter().map(String::as_str).filter(about_tags));
        args.extend(["--", &spec.url]);
        // What is deeper than asked for is recorded first: a fetch that is cut leaves a mirror that is not too shallow
        // for its record, since the next one asks for the recorded depth again.
        depth.write(&self.folder).map_err(|error| at_fault("recording its depth", &error))?;
        let finished = git
            .call("fetching from the remote", Place::Bare(&repository), Reach::Remote)
            .args(args)
            .args(sources.iter().map(|source| format!("+{source}:{source}")))
            .run(None)
            .await
            .map_err(RefreshFailure::of)?;
        match finished.is_success() {
            true => Ok(()),
            false if is_the_remotes(&finished.tail) => Err(RefreshFailure::Remote(finished.tail, finished.code)),
            false => Err(RefreshFailure::Mirror(finished.tail)),
        }
    }

    /// Each fetch leaves a pack; git slows down with their number. Best effort.
    async fn merge_small_packs(&self, git: &Git<'_>) -> Result<(), RefreshFailure> {
        let repository = self.repository();
        if pack_count(&repository) <= PACKS_BEFORE_MERGE {
            return Ok(());
        }
        let merge = git
            .call("merging the mirror's packs", Place::Bare(&repository), Reach::Nothing)
            .args(["repack", "-d", "-q", "--geometric=2"])
            .within(MERGE_LIMIT);
        match merge.run(None).await {
            Ok(finished) if finished.is_success() => {}
            Ok(finished) => tracing::warn!(reason = finished.tail, "the packs of a mirror were not merged"),
            Err(error @ SourcesError::Cancelled { .. }) => return Err(RefreshFailure::Stopped(error)),
            Err(error) => tracing::warn!(%error, "the packs of a mirror were not merged"),
        }
        Ok(())
    }
}

impl RefreshFailure {
    pub(super) fn of(error: SourcesError) -> Self {
        RefreshFailure::Stopped(error)
    }
}

/// How deep the mirror's history goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Depth {
    Commits(u32),
    All,
}

impl Depth {
    fn of(depth: u32) -> Self {
        if depth == 0 { Depth::All } else { Depth::Commits(depth) }
    }

    fn read(folder: &Path) -> Self {
        let text = read_limited(&folder.join("depth"), 32).unwrap_or_default();
        match std::str::from_utf8(&text).unwrap_or_default().trim() {
            "all" => Depth::All,
            number => Depth::Commits(number.parse().unwrap_or(1)),
        }
    }

    fn write(self, folder: &Path) -> io::Result<()> {
        let text = match self {
            Depth::All => "all".to_owned(),
            Depth::Commits(commits) => commits.to_string(),
        };
        let temporary = folder.join("depth.new");
        std::fs::write(&temporary, text)?;
        std::fs::rename(temporary, folder.join("depth"))
    }
}

/// Whether git's words are about the remote. All others count against our copy, which is made anew at worst.
pub(super) fn is_the_remotes(words: &str) -> bool {
    const REMOTE: &[&str] = &[
        "unable to access",
        "Authentication failed",
        "could not read Username",
        "could not read Password",
        "couldn't find remote ref",
        "Couldn't find remote ref",
        "RPC failed",
        "remote error",
        "remote: ",
        "' not found",
        "not valid: is this a git repository",
        "unable to update url base from redirection",
        "the remote end hung up",
        "expected flush",
        "expected 'acknowledgments'",
        "invalid server response",
        "unexpected disconnect",
        "Could not read from remote repository",
        "does not appear to be a git repository",
        "unable to find remote helper",
        "bad line length",
        "transport '",
    ];
    REMOTE.iter().any(|part| words.contains(part))
}

fn at_fault(doing: &str, error: &io::Error) -> RefreshFailure {
    RefreshFailure::Mirror(format!("{doing}: {error}"))
}

/// Makes an empty mirror, or a copy of one that the owner may read. The copy is by content: no file is shared.
fn make(folder: &Path, object_format: &str, bases: &[PathBuf]) -> io::Result<()> {
    discard(folder)?;
    for base in bases {
        match copy_of(base, folder) {
            Ok(true) => break,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "a mirror could not be copied; it is fetched from the remote");
                discard(folder)?;
            }
        }
    }
    let config = RepositoryConfig {
        object_format,
        is_bare: true,
        origin: None,
        worktree: None,
        is_partial: false,
        more: "[uploadpack]\n\thideRefs = refs/keep\n",
    };
    private_folder(&folder.join("repo"))?;
    skeleton::write(&Folder::open(&folder.join("repo"))?, &config, NOWHERE)
}

/// Copies `base`'s objects and refs; `false` where there are none, or a job refreshes them just now.
fn copy_of(base: &Path, folder: &Path) -> io::Result<bool> {
    let (from, to) = (base.join("repo"), folder.join("repo"));
    let Ok(lock) = File::open(base.join("lock")) else { return Ok(false) };
    if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared).is_err() || !from.join("HEAD").is_file() {
        return Ok(false);
    }
    private_folder(&to)?;
    for part in ["objects", "refs", "shallow", "packed-refs"] {
        copy_all(&from.join(part), &to.join(part))?;
    }
    copy_all(&base.join("depth"), &folder.join("depth"))?;
    Ok(true)
}

fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    if from.is_dir() {
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            copy_all(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else if from.is_file() {
        std::fs::copy(from, to)?;
    }
    Ok(())
}

/// Leaves `tips` as the only refs. The file is written before the others go, so that a crash loses no tip.
fn rewrite_refs(repository: &Path, tips: &BTreeSet<String>) -> io::Result<()> {
    let text: String = tips.iter().map(|tip| format!("{tip} refs/keep/{tip}\n")).collect();
    let temporary = repository.join("packed-refs.new");
    std::fs::write(&temporary, text)?;
    std::fs::rename(temporary, repository.join("packed-refs"))?;
    let folder = Folder::open(repository)?;
    for leftover in ["refs", "shallow.lock", "packed-refs.lock", "HEAD.lock"] {
        folder.unlink(leftover)?;
    }
    let refs = folder.folder_or_new("refs")?;
    refs.folder_or_new("heads")?;
    refs.folder_or_new("tags").map(drop)
}

pub(super) fn discard(folder: &Path) -> io::Result<()> {
    let folder = Folder::open(folder)?;
    folder.unlink("repo")?;
    folder.unlink("depth")
}

pub(super) fn pack_count(repository: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(repository.join("objects/pack")) else { return 0 };
    entries.flatten().filter(|entry| entry.path().extension().is_some_and(|extension| extension == "pack")).count()
}

fn private_folder(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
