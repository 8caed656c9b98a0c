//! One job, or one leg of it, with all that its values are evaluated with.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::github::Entries;
use super::names::Names;
use super::run::{Run, Scope, concurrency};
use super::spec;
use crate::parser::document::Span;
use crate::parser::expression::analysis::{calls, uses_name};
use crate::parser::expression::{Expr, Value};
use crate::parser::github::events::inputs::call_inputs;
use crate::parser::github::matrix::{Combination, Matrix, leg_name};
use crate::parser::github::run::{
    Concurrency, ContainerSpec, DEFAULT_TIMEOUT, EnvironmentSpec, Fault, Leg, LegId, Place,
};
use crate::parser::github::workflow::model::{Call, CallSecrets, Job, RunDefaults, Step, StepsJob, Token, TokenKind};
use crate::pipeline::Secret;

/// What is wrong where a run was narrowed down to legs that a matrix has not.
pub const NO_COMBINATION: &str = "no combination of the matrix has the values that were asked for";

/// A job or a leg.
#[derive(Clone)]
pub struct JobScene {
    /// The run.
    pub run: Arc<Run>,
    scope: Arc<Scope>,
    at: usize,
    needs: Value,
    /// Nothing is executed: what only a run can tell is not known.
    is_rehearsal: bool,
    leg: LegPart,
}

/// What a leg has that its job has not.
#[derive(Clone, Default)]
struct LegPart {
    matrix: Value,
    strategy: StrategyPart,
    combination: Option<Combination>,
    place: Option<(u32, u32)>,
}

/// The `strategy` context of a leg: a value only once somebody asks.
#[derive(Clone, Default)]
struct StrategyPart {
    fail_fast: bool,
    max_parallel: usize,
    at: usize,
    total: usize,
    value: OnceLock<Value>,
}

impl StrategyPart {
    fn value(&self) -> Value {
        // What has not been taken apart into legs has none.
        if self.total == 0 {
            return Value::Null;
        }
        #[allow(clippy::cast_precision_loss, reason = "there are at most 256 legs")]
        let number = |number: usize| Value::Number(number as f64);
        let made = || {
            Value::object([
                ("fail-fast", Value::Bool(self.fail_fast)),
                ("job-index", number(self.at)),
                ("job-total", number(self.total)),
                ("max-parallel", number(self.max_parallel)),
            ])
        };
        self.value.get_or_init(made).clone()
    }
}

/// The strategy of a job, evaluated.
#[derive(Clone, Debug)]
pub struct Strategy {
    /// The legs; one without a matrix.
    pub legs: Vec<Option<Combination>>,
    /// The first failure ends the others.
    pub fail_fast: bool,
    /// So many legs at once.
    pub max_parallel: Option<usize>,
}

impl JobScene {
    /// A job of a workflow, with what it needs.
    pub fn new(run: Arc<Run>, scope: Arc<Scope>, at: usize, needs: Value, is_rehearsal: bool) -> Self {
        Self { run, scope, at, needs, is_rehearsal, leg: LegPart::default() }
    }

    /// One leg of it.
    #[must_use]
    pub fn leg(&self, strategy: &Strategy, at: usize) -> Self {
        let total = strategy.legs.len();
        let combination = strategy.legs.get(at).cloned().flatten();
        let strategy = StrategyPart {
            fail_fast: strategy.fail_fast,
            max_parallel: strategy.max_parallel.unwrap_or(total),
            at,
            total,
            value: OnceLock::new(),
        };
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let matrix = combination.as_ref().map_or(Value::Null, |combination| {
            Value::object(combination.values.iter().map(|(key, value)| (key.as_str(), value.clone())))
        });
        let place = combination.as_ref().map(|_| (small(at), small(total)));
        Self { leg: LegPart { matrix, strategy, combination, place }, ..self.clone() }
    }

    fn job(&self) -> Option<&Job> {
        self.scope.workflow.jobs.get(self.at)
    }

    fn steps_job(&self) -> Option<&StepsJob> {
        self.job()?.as_steps()
    }

    fn call(&self) -> Option<&Call> {
        self.job()?.as_call()
    }

    /// Whether it calls another workflow.
    pub fn is_call(&self) -> bool {
        self.call().is_some()
    }

    /// Its steps.
    pub fn job_steps(&self) -> &[Step] {
        self.job().map(Job::steps).unwrap_or_default()
    }

    /// Whether it runs in a container of its own.
    pub fn in_container(&self) -> bool {
        self.steps_job().is_some_and(|job| job.container.is_some())
    }

