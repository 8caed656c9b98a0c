//! Whether a result has been there when it is asked for.

use std::collections::{HashMap, HashSet};

use super::check::ResultUse;
use super::codes;
use super::model::Job;
use crate::parser::diagnostics::{Diagnostic, Diagnostics};

/// Jobs looked at for one file: a flood of results in a big file costs no square.
const MOST: usize = 5_000_000;

/// Reports results of jobs that have not ended when they are asked for.
pub(super) fn results(diagnostics: &mut Diagnostics, jobs: &[Job], uses: Vec<ResultUse>) {
    if uses.is_empty() {
        return;
    }
    let by_name: HashMap<&str, usize> = jobs.iter().enumerate().map(|(at, job)| (job.name.as_str(), at)).collect();
    let mut left = MOST;
    for used in uses {
        let of = &used.of;
        let (message, help) = match used.job.and_then(|at| jobs.get(at).map(|job| (at, job))) {
            None => (
                format!("`job.{of}` stands where no job is before: `global_env` is every job's"),
                format!("put it into `environment` of a job that waits for `{of}`"),
            ),
            Some((_, job)) if job.name == *of => (
                format!("`job.{of}` is the result of the job itself, which has none while it runs"),
                "remove it".to_owned(),
            ),
            Some((at, job)) => {
                let waits = waits_for(jobs, &by_name, at, of, &mut left);
                if waits {
                    continue;
                }
                let other = by_name.get(of.as_str()).copied();
                let backwards = other.is_some_and(|other| waits_for(jobs, &by_name, other, &job.name, &mut left));
                match backwards {
                    true => (
                        format!("`job.{of}` has no value here: `{of}` waits for `{}`", job.name),
                        format!("turn the dependency round, or do without the result of `{of}`"),
                    ),
                    false => (
                        format!("`job.{of}` has no value here: `{}` does not wait for `{of}`", job.name),
                        format!("add `{of}` to `depends_on` of `{}`", job.name),
                    ),
                }
            }
        };
        let message = format!("{message}{}", used.context);
        diagnostics.push(Diagnostic::error(codes::NO_RESULT, used.span, message).help(help));
    }
}

/// Whether a job waits for another, directly or through others.
fn waits_for(jobs: &[Job], by_name: &HashMap<&str, usize>, at: usize, of: &str, left: &mut usize) -> bool {
    let mut open = vec![at];
    let mut seen = HashSet::from([at]);
    while let Some(job) = open.pop().and_then(|at| jobs.get(at)) {
        for need in &job.depends_on {
            if need.name == of {
                return true;
            }
            *left = left.saturating_sub(1);
            if *left == 0 {
                // Nobody knows; the run will tell.
                return true;
            }
            open.extend(by_name.get(need.name.as_str()).copied().filter(|at| seen.insert(*at)));
        }
    }
    false
}
