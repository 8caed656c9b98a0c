//! What is wrong with a pipeline's text, where, and what to do about it.
//!
//! - [`Diagnostic`]: one finding. [`Diagnostics`]: all of one pass. [`suggest`]: the name that was meant.
//! - [`render`](mod@render): for people, with the source and a caret. [`json`], [`sarif`]: for programs.
//!
//! Every finding has a stable [`Code`], which `docs/diagnostics.md` explains; the codes of a language are listed where its
//! rules are.

pub mod json;
pub mod render;
pub mod sarif;
mod suggest;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use super::document::{Sources, Span};
pub use suggest::{did_you_mean, nearest};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The forge refuses it, or it cannot run.
    Error,
    /// It runs, and probably not as it was meant.
    Warning,
    /// Worth knowing.
    Note,
}

/// The stable name of a rule, `gitlab/unknown-key`. `docs/diagnostics.md` has a section on each, and `lint --explain` shows
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct Code(pub &'static str);

impl Code {
    /// Where the rule is explained, from the root of our own repository or documentation.
    pub fn url(self) -> String {
        // The anchor that Markdown renderers make of the heading: letters, digits, dashes and underscores stay.
        let stays = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let anchor: String = self.0.chars().filter(stays).collect();
        format!("docs/diagnostics.md#{anchor}")
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The rule.
    pub code: Code,
    /// What is wrong, in one sentence without a full stop. Names stand in backticks.
    pub message: String,
    /// The offending token.
    pub span: Span,
    /// The part of the pipeline that it stands in, where the message does not say it.
    pub context: Option<Box<Context>>,
    /// What to do about it.
    pub help: Option<String>,
    /// Other places that belong to it, each with a word on why.
    pub related: Vec<(Span, String)>,
}

/// A part of a pipeline. Shown as ``in job `a`, step `b` ``.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    job: String,
    step: Option<StepName>,
}

/// What a step is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepName {
    /// Its name.
    Text(String),
    /// Its place among the steps, from 1.
    Number(usize),
}

impl Context {
    /// The job of this name, or a step of it.
    pub fn new(job: &str, step: Option<StepName>) -> Self {
        let short = |name: &str| {
            let mut name = name.to_owned();
            shorten(&mut name);
            name
        };
        let step = step.map(|step| match step {
            StepName::Text(name) => StepName::Text(short(&name)),
            number @ StepName::Number(_) => number,
        });
        Self { job: short(job), step }
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in job `{}`", self.job)?;
        match &self.step {
            Some(StepName::Text(name)) => write!(f, ", step `{name}`"),
            Some(StepName::Number(number)) => write!(f, ", step {number}"),
            None => Ok(()),
        }
    }
}

impl Diagnostic {
    /// An error.
    pub fn error(code: Code, span: Span, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { severity: Severity::Error, code, message, span, context: None, help: None, related: Vec::new() }
    }

    /// A warning.
    pub fn warning(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    /// A note.
    pub fn note(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::error(code, span, message) }
    }

    /// What is wrong, and in which part of the pipeline.
    pub fn told(&self) -> Cow<'_, str> {
        match &self.context {
            Some(context) => Cow::Owned(format!("{} ({context})", self.message)),
            None => Cow::Borrowed(&self.message),
        }
    }

    /// With what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With what to do about it, where there is something.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    /// With another place.
    #[must_use]
    pub fn related(mut self, span: Span, why: impl Into<String>) -> Self {
        self.related.push((span, why.into()));
        self
    }
}

/// All findings of one pass.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    /// How many there are of each severity.
    counts: [usize; 3],
}

/// More findings than anybody reads are a flood made of one mistake; after so many of a severity the rest is dropped. An
/// error is never dropped for warnings: without it the file would pass.
const MOST: usize = 1_000;

/// Characters of a message or a help: names in them may be as long as a file.
const LONGEST: usize = 2_000;

/// Takes the middle out of what nobody reads.
fn shorten(text: &mut String) {
    if text.len() <= LONGEST {
        return;
    }
    let from = text.floor_char_boundary(LONGEST * 2 / 3);
    let to = text.ceil_char_boundary(text.len() - LONGEST / 4);
    text.replace_range(from..to, " … ");
}

