//! What all rules share: where they are, what they know, and how they say what is wrong.

use std::collections::{HashMap, HashSet};

use super::codes;
use crate::parser::diagnostics::{Code, Diagnostic, Diagnostics, did_you_mean};
use crate::parser::document::{Entry, Mapping, Node, Schema, Span};
use crate::parser::variables::{Hierarchy, Source};

/// What is known before the file is read.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// `--var`.
    pub runtime: Vec<(String, String)>,
    /// Variables of the machine; without them `CI`, `BUILD_NUMBER` and `BRANCH_NAME` have stand-ins.
    pub system: Vec<(String, String)>,
}

/// Variables that the machine always gives, and what stands for them where it is not known which.
pub(super) const SYSTEM: [(&str, &str); 3] = [("CI", "true"), ("BUILD_NUMBER", "1"), ("BRANCH_NAME", "main")];

/// What may stand in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A variable's value: secrets may.
    Environment,
    /// Another setting.
    Setting,
    /// A condition: no secret by name, but a variable that holds one; only a truth comes out.
    Condition,
    /// Commands of a shell.
    Script,
}

/// A use of another job's result, to be looked at once all dependencies are known.
#[derive(Clone, Debug)]
pub(super) struct ResultUse {
    /// The place of the job among those of the file that uses it; `None`: `global_env`.
    pub job: Option<usize>,
    /// Whose result it is.
    pub of: String,
    pub span: Span,
    /// `, in job ...`.
    pub context: String,
}

pub(super) struct Check<'a> {
    pub diagnostics: &'a mut Diagnostics,
    pub hierarchy: Hierarchy,
    /// Names of all jobs, sorted.
    pub jobs: Vec<&'a str>,
    /// Axes of the job's matrix; `None` outside jobs.
    pub axes: Option<Vec<&'a str>>,
    /// "in job `a`, step `b`".
    pub job: Option<&'a str>,
    pub step: Option<&'a str>,
    /// The place of the job among those of the file.
    pub job_at: Option<usize>,
    /// The variable whose value is looked at, and its source.
    pub own: Option<(&'a str, Source)>,
    /// Names that no variable may have, and so are nothing to suggest.
    pub bad_names: HashSet<&'a str>,
    /// Circles of variables that have been told.
    pub circles: HashSet<Vec<String>>,
    /// Results that are used.
    pub results: Vec<ResultUse>,
}

impl<'a> Check<'a> {
    pub(super) fn new(given: &Given, diagnostics: &'a mut Diagnostics) -> Self {
        let mut hierarchy = Hierarchy::new();
        for (name, value) in SYSTEM {
            hierarchy.set(Source::System, name, value);
        }
        for (name, value) in &given.system {
            hierarchy.set(Source::System, name.as_str(), value.as_str());
        }
        for (name, value) in &given.runtime {
            hierarchy.set(Source::Runtime, name.as_str(), value.as_str());
        }
        Self {
            diagnostics,
            hierarchy,
            jobs: Vec::new(),
            axes: None,
            job: None,
            step: None,
            job_at: None,
            own: None,
            bad_names: HashSet::new(),
            circles: HashSet::new(),
            results: Vec::new(),
        }
    }

    /// Where in the pipeline the check is, as the end of a message.
    pub(super) fn context(&self) -> String {
        match (self.job, self.step) {
            (Some(job), Some(step)) => format!(", in job `{job}`, step `{step}`"),
            (Some(job), None) => format!(", in job `{job}`"),
            _ => String::new(),
        }
    }

    /// Reports an error; where it is in the pipeline is added.
    pub(super) fn error(&mut self, code: Code, span: Span, message: impl AsRef<str>, help: impl Into<Option<String>>) {
        let message = format!("{}{}", message.as_ref(), self.context());
        self.diagnostics.push(Diagnostic::error(code, span, message).maybe_help(help.into()));
    }

    /// Reports a warning; where it is in the pipeline is added.
    pub(super) fn warning(
        &mut self,
        code: Code,
        span: Span,
        message: impl AsRef<str>,
        help: impl Into<Option<String>>,
    ) {
        let message = format!("{}{}", message.as_ref(), self.context());
        self.diagnostics.push(Diagnostic::warning(code, span, message).maybe_help(help.into()));
    }

