//! Files between jobs: what this one gives away. What it is given: `dependencies`.

use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::files::{self, below_workspace};
use super::get_sources::untracked_files;
use super::kept_here::{self, Packed};
use super::meter;
use super::provenance::{self, Statement};
use crate::artifact::archive::{self, ArchiveError, Level, Packing};
use crate::artifact::select::{self, Entry, EntryKind, Selection, expand_shell};
use crate::artifact::{Interrupt, Remark, Severity, fingerprint};
use crate::executor::environment::Environment;
use crate::executor::log::{JobLog, StageLog, Tone};
use crate::executor::running::{Running, StageError};
use crate::forge::{ArchiveFile, Reporter, TransferError, begin_archive};
use crate::pipeline::JobFailure;
use crate::pipeline::definition::{ArtifactFormat, ArtifactSpec, FileSelection, JobDirs};

/// What archives of artifacts are called when the job gives no name.
const USUAL_NAME: &str = "artifacts";

/// Gives the forge what the job leaves, as far as it is due after this outcome.
pub(in crate::executor) async fn upload<R: Reporter>(running: &mut Running<R>) -> Result<(), StageError> {
    let success = !running.run.progress.standing.has_failed;
    let due: Vec<ArtifactSpec> =
        running.run.job.artifacts.iter().filter(|artifact| artifact.when.is_due(success)).cloned().collect();
    if due.is_empty() {
        return Ok(());
    }
    let (section, title) = if success {
        ("upload_artifacts_on_success", "Uploading artifacts for successful job")
    } else {
        ("upload_artifacts_on_failure", "Uploading artifacts for failed job")
    };
    let _section = running.section(section, title);
    for (index, artifact) in due.iter().enumerate() {
        let one = running.run.halt.guard(None, true, |stop| upload_one(running, index, artifact, stop)).await;
        one.map_err(|cause| StageError::Halted(cause, running.time_left().0))??;
    }
    Ok(())
}

async fn upload_one<R: Reporter>(
    running: &Running<R>,
    index: usize,
    artifact: &ArtifactSpec,
    stop: CancellationToken,
) -> Result<(), JobFailure> {
    let log = &running.run.log;
    log.say(Tone::Plain, "Uploading artifacts...");
    let environment = environment_of_names(running).await?;
    let expand = |text: &str| expand(text, &environment, log);
    let files = FileSelection {
        paths: artifact.files.paths.iter().map(|path| expand(path)).collect(),
        exclude: artifact.files.exclude.iter().map(|path| expand(path)).collect(),
        untracked: artifact.files.untracked,
    };
    let untracked = if files.untracked { untracked_files(running, &stop).await } else { Vec::new() };
    let name = if artifact.name.is_empty() { USUAL_NAME.to_owned() } else { expand(&artifact.name) };
    let work = PackWork {
        workspace: running.run.paths.workspace.clone(),
        dirs: running.run.job.dirs.clone(),
        files,
        untracked,
        statement: provenance::of(running, artifact, &name),
        format: artifact.format,
        level: level(&running.environment, "ARTIFACT_COMPRESSION_LEVEL"),
        to: running.run.paths.private.join(format!("artifact-{index}")),
    };
    let to = work.to.clone();
    let outgoing = Outgoing { running, artifact, file_name: archive::file_name(&name, artifact.format), name };
    let uploaded = outgoing.pack_and_send(work, &stop).await;
    // Best effort: the job's private folder goes with the job.
    let _ = std::fs::remove_file(&to);
    uploaded
}

/// An artifact on its way to the forge.
struct Outgoing<'r, R> {
    running: &'r Running<R>,
    artifact: &'r ArtifactSpec,
    name: String,
    file_name: String,
}

