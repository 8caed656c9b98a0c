//! `extends`: jobs on top of others.

use std::collections::HashMap;

use smol_str::SmolStr;

use crate::parser::diagnostics::{Diagnostic, Diagnostics, did_you_mean};
use crate::parser::document::{Entry, Mapping, Node, Schema, Typed, Value};

use super::merge::merge_all;
use super::{codes, missing};

/// Jobs that extend, one above the other (GitLab's `MAX_NESTING_LEVELS` ancestors and the job itself).
const MOST_LEVELS: usize = 11;

/// Keys that all merges together may bring, and for each job; a bomb has more.
const MOST_KEYS: (usize, usize) = (1_000_000, 20);

/// The root with `extends` applied. Without any it is the very same.
pub(super) fn apply(root: Node, incomplete: bool, diagnostics: &mut Diagnostics) -> Node {
    let Some(mapping) = root.as_mapping() else { return root };
    let jobs: Vec<Job<'_>> =
        mapping.entries().iter().enumerate().filter_map(|(at, entry)| Job::of(at, entry)).collect();
    if jobs.is_empty() {
        return root;
    }
    let graph = Graph::new(mapping, jobs, incomplete, diagnostics);
    let order = graph.order(diagnostics);
    let mut entries = mapping.to_entries();
    let mut keys = 0;
    let most = MOST_KEYS.0 + MOST_KEYS.1 * graph.jobs.len();
    for job in order {
        let Some(job) = graph.jobs.get(job) else { continue };
        let Some(own) = entries.get(job.at).map(|entry| entry.value.clone()) else { continue };
        let parents = job.parents.iter().filter_map(|parent| entries.get(parent.at).map(|entry| &entry.value));
        let layers: Vec<&Node> = parents.chain([&own]).collect();
        if layers.len() < 2 {
            continue;
        }
        let Some(merged) = merge_all(&layers, &mut keys) else { continue };
        if keys > most {
            let message = format!("`extends` brings more than {most} keys into the jobs");
            diagnostics.push(Diagnostic::error(codes::LIMIT, job.key.span, message));
            break;
        }
        if let Some(entry) = entries.get_mut(job.at) {
            entry.value = merged;
        }
    }
    Node { span: root.span, tag: None, value: Value::Mapping(Mapping::new(entries)) }
}

/// A job with `extends`.
struct Job<'a> {
    /// Where among the root's entries.
    at: usize,
    key: &'a Node,
    extends: &'a Node,
    parents: Vec<Parent>,
}

struct Parent {
    at: usize,
    token: Node,
}

impl<'a> Job<'a> {
    fn of(at: usize, entry: &'a Entry) -> Option<Self> {
        let extends = entry.value.get("extends")?;
        Some(Self { at, key: &entry.key, extends, parents: Vec::new() })
    }

    fn name(&self) -> &str {
        self.key.as_scalar().map_or("", |key| &key.text)
    }
}

struct Graph<'a> {
    jobs: Vec<Job<'a>>,
    /// The job at an entry of the root.
    at: HashMap<usize, usize>,
}

impl<'a> Graph<'a> {
    fn new(root: &Mapping, mut jobs: Vec<Job<'a>>, incomplete: bool, diagnostics: &mut Diagnostics) -> Self {
        for job in &mut jobs {
            for token in tokens(job, diagnostics) {
                let Some(name) = name_of(&token) else { continue };
                match root.position(&name).and_then(|at| Some((at, root.entries().get(at)?))) {
                    None => diagnostics.push(unknown(job, &name, &token, root, incomplete)),
                    Some((_, entry)) if entry.value.as_mapping().is_none() => {
                        let message = format!(
                            "`{}` extends `{name}`, which is {} and not a job",
                            job.name(),
                            entry.value.kind(Schema::Ruby)
                        );
                        let finding = Diagnostic::error(codes::EXTENDS, token.span, message);
                        diagnostics.push(finding.related(entry.key.span, "defined here"));
                    }
                    Some((at, _)) => job.parents.push(Parent { at, token }),
                }
            }
        }
        let at = jobs.iter().enumerate().map(|(index, job)| (job.at, index)).collect();
        Self { jobs, at }
    }

    /// The jobs, parents first, without those that stand in a circle or too high.
    fn order(&self, diagnostics: &mut Diagnostics) -> Vec<usize> {
        let mut walk = Walk { states: vec![State::New; self.jobs.len()], order: Vec::new(), stack: Vec::new() };
        for start in 0..self.jobs.len() {
            self.walk(start, &mut walk, diagnostics);
        }
        walk.order
    }

