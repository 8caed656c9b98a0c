//! Whether an event starts a workflow, and as what.

use super::facts::RunFacts;
use super::filter::{Filters, Rule, Subject};
use super::inputs::{StartProblem, given_inputs};
use super::pattern::Patterns;
use super::payload::{base_branch, short_ref};
use crate::parser::expression::Value;
use crate::parser::github::workflow::model::{Event, EventDetail, EventFilters, Workflow};

/// A workflow that starts.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// The activity, `opened`, for events that have such.
    pub action: Option<String>,
    /// The cron line that is due.
    pub schedule: Option<String>,
    /// The `inputs` context.
    pub inputs: Value,
}

/// Whether an event starts a workflow.
#[derive(Clone, Debug)]
pub enum Started {
    /// It does.
    Yes(Start),
    /// It does not: why, one sentence.
    No(String),
}

/// Whether the event of the facts starts the workflow. An error where it would and cannot: inputs, payload, patterns.
pub fn start(workflow: &Workflow, facts: &RunFacts) -> Result<Started, Vec<StartProblem>> {
    let Some(event) = workflow.event(&facts.event) else {
        let known: Vec<&str> = workflow.events.iter().map(|event| event.name.as_str()).collect();
        return Ok(Started::No(format!("it is started by {}, not by `{}`", listed(&known), facts.event)));
    };
    let told = |problem: String| vec![StartProblem { message: problem, at: Some(event.span) }];
    if let Some(reason) = refused(event, facts).map_err(told)? {
        return Ok(Started::No(reason));
    }
    let Given { action: given, workflow: run } = Given::of(facts).map_err(told)?;
    let types = event.filters.types.as_deref();
    if let Some(reason) = given.as_deref().and_then(|given| other_activity(event, given)) {
        return Ok(Started::No(reason));
    }
    if let (Some(run), Some(workflows)) = (&run, &event.filters.workflows)
        && !workflows.iter().any(|known| known == run)
    {
        return Ok(Started::No(format!("its `workflows` do not hold `{run}`")));
    }
    let (mut schedule, mut values) = (None, Value::Null);
    match &event.detail {
        EventDetail::Schedule(lines) => schedule = lines.first().map(|line| line.cron.to_string()),
        EventDetail::Dispatch(declared) => values = given_inputs(declared, &facts.inputs, event.span)?,
        EventDetail::Call(call) => values = given_inputs(&call.inputs, &facts.inputs, event.span)?,
        EventDetail::None => {}
    }
    let first = types.and_then(|types| types.first().map(ToString::to_string));
    let action = given.or(first).or_else(|| default_action(&facts.event).map(str::to_owned));
    Ok(Started::Yes(Start { action, schedule, inputs: values }))
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Why filters keep the event out.
fn refused(event: &Event, facts: &RunFacts) -> Result<Option<String>, String> {
    let filters = compile(&event.filters)?;
    let subject = match facts.event.as_str() {
        "push" => Subject::of_ref(&facts.git_ref),
        "pull_request" | "pull_request_target" => Subject::Branch(base_branch(facts)),
        "workflow_run" if !facts.head_branch.is_empty() => Subject::Branch(&facts.head_branch),
        "workflow_run" => Subject::Branch(short_ref(&facts.git_ref)),
        "merge_group" => Subject::Branch(base_branch(facts)),
        _ => return Ok(None),
    };
    Ok(filters.refuse(subject, facts.changed_files.as_deref()))
}

fn compile(filters: &EventFilters) -> Result<Filters, String> {
    let rule = |only: &Option<Vec<_>>, ignore: &Option<Vec<_>>| -> Result<Option<Rule>, String> {
        let told = |errors: Vec<super::pattern::PatternError>| {
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        match (only, ignore) {
            (Some(patterns), _) => {
                Patterns::compile::<smol_str::SmolStr>(patterns).map(Rule::Only).map_err(told).map(Some)
            }
            (None, Some(patterns)) => Patterns::compile(patterns).map(Rule::Ignore).map_err(told).map(Some),
            (None, None) => Ok(None),
        }
    };
    Ok(Filters {
        branches: rule(&filters.branches, &filters.branches_ignore)?,
        tags: rule(&filters.tags, &filters.tags_ignore)?,
        paths: rule(&filters.paths, &filters.paths_ignore)?,
    })
}

/// What the given payload tells of the event itself.
#[derive(Default)]
struct Given {
    /// The activity.
    action: Option<String>,
    /// Of `workflow_run`: the name of the workflow that ran.
    workflow: Option<String>,
}

impl Given {
    fn of(facts: &RunFacts) -> Result<Self, String> {
        let Some(text) = &facts.payload else { return Ok(Self::default()) };
        let payload: serde_json::Value =
            serde_json::from_str(text).map_err(|error| format!("the event's payload is not JSON: {error}"))?;
        let says = |pointer| payload.pointer(pointer).and_then(serde_json::Value::as_str).map(str::to_owned);
        let is_run = facts.event == "workflow_run";
        let workflow = if is_run { says("/workflow/name").or_else(|| says("/workflow_run/name")) } else { None };
        Ok(Self { action: says("/action"), workflow })
    }
}

/// What pull requests start without `types`.
const PROPOSED: [&str; 3] = ["opened", "synchronize", "reopened"];

/// Why an activity is none that the workflow asks for.
fn other_activity(event: &Event, given: &str) -> Option<String> {
    if let Some(types) = &event.filters.types {
        let known = types.iter().any(|known| known.eq_ignore_ascii_case(given));
        return (!known).then(|| format!("its `types` do not hold `{given}`"));
    }
    let is_proposal = matches!(event.name.as_str(), "pull_request" | "pull_request_target");
    (is_proposal && !PROPOSED.contains(&given))
        .then(|| format!("without `types` it is started by {}, not by `{given}`", listed(&PROPOSED)))
}

/// The activity that an event has when nobody says which.
fn default_action(event: &str) -> Option<&'static str> {
    Some(match event {
        "pull_request" | "pull_request_target" | "issues" | "discussion" => "opened",
        "issue_comment"
        | "pull_request_review_comment"
        | "label"
        | "milestone"
        | "check_run"
        | "branch_protection_rule" => "created",
        "pull_request_review" => "submitted",
        "release" | "registry_package" => "published",
        "workflow_run" | "check_suite" => "completed",
        "merge_group" => "checks_requested",
        "watch" => "started",
        "repository_dispatch" => "local",
        _ => return None,
    })
}
