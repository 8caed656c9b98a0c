//! Code of others: what strangers propose, and actions that can change under one's hands.

use std::collections::HashSet;

use crate::parser::diagnostics::{Diagnostic, Diagnostics};
use crate::parser::expression::analysis::usage;
use crate::parser::github::codes;
use crate::parser::github::dialect::Dialect;
use crate::parser::github::workflow::model::{JobKind, StepKind, UsesStep, Workflow};

pub(super) fn check(workflow: &Workflow, dialect: Dialect, diagnostics: &mut Diagnostics) {
    let privileged = ["pull_request_target", "workflow_run"].into_iter().find(|event| workflow.event(event).is_some());
    // Each action once, where it stands first: the same change mends all of its places.
    let mut told: HashSet<&str> = HashSet::new();
    for job in &workflow.jobs {
        if let JobKind::Call(call) = &job.kind
            && told.insert(&call.uses)
        {
            pin(&call.uses, call.span, dialect, diagnostics);
        }
        for step in job.steps() {
            let StepKind::Uses(uses) = &step.kind else { continue };
            if told.insert(&uses.action) {
                pin(&uses.action, uses.span, dialect, diagnostics);
            }
            if let Some(event) = privileged {
                checkout(uses, event, diagnostics);
            }
        }
    }
}

fn checkout(uses: &UsesStep, event: &str, diagnostics: &mut Diagnostics) {
    let action = uses.action.to_ascii_lowercase();
    if !action.split('@').next().unwrap_or("").trim_end_matches('/').ends_with("actions/checkout") {
        return;
    }
    let Some(with) = &uses.with else { return };
    for key in ["ref", "repository"] {
        let Some(token) = with.get(key) else { continue };
        let mut is_head = token.as_text().is_some_and(|text| text.starts_with("refs/pull/"));
        token.templates(&mut |template, _| {
            // `refs/pull/N/merge` is the stranger's code too, whatever the number comes from.
            is_head |= template.source.starts_with("refs/pull/");
            is_head |= template.exprs().any(|(expr, _)| {
                usage(expr).names.iter().any(|name| {
                    name.is("github", &["head_ref"])
                        || name.is("github", &["event", "pull_request", "head"])
                        || name.is("github", &["event", "pull_request", "merge_commit_sha"])
                        || name.is("github", &["event", "workflow_run", "head_sha"])
                        || name.is("github", &["event", "workflow_run", "head_branch"])
                        || name.is("github", &["event", "workflow_run", "head_commit"])
                        || name.is("github", &["event", "workflow_run", "head_repository"])
                })
            });
        });
        if is_head {
            let message = format!(
                "`{event}` runs with secrets and a token that can write, and this checks out what a stranger proposes: its scripts, \
                 build files and hooks run with all of it"
            );
            let help = "use `pull_request` for what builds or tests the proposal, and hand its results over as an artifact; if it has \
                        to be here, check it out with `persist-credentials: false` into a folder from which nothing is run";
            diagnostics.push(Diagnostic::warning(codes::UNTRUSTED_CHECKOUT, token.span, message).help(help));
            return;
        }
    }
}

fn pin(uses: &str, span: crate::parser::document::Span, dialect: Dialect, diagnostics: &mut Diagnostics) {
    // Own files move with the workflow; container images are pinned by their own means.
    if ["./", ".\\", "$/", "docker://"].iter().any(|start| uses.starts_with(start)) {
        return;
    }
    let Some((action, version)) = uses.rsplit_once('@') else { return };
    let is_commit = matches!(version.len(), 40 | 64) && version.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_commit || version.is_empty() || action.is_empty() {
        return;
    }
    let kind = if is_version(version) { "tag" } else { "branch or tag" };
    let message =
        format!("`{uses}` is pinned by a {kind} that its owner, or whoever breaks in there, can move to other code");
    let base = match dialect {
        Dialect::GitHub => format!("https://github.com/{action}"),
        _ => action.to_owned(),
    };
    let repository = match dialect {
        Dialect::GitHub => base.splitn(6, '/').take(5).collect::<Vec<_>>().join("/"),
        _ => base,
    };
    let help = format!(
        "pin it to the full commit id, with the tag as a comment: `{action}@<commit> # {version}`; `git ls-remote {repository} \
         {version}` shows it"
    );
    diagnostics.push(Diagnostic::warning(codes::UNPINNED, span, message).help(help));
}

fn is_version(version: &str) -> bool {
    let digits = version.strip_prefix('v').unwrap_or(version);
    digits.starts_with(|first: char| first.is_ascii_digit())
}
