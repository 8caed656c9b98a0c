//! The native language, `forgehand.yml`: jobs with steps, dependencies and variables.
//!
//! - [`read`]: text to a [`Pipeline`], every rule checked, all findings in one pass. [`model`]: its types.
//! - [`plan`]: a [`Pipeline`] to the model's jobs, matrices taken apart. [`expand`](fn@expand): it with all that is
//!   inherited written out. [`schema`]: the language as JSON Schema.
//! - [`codes`]: what can be wrong. The language is described in `docs/native.md`.

mod check;
pub mod codes;
mod condition;
mod declared;
mod expand;
mod forms;
mod image;
mod job;
pub mod model;
mod order;
mod parts;
mod pipeline;
mod plan;
mod references;
pub mod run;
pub mod start;
mod step;
mod time;
mod value;

#[cfg(test)]
mod tests;

pub use check::Given;
pub use expand::expand;
pub use model::Pipeline;
pub use plan::{Leg, PlanProblem, Planned, plan};

use super::diagnostics::{Checked, Diagnostic, Diagnostics};
use super::document::{Limits, Merge, Options, Span, read as read_document};

/// Reads a pipeline. `name` is what people call the file. There is a value only where there is no error.
pub fn read(name: &str, text: &str, given: &Given) -> Checked<Pipeline> {
    let checked = inspect(name, text, given);
    let value = checked.value.filter(|_| !checked.diagnostics.has_errors());
    Checked { value, ..checked }
}

/// The same, with the pipeline as far as it can be read where there are errors: so that its dependencies are checked all the same.
pub fn inspect(name: &str, text: &str, given: &Given) -> Checked<Pipeline> {
    let mut sources = super::document::Sources::new();
    let file = sources.add(name, text);
    let mut diagnostics = Diagnostics::new();
    let options = Options { merge: Merge::Standard, limits: Limits::default() };
    let value = match read_document(file, text, options) {
        Err(error) => {
            diagnostics.push(Diagnostic::error(codes::SYNTAX, error.span, error.problem));
            None
        }
        Ok(documents) => match documents.as_slice() {
            [] => {
                let message = "the file is empty: a pipeline has a `name` and `jobs`";
                let help = "begin with `name: demo` and `jobs:`, as docs/native.md shows";
                diagnostics.push(Diagnostic::error(codes::MISSING_KEY, Span::start_of(file), message).help(help));
                None
            }
            [root] => pipeline::pipeline(root, given, &mut diagnostics),
            [_, second, ..] => {
                let message = "a pipeline is one document";
                diagnostics.push(
                    Diagnostic::error(codes::SYNTAX, second.span, message)
                        .help("remove this document and the `---` before it"),
                );
                None
            }
        },
    };
    diagnostics.sort();
    Checked { value, diagnostics, sources }
}

/// The language as JSON Schema, for editors.
pub fn schema() -> serde_json::Value {
    forms::schema::<Pipeline>()
}
