//! What GitHub accepts and is probably wrong, or dangerous. All of it warnings, each with the fix in its text.

mod conditions;
mod events;
mod filters;
mod guard;
mod members;
mod names;
mod scripts;
mod security;
mod shell;
mod visit;

use crate::parser::diagnostics::Diagnostics;
use crate::parser::github::dialect::Dialect;
use crate::parser::github::workflow::model::Workflow;

/// Looks through a workflow; those that it calls are looked through on their own.
pub fn run(workflow: &Workflow, dialect: Dialect, diagnostics: &mut Diagnostics) {
    visit::sites(workflow, &mut |site| {
        names::check(workflow, &site, dialect, diagnostics);
        if events::may_find(&site.expr.text) {
            events::check(workflow, &site, diagnostics);
        }
        scripts::check(workflow, &site, diagnostics);
    });
    if dialect == Dialect::GitHub {
        filters::check(workflow, diagnostics);
    }
    names::check_needs(workflow, diagnostics);
    conditions::check(workflow, diagnostics);
    scripts::check_texts(workflow, diagnostics);
    security::check(workflow, dialect, diagnostics);
}

#[cfg(test)]
mod tests;
