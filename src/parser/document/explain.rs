//! libyaml's complaints in words that say what to do.

use super::events::{EventError, Mark};

/// Where to look, and what is wrong there.
pub(super) fn explain(text: &str, error: &EventError) -> (Option<Mark>, String) {
    let (problem, at) = (error.problem.as_str(), error.at);
    let context = error.context.as_ref();
    let began = |what: &str| context.filter(|(context, _)| context.contains(what)).map(|(_, mark)| *mark);
    let is_cut_off = problem.contains("end of stream") || problem.contains("document indicator");
    if let Some(mark) = began("quoted scalar").filter(|_| is_cut_off) {
        return (Some(mark), "the quote that begins here is never closed".to_owned());
    }
    let problem = match problem {
        "found character that cannot start any token" => no_token(text, at),
        "mapping values are not allowed in this context" => no_value(text, at),
        "did not find expected key" if began("block mapping").is_some() => {
            Some("the indentation fits no line above: keys of one mapping begin in the same column".to_owned())
        }
        "did not find expected '-' indicator" => Some(
            "expected `-`: the items of one list have the same indentation, and nothing else stands between them"
                .to_owned(),
        ),
        "could not find expected ':'" => Some("expected `:` after this key".to_owned()),
        "did not find expected ',' or '}'" | "did not find expected ',' or ']'" => context.map(|(_, mark)| {
            let (kind, close) = if problem.contains('}') { ("mapping", '}') } else { ("list", ']') };
            format!("expected `,` or `{close}`: the {kind} that begins on line {} is not closed", mark.line + 1)
        }),
        _ => None,
    };
    let problem = problem.unwrap_or_else(|| match context {
        Some((context, _)) if !context.is_empty() => format!("{} {context}", error.problem),
        _ => error.problem.clone(),
    });
    (at, problem)
}

fn line(text: &str, at: Mark) -> &str {
    text.lines().nth(at.line as usize).unwrap_or_default()
}

fn no_token(text: &str, at: Option<Mark>) -> Option<String> {
    let at = at?;
    match line(text, at).chars().nth(at.column as usize)? {
        '\t' => Some("a tab where spaces are due: YAML takes no tab for indentation".to_owned()),
        c => Some(format!("a text cannot begin with `{c}`: put it in quotes")),
    }
}

fn no_value(text: &str, at: Option<Mark>) -> Option<String> {
    let at = at?;
    let before = at.line.checked_sub(1).map_or("", |above| line(text, Mark { line: above, ..at }));
    if let Some(key) = key_without_space(before) {
        return Some(format!("mapping values are not allowed here: write `{key}: ` with a space on the line above"));
    }
    let here: String = line(text, at).chars().take(at.column as usize).collect();
    if here.contains(": ") {
        let hint = "a second `: ` on one line: put the text in quotes";
        return Some(format!("mapping values are not allowed here: {hint}"));
    }
    let hint = "the line above has a value already, so nothing can be indented below it";
    Some(format!("mapping values are not allowed here: {hint}"))
}

/// `key` of a line like `key:value`.
fn key_without_space(line: &str) -> Option<&str> {
    let (key, value) = line.trim_start_matches([' ', '-']).split_once(':')?;
    let is_name = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
    (is_name && !value.starts_with([' ', '/']) && !value.is_empty()).then_some(key)
}
