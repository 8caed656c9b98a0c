//! What one include says.

use std::borrow::Cow;

use crate::parser::diagnostics::{Diagnostic, Diagnostics, did_you_mean};
use crate::parser::document::{Node, Schema, Span, Typed};

use super::super::inputs::Arguments;
use super::super::{ComposeContext, codes, variables};

/// The keywords that say where a file is.
const KINDS: [&str; 6] = ["local", "project", "remote", "template", "artifact", "component"];
/// All keywords.
const KEYS: [&str; 13] = [
    "local",
    "project",
    "file",
    "ref",
    "remote",
    "template",
    "artifact",
    "component",
    "job",
    "inputs",
    "rules",
    "integrity",
    "cache",
];

/// What one include says, variables expanded.
#[derive(Clone, Debug)]
pub(super) struct Include {
    pub(super) target: Target,
    /// What names the file.
    pub(super) span: Span,
    pub(super) inputs: Arguments,
    /// The whole include, for where a value is missing.
    pub(super) whole: Span,
}

/// The file that an include names.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Local(String),
    Project { project: String, reference: Option<String>, file: String },
    Remote { url: String, integrity: Option<Node> },
    Template(String),
    Artifact { artifact: String, job: Option<String> },
    Component(String),
}

/// Where an include may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    /// In a configuration.
    Configuration,
    /// In a header, where a file brings inputs alone.
    Header,
}

/// Reads includes.
pub(super) struct Reader<'a> {
    pub(super) context: &'a ComposeContext,
    pub(super) diagnostics: &'a mut Diagnostics,
}