    /// What a job's own values see: what is known everywhere, `needs`, `strategy`, `matrix`.
    fn plain_names(&self) -> Names<'static> {
        self.run
            .names(&self.scope)
            .with("needs", self.needs.clone())
            .with("strategy", self.leg.strategy.value())
            .with("matrix", self.leg.matrix.clone())
    }

    /// What a value sees; nothing where it has no expressions.
    fn names_for(&self, token: &Token) -> Names<'static> {
        if token.has_expressions() { self.plain_names() } else { Names::default() }
    }

    /// The same and `secrets`.
    pub fn names(&self) -> Names<'static> {
        self.plain_names().with("secrets", self.run.secrets(&self.scope))
    }

    /// What its condition sees.
    pub fn condition_names(&self) -> Names<'static> {
        self.run.names(&self.scope).with("needs", self.needs.clone())
    }

    /// Its condition.
    pub fn condition(&self) -> Option<&Expr> {
        self.job().map(Job::condition)
    }

    /// Its condition cannot be evaluated.
    pub fn fault_of_condition(&self, problem: &str) -> Fault {
        let Some(condition) = self.job().map(|job| &job.condition) else { return problem.to_owned().into() };
        Fault::of_condition(condition, problem)
    }

    /// Its condition as it is written.
    pub fn condition_text(&self) -> Option<&str> {
        self.job()?.condition_text()
    }

    /// Whether its condition asks for what only a run can tell: outputs and results of jobs, whether one failed.
    pub fn asks_for_results(&self) -> bool {
        let Some(condition) = self.condition() else { return false };
        uses_name(condition, "needs") || calls(condition, &|name, _| matches!(name, "failure" | "cancelled"))
    }

    /// The texts that are to be hidden.
    pub fn secret_texts(&self) -> impl Iterator<Item = &str> {
        let own = self.scope.secrets.iter().map(|(_, secret)| secret.expose());
        self.run.secret_texts().chain(own.filter(|_| !self.scope.path.is_empty()))
    }

    /// Whether debug lines are wanted.
    pub fn is_debug(&self) -> bool {
        self.run.is_debug()
    }

    /// The `github` context of its steps.
    pub fn github(&self, place: &Place) -> Entries {
        let mut entries = self.run.github().clone();
        let key = self.job().map(Job::key).unwrap_or_default();
        let own = [("job", key), ("workspace", &place.workspace), ("event_path", &place.event_path)];
        entries.extend(own.map(|(key, value)| (Arc::from(key), Value::text(value))));
        entries
    }

    /// Environments of the workflow and the job, the job's last.
    pub fn environments(&self) -> impl Iterator<Item = &Token> {
        let job = self.steps_job().and_then(|job| job.env.as_ref());
        self.scope.workflow.env.as_ref().into_iter().chain(job)
    }

    /// `defaults.run`: the job's, else the workflow's; they are not laid over each other.
    pub fn run_defaults(&self) -> Option<&RunDefaults> {
        self.steps_job().and_then(|job| job.defaults.as_deref()).or(self.scope.workflow.defaults.as_ref())
    }

    /// The job's outputs.
    pub fn outputs(&self) -> Option<&Token> {
        self.steps_job()?.outputs.as_deref()
    }

    /// The address of its environment.
    pub fn environment_url(&self) -> Option<&Token> {
        self.steps_job()?.environment.as_ref()?.get("url")
    }

    /// Its name before its legs are known; with expressions that cannot be evaluated yet, as it is written.
    pub fn plain_name(&self) -> String {
        let Some(job) = self.job() else { return String::new() };
        let own = job.name.as_ref().map(|name| {
            let is_of_leg = token_uses(name, "matrix") || token_uses(name, "strategy");
            let text = if is_of_leg { None } else { self.names_for(name).text(name).ok() };
            text.unwrap_or_else(|| name.source().to_string())
        });
        let name = own.filter(|name| !name.is_empty()).unwrap_or_else(|| job.key().to_owned());
        format!("{}{name}", self.scope.prefix)
    }

    /// The name of a leg, without the calls before it.
    fn own_name(&self) -> String {
        let Some(job) = self.job() else { return String::new() };
        let key = job.key();
        let (base, is_computed) = match &job.name {
            None => (key.to_owned(), false),
            Some(name) => {
                let text = self.names_for(name).text(name).unwrap_or_else(|_| name.source().to_string());
                (text, name.is_expression())
            }
        };
        match &self.leg.combination {
            _ if is_computed && !base.is_empty() => base,
            Some(combination) => leg_name(if base.is_empty() { key } else { &base }, combination),
            None if base.is_empty() => key.to_owned(),
            None => base,
        }
    }

    /// The name the forge shows.
    pub fn name(&self) -> String {
        format!("{}{}", self.scope.prefix, self.own_name())
    }

    /// The strategy with its matrix.
    pub fn strategy(&self) -> Result<Strategy, Fault> {
        let Some(token) = self.job().and_then(|job| job.strategy.as_ref()) else { return Ok(Strategy::none()) };
        if self.is_rehearsal && token_uses(token, "needs") {
            return Ok(Strategy::none());
        }
        let value =
            self.condition_names().value(token).and_then(|value| Strategy::of(&value, &self.run.facts.only_legs));
        value.map_err(|problem| Fault::of("strategy", token, &problem))
    }

    /// The keys of the jobs of the files that lead to it, its own last.
    pub fn path(&self) -> Vec<String> {
        let mut path = self.scope.path.clone();
        path.extend(self.job().map(|job| job.key().to_owned()));
        path
    }

    /// Where its job stands.
    pub fn span(&self) -> Option<Span> {
        self.job().map(|job| job.span)
    }

    /// Its number in its matrix.
    pub fn index(&self) -> Option<u32> {
        self.leg.place.map(|(index, _)| index)
    }

    /// A leg of which no more is known than its name.
    pub fn to_unknown_leg(&self, id: LegId) -> Leg {
        Leg { strategy: self.strategy_place(), ..Leg::unknown(id, self.name(), self.path(), self.span()) }
    }

    /// The leg as the scheduler sees it.
    pub fn to_leg(&self, id: LegId) -> Result<Leg, Fault> {
        let job = self.job().ok_or_else(|| "there is no such job".to_owned())?;
        let steps = job.as_steps().ok_or_else(|| "it calls a workflow".to_owned())?;
        let runs_on =
            evaluated("runs-on", steps.runs_on.as_ref(), |token| spec::runs_on(&self.names_for(token).value(token)?))?;
        let container = evaluated("container", steps.container.as_deref(), |token| self.container(token))?;
        let services = evaluated("services", steps.services.as_deref(), |token| self.services(token))?;
        let timeout = evaluated("timeout-minutes", steps.timeout_minutes.as_deref(), |token| {
            self.names_for(token).number(token)
        })?;
        let may_fail = evaluated("continue-on-error", steps.continue_on_error.as_deref(), |token| {
            self.names_for(token).truth(token)
        })?;
        Ok(Leg {
            runs_on: runs_on.unwrap_or_default(),
            container: container.flatten(),
            services: services.unwrap_or_default(),
            environment: evaluated("environment", steps.environment.as_deref(), |token| self.environment(token))?
                .flatten(),
            timeout: timeout.filter(|minutes| *minutes > 0.0).map_or(DEFAULT_TIMEOUT, minutes),
            continue_on_error: may_fail.unwrap_or_default(),
            concurrency: self.concurrency(job)?,
            ..self.to_unknown_leg(id)
        })
    }

    fn strategy_place(&self) -> Option<(u32, u32, u32)> {
        self.leg.place.map(|(index, total)| (u32::try_from(self.at).unwrap_or(u32::MAX), index, total))
    }

    fn container(&self, token: &Token) -> Result<Option<ContainerSpec>, String> {
        // Credentials may use secrets and `env`; the rest of a container may not, and the check has told.
        spec::container(&self.names().with("env", self.workflow_env()).value(token)?, self.login())
    }

    fn services(&self, token: &Token) -> Result<Vec<(String, ContainerSpec)>, String> {
        spec::services(&self.names().with("env", self.workflow_env()).value(token)?, self.login())
    }

    /// Nobody gives secrets to a rehearsal, and nothing is pulled in it.
    fn login(&self) -> spec::Login {
        if self.is_rehearsal { spec::Login::LeftOut } else { spec::Login::Needed }
    }

    fn workflow_env(&self) -> Value {
        let names = self.names();
        let pairs = self.environments().filter_map(|token| names.pairs(token).ok()).flatten();
        Value::object(pairs.map(|(key, value)| (key, Value::text(value))))
    }

    fn environment(&self, token: &Token) -> Result<Option<EnvironmentSpec>, String> {
        let names = self.plain_names();
        let name = match &token.kind {
            TokenKind::Mapping(_) => token.get("name").map(|name| names.text(name)).transpose()?.unwrap_or_default(),
            _ => names.text(token)?,
        };
        let has_url = token.get("url").is_some();
        Ok((!name.is_empty()).then_some(EnvironmentSpec { name, has_url }))
    }

    fn concurrency(&self, job: &Job) -> Result<Option<Concurrency>, Fault> {
        Ok(evaluated("concurrency", job.concurrency.as_ref(), |token| concurrency(token, &self.names_for(token)))?
            .flatten())
    }

    /// The workflow that it calls, with what it is called with.
    pub fn called(&self) -> Result<Scope, Fault> {
        let job = self.job().ok_or_else(|| "there is no such job".to_owned())?;
        let call = job.as_call().ok_or_else(|| "it calls no workflow".to_owned())?;
        let Some(workflow) = &call.workflow else {
            let message = if is_local(&call.uses) {
                format!("the called workflow `{}` is not in this repository", call.uses)
            } else {
                format!(
                    "`{}` is a workflow of another repository, and nothing is fetched; copy it here and call it by its path",
                    call.uses
                )
            };
            return Err(Fault::elsewhere(message, call.span));
        };
        let interface = workflow
            .call_interface()
            .ok_or_else(|| format!("`{}` cannot be called: it lacks `on: workflow_call`", call.uses))?;
        let names = self.plain_names();
        let given = evaluated("with", call.with.as_ref(), |with| names.value(with))?;
        let inputs = call_inputs(&interface.inputs, given.as_ref(), &names)?;
        // Whether all that are required were handed over was checked; one without a value is none of the call's business.
        let secrets = match &call.secrets {
            CallSecrets::None => Vec::new(),
            CallSecrets::Inherit => self.scope.secrets.clone(),
            CallSecrets::Named(token) => {
                let pairs = self.names().pairs(token).map_err(|problem| Fault::of("secrets", token, &problem))?;
                let given = pairs.into_iter().filter(|(_, value)| !value.is_empty());
                given.map(|(key, value)| (key, Secret::new(value))).collect()
            }
        };
        let name = self.name();
        Ok(Scope {
            workflow: Arc::clone(workflow),
            prefix: format!("{name} / "),
            name,
            path: self.path(),
            inputs,
            secrets: with_token(secrets, &self.scope.secrets),
            concurrency: self.concurrency(job)?,
        })
    }
}

