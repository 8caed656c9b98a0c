//! libyaml's complaints in words that say what to do.

use super::events::{EventError, Mark};

/// Where to look, and what is wrong there.
///
/// `quoted`: where the last text in quotes began and ended, if it took more than a line.
pub(super) fn explain(text: &str, error: &EventError, quoted: Option<(Mark, Mark)>) -> (Option<Mark>, String) {
    let (problem, at) = (error.problem.as_str(), error.at);
    let context = error.context.as_ref();
    let began = |what: &str| context.filter(|(context, _)| context.contains(what)).map(|(_, mark)| *mark);
    let is_cut_off = problem.contains("end of stream") || problem.contains("document indicator");
    if let Some(mark) = began("quoted scalar").filter(|_| is_cut_off) {
        return (Some(mark), "the quote that begins here is never closed".to_owned());
    }
    // A quote that was forgotten on one line ends where the next one begins, and what is in that stands bare.
    if let (Some((begin, end)), Some(at)) = (quoted, at)
        && end.line == at.line
        && end.column <= at.column
    {
        let place = format!("line {}, column {}", end.line + 1, end.column);
        return (Some(begin), format!("the quote that begins here ends on {place}: one is missing before that"));
    }
    if let Some(key) = began("simple key").filter(|_| problem == "could not find expected ':'") {
        return (Some(key), "expected `:` after this key".to_owned());
    }
    let problem = match problem {
        "found character that cannot start any token" => no_token(text, at),
        "mapping values are not allowed in this context" => no_value(text, at),
        "did not find expected key" if began("block mapping").is_some() => {
            at.and_then(|at| behind(text, at)).or_else(|| {
                Some("the indentation fits no line above: keys of one mapping begin in the same column".to_owned())
            })
        }
        "did not find expected alphabetic or numeric character" => {
            let what = if began("alias").is_some() { "`*` begins an alias" } else { "`&` begins an anchor" };
            Some(format!("{what} here, and has no name: put the text in quotes"))
        }
        "block sequence entries are not allowed in this context" => Some(
            "a list cannot begin on the line of its key: write its items on lines of their own, or the text in quotes"
                .to_owned(),
        ),
        "found unknown escape character" => Some(
            "found unknown escape character: in double quotes a backslash is `\\\\`; in single quotes it is itself"
                .to_owned(),
        ),
        "did not find expected comment or line break" if began("block scalar").is_some() => Some(
            "nothing but `+`, `-` and one digit stands behind `|` or `>`: the text begins on the next line".to_owned(),
        ),
        "did not find expected '-' indicator" => Some(
            "expected `-`: the items of one list have the same indentation, and nothing else stands between them"
                .to_owned(),
        ),
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

/// What stands behind a value that has ended on the same line.
fn behind(text: &str, at: Mark) -> Option<String> {
    let before: String = line(text, at).chars().take(at.column as usize).collect();
    match before.trim_end().chars().next_back()? {
        quote @ ('\'' | '"') => {
            let other = if quote == '"' { "single" } else { "double" };
            Some(format!(
                "the text ended at the quote before this: put all of it in {other} quotes, or write it in a block (`|`)"
            ))
        }
        end @ (']' | '}') => {
            Some(format!("the value ended at the `{end}` before this: put all of it in quotes if it is a text"))
        }
        _ => None,
    }
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
    if let Some(key) = before.trim_start().strip_prefix('-').and_then(key_of) {
        return Some(format!("mapping values are not allowed here: write `- {key}:` with a space on the line above"));
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
    let line = line.trim_start_matches([' ', '-']);
    let key = key_of(line)?;
    let value = line.get(key.len() + 1..)?;
    (!value.starts_with([' ', '/']) && !value.is_empty()).then_some(key)
}

/// `key` of a line that begins with `key:`.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(':')?;
    let is_name = key.starts_with(char::is_alphanumeric)
        && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
    is_name.then_some(key)
}
