//! Conditions that are decided when they are written.

use crate::parser::diagnostics::{Diagnostic, Diagnostics};
use crate::parser::expression::{Expr, Node, NodeKind};
use crate::parser::github::codes;
use crate::parser::github::workflow::model::{Condition, Job};

pub(super) fn check(job: &Job, diagnostics: &mut Diagnostics) {
    one(&job.condition, Some(&job.id), diagnostics);
    for step in job.steps() {
        one(&step.condition, None, diagnostics);
    }
}

/// `job`: the job that it is the condition of; else it is one of a step.
fn one(condition: &Condition, job: Option<&str>, diagnostics: &mut Diagnostics) {
    let (Some(span), Some(text)) = (condition.span, &condition.text) else { return };
    let is_plain = ["true", "false"].iter().any(|word| text.eq_ignore_ascii_case(word));
    let message = match decided(&condition.expr) {
        Some(false) => {
            let what = job.map_or("this step".to_owned(), |job| format!("job `{job}`"));
            format!("the condition `{text}` never holds: {what} never runs")
        }
        Some(true) if !is_plain => format!("the condition `{text}` always holds"),
        _ => return,
    };
    let help = if text.starts_with("format(") {
        "text outside of `${{ }}` makes the whole a text, which counts as true; put all of the condition inside one `${{ }}`"
    } else if text.starts_with('\'') {
        "a text counts as true unless it is empty; take the quotes out to have an expression"
    } else {
        "take out what is always the same"
    };
    diagnostics.push(Diagnostic::warning(codes::CONSTANT_CONDITION, span, message).help(help));
}

/// The truth of an expression that does not depend on the run. `success()` before it is passed over when it is what makes the
/// rest a condition: whether something may run at all is not asked here.
fn decided(expr: &Expr) -> Option<bool> {
    match &expr.root.as_ref()?.kind {
        NodeKind::And(sides) => match sides.as_slice() {
            [first, rest] if is_success(first) => truth(rest),
            sides => all(sides),
        },
        _ => truth(expr.root.as_ref()?),
    }
}

fn is_success(node: &Node) -> bool {
    matches!(&node.kind, NodeKind::Call("success", arguments) if arguments.is_empty())
}

/// The depth of the tree is limited when it is parsed.
fn truth(node: &Node) -> Option<bool> {
    match &node.kind {
        NodeKind::Literal(value) => Some(value.truth()),
        NodeKind::Not(inner) => truth(inner).map(|truth| !truth),
        NodeKind::And(sides) => all(sides),
        NodeKind::Or(sides) => {
            let (mut is_true, mut all_false) = (false, true);
            for side in sides.iter().map(truth) {
                is_true |= side == Some(true);
                all_false &= side == Some(false);
            }
            if is_true { Some(true) } else { all_false.then_some(false) }
        }
        NodeKind::Call("format", arguments) => match arguments.first().map(|first| &first.kind) {
            Some(NodeKind::Literal(value)) => has_own_text(&value.to_text()).then_some(true),
            _ => None,
        },
        _ => None,
    }
}

fn all(sides: &[Node]) -> Option<bool> {
    let (mut is_false, mut all_true) = (false, true);
    for side in sides.iter().map(truth) {
        is_false |= side == Some(false);
        all_true &= side == Some(true);
    }
    if is_false { Some(false) } else { all_true.then_some(true) }
}

/// Whether a format has text besides `{0}`.
fn has_own_text(format: &str) -> bool {
    let mut inside = false;
    format.chars().any(|c| match c {
        '{' => {
            inside = true;
            false
        }
        '}' => {
            inside = false;
            false
        }
        _ => !inside,
    })
}
