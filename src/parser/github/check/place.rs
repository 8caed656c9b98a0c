//! In which job and step findings stand. Their words are those of GitHub's own parser, which has none for that.

use std::collections::HashMap;

use crate::parser::diagnostics::{Context, Diagnostic, Diagnostics, StepName};
use crate::parser::document::{FileId, Mapping, Node, Options, Sources, read};

/// Adds to each finding inside a job where it is. Files without findings are not looked at.
///
/// The text is read again: what was read is taken apart on the way to the model, and errors leave parts of it out.
pub(super) fn add(diagnostics: &mut Diagnostics, sources: &Sources, options: Options) {
    let mut outlines: HashMap<FileId, Option<Outline>> = HashMap::new();
    diagnostics.place(|finding| {
        let file = finding.span.file;
        let outline = outlines.entry(file).or_insert_with(|| {
            let text = &sources.get(file)?.text;
            Some(Outline::of(read(file, text, options).ok()?.into_iter().next()?))
        });
        outline.as_ref()?.context(finding)
    });
}

/// Line and column.
type At = (u32, u32);

/// Where the parts of a file begin.
struct Outline {
    /// In the order of the file. A part ends where the next one begins.
    parts: Vec<(At, Option<Part>)>,
}

/// A job, or one of its steps.
#[derive(Clone)]
struct Part {
    job: Node,
    step: Option<(usize, Node)>,
}

impl Outline {
    fn of(root: Node) -> Self {
        let mut parts = Vec::new();
        let entries = root.as_mapping().map(Mapping::entries).unwrap_or_default();
        parts.extend(entries.iter().map(|entry| (begin(&entry.key), None)));
        let jobs = root.get("jobs").and_then(Node::as_mapping).map(Mapping::entries).unwrap_or_default();
        let begins: Vec<At> = parts.iter().map(|(at, _)| *at).chain(jobs.iter().map(|job| begin(&job.key))).collect();
        let begins = sorted(begins);
        for job in jobs {
            let from = begin(&job.key);
            let to = begins.get(begins.partition_point(|at| *at <= from)).copied().unwrap_or((u32::MAX, 0));
            let part = |step| Some(Part { job: job.key.clone(), step });
            parts.push((from, part(None)));
            // What an alias brought stands elsewhere, and belongs to what is there.
            let is_here = |at: &At| from < *at && *at < to;
            for entry in job.value.as_mapping().map(Mapping::entries).unwrap_or_default() {
                parts.extend(Some(begin(&entry.key)).filter(is_here).map(|at| (at, part(None))));
            }
            let steps = job.value.get("steps").and_then(Node::as_sequence).unwrap_or_default();
            for (number, step) in steps.iter().enumerate() {
                parts.extend(Some(begin(step)).filter(is_here).map(|at| (at, part(Some((number + 1, step.clone()))))));
            }
        }
        parts.sort_by_key(|(at, _)| *at);
        Self { parts }
    }

    fn context(&self, finding: &Diagnostic) -> Option<Context> {
        let at = (finding.span.line, finding.span.column);
        let last = self.parts.partition_point(|(begin, _)| *begin <= at).checked_sub(1)?;
        let part = self.parts.get(last)?.1.as_ref()?;
        let job = part.job.as_scalar().map(|job| job.text.as_str()).filter(|job| !job.is_empty())?;
        match &part.step {
            Some((number, step)) => {
                let step = name(step).map_or(StepName::Number(*number), |name| StepName::Text(name.to_owned()));
                Some(Context::new(job, Some(step)))
            }
            None if is_named(&finding.message, job) => None,
            None => Some(Context::new(job, None)),
        }
    }
}

fn begin(node: &Node) -> At {
    (node.span.line, node.span.column)
}

fn sorted(mut all: Vec<At>) -> Vec<At> {
    all.sort_unstable();
    all
}

/// What a step is known by.
fn name(step: &Node) -> Option<&str> {
    let text = |key: &str| step.get(key).and_then(Node::as_scalar).and_then(|text| text.text.lines().next());
    ["name", "id"].into_iter().filter_map(text).map(str::trim).find(|name| !name.is_empty())
}

/// Whether a message has the name in quotes.
fn is_named(message: &str, job: &str) -> bool {
    let is_quote = |c: char| matches!(c, '\'' | '`');
    message
        .match_indices(job)
        .any(|(at, _)| message[..at].ends_with(is_quote) && message[at + job.len()..].starts_with(is_quote))
}
