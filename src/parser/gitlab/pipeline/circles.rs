//! Variables that refer to each other in a circle: the server refuses a pipeline with a job that has some.
//!
//! [`check`]: as far as the file alone shows it. [`Told`]: for the jobs that an event creates.
//!
//! Source of the rules: gitlabhq `lib/gitlab/ci/pipeline/seed/build.rb` (`variable_expansion_errors`).

use std::collections::HashSet;

use smol_str::SmolStr;

use super::codes;
use super::create::{CreatedJob, variables};
use super::scope::Shared;
use super::variables::reference::may_refer;
use super::variables::{Circle, Collection, Variable, inherit};
use crate::parser::diagnostics::{Diagnostic, Diagnostics, Severity};
use crate::parser::document::Span;
use crate::parser::gitlab::config::Configuration;
use crate::parser::gitlab::config::model::{self, Job, Parallel, When};

const HELP: &str = "give one of them a value without the other, or write `expand: false` under it";

/// Reports the circles of the file's own variables. Where a job with one may be left out of a pipeline, they are warnings.
pub fn check(configuration: &Configuration, diagnostics: &mut Diagnostics) {
    let root: Vec<Variable> = configuration.variables.list.iter().map(Variable::from).collect();
    let of_root = root.iter().cloned().collect::<Collection>().circles();
    let mut told = Told::default();
    for circle in &of_root {
        let jobs = || configuration.jobs.iter().filter(|job| has(job, circle));
        let all = configuration.jobs.len();
        let Some(first) = jobs().find(|job| is_always_there(configuration, job)).or_else(|| jobs().next()) else {
            continue;
        };
        let is_sure = is_always_there(configuration, first) || jobs().count() == all;
        told.tell(configuration, Of::job(first), circle, severity(is_sure), diagnostics);
    }
    for job in &configuration.jobs {
        if !job.variables.iter().flat_map(|own| &own.list).any(refers) {
            continue;
        }
        let own = own(job);
        let all: Collection = inherit(&root, &own, &job.inherit.variables).into_iter().collect();
        let sure = severity(is_always_there(configuration, job));
        for circle in all.circles().iter().filter(|circle| own.iter().any(|own| circle.0.contains(&own.key))) {
            told.tell(configuration, Of::job(job), circle, sure, diagnostics);
        }
    }
}

fn severity(is_sure: bool) -> Severity {
    if is_sure { Severity::Error } else { Severity::Warning }
}

fn own(job: &Job) -> Vec<Variable> {
    job.variables.iter().flat_map(|own| &own.list).map(Variable::from).collect()
}

/// Whether there are references in it, at a glance.
fn refers(variable: &model::Variable) -> bool {
    variable.expand != Some(false) && may_refer(&variable.value)
}

/// Whether a job inherits a whole circle of the file's variables.
fn has(job: &Job, circle: &Circle) -> bool {
    let in_row = |name: &SmolStr| match &job.parallel {
        Some(Parallel::Matrix(rows)) => rows.iter().flat_map(|row| &row.variables).any(|(row, _)| row == name),
        _ => false,
    };
    let is_own = |name: &SmolStr| job.variables.as_ref().is_some_and(|own| own.get(name).is_some());
    circle.0.iter().all(|name| job.inherit.variables.has(name) && !is_own(name) && !in_row(name))
}

/// Whether nothing can leave it out of a pipeline.
fn is_always_there(configuration: &Configuration, job: &Job) -> bool {
    let is_never = job.when.as_ref().is_some_and(|when| when.value == When::Never);
    configuration.workflow.rules.is_none()
        && job.rules.is_none()
        && job.only.is_none()
        && job.except.is_none()
        && !is_never
}

/// Whose variables they are.
#[derive(Clone, Copy)]
struct Of<'a> {
    /// Its name, as the forge shows it.
    name: &'a str,
    job: &'a Job,
    rule: Option<&'a model::Variables>,
}

impl<'a> Of<'a> {
    fn job(job: &'a Job) -> Self {
        Self { name: &job.name, job, rule: None }
    }
}

/// Circles that were reported.
#[derive(Default)]
pub(super) struct Told {
    /// By the place, and the names of the circle in order.
    seen: HashSet<(Span, Vec<SmolStr>)>,
    /// Whether the variables that all jobs have may have some; asked once.
    shared: Option<bool>,
}

impl Told {
    /// Reports those of a created job. Most jobs have no variables that refer to others at all.
    pub(super) fn check(
        &mut self,
        configuration: &Configuration,
        shared: &Shared,
        created: &CreatedJob,
        diagnostics: &mut Diagnostics,
    ) {
        let Some(job) = configuration.jobs.as_slice().get(created.source) else { return };
        let mut own = job.variables.iter().chain(&created.rule_variables).flat_map(|variables| &variables.list);
        if !own.any(refers) && !self.in_shared(shared) {
            return;
        }
        let of = Of { name: &created.name, job, rule: created.rule_variables.as_deref() };
        for circle in variables(shared, job, created, Vec::new(), &[]).circles() {
            self.tell(configuration, of, &circle, Severity::Error, diagnostics);
        }
    }

    fn in_shared(&mut self, shared: &Shared) -> bool {
        *self.shared.get_or_insert_with(|| {
            let all = shared.under.iter().chain(&shared.root).chain(&shared.over);
            !all.cloned().collect::<Collection>().circles().is_empty()
        })
    }

    fn tell(
        &mut self,
        configuration: &Configuration,
        of: Of<'_>,
        circle: &Circle,
        severity: Severity,
        diagnostics: &mut Diagnostics,
    ) {
        let of_job = of.job.variables.as_deref();
        let place = |list: Option<&model::Variables>| {
            let names = circle.0.iter().enumerate();
            let places = names.filter_map(|(at, name)| Some((list?.get(name)?.span, at)));
            places.min_by_key(|(span, _)| *span)
        };
        let own = place(of.rule).or_else(|| place(of_job));
        let (span, at) = own.or_else(|| place(Some(&configuration.variables))).unwrap_or((of.job.span, 0));
        let circle = circle.beginning_at(at);
        if !self.seen.insert((span, circle.0.clone())) {
            return;
        }
        // What all jobs have is not that of one.
        let message = match own {
            Some(_) => format!("in job `{}`: {circle}", of.name),
            None => circle.to_string(),
        };
        let mut finding =
            Diagnostic { severity, ..Diagnostic::error(codes::VARIABLE_CIRCLE, span, message) }.help(HELP);
        if own.is_none() && span != of.job.span {
            finding = finding.related(of.job.span, "this job has them");
        }
        diagnostics.push(finding);
    }
}
