//! `steps`.

use std::borrow::Cow;

use smol_str::SmolStr;

use super::ids::{self, Ids};
use super::{Converter, uses};
use crate::parser::diagnostics::{Diagnostic, did_you_mean};
use crate::parser::document::Span;
use crate::parser::github::codes;
use crate::parser::github::schema::scope::ScopeSet;
use crate::parser::github::workflow::model::{Control, RunStep, Step, StepKind, UsesStep};
use crate::parser::github::workflow::token::{Pair, Token, TokenKind};

const CONDITION: ScopeSet = ScopeSet::RUNNING.and(ScopeSet::STATUS_OF_STEPS).and(ScopeSet::HASH_FILES);

/// The steps of a job as they are read.
#[derive(Default)]
struct Steps {
    list: Vec<Step>,
    ids: Ids,
    /// Ids of steps in the background.
    background: Vec<SmolStr>,
}

/// What a step's keys say, by their kinds.
#[derive(Default)]
struct Keys {
    id: Option<(SmolStr, Span)>,
    name: Option<Token>,
    condition: Option<Token>,
    env: Option<Token>,
    continue_on_error: Option<Token>,
    timeout_minutes: Option<Token>,
    background: bool,
    run: Option<Token>,
    shell: Option<Token>,
    working_directory: Option<Token>,
    uses: Option<Token>,
    with: Option<Token>,
    wait: Option<Token>,
    wait_all: Option<Token>,
    cancel: Option<Token>,
    parallel: Option<Token>,
}

impl Keys {
    fn of(pairs: Box<[Pair]>) -> Self {
        let mut keys = Self::default();
        for Pair { key, value } in pairs {
            match key.as_text().unwrap_or_default() {
                "id" => keys.id = value.as_text().map(|id| (SmolStr::from(id), value.span)),
                "name" => keys.name = Some(value),
                "if" => keys.condition = Some(value),
                "env" => keys.env = Some(value),
                "continue-on-error" => keys.continue_on_error = Some(value),
                "timeout-minutes" => keys.timeout_minutes = Some(value),
                "background" => keys.background = value.as_bool().unwrap_or(false),
                "run" => keys.run = Some(value),
                "shell" => keys.shell = Some(value),
                "working-directory" => keys.working_directory = Some(value),
                "uses" => keys.uses = Some(value),
                "with" => keys.with = Some(value),
                "wait" => keys.wait = Some(value),
                "wait-all" => keys.wait_all = Some(value),
                "cancel" => keys.cancel = Some(value),
                "parallel" => keys.parallel = Some(value),
                _ => {}
            }
        }
        keys
    }
}

impl Converter<'_, '_> {
    pub(super) fn steps(&mut self, token: Token) -> Vec<Step> {
        let TokenKind::Sequence(items) = token.kind else { return Vec::new() };
        let mut steps = Steps { list: Vec::with_capacity(items.len()), ..Steps::default() };
        for item in items {
            let span = item.span;
            let TokenKind::Mapping(pairs) = item.kind else { continue };
            self.step(&mut steps, Keys::of(pairs), span, false);
        }
        steps.name_the_rest();
        steps.list
    }

    fn step(&mut self, steps: &mut Steps, mut keys: Keys, span: Span, in_parallel: bool) {
        if let Some(parallel) = keys.parallel.take() {
            return self.parallel(steps, parallel, span, in_parallel);
        }
        if let Some((id, at)) = &keys.id
            && let Err(problem) = steps.ids.take(id)
        {
            let help = if steps.ids.has(id) { None } else { ids::proposal(id) };
            self.error_with(codes::ID, *at, problem, help);
        }
        if in_parallel {
            self.check_parallel(&keys, span);
        }
        let background = keys.background || in_parallel;
        if let Some(minutes) = &keys.timeout_minutes {
            self.check_minutes("timeout-minutes", minutes);
        }
        let condition = match &keys.condition {
            Some(condition) => self.condition(condition, CONDITION),
            None => self.no_condition(),
        };
        let kind = self.step_kind(steps, &mut keys);
        let id = keys.id.map(|(id, _)| id);
        if background && let Some(id) = &id {
            steps.background.push(id.clone());
        }
        // What it does is wrong or missing: all that it says besides is checked by now.
        let Some(kind) = kind else { return };
        steps.list.push(Step {
            unique_id: id.clone().unwrap_or_default(),
            id,
            span,
            name: keys.name,
            condition,
            env: keys.env.map(Box::new),
            continue_on_error: keys.continue_on_error.map(Box::new),
            timeout_minutes: keys.timeout_minutes.map(Box::new),
            background,
            kind,
        });
    }

