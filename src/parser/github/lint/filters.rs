//! Filters of an event that GitHub does not take together.

use crate::parser::diagnostics::{Diagnostic, Diagnostics};
use crate::parser::github::codes;
use crate::parser::github::workflow::model::Workflow;

pub(super) fn check(workflow: &Workflow, diagnostics: &mut Diagnostics) {
    for event in &workflow.events {
        let filters = &event.filters;
        let pairs = [
            ("branches", filters.branches.is_some() && filters.branches_ignore.is_some()),
            ("tags", filters.tags.is_some() && filters.tags_ignore.is_some()),
            ("paths", filters.paths.is_some() && filters.paths_ignore.is_some()),
        ];
        for (key, _) in pairs.into_iter().filter(|(_, both)| *both) {
            let message = format!(
                "`{}` has both `{key}` and `{key}-ignore`: GitHub takes one of them, and refuses the file when it runs",
                event.name
            );
            let help = format!("keep `{key}`; a pattern in it that begins with `!` leaves out, as `{key}-ignore` does");
            diagnostics.push(Diagnostic::warning(codes::BOTH_FILTERS, event.span, message).help(help));
        }
    }
}
