//! Names that expressions ask for and that are not there: GitHub makes empty text of them, without a word.
//!
//! What the jobs and steps of the file define is asked of the file; what the forge defines stands in [`members`](super::members).

use std::collections::HashSet;

use crate::parser::diagnostics::{Code, Diagnostic, Diagnostics, did_you_mean};
use crate::parser::expression::analysis::{NameRef, each_name};
use crate::parser::github::codes;
use crate::parser::github::dialect::Dialect;
use crate::parser::github::lint::members;
use crate::parser::github::lint::visit::{Place, Site};
use crate::parser::github::workflow::model::{Job, JobKind, Workflow};
use crate::parser::github::workflow::token::Token;

pub(super) fn check(workflow: &Workflow, site: &Site<'_>, dialect: Dialect, diagnostics: &mut Diagnostics) {
    each_name(site.expr, &mut |name| {
        if let Some((code, message, help)) = name.member(0).and_then(|key| one(workflow, site, dialect, &name, key)) {
            diagnostics.push(Diagnostic::warning(code, site.span, message).maybe_help(help));
        }
    });
}

fn one(workflow: &Workflow, site: &Site<'_>, dialect: Dialect, name: &NameRef<'_>, key: &str) -> Finding {
    let is = |context: &str| name.name.eq_ignore_ascii_case(context);
    if is("needs") {
        site.job.and_then(|job| needs(workflow, job, key, name))
    } else if is("jobs") {
        jobs(workflow, key, name)
    } else if is("steps") {
        site.job.and_then(|job| steps(job, site, key).or_else(|| member_of_step(key, name)))
    } else if is("matrix") {
        site.job.and_then(|job| matrix(job, key))
    } else if is("inputs") {
        inputs(workflow, key)
    } else if is("env") {
        env(workflow, site, key)
    } else if dialect == Dialect::GitHub {
        members::unknown(name.name, key)
    } else {
        None
    }
}

pub(super) type Finding = Option<(Code, String, Option<String>)>;

fn needs(workflow: &Workflow, job: &Job, key: &str, name: &NameRef<'_>) -> Finding {
    if !job.needs().any(|need| need.eq_ignore_ascii_case(key)) {
        let help = if workflow.job(key).is_some() {
            format!("add `{key}` to the `needs` of job `{}`; only what is needed can be asked", job.id)
        } else {
            did_you_mean(key, job.needs()).unwrap_or_else(|| match job.needs.is_empty() {
                true => format!("job `{}` has no `needs`", job.id),
                false => format!("job `{}` needs {}", job.id, quoted(job.needs())),
            })
        };
        let message = format!("`needs.{key}` is always empty: job `{}` does not need a job `{key}`", job.id);
        return Some((codes::UNKNOWN_OUTPUT, message, Some(help)));
    }
    member_of(workflow.job(key)?, "needs", name)
}

fn jobs(workflow: &Workflow, key: &str, name: &NameRef<'_>) -> Finding {
    match workflow.job(key) {
        Some(job) => member_of(job, "jobs", name),
        None => {
            let help = did_you_mean(key, workflow.jobs.iter().map(Job::key));
            Some((codes::UNKNOWN_OUTPUT, format!("`jobs.{key}` is always empty: there is no such job"), help))
        }
    }
}