impl Strategy {
    /// That of a job that has none.
    pub fn none() -> Self {
        Strategy { legs: vec![None], fail_fast: true, max_parallel: None }
    }

    fn of(value: &Value, only: &[(String, String)]) -> Result<Self, String> {
        let Value::Object(strategy) = value else { return Ok(Self::none()) };
        let fail_fast = match strategy.get("fail-fast") {
            None | Some(Value::Null) => true,
            Some(Value::Bool(truth)) => *truth,
            Some(Value::Text(text)) => !text.eq_ignore_ascii_case("false"),
            Some(other) => return Err(format!("`fail-fast` must be a boolean, not {}", other.kind())),
        };
        let max_parallel = match strategy.get("max-parallel").map(Value::to_number) {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is cut to what fits")]
            Some(number) if number >= 1.0 => Some(number as usize),
            Some(number) if number.is_nan() => return Err("`max-parallel` must be a number".into()),
            _ => None,
        };
        let legs = match strategy.get("matrix") {
            None | Some(Value::Null) => vec![None],
            Some(matrix) => {
                let matrix = Matrix::of(matrix).map_err(|error| error.to_string())?;
                let mut all = matrix.combinations().map_err(|error| error.to_string())?;
                all.retain(|leg| is_asked_for(leg, only));
                if all.is_empty() {
                    return Err(NO_COMBINATION.into());
                }
                all.into_iter().map(Some).collect()
            }
        };
        Ok(Strategy { legs, fail_fast, max_parallel })
    }
}