impl Diagnostics {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, mut diagnostic: Diagnostic) {
        let count = &mut self.counts[diagnostic.severity as usize];
        if *count < MOST {
            *count += 1;
            shorten(&mut diagnostic.message);
            if let Some(help) = &mut diagnostic.help {
                shorten(help);
            }
            self.list.push(diagnostic);
        }
    }

    /// Adds those of another pass.
    pub fn extend(&mut self, more: Diagnostics) {
        more.list.into_iter().for_each(|diagnostic| self.push(diagnostic));
    }

    /// Whether one of them is an error.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Them, in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Leaves out those of a code.
    pub fn drop_of(&mut self, code: Code) {
        self.list.retain(|diagnostic| diagnostic.code != code);
        self.count();
    }

    /// Keeps errors and warnings.
    pub fn drop_notes(&mut self) {
        self.list.retain(|diagnostic| diagnostic.severity != Severity::Note);
        self.count();
    }

    /// Keeps the first `most` warnings of each code. Returns the codes of those that went, and how many.
    pub fn keep_of_each_warning(&mut self, most: usize) -> Vec<(Code, usize)> {
        let mut seen: BTreeMap<Code, usize> = BTreeMap::new();
        self.list.retain(|diagnostic| {
            let is_warning = diagnostic.severity == Severity::Warning;
            let count = seen.entry(diagnostic.code).or_default();
            *count += usize::from(is_warning);
            !is_warning || *count <= most
        });
        self.count();
        seen.into_iter().filter(|(_, count)| *count > most).map(|(code, count)| (code, count - most)).collect()
    }

    /// Adds to each in which part of the pipeline it stands, as far as `context` knows.
    pub fn place(&mut self, mut context: impl FnMut(&Diagnostic) -> Option<Context>) {
        for diagnostic in &mut self.list {
            diagnostic.context = context(diagnostic).map(Box::new);
        }
    }

    /// Orders them by file and place, and drops repetitions.
    pub fn sort(&mut self) {
        self.list
            .sort_by(|a, b| (a.span, a.severity, a.code, &a.message).cmp(&(b.span, b.severity, b.code, &b.message)));
        self.list.dedup();
        self.count();
    }

    fn count(&mut self) {
        self.counts = [0; 3];
        self.list.iter().for_each(|diagnostic| self.counts[diagnostic.severity as usize] += 1);
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

/// What a pass brought: a result as far as there is one, its findings, and the files they stand in.
#[derive(Debug)]
pub struct Checked<T> {
    /// The result; `None` where the errors leave none.
    pub value: Option<T>,
    /// The findings.
    pub diagnostics: Diagnostics,
    /// The files.
    pub sources: Sources,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::document::FileId;

    fn many(severity: Severity, code: &'static str, count: u32) -> Diagnostics {
        let mut sources = Sources::new();
        let file = sources.add("ci.yml", "");
        let mut all = Diagnostics::new();
        for line in 1..=count {
            let error = Diagnostic::error(Code(code), Span::point(file, line, 1), "wrong");
            all.push(Diagnostic { severity, ..error });
        }
        all
    }

    #[test]
    fn a_flood_of_warnings_hides_no_error() {
        let mut all = many(Severity::Warning, "a", 5_000);
        assert_eq!(all.len(), 1_000);
        assert!(!all.has_errors());
        all.extend(many(Severity::Error, "b", 3));
        assert!(all.has_errors());
        assert_eq!(all.len(), 1_003);
    }

    #[test]
    fn of_each_warning_some_are_kept_and_all_errors() {
        let mut all = many(Severity::Warning, "a", 12);
        all.extend(many(Severity::Warning, "b", 3));
        all.extend(many(Severity::Error, "c", 20));
        assert_eq!(all.keep_of_each_warning(10), [(Code("a"), 2)]);
        assert_eq!(all.len(), 10 + 3 + 20);
        assert_eq!(all.keep_of_each_warning(10), []);
    }

    #[test]
    fn long_names_do_not_fill_the_screen() {
        let mut all = Diagnostics::new();
        let name = "ü".repeat(100_000);
        all.push(Diagnostic::error(Code("a/b"), Span::start_of(FileId(0)), format!("job `{name}` is wrong")));
        let message = &all.iter().next().unwrap().message;
        assert!(message.len() < 2 * LONGEST && message.starts_with("job `ü") && message.ends_with("ü` is wrong"));
    }
}
