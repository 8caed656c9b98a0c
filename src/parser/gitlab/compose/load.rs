//! YAML as GitLab loads it.

use crate::parser::diagnostics::{Diagnostic, Diagnostics};
use crate::parser::document::{FileId, Limits, Merge, Node, Options, read};

use super::codes;

/// The documents of a text.
pub(super) fn documents(file: FileId, text: &str, diagnostics: &mut Diagnostics) -> Option<Vec<Node>> {
    match read(file, text, Options { merge: Merge::Ruby, limits: Limits::default() }) {
        Ok(documents) => Some(documents),
        Err(error) => {
            diagnostics.push(Diagnostic::error(codes::YAML, error.span, error.problem));
            None
        }
    }
}
