//! What `needs` makes of the jobs: a graph without circles, in which something can start.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};

use super::Converter;
use crate::parser::diagnostics::{Diagnostic, did_you_mean};
use crate::parser::document::Span;
use crate::parser::github::codes;
use crate::parser::github::workflow::model::Job;

impl Converter<'_, '_> {
    pub(super) fn check_needs(&mut self, jobs: &[Job], span: Span) {
        if jobs.is_empty() && self.reader.has_error_within(span) {
            return;
        }
        let graph = Graph::new(jobs);
        if jobs.iter().all(|job| !job.needs.is_empty()) {
            let help = match graph.circle() {
                Some(circle) => format!("every job has `needs`: {}; take one of them out", graph.path(jobs, &circle)),
                None if jobs.is_empty() => "add a job under `jobs:`".to_owned(),
                None => "every job has `needs`; one of them has to start without".to_owned(),
            };
            let message = "The workflow must contain at least one job with no dependencies.";
            self.error_with(codes::NO_START, span, message, Some(help));
            if jobs.is_empty() {
                return;
            }
            self.unknown_needs(jobs, &graph);
            return;
        }
        self.unknown_needs(jobs, &graph);
        let Some(circle) = graph.circle() else { return };
        let shortest = graph.path(jobs, &circle);
        for (at, need, span) in graph.circular_needs(jobs) {
            let (Some(job), Some(other)) = (jobs.get(at), jobs.get(need)) else { continue };
            let message = format!(
                "Job '{}' depends on job '{}' which creates a cycle in the dependency graph.",
                job.id, other.id
            );
            let help = format!("the circle is {shortest}; take one of these `needs` out, or split a job in two");
            self.tell(Diagnostic::error(codes::CYCLE, span, message).help(help));
        }
    }

    fn unknown_needs(&mut self, jobs: &[Job], graph: &Graph<'_>) {
        // Mostly there are none, and each is looked up but once.
        if graph.knows_all {
            return;
        }
        for job in jobs {
            for (need, span) in &job.needs {
                if graph.find(need).is_some() {
                    continue;
                }
                let message = format!("Job '{}' depends on unknown job '{need}'.", job.id);
                let names = || jobs.iter().map(|other| other.id.as_str()).filter(|name| *name != job.id);
                let help = did_you_mean(need, names()).unwrap_or_else(|| {
                    let known: Vec<String> = names().take(20).map(|name| format!("`{name}`")).collect();
                    if known.is_empty() {
                        "there is no other job".to_owned()
                    } else {
                        format!("there are {}", known.join(", "))
                    }
                });
                self.error_with(codes::UNKNOWN_NEED, *span, message, Some(help));
            }
        }
    }
}

/// Jobs and what they need, without needs that are unknown.
struct Graph<'a> {
    /// Ids in lower case.
    index: HashMap<Cow<'a, str>, usize>,
    needs: Vec<Vec<usize>>,
    /// No need is unknown.
    knows_all: bool,
    /// Jobs that stand in a circle, or between two.
    stuck: Vec<bool>,
}

impl<'a> Graph<'a> {
    fn new(jobs: &'a [Job]) -> Self {
        let index: HashMap<Cow<'_, str>, usize> =
            jobs.iter().enumerate().map(|(at, job)| (lower(&job.id), at)).collect();
        let known = |job: &Job| job.needs.iter().filter_map(|(need, _)| index.get(&lower(need)).copied()).collect();
        let needs: Vec<Vec<usize>> = jobs.iter().map(known).collect();
        let knows_all = jobs.iter().zip(&needs).all(|(job, known)| job.needs.len() == known.len());
        // What can start goes first, from both ends: neither waiting for a circle nor being waited for by one is being in it.
        let mut stuck = vec![true; jobs.len()];
        let mut dependents = vec![Vec::new(); jobs.len()];
        for (at, needs) in needs.iter().enumerate() {
            for need in needs {
                if let Some(list) = dependents.get_mut(*need) {
                    list.push(at);
                }
            }
        }
        peel(&needs, &dependents, &mut stuck);
        peel(&dependents, &needs, &mut stuck);
        Self { index, needs, knows_all, stuck }
    }

    /// The job of this id, whatever its case.
    fn find(&self, id: &str) -> Option<usize> {
        self.index.get(&lower(id)).copied()
    }

    /// The needs that lie in circles: job, needed job, place.
    fn circular_needs(&self, jobs: &[Job]) -> Vec<(usize, usize, Span)> {
        let is_stuck = |at: usize| self.stuck.get(at) == Some(&true);
        let mut found = Vec::new();
        for (at, job) in jobs.iter().enumerate().filter(|(at, _)| is_stuck(*at)) {
            for (need, span) in &job.needs {
                if let Some(other) = self.find(need).filter(|other| is_stuck(*other)) {
                    found.push((at, other, *span));
                }
            }
        }
        found
    }

    /// A shortest circle through the first stuck job that is in one.
    fn circle(&self) -> Option<Vec<usize>> {
        let stuck = (0..self.needs.len()).filter(|at| self.stuck.get(*at) == Some(&true));
        // A job between two circles is stuck and in none; few of them stand before one that is in a circle.
        stuck.take(50).find_map(|start| self.circle_through(start))
    }

    fn circle_through(&self, start: usize) -> Option<Vec<usize>> {
        let mut from: HashMap<usize, usize> = HashMap::new();
        let mut open = VecDeque::from([start]);
        while let Some(at) = open.pop_front() {
            for need in self.needs.get(at)? {
                if *need == start {
                    let mut circle = vec![at];
                    while let Some(before) = from.get(circle.last()?).copied() {
                        circle.push(before);
                    }
                    circle.reverse();
                    return Some(circle);
                }
                if self.stuck.get(*need) == Some(&true) && !from.contains_key(need) {
                    from.insert(*need, at);
                    open.push_back(*need);
                }
            }
        }
        None
    }

    /// `a -> b -> a`.
    fn path(&self, jobs: &[Job], circle: &[usize]) -> String {
        let ids = circle.iter().chain(circle.first()).filter_map(|at| jobs.get(*at)).map(|job| job.id.as_str());
        let mut ids: Vec<&str> = ids.collect();
        if ids.len() > 12 {
            let rest = ids.split_off(ids.len() - 3);
            ids.truncate(8);
            ids.push("…");
            ids.extend(rest);
        }
        ids.join(" -> ")
    }
}

/// In lower case, copied only where it is not.
fn lower(id: &str) -> Cow<'_, str> {
    let is_lower = id.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    if is_lower { Cow::Borrowed(id) } else { Cow::Owned(id.to_lowercase()) }
}

/// Takes out what waits for nothing that is left.
fn peel(waits_for: &[Vec<usize>], waiting: &[Vec<usize>], left: &mut [bool]) {
    let is_left = |left: &[bool], at: usize| left.get(at) == Some(&true);
    let mut count: Vec<usize> =
        waits_for.iter().map(|list| list.iter().filter(|at| is_left(left, **at)).count()).collect();
    let mut free: Vec<usize> =
        (0..waits_for.len()).filter(|at| is_left(left, *at) && count.get(*at) == Some(&0)).collect();
    while let Some(at) = free.pop() {
        if let Some(slot) = left.get_mut(at) {
            *slot = false;
        }
        for next in waiting.get(at).into_iter().flatten().copied().filter(|next| is_left(left, *next)) {
            if let Some(count) = count.get_mut(next) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    free.push(next);
                }
            }
        }
    }
}
