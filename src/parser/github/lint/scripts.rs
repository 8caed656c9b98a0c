//! What should not become part of a script.

use crate::parser::diagnostics::{Diagnostic, Diagnostics};
use crate::parser::document::Span;
use crate::parser::expression::analysis::{NameUse, Step as Member, Usage};
use crate::parser::github::codes;
use crate::parser::github::lint::visit::{Place, Site};
use crate::parser::github::workflow::model::{Step, StepKind, Workflow};
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

/// Whether something could be said of an expression in this place.
pub(super) fn may_find(site: &Site<'_>) -> bool {
    site.place == Place::Script
}

pub(super) fn check(site: &Site<'_>, usage: &Usage, diagnostics: &mut Diagnostics) {
    if site.place != Place::Script {
        return;
    }
    for name in &usage.names {
        if let Some(path) = untrusted(name) {
            diagnostics.push(injection(site.span, &path));
        }
        if name.name.eq_ignore_ascii_case("secrets") {
            secret(site, name, diagnostics);
        }
    }
}

/// The path, where strangers write what it holds.
fn untrusted(name: &NameUse) -> Option<String> {
    let is_github = ["github", "gitea", "forge", "forgejo"].iter().any(|known| name.name.eq_ignore_ascii_case(known));
    let fits = |rule: &&[&str]| {
        rule.len() == name.path.len()
            && rule.iter().zip(&name.path).all(|(want, member)| match member {
                Member::Key(key) => *want == "*" || key.eq_ignore_ascii_case(want),
                Member::All | Member::Computed => *want == "*",
            })
    };
    if !is_github || !UNTRUSTED.iter().any(fits) {
        return None;
    }
    let members = name.path.iter().map(|member| match member {
        Member::Key(key) => format!(".{key}"),
        Member::All => ".*".to_owned(),
        Member::Computed => "[…]".to_owned(),
    });
    Some(format!("{}{}", name.name, members.collect::<String>()))
}

fn injection(span: Span, path: &str) -> Diagnostic {
    let last = path.rsplit('.').find(|part| *part != "*").unwrap_or("value");
    let variable: String =
        last.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    let message = format!(
        "`${{{{ {path} }}}}` becomes part of the script, and strangers write what it holds: they can run commands of their own"
    );
    let help = format!(
        "hand it over in the step's `env`: `env: {{ {variable}: ${{{{ {path} }}}} }}`, and write `\"${variable}\"` in the script"
    );
    Diagnostic::warning(codes::INJECTION, span, message).help(help)
}

fn secret(site: &Site<'_>, name: &NameUse, diagnostics: &mut Diagnostics) {
    let Some((text, offset)) = site.within else { return };
    let secret = match name.path.first() {
        Some(Member::Key(key)) => format!("secrets.{key}"),
        _ => "secrets".to_owned(),
    };
    let line = line_at(text, offset);
    let (message, help) = if name.path.is_empty() {
        (
            "all secrets become part of the script".to_owned(),
            "hand over the ones that are needed, one by one, in the step's `env`".to_owned(),
        )
    } else if prints(line) {
        (
            format!("`{secret}` is printed: `{}`", shortened(line)),
            "take this line out; a secret that is changed by a single character is not masked in the log any more"
                .to_owned(),
        )
    } else {
        return;
    };
    diagnostics.push(Diagnostic::warning(codes::SECRET_PRINTED, site.span, message).help(help));
}

fn line_at(text: &str, offset: usize) -> &str {
    let (before, after) = text.split_at_checked(offset).unwrap_or((text, ""));
    let from = before.rfind('\n').map_or(0, |at| at + 1);
    let to = after.find('\n').map_or(text.len(), |at| before.len() + at);
    text.get(from..to).unwrap_or("")
}

/// Whether a line writes its words into the log: a command that prints, whose output goes nowhere else.
fn prints(line: &str) -> bool {
    const PRINTERS: [&str; 8] =
        ["echo", "printf", "print", "console.log", "core.info", "Write-Host", "Write-Output", "Out-Host"];
    line.split("&&").flat_map(|part| part.split(';')).any(|command| {
        let command = command.trim_start().trim_start_matches("- ");
        let is_printer = PRINTERS.iter().any(|word| {
            command.strip_prefix(word).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        });
        // Text in `${{ }}` may hold `||`.
        let outside = without_expressions(command);
        let goes_on = outside.contains(['|', '>']) || outside.contains("::add-mask::");
        is_printer && !goes_on
    })
}

fn without_expressions(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${{") {
        out.push_str(before);
        rest = after.split_once("}}").map_or("", |(_, behind)| behind);
    }
    out + rest
}

fn shortened(line: &str) -> String {
    let line = line.trim();
    match line.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or(line)),
        None => line.to_owned(),
    }
}

/// What the texts of scripts say, whatever their expressions are.
pub(super) fn check_texts(workflow: &Workflow, diagnostics: &mut Diagnostics) {
    for job in &workflow.jobs {
        let job_env = job.as_steps().and_then(|steps| steps.env.as_ref());
        for step in job.steps() {
            let StepKind::Run(run) = &step.kind else { continue };
            let text = run.script.source();
            deprecated(&text, run.script.span, diagnostics);
            let env = [workflow.env.as_ref(), job_env, step.env.as_ref()];
            printed_variables(&text, step, &env, diagnostics);
        }
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
    let pairs = env.iter().flatten().flat_map(|token| token.as_mapping().unwrap_or_default());
    for pair in pairs {
        let (Some(name), Some(template)) = (pair.key.as_text(), pair.value.as_template()) else { continue };
        // The whole value is a secret; a text made of one may be something else.
        let is_secret = template.as_expr().is_some_and(|expr| expr.text.to_ascii_lowercase().starts_with("secrets."));
        if !is_secret || !text.contains(name) {
            continue;
        }
        let uses = [format!("${name}"), format!("${{{name}}}"), format!("$env:{name}")];
        let shown = text.lines().find(|line| prints(line) && uses.iter().any(|form| has_word(line, form)));
        if let Some(line) = shown {
            let span = match &step.kind {
                StepKind::Run(run) => run.script.span,
                _ => step.span,
            };
            let message = format!("`{name}` holds a secret and is printed: `{}`", shortened(line));
            let help =
                "take this line out; a secret that is changed by a single character is not masked in the log any more";
            diagnostics.push(Diagnostic::warning(codes::SECRET_PRINTED, span, message).help(help));
        }
    }
}

/// Whether a form of a variable stands in a line and its name ends there.
fn has_word(line: &str, form: &str) -> bool {
    line.match_indices(form).any(|(at, _)| {
        let rest = line.get(at + form.len()..).unwrap_or("");
        form.ends_with('}') || !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
    })
}
