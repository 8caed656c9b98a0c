//! `forgehand eval`: the value of an expression.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use super::pipeline_args::DialectArg;
use super::{Verdict, render};
use crate::local::hasher::CheckoutHasher;
use crate::parser::expression::{self, Budget, ExprError};

/// How long an evaluation may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Arguments of `eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// The expression, with or without `${{ }}` around it.
    #[arg(value_name = "EXPR", allow_hyphen_values = true)]
    expression: String,
    /// A JSON object: its keys are the names that the expression can use; for GitLab the variables, those of its `inputs` the
    /// inputs.
    #[arg(long, value_name = "FILE.json")]
    context: Option<PathBuf>,
    /// Whose language it is: `${{ }}` of workflows or of forgehand.yml, `rules:if` of GitLab CI.
    #[arg(long, value_name = "NAME", default_value = "github")]
    dialect: DialectArg,
}

/// Prints the value as JSON; what JSON lacks as `{"$number": "NaN"}`.
pub fn run(args: &EvalArgs) -> Result<Verdict, miette::Report> {
    let context = match &args.context {
        None => serde_json::json!({}),
        Some(path) => match read_context(path) {
            Ok(context) => context,
            Err(problem) => {
                eprintln!("error: {}: {problem}", path.display());
                return Ok(Verdict::BadInput);
            }
        },
    };
    let began = Instant::now();
    let expired = || began.elapsed() > PATIENCE;
    let limits = if args.dialect == DialectArg::Native { Budget::default() } else { Budget::of_github() };
    let budget = Budget { expired: Some(&expired), ..limits };
    let text = bare(&args.expression);
    let value = match args.dialect {
        DialectArg::Gitlab => expression::gitlab::eval_json(text, &context),
        other => {
            let dialect =
                if other == DialectArg::Native { expression::Dialect::Native } else { expression::Dialect::GitHub };
            let files = CheckoutHasher::around(std::path::Path::new("."));
            expression::eval_json_among(text, dialect, &context, &budget, Some(&files))
        }
    };
    match value {
        Ok(value) => Ok(render::result(&format!("{value}\n"))),
        Err(error) => {
            eprint!("{}", picture(text, &error));
            Ok(Verdict::BadInput)
        }
    }
}

fn read_context(path: &std::path::Path) -> Result<serde_json::Value, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    if value.is_object() { Ok(value) } else { Err("the context is no JSON object".to_owned()) }
}

/// The expression without the `${{ }}` that people copy with it.
fn bare(text: &str) -> &str {
    let inner = text.trim().strip_prefix("${{").and_then(|text| text.strip_suffix("}}"));
    inner.filter(|inner| !inner.contains("${{")).map_or(text, str::trim)
}

/// The message, the expression around the place, and a caret under it.
fn picture(text: &str, error: &ExprError) -> String {
    /// Characters shown before and after the place.
    const AROUND: usize = 60;
    let mut out = format!("error: {}\n", error.message);
    let (Some(before), Some(after)) = (text.get(..error.offset), text.get(error.offset..)) else { return out };
    if text.is_empty() || text.contains(['\n', '\r']) {
        return out;
    }
    let skipped = before.chars().count().saturating_sub(AROUND);
    let shown_before: String = before.chars().skip(skipped).collect();
    let marked = text.get(error.offset..error.offset + error.len).map_or(1, |part| part.chars().count().max(1));
    let shown_after: String = after.chars().take(AROUND).collect();
    let (head, tail) = (if skipped > 0 { "…" } else { "" }, if shown_after.len() < after.len() { "…" } else { "" });
    let indent = " ".repeat(head.chars().count() + shown_before.chars().count());
    out += &format!("  {head}{shown_before}{shown_after}{tail}\n  {indent}{}\n", "^".repeat(marked.min(AROUND)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_around_the_whole_are_taken_off() {
        assert_eq!(bare("${{ 1 == 1 }}"), "1 == 1");
        assert_eq!(bare("1"), "1");
        assert_eq!(bare("${{ a }}${{ b }}"), "${{ a }}${{ b }}");
    }
    #[test]
    fn only_the_surroundings_of_an_error_are_shown() {
        let text = format!("{}b.c", "a && ".repeat(1000));
        let error =
            expression::eval_json(&text, expression::Dialect::GitHub, &serde_json::json!({"a": 1})).unwrap_err();
        let shown = picture(&text, &error);
        assert!(shown.len() < 400, "{shown}");
        let lines: Vec<&str> = shown.lines().collect();
        let caret = lines[2].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[1].chars().nth(caret), Some('b'), "{shown}");
        assert!(lines[1].contains('…'));
    }
}
