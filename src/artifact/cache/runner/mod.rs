//! Caches in a bucket that gitlab-runner uses, too: under its names, in its formats.
//!
//! The layout has the project and the key, and nothing about who wrote what. So of the rules of [`Owner`] these hold: projects
//! see nothing of each other, and a fork's job writes nothing. Whether a ref is protected only the key tells, to which GitLab
//! appends it.
//!
//! The machine's own store is no first level to this one: another runner may write an object at any time, so that each restore has
//! to ask the bucket all the same, and an archive cannot be fetched in part.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cap_std::fs::Dir;
use jiff::Timestamp;
use tokio::runtime::Handle;

use super::attempt::Attempt;
use super::{CacheError, CacheStore, CacheStyle, Hit, RestoreRequest, Restored, SaveRequest, Saved, Wanted};
use crate::artifact::archive::{self, Packing, Unpacking};
use crate::artifact::remote::{Bucket, RemoteError};
use crate::artifact::select::{Entry, EntryKind, Selection};
use crate::artifact::store::LevelError;
use crate::artifact::{Remark, in_full, merge, shown};
use crate::config::registration::RunnerCacheConfig;
use crate::outbound::Outbound;
use crate::pipeline::definition::ArtifactFormat;
use crate::pipeline::{JobKey, Owner, Trust};

#[cfg(test)]
mod tests;

/// What the object says about itself for people; gitlab-runner writes the same.
const KEY_OF: &str = "cachekey";

/// S3 takes no longer ones; the bucket's own prefix is short.
const LONGEST_NAME: usize = 1_000;

/// Jobs whose restores are remembered. Far more than run at a time; what is forgotten is saved again.
const REMEMBERED: usize = 10_000;

/// A bucket that fails later than this is not asked for the next key.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of the disk that are left alone.
const RESERVE: u64 = 1 << 30;

/// Caches in a bucket that gitlab-runner uses, too.
pub struct RunnerCache {
    bucket: Bucket,
    /// What all objects' names begin with, up to the project.
    base: String,
    format: ArtifactFormat,
    /// Where archives are put together, without a name.
    scratch: PathBuf,
    restored: Mutex<HashMap<(JobKey, String), Timestamp>>,
}

