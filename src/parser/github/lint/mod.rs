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

use security::{Security, Used};
use visit::Site;

use crate::parser::diagnostics::Diagnostics;
use crate::parser::github::dialect::Dialect;
use crate::parser::github::workflow::model::{Job, Workflow};
use crate::parser::{JOBS_FOR_TWO, join};

/// Looks through a workflow; those that it calls are looked through on their own.
pub fn run(workflow: &Workflow, dialect: Dialect, diagnostics: &mut Diagnostics) {
    let lints = Lints { workflow, dialect, security: Security::new(workflow) };
    visit::outside_jobs(workflow, &mut |site| lints.look(&site, diagnostics));
    if dialect == Dialect::GitHub {
        filters::check(workflow, diagnostics);
    }
    lints.jobs(diagnostics).check(dialect, diagnostics);
}

/// What a workflow's jobs are looked through with.
struct Lints<'w> {
    workflow: &'w Workflow,
    dialect: Dialect,
    security: Security,
}

impl<'w> Lints<'w> {
    fn look(&self, site: &Site<'_>, diagnostics: &mut Diagnostics) {
        names::check(self.workflow, site, self.dialect, diagnostics);
        if events::may_find(&site.expr.text) {
            events::check(self.workflow, site, diagnostics);
        }
        scripts::check(self.workflow, site, diagnostics);
    }

    /// All jobs. Each is looked at by itself, so that two threads can share many.
    fn jobs(&self, diagnostics: &mut Diagnostics) -> Used<'w> {
        let jobs = self.workflow.jobs.as_slice();
        if jobs.len() < JOBS_FOR_TWO {
            return self.some(jobs, diagnostics);
        }
        let (front, back) = jobs.split_at(jobs.len() / 2);
        let mut of_back = Diagnostics::new();
        let (mut used, later) = join(|| self.some(front, diagnostics), || self.some(back, &mut of_back));
        used.append(later);
        diagnostics.extend(of_back);
        used
    }

    /// All that is asked of a job, while it is at hand: thousands of them are more than the processor's caches hold.
    fn some(&self, jobs: &'w [Job], diagnostics: &mut Diagnostics) -> Used<'w> {
        let mut used = Used::default();
        for job in jobs {
            visit::of_job(job, &mut |site| self.look(&site, diagnostics));
            names::check_needs(job, diagnostics);
            conditions::check(job, diagnostics);
            scripts::check_texts(self.workflow, job, diagnostics);
            self.security.check(job, diagnostics);
            used.add_of(job);
        }
        used
    }
}

#[cfg(test)]
mod tests;
