//! `jobs`.

use smol_str::SmolStr;

use super::{Converter, ids, permissions, run_defaults};
use crate::parser::diagnostics::Diagnostic;
use crate::parser::document::Span;
use crate::parser::expression::Value;
use crate::parser::github::codes;
use crate::parser::github::matrix::{LIMIT, Matrix};
use crate::parser::github::schema::scope::ScopeSet;
use crate::parser::github::workflow::model::{Call, CallSecrets, Condition, Job, JobKind, StepsJob};
use crate::parser::github::workflow::token::{Pair, Token, TokenKind};

const CONDITION: ScopeSet = ScopeSet::JOB_BEFORE_MATRIX.and(ScopeSet::STATUS_OF_JOBS);

impl Converter<'_, '_> {
    /// One of `jobs`.
    pub(super) fn job(&mut self, Pair { key, value }: Pair) -> Option<Job> {
        let id = SmolStr::from(key.as_text()?);
        let TokenKind::Mapping(pairs) = value.kind else { return None };
        if let Some(problem) = ids::problem(&id) {
            self.error_with(codes::ID, key.span, problem, ids::proposal(&id));
        }
        let mut common = Common::new(self.no_condition());
        let mut steps = StepsJob::default();
        let mut call: Option<(SmolStr, Span)> = None;
        let (mut with, mut secrets) = (None, CallSecrets::None);
        for Pair { key, value } in pairs {
            match key.as_text().unwrap_or_default() {
                "name" => common.name = Some(value).filter(|name| name.as_text() != Some("")),
                // An expression that was refused is no id; its error is told already.
                "needs" => {
                    let ids = value.texts().filter(|(id, _)| !id.contains("${{"));
                    common.needs = ids.map(|(id, span)| (id.clone(), span)).collect();
                }
                "if" => common.condition = self.condition(&value, CONDITION),
                "permissions" => common.permissions = permissions::read(&value),
                "concurrency" => common.concurrency = Some(self.check_concurrency(value)),
                "strategy" => {
                    self.check_strategy(&value);
                    common.strategy = Some(value);
                }
                "uses" => {
                    call = value.as_text().map(|uses| (SmolStr::from(uses), value.span));
                }
                "with" => with = Some(value),
                "secrets" => {
                    secrets = match &value.kind {
                        TokenKind::Mapping(_) => CallSecrets::Named(value),
                        TokenKind::Text(_) => CallSecrets::Inherit,
                        _ => CallSecrets::None,
                    }
                }
                name => self.steps_property(&mut steps, name, value),
            }
        }
        let kind = match call {
            Some((uses, span)) => {
                self.check_called(&uses, span);
                JobKind::Call(Box::new(Call { uses, span, with, secrets, workflow: None }))
            }
            None => JobKind::Steps(Box::new(steps)),
        };
        Some(Job {
            id,
            span: key.span,
            name: common.name,
            needs: common.needs,
            condition: common.condition,
            permissions: common.permissions,
            concurrency: common.concurrency,
            strategy: common.strategy,
            kind,
        })
    }

    fn steps_property(&mut self, job: &mut StepsJob, name: &str, value: Token) {
        match name {
            "runs-on" => {
                self.check_runs_on(&value);
                job.runs_on = Some(value);
            }
            "environment" => job.environment = Some(Box::new(value)),
            "env" => job.env = Some(value),
            "outputs" => job.outputs = Some(Box::new(value)),
            "defaults" => job.defaults = run_defaults(&value).map(Box::new),
            "container" => {
                self.check_container(&value);
                job.container = Some(Box::new(value));
            }
            "services" => {
                self.check_services(&value);
                job.services = Some(Box::new(value));
            }
            "timeout-minutes" => {
                self.check_minutes("timeout-minutes", &value);
                job.timeout_minutes = Some(Box::new(value));
            }
            "cancel-timeout-minutes" => job.cancel_timeout_minutes = Some(Box::new(value)),
            "continue-on-error" => job.continue_on_error = Some(Box::new(value)),
            "snapshot" => {
                if let Some(condition) = value.get("if") {
                    self.check_condition(condition, ScopeSet::LEG);
                }
                job.snapshot = Some(Box::new(value));
            }
            "steps" => job.steps = self.steps(value),
            _ => {}
        }
    }

