//! What should not become part of a script.

use crate::parser::diagnostics::{Diagnostic, Diagnostics};
use crate::parser::document::Span;
use crate::parser::expression::analysis::{Step as Member, each_name};
use crate::parser::expression::origins::{Origin, origins};
use crate::parser::expression::{Expr, Template};
use crate::parser::github::codes;
use crate::parser::github::lint::shell::Script;
use crate::parser::github::lint::visit::{Place, Site};
use crate::parser::github::workflow::model::{Job, Step, StepKind, Workflow};
use crate::parser::github::workflow::token::Token;

/// Members of `github` that strangers write: titles, texts, names of branches, addresses. `*` is any member or all of them.
const UNTRUSTED: &[&[&str]] = &[
    &["head_ref"],
    &["event", "issue", "title"],
    &["event", "issue", "body"],
    &["event", "pull_request", "title"],
    &["event", "pull_request", "body"],
    &["event", "pull_request", "head", "ref"],
    &["event", "pull_request", "head", "label"],
    &["event", "pull_request", "head", "repo", "default_branch"],
    &["event", "pull_request", "head", "repo", "description"],
    &["event", "comment", "body"],
    &["event", "review", "body"],
    &["event", "review_comment", "body"],
    &["event", "discussion", "title"],
    &["event", "discussion", "body"],
    &["event", "pages", "*", "page_name"],
    &["event", "commits", "*", "message"],
    &["event", "commits", "*", "author", "email"],
    &["event", "commits", "*", "author", "name"],
    &["event", "head_commit", "message"],
    &["event", "head_commit", "author", "email"],
    &["event", "head_commit", "author", "name"],
    &["event", "head_commit", "committer", "email"],
    &["event", "head_commit", "committer", "name"],
    &["event", "workflow_run", "head_branch"],
    &["event", "workflow_run", "display_title"],
    &["event", "workflow_run", "head_commit", "message"],
    &["event", "workflow_run", "head_commit", "author", "email"],
    &["event", "workflow_run", "head_commit", "author", "name"],
    &["event", "workflow_run", "pull_requests", "*", "head", "ref"],
];

pub(super) fn check(workflow: &Workflow, site: &Site<'_>, diagnostics: &mut Diagnostics) {
    if site.place != Place::Script || !may_find(workflow, site) {
        return;
    }
    for origin in origins(site.expr) {
        let through = env_value(workflow, site, &origin);
        let told = match through {
            None => untrusted(workflow, &origin).map(|path| injection(site.span, &path)),
            Some((name, value)) => exprs_of(value)
                .flat_map(origins)
                .find_map(|origin| untrusted(workflow, &origin).map(|path| injection_through(site.span, name, &path))),
        };
        if let Some(told) = told {
            diagnostics.push(told);
            continue;
        }
        let secret = match through {
            None => secret_of(&origin),
            Some((name, value)) => whole_secret(value).map(|_| format!("env.{name}")),
        };
        if let Some(secret) = secret {
            printed_secret(site, &secret, &origin, diagnostics);
        }
    }
}

/// Whether something could be said of an expression: a look at its names costs less than one at its value.
fn may_find(workflow: &Workflow, site: &Site<'_>) -> bool {
    let mut is_worth_it = false;
    each_name(site.expr, &mut |name| {
        let is = |known: &str| name.name.eq_ignore_ascii_case(known);
        is_worth_it |= match name.member(0) {
            Some(variable) if is("env") => variable_of(workflow, site, variable).is_some(),
            _ => is("secrets") || is("env") || FORGE.iter().any(|known| is(known)),
        };
    });
    is_worth_it
}

/// Names of the context that the payload is in.
const FORGE: [&str; 4] = ["github", "gitea", "forge", "forgejo"];

/// The variable that `env.X` asks for, and its value, where a mapping of this file sets it. What steps before wrote into
/// `GITHUB_ENV` is not known.
fn env_value<'a>(workflow: &'a Workflow, site: &Site<'a>, origin: &Origin) -> Option<(&'a str, &'a Template)> {
    match origin.path.as_slice() {
        [Member::Key(name)] if origin.name.eq_ignore_ascii_case("env") => variable_of(workflow, site, name),
        _ => None,
    }
}

