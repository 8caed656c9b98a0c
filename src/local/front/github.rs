//! GitHub, Gitea and Forgejo workflows.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use smol_str::SmolStr;

use super::{Expand, Planned, codes};
use crate::local::project::{PipelineFile, Project};
use crate::local::request::Request;
use crate::local::surroundings::Surroundings;
use crate::parser::diagnostics::{Checked, Diagnostic};
use crate::parser::dialect;
use crate::parser::document::{FileId, Limits, Merge, Options, Span, read};
use crate::parser::github::events::RunFacts;
use crate::parser::github::run::{Playbook, begin, expand as expanded, plan as plan_run};
use crate::parser::github::workflow::model::Workflow;
use crate::parser::github::{CheckOptions, Dialect, check};
use crate::pipeline::PipelineDefinition;

/// The file and the workflows that it calls.
pub(super) fn lint(project: &Project, file: &PipelineFile) -> Checked<()> {
    let Checked { value, diagnostics, sources } = checked(project, file, true);
    Checked { value: value.map(drop), diagnostics, sources }
}

/// The jobs of the run that the request starts.
pub(super) fn plan(project: &Project, file: &PipelineFile, request: &Request) -> Checked<Planned> {
    let Checked { value, mut diagnostics, sources } = checked(project, file, false);
    let Some(workflow) = value.filter(|_| !diagnostics.has_errors()).map(Arc::new) else {
        return Checked { value: None, diagnostics, sources };
    };
    let facts = run_facts(&Surroundings::of(project, request));
    let start = Span::start_of(FileId::default());
    let planned = match plan_run(Arc::clone(&workflow), facts) {
        Ok(planned) => planned,
        Err(problem) => {
            diagnostics.push(Diagnostic::error(codes::BAD_REQUEST, start, problem));
            return Checked { value: None, diagnostics, sources };
        }
    };
    for (job, problem) in &planned.problems {
        let span = span_of(&workflow, job).unwrap_or(start);
        diagnostics.push(Diagnostic::error(codes::UNEVALUATED, span, format!("job `{job}`: {problem}")));
    }
    let details = planned.definition.jobs.iter().map(|job| {
        let mut all = Map::new();
        if let Some(group) = job.group.and_then(|at| planned.definition.groups.get(at)) {
            all.insert("of".to_owned(), json!(group.name));
        }
        (job.name.clone(), Value::Object(all))
    });
    let details = details.collect();
    let notes = planned.note.into_iter().map(|reason| format!("{} does not start: {reason}", file.path)).collect();
    let place = move |job: &str, _: Option<&str>| span_of(&workflow, job);
    Checked {
        value: Some(Planned { definition: planned.definition, place: Box::new(place), details, notes }),
        diagnostics,
        sources,
    }
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
        Ok((planned, Ok(run))) => Some((planned.definition, Playbook::new(run))),
        Ok((planned, Err(_))) => {
            let reason = planned.note.unwrap_or_default();
            let note = format!("{} does not start: {reason}", file.path);
            diagnostics.push(Diagnostic::note(codes::BAD_REQUEST, Span::start_of(FileId::default()), note));
            None
        }
        Err(problem) => {
            diagnostics.push(Diagnostic::error(codes::BAD_REQUEST, Span::start_of(FileId::default()), problem));
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

/// Where the job of the file stands that a leg of this name came from.
fn span_of(workflow: &Workflow, name: &str) -> Option<Span> {
    let exact = workflow.jobs.iter().find(|job| job.id == name);
    let of_leg = || workflow.jobs.iter().find(|job| name.starts_with(job.id.as_str()));
    exact.or_else(of_leg).map(|job| job.span)
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
        actor: commit.login().to_owned(),
        commit_message: commit.message.clone(),
        commit_time: commit.committed_at.clone(),
        changed_files: compares.then(|| surroundings.changes().pushed()).flatten().map(|files| files.to_vec()),
        run_id: 1,
        run_number: 1,
        vars: request.variables.clone(),
        secrets: request.secrets.clone(),
        inputs: request.inputs.clone(),
        event,
        sha: commit.sha,
        author_name: commit.author_name,
        author_email: commit.author_email,
    }
}