impl<R: Reporter> Outgoing<'_, R> {
    /// Packs it, sends it meanwhile, and keeps it here, too. What fails first ends the others.
    async fn pack_and_send(&self, work: PackWork, stop: &CancellationToken) -> Result<(), JobFailure> {
        let log = &self.running.run.log;
        // Until it is packed, the end of one is the other's.
        let both = stop.child_token();
        let (begun, has_begun) = oneshot::channel();
        let send = async {
            // Nobody begins where there is nothing to send.
            let archive = has_begun.await.ok()?;
            let sent = self.send(&archive, &both).await;
            if sent.is_err() {
                both.cancel();
            }
            Some(sent)
        };
        let pack = async {
            let packed = interruptible(&both, move |interrupt| work.pack(begun, interrupt)).await;
            let (remarks, packed) = packed.inspect_err(|_| both.cancel())?;
            tell(log, &remarks);
            let Some(packed) = packed else { return Ok(None) };
            if !kept_here::is_for_others(self.artifact) {
                return Ok(None);
            }
            Ok(kept_here::keep(self.running, self.artifact, (&self.name, &self.file_name), packed, stop).await)
        };
        let (sent, packed) = tokio::join!(send, pack);
        let kept = match (packed, &sent) {
            (Ok(kept), _) => kept,
            // The packing was only ended by it.
            (Err(_), Some(Err(Unsent::Refused(failure)))) => return Err(failure.clone()),
            (Err(failure), _) => return Err(failure),
        };
        match (&sent, kept) {
            (_, None) => {}
            (Some(Ok(())), Some(kept)) => kept.share().await,
            (_, Some(kept)) => kept.forget().await,
        }
        match sent {
            None => log.say(Tone::Error, "No files to upload"),
            Some(Err(Unsent::Refused(failure))) => return Err(failure),
            Some(Err(Unsent::Stopped)) => return Err(given_up()),
            Some(Ok(())) => {
                let text = format!("Uploaded artifacts as \"{}\": {}", self.kind(), self.file_name);
                log.say(Tone::Plain, &text);
            }
        }
        Ok(())
    }

    async fn send(&self, archive: &ArchiveFile, stop: &CancellationToken) -> Result<(), Unsent> {
        let upload = self.running.run.reporter.upload_artifact(self.artifact, &self.file_name, archive);
        let moved = || {
            let (bytes, of) = archive.sent();
            meter::Moved { bytes, of }
        };
        let upload = meter::told(self.running, format!("Uploading {}", self.file_name), moved, upload);
        let sent = unless_stopped(stop, upload).await.map_err(|_| Unsent::Stopped)?;
        if archive.is_given_up() {
            // Why, the packing tells.
            return Err(Unsent::Stopped);
        }
        sent.map_err(|error| {
            let what = format!("the artifact {} ({}) could not be uploaded", self.file_name, self.kind());
            Unsent::Refused(transfer_failure(&what, error))
        })
    }

    fn kind(&self) -> &str {
        if self.artifact.kind.is_empty() { "archive" } else { &self.artifact.kind }
    }
}

/// Why an artifact was not sent.
enum Unsent {
    /// Its part of the job was stopped, or it could not be packed.
    Stopped,
    Refused(JobFailure),
}

/// What is needed to pack one artifact.
struct PackWork {
    workspace: PathBuf,
    dirs: JobDirs,
    files: FileSelection,
    untracked: Vec<PathBuf>,
    statement: Option<Statement>,
    format: ArtifactFormat,
    level: Level,
    to: PathBuf,
}

impl PackWork {
    /// Writes the archive, which `begun` is given at its beginning; `None` when there is nothing to pack.
    fn pack(
        &self,
        begun: oneshot::Sender<ArchiveFile>,
        interrupt: Interrupt,
    ) -> Result<(Vec<Remark>, Option<Packed>), JobFailure> {
        let root = open_project(&self.workspace, &self.dirs)?;
        let Selection { mut entries, tree_itself, mut remarks } =
            select::select(&root, &self.dirs.project, &self.files, self.untracked.clone())
                .map_err(|error| JobFailure { message: error.to_string(), ..JobFailure::exit(1) })?;
        // As in the official runner's archives. In caches it would only be in the way.
        if tree_itself {
            entries.insert(0, Entry { path: ".".into(), kind: EntryKind::Folder });
        }
        let mut selection = Selection { entries, tree_itself, remarks: Vec::new() };
        if selection.is_empty() {
            return Ok((remarks, None));
        }
        if let Some(statement) = &self.statement {
            statement.add(&root, &mut selection, &interrupt)?;
        }
        let fingerprint = fingerprint(&root, &selection);
        let packing = Packing { format: self.format, level: self.level, interrupt };
        let unwritable = |error| disk("an archive cannot be written", &error);
        let (mut writer, archive) = begin_archive(&self.to).map_err(unwritable)?;
        // Whoever would send it may have given up.
        let _ = begun.send(archive);
        let packed = archive::pack_with(&root, &selection, &packing, &mut writer)
            .map_err(|error| archive_failure("the files could not be packed", &error))?;
        writer.finish().map_err(unwritable)?;
        remarks.extend(packed.remarks);
        Ok((remarks, Some(Packed { selection, fingerprint, archive_size: packed.bytes })))
    }
}

/// The environment in which names and paths are expanded.
pub(super) async fn environment_of_names<R: Reporter>(running: &Running<R>) -> Result<Environment, JobFailure> {
    let (workspace, dirs) = (running.run.paths.workspace.clone(), running.run.job.dirs.clone());
    let handed_on = blocking(move || Ok(files::handed_on(&workspace, &dirs))).await?;
    let status = running.run.progress.status_word.as_str();
    Ok(running.environment.after_scripts(status, &running.run.job.dirs.project, handed_on))
}

/// `text` with the job's variables, as a command of the job would see them; unchanged, with a warning, when a shell would
/// have to run something.
pub(super) fn expand(text: &str, environment: &Environment, log: &JobLog) -> String {
    match expand_shell(text, &|name| environment.value(name).map(str::to_owned)) {
        Ok(expanded) => expanded,
        Err(error) => {
            log.say(Tone::Warning, &format!("{text:?} is taken as it stands: {error}"));
            text.to_owned()
        }
    }
}

