//! Folders kept from job to job. Nothing here fails a job: a cache is never needed.

use tokio_util::sync::CancellationToken;

use crate::artifact::archive::Limits;
use crate::artifact::cache::{CacheStyle, RestoreRequest, Restored, SaveRequest, Saved, Wanted};
use crate::artifact::in_full;
use crate::artifact::select;
use crate::executor::log::{StageLog, Tone};
use crate::executor::running::{Running, StageError};
use crate::executor::stages::artifacts::{
    disk, environment_of_names, expand, interruptible, level, open_project, tell,
};
use crate::executor::stages::files;
use crate::executor::stages::get_sources::untracked_files;
use crate::executor::stages::retry::Tries;
use crate::forge::Reporter;
use crate::pipeline::JobFailure;
use crate::pipeline::definition::{CacheSpec, FileSelection};

/// Restores the caches of the job, each from the first of its keys that is there.
pub(in crate::executor) async fn restore<R: Reporter>(running: &mut Running<R>) -> Result<(), StageError> {
    if !running.run.job.caches.iter().any(names_files) {
        return Ok(());
    }
    let _section = running.section("restore_cache", "Restoring cache");
    for cache in running.run.job.caches.iter().filter(|cache| names_files(cache)) {
        if cache.key.is_empty() {
            running.run.log.say(Tone::Notice, "Skipping cache extraction due to empty cache key");
            continue;
        }
        if !cache.pull {
            running.run.log.say(Tone::Notice, &format!("Not downloading cache {} due to policy", cache.key));
            continue;
        }
        restore_patiently(running, cache).await?;
    }
    Ok(())
}

/// As often as the job asks for. A cache that is not there is no failure.
async fn restore_patiently<R: Reporter>(running: &Running<R>, cache: &CacheSpec) -> Result<(), StageError> {
    let mut tries = Tries::new(running.run.job.attempts.restore_cache);
    loop {
        let one = running.run.halt.guard(None, false, |stop| restore_one(running, cache, stop)).await;
        match one.map_err(|cause| StageError::Halted(cause, running.time_left().0))? {
            Err(failure) if tries.again(&failure.message, &running.run.log, &running.run.halt).await => {}
            done => {
                warn_of(running, done);
                return Ok(());
            }
        }
    }
}

async fn restore_one<R: Reporter>(
    running: &Running<R>,
    cache: &CacheSpec,
    stop: CancellationToken,
) -> Result<(), JobFailure> {
    let log = &running.run.log;
    log.say(Tone::Plain, &format!("Checking cache for {}...", cache.key));
    let keys: Vec<Wanted> = std::iter::once(&cache.key)
        .chain(&cache.fallback_keys)
        .map(|key| Wanted::Exact(key.as_bytes().to_vec()))
        .collect();
    let (caches, owner, job) =
        (running.run.tools.caches.clone(), running.run.job.owner.clone(), running.run.job.key.clone());
    let (workspace, dirs) = (running.run.paths.workspace.clone(), running.run.job.dirs.clone());
    let style = style(running);
    let restored = interruptible(&stop, move |interrupt| {
        let root = open_project(&workspace, &dirs)?;
        let staging = files::staging(&workspace, &dirs).map_err(|error| disk("a cache cannot be unpacked", &error))?;
        let limits = Limits::default();
        let request =
            RestoreRequest { owner: &owner, job: &job, keys: &keys, staging: &staging, limits, style, interrupt };
        let restored = caches.restore(&request, &root).map_err(|error| JobFailure::system(in_full(&error)));
        if let Err(error) = files::take_staging_away(&workspace, &dirs) {
            tracing::warn!(%error, "what was unpacked of a cache stays until the job's end");
        }
        restored
    })
    .await?;
    match restored {
        Restored::Hit(hit) => {
            tell(log, &hit.remarks);
            let key = String::from_utf8_lossy(&hit.key);
            let (entries, origin) = (hit.entries, hit.origin());
            log.say(Tone::Plain, &format!("Successfully extracted cache {key}: {entries} files and folders, {origin}"));
        }
        Restored::Miss { remarks } => {
            tell(log, &remarks);
            log.say(Tone::Warning, &format!("No cache is kept under {} or its fallback keys", cache.key));
        }
    }
    Ok(())
}

