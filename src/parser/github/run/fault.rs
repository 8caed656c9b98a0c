//! What keeps a job from being made.

use std::fmt;

use crate::parser::document::Span;
use crate::parser::expression::Expr;
use crate::parser::expression::analysis::{NameUse, Step, usage};
use crate::parser::github::workflow::model::{Condition, Token};

/// Why a job, or a leg of it, cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// One sentence.
    pub message: String,
    /// Where it stands, if it is not the job as a whole.
    pub at: Option<Span>,
    /// Whether another run could do better.
    pub certainty: Certainty,
    /// What its values ask for that is given from outside: `vars.X`, `secrets.X`, `inputs.x`.
    pub asks: Vec<String>,
}

/// Whether another run could do better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// It is wrong as it is written.
    Always,
    /// It is wrong with what is known here.
    Here,
    /// What is needed is not in this repository.
    Elsewhere,
}

/// A job that could not be made, in a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The job's name as it is shown.
    pub job: String,
    /// Where the job stands, in its own file.
    pub span: Option<Span>,
    /// Why.
    pub fault: Fault,
}

/// Contexts that are filled from outside: with other values, an expression may come to something else.
const FROM_OUTSIDE: [&str; 6] = ["github", "vars", "secrets", "inputs", "env", "needs"];
/// Those that the user gives.
const GIVEN: [&str; 3] = ["vars", "secrets", "inputs"];

impl Fault {
    /// The value of a key cannot be evaluated.
    pub fn of(key: &str, token: &Token, problem: &str) -> Self {
        let source = token.source();
        let shown = if source.is_empty() { String::new() } else { format!(" `{source}`") };
        let message = format!("`{key}`{shown} cannot be evaluated: {problem}");
        let mut fault = Self { message, at: Some(token.span), certainty: Certainty::Always, asks: Vec::new() };
        token.exprs(&mut |expr, _| fault.depends_on(expr));
        fault
    }

    /// A condition cannot be evaluated.
    pub fn of_condition(condition: &Condition, problem: &str) -> Self {
        let text = condition.text.as_deref().unwrap_or_default();
        let message = format!("`if` `{text}` cannot be evaluated: {problem}");
        let mut fault = Self { message, at: condition.span, certainty: Certainty::Always, asks: Vec::new() };
        fault.depends_on(&condition.expr);
        fault
    }

    fn depends_on(&mut self, expr: &Expr) {
        for used in usage(expr).names {
            if FROM_OUTSIDE.iter().any(|name| used.name.eq_ignore_ascii_case(name)) {
                self.certainty = Certainty::Here;
            }
            let ask = asked(&used).filter(|ask| !self.asks.contains(ask));
            self.asks.extend(ask);
        }
    }

    /// Something that is not in this repository.
    pub fn elsewhere(message: String, at: Span) -> Self {
        Self { message, at: Some(at), certainty: Certainty::Elsewhere, asks: Vec::new() }
    }
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self { message, at: None, certainty: Certainty::Here, asks: Vec::new() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// `vars.X` of a use of it.
fn asked(used: &NameUse) -> Option<String> {
    let name = GIVEN.iter().find(|name| used.name.eq_ignore_ascii_case(name))?;
    match used.path.first() {
        Some(Step::Key(key)) => Some(format!("{name}.{key}")),
        _ => None,
    }
}
