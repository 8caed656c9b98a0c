//! GitHub, Gitea and Forgejo workflows.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use smol_str::SmolStr;

use super::{Expand, Planned, codes};
use crate::local::project::{PipelineFile, Project};
use crate::local::request::Request;
use crate::local::surroundings::Surroundings;
use crate::parser::diagnostics::{Checked, Diagnostic, Diagnostics, Severity, did_you_mean};
use crate::parser::dialect;
use crate::parser::document::{FileId, Limits, Merge, Options, Span, read};
use crate::parser::github::contexts::NO_COMBINATION;
use crate::parser::github::events::{RunFacts, StartProblem};
use crate::parser::github::run::{
    Certainty, Planned as PlannedRun, Playbook, Trouble, begin, expand as expanded, plan as plan_run,
};
use crate::parser::github::schema::{event_names, is_event};
use crate::parser::github::workflow::model::Workflow;
use crate::parser::github::{CheckOptions, Dialect, check};
use crate::parser::join;
use crate::pipeline::{PipelineDefinition, PlannedJob};

/// The file and the workflows that it calls.
pub(super) fn lint(project: &Project, file: &PipelineFile) -> Checked<()> {
    let Checked { value, diagnostics, sources } = checked(project, file, true);
    Checked { value: value.map(drop), diagnostics, sources }
}

/// The jobs of the run that the request starts.
pub(super) fn plan(project: &Project, file: &PipelineFile, request: &Request) -> Checked<Planned> {
    if let Some(finding) = unknown_event(request) {
        return super::refused(file, finding);
    }
    // Starting git holds up whoever starts it, so that another does.
    let (checked, awaited) = join(|| checked(project, file, false), || Surroundings::ask(project));
    let Checked { value, mut diagnostics, sources } = checked;
    let Some(workflow) = value.filter(|_| !diagnostics.has_errors()).map(Arc::new) else {
        return Checked { value: None, diagnostics, sources };
    };
    let facts = run_facts(&awaited.answered(request));
    let planned = match plan_run(workflow, facts) {
        Ok(planned) => planned,
        Err(problems) => {
            refuse(problems, &mut diagnostics);
            return Checked { value: None, diagnostics, sources };
        }
    };
    for trouble in &planned.troubles {
        diagnostics.push(trouble_of(trouble, planned.places.get(trouble.job.as_str())));
    }
    let notes = notes(file, &planned);
    let places = planned.places;
    let place = move |job: &str, _: Option<&str>| places.get(job).copied();
    Checked {
        value: Some(Planned {
            definition: planned.definition,
            place: Box::new(place),
            details: Box::new(details),
            notes,
        }),
        diagnostics,
        sources,
    }
}

/// The job of the file that each comes from, where it is one of many.
fn details(definition: &PipelineDefinition) -> Map<String, Value> {
    let of = |job: &PlannedJob| {
        let group = job.group.and_then(|at| definition.groups.get(at));
        let all: Map<String, Value> = group.map(|group| ("of".to_owned(), json!(group.name))).into_iter().collect();
        (job.name.clone(), Value::Object(all))
    };
    definition.jobs.iter().map(of).collect()
}

/// Why there are no jobs, or not all of the file.
fn notes(file: &PipelineFile, planned: &PlannedRun) -> Vec<String> {
    const SHOWN: usize = 20;
    let none = planned.note.iter().map(|reason| format!("{} does not start: {reason}", file.path));
    let out = planned.left_out.iter().take(SHOWN);
    let out = out.map(|(job, reason)| format!("job `{job}` is left out: {reason}"));
    let more = planned.left_out.len().saturating_sub(SHOWN);
    let more = (more > 0).then(|| format!("{more} more jobs are left out"));
    none.chain(out).chain(more).collect()
}

/// An event that no forge has would start nothing, whatever the workflow says.
fn unknown_event(request: &Request) -> Option<Diagnostic> {
    let event = request.event.as_deref().filter(|event| !is_event(event))?;
    let help =
        did_you_mean(event, event_names()).unwrap_or_else(|| format!("the events are {}", event_names().join(", ")));
    let message = format!("there is no event `{event}`");
    Some(Diagnostic::error(codes::BAD_REQUEST, Span::start_of(FileId::default()), message).help(help))
}

