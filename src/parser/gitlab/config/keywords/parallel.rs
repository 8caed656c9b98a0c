//! `parallel`, a number or a matrix.

use std::sync::Arc;

use smol_str::{SmolStr, ToSmolStr};

use super::super::codes;
use super::super::model::{MatrixRow, Parallel};
use super::super::place::At;
use super::super::values::{Checker, as_int, as_text, is_null, key_text, shown};
use crate::parser::document::{Entry, Node, Schema, Typed, Value};

/// Jobs that one may become.
const MOST: i64 = 200;

impl Checker<'_> {
    /// `parallel`; `numbers`: whether a number may stand there.
    pub fn parallel(&mut self, node: &Node, at: At<'_>, numbers: bool) -> Option<Parallel> {
        match node.typed(Schema::Ruby) {
            Some(Typed::Null) => None,
            Some(Typed::Int(_) | Typed::Float(_)) if !numbers => {
                let help = Some("write `parallel: {matrix: [...]}`".to_owned());
                self.error_help(codes::WRONG_VALUE, node.span, at, "cannot be a number here", help);
                None
            }
            Some(Typed::Int(number)) => match u32::try_from(number) {
                Ok(count) if (1..=MOST).contains(&number) => Some(Parallel::Number(count)),
                _ => {
                    let what = format!("should be between 1 and {MOST}, not {number}");
                    self.error(codes::WRONG_VALUE, node.span, at, what);
                    None
                }
            },
            Some(Typed::Float(_)) => {
                let what = format!("should be a whole number between 1 and {MOST}, not {}", shown(node));
                self.error(codes::WRONG_VALUE, node.span, at, what);
                None
            }
            None if node.as_mapping().is_some() => self.matrix_of(node, at).map(Parallel::Matrix),
            _ => {
                self.wrong_type(node, at, &format!("a whole number up to {MOST} or a mapping with `matrix`"));
                None
            }
        }
    }

    fn matrix_of(&mut self, node: &Node, at: At<'_>) -> Option<Arc<[MatrixRow]>> {
        let mapping = self.mapping_of(node, at, &["matrix"])?;
        let Some(matrix) = mapping.get("matrix") else {
            self.missing(node.span, at.key("matrix"), "is missing", None);
            return None;
        };
        let at = at.key("matrix");
        let Some(items) = matrix.as_sequence() else {
            if is_null(matrix) {
                self.error(codes::MISSING, matrix.span, at, "is empty");
            } else {
                self.wrong_type(matrix, at, "a list of mappings");
            }
            return None;
        };
        if items.is_empty() {
            self.error(codes::MISSING, matrix.span, at, "is empty");
        }
        let rows: Vec<MatrixRow> = items.iter().filter_map(|item| self.matrix_row(item, at)).collect();
        let total = rows.iter().fold(0_i64, |sum, row| sum.saturating_add(combinations(row)));
        if total > MOST {
            let what = format!("makes {total} jobs, more than the limit of {MOST}");
            self.error(codes::TOO_MANY, matrix.span, at, what);
            return None;
        }
        Some(rows.into())
    }

    fn matrix_row(&mut self, node: &Node, at: At<'_>) -> Option<MatrixRow> {
        let Some(mapping) = node.as_mapping() else {
            self.wrong_type(node, at, "a list of mappings: a row of it is a mapping");
            return None;
        };
        if mapping.is_empty() {
            self.error(codes::MISSING, node.span, at, "has an empty row");
            return None;
        }
        let variables = mapping.entries().iter().filter_map(|entry| self.matrix_variable(entry, at)).collect();
        Some(MatrixRow { span: node.span, variables })
    }

    fn matrix_variable(&mut self, entry: &Entry, at: At<'_>) -> Option<(SmolStr, Vec<SmolStr>)> {
        let name = match entry.key.typed(Schema::Ruby) {
            Some(Typed::Text(_) | Typed::Symbol(_)) => SmolStr::from(key_text(&entry.key)),
            Some(Typed::Int(number)) => number.to_smolstr(),
            _ => {
                self.error(codes::WRONG_NAME, entry.key.span, at, "has a key that is no name: it should be text");
                return None;
            }
        };
        let below = at.key(&name);
        let items = match &entry.value.value {
            Value::Sequence(items) => items,
            _ => std::slice::from_ref(&entry.value),
        };
        if items.is_empty() || is_null(&entry.value) {
            self.error(codes::MISSING, entry.value.span, below, "has no value");
            return None;
        }
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            match as_text(item).or_else(|| as_int(item).map(|number| number.to_smolstr())) {
                Some(value) => values.push(value),
                None => {
                    let help = item.as_scalar().map(|scalar| format!("put it in quotes: `\"{}\"`", scalar.text));
                    let what = format!("should be a text, a whole number or a list of such, not {}", shown(item));
                    self.error_help(codes::WRONG_TYPE, item.span, below, what, help);
                    return None;
                }
            }
        }
        Some((name, values))
    }
}

fn combinations(row: &MatrixRow) -> i64 {
    row.variables
        .iter()
        .fold(1_i64, |product, (_, values)| product.saturating_mul(i64::try_from(values.len()).unwrap_or(i64::MAX)))
}
