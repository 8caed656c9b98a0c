//! The provenance statement that goes with an artifact: who built it, from what, and what it holds.
//!
//! Written as `<artifact name>-metadata.json` into the work tree and added to the archive when the job variable
//! `RUNNER_GENERATE_ARTIFACTS_METADATA` is true and the format is exactly `zip`. (protocols: GitLab 6.4; the format: in-toto
//! statement 0.1 with an SLSA provenance 1 predicate.)

use std::io::Read;

use cap_std::fs::Dir;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::error::ArchiveError;
use super::source::{Opened, Source};
use crate::artifact::select::{EntryKind, Selection};
use crate::artifact::{Interrupt, shown};

/// What is known about the job that made an artifact.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What kind of build this is: a URI.
    pub build_type: String,
    /// Names of the job's variables. Their values stay out, as they may be secret.
    pub variable_names: Vec<String>,
    /// The job's name.
    pub job_name: String,
    /// The job's id.
    pub job_id: String,
    /// The repository's URL, without credentials.
    pub repository: String,
    /// The commit, hexadecimal.
    pub commit: String,
    /// The runner's name.
    pub runner_name: String,
    /// The runner's id at the forge (`CI_RUNNER_ID`).
    pub runner_id: String,
    /// The executor's name, `docker`.
    pub executor: String,
    /// The machine's architecture, `amd64`.
    pub architecture: String,
    /// When the job began.
    pub started_at: jiff::Timestamp,
    /// When its files were packed.
    pub finished_at: jiff::Timestamp,
}

/// A file and its checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Path relative to the work tree.
    pub name: String,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// The name of the file beside the artifact `artifact_name` (without extension).
pub fn file_name(artifact_name: &str) -> String {
    format!("{artifact_name}-metadata.json")
}

/// Checksums of every regular file of a selection, in its order. Files that are gone are left out, as from the archive.
/// Blocking.
pub fn subjects(root: &Dir, selection: &Selection, interrupt: &Interrupt) -> Result<Vec<Subject>, ArchiveError> {
    let mut source = Source::new(root);
    let mut subjects = Vec::new();
    let mut buffer = vec![0; 256 << 10];
    for entry in selection.entries.iter().filter(|entry| entry.kind == EntryKind::File) {
        let Ok(Opened::File { meta, file, size }) = source.open(entry) else { continue };
        let mut hash = Sha256::new();
        let mut content = file.take(size);
        loop {
            if interrupt.is_raised() {
                return Err(ArchiveError::Interrupted);
            }
            let n = content.read(&mut buffer).map_err(|e| ArchiveError::io("reading a file to describe", e))?;
            if n == 0 {
                break;
            }
            hash.update(&buffer[..n]);
        }
        subjects.push(Subject { name: shown(&meta.name), sha256: hex::encode(hash.finalize()) });
    }
    Ok(subjects)
}

/// The statement as JSON text, indented, with a newline at the end.
pub fn statement(facts: &Facts, subjects: &[Subject]) -> String {
    let mut external: Map<String, Value> =
        facts.variable_names.iter().map(|name| (name.clone(), Value::from(""))).collect();
    external.insert("entryPoint".to_owned(), facts.job_name.clone().into());
    external.insert("source".to_owned(), facts.repository.clone().into());
    let subjects: Vec<Value> =
        subjects.iter().map(|s| json!({ "name": s.name, "digest": { "sha256": s.sha256 } })).collect();
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": "https://slsa.dev/provenance/v1",
        "subject": subjects,
        "predicate": {
            "buildDefinition": {
                "buildType": facts.build_type,
                "externalParameters": external,
                "internalParameters": {
                    "name": facts.runner_name,
                    "executor": facts.executor,
                    "architecture": facts.architecture,
                    "job": facts.job_id,
                },
                // The commit stands under this key whatever its hash is: readers of such statements look there.
                "resolvedDependencies": [{ "uri": facts.repository, "digest": { "sha256": facts.commit } }],
            },
            "runDetails": {
                "builder": { "id": format!("{}/-/runners/{}", facts.repository, facts.runner_id) },
                "metadata": {
                    "invocationId": facts.job_id,
                    "startedOn": facts.started_at.to_string(),
                    "finishedOn": facts.finished_at.to_string(),
                },
            },
        },
    });
    format!("{statement:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::select::{self};
    use crate::pipeline::definition::FileSelection;

    #[test]
    fn the_statement_names_files_and_hides_values() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("a"), "one\n").unwrap();
        std::os::unix::fs::symlink("a", temp.path().join("link")).unwrap();
        let root = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        let files = FileSelection { paths: vec!["*".into()], ..FileSelection::default() };
        let selection = select::select(&root, "/p", &files, Vec::new()).unwrap();
        let subjects = subjects(&root, &selection, &Interrupt::default()).unwrap();
        let facts = Facts {
            build_type: "https://example.com/build".into(),
            variable_names: vec!["CI_JOB_TOKEN".into()],
            job_name: "build".into(),
            job_id: "42".into(),
            repository: "https://gitlab.example.com/g/p".into(),
            commit: "c0ffee".into(),
            runner_name: "r".into(),
            runner_id: "7".into(),
            executor: "docker".into(),
            architecture: "amd64".into(),
            started_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            finished_at: "2026-01-02T03:05:00Z".parse().unwrap(),
        };
        let read: Value = serde_json::from_str(&statement(&facts, &subjects)).unwrap();
        let sum = "2c8b08da5ce60398e1f19af0e5dccc744df274b826abe585eaba68c525434806";
        assert_eq!(read["subject"], json!([{ "name": "a", "digest": { "sha256": sum } }]));
        let definition = &read["predicate"]["buildDefinition"];
        assert_eq!(definition["externalParameters"]["CI_JOB_TOKEN"], "");
        assert_eq!(definition["externalParameters"]["entryPoint"], "build");
        assert_eq!(read["predicate"]["runDetails"]["builder"]["id"], "https://gitlab.example.com/g/p/-/runners/7");
        assert_eq!(read["predicate"]["runDetails"]["metadata"]["startedOn"], "2026-01-02T03:04:05Z");
        assert_eq!(file_name("artifacts"), "artifacts-metadata.json");
    }
}