/// The event would start the workflow, and what it brings is wrong.
fn refuse(problems: Vec<StartProblem>, diagnostics: &mut Diagnostics) {
    for problem in problems {
        let span = problem.at.unwrap_or(Span::start_of(FileId::default()));
        diagnostics.push(Diagnostic::error(codes::BAD_REQUEST, span, problem.message));
    }
}

/// A job that cannot be made. On the forge the run begins all the same and that job fails, so that only what is wrong whatever the
/// run is given is an error.
fn trouble_of(trouble: &Trouble, place: Option<&Span>) -> Diagnostic {
    let Trouble { job, span, fault } = trouble;
    let span = fault.at.or(*span).or(place.copied()).unwrap_or(Span::start_of(FileId::default()));
    let message = format!("job `{job}`: {}", fault.message);
    let finding = match fault.certainty {
        Certainty::Always => Diagnostic::error(codes::UNEVALUATED, span, message),
        Certainty::Here => Diagnostic::warning(codes::UNEVALUATED, span, message),
        Certainty::Elsewhere => Diagnostic::note(codes::UNEVALUATED, span, message),
    };
    finding.maybe_help(how_to_give(&fault.asks))
}

/// How the values that an expression asks for are given.
fn how_to_give(asks: &[String]) -> Option<String> {
    let option = |ask: &String| {
        let (context, name) = ask.split_once('.')?;
        let option = context.strip_suffix('s').unwrap_or(context);
        Some(format!("`{ask}` with --{option} {name}=VALUE"))
    };
    let options: Vec<String> = asks.iter().filter_map(option).collect();
    (!options.is_empty()).then(|| format!("give {}", options.join(", ")))
}

/// The run that the surroundings' request starts; `only`: these jobs of the file alone, with what they need or without.
///
/// Where the event starts none, the run has no jobs; a note says why.
pub fn begin_workflow(
    project: &Project,
    file: &PipelineFile,
    surroundings: &Surroundings,
    only: &[String],
    with_needs: bool,
) -> Checked<(PipelineDefinition, Playbook)> {
    if let Some(finding) = super::no_text(file) {
        return super::refused(file, finding);
    }
    if let Some(finding) = unknown_event(&surroundings.request) {
        return super::refused(file, finding);
    }
    let Checked { value, mut diagnostics, sources } = checked(project, file, false);
    let Some(mut workflow) = value.filter(|_| !diagnostics.has_errors()) else {
        return Checked { value: None, diagnostics, sources };
    };
    let ids = workflow.jobs.iter().map(|job| job.id.as_str());
    if let Some(unknown) = only.iter().find(|name| !ids.clone().any(|id| id == name.as_str())) {
        diagnostics.push(super::unknown_job(unknown, ids));
        return Checked { value: None, diagnostics, sources };
    }
    narrow(&mut workflow, only, with_needs);
    let (workflow, facts) = (Arc::new(workflow), run_facts(surroundings));
    let begun =
        plan_run(Arc::clone(&workflow), facts.clone()).and_then(|planned| Ok((planned, begin(workflow, facts)?)));
    let value = match begun {
        Ok((planned, Ok(_)))
            if planned.troubles.iter().any(|trouble| trouble.fault.message.ends_with(NO_COMBINATION)) =>
        {
            let all = planned.troubles.iter().filter(|trouble| trouble.fault.message.ends_with(NO_COMBINATION));
            all.for_each(|trouble| {
                let told = trouble_of(trouble, planned.places.get(trouble.job.as_str()));
                diagnostics.push(Diagnostic { severity: Severity::Error, code: codes::BAD_REQUEST, ..told });
            });
            None
        }
        Ok((planned, Ok(run))) => {
            for trouble in &planned.troubles {
                // The job will fail and say so; the others run.
                let told = trouble_of(trouble, planned.places.get(trouble.job.as_str()));
                diagnostics.push(Diagnostic { severity: told.severity.max(Severity::Warning), ..told });
            }
            Some((planned.definition, Playbook::new(run).named(planned.naming)))
        }
        Ok((planned, Err(_))) => {
            let reason = planned.note.unwrap_or_default();
            let note = format!("{} does not start: {reason}", file.path);
            diagnostics.push(Diagnostic::note(codes::BAD_REQUEST, Span::start_of(FileId::default()), note));
            None
        }
        Err(problems) => {
            refuse(problems, &mut diagnostics);
            None
        }
    };
    Checked { value, diagnostics, sources }
}

