//! The whole way from a workflow's text to the model, with the workflows that it calls.
//!
//! - [`check`]: the way in. [`CheckOptions`]: whose language, which limits, which lints.
//! - [`calls`]: called workflows and what is handed to them. [`permissions`]: what they may ask for.
//! - [`place`]: the job and the step of a finding.

mod calls;
mod permissions;
mod place;

use std::sync::Arc;

use crate::parser::diagnostics::{Checked, Diagnostic, Diagnostics};
use crate::parser::document::{FileId, Files, Limits, Merge, Node, Options, Sources, Span, read};
use crate::parser::github::codes;
use crate::parser::github::dialect::Dialect;
use crate::parser::github::lint;
use crate::parser::github::schema::reader::Reader;
use crate::parser::github::workflow::convert::convert;
use crate::parser::github::workflow::model::Workflow;

/// How a workflow is checked.
#[derive(Clone, Copy)]
pub struct CheckOptions<'a> {
    /// Whose language it is.
    pub dialect: Dialect,
    /// Whether to look for what is allowed and probably wrong.
    pub lints: bool,
    /// Levels of lists and mappings inside each other.
    pub max_depth: usize,
    /// Levels of called workflows; the first call is level 1.
    pub max_calls: usize,
    /// Jobs, those of called workflows counted in.
    pub max_jobs: Option<usize>,
    /// What jobs may do where no workflow says it. `None`: not known, and nothing is compared with it.
    pub default_permissions: Option<DefaultPermissions>,
    /// Where workflows of other repositories come from.
    pub elsewhere: Option<&'a dyn WorkflowsElsewhere>,
}

impl Default for CheckOptions<'_> {
    fn default() -> Self {
        Self {
            dialect: Dialect::GitHub,
            lints: true,
            max_depth: 50,
            max_calls: 10,
            max_jobs: None,
            default_permissions: None,
            elsewhere: None,
        }
    }
}

/// What a repository's settings give the token of a job whose workflow says nothing of permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultPermissions {
    /// Reading of contents and packages.
    LimitedRead,
    /// Writing of everything.
    Write,
}

/// Workflows of other repositories, by what `uses` says.
pub trait WorkflowsElsewhere {
    /// The text of a workflow; `None` where it is not at hand.
    fn text(&self, uses: &str) -> Option<String>;
}

/// Checks a workflow and types it.
///
/// The result is there where enough of the document could be read, also when there are errors; what an error hit is missing in it.
/// Called workflows of the same project come through `files`.
pub fn check(path: &str, text: &str, files: &dyn Files, options: &CheckOptions<'_>) -> Checked<Workflow> {
    let mut checker = Checker {
        files,
        options,
        diagnostics: Diagnostics::new(),
        sources: Sources::new(),
        called: calls::Called::default(),
    };
    let text = without_mark(text);
    let file = checker.sources.add(path, text);
    let value = checker.workflow(path, text, file).map(|mut workflow| {
        checker.calls(&mut workflow, file);
        checker.job_limit(&workflow);
        permissions::check(&workflow, options.default_permissions, &mut checker.diagnostics);
        if options.lints {
            lint::run(&workflow, options.dialect, &mut checker.diagnostics);
        }
        workflow
    });
    checker.diagnostics.sort();
    place::add(&mut checker.diagnostics, &checker.sources, reading(options.dialect));
    Checked { value, diagnostics: checker.diagnostics, sources: checker.sources }
}

struct Checker<'a> {
    files: &'a dyn Files,
    options: &'a CheckOptions<'a>,
    diagnostics: Diagnostics,
    sources: Sources,
    called: calls::Called,
}

impl Checker<'_> {
    /// One file, without what it calls.
    fn workflow(&mut self, path: &str, text: &str, file: FileId) -> Option<Workflow> {
        let root = self.document(text, file)?;
        let mut reader = Reader::new(self.options.dialect, self.options.max_depth, &mut self.diagnostics);
        convert(&mut reader, root, Arc::from(path), self.options.dialect)
    }

    fn document(&mut self, text: &str, file: FileId) -> Option<Node> {
        let documents = match read(file, text, reading(self.options.dialect)) {
            Ok(documents) => documents,
            Err(error) => {
                self.diagnostics.push(Diagnostic::error(codes::SYNTAX, error.span, error.problem));
                return None;
            }
        };
        if let Some(second) = documents.get(1) {
            let message = "Source contains multiple documents; a workflow is one";
            let help = "take the line `---` out, or make two files of it";
            self.diagnostics.push(Diagnostic::error(codes::SYNTAX, second.span, message).help(help));
        }
        let first = documents.into_iter().next();
        if first.is_none() {
            let message = "Expected a scalar value, a sequence, or a mapping";
            let help = "the file is empty; a workflow has at least `on:` and `jobs:`";
            let span = Span::start_of(file);
            self.diagnostics.push(Diagnostic::error(codes::EMPTY, span, message).help(help));
        }
        first
    }

    fn job_limit(&mut self, workflow: &Workflow) {
        let Some(most) = self.options.max_jobs else { return };
        if count(workflow) > most {
            let span = workflow.jobs.first().map_or(Span::start_of(FileId(0)), |job| job.span);
            let message = format!("The workflow may not contain more than {most} jobs");
            self.diagnostics.push(Diagnostic::error(codes::LIMIT, span, message));
        }
    }
}

/// The merge key is no part of GitHub's YAML. Gitea and Forgejo read with a library that knows it.
fn reading(dialect: Dialect) -> Options {
    let merge = if dialect == Dialect::GitHub { Merge::None } else { Merge::Standard };
    Options { merge, limits: Limits::default() }
}

/// A text without the byte order mark that some editors put before it.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// All jobs, those of called workflows counted in, the calls too.
fn count(workflow: &Workflow) -> usize {
    let of = |job: &crate::parser::github::workflow::model::Job| {
        1 + job.as_call().and_then(|call| call.workflow.as_deref()).map_or(0, count)
    };
    workflow.jobs.iter().map(of).fold(0, usize::saturating_add)
}

#[cfg(test)]
mod tests;