impl RunnerCache {
    /// The caches of a registration. `short_token` names it where the bucket is not shared, `scratch` is a folder for archives
    /// while they are made.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn open(
        config: &RunnerCacheConfig,
        short_token: &str,
        outbound: Outbound,
        runtime: Handle,
        scratch: &Path,
    ) -> Result<Self, RemoteError> {
        let namespace = if config.shared { String::new() } else { format!("runner/{short_token}") };
        let parts = [config.path.trim_matches('/'), &namespace, "project"];
        let base: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Ok(Self {
            bucket: Bucket::open(&config.remote, outbound, runtime)?,
            base: base.join("/"),
            format: config.format.into(),
            scratch: scratch.to_owned(),
            restored: Mutex::default(),
        })
    }

    /// The name of the object of a key. `None`: it has none. (protocols: GitLab 7.3.)
    fn object_name(&self, owner: &Owner, key: &[u8], style: CacheStyle) -> Option<String> {
        let is_part = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
        let key = std::str::from_utf8(key).ok().filter(|key| key.split('/').all(is_part))?;
        let project = owner.project.as_str();
        if project.is_empty() || !project.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let name = match style.hashed_keys {
            true => format!("{}/{project}/{}/{key}", self.base, key.get(..2)?),
            false => format!("{}/{project}/{key}", self.base),
        };
        (name.len() <= LONGEST_NAME).then_some(name)
    }

    /// Gets one object into the tree. `None`: there is none, or none that can be used, which is told.
    fn try_restore(
        &self,
        request: &RestoreRequest<'_>,
        key: &[u8],
        into: &Dir,
        remarks: &mut Vec<Remark>,
    ) -> Result<Option<Hit>, CacheError> {
        let Some(name) = self.object_name(request.owner, key, request.style) else {
            remarks.push(Remark::warning(format!("cache {}: the bucket can have no object of this key", shown(key))));
            return Ok(None);
        };
        let mut archive = self.scratch()?;
        let limit = request.limits.bytes.min(room(&archive)?);
        let began = Instant::now();
        let object = match self.bucket.download(&name, &mut archive, limit, &request.interrupt) {
            Ok(Some(object)) => object,
            Ok(None) => return Ok(None),
            // Credentials that may not list are told of what is not there as of what they may not have.
            Err(error) if !matches!(error, LevelError::Interrupted) && began.elapsed() < PATIENCE => {
                remarks.push(Remark::warning(format!("cache {}: not restored: {}", shown(key), in_full(&error))));
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let attempt = Attempt::begin(request.staging)?;
        let unpacking = Unpacking { limits: request.limits.clone(), interrupt: request.interrupt.clone() };
        let unpacked = match archive::unpack_with(&mut archive, &attempt.folder, &unpacking) {
            Ok(unpacked) => unpacked,
            Err(error) if error.is_of_the_archive() => {
                let text = format!("cache {}: not restored: {}", shown(key), in_full(&error));
                remarks.push(Remark::warning(text));
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        remarks.extend(unpacked.remarks);
        remarks.extend(merge::move_into(&attempt.folder, into, &unpacked.unnamed).map_err(CacheError::Merge)?);
        self.remember(request.job, name, object.modified);
        Ok(Some(Hit {
            key: key.to_vec(),
            // Of the project it is; the bucket does not tell more.
            writer: None,
            job: None,
            created_at: object.modified,
            entries: unpacked.entries,
            bytes: unpacked.bytes,
            remarks: std::mem::take(remarks),
        }))
    }

    fn remember(&self, job: &JobKey, name: String, modified: Timestamp) {
        let mut restored = self.restored.lock().unwrap_or_else(PoisonError::into_inner);
        if restored.len() >= REMEMBERED {
            restored.clear();
        }
        restored.insert((job.clone(), name), modified);
    }

    /// Whether this job got this very object, and nothing is newer than it: gitlab-runner, too, looks at times alone.
    fn is_up_to_date(&self, job: &JobKey, name: &str, from: &Dir, selection: &Selection) -> bool {
        let mut restored = self.restored.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(modified) = restored.remove(&(job.clone(), name.to_owned())) else { return false };
        drop(restored);
        let is_old = |entry: &Entry| {
            // A symlink's own time is not restored; that one was made shows in the time of its folder.
            let time = from.symlink_metadata(&entry.path).ok()?.modified().ok()?.into_std();
            Some(entry.kind == EntryKind::Symlink || Timestamp::try_from(time).ok()? <= modified)
        };
        selection.entries.iter().all(|entry| is_old(entry).unwrap_or(false))
    }

    fn scratch(&self) -> Result<File, CacheError> {
        tempfile::tempfile_in(&self.scratch).map_err(CacheError::Staging)
    }
}

impl CacheStore for RunnerCache {
    /// Only exact keys are found: the layout knows no others.
    fn restore(&self, request: &RestoreRequest<'_>, into: &Dir) -> Result<Restored, CacheError> {
        let mut remarks = Vec::new();
        for wanted in request.keys {
            let Wanted::Exact(key) = wanted else { continue };
            if let Some(hit) = self.try_restore(request, key, into, &mut remarks)? {
                return Ok(Restored::Hit(hit));
            }
        }
        Ok(Restored::Miss { remarks })
    }

    fn save(&self, request: &SaveRequest<'_>, from: &Dir, selection: &Selection) -> Result<Saved, CacheError> {
        if selection.is_empty() {
            return Ok(Saved::Nothing);
        }
        if request.owner.trust == Trust::Fork {
            return Ok(refused("jobs of forks keep none in a bucket where the project's own jobs would find it"));
        }
        let Some(name) = self.object_name(request.owner, request.key, request.style) else {
            return Ok(refused("the bucket can have no object of its key"));
        };
        if self.is_up_to_date(request.job, &name, from, selection) {
            return Ok(Saved::UpToDate);
        }
        let mut file = self.scratch()?;
        if content_of(from, selection) > room(&file)? {
            return Ok(refused("the disk on which its archive is put together has no room for it"));
        }
        let packing = Packing {
            format: request.style.format.unwrap_or(self.format),
            level: request.style.level,
            interrupt: request.interrupt.clone(),
        };
        let packed = archive::pack_with(from, selection, &packing, &mut file)?;
        if packed.entries == 0 {
            return Ok(Saved::Nothing);
        }
        file.seek(SeekFrom::Start(0)).map_err(CacheError::Staging)?;
        // A header holds no more than this; the object is found without it.
        let key = std::str::from_utf8(request.key).ok().filter(|key| key.bytes().all(|b| matches!(b, b' '..=b'~')));
        let metadata: Vec<(&str, &str)> = key.map(|key| (KEY_OF, key)).into_iter().collect();
        self.bucket.upload(&name, &mut file, &metadata, &request.interrupt)?;
        Ok(Saved::Stored { stored_bytes: packed.bytes, entries: packed.entries, remarks: packed.remarks })
    }
}

/// Bytes that may still be written to the disk that the file lies on.
fn room(file: &File) -> Result<u64, CacheError> {
    let disk = rustix::fs::fstatvfs(file).map_err(|error| CacheError::Staging(error.into()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize).saturating_sub(RESERVE))
}

/// Bytes of the files of a selection: their archive is hardly ever larger.
fn content_of(from: &Dir, selection: &Selection) -> u64 {
    let files = selection.entries.iter().filter(|entry| entry.kind == EntryKind::File);
    files.filter_map(|entry| from.symlink_metadata(&entry.path).ok()).map(|file| file.len()).sum()
}

fn refused(why: &str) -> Saved {
    Saved::Refused(Remark::warning(format!("the cache was not kept: {why}")))
}