    /// The keys of a mapping, each once and known.
    pub(super) fn mapping<'n>(&mut self, node: &'n Node, what: &str, keys: &[&str]) -> Option<&'n Mapping> {
        let Some(mapping) = node.as_mapping() else {
            let message = format!("{what} is a mapping of keys, not {}", node.kind(Schema::Core));
            let help = format!("its keys are {}", listed(keys));
            self.error(codes::WRONG_TYPE, node.span, message, help);
            return None;
        };
        for entry in self.entries(mapping) {
            let Some(key) = self.key(entry) else { continue };
            if !keys.contains(&key) {
                let help = did_you_mean(key, keys.iter().copied());
                let help = help.unwrap_or_else(|| format!("{what} has the keys {}", listed(keys)));
                self.error(codes::UNKNOWN_KEY, entry.key.span, format!("{what} has no key `{key}`"), help);
            }
        }
        Some(mapping)
    }

    /// The entries, and a word on keys that come twice.
    pub(super) fn entries<'n>(&mut self, mapping: &'n Mapping) -> &'n [Entry] {
        let mut seen = HashMap::with_capacity(mapping.len());
        for entry in mapping.entries() {
            if let Some(key) = entry.key.as_scalar()
                && let Some(first) = seen.insert(key.text.as_str(), entry.key.span)
            {
                let message = format!("the key `{}` is written twice, first in line {}", key.text, first.line);
                self.error(codes::DUPLICATE_KEY, entry.key.span, message, "keep one of them".to_owned());
            }
        }
        mapping.entries()
    }

    pub(super) fn key<'n>(&mut self, entry: &'n Entry) -> Option<&'n str> {
        let key = entry.key.as_scalar().map(|key| key.text.as_str());
        if key.is_none() {
            let message = format!("a key is text, not {}", entry.key.kind(Schema::Core));
            let help = "write a name before the colon, in quotes where it has signs of YAML in it".to_owned();
            self.error(codes::WRONG_TYPE, entry.key.span, message, help);
        }
        key
    }

    pub(super) fn required<'n>(
        &mut self,
        mapping: &'n Mapping,
        at: Span,
        what: &str,
        key: &str,
        help: &str,
    ) -> Option<&'n Node> {
        let node = mapping.get(key).filter(|node| !node.is_null(Schema::Core));
        if node.is_none() && (mapping.entry(key).is_some() || !has_near(mapping, &[key])) {
            let at = mapping.entry(key).map_or(at, |entry| entry.key.span);
            self.error(codes::MISSING_KEY, at, format!("{what} has no `{key}`"), help.to_owned());
        }
        node
    }

    /// A name of letters, digits, `_` and, where `dashes`, `-`; the first is no digit and no dash unless `dashes`.
    pub(super) fn name(&mut self, text: &str, span: Span, what: &str, dashes: bool) -> bool {
        let good = is_name(text, dashes);
        if !good {
            let help = if dashes {
                "letters, digits, `_` and `-`, beginning with none of the signs but `_`, at most 255"
            } else {
                "letters, digits and `_`, beginning with no digit"
            };
            self.error(codes::BAD_NAME, span, format!("`{text}` is no name for {what}"), help.to_owned());
        }
        good
    }
}

/// Whether a text is a name of letters, digits, `_` and, where `dashes`, `-`.
pub(super) fn is_name(text: &str, dashes: bool) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || (dashes && c.is_ascii_digit());
    text.starts_with(first)
        && text.len() <= 255
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || (dashes && c == '-'))
}

/// `a`, `b`, `c`, at most a dozen.
pub(super) fn listed(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(12).map(|name| format!("`{name}`")).collect();
    let more = if names.len() > shown.len() { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// Whether a key is there that one of `keys` was meant by: it was complained about.
pub(super) fn has_near(mapping: &Mapping, keys: &[&str]) -> bool {
    let texts = mapping.entries().iter().filter_map(|entry| entry.key.as_scalar()).map(|key| key.text.as_str());
    texts.filter(|text| !keys.contains(text)).any(|text| did_you_mean(text, keys.iter().copied()).is_some())
}
