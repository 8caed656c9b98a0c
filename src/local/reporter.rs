//! The forge of a local run: keeps what jobs give away, and hands it to later jobs.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::house::blocking;
use crate::artifact::archive::{self, Unpacking};
use crate::forge::{ArchiveFile, Demand, FinishAck, LogAck, LogDigest, ReportError, Reporter, TransferError};
use crate::pipeline::definition::{ArtifactSpec, DependencySpec};
use crate::pipeline::{JobId, JobOutcome};

/// The biggest dotenv report, in bytes; GitLab's limit is 5 KiB.
const BIGGEST_REPORT: u64 = 5 << 10;

/// What a job left.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Its archive: where it is, its name, its size.
    pub archive: Option<(PathBuf, String, u64)>,
    /// Where people find its files; files of jobs of the same name from earlier runs may be there, too.
    pub folder: Option<PathBuf>,
    /// How many files its archives had.
    pub files: usize,
    /// The variables of its dotenv report.
    pub dotenv: Vec<(String, String)>,
    /// Its archive was due, and nothing matched.
    pub left_nothing: bool,
}

/// What the jobs of a run left, by their ids. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shelf {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// `.forgehand/artifacts` of the project.
    shown: PathBuf,
    /// Archives as they were packed.
    private: PathBuf,
    kept: Mutex<HashMap<String, Kept>>,
    folders: Mutex<Vec<PathBuf>>,
}

impl Shelf {
    /// An empty one. `shown`: where people find artifacts, one folder a job.
    pub fn new(shown: PathBuf, private: PathBuf) -> Self {
        Self { inner: Arc::new(Inner { shown, private, kept: Mutex::default(), folders: Mutex::default() }) }
    }

    /// What job `id` left so far.
    pub fn of(&self, id: &str) -> Kept {
        lock(&self.inner.kept).get(id).cloned().unwrap_or_default()
    }

    /// A job whose archive was due has ended: it is noted where it left none.
    pub fn expect_archive(&self, id: &str) {
        let mut kept = lock(&self.inner.kept);
        let kept = kept.entry(id.to_owned()).or_default();
        kept.left_nothing = kept.archive.is_none();
    }

    /// What a job is told that is given the artifacts of `name`, where there should be some and are none. As on the forge that is no failure:
    /// there is nothing to download.
    pub fn remark(&self, id: &str, name: &str) -> Option<String> {
        let left_nothing = self.of(id).left_nothing;
        left_nothing.then(|| format!("`{name}` was to leave artifacts, and left none"))
    }

    /// The folders with artifacts of this run, in the order in which they came.
    pub fn folders(&self) -> Vec<PathBuf> {
        lock(&self.inner.folders).clone()
    }

    /// The way back for one job.
    pub fn reporter(&self, id: &JobId, name: &str) -> LocalReporter {
        LocalReporter { shelf: self.clone(), id: id.as_str().to_owned(), folder: folder_name(name) }
    }

    fn keep(&self, id: &str, folder: &str, kind: &str, file_name: &str, file: &Path) -> Result<(), TransferError> {
        let shown = self.inner.shown.join(folder);
        let disk = |error: io::Error| TransferError {
            message: format!("{} cannot be written: {error}", shown.display()),
            is_own_disk: true,
        };
        // What the job itself left is at fault.
        let of_job = |message: String| TransferError { message, is_own_disk: false };
        fs::create_dir_all(&shown).map_err(disk)?;
        ignore(&self.inner.shown);
        let mut folders = lock(&self.inner.folders);
        if !folders.contains(&shown) {
            // What an earlier run left is not of this one.
            clear(&shown).map_err(disk)?;
            folders.push(shown.clone());
        }
        drop(folders);
        if kind != "archive" && kind != "trace" && !kind.is_empty() {
            let base = Path::new(file_name).file_name().unwrap_or(file_name.as_ref());
            fs::copy(file, shown.join(base)).map_err(disk)?;
            if kind == "dotenv" {
                let variables =
                    dotenv(file).map_err(|problem| of_job(format!("the dotenv report is refused: {problem}")))?;
                lock(&self.inner.kept).entry(id.to_owned()).or_default().dotenv.extend(variables);
            }
            return Ok(());
        }
        fs::create_dir_all(&self.inner.private).map_err(disk)?;
        let archive = self.inner.private.join(id);
        let size = fs::copy(file, &archive).map_err(disk)?;
        let root = Dir::open_ambient_dir(&shown, ambient_authority()).map_err(disk)?;
        let mut packed = fs::File::open(&archive).map_err(disk)?;
        let unpacked = archive::unpack_with(&mut packed, &root, &Unpacking::default());
        let unpacked = unpacked.map_err(|error| of_job(error.to_string()))?;
        let mut kept = lock(&self.inner.kept);
        let kept = kept.entry(id.to_owned()).or_default();
        kept.archive = Some((archive, file_name.to_owned(), size));
        kept.folder = Some(shown);
        kept.files += usize::try_from(unpacked.files).unwrap_or(usize::MAX);
        Ok(())
    }
}

