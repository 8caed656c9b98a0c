//! The names of one evaluation.

use std::sync::Arc;

use crate::parser::expression::{
    Budget, Context, Expr, FileHasher, StatusCheck, Template, TemplateError, Value, evaluate,
};
use crate::parser::github::run::Conclusion;
use crate::parser::github::workflow::model::{Pair, Token, TokenKind};

/// Named values, the answers of the status functions where there are such, and files where there are such.
#[derive(Clone, Default)]
pub struct Names<'a> {
    list: Vec<(&'static str, Value)>,
    status: Option<Status>,
    results: Option<&'a dyn JobResults>,
    files: Option<&'a dyn FileHasher>,
}

/// What became of the jobs of a workflow.
pub trait JobResults {
    /// The result of the job of this key, whatever its case; `None`: it is not over, or there is none.
    fn of(&self, key: &str) -> Option<Conclusion>;
}

/// What the status functions say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// `success()`.
    pub success: bool,
    /// `failure()`.
    pub failure: bool,
    /// `cancelled()`.
    pub cancelled: bool,
}

impl Status {
    /// All went well.
    pub const SUCCESS: Status = Status { success: true, failure: false, cancelled: false };
    /// Somebody ended it.
    pub const CANCELLED: Status = Status { success: false, failure: false, cancelled: true };
}

impl From<Conclusion> for Status {
    fn from(conclusion: Conclusion) -> Self {
        Self {
            success: matches!(conclusion, Conclusion::Success | Conclusion::Skipped),
            failure: conclusion == Conclusion::Failure,
            cancelled: conclusion == Conclusion::Cancelled,
        }
    }
}

