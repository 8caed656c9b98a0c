//! Composing, against GitLab's own cases and by hand.

mod broken;
mod by_hand;
mod corpus;
mod mutations;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value as Json;

use super::inputs::value::to_json;
use super::*;
use crate::parser::diagnostics::Severity;

/// The corpus beside the repository; `None`, with a note, where it is absent.
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

/// Projects and addresses of a case.
#[derive(Default)]
struct Elsewhere {
    projects: BTreeMap<String, BTreeMap<String, String>>,
    addresses: BTreeMap<String, String>,
}

impl Remote for Elsewhere {
    fn fetch(&self, file: &RemoteFile) -> Result<Fetched, RemoteError> {
        let missing = || RemoteError::Missing("not found or access denied".to_owned());
        let of_project = |project: &str, path: &str| {
            let text = self.projects.get(project)?.get(path)?;
            let place = (Arc::from(project), Arc::from("c0ffee"));
            Some(Fetched { bytes: text.clone().into_bytes(), project: Some(place), version: None })
        };
        match file {
            RemoteFile::Project { project, file, .. } => of_project(project, file).ok_or_else(missing),
            RemoteFile::Url { url } => {
                let text = self.addresses.get(url).ok_or_else(missing)?;
                Ok(Fetched { bytes: text.clone().into_bytes(), ..Fetched::default() })
            }
            RemoteFile::Template { .. } => Err(missing()),
            RemoteFile::Component { path, .. } => {
                let (project, name) = path.rsplit_once('/').ok_or_else(missing)?;
                let paths = [format!("templates/{name}.yml"), format!("templates/{name}/template.yml")];
                paths.iter().find_map(|path| of_project(project, path)).ok_or_else(missing)
            }
        }
    }

    fn list(&self, project: &str, _: &str) -> Result<Arc<[String]>, RemoteError> {
        Ok(self.projects.get(project).into_iter().flat_map(|files| files.keys().cloned()).collect())
    }
}

fn files(texts: &[(&str, &str)]) -> BTreeMap<String, String> {
    texts.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

/// The tree of a text, and its errors as `line:column message`.
fn composed(text: &str, files: &BTreeMap<String, String>, context: &ComposeContext) -> (Option<Json>, Vec<String>) {
    with(text, files, &Elsewhere::default(), context)
}

fn with(
    text: &str,
    files: &BTreeMap<String, String>,
    remote: &dyn Remote,
    context: &ComposeContext,
) -> (Option<Json>, Vec<String>) {
    let checked = compose_bytes(".gitlab-ci.yml", text.as_bytes(), files, remote, context);
    let errors = checked.diagnostics.iter().filter(|finding| finding.severity == Severity::Error).map(|finding| {
        let span = finding.span;
        format!("{}:{}:{} {}", checked.sources.name(span.file), span.line, span.column, finding.message)
    });
    let errors = errors.collect();
    (checked.value.map(|composed| to_json(&composed.root)), errors)
}
