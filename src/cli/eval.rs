//! `forgehand eval`: the value of an expression.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use super::Verdict;
use super::pipeline_args::DialectArg;
use crate::parser::expression::{self, Budget, ExprError};

/// How long an evaluation may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Arguments of `eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// The expression, with or without `${{ }}` around it.
    #[arg(value_name = "EXPR", allow_hyphen_values = true)]
    expression: String,
    /// A JSON object: its keys are the names that the expression can use.
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
    let budget = Budget { expired: Some(&expired), ..Budget::default() };
    let text = bare(&args.expression);
    let value = match args.dialect {
        DialectArg::Github | DialectArg::Gitea | DialectArg::Forgejo => {
            expression::eval_json_within(text, expression::Dialect::GitHub, &context, &budget)
        }
        DialectArg::Native => expression::eval_json_within(text, expression::Dialect::Native, &context, &budget),
        DialectArg::Gitlab => expression::gitlab::eval_json(text, &context),
    };
    match value {
        Ok(value) => {
            println!("{value}");
            Ok(Verdict::Success)
        }
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

/// The message, the expression, and a caret under the place.
fn picture(text: &str, error: &ExprError) -> String {
    let mut out = format!("error: {}\n", error.message);
    if text.lines().count() == 1 && !text.is_empty() {
        let before = text.get(..error.offset).unwrap_or(text).chars().count();
        let marked = text.get(error.offset..error.offset + error.len).map_or(1, |part| part.chars().count().max(1));
        out += &format!("  {text}\n  {}{}\n", " ".repeat(before), "^".repeat(marked));
    }
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
}
