//! Cases of the corpus against the whole front end. Each suite counts what agrees and prints what does not.

mod official;
mod peer;
mod processor;
mod real;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::LoadOptions;
use super::pipeline::PipelineContext;
use super::pipeline::context::{Commit, GitRef, OutsideVariables, Project, Server, Source, User};
use super::pipeline::variables::Variable;
use crate::parser::document::{FileError, Files};

/// The corpus; `None`, with a note, where it is absent.
fn corpus(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus").join(path);
    if !path.exists() {
        eprintln!("the corpus is absent: {} is not there", path.display());
        return None;
    }
    Some(path)
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn cases(path: &str) -> Vec<Value> {
    corpus(path).map(|path| json(&path).as_array().unwrap().clone()).unwrap_or_default()
}

/// Counts what agrees.
#[derive(Default)]
struct Tally {
    right: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn add(&mut self, name: &str, result: Result<(), String>) {
        match result {
            Ok(()) => self.right += 1,
            Err(why) => self.wrong.push(format!("{name}: {why}")),
        }
    }

    /// Prints what disagrees; fails below `percent`.
    fn end(self, suite: &str, percent: f64) {
        let total = self.right + self.wrong.len();
        if total == 0 {
            return;
        }
        for wrong in &self.wrong {
            println!("DISAGREES {suite} {wrong}");
        }
        println!("{suite}: {} of {total}", self.right);
        assert!(self.right as f64 >= total as f64 * percent / 100.0, "{suite}: {} of {total}", self.right);
    }
}

/// A folder on disk.
struct Folder(PathBuf);

impl Files for Folder {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
        Ok(std::fs::read(self.0.join(path)).ok())
    }

    fn list(&self) -> Result<Arc<[String]>, FileError> {
        let mut all = Vec::new();
        walk(&self.0, "", &mut all);
        all.sort();
        Ok(all.into())
    }
}

fn walk(folder: &Path, prefix: &str, all: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path(), &format!("{name}/"), all),
            _ => all.push(name),
        }
    }
}

/// What the peer's cases were run in.
fn peer_context() -> PipelineContext {
    PipelineContext {
        git_ref: GitRef::Branch("master".into()),
        commit: Some(Commit {
            sha: "0".repeat(40),
            before_sha: "0".repeat(40),
            message: "Test".into(),
            author: "Testersen <test@test.com>".into(),
            timestamp: "2026-01-01T00:00:00Z".into(),
        }),
        is_protected: false,
        project: Project {
            id: 1217,
            path: "gcl/test-project".into(),
            default_branch: "main".into(),
            visibility: "internal".into(),
            ..Project::default()
        },
        server: Server { url: "https://gitlab.com".into(), ..Server::default() },
        user: User { id: 1000, name: "Testersen".into(), email: "test@test.com".into(), login: "test".into() },
        ..PipelineContext::default()
    }
}

/// The context of a case of GitLab's own.
fn official_context(context: &Value) -> PipelineContext {
    let text = |key: &str| context[key].as_str().unwrap_or_default().to_owned();
    let name = if context["ref"].is_string() { text("ref") } else { "master".to_owned() };
    let source = Source::from_word(&text("source")).unwrap_or(Source::Push);
    let is_request = context["merge_request"] == true || source == Source::MergeRequestEvent;
    let changes = context.get("changed_files").and_then(Value::as_array);
    let since = context.get("changed_files_since").and_then(Value::as_object);
    let list = |value: &Value| value.as_array().unwrap().iter().map(|path| path.as_str().unwrap().to_owned()).collect();
    PipelineContext {
        source,
        merge_request: is_request.then(Default::default),
        git_ref: match context["tag"] == true {
            true => GitRef::Tag { name, message: String::new() },
            false => GitRef::Branch(name),
        },
        project: Project {
            path: context["project"].as_str().or(context["project_path"].as_str()).unwrap_or("group/project").into(),
            default_branch: "master".into(),
            ..Project::default()
        },
        variables: OutsideVariables { pipeline: variables(&context["variables"]), ..OutsideVariables::default() },
        changes: Arc::new(Changes {
            changed: changes.map(|_| list(&context["changed_files"])),
            since: since.map(|since| since.iter().map(|(key, value)| (key.clone(), list(value))).collect()),
        }),
        ..PipelineContext::default()
    }
}

/// Changes that a case names.
#[derive(Debug)]
struct Changes {
    changed: Option<Vec<String>>,
    since: Option<BTreeMap<String, Vec<String>>>,
}

impl super::pipeline::context::ChangedFiles for Changes {
    fn changed(&self) -> Option<Arc<[String]>> {
        self.changed.clone().map(Into::into)
    }

    fn since(&self, reference: &str) -> Result<Option<Arc<[String]>>, super::pipeline::context::UnknownRef> {
        let Some(since) = &self.since else { return Ok(None) };
        match since.get(reference) {
            Some(paths) => Ok(Some(paths.clone().into())),
            None => Err(super::pipeline::context::UnknownRef(reference.into())),
        }
    }
}

fn scalar(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Variables as cases write them: a mapping, or a list of `{key, value, raw, file}`.
fn variables(value: &Value) -> Vec<Variable> {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| Variable::public(key.as_str(), scalar(value)))
            .collect(),
        Value::Array(list) => list
            .iter()
            .map(|item| Variable {
                key: item["key"].as_str().unwrap().into(),
                value: item["value"].as_str().unwrap_or_default().into(),
                public: true,
                masked: item["masked"] == true,
                file: item["file"] == true,
                raw: item["raw"] == true,
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn options() -> LoadOptions {
    LoadOptions::default()
}
