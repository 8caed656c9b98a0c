//! The jobs of a workflow, by far the most of it.

use std::collections::HashSet;

use smol_str::StrExt as _;

use super::definition::Mappings;
use super::reader::{Open, Reader, has_expression, key_text};
use super::scope::ScopeSet;
use super::seen::Seen;
use crate::parser::diagnostics::Diagnostics;
use crate::parser::document::Entry;
use crate::parser::github::workflow::token::{Pair, TokenKind};
use crate::parser::{JOBS_FOR_TWO, join};

/// Who gets the jobs of a workflow, each as soon as it is read: what a job is made of stays in the processor's caches, and its
/// memory serves for the next one.
pub trait TakeJobs: Send {
    /// So many may come.
    fn expect(&mut self, count: usize);

    /// The next one: its key and what stands there.
    fn take(&mut self, reader: &mut Reader<'_>, job: Pair);

    /// One without jobs, for those that another thread reads.
    fn fork(&self) -> Self;

    /// What was forked comes back with jobs that stand behind all that were taken here.
    fn append(&mut self, later: Self);
}

impl Reader<'_> {
    /// Reads the entries of `jobs`. Two threads share many: each job is read by itself.
    pub(super) fn jobs(&mut self, entries: &mut [Entry], open: &mut Open, scope: ScopeSet, jobs: &mut impl TakeJobs) {
        if entries.len() < JOBS_FOR_TWO || !are_distinct(entries) {
            jobs.expect(entries.len());
            return self.some_jobs(entries, open, scope, jobs);
        }
        let (front, back) = entries.split_at_mut(entries.len() / 2);
        let (mut of_back, mut later, mappings) = (Diagnostics::new(), jobs.fork(), open.mappings);
        let mut second = self.fork(&mut of_back);
        jobs.expect(front.len() + back.len());
        later.expect(back.len());
        let ((), back_is_too_deep) = join(
            || self.distinct_jobs(front, mappings, scope, jobs),
            || {
                second.distinct_jobs(back, mappings, scope, &mut later);
                second.is_too_deep()
            },
        );
        jobs.append(later);
        self.rejoin(of_back, back_is_too_deep);
    }

    /// Reads jobs whose keys are known to be distinct.
    fn distinct_jobs(&mut self, entries: &mut [Entry], mappings: Mappings, scope: ScopeSet, jobs: &mut impl TakeJobs) {
        let mut open = Open { mappings, seen: Seen::Distinct, has_expression: false };
        self.some_jobs(entries, &mut open, scope, jobs);
    }

    fn some_jobs(&mut self, entries: &mut [Entry], open: &mut Open, scope: ScopeSet, jobs: &mut impl TakeJobs) {
        for entry in entries {
            if let Some(job) = self.entry(entry, open, scope, jobs) {
                jobs.take(self, job);
            }
        }
    }
}

/// Whether each has a key, which is no expression, and none comes twice.
fn are_distinct(entries: &[Entry]) -> bool {
    let mut seen = HashSet::with_capacity(entries.len());
    entries.iter().all(|entry| match key_text(&entry.key) {
        TokenKind::Text(name) => !name.is_empty() && !has_expression(&name) && seen.insert(name.to_uppercase_smolstr()),
        _ => false,
    })
}
