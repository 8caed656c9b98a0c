//! Problem matchers: regular expressions that find errors and warnings in a tool's output.
//!
//! [`config`]: what a matcher file says and what is wrong with it. This module: matching, over one line or several.

mod config;

use std::sync::{Arc, LazyLock};

use regex::{Captures, Regex};

use super::issue::{Issue, IssuePlace, Level};
use super::reader::below;
use config::{Matcher, Pattern};
pub use config::{MatcherProblem, parse};

/// The matchers of a job, the newest first.
#[derive(Clone, Debug, Default)]
pub struct Matchers {
    list: Vec<Running>,
}

impl PartialEq for Matchers {
    fn eq(&self, other: &Self) -> bool {
        self.list.len() == other.list.len()
            && self.list.iter().zip(&other.list).all(|(a, b)| Arc::ptr_eq(&a.matcher, &b.matcher))
    }
}

/// A matcher and how far its patterns have come.
#[derive(Clone, Debug)]
struct Running {
    matcher: Arc<Matcher>,
    /// For each pattern but the last: what matched up to it.
    state: Vec<Option<Match>>,
}

/// What a matcher found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// The severity, as found or as the matcher's default.
    pub severity: Option<String>,
    /// The file.
    pub file: Option<String>,
    /// The line.
    pub line: Option<String>,
    /// The column.
    pub column: Option<String>,
    /// The code.
    pub code: Option<String>,
    /// The message.
    pub message: Option<String>,
    /// The project file that `file` is relative to.
    pub from_path: Option<String>,
}

/// What became of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MatchedLine {
    /// No matcher had anything to say.
    Nothing,
    /// One matched and nothing comes of it: why.
    Remark(String),
    /// It is an issue.
    Issue {
        /// The issue.
        issue: Issue,
        /// What could not be read in it.
        remarks: Vec<String>,
    },
}

impl Matchers {
    /// Adds the matchers of a file; those of the same owner go.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        let matchers = parse(text).map_err(|problem| problem.to_string())?;
        for matcher in matchers {
            self.remove(&matcher.owner);
            let state = vec![None; matcher.patterns.len().saturating_sub(1)];
            self.list.insert(0, Running { matcher: Arc::new(matcher), state });
        }
        Ok(())
    }

    /// Takes an owner's matchers away.
    pub fn remove(&mut self, owner: &str) {
        self.list.retain(|running| !running.matcher.owner.eq_ignore_ascii_case(owner));
    }

    /// Forgets what matched so far.
    pub fn reset(&mut self) {
        self.list.iter_mut().for_each(Running::reset);
    }

    /// Hears a line; paths below `workspace` are told relative to it.
    pub fn line(&mut self, line: &str, workspace: &str) -> MatchedLine {
        if self.list.is_empty() {
            return MatchedLine::Nothing;
        }
        let line = without_colours(line);
        let mut remark = None;
        for at in 0..self.list.len() {
            let Some(found) = self.list.get_mut(at).and_then(|running| running.line(&line)) else { continue };
            for (other, running) in self.list.iter_mut().enumerate() {
                if other != at {
                    running.reset();
                }
            }
            match issue(found, workspace) {
                Ok((issue, remarks)) => return MatchedLine::Issue { issue, remarks },
                Err(why) => remark = Some(why),
            }
        }
        remark.map_or(MatchedLine::Nothing, MatchedLine::Remark)
    }
}

impl Running {
    fn reset(&mut self) {
        self.state.iter_mut().for_each(|state| *state = None);
    }

