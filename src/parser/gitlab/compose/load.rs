//! A file's bytes to its header and its content.

use std::borrow::Cow;

use crate::parser::diagnostics::{Diagnostic, Diagnostics};
use crate::parser::document::{Entry, FileId, Limits, Merge, Node, Options, Schema, Sources, Span, SyntaxError, read};

use super::ahead::ReadAhead;
use super::context::ForgeLimits;
use super::{codes, tidy};

/// A file as it is written, before its inputs are put in.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub(super) file: FileId,
    /// The document with `spec:`, where there is one.
    pub(super) header: Option<Node>,
    /// The document with the configuration; a mapping unless `inputs_only` files are looked at.
    pub(super) content: Node,
    /// Whether a `!reference` stands somewhere in it.
    pub(super) has_references: bool,
}

/// The root file: the first of the sources.
pub(super) const ROOT: FileId = FileId(0);

/// The documents of a file; `None` where it is no text, or no YAML.
pub(super) fn documents(file: FileId, bytes: &[u8]) -> Option<Vec<Node>> {
    let (text, fault) = decode(bytes);
    if fault.is_some() {
        return None;
    }
    yaml(file, &text).ok()
}

fn yaml(file: FileId, text: &str) -> Result<Vec<Node>, SyntaxError> {
    read(file, text, Options { merge: Merge::Ruby, limits: Limits::default() })
}

/// Adds a file to the sources and reads it, unless its YAML was read `ahead`. `None` where the findings say why.
pub(super) fn load(
    name: &str,
    bytes: &[u8],
    ahead: Option<&ReadAhead>,
    limits: &ForgeLimits,
    sources: &mut Sources,
    diagnostics: &mut Diagnostics,
) -> Option<Loaded> {
    let (text, fault) = decode(bytes);
    let file = sources.add(name, text.as_ref());
    if let Some((line, column, problem)) = fault {
        diagnostics.push(Diagnostic::error(codes::FILE, Span::point(file, line, column), problem));
        return None;
    }
    if text.len() > limits.file_bytes {
        let message = format!("the file has {} bytes; GitLab's limit is {}", text.len(), limits.file_bytes);
        diagnostics.push(limits.exceeded(Span::start_of(file), message));
    }
    let read = ahead.and_then(|ahead| ahead.take(file, bytes)).map_or_else(|| yaml(file, &text), Ok);
    let documents = match read {
        Ok(documents) => documents,
        Err(error) => {
            diagnostics.push(Diagnostic::error(codes::YAML, error.span, error.problem));
            return None;
        }
    };
    let mut tidied = tidy::Tidy::new(limits, diagnostics);
    let mut documents: Vec<Node> = documents.into_iter().map(|document| tidied.document(document)).collect();
    let has_references = tidied.has_references;
    let (header, content) = part(&mut documents, diagnostics);
    let Some(content) = content else {
        let message = "the file is empty: a configuration needs at least one job";
        diagnostics.push(Diagnostic::error(codes::EMPTY, Span::start_of(file), message));
        return None;
    };
    if content.as_mapping().is_none() {
        if content.is_null(Schema::Ruby) {
            let message = "the configuration is empty: it needs at least one job";
            diagnostics.push(Diagnostic::error(codes::EMPTY, content.span, message));
        } else {
            let message =
                format!("a configuration is a mapping of keywords and jobs, this is {}", content.kind(Schema::Ruby));
            let help = "write a job as `name:` with `script:` indented below it";
            diagnostics.push(Diagnostic::error(codes::NOT_A_MAPPING, content.span, message).help(help));
        }
        return None;
    }
    Some(Loaded { file, header, content, has_references })
}

/// The header and the content among the documents.
fn part(documents: &mut Vec<Node>, diagnostics: &mut Diagnostics) -> (Option<Node>, Option<Node>) {
    let has_header = documents.len() > 1 && documents.first().is_some_and(|first| first.get("spec").is_some());
    if let Some(third) = documents.get(2) {
        let message = "more than two documents in one file: GitLab reads a `spec:` header and one configuration";
        diagnostics.push(Diagnostic::error(codes::DOCUMENTS, third.span, message));
    }
    documents.truncate(2);
    if has_header {
        let content = documents.pop();
        return (documents.pop(), content);
    }
    if let Some(second) = documents.get(1) {
        let message = "GitLab ignores this document: the one before it is no `spec:` header, and is the configuration";
        let help = "remove the `---`, or move this into a file of its own that is included";
        diagnostics.push(Diagnostic::warning(codes::DOCUMENTS, second.span, message).help(help));
    }
    let content = documents.drain(..).next();
    // A job may be called `spec`; one that has nothing to run is a header in the wrong place.
    let is_job =
        |entry: &&Entry| ["script", "run", "trigger", "extends"].iter().any(|key| entry.value.get(key).is_some());
    let entry = content.as_ref().and_then(|content| content.as_mapping()?.entry("spec"));
    if let Some(entry) = entry.filter(|entry| !is_job(entry)) {
        let message = "`spec` is a header: it stands in a document of its own, before the configuration";
        let help = "put a line `---` between the header and the jobs";
        diagnostics.push(Diagnostic::error(codes::SPEC, entry.key.span, message).help(help));
    }
    (None, content)
}

/// The text of a file that begins with a byte order mark of UTF-16, as GitLab reads it; `None` of all others.
pub fn utf16_text(bytes: &[u8]) -> Option<String> {
    if !matches!(bytes, [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..]) {
        return None;
    }
    let (text, fault) = decode(bytes);
    fault.is_none().then(|| text.into_owned())
}

/// The text of a file, and what is wrong with its encoding at which line and column.
fn decode(bytes: &[u8]) -> (Cow<'_, str>, Option<(u32, u32, String)>) {
    match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => decode_utf8(rest),
        [0xFF, 0xFE, rest @ ..] => decode_utf16(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => decode_utf16(rest, u16::from_be_bytes),
        [_, 0, ..] | [0, _, ..] => {
            let problem = "this looks like UTF-16 without a byte order mark: save the file as UTF-8".to_owned();
            (String::from_utf8_lossy(bytes), Some((1, 1, problem)))
        }
        _ => decode_utf8(bytes),
    }
}

fn decode_utf8(bytes: &[u8]) -> (Cow<'_, str>, Option<(u32, u32, String)>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Cow::Borrowed(text), None),
        Err(error) => {
            let good = std::str::from_utf8(bytes.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default();
            let line = good.matches('\n').count() + 1;
            let column = good.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
            let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            let problem = "these bytes are no UTF-8: save the file as UTF-8".to_owned();
            (String::from_utf8_lossy(bytes), Some((number(line), number(column), problem)))
        }
    }
}

fn decode_utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> (Cow<'_, str>, Option<(u32, u32, String)>) {
    let units = bytes.chunks_exact(2).map(|pair| match pair {
        [first, second] => unit([*first, *second]),
        _ => 0,
    });
    let text: String = char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    let fault = text.contains(char::REPLACEMENT_CHARACTER).then(|| {
        let problem = "the file has a byte order mark of UTF-16 and is none: save it as UTF-8".to_owned();
        (1, 1, problem)
    });
    (Cow::Owned(text), fault)
}
