//! Conditions that keep strangers out of a job or a step.

use crate::parser::expression::analysis::{NameUse, name_use};
use crate::parser::expression::{Binary, Expr, Node, NodeKind, Value};

/// Parts of an event that name the repository a proposal comes from.
const HEAD_REPOSITORIES: [&[&str]; 2] =
    [&["event", "pull_request", "head", "repo"], &["event", "workflow_run", "head_repository"]];

/// Whether a condition holds only where the proposal comes from the repository itself, or for another event than `event`.
pub(super) fn keeps_strangers_out(condition: &Expr, event: &str) -> bool {
    condition.root.as_ref().is_some_and(|root| is_guard(root, event))
}

/// The depth of the tree is limited when it is parsed.
fn is_guard(node: &Node, event: &str) -> bool {
    match &node.kind {
        NodeKind::And(sides) => sides.iter().any(|side| is_guard(side, event)),
        NodeKind::Or(sides) => sides.iter().all(|side| is_guard(side, event)),
        NodeKind::Not(inner) => is_fork(inner),
        NodeKind::Binary(binary @ (Binary::Equal | Binary::NotEqual), left, right) => {
            let is_equal = *binary == Binary::Equal;
            compares(left, right, is_equal, event) || compares(right, left, is_equal, event)
        }
        _ => false,
    }
}

fn compares(left: &Node, right: &Node, is_equal: bool, event: &str) -> bool {
    let text = literal(right).and_then(Value::as_text);
    if is_path(left, &["event_name"]) {
        // `github.event_name == 'push'`, `github.event_name != 'pull_request_target'`
        return text.is_some_and(|text| text.eq_ignore_ascii_case(event) != is_equal);
    }
    if is_path(left, &["event", "workflow_run", "event"]) {
        // What a push or the clock started is the repository's own.
        let is_proposal = text.is_none_or(|text| text.to_ascii_lowercase().starts_with("pull_request"));
        return text.is_some() && is_equal != is_proposal;
    }
    if is_fork(left) {
        return match literal(right) {
            Some(Value::Bool(truth)) => *truth != is_equal,
            _ => false,
        };
    }
    let is_repository = HEAD_REPOSITORIES.iter().any(|path| is_below(left, path));
    let is_own = text.is_some()
        || [&["repository"][..], &["repository_owner"], &["repository_id"], &["event", "repository"]]
            .iter()
            .any(|path| is_below(right, path));
    is_repository && is_equal && is_own
}

fn literal(node: &Node) -> Option<&Value> {
    match &node.kind {
        NodeKind::Literal(value) => Some(value),
        _ => None,
    }
}

fn is_fork(node: &Node) -> bool {
    HEAD_REPOSITORIES.iter().any(|path| is_path(node, &[path, &["fork"][..]].concat()))
}

fn is_path(node: &Node, path: &[&str]) -> bool {
    names(node, |name| name.path.len() == path.len() && name.is("github", path))
}

fn is_below(node: &Node, path: &[&str]) -> bool {
    names(node, |name| name.is("github", path))
}

/// Whether a node is one named value that satisfies `test`.
fn names(node: &Node, test: impl Fn(&NameUse) -> bool) -> bool {
    name_use(node).is_some_and(|name| test(&name))
}
