//! Ids of jobs and steps.

use std::collections::{HashMap, HashSet};

use smol_str::SmolStr;

const MAX_LENGTH: usize = 100;

/// What is wrong with an id, in GitHub's words.
pub(super) fn problem(id: &str) -> Option<String> {
    if !is_valid(id) {
        return Some(format!(
            "The identifier '{id}' is invalid. IDs may only contain alphanumeric characters, '_', and '-'. IDs must start with a \
             letter or '_' and and must be less than {MAX_LENGTH} characters."
        ));
    }
    id.starts_with("__").then(|| format!("The identifier '{id}' is invalid. IDs starting with '__' are reserved."))
}

fn is_valid(id: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    id.len() < MAX_LENGTH
        && id.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && id.bytes().all(legal)
}

/// An id that could be meant.
pub(super) fn proposal(id: &str) -> Option<String> {
    let mut text: String = id
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '-' })
        .take(MAX_LENGTH - 2)
        .collect();
    text = text.trim_start_matches('_').to_owned();
    if !text.starts_with(|first: char| first.is_ascii_alphabetic()) {
        text.insert(0, '_');
    }
    problem(&text).is_none().then(|| format!("for example `{text}`"))
}

/// The ids of the steps of one job. They do not tell cases apart.
#[derive(Debug, Default)]
pub(super) struct Ids {
    taken: HashSet<SmolStr>,
    /// How often a made id was made.
    made: HashMap<SmolStr, usize>,
}

impl Ids {
    /// Takes an id that is written.
    pub(super) fn take(&mut self, id: &str) -> Result<(), String> {
        match problem(id) {
            Some(problem) => Err(problem),
            None if self.taken.insert(id.to_lowercase().into()) => Ok(()),
            None => Err(format!("The identifier '{id}' may not be used more than once within the same scope.")),
        }
    }

    /// Whether a step has this id.
    pub(super) fn has(&self, id: &str) -> bool {
        self.taken.contains(id.to_lowercase().as_str())
    }

    /// The ids taken so far.
    pub(super) fn taken(&self) -> impl Iterator<Item = &str> {
        self.taken.iter().map(SmolStr::as_str)
    }

    /// Makes an id for what a step does: `__run`, then `__run_2`.
    pub(super) fn make(&mut self, what: &str) -> SmolStr {
        let legal = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
        let base: String = "__".chars().chain(what.chars().map(legal)).take(MAX_LENGTH).collect();
        let count = self.made.entry(SmolStr::from(&base)).or_insert(0);
        *count += 1;
        if *count == 1 {
            return base.into();
        }
        let suffix = format!("_{count}");
        let cut = base.len().min(MAX_LENGTH - suffix.len());
        format!("{}{suffix}", base.get(..cut).unwrap_or(&base)).into()
    }
}
