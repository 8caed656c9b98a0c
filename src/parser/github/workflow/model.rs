//! What a workflow says, as far as it is known before it runs.
//!
//! Texts that may hold expressions are [`Token`]s: checked when they are read, evaluated by whoever runs the workflow. Where a
//! whole part may be one expression (`strategy: ${{ fromJSON(…) }}`), the part is a token too, and has one shape after evaluation.

use std::sync::Arc;

use smol_str::SmolStr;

pub use super::token::{Pair, Token, TokenKind};
use crate::parser::document::Span;
use crate::parser::expression::Expr;

/// A workflow.
#[derive(Clone, Debug)]
pub struct Workflow {
    /// Its file, relative to the project's root.
    pub path: Arc<str>,
    /// `name`.
    pub name: Option<SmolStr>,
    /// `run-name`: text.
    pub run_name: Option<Token>,
    /// `on`, in the order of the file.
    pub events: Vec<Event>,
    /// `permissions`.
    pub permissions: Option<Permissions>,
    /// `env`: a mapping of texts, or an expression that makes one.
    pub env: Option<Token>,
    /// `defaults.run`.
    pub defaults: Option<RunDefaults>,
    /// `concurrency`: a text (the group), or a mapping of `group`, `cancel-in-progress` and `queue`.
    pub concurrency: Option<Token>,
    /// `jobs`, in the order of the file.
    pub jobs: Vec<Job>,
}

/// What is wrong with both in one `concurrency`.
pub const MAX_CANCELS: &str = "'queue: max' cannot be combined with 'cancel-in-progress: true'.";

/// What starts a workflow.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its name: `push`.
    pub name: SmolStr,
    /// Where the name stands.
    pub span: Span,
    /// Its filters, as texts; of `schedule` and the events with inputs none.
    pub filters: EventFilters,
    /// What belongs to this event alone.
    pub detail: EventDetail,
}

/// Filters of an event; `None` where the key is not there.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "each is the key of its name")]
pub struct EventFilters {
    pub branches: Option<Vec<SmolStr>>,
    pub branches_ignore: Option<Vec<SmolStr>>,
    pub tags: Option<Vec<SmolStr>>,
    pub tags_ignore: Option<Vec<SmolStr>>,
    pub paths: Option<Vec<SmolStr>>,
    pub paths_ignore: Option<Vec<SmolStr>>,
    pub types: Option<Vec<SmolStr>>,
    pub workflows: Option<Vec<SmolStr>>,
    pub names: Option<Vec<SmolStr>>,
    pub versions: Option<Vec<SmolStr>>,
}

/// What belongs to one event alone.
#[derive(Clone, Debug, Default)]
pub enum EventDetail {
    /// Nothing.
    #[default]
    None,
    /// `schedule`.
    Schedule(Vec<Schedule>),
    /// `workflow_dispatch`: its inputs.
    Dispatch(Vec<Input>),
    /// `workflow_call`.
    Call(CallInterface),
}

/// One line of `schedule`.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Five fields.
    pub cron: SmolStr,
    /// An IANA name.
    pub timezone: Option<SmolStr>,
}

/// An input of `workflow_dispatch` or `workflow_call`.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its name as it is written.
    pub name: SmolStr,
    /// Where the name stands.
    pub span: Span,
    /// What it takes.
    pub kind: InputType,
    /// Whether there must be a value.
    pub required: bool,
    /// The value where none is given.
    pub default: Option<Token>,
    /// The values of a choice.
    pub options: Vec<SmolStr>,
    /// For people.
    pub description: Option<SmolStr>,
}

/// What an input takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InputType {
    /// Any text.
    #[default]
    Text,
    /// A truth.
    Bool,
    /// A number.
    Number,
    /// One of its options.
    Choice,
    /// The name of an environment.
    Environment,
}

/// What a called workflow takes and gives.
#[derive(Clone, Debug, Default)]
pub struct CallInterface {
    /// What it takes.
    pub inputs: Vec<Input>,
    /// Secrets it takes.
    pub secrets: Vec<CallSecret>,
    /// What it gives: names and texts.
    pub outputs: Vec<(SmolStr, Token)>,
}

/// A secret of a called workflow.
#[derive(Clone, Debug)]
pub struct CallSecret {
    /// Its name.
    pub name: SmolStr,
    /// Whether there must be a value.
    pub required: bool,
}

/// `permissions`.
#[derive(Clone, Debug)]
pub struct Permissions {
    /// Where they stand.
    pub span: Span,
    /// What they are.
    pub kind: PermissionKind,
}

