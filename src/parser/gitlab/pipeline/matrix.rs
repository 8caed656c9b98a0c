//! `parallel`: how many jobs, their names and variables.
//!
//! Source of the rules: gitlabhq `lib/gitlab/ci/config/normalizer`.

use smol_str::{SmolStr, format_smolstr};

use super::super::config::model::{MatrixRow, Parallel};

/// One of the jobs that `parallel` makes of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its place among them, from 1.
    pub index: u32,
    /// How many there are.
    pub total: u32,
    /// Its row of the matrix.
    pub variables: Vec<(SmolStr, SmolStr)>,
}

/// The names and instances of the jobs that `parallel` makes of `job`.
pub fn instances(job: &str, parallel: &Parallel) -> Vec<(SmolStr, Instance)> {
    match parallel {
        Parallel::Number(total) => (1..=*total)
            .map(|index| {
                (format_smolstr!("{job} {index}/{total}"), Instance { index, total: *total, variables: Vec::new() })
            })
            .collect(),
        Parallel::Matrix(rows) => {
            let all: Vec<_> = rows.iter().flat_map(combinations).take(MOST).collect();
            let total = u32::try_from(all.len()).unwrap_or(u32::MAX);
            (1..)
                .zip(all)
                .map(|(index, variables)| (name(job, &variables), Instance { index, total, variables }))
                .collect()
        }
    }
}

/// More than the server allows (200) by far; what the check of a configuration refuses does not get here.
const MOST: usize = 10_000;

/// All choices of one value for each variable of a row, the last variable turning fastest.
pub fn combinations(row: &MatrixRow) -> impl Iterator<Item = Vec<(SmolStr, SmolStr)>> {
    let total = row.variables.iter().fold(1usize, |total, (_, values)| total.saturating_mul(values.len()));
    let total = if row.variables.is_empty() { 0 } else { total };
    (0..total).map(move |number| {
        let mut number = number;
        let mut picked: Vec<_> = row
            .variables
            .iter()
            .rev()
            .filter_map(|(key, values)| {
                let value = values.get(number.checked_rem(values.len())?)?;
                number /= values.len();
                Some((key.clone(), value.clone()))
            })
            .collect();
        picked.reverse();
        picked
    })
}

/// What a job of a matrix is called.
pub fn name(job: &str, variables: &[(SmolStr, SmolStr)]) -> SmolStr {
    let values: Vec<&str> = variables.iter().map(|(_, value)| value.as_str()).collect();
    format_smolstr!("{job}: [{}]", values.join(", "))
}

/// A text whose `$[[ matrix.NAME ]]` are replaced by the values of a row.
///
/// # Errors
///
/// The names that the row does not have.
pub fn interpolate(text: &str, row: &[(SmolStr, SmolStr)]) -> Result<SmolStr, Vec<SmolStr>> {
    let mut out = String::new();
    let mut unknown = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("$[[") {
        out.push_str(before);
        let Some((inner, behind)) = after.split_once("]]") else {
            out.push_str("$[[");
            rest = after;
            break;
        };
        match inner.trim().strip_prefix("matrix.") {
            Some(name) => match row.iter().find(|(key, _)| key == name) {
                Some((_, value)) => out.push_str(value),
                None => unknown.push(SmolStr::new(name)),
            },
            None => {
                out.push_str("$[[");
                out.push_str(inner);
                out.push_str("]]");
            }
        }
        rest = behind;
    }
    out.push_str(rest);
    if unknown.is_empty() { Ok(out.into()) } else { Err(unknown) }
}
