//! `uses` of steps and of jobs.

use super::Converter;
use crate::parser::document::Span;
use crate::parser::github::codes;

impl Converter<'_, '_> {
    /// Tells what is wrong with an action's name.
    pub(super) fn check_action(&mut self, uses: &str, span: Span) {
        if uses.starts_with("docker://") || is_local(uses) {
            return;
        }
        if self.dialect.takes_addresses() && (uses.starts_with("https://") || uses.starts_with("http://")) {
            return;
        }
        if owner_and_repository(uses).is_none() {
            let message = format!("Expected format {{org}}/{{repo}}[/path]@ref. Actual '{uses}'");
            let help = if uses.contains('@') {
                "name the owner too, as in `actions/checkout@v4`; a local action begins with `./`"
            } else {
                "say which version: a commit id, a tag or a branch after `@`, as in `actions/checkout@v4`"
            };
            self.error_with(codes::USES, span, message, Some(help));
        }
    }

    /// Tells what is wrong with a called workflow's name.
    pub(super) fn check_called(&mut self, uses: &str, span: Span) {
        let is_workflow = |path: &str| {
            let name = path.rsplit('/').next().unwrap_or(path);
            name.ends_with(".yml") || name.ends_with(".yaml")
        };
        let (problem, help) = if is_local(uses) {
            match uses {
                _ if uses.contains('@') => ("a workflow of the same repository takes no version", "take `@…` out"),
                _ if !is_workflow(uses) => {
                    ("this is no workflow file", "write the path of a `.yml` file: `./.github/workflows/x.yml`")
                }
                _ => return,
            }
        } else if self.dialect.takes_addresses() && uses.contains("://") {
            return;
        } else {
            match uses.rsplit_once('@') {
                None => (
                    "no version is specified",
                    "say which: `owner/repository/.github/workflows/x.yml@v1`; a workflow of this repository begins with `./`",
                ),
                Some((path, _)) if path.split('/').count() < 3 || !is_workflow(path) => {
                    ("the path of the workflow file is missing", "write `owner/repository/.github/workflows/x.yml@v1`")
                }
                _ => return,
            }
        };
        self.error_with(codes::USES, span, format!("Invalid workflow reference '{uses}': {problem}"), Some(help));
    }
}

/// Whether `uses` names something in the same repository.
pub(super) fn is_local(uses: &str) -> bool {
    ["./", ".\\", "$/"].iter().any(|start| uses.starts_with(start))
}

/// Owner and repository of an action elsewhere.
pub(super) fn owner_and_repository(uses: &str) -> Option<(&str, &str)> {
    let (path, version) = uses.split_once('@')?;
    if version.is_empty() || version.contains('@') {
        return None;
    }
    let mut parts = path.split(['/', '\\']).filter(|part| !part.is_empty());
    Some((parts.next()?, parts.next()?))
}
