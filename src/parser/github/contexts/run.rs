//! What all jobs of a run share, and what a called workflow has of its own.

use std::sync::Arc;

use super::github::{self, Entries};
use super::names::{Names, plain, truth};
use crate::parser::expression::{Object, Value, from_json};
use crate::parser::github::events::payload::payload;
use crate::parser::github::events::{RunFacts, Start};
use crate::parser::github::run::{Concurrency, Queue};
use crate::parser::github::workflow::model::{Event, EventDetail, MAX_CANCELS, Token, Workflow};
use crate::pipeline::Secret;

/// A run: a workflow, the event that started it, and what is known here.
pub struct Run {
    /// What the caller knows.
    pub facts: RunFacts,
    event: Value,
    event_json: String,
    github: Entries,
    /// The same as a value, made once: every job asks for it.
    github_value: Value,
    vars: Value,
    root: Arc<Scope>,
    name: String,
}

/// A workflow and what it was called with.
#[derive(Debug)]
pub struct Scope {
    /// The workflow.
    pub workflow: Arc<Workflow>,
    /// The names of the calls that lead here, each with ` / ` after it.
    pub prefix: String,
    /// The name of the job that called it; empty for the run's own workflow.
    pub name: String,
    /// The keys of the jobs that called it.
    pub path: Vec<String>,
    /// The `inputs` context.
    pub inputs: Value,
    /// The secrets it may use.
    pub secrets: Vec<(String, Secret)>,
    /// The concurrency group of the job that called it.
    pub concurrency: Option<Concurrency>,
}

/// Names that hold no secret: debug switches.
const NOT_SECRET: [&str; 2] = ["ACTIONS_STEP_DEBUG", "ACTIONS_RUNNER_DEBUG"];

impl Run {
    /// The run of a workflow that an event starts.
    ///
    /// # Errors
    /// The payload that was given is none.
    pub fn new(workflow: Arc<Workflow>, facts: RunFacts, start: &Start) -> Result<Self, String> {
        let event = payload(&facts, start)?;
        let name = workflow.name.as_deref().filter(|name| !name.is_empty()).unwrap_or(&workflow.path).to_owned();
        let event_json = serde_json::to_string_pretty(&event).unwrap_or_default();
        let event = from_json(&event);
        let token = facts.secrets.iter().find(|(name, _)| name.eq_ignore_ascii_case("GITHUB_TOKEN"));
        let token = token.map_or("", |(_, token)| token.expose());
        let github = github::of_run(&facts, &event, &name, &workflow.path, token);
        let vars = Value::object(facts.vars.iter().map(|(key, value)| (key.as_str(), Value::text(value.as_str()))));
        let root = Arc::new(Scope {
            workflow,
            prefix: String::new(),
            name: String::new(),
            path: Vec::new(),
            inputs: start.inputs.clone(),
            secrets: facts.secrets.clone(),
            concurrency: None,
        });
        let github_value = Value::Object(Arc::new(Object::new(github.iter().cloned())));
        Ok(Self { facts, event, event_json, github, github_value, vars, root, name })
    }

    /// The workflow's name as the forge shows it.
    pub fn workflow_name(&self) -> &str {
        &self.name
    }

    /// The run's own workflow.
    pub fn root_scope(&self) -> &Arc<Scope> {
        &self.root
    }

    /// The payload as JSON.
    pub fn event_json(&self) -> String {
        self.event_json.clone()
    }

    /// The payload.
    pub fn event(&self) -> &Value {
        &self.event
    }

    /// The `github` context without what belongs to a job.
    pub(super) fn github(&self) -> &Entries {
        &self.github
    }

    /// The refs that caches belong to: the run's own, then those where it may look, too: of the branch that a proposal goes into, and of
    /// the default branch.
    pub fn cache_scopes(&self) -> (String, Vec<String>) {
        let value = |name: &str| self.github.iter().find(|(key, _)| &**key == name).map(|(_, value)| value.to_text());
        let text = |name: &str| value(name).map(|text| text.to_string()).unwrap_or_default();
        let branches = [text("base_ref"), self.facts.default_branch.clone()];
        let others = branches.into_iter().filter(|branch| !branch.is_empty());
        (text("ref"), others.map(|branch| format!("refs/heads/{branch}")).collect())
    }

    /// The concurrency group of the run itself.
    pub fn concurrency(&self) -> Option<Concurrency> {
        let token = self.root.workflow.concurrency.as_ref()?;
        concurrency(token, &self.names(&self.root)).ok().flatten()
    }

    /// What is known everywhere in a workflow: `github`, `vars`, `inputs`.
    pub fn names(&self, scope: &Scope) -> Names<'static> {
        Names::default()
            .with("github", self.github_value.clone())
            .with("vars", self.vars.clone())
            .with("inputs", scope.inputs.clone())
    }

    /// The `secrets` context of a workflow.
    pub(super) fn secrets(&self, scope: &Scope) -> Value {
        Value::object(scope.secrets.iter().map(|(key, value)| (key.as_str(), Value::text(value.expose()))))
    }

    /// All secrets that are to be hidden.
    pub(super) fn secret_texts(&self) -> impl Iterator<Item = &str> {
        let is_secret = |(name, _): &&(String, Secret)| !NOT_SECRET.contains(&name.as_str());
        self.facts.secrets.iter().filter(is_secret).map(|(_, secret)| secret.expose())
    }

    /// Whether debug lines are wanted.
    pub(super) fn is_debug(&self) -> bool {
        let is_yes = |value: &str| value.eq_ignore_ascii_case("true") || value == "1";
        let secret = self.facts.secrets.iter().find(|(name, _)| name == NOT_SECRET[0]).map(|(_, value)| value.expose());
        let var = self.facts.vars.iter().find(|(name, _)| name == NOT_SECRET[0]).map(|(_, value)| value.as_str());
        secret.or(var).is_some_and(is_yes)
    }
}

impl Scope {
    /// The outputs that the workflow gives to its caller: names and what they are.
    pub fn call_outputs(&self) -> impl Iterator<Item = (&str, &Token)> {
        let detail = self.workflow.event("workflow_call").map(|event: &Event| &event.detail);
        let outputs = match detail {
            Some(EventDetail::Call(call)) => call.outputs.as_slice(),
            _ => &[],
        };
        outputs.iter().map(|(name, token)| (name.as_str(), token))
    }
}

/// A concurrency group; an error where it has no name.
pub(super) fn concurrency(token: &Token, names: &Names<'_>) -> Result<Option<Concurrency>, String> {
    let value = names.value(token)?;
    let (group, cancel_in_progress, queue) = match &value {
        Value::Object(object) => {
            let group = object.get("group").map(plain).transpose()?.unwrap_or_default();
            let cancel = object.get("cancel-in-progress").map(truth).transpose()?.unwrap_or_default();
            let queue = object.get("queue").map(plain).transpose()?.unwrap_or_default();
            (group, cancel, queue)
        }
        other => (plain(other)?, false, String::new()),
    };
    if group.is_empty() {
        return Err("the name of the concurrency group is empty".into());
    }
    let queue = match queue.as_str() {
        "" | "single" => Queue::Single,
        "max" if cancel_in_progress => return Err(MAX_CANCELS.to_owned()),
        "max" => Queue::Max,
        other => return Err(format!("`queue` is `single` or `max`, not `{other}`")),
    };
    Ok(Some(Concurrency { group, cancel_in_progress, queue }))
}