pub(super) fn level(environment: &Environment, variable: &str) -> Level {
    environment.value(variable).map(Level::named).unwrap_or_default()
}

pub(super) fn tell(log: &JobLog, remarks: &[Remark]) {
    for remark in remarks {
        let tone = match remark.severity {
            Severity::Note => Tone::Plain,
            Severity::Warning => Tone::Warning,
        };
        log.say(tone, &remark.text);
    }
}

/// The work tree, as a handle that leads nowhere else.
pub(super) fn open_project(workspace: &Path, dirs: &JobDirs) -> Result<Dir, JobFailure> {
    let relative = below_workspace(dirs, &dirs.project).ok_or_else(|| {
        JobFailure::configuration(format!("the work tree {} lies outside {}", dirs.project, dirs.builds))
    })?;
    let open = || {
        let root = Dir::open_ambient_dir(workspace, ambient_authority())?;
        root.create_dir_all(&relative)?;
        root.open_dir(&relative)
    };
    open().map_err(|error| JobFailure::system(format!("the work tree {} cannot be opened: {error}", dirs.project)))
}

/// Runs work that blocks on the disk.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, JobFailure> + Send + 'static,
) -> Result<T, JobFailure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(JobFailure::system(format!("a part of the runner failed: {error}"))),
    }
}

/// Runs work that blocks on the disk and ends early when its part of the job is told to stop. Comes back only when nobody
/// works on the job's files any more, unless it is dropped.
pub(super) async fn interruptible<T: Send + 'static>(
    stop: &CancellationToken,
    work: impl FnOnce(Interrupt) -> Result<T, JobFailure> + Send + 'static,
) -> Result<T, JobFailure> {
    if stop.is_cancelled() {
        return Err(given_up());
    }
    let raise = RaiseOnDrop::default();
    let interrupt = raise.0.clone();
    let mut work = std::pin::pin!(blocking(move || work(interrupt)));
    tokio::select! {
        done = &mut work => return done,
        () = stop.cancelled() => raise.0.raise(),
    }
    work.await
}

/// Waits for `work`, and drops it when its part of the job is told to stop.
pub(super) async fn unless_stopped<T>(
    stop: &CancellationToken,
    work: impl Future<Output = T>,
) -> Result<T, JobFailure> {
    stop.run_until_cancelled(work).await.ok_or_else(given_up)
}

/// What a part that was told to stop ends with. Nobody hears it: whoever stopped the part tells the cause.
pub(super) fn given_up() -> JobFailure {
    JobFailure::system("stopped")
}

/// Raises the interrupt when the stage that waits for the work is given up.
#[derive(Default)]
struct RaiseOnDrop(Interrupt);

impl Drop for RaiseOnDrop {
    fn drop(&mut self) {
        self.0.raise();
    }
}

pub(super) fn disk(what: &str, error: &std::io::Error) -> JobFailure {
    JobFailure::system(format!("{what} on the runner's disk: {error}"))
}

/// Artifacts that do not come through fail the job as a command of its own would, whoever is at fault: so users of GitLab
/// know it, and their rules for `retry` and `allow_failure` count on it. Only the runner's own disk is the runner's.
pub(super) fn transfer_failure(what: &str, error: TransferError) -> JobFailure {
    let message = format!("{what}: {}", error.message);
    if error.is_own_disk { JobFailure::system(message) } else { JobFailure { message, ..JobFailure::exit(1) } }
}

/// As [`transfer_failure`], for archives: they, and the work tree, lie on the runner's disk.
pub(super) fn archive_failure(what: &str, error: &ArchiveError) -> JobFailure {
    let message = format!("{what}: {error}");
    match error {
        ArchiveError::NoSpace { .. } => JobFailure::system(message),
        _ => JobFailure { message, ..JobFailure::exit(1) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_on_the_disk_ends_when_its_part_is_told_to_stop() {
        let stop = CancellationToken::new();
        let (ended, has_ended) = std::sync::mpsc::channel();
        let (began, has_begun) = tokio::sync::oneshot::channel();
        let work = interruptible(&stop, move |interrupt| {
            let _ = began.send(());
            while !interrupt.is_raised() {
                std::thread::yield_now();
            }
            ended.send(()).unwrap();
            Err::<(), _>(JobFailure::system("interrupted"))
        });
        let told = async {
            has_begun.await.unwrap();
            stop.cancel();
        };
        let (done, ()) = tokio::join!(work, told);
        assert_eq!(done.unwrap_err().message, "interrupted");
        assert!(has_ended.try_recv().is_ok(), "nobody works on the job's files any more");
        assert!(interruptible(&stop, |_| Ok(())).await.is_err(), "it does not begin");
        assert!(unless_stopped(&stop, std::future::pending::<()>()).await.is_err());
    }
}