    fn walk(&self, start: usize, walk: &mut Walk, diagnostics: &mut Diagnostics) {
        walk.enter(start);
        while let Some(&(job, next)) = walk.stack.last() {
            let Some(parent) = self.jobs.get(job).and_then(|job| job.parents.get(next)) else {
                self.leave(job, walk, diagnostics);
                continue;
            };
            if let Some(top) = walk.stack.last_mut() {
                top.1 += 1;
            }
            let Some(&above) = self.at.get(&parent.at) else { continue };
            if matches!(walk.states.get(above), Some(State::Open)) {
                diagnostics.push(self.circle(above, parent, &walk.stack));
                walk.fail(job);
            } else {
                walk.enter(above);
            }
        }
    }

    /// All parents of a job are done.
    fn leave(&self, job: usize, walk: &mut Walk, diagnostics: &mut Diagnostics) {
        walk.stack.pop();
        if !matches!(walk.states.get(job), Some(State::Open)) {
            return;
        }
        let Some(this) = self.jobs.get(job) else { return };
        let levels = this.parents.iter().map(|parent| {
            self.at.get(&parent.at).and_then(|parent| walk.states.get(*parent)).map_or(0, |state| match state {
                State::Done { levels } => *levels,
                State::New | State::Open | State::Failed => 0,
            })
        });
        let levels = levels.max().unwrap_or(0) + 1;
        if levels > MOST_LEVELS {
            if levels == MOST_LEVELS + 1 {
                let message =
                    format!("`{}` extends a chain of {levels} jobs; GitLab's limit is {MOST_LEVELS}", this.name());
                let help = "let it extend a job nearer to the beginning of the chain, or name several in a list";
                diagnostics.push(Diagnostic::error(codes::EXTENDS_DEPTH, this.extends.span, message).help(help));
            }
        } else {
            walk.order.push(job);
        }
        if let Some(state) = walk.states.get_mut(job) {
            *state = State::Done { levels };
        }
    }

    fn circle(&self, back: usize, by: &Parent, stack: &[(usize, usize)]) -> Diagnostic {
        let from = stack.iter().position(|(job, _)| *job == back).unwrap_or(0);
        let jobs = stack.get(from..).unwrap_or_default().iter().map(|(job, _)| *job).chain([back]);
        let names: Vec<&str> = jobs.filter_map(|job| self.jobs.get(job)).map(Job::name).collect();
        let message = format!("`extends` goes in a circle: {}", names.join(" -> "));
        let help = "remove one of these `extends`";
        Diagnostic::error(codes::EXTENDS_CYCLE, by.token.span, message).help(help)
    }
}

#[derive(Clone, Copy)]
enum State {
    New,
    Open,
    Done { levels: usize },
    Failed,
}

struct Walk {
    states: Vec<State>,
    order: Vec<usize>,
    /// Jobs that are open, with the parent that comes next.
    stack: Vec<(usize, usize)>,
}

impl Walk {
    fn enter(&mut self, job: usize) {
        if let Some(state @ State::New) = self.states.get_mut(job) {
            *state = State::Open;
            self.stack.push((job, 0));
        }
    }

    fn fail(&mut self, job: usize) {
        if let Some(state) = self.states.get_mut(job) {
            *state = State::Failed;
        }
    }
}

/// The names that `extends` lists.
fn tokens(job: &Job<'_>, diagnostics: &mut Diagnostics) -> Vec<Node> {
    match &job.extends.value {
        Value::Scalar(_) if job.extends.is_null(Schema::Ruby) => Vec::new(),
        Value::Scalar(_) => vec![job.extends.clone()],
        Value::Sequence(items) if items.iter().all(|item| item.as_scalar().is_some()) => items.to_vec(),
        Value::Sequence(_) | Value::Mapping(_) => {
            let message = format!("`extends` of `{}` is a job's name or a list of names", job.name());
            diagnostics.push(Diagnostic::error(codes::EXTENDS, job.extends.span, message));
            Vec::new()
        }
    }
}

fn name_of(token: &Node) -> Option<SmolStr> {
    match token.typed(Schema::Ruby)? {
        Typed::Symbol(name) => Some(SmolStr::from(name.as_ref())),
        _ => token.as_scalar().map(|scalar| scalar.text.clone()),
    }
}

fn unknown(job: &Job<'_>, name: &str, token: &Node, root: &Mapping, incomplete: bool) -> Diagnostic {
    let message = format!("`{}` extends `{name}`, which does not exist", job.name());
    let names = root.entries().iter().filter(|entry| entry.value.as_mapping().is_some());
    let names = names.filter_map(|entry| entry.key.as_scalar()).map(|key| key.text.as_str());
    let help = did_you_mean(name, names.filter(|other| *other != job.name()));
    missing(codes::EXTENDS_UNKNOWN, token.span, message, incomplete).maybe_help(help)
}
