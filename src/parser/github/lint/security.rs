//! Code of others: what strangers propose, and actions that can change under one's hands.

use std::collections::HashSet;

use super::guard;
use crate::parser::diagnostics::{Diagnostic, Diagnostics};
use crate::parser::document::Span;
use crate::parser::expression::Expr;
use crate::parser::expression::origins::origins;
use crate::parser::github::codes;
use crate::parser::github::dialect::Dialect;
use crate::parser::github::workflow::model::{Condition, Job, JobKind, Step, StepKind, UsesStep, Workflow};
use crate::parser::github::workflow::token::Token;

/// Events that give a workflow secrets and a token that can write, though strangers cause them.
const PRIVILEGED: [&str; 3] = ["pull_request_target", "workflow_run", "issue_comment"];

/// What is looked for in a workflow.
pub(super) struct Security {
    /// The events of the workflow that are [`PRIVILEGED`].
    privileged: Vec<&'static str>,
}

/// Each action once, where it stands first: the same change mends all of its places.
#[derive(Default)]
pub(super) struct Used<'w> {
    known: HashSet<&'w str>,
    first: Vec<(&'w str, Span)>,
}

impl<'w> Used<'w> {
    /// What a job uses.
    pub(super) fn add_of(&mut self, job: &'w Job) {
        if let JobKind::Call(call) = &job.kind {
            self.add(&call.uses, call.span);
        }
        for step in job.steps() {
            if let StepKind::Uses(uses) = &step.kind {
                self.add(&uses.action, uses.span);
            }
        }
    }

    /// What jobs use that stand behind those that were looked at.
    pub(super) fn append(&mut self, later: Self) {
        later.first.into_iter().for_each(|(uses, span)| self.add(uses, span));
    }

    fn add(&mut self, uses: &'w str, span: Span) {
        if self.known.insert(uses) {
            self.first.push((uses, span));
        }
    }

    /// Tells which of them can change under one's hands.
    pub(super) fn check(&self, dialect: Dialect, diagnostics: &mut Diagnostics) {
        self.first.iter().for_each(|(uses, span)| pin(uses, *span, dialect, diagnostics));
    }
}

impl Security {
    pub(super) fn new(workflow: &Workflow) -> Self {
        Self { privileged: PRIVILEGED.into_iter().filter(|event| workflow.event(event).is_some()).collect() }
    }

    pub(super) fn check(&self, job: &Job, diagnostics: &mut Diagnostics) {
        job.steps().iter().for_each(|step| self.checkout(job, step, diagnostics));
    }

    fn checkout(&self, job: &Job, step: &Step, diagnostics: &mut Diagnostics) {
        let is_open = |condition: &Condition, event: &str| !guard::keeps_strangers_out(&condition.expr, event);
        let open =
            self.privileged.iter().filter(|event| is_open(&job.condition, event) && is_open(&step.condition, event));
        let Some((event, place)) = open.filter_map(|event| Some((event, checked_out(step, event)?))).next() else {
            return;
        };
        let message = format!(
            "`{event}` runs with secrets and a token that can write, and this checks out what a stranger proposes: its scripts, \
             build files and hooks run with all of it"
        );
        let help = "use `pull_request` for what builds or tests the proposal, and hand its results over as an artifact; if it has \
                    to be here, check it out with `persist-credentials: false` into a folder from which nothing is run";
        diagnostics.push(Diagnostic::warning(codes::UNTRUSTED_CHECKOUT, place, message).help(help));
    }
}

/// Where a step checks out what a stranger proposes.
fn checked_out(step: &Step, event: &str) -> Option<Span> {
    match &step.kind {
        StepKind::Uses(uses) => by_action(uses, event),
        StepKind::Run(run) => by_script(&run.script, event).then_some(run.script.span),
        StepKind::Control(_) => None,
    }
}

fn by_action(uses: &UsesStep, event: &str) -> Option<Span> {
    let action = uses.action.to_ascii_lowercase();
    if !action.split('@').next().unwrap_or("").trim_end_matches('/').ends_with("actions/checkout") {
        return None;
    }
    let with = uses.with.as_ref()?;
    let of_head = |key: &&str| with.get(key).filter(|token| is_of_head(token, event));
    ["ref", "repository"].iter().find_map(of_head).map(|token| token.span)
}

fn is_of_head(token: &Token, event: &str) -> bool {
    // `refs/pull/N/merge` is the stranger's code too, whatever the number comes from.
    let mut is_head = token.as_text().is_some_and(|text| text.starts_with("refs/pull/"));
    token.templates(&mut |template, _| {
        is_head |= template.source.starts_with("refs/pull/");
        is_head |= template.exprs().any(|(expr, _)| has_head(expr, event));
    });
    is_head
}

