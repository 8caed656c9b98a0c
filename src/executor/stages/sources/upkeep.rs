//! Keeps the mirrors small: called by the agent's sweeper now and then, never by a job.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::blocking;
use super::error::SourcesError;
use super::git::{Git, Place, Reach};
use super::mirror::{Mirror, Mirrors, discard, pack_count};
use super::output::Rewrites;
use super::settings::{GitProgram, PrivateFolder};

/// How long a mirror's lock is waited for: one in use can wait for the next round.
const LOCK_LIMIT: Duration = Duration::from_millis(200);

/// How much mirrors may keep, and what the upkeep may take.
#[derive(Clone, Copy, Debug)]
pub struct UpkeepLimits {
    /// Mirrors that no job used for this long go.
    pub unused_for: Duration,
    /// Above this many bytes the longest unused go.
    pub total_bytes: u64,
    /// With more packs than this, a mirror is packed anew, and what is in no ref's history goes.
    pub packs: usize,
    /// The longest that packing one mirror may take.
    pub packing: Duration,
}

impl Default for UpkeepLimits {
    fn default() -> Self {
        Self {
            unused_for: Duration::from_secs(30 * 24 * 3600),
            total_bytes: 20 << 30,
            packs: 20,
            packing: Duration::from_secs(600),
        }
    }
}

/// What the upkeep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpkeepReport {
    /// Mirrors removed.
    pub removed: usize,
    /// Mirrors packed anew.
    pub packed: usize,
    /// Bytes that mirrors use afterwards.
    pub bytes: u64,
}

struct Known {
    slug: String,
    used: SystemTime,
    bytes: u64,
    packs: usize,
}

impl Mirrors {
    /// Removes and packs mirrors as `limits` say. Those that a job uses just now are left alone. `private_dir` is a
    /// folder for the agent alone.
    ///
    /// # Errors
    /// The mirrors' folder cannot be read, or `cancel` was cancelled.
    pub async fn upkeep(
        &self,
        program: &GitProgram,
        private_dir: &Path,
        limits: &UpkeepLimits,
        cancel: &CancellationToken,
    ) -> Result<UpkeepReport, SourcesError> {
        let machine = || SourcesError::machine("looking after the mirrors");
        let root = self.root().to_owned();
        let mut known = blocking(move || survey(&root)).await.map_err(machine())?;
        known.sort_by_key(|mirror| mirror.used);
        let mut report = UpkeepReport { bytes: known.iter().map(|mirror| mirror.bytes).sum(), ..Default::default() };
        let now = SystemTime::now();
        for mirror in known {
            let unused_for = now.duration_since(mirror.used).unwrap_or_default();
            let is_too_old = unused_for > limits.unused_for;
            let is_too_much = report.bytes > limits.total_bytes;
            if !(is_too_old || is_too_much || mirror.packs > limits.packs) {
                continue;
            }
            let Ok(Ok(locked)) = tokio::time::timeout(LOCK_LIMIT, self.lock_slug(&mirror.slug)).await else { continue };
            if is_too_old || is_too_much {
                locked.remove_all(is_too_old).await.map_err(machine())?;
                report.bytes = report.bytes.saturating_sub(mirror.bytes);
                report.removed += 1;
            } else if locked.pack_anew(program, private_dir, limits.packing, cancel).await? {
                report.packed += 1;
            }
        }
        Ok(report)
    }
}

impl Mirror {
    /// Removes the repository, and the records of work trees with it if those are of no use either. The lock's file
    /// stays: another process may wait at it.
    async fn remove_all(&self, with_records: bool) -> io::Result<()> {
        let folder = self.folder();
        blocking(move || {
            discard(&folder)?;
            if with_records { remove_if_there(&folder.join("trees")) } else { Ok(()) }
        })
        .await
    }

    /// One pack of what the refs hold. Returns whether it was made.
    async fn pack_anew(
        &self,
        program: &GitProgram,
        private_dir: &Path,
        limit: Duration,
        cancel: &CancellationToken,
    ) -> Result<bool, SourcesError> {
        let machine = || SourcesError::machine("packing a mirror");
        let private = PrivateFolder::create(private_dir).map_err(machine())?;
        let repository = self.repository();
        let cut_short = repository.clone();
        blocking(move || remove_temporary(&cut_short.join("objects/pack"))).await.map_err(machine())?;
        let deadline = Instant::now() + limit;
        let trusted: [&Path; 1] = [&repository];
        let git =
            Git::new(program, private, None, &trusted, Rewrites::default(), deadline, cancel).map_err(machine())?;
        let call = git.call("packing a mirror", Place::Bare(&repository), Reach::Nothing);
        match call.args(["repack", "-a", "-d", "-q"]).run(None).await {
            Ok(finished) if finished.is_success() => Ok(true),
            Ok(finished) => {
                // Damaged: the next job makes it anew.
                tracing::warn!(reason = finished.tail, "a mirror could not be packed; removing it");
                self.discard().await.map_err(machine())?;
                Ok(false)
            }
            Err(SourcesError::TimedOut { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Removes what a git that was killed left: packs under way. Nobody else writes one, for the lock is ours.
fn remove_temporary(packs: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(packs)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_string_lossy().starts_with("tmp_") || name.to_string_lossy().starts_with(".tmp-") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn survey(root: &Path) -> io::Result<Vec<Known>> {
    let entries = match std::fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut known = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let (Some(slug), true) = (path.file_name().and_then(|name| name.to_str()), path.is_dir()) else { continue };
        let used = used_at(&path).unwrap_or(SystemTime::UNIX_EPOCH);
        forget_lost_trees(&path.join("trees"));
        known.push(Known { slug: slug.to_owned(), used, bytes: size_of(&path), packs: pack_count(&path.join("repo")) });
    }
    Ok(known)
}

/// Each refresh writes the refs anew.
fn used_at(mirror: &Path) -> io::Result<SystemTime> {
    let written = |path: PathBuf| std::fs::metadata(path)?.modified();
    written(mirror.join("repo/packed-refs")).or_else(|_| written(mirror.join("lock")))
}

/// Records older than this belong to work trees that are not used any more.
const RECORD_AGE: Duration = Duration::from_secs(30 * 24 * 3600);

fn forget_lost_trees(records: &Path) {
    let Ok(entries) = std::fs::read_dir(records) else { return };
    for entry in entries.flatten() {
        let age = entry.metadata().and_then(|data| data.modified()).ok().and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age > RECORD_AGE) {
            let _ = remove_if_there(&entry.path());
        }
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn size_of(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => size_of(&entry.path()),
        Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |data| data.len()),
        _ => 0,
    });
    sizes.sum()
}