/// `.result`, or `.outputs.Y` of a job whose outputs are known.
fn member_of(job: &Job, context: &str, name: &NameRef<'_>) -> Finding {
    let member = name.member(1)?;
    if !["result", "outputs"].iter().any(|known| member.eq_ignore_ascii_case(known)) {
        let message = format!("`{context}.{}.{member}` is always empty: a job has `result` and `outputs`", job.id);
        return Some((codes::UNKNOWN_OUTPUT, message, did_you_mean(member, ["result", "outputs"])));
    }
    let output = name.member(2).filter(|_| member.eq_ignore_ascii_case("outputs"))?;
    let known: Vec<String> = match &job.kind {
        JobKind::Steps(steps) => match &steps.outputs {
            None => Vec::new(),
            Some(outputs) => keys(outputs)?,
        },
        JobKind::Call(call) => {
            let interface = call.workflow.as_ref()?.call_interface()?;
            interface.outputs.iter().map(|(name, _)| name.to_string()).collect()
        }
    };
    if known.iter().any(|name| name.eq_ignore_ascii_case(output)) {
        return None;
    }
    let message =
        format!("`{context}.{}.outputs.{output}` is always empty: job `{0}` has no output `{output}`", job.id);
    let help = did_you_mean(output, known.iter().map(String::as_str)).unwrap_or_else(|| match known.is_empty() {
        true => format!("job `{}` has no `outputs:`; a step's output has to be handed on there", job.id),
        false => format!("it has {}", quoted(known.iter().map(String::as_str))),
    });
    Some((codes::UNKNOWN_OUTPUT, message, Some(help)))
}

fn steps(job: &Job, site: &Site<'_>, key: &str) -> Finding {
    let all = job.steps();
    let is_it = |id: Option<&str>| id.is_some_and(|id| id.eq_ignore_ascii_case(key));
    let found = all.iter().position(|step| is_it(step.id()));
    let before = match (site.step, site.place) {
        (Some((at, _)), _) => at,
        (None, Place::AfterSteps) => all.len(),
        (None, _) => return None,
    };
    match found {
        Some(at) if at < before => None,
        Some(at) if Some(at) == site.step.map(|(at, _)| at) => {
            let message = format!("`steps.{key}` is empty here: it is this step itself, which has not ended");
            Some((codes::UNKNOWN_STEP, message, None))
        }
        Some(_) => {
            let message = format!("`steps.{key}` is empty here: that step comes later");
            Some((codes::UNKNOWN_STEP, message, Some("move one of the two steps".into())))
        }
        None => {
            let ids = || all.iter().take(before).filter_map(|step| step.id());
            let help = did_you_mean(key, ids()).unwrap_or_else(|| match ids().next() {
                None => "give the step that is meant an `id`".to_owned(),
                Some(_) => format!("the steps before have the ids {}", quoted(ids())),
            });
            let message = format!("`steps.{key}` is always empty: job `{}` has no step with this id", job.id);
            Some((codes::UNKNOWN_STEP, message, Some(help)))
        }
    }
}

/// `.outcome`, `.conclusion` or `.outputs` of a step.
fn member_of_step(key: &str, name: &NameRef<'_>) -> Finding {
    const KNOWN: [&str; 3] = ["outcome", "conclusion", "outputs"];
    let member = name.member(1)?;
    if KNOWN.iter().any(|known| member.eq_ignore_ascii_case(known)) {
        return None;
    }
    let message = format!("`steps.{key}.{member}` is always empty: a step has `outcome`, `conclusion` and `outputs`");
    let help = did_you_mean(member, KNOWN).unwrap_or_else(|| format!("an output is `steps.{key}.outputs.{member}`"));
    Some((codes::UNKNOWN_STEP, message, Some(help)))
}

/// A variable that nothing can have set, and that is spelt nearly like one that the file sets. Later ones may come from
/// `GITHUB_ENV`.
fn env(workflow: &Workflow, site: &Site<'_>, key: &str) -> Finding {
    let of_job = site.job.and_then(Job::as_steps).and_then(|steps| steps.env.as_ref());
    let tokens = || [workflow.env.as_ref(), of_job, site.step.and_then(|(_, step)| step.env())].into_iter().flatten();
    let mut pairs = tokens().flat_map(|token| token.as_mapping().unwrap_or_default());
    if pairs.any(|pair| pair.key.as_text().is_some_and(|name| name.eq_ignore_ascii_case(key))) {
        return None;
    }
    let mut known: Vec<&str> = Vec::new();
    for token in tokens() {
        known.extend(token.as_mapping()?.iter().map(|pair| pair.key.as_text()).collect::<Option<Vec<_>>>()?);
    }
    let help = did_you_mean(key, known)?;
    // Any step before may have set it.
    let is_first = site.step.is_none_or(|(at, _)| at == 0) && site.place != Place::AfterSteps;
    if !is_first {
        return None;
    }
    Some((codes::UNKNOWN_NAME, format!("`env.{key}` is empty: no `env` sets it"), Some(help)))
}