/// Whether the value of an expression is a name or a commit of the proposal, in a run that `event` starts.
fn has_head(expr: &Expr, event: &str) -> bool {
    let heads: &[&[&str]] = match event {
        "pull_request_target" => {
            &[&["head_ref"], &["event", "pull_request", "head"], &["event", "pull_request", "merge_commit_sha"]]
        }
        "workflow_run" => &[
            &["event", "workflow_run", "head_sha"],
            &["event", "workflow_run", "head_branch"],
            &["event", "workflow_run", "head_commit"],
            &["event", "workflow_run", "head_repository"],
        ],
        _ => &[],
    };
    origins(expr).iter().any(|origin| heads.iter().any(|path| origin.is("github", path)))
}

/// Whether a script fetches a proposal and puts it into the work tree.
fn by_script(script: &Token, event: &str) -> bool {
    let text = script.source();
    if !text.contains("git ") && !text.contains("gh pr checkout") {
        return false;
    }
    let commands = || text.lines().map(str::trim_start).filter(|line| !line.starts_with('#'));
    if commands().any(|line| line.contains("gh pr checkout")) {
        return true;
    }
    const INTO_TREE: [&str; 7] =
        ["git checkout", "git switch", "git pull", "git merge", "git reset --hard", "git worktree add", "git clone"];
    let puts_into_tree = |line: &str| INTO_TREE.iter().any(|command| line.contains(command));
    let fetches = |line: &str| {
        (line.contains("git fetch") || line.contains("git pull"))
            && (line.contains(" pull/") || line.contains("refs/pull/"))
    };
    let mut has_proposal = false;
    for line in commands() {
        has_proposal |= fetches(line);
        if has_proposal && puts_into_tree(line) {
            return true;
        }
    }
    // The commit or the branch named in the very command.
    let Some(template) = script.as_template() else { return false };
    template.exprs().any(|(expr, offset)| {
        let before = template.source.get(..offset).unwrap_or("");
        let line = before.rsplit('\n').next().unwrap_or(before);
        puts_into_tree(line) && has_head(expr, event)
    })
}

fn pin(uses: &str, span: Span, dialect: Dialect, diagnostics: &mut Diagnostics) {
    // Own files move with the workflow.
    if ["./", ".\\", "$/"].iter().any(|start| uses.starts_with(start)) {
        return;
    }
    if let Some(image) = uses.strip_prefix("docker://") {
        return pin_image(image, span, diagnostics);
    }
    // What names no owner and repository is an error, which has been told.
    let Some((action, version)) = uses.rsplit_once('@').filter(|(action, _)| action.contains('/')) else { return };
    let is_commit = matches!(version.len(), 40 | 64) && version.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_commit || version.is_empty() || action.is_empty() {
        return;
    }
    let kind = if is_version(version) { "tag" } else { "branch or tag" };
    let message =
        format!("`{uses}` is pinned by a {kind} that its owner, or whoever breaks in there, can move to other code");
    // `owner/repository/path`, or an address of the same.
    let (host, path) = match action.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            (format!("{scheme}://{host}"), path)
        }
        None if dialect == Dialect::GitHub => ("https://github.com".to_owned(), action),
        None => (String::new(), action),
    };
    let repository = path.split('/').take(2).collect::<Vec<_>>().join("/");
    let repository = if host.is_empty() { repository } else { format!("{host}/{repository}") };
    let help = format!(
        "pin it to the full commit id, with the tag as a comment: `{action}@<commit> # {version}`; `git ls-remote {repository} \
         {version}` shows it"
    );
    diagnostics.push(Diagnostic::warning(codes::UNPINNED, span, message).help(help));
}

fn pin_image(image: &str, span: Span, diagnostics: &mut Diagnostics) {
    if image.contains("@sha256:") || image.is_empty() {
        return;
    }
    let name = image.rsplit('/').next().unwrap_or(image);
    let (path, tag) = match name.split_once(':') {
        Some((_, tag)) => (image.trim_end_matches(tag).trim_end_matches(':'), tag),
        None => (image, "latest"),
    };
    let message = format!("`docker://{image}` is an image by its tag `{tag}`, which can be moved to another image");
    let help = format!(
        "pin it to the digest, with the tag as a comment: `docker://{path}@sha256:<digest> # {tag}`; `docker buildx imagetools \
         inspect {path}:{tag}` shows it"
    );
    diagnostics.push(Diagnostic::warning(codes::UNPINNED, span, message).help(help));
}

fn is_version(version: &str) -> bool {
    let digits = version.strip_prefix('v').unwrap_or(version);
    digits.starts_with(|first: char| first.is_ascii_digit())
}