/// What permissions are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PermissionKind {
    /// `read-all`.
    ReadAll,
    /// `write-all`.
    WriteAll,
    /// By scope; what is not named is none.
    Scopes(Vec<(SmolStr, Access)>),
}

/// What may be done with a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is its word")]
pub enum Access {
    None,
    Read,
    Write,
}

/// `defaults.run`.
#[derive(Clone, Debug, Default)]
pub struct RunDefaults {
    /// The shell of steps that name none: text.
    pub shell: Option<Token>,
    /// The folder of steps that name none: text.
    pub working_directory: Option<Token>,
    /// All of it as one expression, which makes a mapping of the two.
    pub computed: Option<Token>,
}

/// A job.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its key.
    pub id: SmolStr,
    /// Where the key stands.
    pub span: Span,
    /// `name`: text.
    pub name: Option<Token>,
    /// `needs`: keys of jobs, with their places.
    pub needs: Vec<(SmolStr, Span)>,
    /// `if`.
    pub condition: Condition,
    /// `permissions`.
    pub permissions: Option<Permissions>,
    /// `concurrency`: as that of the workflow.
    pub concurrency: Option<Token>,
    /// `strategy`: a mapping of `matrix`, `fail-fast` and `max-parallel`.
    pub strategy: Option<Token>,
    /// What it does.
    pub kind: JobKind,
}

/// What a job does.
#[derive(Clone, Debug)]
pub enum JobKind {
    /// It runs steps.
    Steps(Box<StepsJob>),
    /// It calls another workflow.
    Call(Box<Call>),
}

/// A job of steps. What few have is boxed, here and in [`Step`]: there may be many.
#[derive(Clone, Debug, Default)]
pub struct StepsJob {
    /// `runs-on`: a text, a list of texts, or a mapping of `group` and `labels`. `None` only where the dialect allows it.
    pub runs_on: Option<Token>,
    /// `environment`: a text (the name), or a mapping of `name`, `url` and `deployment`.
    pub environment: Option<Box<Token>>,
    /// `env`: a mapping of texts, or an expression that makes one.
    pub env: Option<Token>,
    /// `outputs`: a mapping of texts.
    pub outputs: Option<Box<Token>>,
    /// `defaults.run`.
    pub defaults: Option<Box<RunDefaults>>,
    /// `container`: a text (the image), or a mapping of `image`, `env`, `ports`, `volumes`, `options` and `credentials`.
    pub container: Option<Box<Token>>,
    /// `services`: names, each with what `container` takes, and `command` and `entrypoint`.
    pub services: Option<Box<Token>>,
    /// `timeout-minutes`: a number.
    pub timeout_minutes: Option<Box<Token>>,
    /// `cancel-timeout-minutes`: a number.
    pub cancel_timeout_minutes: Option<Box<Token>>,
    /// `continue-on-error`: a truth.
    pub continue_on_error: Option<Box<Token>>,
    /// `snapshot`: a text (the image's name), or a mapping of `image-name`, `version` and `if`.
    pub snapshot: Option<Box<Token>>,
    /// `steps`, those of `parallel` blocks in their place.
    pub steps: Vec<Step>,
}

/// A call of another workflow.
#[derive(Clone, Debug)]
pub struct Call {
    /// `uses`, as it is written.
    pub uses: SmolStr,
    /// Where it stands.
    pub span: Span,
    /// `with`: a mapping of values.
    pub with: Option<Token>,
    /// `secrets`.
    pub secrets: CallSecrets,
    /// The called workflow, where it is a file of this project that could be read.
    pub workflow: Option<Arc<Workflow>>,
}

/// Which secrets a called workflow gets.
#[derive(Clone, Debug, Default)]
pub enum CallSecrets {
    /// None.
    #[default]
    None,
    /// All.
    Inherit,
    /// These: a mapping of values.
    Named(Token),
}

/// `if`.
#[derive(Clone, Debug)]
pub struct Condition {
    /// What must hold; `success() && (…)` around what asks for no status itself, `success()` alone where nothing is written.
    pub expr: Arc<Expr>,
    /// As it is written, without `${{ }}`; `None` where nothing is.
    pub text: Option<SmolStr>,
    /// Where it is written.
    pub span: Option<Span>,
}

