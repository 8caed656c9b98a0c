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

/// The ids of the steps of one job. They do not tell cases apart. As long as they are few, they are compared one by one.
#[derive(Debug, Default)]
pub(super) struct Ids {
    taken: Vec<SmolStr>,
    /// All of them in lower case, where they are many.
    index: HashSet<SmolStr>,
    /// How often a made id was made.
    made: Vec<(SmolStr, usize)>,
    /// Where in `made` an id stands, where they are many.
    made_index: HashMap<SmolStr, usize>,
}

/// From so many ids on, an index is faster than a list.
const MANY: usize = 24;

impl Ids {
    /// Takes an id that is written.
    pub(super) fn take(&mut self, id: &str) -> Result<(), String> {
        if let Some(problem) = problem(id) {
            return Err(problem);
        }
        if self.has(id) {
            return Err(format!("The identifier '{id}' may not be used more than once within the same scope."));
        }
        self.taken.push(id.into());
        if self.taken.len() == MANY {
            self.index = self.taken.iter().map(|id| id.to_ascii_lowercase().into()).collect();
        } else if self.taken.len() > MANY {
            self.index.insert(id.to_ascii_lowercase().into());
        }
        Ok(())
    }

    /// Whether a step has this id.
    pub(super) fn has(&self, id: &str) -> bool {
        if self.taken.len() < MANY {
            return self.taken.iter().any(|taken| taken.eq_ignore_ascii_case(id));
        }
        self.index.contains(id.to_ascii_lowercase().as_str())
    }

    /// The ids taken so far.
    pub(super) fn taken(&self) -> impl Iterator<Item = &str> {
        self.taken.iter().map(SmolStr::as_str)
    }

    /// Makes an id for what a step does: `__run`, then `__run_2`.
    pub(super) fn make(&mut self, what: &str) -> SmolStr {
        let legal = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
        let base: SmolStr = match what {
            "run" => SmolStr::new_static("__run"),
            _ => "__".chars().chain(what.chars().map(legal)).take(MAX_LENGTH).collect(),
        };
        let count = self.count(&base);
        if count == 1 {
            return base;
        }
        let suffix = format!("_{count}");
        let cut = base.len().min(MAX_LENGTH - suffix.len());
        format!("{}{suffix}", base.get(..cut).unwrap_or(&base)).into()
    }

    /// Counts a made id.
    fn count(&mut self, base: &SmolStr) -> usize {
        let known = if self.made.len() < MANY {
            self.made.iter().position(|(made, _)| made == base)
        } else {
            if self.made_index.is_empty() {
                self.made_index = self.made.iter().enumerate().map(|(at, (made, _))| (made.clone(), at)).collect();
            }
            self.made_index.get(base).copied()
        };
        if let Some((_, count)) = known.and_then(|at| self.made.get_mut(at)) {
            *count += 1;
            return *count;
        }
        if self.made.len() >= MANY {
            self.made_index.insert(base.clone(), self.made.len());
        }
        self.made.push((base.clone(), 1));
        1
    }
}