/// The nearest variable of this name, where its value has expressions.
fn variable_of<'a>(workflow: &'a Workflow, site: &Site<'a>, name: &str) -> Option<(&'a str, &'a Template)> {
    let of_job = site.job.and_then(Job::as_steps).and_then(|steps| steps.env.as_ref());
    let nearest_first = [site.step.and_then(|(_, step)| step.env()), of_job, workflow.env.as_ref()];
    let pairs = nearest_first.into_iter().flatten().flat_map(|token| token.as_mapping().unwrap_or_default());
    let mut named = pairs.filter(|pair| pair.key.as_text().is_some_and(|key| key.eq_ignore_ascii_case(name)));
    named.next().and_then(|pair| Some((pair.key.as_text()?, pair.value.as_template()?)))
}

fn exprs_of(template: &Template) -> impl Iterator<Item = &Expr> {
    template.exprs().map(|(expr, _)| expr)
}

/// How the part of `github` is written, where strangers write what it holds.
fn untrusted(workflow: &Workflow, origin: &Origin) -> Option<String> {
    let is_github = FORGE.iter().any(|known| origin.name.eq_ignore_ascii_case(known));
    let agrees = |rule: &[&str]| {
        rule.iter().zip(&origin.path).all(|(want, member)| match member {
            Member::Key(key) => *want == "*" || key.eq_ignore_ascii_case(want),
            Member::All | Member::Computed => *want == "*",
        })
    };
    // A part of the text is as good as all of it; JSON of what is around it holds it too.
    let is_in = |rule: &&[&str]| rule.len() <= origin.path.len() || origin.is_json && strangers_start(workflow);
    let is_untrusted = is_github && UNTRUSTED.iter().any(|rule| is_in(rule) && agrees(rule));
    is_untrusted.then(|| origin.written())
}

/// Whether anything but the clock and people with rights can start the workflow, so that a payload can hold the words of strangers.
fn strangers_start(workflow: &Workflow) -> bool {
    workflow
        .events
        .iter()
        .any(|event| !["schedule", "workflow_dispatch", "repository_dispatch"].contains(&event.name.as_str()))
}

fn injection(span: Span, path: &str) -> Diagnostic {
    let is_all = path.starts_with("toJSON(");
    let last = path.trim_end_matches(')').rsplit(['.', '(']).find(|part| *part != "*").unwrap_or("value");
    let variable: String =
        last.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    let variable = if is_all { format!("{variable}_JSON") } else { variable };
    let what = if is_all { "some of what it holds" } else { "what it holds" };
    let message = format!(
        "`${{{{ {path} }}}}` becomes part of the script, and strangers write {what}: they can run commands of their own"
    );
    let help = format!(
        "hand it over in the step's `env`: `env: {{ {variable}: ${{{{ {path} }}}} }}`, and write `\"${variable}\"` in the script"
    );
    Diagnostic::warning(codes::INJECTION, span, message).help(help)
}

fn injection_through(span: Span, name: &str, path: &str) -> Diagnostic {
    let message = format!(
        "`${{{{ env.{name} }}}}` becomes part of the script, and strangers write what it holds (`{path}`): they can run commands \
         of their own"
    );
    let help = format!(
        "write `\"${name}\"` in the script: the shell then reads the variable and takes nothing in it for a command"
    );
    Diagnostic::warning(codes::INJECTION, span, message).help(help)
}

/// The secret that an origin is, as it is written; `secrets` alone for all of them.
fn secret_of(origin: &Origin) -> Option<String> {
    let is_token = origin.name.eq_ignore_ascii_case("github")
        && matches!(origin.path.as_slice(), [Member::Key(key)] if key.eq_ignore_ascii_case("token"));
    if is_token {
        return Some("github.token".to_owned());
    }
    if !origin.name.eq_ignore_ascii_case("secrets") {
        return None;
    }
    match origin.path.first() {
        Some(Member::Key(key)) => Some(format!("secrets.{key}")),
        Some(_) => Some("secrets".to_owned()),
        None => origin.is_json.then(|| "secrets".to_owned()),
    }
}

/// The secret that a value is, whole; a text made of one may be something else.
fn whole_secret(value: &Template) -> Option<String> {
    origins(value.as_expr()?).iter().find_map(secret_of)
}

fn printed_secret(site: &Site<'_>, secret: &str, origin: &Origin, diagnostics: &mut Diagnostics) {
    let Some((text, offset)) = site.within else { return };
    let (message, help) = if secret == "secrets" && origin.path.is_empty() {
        (
            "all secrets become part of the script".to_owned(),
            "hand over the ones that are needed, one by one, in the step's `env`".to_owned(),
        )
    } else if Script::new(text).prints(offset) {
        (format!("`{secret}` is printed: `{}`", shortened(line_at(text, offset))), NOT_MASKED.to_owned())
    } else {
        return;
    };
    diagnostics.push(Diagnostic::warning(codes::SECRET_PRINTED, site.span, message).help(help));
}

