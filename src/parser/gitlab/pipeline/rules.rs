//! `rules`: which of them holds, and what it says.
//!
//! Source: gitlabhq `lib/gitlab/ci/build/rules`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Debug;
use std::rc::Rc;
use std::sync::Arc;

use smol_str::SmolStr;

use super::super::config::model::{Changes, Exists, Rule};
use super::context::ChangedFiles;
use super::pattern::Pattern;
use super::scope::expand_deep;
use crate::parser::document::{Files, Span};
use crate::parser::expression::gitlab::{self, Lookup};
use crate::parser::expression::regex;

/// How many comparisons of paths and patterns the server makes before it takes a rule for holding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparisons {
    /// For `changes`.
    pub changes: usize,
    /// For `exists`.
    pub exists: usize,
}

impl Default for Comparisons {
    fn default() -> Self {
        Self { changes: 50_000, exists: 10_000 }
    }
}

/// Files of other projects, for `exists:project`.
pub trait Projects: Debug {
    /// The paths of all files of `project` at `reference` (its default branch), sorted.
    ///
    /// # Errors
    ///
    /// What is not there, in words: `project x` or `ref y in project x`. `None`: nothing is known of other projects here.
    fn paths(&self, project: &str, reference: Option<&str>) -> Result<Arc<[String]>, Option<String>>;
}

/// Nothing is known of other projects.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProjects;

impl Projects for NoProjects {
    fn paths(&self, _: &str, _: Option<&str>) -> Result<Arc<[String]>, Option<String>> {
        Err(None)
    }
}

/// A rule that cannot be decided.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RuleError {
    /// Where it stands.
    pub span: Span,
    /// Why.
    pub message: String,
    /// Whether the server refuses the pipeline; else it only cannot be known here, and counts as not holding.
    pub is_fatal: bool,
}

/// Evaluates rules of one pipeline. Conditions, patterns and lists of files are read once.
pub struct Evaluator<'a> {
    files: &'a dyn Files,
    projects: &'a dyn Projects,
    changes: &'a dyn ChangedFiles,
    limits: Comparisons,
    conditions: RefCell<HashMap<SmolStr, Option<Rc<gitlab::Expr>>>>,
    patterns: RefCell<HashMap<(bool, SmolStr), Rc<Pattern>>>,
    paths: RefCell<Option<Arc<[String]>>>,
    changed: RefCell<Option<Option<Arc<[String]>>>>,
    /// Rules that could not be decided.
    pub errors: RefCell<Vec<RuleError>>,
}

impl<'a> Evaluator<'a> {
    /// Of a pipeline with these files.
    pub fn new(files: &'a dyn Files, projects: &'a dyn Projects, changes: &'a dyn ChangedFiles) -> Self {
        Self {
            files,
            projects,
            changes,
            limits: Comparisons::default(),
            conditions: RefCell::default(),
            patterns: RefCell::default(),
            paths: RefCell::default(),
            changed: RefCell::default(),
            errors: RefCell::default(),
        }
    }

    /// With other limits.
    #[must_use]
    pub fn limits(mut self, limits: Comparisons) -> Self {
        self.limits = limits;
        self
    }

