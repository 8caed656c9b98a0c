//! Called workflows: they are read, and what is handed over is compared with what they take.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use smol_str::SmolStr;

use super::Checker;
use crate::parser::diagnostics::{Diagnostic, did_you_mean};
use crate::parser::document::{FileId, Span};
use crate::parser::github::codes;
use crate::parser::github::workflow::model::{Call, CallInterface, CallSecrets, InputType, JobKind, Workflow};
use crate::parser::github::workflow::token::{Pair, Token, TokenKind};

/// Calls of one run that are looked at: each called workflow can call several again.
const MOST_CALLS: usize = 2_000;

/// The workflows that were called so far.
#[derive(Default)]
pub(super) struct Called {
    known: HashMap<SmolStr, Found>,
    /// Those whose calls are being looked at.
    open: HashSet<SmolStr>,
    level: usize,
    count: usize,
    is_too_deep: bool,
}

/// What became of a called workflow.
#[derive(Clone)]
enum Found {
    Workflow {
        workflow: Arc<Workflow>,
        /// Levels of calls below it.
        height: usize,
    },
    /// It is not there, or nothing could be read of it.
    Nothing,
}

impl Checker<'_> {
    /// Reads what a workflow calls; the levels of calls in it.
    pub(super) fn calls(&mut self, workflow: &mut Workflow, file: FileId) -> usize {
        let mut height = 0;
        for job in &mut workflow.jobs {
            let JobKind::Call(call) = &mut job.kind else { continue };
            height = height.max(1);
            if let Some((called, below)) = self.called_workflow(call) {
                height = height.max(below + 1);
                self.compare(call, &called, file);
                call.workflow = Some(called);
            }
        }
        height
    }

    fn called_workflow(&mut self, call: &Call) -> Option<(Arc<Workflow>, usize)> {
        self.called.count += 1;
        if self.called.count > MOST_CALLS {
            return None;
        }
        let max = self.options.max_calls;
        if self.called.level >= max {
            self.too_deep(call.span);
            return None;
        }
        let key = key_of(&call.uses);
        if self.called.open.contains(&key) {
            let message =
                format!("`{}` is called by itself: workflows that call each other in a circle never end", call.uses);
            let help = "move what both need into a third workflow";
            self.diagnostics.push(Diagnostic::error(codes::CALLED_WORKFLOW, call.span, message).help(help));
            return None;
        }
        if !self.called.known.contains_key(&key) {
            let found = self.read_called(call, &key);
            self.called.known.insert(key.clone(), found);
        }
        let Found::Workflow { workflow, height } = self.called.known.get(&key).cloned()? else { return None };
        if self.called.level + 1 + height > max {
            self.too_deep(call.span);
        }
        Some((workflow, height))
    }

    fn too_deep(&mut self, span: Span) {
        if std::mem::replace(&mut self.called.is_too_deep, true) {
            return;
        }
        let max = self.options.max_calls;
        let message = format!("Nested reusable workflow depth exceeded {max}.");
        let help = "call fewer workflows from within called ones";
        self.diagnostics.push(Diagnostic::error(codes::LIMIT, span, message).help(help));
    }

    fn read_called(&mut self, call: &Call, key: &SmolStr) -> Found {
        let Some(text) = self.called_text(call, key) else { return Found::Nothing };
        let text = super::without_mark(&text);
        let file = self.sources.add(key.as_str(), text);
        let Some(mut workflow) = self.workflow(key, text, file) else { return Found::Nothing };
        self.called.open.insert(key.clone());
        self.called.level += 1;
        let height = self.calls(&mut workflow, file);
        self.called.level -= 1;
        self.called.open.remove(key);
        Found::Workflow { workflow: Arc::new(workflow), height }
    }

    fn called_text(&mut self, call: &Call, key: &SmolStr) -> Option<String> {
        if !is_local(&call.uses) {
            return self.options.elsewhere.and_then(|elsewhere| elsewhere.text(&call.uses));
        }
        // It takes no version, which is told already.
        if key.contains('@') {
            return None;
        }
        let problem = match self.files.read(key) {
            Ok(Some(bytes)) => match String::from_utf8(bytes) {
                Ok(text) => return Some(text),
                Err(_) => "it is not UTF-8 text".to_owned(),
            },
            Ok(None) => "there is no such file".to_owned(),
            Err(error) => error.problem,
        };
        let message = format!("the called workflow `{key}` cannot be read: {problem}");
        let list = self.files.list().ok();
        let names = list.iter().flat_map(|list| list.iter()).map(String::as_str);
        let help = did_you_mean(key, names.filter(|name| name.ends_with(".yml") || name.ends_with(".yaml")));
        self.diagnostics.push(Diagnostic::note(codes::CALLED_WORKFLOW, call.span, message).maybe_help(help));
        None
    }

    fn compare(&mut self, call: &Call, called: &Workflow, _file: FileId) {
        let Some(interface) = called.call_interface() else {
            let message = "workflow_call key is not defined in the referenced workflow.";
            let help = format!("write `on: workflow_call` in `{}`", called.path);
            self.diagnostics.push(Diagnostic::error(codes::CALLED_WORKFLOW, call.span, message).help(help));
            return;
        };
        self.compare_inputs(call, &interface);
        self.compare_secrets(call, &interface);
    }

    fn compare_inputs(&mut self, call: &Call, interface: &CallInterface) {
        let given = pairs(call.with.as_ref());
        let is_computed =
            call.with.as_ref().is_some_and(Token::is_expression) || given.iter().any(|pair| pair.key.is_expression());
        for input in interface.inputs.iter().filter(|input| input.required && !is_computed) {
            if !given.iter().any(|pair| names(pair, &input.name)) {
                let message = format!("Input {} is required, but not provided while calling.", input.name);
                let help = format!("add `{}:` under `with:`", input.name);
                self.diagnostics.push(Diagnostic::error(codes::CALL, call.span, message).help(help));
            }
        }
        for pair in given.iter().filter(|pair| !pair.key.is_expression()) {
            let name = pair.key.source();
            match interface.inputs.iter().find(|input| names(pair, &input.name)) {
                None => {
                    let message = format!("Invalid input, {name} is not defined in the referenced workflow.");
                    let known = interface.inputs.iter().map(|input| input.name.as_str());
                    let help = did_you_mean(&name, known);
                    self.diagnostics.push(Diagnostic::error(codes::CALL, pair.value.span, message).maybe_help(help));
                }
                Some(input) if !takes(input.kind, &pair.value) => {
                    let message = format!("Unexpected value '{}'", pair.value.source());
                    let wanted = if input.kind == InputType::Bool { "`true` or `false`" } else { "a number" };
                    let help = format!("the input `{}` takes {wanted}, without quotes", input.name);
                    self.diagnostics.push(Diagnostic::error(codes::CALL, pair.value.span, message).help(help));
                }
                Some(_) => {}
            }
        }
    }

    fn compare_secrets(&mut self, call: &Call, interface: &CallInterface) {
        let given = match &call.secrets {
            CallSecrets::Inherit => return,
            CallSecrets::None => &[],
            CallSecrets::Named(token) => pairs(Some(token)),
        };
        for secret in interface.secrets.iter().filter(|secret| secret.required) {
            if !given.iter().any(|pair| pair.key.is_expression() || names(pair, &secret.name)) {
                let message = format!("Secret {} is required, but not provided while calling.", secret.name);
                let help = format!("add `{}:` under `secrets:`, or write `secrets: inherit`", secret.name);
                self.diagnostics.push(Diagnostic::error(codes::CALL, call.span, message).help(help));
            }
        }
        for pair in given.iter().filter(|pair| !pair.key.is_expression()) {
            let name = pair.key.source();
            if !interface.secrets.iter().any(|secret| names(pair, &secret.name)) {
                let message = format!("Invalid secret, {name} is not defined in the referenced workflow.");
                let help = did_you_mean(&name, interface.secrets.iter().map(|secret| secret.name.as_str()));
                self.diagnostics.push(Diagnostic::error(codes::CALL, pair.value.span, message).maybe_help(help));
            }
        }
    }
}

fn pairs(token: Option<&Token>) -> &[Pair] {
    token.and_then(Token::as_mapping).unwrap_or_default()
}

fn names(pair: &Pair, name: &str) -> bool {
    pair.key.as_text().is_some_and(|key| key.eq_ignore_ascii_case(name))
}

/// Whether a literal is what an input takes; what is evaluated later is.
fn takes(kind: InputType, value: &Token) -> bool {
    match kind {
        InputType::Bool => value.is_expression() || matches!(value.kind, TokenKind::Bool(_)),
        InputType::Number => value.is_expression() || matches!(value.kind, TokenKind::Number(_)),
        InputType::Text | InputType::Choice | InputType::Environment => true,
    }
}

fn is_local(uses: &str) -> bool {
    uses.starts_with("./") || uses.starts_with("$/")
}

/// What a workflow is known by: the path in the project, or `uses` as it is written.
fn key_of(uses: &str) -> SmolStr {
    uses.strip_prefix("./").or_else(|| uses.strip_prefix("$/")).unwrap_or(uses).into()
}