/// Whether a combination has the values that the run was narrowed down to, where it has their keys.
fn is_asked_for(leg: &Combination, only: &[(String, String)]) -> bool {
    only.iter().all(|(key, wanted)| {
        let mut values = leg.values.iter().filter(|(own, _)| own.eq_ignore_ascii_case(key));
        values.all(|(_, value)| *value.to_text() == *wanted.as_str())
    })
}

/// The value of a key that a job may have.
fn evaluated<T>(
    key: &str,
    token: Option<&Token>,
    value: impl FnOnce(&Token) -> Result<T, String>,
) -> Result<Option<T>, Fault> {
    let Some(token) = token else { return Ok(None) };
    value(token).map(Some).map_err(|problem| Fault::of(key, token, &problem))
}

/// Whether a called workflow is a file of this repository.
fn is_local(uses: &str) -> bool {
    uses.starts_with("./") || uses.starts_with("$/")
}

/// The forge's token is there without being handed on.
fn with_token(mut secrets: Vec<(String, Secret)>, caller: &[(String, Secret)]) -> Vec<(String, Secret)> {
    const TOKEN: &str = "GITHUB_TOKEN";
    let is_token = |(name, _): &&(String, Secret)| name.eq_ignore_ascii_case(TOKEN);
    if !secrets.iter().any(|known| is_token(&known)) {
        secrets.extend(caller.iter().find(is_token).cloned());
    }
    secrets
}

/// Minutes, as long as a job may take at all.
fn minutes(minutes: f64) -> Duration {
    /// A month.
    const MOST: f64 = 31.0 * 24.0 * 60.0;
    Duration::from_secs_f64(minutes.clamp(0.0, MOST) * 60.0)
}

/// Whether an expression in a value uses a named value.
pub(super) fn token_uses(token: &Token, name: &str) -> bool {
    let mut is_used = false;
    token.exprs(&mut |expr, _| is_used |= uses_name(expr, name));
    is_used
}
