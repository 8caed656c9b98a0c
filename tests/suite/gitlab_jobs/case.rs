//! The files of the job cases (the format: `../shared/corpus/README.md`).

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// A case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its name, the file's and the project's.
    pub name: String,
    /// What it is about.
    pub about: String,
    /// Jobs, run one after the other.
    pub jobs: Vec<CaseJob>,
    /// What is to become of each.
    pub expect: Vec<Expected>,
    /// Whether jobs reach their services by name.
    #[serde(default)]
    pub network: bool,
    /// A remark.
    #[serde(default, rename = "note")]
    _note: Option<String>,
    /// Settings of the agent (only our own cases have them).
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

/// A job of a case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseJob {
    /// Its name.
    pub name: String,
    /// What is laid over the usual job response.
    pub response: Value,
    /// It is cancelled once its log holds this text.
    #[serde(default)]
    pub cancel_on: Option<String>,
}

/// What is to become of a job.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The job's name.
    #[serde(rename = "job")]
    _job: String,
    /// `success`, `failed`, `canceled`.
    pub state: String,
    /// Why it failed.
    pub failure_reason: Option<String>,
    /// What its script exited with.
    pub exit_code: Option<i64>,
    /// Lines of `step_script`.
    #[serde(default)]
    pub output: Vec<String>,
    /// Lines of `after_script`.
    #[serde(default)]
    pub after_output: Vec<String>,
    /// Commands echoed in `step_script`.
    #[serde(default)]
    pub echo: Vec<String>,
    /// Commands echoed in `after_script`.
    #[serde(default)]
    pub after_echo: Vec<String>,
    /// Sections in order.
    pub sections: Vec<String>,
    /// Lines of other `step_*` sections, by section.
    #[serde(default)]
    pub other_steps: BTreeMap<String, Vec<String>>,
    /// Whether every line carries its time; free when absent.
    #[serde(default)]
    pub timestamps: Option<bool>,
    /// Uploads.
    #[serde(default)]
    pub artifacts: Vec<ExpectedArtifact>,
    /// Names of fields that are free.
    #[serde(default)]
    pub any: Vec<String>,
    /// Names of fields that are compared without order.
    #[serde(default)]
    pub sorted: Vec<String>,
    /// A remark.
    #[serde(default, rename = "note")]
    _note: Option<String>,
}

/// An upload.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedArtifact {
    /// `archive`, `junit`, ...
    #[serde(rename = "type")]
    pub artifact_type: String,
    /// `zip`, `gzip`, `raw`.
    pub format: String,
    /// The uploaded file's name.
    pub filename: String,
    /// Entries of an archive.
    #[serde(default)]
    pub entries: Option<BTreeMap<String, Entry>>,
    /// Text of anything else, unpacked.
    #[serde(default)]
    pub text: Option<String>,
}

/// An entry of an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// `file`, `dir`, `link`.
    pub kind: String,
    /// `0o644`.
    pub mode: String,
    /// A file's text.
    #[serde(default)]
    pub text: Option<String>,
    /// A link's target.
    #[serde(default)]
    pub to: Option<String>,
}

/// The cases of a folder in the order of their names, as `FORGEHAND_CASE` wants them; none when the folder is absent.
pub fn load(folder: &Path) -> Vec<Case> {
    let wanted = std::env::var("FORGEHAND_CASE").unwrap_or_default();
    let wanted: Vec<&str> = wanted.split(',').map(str::trim).filter(|text| !text.is_empty()).collect();
    let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = files.map(|file| file.expect("a readable folder").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    paths.retain(|path| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        wanted.is_empty() || wanted.iter().any(|text| name.contains(text))
    });
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Case {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let case: Case = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(case.jobs.len(), case.expect.len(), "{}: as many expectations as jobs", path.display());
    case
}

#[test]
fn every_case_can_be_read() {
    for folder in ["fixtures/gitlab/cases", "../shared/corpus/gitlab-jobs"] {
        load(&crate::support::forge::root().join(folder));
    }
}
