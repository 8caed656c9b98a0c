//! `artifacts` and its reports.

use std::sync::Arc;

use smol_str::SmolStr;

use super::super::codes;
use super::super::duration::Allowed;
use super::super::model::{Artifacts, Report, Spanned};
use super::super::place::At;
use super::super::values::{Checker, as_text, is_null, key_text};
use crate::parser::diagnostics::Diagnostic;
use crate::parser::document::{Entry, Mapping, Node};

const KEYS: [&str; 10] =
    ["name", "untracked", "paths", "reports", "when", "expire_in", "expose_as", "exclude", "public", "access"];
const REPORTS: [&str; 25] = [
    "junit",
    "codequality",
    "sast",
    "secret_detection",
    "dependency_scanning",
    "container_scanning",
    "dast",
    "performance",
    "browser_performance",
    "load_performance",
    "license_scanning",
    "metrics",
    "lsif",
    "dotenv",
    "terraform",
    "accessibility",
    "coverage_fuzzing",
    "api_fuzzing",
    "cluster_image_scanning",
    "requirements",
    "requirements_v2",
    "coverage_report",
    "cyclonedx",
    "annotations",
    "repository_xray",
];
/// When artifacts and caches are kept.
pub(in super::super) const KEPT_WHEN: [&str; 3] = ["on_success", "on_failure", "always"];

impl Checker<'_> {
    /// `artifacts`.
    pub fn artifacts(&mut self, node: &Node, at: At<'_>) -> Option<Arc<Artifacts>> {
        let mapping = self.mapping(node, at)?;
        let mut artifacts = Artifacts {
            name: None,
            paths: None,
            exclude: None,
            untracked: None,
            when: None,
            expire_in: None,
            expose_as: None,
            public: None,
            access: None,
            reports: Vec::new(),
            node: node.clone(),
        };
        for entry in mapping.entries() {
            let key = key_text(&entry.key);
            let (below, value) = (at.key(key), &entry.value);
            match key {
                "name" => artifacts.name = self.text(value, below),
                "untracked" => artifacts.untracked = self.boolean(value, below),
                "paths" => artifacts.paths = self.inside_paths(value, below),
                "exclude" => artifacts.exclude = self.texts(value, below),
                "reports" => artifacts.reports = self.reports(value, below),
                "when" => artifacts.when = self.when(value, below, &KEPT_WHEN).map(|when| when.value),
                "expire_in" => {
                    artifacts.expire_in = self.duration(value, below, Allowed { never: true, ..Allowed::default() });
                }
                "expose_as" => artifacts.expose_as = self.expose_as(value, mapping, below),
                "public" => artifacts.public = self.boolean(value, below),
                "access" => {
                    artifacts.access = self.choice(value, below, &["none", "developer", "maintainer", "all"]);
                }
                _ => self.unknown_key(entry, at, &KEYS),
            }
        }
        if let (Some(_), Some(access)) = (mapping.get("public"), mapping.entry("access")) {
            self.error(codes::CONFLICT, access.key.span, at, "cannot have both `public` and `access`");
        }
        Some(Arc::new(artifacts))
    }

    /// Paths of which none should lie outside the project.
    pub fn inside_paths(&mut self, node: &Node, at: At<'_>) -> Option<Arc<[SmolStr]>> {
        let paths = self.texts(node, at)?;
        for (path, item) in paths.iter().zip(node.as_sequence().unwrap_or_default()) {
            if is_outside(path) {
                let message = format!("{at} names `{path}`, which lies outside the project's folder");
                self.out
                    .push(Diagnostic::warning(codes::PATH_OUTSIDE, item.span, message).help(
                        "paths are relative to the project's folder, and a runner takes nothing from outside it",
                    ));
            }
        }
        Some(paths)
    }

    fn expose_as(&mut self, node: &Node, artifacts: &Mapping, at: At<'_>) -> Option<SmolStr> {
        let text = self.text(node, at)?;
        let first_ok = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let rest_ok = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ' '));
        if text.chars().count() > 100 {
            self.error(codes::WRONG_VALUE, node.span, at, "is longer than 100 characters");
        } else if !first_ok || !rest_ok {
            let what = "can contain only letters, digits, `-`, `_` and spaces";
            self.error(codes::WRONG_VALUE, node.span, at, what);
        }
        match artifacts.get("paths").and_then(Node::as_sequence) {
            None | Some([]) => self.error(codes::MISSING, node.span, at, "needs `paths`"),
            Some(paths) => {
                let star = paths.iter().find(|path| as_text(path).is_some_and(|path| path.contains('*')));
                if let Some(path) = star {
                    self.error(codes::CONFLICT, path.span, at, "needs paths without `*`");
                }
            }
        }
        Some(text)
    }

    fn reports(&mut self, node: &Node, at: At<'_>) -> Vec<Report> {
        let Some(mapping) = self.mapping(node, at) else { return Vec::new() };
        mapping.entries().iter().filter_map(|entry| self.one_report(entry, at)).collect()
    }

    fn one_report(&mut self, entry: &Entry, at: At<'_>) -> Option<Report> {
        let key = key_text(&entry.key);
        let below = at.key(key);
        if !REPORTS.contains(&key) {
            self.unknown_key(entry, at, &REPORTS);
            return None;
        }
        let kind = Spanned { value: SmolStr::from(key), span: entry.key.span };
        if key != "coverage_report" {
            return Some(Report { kind, paths: self.texts_or_text(&entry.value, below)?, format: None });
        }
        if is_null(&entry.value) {
            return None;
        }
        let mapping = self.mapping_of(&entry.value, below, &["coverage_format", "path"])?;
        let path = self.required_text(mapping.get("path"), entry.value.span, below.key("path"));
        let format = mapping.get("coverage_format").filter(|node| !is_null(node));
        if format.is_none() {
            self.missing(entry.value.span, below.key("coverage_format"), "is missing", None);
        }
        let format =
            format.and_then(|node| self.choice(node, below.key("coverage_format"), &["cobertura", "jacoco"]))?;
        Some(Report { kind, paths: Arc::from([path?]), format: Some(format) })
    }
}

/// Whether it leads out of the project's folder. One that begins with a variable may lead anywhere.
fn is_outside(path: &str) -> bool {
    let mut depth = 0_i64;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => depth -= 1,
            _ => depth += 1,
        }
        if depth < 0 {
            return true;
        }
    }
    path.starts_with('/')
}
