//! Findings for programs: the array of `lint --json`.

use serde::Serialize;

use super::{Diagnostic, Diagnostics, Severity};
use crate::parser::document::Sources;

/// One finding as `lint --json` prints it.
#[derive(Clone, Debug, Serialize)]
pub struct JsonDiagnostic<'a> {
    /// The file's name.
    pub file: &'a str,
    /// Line from 1.
    pub line: u32,
    /// Column from 1, in characters.
    pub column: u32,
    /// Line after the last character.
    pub end_line: u32,
    /// Column after the last character.
    pub end_column: u32,
    /// error, warning or note.
    pub severity: Severity,
    /// The rule.
    pub code: &'static str,
    /// What is wrong.
    pub message: &'a str,
    /// The part of the pipeline, where the message does not say it.
    pub context: Option<String>,
    /// What to do.
    pub help: Option<&'a str>,
    /// Where the rule is explained.
    pub url: String,
}

/// One finding.
pub fn one<'a>(diagnostic: &'a Diagnostic, sources: &'a Sources) -> JsonDiagnostic<'a> {
    let span = diagnostic.span;
    JsonDiagnostic {
        file: sources.name(span.file),
        line: span.line,
        column: span.column,
        end_line: span.end_line,
        end_column: span.end_column,
        severity: diagnostic.severity,
        code: diagnostic.code.0,
        message: &diagnostic.message,
        context: diagnostic.context.as_ref().map(ToString::to_string),
        help: diagnostic.help.as_deref(),
        url: diagnostic.code.url(),
    }
}

/// All findings.
pub fn all<'a>(diagnostics: &'a Diagnostics, sources: &'a Sources) -> Vec<JsonDiagnostic<'a>> {
    diagnostics.iter().map(|diagnostic| one(diagnostic, sources)).collect()
}
