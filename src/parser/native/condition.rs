//! `conditional`: whether a job runs.

use super::model::Pipeline;
use crate::parser::expression::analysis::usage;
use crate::parser::expression::{self, Dialect, Expr};
use crate::parser::variables::{Segment, Style, Text};

/// A condition, parsed.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    /// `env.STAGE == 'prod'`, in `${{ }}` or bare: it holds where its value counts as true.
    Expression(Expr),
    /// `${ENABLED}`: it makes `true` or `false`.
    Reference(Text),
}

impl Condition {
    /// Parses what [`super::model::Job::conditional`] holds.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if is_reference(text) {
            let parsed = Text::parse(text, Style::Value);
            return parsed
                .map(Condition::Reference)
                .map_err(|errors| errors.into_iter().map(|error| error.message).next().unwrap_or_default());
        }
        expression::parse(text, Dialect::Native).map(Condition::Expression).map_err(|error| error.message)
    }

    /// Whether it speaks of how things went, so that it has to be asked whatever became of the jobs before.
    pub(super) fn asks_for_results(&self) -> bool {
        match self {
            Condition::Expression(expr) => {
                let usage = usage(expr);
                usage.names.iter().any(|name| name.name.eq_ignore_ascii_case("job"))
                    || usage.functions.iter().any(|function| STATUS_FUNCTIONS.contains(&function.name))
            }
            Condition::Reference(text) => text.segments.iter().any(|segment| match segment {
                Segment::Reference { name, .. } => name.starts_with("job."),
                _ => false,
            }),
        }
    }
}

/// Functions that ask how things went.
const STATUS_FUNCTIONS: [&str; 4] = ["always", "cancelled", "failure", "success"];

/// Whether a condition is written as a reference and not as an expression.
pub(super) fn is_reference(text: &str) -> bool {
    text.starts_with("${") && !text.starts_with("${{")
}

/// What text says as a truth.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text.trim() {
        "true" | "True" | "TRUE" | "1" => Some(true),
        "" | "false" | "False" | "FALSE" | "0" => Some(false),
        _ => None,
    }
}

/// The conditions of a pipeline's jobs, each parsed once. A text that the check lets through parses.
pub(super) fn conditions(pipeline: &Pipeline) -> Vec<Option<Result<Condition, String>>> {
    pipeline.jobs.iter().map(|job| job.conditional.as_deref().map(Condition::parse)).collect()
}
