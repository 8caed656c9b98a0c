//! Every expression of a workflow, with the place it stands in.

use crate::parser::document::Span;
use crate::parser::expression::Expr;
use crate::parser::github::workflow::model::{
    Condition, EventDetail, Job, JobKind, RunDefaults, Step, StepKind, Workflow,
};
use crate::parser::github::workflow::token::Token;

/// An expression and its place.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) expr: &'a Expr,
    /// The value that holds it.
    pub(super) span: Span,
    /// The text that holds it and where in it the expression begins; nothing for conditions.
    pub(super) within: Option<(&'a str, usize)>,
    pub(super) job: Option<&'a Job>,
    /// The step and its place among the job's.
    pub(super) step: Option<(usize, &'a Step)>,
    pub(super) place: Place,
}

/// What kind of place it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A script, also one that an action runs.
    Script,
    /// A value that is evaluated when the job is over: outputs, the environment's address.
    AfterSteps,
    /// Any other.
    Other,
}

/// Calls `visit` with every expression that stands in no job.
pub(super) fn outside_jobs<'a>(workflow: &'a Workflow, visit: &mut impl FnMut(Site<'a>)) {
    for token in [&workflow.run_name, &workflow.env, &workflow.concurrency].into_iter().flatten() {
        each(token, None, None, Place::Other, visit);
    }
    for event in &workflow.events {
        if let EventDetail::Call(interface) = &event.detail {
            interface.outputs.iter().for_each(|(_, value)| each(value, None, None, Place::AfterSteps, visit));
        }
    }
}

/// Calls `visit` with every expression of a job.
pub(super) fn of_job<'a>(job: &'a Job, visit: &mut impl FnMut(Site<'a>)) {
    condition(&job.condition, job, None, visit);
    for token in [&job.name, &job.concurrency, &job.strategy].into_iter().flatten() {
        each(token, Some(job), None, Place::Other, visit);
    }
    match &job.kind {
        JobKind::Call(call) => {
            if let Some(with) = &call.with {
                each(with, Some(job), None, Place::Other, visit);
            }
        }
        JobKind::Steps(steps) => {
            let before = [
                steps.runs_on.as_ref(),
                steps.env.as_ref(),
                steps.container.as_deref(),
                steps.services.as_deref(),
                steps.timeout_minutes.as_deref(),
                steps.continue_on_error.as_deref(),
            ];
            for token in before.into_iter().flatten() {
                each(token, Some(job), None, Place::Other, visit);
            }
            if let Some(RunDefaults { shell, working_directory, computed }) = steps.defaults.as_deref() {
                for token in [shell, working_directory, computed].into_iter().flatten() {
                    each(token, Some(job), None, Place::Other, visit);
                }
            }
            for token in [steps.outputs.as_deref(), steps.environment.as_deref()].into_iter().flatten() {
                each(token, Some(job), None, Place::AfterSteps, visit);
            }
            steps.steps.iter().enumerate().for_each(|step| of_step(job, step, visit));
        }
    }
}

fn of_step<'a>(job: &'a Job, at: (usize, &'a Step), visit: &mut impl FnMut(Site<'a>)) {
    let step = at.1;
    condition(&step.condition, job, Some(at), visit);
    let own = [step.name(), step.env(), step.continue_on_error(), step.timeout()];
    for token in own.into_iter().flatten() {
        each(token, Some(job), Some(at), Place::Other, visit);
    }
    match &step.kind {
        StepKind::Run(run) => {
            each(&run.script, Some(job), Some(at), Place::Script, visit);
            for token in [run.shell.as_deref(), run.working_directory.as_deref()].into_iter().flatten() {
                each(token, Some(job), Some(at), Place::Other, visit);
            }
        }
        StepKind::Uses(uses) => {
            let is_script = uses.action.to_ascii_lowercase().starts_with("actions/github-script@");
            let Some(with) = &uses.with else { return };
            for pair in with.as_mapping().unwrap_or_default() {
                let is_text = is_script && pair.key.as_text() == Some("script");
                let place = if is_text { Place::Script } else { Place::Other };
                each(&pair.value, Some(job), Some(at), place, visit);
            }
        }
        StepKind::Control(_) => {}
    }
}

fn condition<'a>(
    condition: &'a Condition,
    job: &'a Job,
    step: Option<(usize, &'a Step)>,
    visit: &mut impl FnMut(Site<'a>),
) {
    let Some(span) = condition.span else { return };
    visit(Site { expr: &condition.expr, span, within: None, job: Some(job), step, place: Place::Other });
}

fn each<'a>(
    token: &'a Token,
    job: Option<&'a Job>,
    step: Option<(usize, &'a Step)>,
    place: Place,
    visit: &mut impl FnMut(Site<'a>),
) {
    token.templates(&mut |template, span| {
        for (expr, offset) in template.exprs() {
            visit(Site { expr, span, within: Some((&template.source, offset)), job, step, place });
        }
    });
}