/// Empties a folder of ours.
fn clear(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

/// Git is not to see our folder.
fn ignore(shown: &Path) {
    let Some(ours) = shown.parent() else { return };
    let note = ours.join(".gitignore");
    if !note.exists() {
        // Only a convenience: the snapshot leaves the folder out anyway.
        let _ = fs::write(note, "*\n");
    }
}

/// `NAME=value` a line, as the server reads it: no empty lines, no comments, quotes are part of the value.
///
/// Source: gitlabhq `app/services/ci/parse_dotenv_artifact_service.rb` and the validation of job variables' names.
fn dotenv(file: &Path) -> Result<Vec<(String, String)>, String> {
    let words = |error: io::Error| error.to_string();
    let mut text = String::new();
    let packed = fs::File::open(file).map_err(words)?;
    flate2::read::MultiGzDecoder::new(packed).take(BIGGEST_REPORT).read_to_string(&mut text).map_err(words)?;
    let pair = |(number, line): (usize, &str)| {
        let (name, value) = line
            .split_once('=')
            .ok_or_else(|| format!("line {} is no NAME=value; empty lines and comments are not allowed", number + 1))?;
        let name = name.trim();
        let is_name = !name.is_empty() && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
        match is_name {
            true => Ok((name.to_owned(), value.trim().to_owned())),
            false => Err(format!("line {}: `{name}` is no variable's name: letters, digits and `_`", number + 1)),
        }
    };
    text.lines().enumerate().map(pair).collect()
}

/// A job's name as the name of one folder.
fn folder_name(name: &str) -> String {
    let safe: String = name.chars().map(|c| if c == '/' || c == '\\' || c.is_control() { '-' } else { c }).collect();
    let safe = safe.trim_start_matches('.').chars().take(120).collect::<String>();
    if safe.is_empty() { "job".to_owned() } else { safe }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See [`Shelf::reporter`].
#[derive(Clone, Debug)]
pub struct LocalReporter {
    shelf: Shelf,
    id: String,
    folder: String,
}

impl Reporter for LocalReporter {
    async fn accept(&self) -> Result<Demand, ReportError> {
        Ok(Demand::Wanted)
    }

    async fn append_log(&self, at: u64, bytes: Bytes) -> Result<LogAck, ReportError> {
        Ok(LogAck { next: at + bytes.len() as u64, demand: Demand::Wanted })
    }

    async fn keep_alive(&self, _so_far: LogDigest) -> Result<Demand, ReportError> {
        Ok(Demand::Wanted)
    }

    async fn finish(&self, _outcome: &JobOutcome, _log: LogDigest) -> Result<FinishAck, ReportError> {
        Ok(FinishAck::Done)
    }

    fn update_interval(&self) -> Duration {
        Duration::from_secs(3600)
    }

    fn keep_alive_interval(&self) -> Duration {
        Duration::from_secs(3600)
    }

    async fn upload_artifact(
        &self,
        artifact: &ArtifactSpec,
        file_name: &str,
        file: &ArchiveFile,
    ) -> Result<(), TransferError> {
        let failed = |error: io::Error| TransferError { message: error.to_string(), is_own_disk: true };
        let file = file.whole().await.map_err(failed)?.to_owned();
        let (this, kind, file_name) = (self.clone(), artifact.kind.clone(), file_name.to_owned());
        let kept = blocking(move || Ok(this.shelf.keep(&this.id, &this.folder, &kind, &file_name, &file))).await;
        kept.unwrap_or_else(|message| Err(TransferError { message, is_own_disk: true }))
    }

    async fn download_artifact(&self, dependency: &DependencySpec, to: &Path) -> Result<(), TransferError> {
        let failed = |message: String| TransferError { message, is_own_disk: true };
        let Some((archive, ..)) = self.shelf.of(dependency.id.as_str()).archive else {
            return Err(failed(format!("`{}` left no artifacts in this run", dependency.name)));
        };
        let to = to.to_owned();
        blocking(move || fs::copy(archive, to).map_err(|error| error.to_string())).await.map_err(failed)?;
        Ok(())
    }
}
