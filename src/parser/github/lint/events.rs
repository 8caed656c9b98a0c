//! Comparisons with events that do not start the workflow.
//!
//! A name that no event has is a slip wherever it stands. An event of GitHub's that `on` lacks is told where it decides: one of
//! several choices may be kept for other copies of the file.

use crate::parser::diagnostics::{Diagnostic, Diagnostics, did_you_mean};
use crate::parser::expression::analysis::name_use;
use crate::parser::expression::{Binary, Node, NodeKind, Value};
use crate::parser::github::codes;
use crate::parser::github::lint::visit::Site;
use crate::parser::github::schema::is_event;
use crate::parser::github::workflow::model::Workflow;

/// Whether such a comparison can be in an expression.
pub(super) fn may_find(text: &str) -> bool {
    memchr::memmem::find(text.as_bytes(), b"event_name").is_some()
}

pub(super) fn check(workflow: &Workflow, site: &Site<'_>, diagnostics: &mut Diagnostics) {
    // A called workflow sees the event of its caller.
    if workflow.event("workflow_call").is_some() || workflow.events.is_empty() {
        return;
    }
    if let Some(root) = &site.expr.root {
        of_node(root, false, workflow, site, diagnostics);
    }
}

/// The depth of the tree is limited when it is parsed.
fn of_node(node: &Node, is_choice: bool, workflow: &Workflow, site: &Site<'_>, diagnostics: &mut Diagnostics) {
    if let NodeKind::Binary(Binary::Equal, left, right) = &node.kind
        && let Some(text) = compared(left, right).or_else(|| compared(right, left))
        && !workflow.events.iter().any(|event| event.name.eq_ignore_ascii_case(text))
        && !(is_choice && is_event(text))
    {
        let names = || workflow.events.iter().map(|event| event.name.as_str());
        let all = || {
            format!(
                "the workflow is started by {}",
                names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
            )
        };
        let help = did_you_mean(text, names()).unwrap_or_else(all);
        let message = format!("`github.event_name` is never `{text}` here: `on` does not have that event");
        diagnostics.push(Diagnostic::warning(codes::CONSTANT_CONDITION, site.span, message).help(help));
    }
    let is_choice = is_choice || !matches!(node.kind, NodeKind::And(_));
    node.children().for_each(|child| of_node(child, is_choice, workflow, site, diagnostics));
}

/// The text that `github.event_name` is compared with.
fn compared<'a>(name: &Node, text: &'a Node) -> Option<&'a str> {
    let NodeKind::Literal(value) = &text.kind else { return None };
    let used = name_use(name)?;
    (used.path.len() == 1 && used.is("github", &["event_name"])).then(|| Value::as_text(value))?
}