/// Leaves only the jobs that were asked for, and what they need where that was asked for too.
fn narrow(workflow: &mut Workflow, only: &[String], with_needs: bool) {
    if only.is_empty() {
        return;
    }
    let mut kept: HashSet<SmolStr> = only.iter().map(SmolStr::from).collect();
    let mut open: Vec<SmolStr> = if with_needs { kept.iter().cloned().collect() } else { Vec::new() };
    while let Some(id) = open.pop() {
        let needs = workflow.jobs.iter().find(|job| job.id == id).map(|job| job.needs.clone()).unwrap_or_default();
        open.extend(needs.into_iter().map(|(need, _)| need).filter(|need| kept.insert(need.clone())));
    }
    workflow.jobs.retain(|job| kept.contains(&job.id));
    for job in &mut workflow.jobs {
        job.needs.retain(|(need, _)| kept.contains(need));
    }
}

/// The workflow with what its jobs and steps inherit.
pub(super) fn expand(project: &Project, file: &PipelineFile, _: &Request, how: &Expand) -> Checked<String> {
    let Checked { value, mut diagnostics, sources } = checked(project, file, false);
    let options = Options { merge: merge(file), limits: Limits::default() };
    let root = read(FileId::default(), &file.text, options).ok().and_then(|documents| documents.into_iter().next());
    let value = value.filter(|_| !diagnostics.has_errors()).zip(root).and_then(|(workflow, root)| {
        let ids = workflow.jobs.iter().map(|job| job.id.as_str());
        if let Some(unknown) = how.jobs.iter().find(|name| !ids.clone().any(|id| id == name.as_str())) {
            diagnostics.push(super::unknown_job(unknown, ids));
            return None;
        }
        expanded(&root, how.jobs.first().map(String::as_str))
    });
    Checked { value, diagnostics, sources }
}

fn checked(project: &Project, file: &PipelineFile, lints: bool) -> Checked<Workflow> {
    let dialect = match file.dialect {
        dialect::Dialect::Gitea => Dialect::Gitea,
        dialect::Dialect::Forgejo => Dialect::Forgejo,
        _ => Dialect::GitHub,
    };
    check(&file.path, &file.text, project, &CheckOptions { dialect, lints, ..CheckOptions::default() })
}

fn merge(file: &PipelineFile) -> Merge {
    if file.dialect == dialect::Dialect::GitHub { Merge::None } else { Merge::Standard }
}

/// What GitHub would know of this checkout and request (docs/github-workflows.md, local values).
pub fn run_facts(surroundings: &Surroundings) -> RunFacts {
    let request = &surroundings.request;
    let commit = surroundings.commit();
    let event = request.event.clone().unwrap_or_else(|| "push".to_owned());
    let compares = matches!(event.as_str(), "push" | "pull_request" | "pull_request_target");
    RunFacts {
        payload: request.payload.as_ref().map(Value::to_string),
        repository: surroundings.project_path(),
        server_url: surroundings.server().unwrap_or_else(|| "https://github.com".to_owned()),
        git_ref: surroundings.full_ref(),
        before: commit.parent.clone().unwrap_or_default(),
        default_branch: surroundings.default_branch().to_owned(),
        base_branch: String::new(),
        head_branch: String::new(),
        actor: commit.login().to_owned(),
        commit_message: commit.message.clone(),
        commit_time: commit.committed_at.clone(),
        changed_files: compares.then(|| surroundings.changes().pushed()).flatten().map(|files| files.to_vec()),
        run_id: 1,
        run_number: 1,
        vars: request.variables.clone(),
        secrets: request.secrets.clone(),
        inputs: request.inputs.clone(),
        only_legs: request.matrix.clone(),
        event,
        sha: commit.sha,
        author_name: commit.author_name,
        author_email: commit.author_email,
    }
}