impl Reader<'_> {
    /// The files that one item of `include` names: several for a list under `file`. None where the findings say why.
    pub(super) fn read(&mut self, item: &Node, at: Where) -> Vec<Include> {
        match item.typed(Schema::Ruby) {
            Some(Typed::Text(text)) => vec![self.short(text, item)],
            Some(Typed::Null) => Vec::new(),
            _ if item.as_mapping().is_some() => self.long(item, at),
            _ => {
                let message = format!("an include is a text or a mapping, not {}", item.kind(Schema::Ruby));
                let help = "write a path, or a mapping with `local`, `project` and `file`, `remote`, `template` or `component`";
                self.diagnostics.push(Diagnostic::error(codes::INCLUDE, item.span, message).help(help));
                Vec::new()
            }
        }
    }

    fn expand<'t>(&self, text: &'t str) -> Cow<'t, str> {
        variables::expand(text, |name| {
            Some(self.context.variables.get(name).map(|variable| variable.value.clone()).unwrap_or_default())
        })
    }

    fn short(&self, text: &str, item: &Node) -> Include {
        let text = self.expand(text).into_owned();
        let target = match is_address(&text) {
            true => Target::Remote { url: text, integrity: None },
            false => Target::Local(text),
        };
        Include { target, span: item.span, inputs: Vec::new(), whole: item.span }
    }

    fn long(&mut self, item: &Node, at: Where) -> Vec<Include> {
        let Some(mapping) = item.as_mapping() else { return Vec::new() };
        for entry in mapping.entries() {
            let name = entry.key.as_scalar().map_or("", |key| key.text.as_str());
            let known = match at {
                Where::Configuration => KEYS.contains(&name),
                Where::Header => ["local", "remote", "project", "file", "ref", "integrity", "cache"].contains(&name),
            };
            // One that says no file at all is complained about as a whole.
            let is_said_below = at == Where::Configuration && has_no_kind(item);
            if !known && !is_said_below {
                let message = format!(
                    "`include` has no key `{name}`{}",
                    if at == Where::Header { " in a header" } else { "; it is ignored" }
                );
                let help = did_you_mean(name, KEYS);
                self.diagnostics.push(
                    match at {
                        Where::Header => Diagnostic::error(codes::INCLUDE, entry.key.span, message),
                        Where::Configuration => Diagnostic::warning(codes::INCLUDE_KEY, entry.key.span, message),
                    }
                    .maybe_help(help),
                );
            }
        }
        let kinds: Vec<(&str, &Node)> =
            KINDS.iter().filter_map(|kind| Some((*kind, item.get(kind).filter(|node| !is_blank(node))?))).collect();
        let (kind, node) = match kinds.as_slice() {
            [one] => *one,
            [] => {
                self.no_kind(item);
                return Vec::new();
            }
            [_, (second, node), ..] => {
                let message = format!("an include names one file: `{second}` does not go with `{}`", kinds[0].0);
                let help = "make two includes of it";
                self.diagnostics.push(Diagnostic::error(codes::INCLUDE, node.span, message).help(help));
                return Vec::new();
            }
        };
        let Some(inputs) = self.inputs(item) else { return Vec::new() };
        self.targets(kind, node, item)
            .into_iter()
            .map(|(target, span)| Include { target, span, inputs: inputs.clone(), whole: item.span })
            .collect()
    }

    fn no_kind(&mut self, item: &Node) {
        let keys = item.as_mapping().into_iter().flat_map(|mapping| mapping.entries());
        let names: Vec<(&str, Span)> =
            keys.filter_map(|entry| Some((entry.key.as_scalar()?.text.as_str(), entry.key.span))).collect();
        let near = names.iter().filter(|(name, _)| !KEYS.contains(name));
        let near = near.filter_map(|(name, span)| Some((did_you_mean(name, KINDS)?, *span))).next();
        let (help, span) = near.unwrap_or_else(|| {
            let help = match names.iter().any(|(name, _)| *name == "file") {
                true => "`file` goes with `project: group/name`; a file of this project is `local: path`".to_owned(),
                false => format!("it needs one of {}", KINDS.join(", ")),
            };
            (help, names.first().map_or(item.span, |(_, span)| *span))
        });
        let message = "this include says no file";
        self.diagnostics.push(Diagnostic::error(codes::INCLUDE, span, message).help(help));
    }

    fn inputs(&mut self, item: &Node) -> Option<Arguments> {
        let Some(inputs) = item.get("inputs").filter(|inputs| !inputs.is_null(Schema::Ruby)) else {
            return Some(Vec::new());
        };
        match inputs.as_mapping() {
            Some(mapping) => {
                Some(mapping.entries().iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect())
            }
            None => {
                let message = format!("`inputs` is a mapping of names to values, not {}", inputs.kind(Schema::Ruby));
                self.diagnostics.push(Diagnostic::error(codes::INCLUDE, inputs.span, message));
                None
            }
        }
    }

    /// The text of a keyword, variables expanded.
    fn text(&mut self, key: &str, node: &Node) -> Option<String> {
        match node.typed(Schema::Ruby) {
            Some(Typed::Text(text)) => Some(self.expand(text).into_owned()),
            _ => {
                let message = format!("`{key}` of an include is text, not {}", node.kind(Schema::Ruby));
                self.diagnostics.push(Diagnostic::error(codes::INCLUDE, node.span, message));
                None
            }
        }
    }

    fn targets(&mut self, kind: &str, node: &Node, item: &Node) -> Vec<(Target, Span)> {
        if kind == "project" {
            return self.files_of_project(node, item);
        }
        let Some(text) = self.text(kind, node) else { return Vec::new() };
        let target = match kind {
            "local" => Target::Local(text),
            "remote" => Target::Remote { url: text, integrity: item.get("integrity").cloned() },
            "template" => Target::Template(text),
            "component" => Target::Component(text),
            _ => {
                let job = item.get("job").and_then(|job| self.text("job", job));
                Target::Artifact { artifact: text, job }
            }
        };
        vec![(target, node.span)]
    }

    fn files_of_project(&mut self, node: &Node, item: &Node) -> Vec<(Target, Span)> {
        let Some(project) = self.text("project", node) else { return Vec::new() };
        let reference = item.get("ref").filter(|node| !node.is_null(Schema::Ruby));
        let reference = match reference {
            // A commit of digits alone is a number to YAML.
            Some(node) => match node.as_scalar() {
                Some(scalar) => Some(self.expand(&scalar.text).into_owned()),
                None => {
                    let message = format!("`ref` of an include is text, not {}", node.kind(Schema::Ruby));
                    self.diagnostics.push(Diagnostic::error(codes::INCLUDE, node.span, message));
                    return Vec::new();
                }
            },
            None => None,
        };
        let Some(file) = item.get("file").filter(|file| !is_blank(file)) else {
            let message = format!("the include of the project `{project}` says no `file`");
            let help = "add `file: /path/in/the/project.yml`";
            self.diagnostics.push(Diagnostic::error(codes::INCLUDE, node.span, message).help(help));
            return Vec::new();
        };
        let items = file.as_sequence().unwrap_or(std::slice::from_ref(file));
        let mut out = Vec::with_capacity(items.len());
        for item in items {
            if let Some(file) = self.text("file", item) {
                let file = file.trim_start_matches('/').to_owned();
                let target = Target::Project { project: project.clone(), reference: reference.clone(), file };
                out.push((target, item.span));
            }
        }
        out
    }
}

/// Whether a text is an address and not a path.
fn is_address(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https" | "ssh" | "git") && text.contains("://") && url.has_host()
    })
}

fn has_no_kind(item: &Node) -> bool {
    !KINDS.iter().any(|kind| item.get(kind).is_some())
}

fn is_blank(node: &Node) -> bool {
    node.is_null(Schema::Ruby)
        || node.as_scalar().is_some_and(|scalar| scalar.text.trim().is_empty())
        || node.as_sequence().is_some_and(<[Node]>::is_empty)
}

impl Target {
    /// What people call it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Local(path) => path.trim_start_matches('/').to_owned(),
            Self::Project { project, reference: Some(reference), file } => format!("{project}@{reference}:{file}"),
            Self::Project { project, reference: None, file } => format!("{project}:{file}"),
            Self::Remote { url, .. } => url.clone(),
            Self::Template(name) | Self::Component(name) => name.clone(),
            Self::Artifact { artifact, job: Some(job) } => format!("{artifact} of {job}"),
            Self::Artifact { artifact, job: None } => artifact.clone(),
        }
    }
}