    /// Each pattern looks at the line if the ones before it matched the lines before; the last one first, so that a line is not
    /// used twice.
    fn line(&mut self, line: &str) -> Option<Match> {
        let matcher = Arc::clone(&self.matcher);
        let last = matcher.patterns.len().checked_sub(1)?;
        for (at, pattern) in matcher.patterns.iter().enumerate().rev() {
            let before = match at.checked_sub(1) {
                None => None,
                Some(before) => match self.state.get(before) {
                    Some(Some(before)) => Some(before.clone()),
                    _ => continue,
                },
            };
            let found = pattern.regex.captures(line).map(|captures| extend(before.clone(), pattern, &captures));
            if at < last {
                if let Some(state) = self.state.get_mut(at) {
                    *state = found;
                }
                continue;
            }
            match found {
                Some(mut found) => {
                    self.reset();
                    if let (true, Some(state)) = (pattern.is_loop, self.state.last_mut()) {
                        *state = before;
                    }
                    if found.severity.as_deref().unwrap_or_default().is_empty() {
                        found.severity.clone_from(&matcher.severity);
                    }
                    if found.from_path.as_deref().unwrap_or_default().is_empty() {
                        found.from_path.clone_from(&matcher.from_path);
                    }
                    return Some(found);
                }
                None => {
                    if let Some(state) = self.state.last_mut() {
                        *state = None;
                    }
                }
            }
        }
        None
    }
}

#[cfg(test)]
impl Matchers {
    /// What the newest matcher finds in a line.
    pub(super) fn raw_line(&mut self, line: &str) -> Option<Match> {
        self.list.first_mut().and_then(|running| running.line(line))
    }
}

fn extend(before: Option<Match>, pattern: &Pattern, captures: &Captures<'_>) -> Match {
    let mut found = before.unwrap_or_default();
    let set = |field: &mut Option<String>, group: Option<usize>| {
        if let Some(text) = group.and_then(|group| captures.get(group)) {
            *field = Some(text.as_str().to_owned());
        }
    };
    set(&mut found.severity, pattern.severity);
    set(&mut found.file, pattern.file);
    set(&mut found.line, pattern.line);
    set(&mut found.column, pattern.column);
    set(&mut found.code, pattern.code);
    set(&mut found.message, pattern.message);
    set(&mut found.from_path, pattern.from_path);
    found
}

fn issue(found: Match, workspace: &str) -> Result<(Issue, Vec<String>), String> {
    let message = found.message.filter(|message| !message.trim().is_empty());
    let message = message.ok_or("Skipping logging an issue for the matched line because the message is empty.")?;
    let severity = found.severity.unwrap_or_default();
    let level = if severity.is_empty() { Some(Level::Error) } else { Level::named(&severity) };
    let level = level.ok_or_else(|| {
        format!("Skipped logging an issue for the matched line because the severity '{severity}' is not supported.")
    })?;
    let mut remarks = Vec::new();
    let mut number = |what: &str, text: Option<String>| {
        let text = text.filter(|text| !text.is_empty())?;
        if text.trim().parse::<i32>().is_err() {
            remarks.push(format!("Unable to parse {what} number '{text}'"));
            return None;
        }
        Some(text)
    };
    let line = number("line", found.line);
    let column = number("column", found.column);
    let file = found.file.filter(|file| !file.trim().is_empty()).map(|file| {
        let file = match found.from_path.as_deref().and_then(|from| from.rsplit_once(['/', '\\'])) {
            Some((folder, _)) if !file.starts_with('/') => format!("{folder}/{file}"),
            _ => file,
        };
        below(&file, workspace)
    });
    let code = found.code.filter(|code| !code.trim().is_empty());
    let place = IssuePlace { line, end_line: None, column, end_column: None };
    Ok((Issue { level, message, title: None, code, file, place }, remarks))
}

fn without_colours(line: &str) -> std::borrow::Cow<'_, str> {
    // Written out and tested: it is a valid expression.
    #[allow(clippy::unwrap_used)]
    static COLOUR: LazyLock<Regex> = LazyLock::new(|| Regex::new("\u{1b}\\[[0-9;]*m?").unwrap());
    if line.contains("\u{1b}[") { COLOUR.replace_all(line, "") } else { line.into() }
}