fn matrix(job: &Job, key: &str) -> Finding {
    let matrix = job.strategy.as_ref().filter(|strategy| !strategy.is_expression());
    let known = match (matrix, job.strategy.is_some()) {
        (Some(strategy), _) => match strategy.get("matrix") {
            Some(matrix) => keys_of_matrix(matrix)?,
            None => Vec::new(),
        },
        (None, true) => return None,
        (None, false) => Vec::new(),
    };
    if known.iter().any(|name| name.eq_ignore_ascii_case(key)) {
        return None;
    }
    let help = did_you_mean(key, known.iter().map(String::as_str)).unwrap_or_else(|| match known.is_empty() {
        true => format!("job `{}` has no `strategy.matrix`", job.id),
        false => format!("it has {}", quoted(known.iter().map(String::as_str))),
    });
    let message = format!("`matrix.{key}` is always empty: the matrix of job `{}` has no `{key}`", job.id);
    Some((codes::UNKNOWN_NAME, message, Some(help)))
}

/// The names a matrix gives values to; `None` where some of them are known only at run time.
fn keys_of_matrix(matrix: &Token) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for pair in matrix.as_mapping()? {
        match pair.key.as_text()? {
            "include" => {
                for item in pair.value.as_sequence()? {
                    names.extend(keys(item)?);
                }
            }
            "exclude" => {}
            name => names.push(name.to_owned()),
        }
    }
    Some(names)
}

fn inputs(workflow: &Workflow, key: &str) -> Finding {
    let called = workflow.call_interface().map(|interface| interface.inputs).unwrap_or_default();
    let known: Vec<&str> = called.iter().chain(workflow.dispatch_inputs()).map(|input| input.name.as_str()).collect();
    if known.iter().any(|name| name.eq_ignore_ascii_case(key)) {
        return None;
    }
    let help = did_you_mean(key, known.iter().copied()).unwrap_or_else(|| match known.is_empty() {
        true => {
            "the workflow declares no inputs; `on.workflow_dispatch.inputs` and `on.workflow_call.inputs` do".to_owned()
        }
        false => format!("it declares {}", quoted(known.iter().copied())),
    });
    Some((codes::UNKNOWN_NAME, format!("`inputs.{key}` is always empty: no such input is declared"), Some(help)))
}

/// Jobs that a job needs twice.
pub(super) fn check_needs(job: &Job, diagnostics: &mut Diagnostics) {
    /// So many names are compared one by one.
    const FEW: usize = 12;
    let needs = job.needs.as_slice();
    let mut seen: HashSet<String> = HashSet::new();
    for (at, (need, span)) in needs.iter().enumerate() {
        let is_new = match needs.len() <= FEW {
            true => !needs.iter().take(at).any(|(before, _)| before.eq_ignore_ascii_case(need)),
            false => seen.insert(need.to_ascii_lowercase()),
        };
        if !is_new {
            let message = format!("job `{}` needs `{need}` twice", job.id);
            let help = "take one of the two out";
            diagnostics.push(Diagnostic::warning(codes::REPEATED_NEED, *span, message).help(help));
        }
    }
}

/// The keys of a mapping; `None` where some of them are known only at run time.
fn keys(token: &Token) -> Option<Vec<String>> {
    token.as_mapping()?.iter().map(|pair| pair.key.as_text().map(str::to_owned)).collect()
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.take(20).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