    /// The first rule that holds.
    ///
    /// # Errors
    ///
    /// Where one before it cannot be decided.
    pub fn first<'r>(&self, rules: &'r [Rule], lookup: &dyn Lookup) -> Result<Option<&'r Rule>, RuleError> {
        for rule in rules {
            match self.holds(rule, lookup) {
                Ok(true) => return Ok(Some(rule)),
                Ok(false) => {}
                Err(error) if error.is_fatal => return Err(error),
                Err(error) => self.errors.borrow_mut().push(error),
            }
        }
        Ok(None)
    }

    fn holds(&self, rule: &Rule, lookup: &dyn Lookup) -> Result<bool, RuleError> {
        if let Some(condition) = &rule.condition
            && !self.condition(&condition.text, lookup)
        {
            return Ok(false);
        }
        if let Some(changes) = &rule.changes
            && !self.changes(changes, rule.span, lookup)?
        {
            return Ok(false);
        }
        match &rule.exists {
            Some(exists) => self.exists(exists, rule.span, lookup),
            None => Ok(true),
        }
    }

    /// Whether a condition holds; one that cannot be read does not.
    pub fn condition(&self, text: &SmolStr, lookup: &dyn Lookup) -> bool {
        let known = self.conditions.borrow().get(text).cloned();
        let expr = known.unwrap_or_else(|| {
            let parsed = gitlab::parse(text).ok().map(Rc::new);
            self.conditions.borrow_mut().insert(text.clone(), parsed.clone());
            parsed
        });
        expr.is_some_and(|expr| expr.truth(lookup))
    }

    fn changes(&self, changes: &Changes, span: Span, lookup: &dyn Lookup) -> Result<bool, RuleError> {
        let paths = match &changes.compare_to {
            Some(reference) => {
                let reference_name = expand_deep(lookup, &reference.value);
                self.changes.since(&reference_name).map_err(|error| {
                    let message = format!("`changes:compare_to`: {error}");
                    RuleError { span: reference.span, message, is_fatal: true }
                })?
            }
            None => self.changed(),
        };
        let Some(paths) = paths else { return Ok(true) };
        if let Some(regexp) = &changes.regexp {
            let pattern = PathPattern::new(&expand_deep(lookup, &regexp.value), span)?;
            let over = paths.len() > self.limits.changes;
            return Ok(over || paths.iter().any(|path| pattern.is_match(path)));
        }
        Ok(self.any_changed(&changes.paths, &paths, lookup))
    }

    fn changed(&self) -> Option<Arc<[String]>> {
        self.changed.borrow_mut().get_or_insert_with(|| self.changes.changed()).clone()
    }

    /// Whether one of the pipeline's changed files matches one of these patterns; where changes are not known, yes.
    pub fn has_changes(&self, globs: &[SmolStr], lookup: &dyn Lookup) -> bool {
        self.changed().is_none_or(|paths| self.any_changed(globs, &paths, lookup))
    }

    fn any_changed(&self, globs: &[SmolStr], paths: &[String], lookup: &dyn Lookup) -> bool {
        if paths.is_empty() || globs.is_empty() {
            return false;
        }
        if paths.len().saturating_mul(globs.len()) > self.limits.changes {
            return true;
        }
        globs.iter().any(|glob| {
            let pattern = self.pattern(&expand_deep(lookup, glob), false);
            paths.iter().any(|path| pattern.matches(path))
        })
    }

    fn exists(&self, exists: &Exists, span: Span, lookup: &dyn Lookup) -> Result<bool, RuleError> {
        let paths = match &exists.project {
            Some(project) => {
                let name = expand_deep(lookup, &project.value);
                let reference = exists.reference.as_ref().map(|reference| expand_deep(lookup, &reference.value));
                self.projects.paths(&name, reference.as_deref()).map_err(|missing| match missing {
                    Some(what) => RuleError {
                        span: project.span,
                        message: format!("`exists:project`: {what} does not exist"),
                        is_fatal: true,
                    },
                    None => RuleError {
                        span: project.span,
                        message: format!(
                            "the files of the project `{name}` are not known here: `exists` does not hold"
                        ),
                        is_fatal: false,
                    },
                })?
            }
            None => self.paths(span)?,
        };
        if let Some(regexp) = &exists.regexp {
            let pattern = PathPattern::new(&expand_deep(lookup, &regexp.value), span)?;
            let over = paths.len() > self.limits.exists;
            return Ok(over || paths.iter().any(|path| pattern.is_match(path)));
        }
        let mut comparisons = 0;
        Ok(exists.paths.iter().any(|glob| match &*self.pattern(&expand_deep(lookup, glob), true) {
            Pattern::Exact(folder) if folder.ends_with('/') => {
                let at = paths.partition_point(|path| path < folder);
                paths.get(at).is_some_and(|path| path.starts_with(folder.as_str()))
            }
            Pattern::Exact(exact) => paths.binary_search_by(|path| path.as_str().cmp(exact)).is_ok(),
            suffix @ Pattern::Suffix(_) => paths.iter().any(|path| suffix.matches(path)),
            pattern => paths.iter().any(|path| {
                comparisons += 1;
                comparisons > self.limits.exists || pattern.matches(path)
            }),
        }))
    }

    fn paths(&self, span: Span) -> Result<Arc<[String]>, RuleError> {
        if let Some(paths) = &*self.paths.borrow() {
            return Ok(paths.clone());
        }
        let paths = self.files.list().map_err(|error| RuleError {
            span,
            message: format!("the project's files cannot be listed: {error}"),
            is_fatal: true,
        })?;
        *self.paths.borrow_mut() = Some(paths.clone());
        Ok(paths)
    }

    fn pattern(&self, glob: &str, of_exists: bool) -> Rc<Pattern> {
        let key = (of_exists, SmolStr::new(glob));
        let read = || Rc::new(if of_exists { Pattern::of_exists(glob) } else { Pattern::new(glob) });
        self.patterns.borrow_mut().entry(key).or_insert_with(read).clone()
    }
}

