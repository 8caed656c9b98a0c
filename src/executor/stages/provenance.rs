//! The provenance statement of an artifact, for jobs that ask for it (`RUNNER_GENERATE_ARTIFACTS_METADATA`).
//! (protocols: GitLab runner 6.4.)

use std::io::{self, Write as _};
use std::path::PathBuf;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};

use super::artifacts::disk;
use crate::artifact::archive::provenance::{self, Facts};
use crate::artifact::select::{Entry, EntryKind, Selection};
use crate::artifact::{Interrupt, archive, beneath};
use crate::executor::log::{StageLog, Tone};
use crate::executor::running::Running;
use crate::forge::Reporter;
use crate::pipeline::JobFailure;
use crate::pipeline::definition::{ArtifactFormat, ArtifactSpec};

/// What kind of build a job of ours is.
const BUILD_TYPE: &str = "urn:forgehand:job:v1";
/// The only version of the predicate there is.
const SCHEMA_VERSION: &str = "v1";

/// A statement to be made.
pub(super) struct Statement {
    facts: Facts,
    file: String,
}

/// The statement that goes with `artifact`, an archive called `name`; `None` where none does.
pub(super) fn of<R: Reporter>(running: &Running<R>, artifact: &ArtifactSpec, name: &str) -> Option<Statement> {
    let job = &running.run.job;
    // Other formats have no place for it: it is one more file.
    if !job.variables.is_true("RUNNER_GENERATE_ARTIFACTS_METADATA") || artifact.format_on_wire != "zip" {
        return None;
    }
    let version = job.variables.value("SLSA_PROVENANCE_SCHEMA_VERSION");
    if !matches!(version.as_str(), "" | SCHEMA_VERSION) {
        let words = format!("SLSA_PROVENANCE_SCHEMA_VERSION {version:?} is not known; {SCHEMA_VERSION} is used");
        running.run.log.say(Tone::Warning, &words);
    }
    let facts = Facts {
        build_type: BUILD_TYPE.to_owned(),
        variable_names: job.variables.iter().map(|variable| variable.key.clone()).collect(),
        job_name: job.name.clone(),
        job_id: job.id.to_string(),
        repository: job.sources.url.clone(),
        commit: job.sources.sha.clone(),
        runner_name: running.run.tools.name.clone(),
        runner_id: job.variables.value("CI_RUNNER_ID"),
        executor: running.run.tools.place.name().to_owned(),
        architecture: architecture(&job.variables.value("CI_RUNNER_EXECUTABLE_ARCH")),
        started_at: at(running.run.progress.began_ms),
        finished_at: at(crate::executor::running::now_ms()),
    };
    Some(Statement { facts, file: provenance::file_name(&archive::file_name(name, ArtifactFormat::Raw)) })
}

/// `amd64` of `linux/amd64`.
fn architecture(platform: &str) -> String {
    platform.rsplit('/').next().unwrap_or_default().to_owned()
}

fn at(ms: u64) -> jiff::Timestamp {
    i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or_default()
}

impl Statement {
    /// Writes the statement about what is selected into the work tree and adds it to the selection.
    pub(super) fn add(&self, root: &Dir, selection: &mut Selection, interrupt: &Interrupt) -> Result<(), JobFailure> {
        // A statement cannot hold its own checksum.
        let path = PathBuf::from(&self.file);
        selection.entries.retain(|entry| entry.path != path);
        let subjects = provenance::subjects(root, selection, interrupt).map_err(|error| JobFailure {
            message: format!("the files could not be described: {error}"),
            ..JobFailure::exit(1)
        })?;
        let text = provenance::statement(&self.facts, &subjects);
        put(root, &self.file, text.as_bytes()).map_err(|error| {
            let what = format!("the provenance statement {} cannot be written into the work tree", self.file);
            // What else stands in its way is the job's, as a folder of that name.
            if beneath::is_no_space(&error) {
                disk(&what, &error)
            } else {
                JobFailure { message: format!("{what}: {error}"), ..JobFailure::exit(1) }
            }
        })?;
        let behind = selection.entries.partition_point(|entry| entry.path.as_os_str() < path.as_os_str());
        selection.entries.insert(behind, Entry { path, kind: EntryKind::File });
        Ok(())
    }
}

/// A new file in place of what the job has put there.
fn put(root: &Dir, name: &str, content: &[u8]) -> io::Result<()> {
    match root.remove_file(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o644);
    root.open_with(name, &options)?.write_all(content)
}