    fn step_kind(&mut self, steps: &Steps, keys: &mut Keys) -> Option<StepKind> {
        if let Some(script) = keys.run.take() {
            let (shell, working_directory) = (keys.shell.take(), keys.working_directory.take());
            let (shell, working_directory) = (shell.map(Box::new), working_directory.map(Box::new));
            return Some(StepKind::Run(RunStep { script, shell, working_directory }));
        }
        if let Some(uses) = keys.uses.take() {
            let action = SmolStr::from(uses.as_text()?);
            self.check_action(&action, uses.span);
            return Some(StepKind::Uses(UsesStep { action, span: uses.span, with: keys.with.take() }));
        }
        let own = keys.id.as_ref().map(|(id, _)| id.as_str());
        if let Some(wait) = keys.wait.take() {
            return Some(StepKind::Control(Control::Wait(self.targets(steps, &wait, own))));
        }
        if let Some(all) = keys.wait_all.take() {
            if all.as_bool() == Some(false) {
                let help = "take the step out if it shall not wait";
                self.error_with(
                    codes::STEP_TARGET,
                    all.span,
                    "The value of 'wait-all' must be true or omitted",
                    Some(help),
                );
            }
            return Some(StepKind::Control(Control::WaitAll));
        }
        let cancel = keys.cancel.take()?;
        Some(StepKind::Control(Control::Cancel(self.targets(steps, &cancel, own))))
    }

    /// The ids that a `wait` or `cancel` names.
    fn targets(&mut self, steps: &Steps, token: &Token, own: Option<&str>) -> Vec<SmolStr> {
        let mut targets = Vec::new();
        for (id, span) in token.texts() {
            if id.starts_with("__") {
                let message = format!("The identifier '{id}' is invalid. IDs starting with '__' are reserved.");
                self.error(codes::STEP_TARGET, span, message);
            } else if own.is_some_and(|own| own.eq_ignore_ascii_case(id)) {
                self.error(codes::STEP_TARGET, span, format!("Step '{id}' cannot reference itself"));
            } else if !steps.ids.has(id) {
                let help = did_you_mean(id, steps.ids.taken())
                    .unwrap_or_else(|| "it has to be the `id` of a step before this one".to_owned());
                let message = format!("Step references unknown step ID '{id}'");
                self.error_with(codes::STEP_TARGET, span, message, Some(help));
            } else if !steps.background.iter().any(|known| known.eq_ignore_ascii_case(id)) {
                let message = format!("step `{id}` does not run in the background: it is over when this step begins");
                let help = "write `background: true` at that step, or take this one out";
                self.tell(Diagnostic::warning(codes::STEP_TARGET, span, message).help(help));
            }
            targets.push(id.clone());
        }
        targets
    }

    /// A `parallel` block: its steps in the background, and a wait for all of them.
    fn parallel(&mut self, steps: &mut Steps, block: Token, span: Span, in_parallel: bool) {
        if in_parallel {
            self.error(codes::STEP_TARGET, span, "Nested 'parallel' blocks are not allowed.");
            return;
        }
        let TokenKind::Sequence(items) = block.kind else { return };
        let from = steps.list.len();
        for item in items {
            let inner = item.span;
            let TokenKind::Mapping(pairs) = item.kind else { continue };
            self.step(steps, Keys::of(pairs), inner, true);
        }
        steps.name_the_rest();
        let ids = steps.list.get(from..).unwrap_or_default().iter().map(|step| step.unique_id.clone()).collect();
        steps.list.push(Step {
            id: None,
            unique_id: SmolStr::default(),
            span,
            name: None,
            condition: self.no_condition(),
            env: None,
            continue_on_error: None,
            timeout_minutes: None,
            background: false,
            kind: StepKind::Control(Control::Wait(ids)),
        });
    }

    fn check_parallel(&mut self, keys: &Keys, span: Span) {
        let problems = [
            (
                keys.background,
                "'background' is not allowed inside a parallel block. Steps in a parallel block are automatically run as background \
                 steps.",
            ),
            (keys.wait.is_some(), "'wait' is not allowed inside a parallel block."),
            (keys.wait_all.is_some(), "'wait-all' is not allowed inside a parallel block."),
            (keys.cancel.is_some(), "'cancel' is not allowed inside a parallel block."),
        ];
        for (_, message) in problems.iter().filter(|(is_there, _)| *is_there) {
            self.error(codes::STEP_TARGET, span, *message);
        }
    }
}

impl Steps {
    /// Gives ids to those that have none.
    fn name_the_rest(&mut self) {
        for step in &mut self.list {
            if step.unique_id.is_empty() {
                step.unique_id = self.ids.make(&what(&step.kind));
            }
        }
    }
}

/// What a step does, for its id.
fn what(kind: &StepKind) -> Cow<'_, str> {
    match kind {
        StepKind::Run(_) => "run".into(),
        StepKind::Uses(step) => {
            if let Some(image) = step.action.strip_prefix("docker://") {
                return image.into();
            }
            if uses::is_local(&step.action) {
                return "self".into();
            }
            let named = uses::owner_and_repository(&step.action);
            named.map_or("run".into(), |(owner, repository)| format!("{owner}/{repository}").into())
        }
        StepKind::Control(Control::Wait(_)) => "wait".into(),
        StepKind::Control(Control::WaitAll) => "wait-all".into(),
        StepKind::Control(Control::Cancel(_)) => "cancel".into(),
    }
}