/// Saves the caches that are due after this outcome.
pub(in crate::executor) async fn save<R: Reporter>(running: &mut Running<R>) -> Result<(), StageError> {
    let success = !running.run.progress.standing.has_failed;
    let due: Vec<CacheSpec> = running
        .run
        .job
        .caches
        .iter()
        .filter(|cache| names_files(cache) && cache.when.is_due(success))
        .cloned()
        .collect();
    if due.is_empty() {
        return Ok(());
    }
    let (section, title) = if success {
        ("archive_cache", "Saving cache for successful job")
    } else {
        ("archive_cache_on_failure", "Saving cache for failed job")
    };
    let _section = running.section(section, title);
    let mut kept: Vec<&str> = Vec::new();
    for cache in &due {
        if cache.key.is_empty() {
            running.run.log.say(Tone::Notice, "Skipping cache archiving due to empty cache key");
            continue;
        }
        if !cache.push {
            running.run.log.say(Tone::Notice, &format!("Not uploading cache {} due to policy", cache.key));
            continue;
        }
        if kept.contains(&cache.key.as_str()) {
            let text = format!(
                "Not saving cache {} again: another cache of this job has this key; give each its own",
                cache.key
            );
            running.run.log.say(Tone::Warning, &text);
            continue;
        }
        let one = running.run.halt.guard(None, true, |stop| save_one(running, cache, stop)).await;
        match one.map_err(|cause| StageError::Halted(cause, running.time_left().0))? {
            Ok(IsKept::Yes) => kept.push(&cache.key),
            Ok(IsKept::No) => {}
            Err(failure) => running.run.log.say(Tone::Warning, &failure.message),
        }
    }
    Ok(())
}

/// Whether something is kept under the key now.
enum IsKept {
    Yes,
    No,
}

async fn save_one<R: Reporter>(
    running: &Running<R>,
    cache: &CacheSpec,
    stop: CancellationToken,
) -> Result<IsKept, JobFailure> {
    let log = &running.run.log;
    log.say(Tone::Plain, &format!("Creating cache {}...", cache.key));
    let environment = environment_of_names(running).await?;
    let files = FileSelection {
        paths: cache.files.paths.iter().map(|path| expand(path, &environment, log)).collect(),
        exclude: Vec::new(),
        untracked: cache.files.untracked,
    };
    let untracked = if files.untracked { untracked_files(running, &stop).await } else { Vec::new() };
    let work = SaveWork { key: cache.key.clone(), files, untracked };
    let (caches, owner, job) =
        (running.run.tools.caches.clone(), running.run.job.owner.clone(), running.run.job.key.clone());
    let (workspace, dirs) = (running.run.paths.workspace.clone(), running.run.job.dirs.clone());
    let style = style(running);
    let (remarks, saved) = interruptible(&stop, move |interrupt| {
        let root = open_project(&workspace, &dirs)?;
        let selection = select::select(&root, &dirs.project, &work.files, work.untracked)
            .map_err(|error| JobFailure::system(in_full(&error)))?;
        let request = SaveRequest { owner: &owner, key: work.key.as_bytes(), job: &job, style, interrupt };
        let saved = caches.save(&request, &root, &selection).map_err(|error| JobFailure::system(in_full(&error)))?;
        Ok((selection.remarks, saved))
    })
    .await?;
    tell(log, &remarks);
    Ok(match saved {
        Saved::Stored { stored_bytes, entries, remarks } => {
            tell(log, &remarks);
            log.say(Tone::Plain, &format!("Created cache: {entries} files and folders, {stored_bytes} bytes"));
            IsKept::Yes
        }
        Saved::UpToDate => {
            log.say(Tone::Plain, "Archive is up to date!");
            IsKept::Yes
        }
        Saved::Nothing => {
            log.say(Tone::Warning, "No files to cache.");
            IsKept::No
        }
        Saved::Refused(remark) => {
            tell(log, &[remark]);
            IsKept::No
        }
    })
}

struct SaveWork {
    key: String,
    files: FileSelection,
    untracked: Vec<std::path::PathBuf>,
}

/// What the job says about how its caches are kept.
fn style<R: Reporter>(running: &Running<R>) -> CacheStyle {
    let format = running.environment.value("CACHE_COMPRESSION_FORMAT").filter(|name| !name.is_empty());
    CacheStyle {
        format: format.map(CacheStyle::format_named),
        level: level(&running.environment, "CACHE_COMPRESSION_LEVEL"),
        hashed_keys: running.run.job.options.hash_cache_keys,
    }
}

fn names_files(cache: &CacheSpec) -> bool {
    !cache.files.paths.is_empty() || cache.files.untracked
}

fn warn_of<R: Reporter>(running: &Running<R>, result: Result<(), JobFailure>) {
    if let Err(failure) = result {
        running.run.log.say(Tone::Warning, &failure.message);
    }
}
