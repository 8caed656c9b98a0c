//! From tokens to the model, with every error that the schema cannot tell.
//!
//! What the schema refused is passed over here without another word: its error is told already.

mod condition;
mod containers;
mod cron;
mod events;
mod ids;
mod inputs;
mod jobs;
mod needs;
mod permissions;
mod runs_on;
mod steps;
mod uses;

use std::collections::HashMap;
use std::sync::Arc;

use smol_str::SmolStr;

use super::model::{Condition, Job, MAX_CANCELS, RunDefaults, Workflow};
use super::token::{Pair, Token, TokenKind};
use crate::parser::diagnostics::{Code, Diagnostic};
use crate::parser::document::{Node, Span};
use crate::parser::expression::{Dialect as Language, Expr, parse};
use crate::parser::github::codes;
use crate::parser::github::dialect::Dialect;
use crate::parser::github::schema::jobs::TakeJobs;
use crate::parser::github::schema::reader::Reader;
use crate::parser::github::schema::scope::ScopeSet;
use crate::parser::github::schema::workflow::ROOT;

pub use cron::is_valid as is_valid_cron;
pub use permissions::SCOPES as PERMISSION_SCOPES;

/// The workflow of a document; `None` where it is none. Findings go to the reader's diagnostics.
pub fn convert(reader: &mut Reader<'_>, root: Node, path: Arc<str>, dialect: Dialect) -> Option<Workflow> {
    let mut jobs = Jobs { known: Known::new(), dialect, list: Vec::new() };
    let root = reader.read(root, &ROOT, &mut jobs);
    let Jobs { mut known, list, .. } = jobs;
    Converter { reader, dialect, known: &mut known }.workflow(root, list, path)
}

/// The jobs so far.
struct Jobs {
    known: Known,
    dialect: Dialect,
    list: Vec<Job>,
}

impl TakeJobs for Jobs {
    fn expect(&mut self, count: usize) {
        self.list.reserve(count);
    }

    fn take(&mut self, reader: &mut Reader<'_>, job: Pair) {
        let mut converter = Converter { reader, dialect: self.dialect, known: &mut self.known };
        self.list.extend(converter.job(job));
    }

    fn fork(&self) -> Self {
        Self { known: Known::new(), dialect: self.dialect, list: Vec::new() }
    }

    fn append(&mut self, later: Self) {
        self.list.extend(later.list);
    }
}

/// What many jobs and steps share.
struct Known {
    /// Conditions that were read already: jobs and steps often have the same.
    conditions: HashMap<(SmolStr, ScopeSet), Arc<Expr>>,
    /// `success()`, which most jobs and steps have for a condition.
    success: Arc<Expr>,
}

impl Known {
    fn new() -> Self {
        let success = parse("success()", Language::GitHub);
        let empty = || Expr { text: SmolStr::default(), dialect: Language::GitHub, root: None };
        Self { conditions: HashMap::new(), success: Arc::new(success.unwrap_or_else(|_| empty())) }
    }
}

/// Turns tokens into the model.
struct Converter<'r, 'd> {
    reader: &'r mut Reader<'d>,
    dialect: Dialect,
    known: &'r mut Known,
}

impl Converter<'_, '_> {
    fn workflow(&mut self, root: Token, jobs: Vec<Job>, path: Arc<str>) -> Option<Workflow> {
        let TokenKind::Mapping(pairs) = root.kind else { return None };
        let mut jobs = Some(jobs);
        let mut workflow = Workflow {
            path,
            name: None,
            run_name: None,
            events: Vec::new(),
            permissions: None,
            env: None,
            defaults: None,
            concurrency: None,
            jobs: Vec::new(),
        };
        for Pair { key, value } in pairs {
            match key.as_text() {
                Some("name") => workflow.name = value.as_text().map(SmolStr::from).filter(|name| !name.is_empty()),
                Some("run-name") => workflow.run_name = Some(value),
                Some("on") => workflow.events = self.events(value),
                Some("permissions") => workflow.permissions = permissions::read(&value),
                Some("env") => workflow.env = Some(value),
                Some("defaults") => workflow.defaults = run_defaults(&value),
                Some("concurrency") => workflow.concurrency = Some(self.check_concurrency(value)),
                Some("jobs") if matches!(value.kind, TokenKind::Mapping(_)) => {
                    workflow.jobs = jobs.take().unwrap_or_default();
                    self.check_needs(&workflow.jobs, value.span);
                }
                _ => {}
            }
        }
        self.check_groups(&workflow);
        Some(workflow)
    }

    pub(super) fn no_condition(&self) -> Condition {
        Condition { expr: Arc::clone(&self.known.success), text: None, span: None }
    }

    pub(super) fn error(&mut self, code: Code, span: Span, message: impl Into<String>) {
        self.tell(Diagnostic::error(code, span, message));
    }

    fn check_concurrency(&mut self, concurrency: Token) -> Token {
        let is_max = |pair: &&Pair| pair.key.as_text() == Some("queue") && pair.value.as_text() == Some("max");
        let queue = concurrency.as_mapping().unwrap_or_default().iter().find(is_max).map(|pair| &pair.key);
        let cancels = concurrency.get("cancel-in-progress").and_then(Token::as_bool) == Some(true);
        if let Some(queue) = queue.filter(|_| cancels) {
            let help = "take out one of them: wait in line, or let the newest take the place of the one that runs";
            self.error_with(codes::CONCURRENCY, queue.span, MAX_CANCELS, Some(help));
        }
        concurrency
    }

    /// A job of the group that its own run holds would wait for itself.
    fn check_groups(&mut self, workflow: &Workflow) {
        let Some(own) = workflow.concurrency.as_ref().and_then(group) else { return };
        for job in &workflow.jobs {
            let is_own = |token: &&Token| group(token).is_some_and(|group| group.eq_ignore_ascii_case(own));
            let Some(token) = job.concurrency.as_ref().filter(is_own) else { continue };
            let message =
                format!("the concurrency group `{own}` is that of the whole run: the job would wait for its own run");
            let help = "name another group here, or leave `concurrency` to the run; GitHub cancels such a job";
            self.tell(Diagnostic::warning(codes::CONCURRENCY, token.span, message).help(help));
        }
    }

    pub(super) fn error_with(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        help: Option<impl Into<String>>,
    ) {
        self.tell(Diagnostic::error(code, span, message).maybe_help(help.map(Into::into)));
    }

    pub(super) fn tell(&mut self, diagnostic: Diagnostic) {
        self.reader.tell(diagnostic);
    }
}

/// The name of a concurrency group, where it is known.
fn group(concurrency: &Token) -> Option<&str> {
    concurrency.as_text().or_else(|| concurrency.get("group")?.as_text())
}

/// `defaults`, of which `run` is all there is.
fn run_defaults(defaults: &Token) -> Option<RunDefaults> {
    let run = defaults.get("run")?;
    if run.is_expression() {
        return Some(RunDefaults { computed: Some(run.clone()), ..RunDefaults::default() });
    }
    Some(RunDefaults {
        shell: run.get("shell").cloned(),
        working_directory: run.get("working-directory").cloned(),
        computed: None,
    })
}
