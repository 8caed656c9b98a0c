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

use security::Security;
use visit::Site;

use crate::parser::diagnostics::Diagnostics;
use crate::parser::github::dialect::Dialect;
use crate::parser::github::workflow::model::Workflow;

/// Looks through a workflow; those that it calls are looked through on their own.
pub fn run(workflow: &Workflow, dialect: Dialect, diagnostics: &mut Diagnostics) {
    let look = |site: Site<'_>, diagnostics: &mut Diagnostics| {
        names::check(workflow, &site, dialect, diagnostics);
        if events::may_find(&site.expr.text) {
            events::check(workflow, &site, diagnostics);
        }
        scripts::check(workflow, &site, diagnostics);
    };
    visit::outside_jobs(workflow, &mut |site| look(site, diagnostics));
    if dialect == Dialect::GitHub {
        filters::check(workflow, diagnostics);
    }
    let mut security = Security::new(workflow, dialect);
    // All that is asked of a job, while it is at hand: thousands of them are more than the processor's caches hold.
    for job in &workflow.jobs {
        visit::of_job(job, &mut |site| look(site, diagnostics));
        names::check_needs(job, diagnostics);
        conditions::check(job, diagnostics);
        scripts::check_texts(workflow, job, diagnostics);
        security.check(job, diagnostics);
    }
}

#[cfg(test)]
mod tests;