const NOT_MASKED: &str =
    "take this line out; a secret that is changed by a single character is not masked in the log any more";

fn line_at(text: &str, offset: usize) -> &str {
    let (before, after) = text.split_at_checked(offset).unwrap_or((text, ""));
    let from = before.rfind('\n').map_or(0, |at| at + 1);
    let to = after.find('\n').map_or(text.len(), |at| before.len() + at);
    text.get(from..to).unwrap_or("")
}

fn shortened(line: &str) -> String {
    let line = line.trim();
    match line.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or(line)),
        None => line.to_owned(),
    }
}

/// What the texts of scripts say, whatever their expressions are.
pub(super) fn check_texts(workflow: &Workflow, job: &Job, diagnostics: &mut Diagnostics) {
    let job_env = job.as_steps().and_then(|steps| steps.env.as_ref());
    for step in job.steps() {
        let StepKind::Run(run) = &step.kind else { continue };
        let text = run.script.source();
        deprecated(&text, run.script.span, diagnostics);
        let env = [workflow.env.as_ref(), job_env, step.env()];
        printed_variables(&text, step, &env, diagnostics);
    }
}

fn deprecated(text: &str, span: Span, diagnostics: &mut Diagnostics) {
    if !text.contains("::") {
        return;
    }
    for (command, file, state) in [
        ("::set-output", "GITHUB_OUTPUT", "is deprecated and will be switched off"),
        ("::save-state", "GITHUB_STATE", "is deprecated and will be switched off"),
        ("::set-env", "GITHUB_ENV", "is switched off, since anything that prints could use it"),
        ("::add-path", "GITHUB_PATH", "is switched off, since anything that prints could use it"),
    ] {
        if text.contains(command) {
            let line = if file == "GITHUB_PATH" { "DIRECTORY" } else { "NAME=VALUE" };
            let message = format!("the workflow command `{command}` {state}");
            let help = format!("write to the file: `echo \"{line}\" >> \"${file}\"`");
            diagnostics.push(Diagnostic::warning(codes::DEPRECATED_COMMAND, span, message).help(help));
        }
    }
}

/// Variables that hold a secret, printed by name.
fn printed_variables(text: &str, step: &Step, env: &[Option<&Token>], diagnostics: &mut Diagnostics) {
    let mut script = None;
    let mappings = env.iter().enumerate().filter_map(|(at, token)| Some((at, token.as_ref()?.as_mapping()?)));
    for (at, pair) in mappings.flat_map(|(at, pairs)| pairs.iter().map(move |pair| (at, pair))) {
        let (Some(name), Some(template)) = (pair.key.as_text(), pair.value.as_template()) else { continue };
        let is_hidden = || env.iter().skip(at + 1).flatten().any(|nearer| nearer.get(name).is_some());
        if !text.contains(name) || whole_secret(template).is_none() || is_hidden() {
            continue;
        }
        let script = script.get_or_insert_with(|| Script::new(text));
        let uses = text.match_indices('$').filter(|(at, _)| is_value_of(text.get(*at..).unwrap_or(""), name));
        let Some((at, _)) = uses.take(MOST_USES).find(|(at, _)| script.prints(*at) && !script.is_literal(*at)) else {
            continue;
        };
        let span = match &step.kind {
            StepKind::Run(run) => run.script.span,
            _ => step.span,
        };
        let line = shortened(line_at(text, at));
        let message = format!("`{name}` holds a secret and is printed: `{line}`");
        diagnostics.push(Diagnostic::warning(codes::SECRET_PRINTED, span, message).help(NOT_MASKED));
    }
}

/// Uses of one variable that are looked at.
const MOST_USES: usize = 50;

/// Whether a text begins with the value of a variable, whole or in part: `$NAME`, `${NAME}`, `${NAME:0:4}`, `$env:NAME`. Not its
/// length, and not what stands for it where it is set.
fn is_value_of<'t>(text: &'t str, name: &str) -> bool {
    let Some(text) = text.strip_prefix('$') else { return false };
    let is_end = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let behind = |text: &'t str| text.strip_prefix(name);
    if let Some(rest) = text.strip_prefix('{').map(|inner| inner.strip_prefix("env:").unwrap_or(inner)).and_then(behind)
    {
        return is_end(rest) && !rest.starts_with(":+") && !rest.starts_with('+');
    }
    behind(text.strip_prefix("env:").unwrap_or(text)).is_some_and(is_end)
}