    /// More combinations than a matrix may have, where they are known. The file is taken, and the job fails when it starts.
    fn check_combinations(&mut self, strategy: &Token, pairs: &[Pair]) {
        let mut most = 1_usize;
        let mut added = 0;
        for Pair { key, value } in pairs {
            match (key.as_text(), value.as_sequence()) {
                (Some("include"), Some(items)) => added = items.len(),
                (_, Some(items)) if key.as_text() != Some("exclude") => most = most.saturating_mul(items.len()),
                _ => {}
            }
        }
        if most.saturating_add(added) <= LIMIT || pairs.iter().any(|pair| has_expressions(&pair.key, &pair.value)) {
            return;
        }
        if !Matrix::of(&object(pairs)).is_ok_and(|matrix| matrix.has_too_many()) {
            return;
        }
        let keys = strategy.as_mapping().unwrap_or_default();
        let span = keys.iter().find(|pair| pair.key.as_text() == Some("matrix")).map_or(strategy.span, |p| p.key.span);
        let message = format!("the matrix has more than {LIMIT} combinations, and the job fails when it starts");
        let help = format!("GitHub makes at most {LIMIT} jobs of a matrix: leave values out, or make two jobs of it");
        self.tell(Diagnostic::warning(codes::MATRIX, span, message).help(help));
    }

    /// A matrix without a value in one of its lists comes to no job, which GitHub says when the run starts.
    fn check_strategy(&mut self, strategy: &Token) {
        let Some(pairs) = strategy.get("matrix").and_then(Token::as_mapping) else { return };
        for pair in pairs {
            let name = pair.key.source();
            let is_filter = matches!(name.as_str(), "include" | "exclude");
            if !is_filter && pair.value.as_sequence().is_some_and(<[Token]>::is_empty) {
                let message = format!("Matrix vector '{name}' does not contain any values");
                let help = format!("give `{name}` at least one value, or take it out of the matrix");
                self.error_with(codes::MATRIX, pair.value.span, message, Some(help));
            }
        }
        self.check_combinations(strategy, pairs);
        if let Some(number) = strategy.get("max-parallel").and_then(Token::as_number)
            && number < 1.0
        {
            let span = strategy.get("max-parallel").map_or(strategy.span, |token| token.span);
            let message = format!("`max-parallel` is {number}, so that no job of the matrix could run");
            self.error_with(codes::NUMBER, span, message, Some("it is at least 1; without it all may run at once"));
        }
    }

    /// A time limit that no runner can keep.
    pub(super) fn check_minutes(&mut self, name: &str, value: &Token) {
        // What a runner can count in milliseconds.
        const MOST: f64 = i32::MAX as f64;
        let Some(minutes) = value.as_number() else { return };
        if minutes > MOST || minutes.is_nan() {
            let message = format!("`{name}` is {minutes:e}, which is more minutes than can be counted");
            // It is accepted, and no job takes as long.
            let help = "GitHub ends a job after 360 minutes if nothing else is said";
            self.tell(Diagnostic::warning(codes::NUMBER, value.span, message).help(help));
        }
    }
}

fn has_expressions(key: &Token, value: &Token) -> bool {
    key.has_expressions() || value.has_expressions()
}

/// The value of a token without expressions. The document's limit on levels bounds the depth of this.
fn literal(token: &Token) -> Value {
    match &token.kind {
        TokenKind::Null | TokenKind::Insert | TokenKind::Template(_) => Value::Null,
        TokenKind::Bool(truth) => Value::Bool(*truth),
        TokenKind::Number(number) => Value::Number(*number),
        TokenKind::Text(text) => Value::text(text.as_str()),
        TokenKind::Sequence(items) => Value::array(items.iter().map(literal).collect()),
        TokenKind::Mapping(pairs) => object(pairs),
    }
}

fn object(pairs: &[Pair]) -> Value {
    Value::object(pairs.iter().map(|pair| (pair.key.source().to_string(), literal(&pair.value))))
}

/// What jobs of both kinds have.
struct Common {
    name: Option<Token>,
    needs: Vec<(SmolStr, Span)>,
    condition: Condition,
    permissions: Option<crate::parser::github::workflow::model::Permissions>,
    concurrency: Option<Token>,
    strategy: Option<Token>,
}

impl Common {
    fn new(condition: Condition) -> Self {
        Self { name: None, needs: Vec::new(), condition, permissions: None, concurrency: None, strategy: None }
    }
}