/// Characters of a pattern over paths.
const LONGEST_PATTERN: usize = 255;

/// A pattern over whole paths. Ruby reads these, which can look ahead; here that works where it stands first, as in
/// `^(?!docs/)`, which is what it is used for.
enum PathPattern {
    Plain(regex::Pattern),
    LooksAhead { at_lines: bool, is_negative: bool, ahead: regex::Pattern, rest: regex::Pattern },
}

impl PathPattern {
    fn new(text: &str, span: Span) -> Result<Self, RuleError> {
        let wrong = |message| RuleError { span, message, is_fatal: true };
        if text.chars().count() > LONGEST_PATTERN {
            let message =
                format!("the pattern is longer than {LONGEST_PATTERN} characters once its variables are replaced");
            return Err(wrong(message));
        }
        let plain = |text: &str| {
            regex::Pattern::ruby(text).map_err(|error| wrong(format!("the pattern `{text}` cannot be used: {error}")))
        };
        let anchored = text.strip_prefix('^').map(|rest| (true, rest));
        let anchored = anchored.or_else(|| text.strip_prefix("\\A").map(|rest| (false, rest)));
        let Some((at_lines, rest)) = anchored else { return plain(text).map(Self::Plain) };
        let inner = rest.strip_prefix("(?!").map(|rest| (true, rest));
        let inner = inner.or_else(|| rest.strip_prefix("(?=").map(|rest| (false, rest)));
        let Some((is_negative, (ahead, rest))) = inner.and_then(|(is, rest)| Some((is, closed(rest)?))) else {
            return plain(text).map(Self::Plain);
        };
        let ahead = plain(&format!("\\A(?:{ahead})"))?;
        let rest = plain(&format!("\\A(?:{rest})"))?;
        Ok(Self::LooksAhead { at_lines, is_negative, ahead, rest })
    }

    fn is_match(&self, path: &str) -> bool {
        match self {
            Self::Plain(pattern) => pattern.is_match(path),
            Self::LooksAhead { at_lines, is_negative, ahead, rest } => {
                let starts = std::iter::once(0).chain(path.match_indices('\n').map(|(at, _)| at + 1));
                let starts = starts.take(if *at_lines { usize::MAX } else { 1 });
                starts
                    .filter_map(|at| path.get(at..))
                    .any(|text| ahead.is_match(text) != *is_negative && rest.is_match(text))
            }
        }
    }
}

/// What stands before the bracket that closes a group, and what after it.
fn closed(text: &str) -> Option<(&str, &str)> {
    let (mut depth, mut escaped) = (1usize, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((text.get(..at)?, text.get(at + 1..)?));
        }
    }
    None
}
