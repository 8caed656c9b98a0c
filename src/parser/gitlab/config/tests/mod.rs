//! Against GitLab's own cases, against broken files, by hand and by mutation.

mod broken;
mod by_hand;
mod entries;
mod many;
mod mutations;
mod schema;
mod whole;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value as Json;

use super::*;
use crate::parser::diagnostics::Severity;
use crate::parser::document::{FileId, Limits, Merge, Options, read};
use crate::parser::gitlab::compose::{
    ComposeContext, Fetched, IncludeVariable, Offline, Remote, RemoteError, RemoteFile, Unavailable, compose_bytes,
};

/// A part of the corpus beside the repository; `None`, with a note, where it is absent.
fn corpus(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpus")).join(path);
    if !path.exists() {
        println!("note: {} is absent, nothing is tested", path.display());
        return None;
    }
    Some(path)
}

fn cases(path: &str) -> Vec<Json> {
    let Some(path) = corpus(path) else { return Vec::new() };
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn node(text: &str) -> Node {
    let options = Options { merge: Merge::Ruby, limits: Limits::default() };
    read(FileId(0), text, options).unwrap().pop().unwrap()
}

/// The configuration of a tree, and its errors as `line:column message`.
fn checked(root: &Node) -> (Option<Configuration>, Vec<String>) {
    let mut diagnostics = Diagnostics::new();
    let configuration = check(root, &mut diagnostics);
    (configuration, errors(&diagnostics))
}

fn of(text: &str) -> (Option<Configuration>, Vec<String>) {
    checked(&node(text))
}

fn errors(diagnostics: &Diagnostics) -> Vec<String> {
    let errors = diagnostics.iter().filter(|finding| finding.severity == Severity::Error);
    errors.map(|finding| format!("{}:{} {}", finding.span.line, finding.span.column, finding.message)).collect()
}

/// Remote files of a case: those of its files whose name is an address.
struct Addresses<'f>(&'f BTreeMap<String, String>);

impl Remote for Addresses<'_> {
    fn fetch(&self, file: &RemoteFile) -> Result<Fetched, RemoteError> {
        match file {
            RemoteFile::Url { url } if self.0.contains_key(&**url) => {
                Ok(Fetched { bytes: self.0[&**url].clone().into_bytes(), ..Fetched::default() })
            }
            _ => Offline.fetch(file),
        }
    }

    fn list(&self, project: &str, reference: &str) -> Result<std::sync::Arc<[String]>, RemoteError> {
        Offline.list(project, reference)
    }
}

/// All findings of a text with its includes, composed and checked.
fn findings(
    name: &str,
    bytes: &[u8],
    files: &BTreeMap<String, String>,
    unavailable: Unavailable,
) -> (Option<Configuration>, Diagnostics) {
    let mut context = ComposeContext { unavailable, ..ComposeContext::default() };
    for (name, value) in [
        ("CI_SERVER_FQDN", "gitlab.com"),
        ("CI_SERVER_HOST", "gitlab.com"),
        ("CI_PROJECT_PATH", "gcl/test-project"),
        ("CI_COMMIT_SHA", "c0ffee"),
    ] {
        context.variables.insert(name.to_owned(), IncludeVariable { value: value.to_owned(), masked: false });
    }
    let composed = compose_bytes(name, bytes, files, &Addresses(files), &context);
    let mut diagnostics = composed.diagnostics;
    let configuration = composed.value.and_then(|composed| {
        let completeness = if composed.incomplete { Completeness::Part } else { Completeness::Whole };
        check_as(&composed.known(), completeness, &mut diagnostics)
    });
    (configuration, diagnostics)
}

fn report(table: &str, total: usize, wrong: &[String], least: f64) {
    let right = total - wrong.len();
    println!("{table}: {right} of {total}\n{}", wrong.join("\n"));
    assert!(right as f64 >= total as f64 * least, "{table}: {} of {total} disagree\n{}", wrong.len(), wrong.join("\n"));
}