impl<'a> Names<'a> {
    /// These and `value`, which hides an earlier one of the name.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Value) -> Self {
        match self.list.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => {
                if self.list.is_empty() {
                    // The contexts of a job, at once.
                    self.list.reserve_exact(8);
                }
                self.list.push((name, value));
            }
        }
        self
    }

    /// With status functions.
    #[must_use]
    pub fn status(mut self, status: Status) -> Self {
        self.status = Some(status);
        self
    }

    /// With the results of jobs, for `success('build')`.
    #[must_use]
    pub fn results<'b>(self, results: &'b dyn JobResults) -> Names<'b>
    where
        'a: 'b,
    {
        Names { results: Some(results), ..self }
    }

    /// With files for `hashFiles`.
    #[must_use]
    pub fn files<'b>(self, files: &'b dyn FileHasher) -> Names<'b>
    where
        'a: 'b,
    {
        Names { files: Some(files), ..self }
    }

    /// Whether a condition holds.
    pub fn condition(&self, expr: &Expr) -> Result<bool, String> {
        evaluate(expr, self, &Budget::default()).map(|value| value.truth()).map_err(|error| error.official(&expr.text))
    }

    /// The value of a token. The document's limit on levels bounds the depth of this.
    pub fn value(&self, token: &Token) -> Result<Value, String> {
        Ok(match &token.kind {
            TokenKind::Null | TokenKind::Insert => Value::Null,
            TokenKind::Bool(truth) => Value::Bool(*truth),
            TokenKind::Number(number) => Value::Number(*number),
            TokenKind::Text(text) => Value::text(text.as_str()),
            TokenKind::Template(template) => self.template(template)?,
            TokenKind::Sequence(items) => {
                Value::array(items.iter().map(|item| self.value(item)).collect::<Result<Vec<_>, _>>()?)
            }
            TokenKind::Mapping(pairs) => Value::object(self.entries(pairs)?),
        })
    }

    /// The keys and values of a mapping, in order.
    fn entries(&self, pairs: &[Pair]) -> Result<Vec<(Arc<str>, Value)>, String> {
        let mut entries = Vec::with_capacity(pairs.len());
        for Pair { key, value } in pairs {
            let value = self.value(value)?;
            match (&key.kind, &value) {
                (TokenKind::Insert, Value::Object(object)) => entries.extend(object.entries().iter().cloned()),
                (TokenKind::Insert, Value::Null) => {}
                (TokenKind::Insert, other) => {
                    return Err(format!("`${{{{ insert }}}}` needs a mapping, not {}", other.kind()));
                }
                _ => entries.push((self.value(key)?.to_text(), value)),
            }
        }
        Ok(entries)
    }

    fn template(&self, template: &Template) -> Result<Value, String> {
        template.evaluate(self, &Budget::default()).map_err(|error| told(&error))
    }

    /// The text of a token; lists and mappings are refused.
    pub fn text(&self, token: &Token) -> Result<String, String> {
        match &token.kind {
            TokenKind::Text(text) => Ok(text.to_string()),
            TokenKind::Template(template) if template.as_expr().is_none() => {
                template.evaluate_text(self, &Budget::default()).map_err(|error| told(&error))
            }
            _ => plain(&self.value(token)?),
        }
    }

    /// The truth of a token: a boolean, as the schema asks for one.
    pub fn truth(&self, token: &Token) -> Result<bool, String> {
        truth(&self.value(token)?)
    }

    /// The number of a token.
    pub fn number(&self, token: &Token) -> Result<f64, String> {
        let value = self.value(token)?;
        let number = if value.is_primitive() { value.to_number() } else { f64::NAN };
        if number.is_nan() { Err(format!("a number was expected, not {}", shown(&value))) } else { Ok(number) }
    }

    /// Keys and texts of a token: environments, inputs, outputs. The case of keys matters.
    pub fn pairs(&self, token: &Token) -> Result<Vec<(String, String)>, String> {
        let entries = match &token.kind {
            TokenKind::Mapping(pairs) => self.entries(pairs)?,
            _ => match self.value(token)? {
                Value::Object(object) => object.entries().to_vec(),
                Value::Null => Vec::new(),
                other => return Err(format!("a mapping was expected, not {}", shown(&other))),
            },
        };
        let pair = |(key, value): (Arc<str>, Value)| match plain(&value) {
            Ok(text) => Ok((key.to_string(), text)),
            Err(problem) => Err(format!("`{key}`: {problem}")),
        };
        entries.into_iter().map(pair).collect()
    }

    fn of_jobs(&self, check: StatusCheck, jobs: &[Value]) -> Option<bool> {
        let result = |job: &Value| self.results?.of(&job.to_text());
        Some(match check {
            StatusCheck::Success => jobs.iter().all(|job| result(job) == Some(Conclusion::Success)),
            StatusCheck::Failure => jobs.iter().any(|job| result(job) == Some(Conclusion::Failure)),
            StatusCheck::Always | StatusCheck::Cancelled => return None,
        })
    }
}

impl Context for Names<'_> {
    fn named(&self, name: &str) -> Option<Value> {
        self.list.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    }

    fn status(&self, check: StatusCheck, arguments: &[Value]) -> Option<bool> {
        let status = self.status?;
        if !arguments.is_empty() && !status.cancelled {
            return self.of_jobs(check, arguments);
        }
        Some(match check {
            StatusCheck::Always => true,
            StatusCheck::Cancelled => status.cancelled,
            StatusCheck::Failure => status.failure,
            StatusCheck::Success => status.success,
        })
    }

    fn files(&self) -> Option<&dyn FileHasher> {
        self.files
    }
}

/// A value as the boolean that the schema asks for.
pub(super) fn truth(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(truth) => Ok(*truth),
        Value::Text(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Value::Text(text) if text.is_empty() || text.eq_ignore_ascii_case("false") => Ok(false),
        Value::Null => Ok(false),
        other => Err(format!("a boolean was expected, not {}", shown(other))),
    }
}

/// A value as text, where it is no list and no mapping.
pub(super) fn plain(value: &Value) -> Result<String, String> {
    if value.is_primitive() {
        Ok(value.to_text().to_string())
    } else {
        Err(format!("a text was expected, not {}", value.kind()))
    }
}

fn shown(value: &Value) -> String {
    if value.is_primitive() { format!("`{}`", value.to_text()) } else { value.kind().to_owned() }
}

fn told(error: &TemplateError) -> String {
    error.error.official(&error.expression)
}