/// A step.
#[derive(Clone, Debug)]
pub struct Step {
    /// `id`, as it is written.
    pub id: Option<SmolStr>,
    /// The id that it has in any case: its own, or one made from what it does (`__run`, `__run_2`, `__actions_checkout`).
    pub unique_id: SmolStr,
    /// Where it stands.
    pub span: Span,
    /// `name`: text.
    pub name: Option<Token>,
    /// `if`.
    pub condition: Condition,
    /// `env`: a mapping of texts, or an expression that makes one.
    pub env: Option<Box<Token>>,
    /// `continue-on-error`: a truth.
    pub continue_on_error: Option<Box<Token>>,
    /// `timeout-minutes`: a number.
    pub timeout_minutes: Option<Box<Token>>,
    /// `background`: the next step does not wait for it.
    pub background: bool,
    /// What it does.
    pub kind: StepKind,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum StepKind {
    /// Runs a script.
    Run(RunStep),
    /// Runs an action.
    Uses(UsesStep),
    /// Says what becomes of background steps.
    Control(Control),
}

/// A script.
#[derive(Clone, Debug)]
pub struct RunStep {
    /// `run`: text.
    pub script: Token,
    /// `shell`: text.
    pub shell: Option<Box<Token>>,
    /// `working-directory`: text.
    pub working_directory: Option<Box<Token>>,
}

/// An action.
#[derive(Clone, Debug)]
pub struct UsesStep {
    /// `uses`, as it is written.
    pub action: SmolStr,
    /// Where it stands.
    pub span: Span,
    /// `with`: a mapping of texts, or an expression that makes one.
    pub with: Option<Token>,
}

/// What becomes of background steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Waits for those of these ids, which are `unique_id`s.
    Wait(Vec<SmolStr>),
    /// Waits for all.
    WaitAll,
    /// Ends those of these ids, which are `unique_id`s.
    Cancel(Vec<SmolStr>),
}

impl Workflow {
    /// The event of this name, if it starts the workflow.
    pub fn event(&self, name: &str) -> Option<&Event> {
        self.events.iter().find(|event| event.name == name)
    }

    /// What it takes and gives when it is called; `None` where it cannot be.
    pub fn call_interface(&self) -> Option<CallInterface> {
        match &self.event("workflow_call")?.detail {
            EventDetail::Call(interface) => Some(interface.clone()),
            _ => Some(CallInterface::default()),
        }
    }

    /// The inputs of `workflow_dispatch`.
    pub fn dispatch_inputs(&self) -> &[Input] {
        match self.event("workflow_dispatch").map(|event| &event.detail) {
            Some(EventDetail::Dispatch(inputs)) => inputs,
            _ => &[],
        }
    }

    /// The job of this key, whatever its case.
    pub fn job(&self, id: &str) -> Option<&Job> {
        self.jobs.iter().find(|job| job.id.eq_ignore_ascii_case(id))
    }
}

impl Job {
    /// Its key.
    pub fn key(&self) -> &str {
        &self.id
    }

    /// The keys of the jobs it needs.
    pub fn needs(&self) -> impl Iterator<Item = &str> {
        self.needs.iter().map(|(id, _)| id.as_str())
    }

    /// Its steps; none where it calls a workflow.
    pub fn steps(&self) -> &[Step] {
        match &self.kind {
            JobKind::Steps(job) => &job.steps,
            JobKind::Call(_) => &[],
        }
    }

    /// What it does, where it runs steps.
    pub fn as_steps(&self) -> Option<&StepsJob> {
        match &self.kind {
            JobKind::Steps(job) => Some(job),
            JobKind::Call(_) => None,
        }
    }

    /// The call, where it is one.
    pub fn as_call(&self) -> Option<&Call> {
        match &self.kind {
            JobKind::Steps(_) => None,
            JobKind::Call(call) => Some(call),
        }
    }

    /// What must hold.
    pub fn condition(&self) -> &Expr {
        &self.condition.expr
    }

    /// The condition as it is written.
    pub fn condition_text(&self) -> Option<&str> {
        self.condition.text.as_deref()
    }
}

impl Step {
    /// Its id, where it has one.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// `name`.
    pub fn name(&self) -> Option<&Token> {
        self.name.as_ref()
    }

    /// `env`.
    pub fn env(&self) -> Option<&Token> {
        self.env.as_deref()
    }

    /// `timeout-minutes`.
    pub fn timeout(&self) -> Option<&Token> {
        self.timeout_minutes.as_deref()
    }

    /// `continue-on-error`.
    pub fn continue_on_error(&self) -> Option<&Token> {
        self.continue_on_error.as_deref()
    }

    /// Whether the next step does not wait for it.
    pub fn background(&self) -> bool {
        self.background
    }

    /// What it does.
    pub fn kind(&self) -> &StepKind {
        &self.kind
    }

    /// What must hold.
    pub fn condition(&self) -> &Expr {
        &self.condition.expr
    }

    /// The condition as it is written.
    pub fn condition_text(&self) -> Option<&str> {
        self.condition.text.as_deref()
    }
}
