//! What a shell script writes into the log.
//!
//! A script is cut into commands, as far as that can be done without running it: quotes, comments, here-documents, pipes, groups
//! and redirections are known, what a command does with its words is not. In doubt nothing is printed.
//!
//! - [`cut`]: a script's commands.

mod cut;
#[cfg(test)]
mod tests;

use std::ops::Range;

use cut::{Cutter, end_of_expression, end_of_substitution};

/// Commands that write their words.
const PRINTERS: [&str; 10] = [
    "echo",
    "printf",
    "print",
    "puts",
    "console.log",
    "core.info",
    "Write-Host",
    "Write-Output",
    "Write-Information",
    "Out-Host",
];
/// Commands that write what they read, whole or in part.
const PASSERS: [&str; 18] = [
    "base32", "base64", "cat", "cut", "fold", "head", "hexdump", "jq", "nl", "od", "rev", "sed", "sort", "tail", "tee",
    "tr", "uniq", "xxd",
];
/// Words before a command that change nothing about where its output goes.
const BEFORE: [&str; 13] =
    ["!", "builtin", "command", "do", "elif", "else", "env", "exec", "if", "sudo", "then", "time", "until"];
/// Workflow commands, which the runner takes out of the log.
const CONSUMED: [&str; 5] = ["::add-mask::", "::set-output", "::save-state", "::set-env", "::add-path"];
/// Pipes and groups that output is followed through.
const MOST_STEPS: usize = 100;
/// Commands inside commands that are looked into.
const DEEPEST: usize = 6;

/// A script, cut into commands.
pub(super) struct Script<'a> {
    text: &'a str,
    parts: Vec<Part>,
    /// Here-documents: the command that reads one, and its text.
    documents: Vec<(usize, Range<usize>)>,
}

/// A command, or several between braces.
struct Part {
    words: Vec<Range<usize>>,
    whole: Range<usize>,
    /// What ends it, where it is a group.
    group_end: Option<GroupEnd>,
    /// The group it stands in.
    group: Option<usize>,
    output: Output,
    /// What reads its output.
    reader: Option<usize>,
}

/// What ends a group.
#[derive(Clone, Copy, PartialEq, Eq)]
enum GroupEnd {
    /// `)`.
    Bracket,
    /// `}` or a word: `fi`, `done`, `esac`.
    Word,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    /// Where that of the group goes, in the end the log.
    Inherited,
    /// Somewhere else.
    Elsewhere,
}

impl<'a> Script<'a> {
    /// Cuts a script.
    pub(super) fn new(text: &'a str) -> Self {
        Cutter::cut(text)
    }

    /// Whether what stands at this byte is written into the log.
    pub(super) fn prints(&self, at: usize) -> bool {
        self.prints_within(at, 0)
    }

    /// Whether what stands at this byte stands in single quotes, where the shell puts in no variables.
    pub(super) fn is_literal(&self, at: usize) -> bool {
        let Some(part) = self.part_at(at) else { return false };
        let mut quote = None;
        let mut bytes = self.text.bytes().enumerate().take(at).skip(part.whole.start);
        while let Some((_, byte)) = bytes.next() {
            match (byte, quote) {
                (b'\\', None | Some(b'"')) => drop(bytes.next()),
                (b'\'' | b'"', None) => quote = Some(byte),
                (byte, Some(open)) if byte == open => quote = None,
                _ => {}
            }
        }
        quote == Some(b'\'')
    }

    fn part_at(&self, at: usize) -> Option<&Part> {
        // They stand in the order of the text; groups take no text of their own.
        let behind = self.parts.partition_point(|part| part.whole.start <= at);
        let before = self.parts.get(..behind).unwrap_or_default().iter().rev().take(MOST_STEPS);
        before.filter(|part| part.group_end.is_none()).find(|part| part.whole.contains(&at))
    }

    fn prints_within(&self, at: usize, depth: usize) -> bool {
        if let Some((reader, _)) = self.documents.iter().find(|(_, text)| text.contains(&at)) {
            return self
                .parts
                .get(*reader)
                .is_some_and(|part| self.is_any_of(part, &PASSERS) && self.reaches_log(part));
        }
        let Some(part) = self.part_at(at) else { return false };
        if let Some(inner) = self.substitution(part, at) {
            // What a command inside writes becomes words of this one.
            let written = depth < DEEPEST
                && self
                    .text
                    .get(inner.clone())
                    .is_some_and(|text| Script::new(text).prints_within(at - inner.start, depth + 1));
            return written && self.writes_words(part);
        }
        self.writes_words(part)
    }

    /// Whether the words of a command are written into the log.
    fn writes_words(&self, part: &Part) -> bool {
        let text = self.text.get(part.whole.clone()).unwrap_or("");
        let is_consumed = CONSUMED.iter().any(|command| text.contains(command));
        self.is_any_of(part, &PRINTERS) && !is_consumed && self.reaches_log(part)
    }

    fn is_any_of(&self, part: &Part, known: &[&str]) -> bool {
        let mut words = part.words.iter().filter_map(|word| self.text.get(word.clone()));
        let is_before = |word: &&str| {
            BEFORE.contains(word)
                || word.split_once('=').is_some_and(|(name, _)| !name.is_empty() && name.bytes().all(is_name))
        };
        let Some(command) = words.find(|word| !is_before(word)) else { return false };
        // `print("…")`, `core.info(…)`: a call in another language.
        let name = command.split('(').next().unwrap_or(command);
        let is_assigning = name == "printf" && words.next() == Some("-v");
        known.iter().any(|known| known.eq_ignore_ascii_case(name)) && !is_assigning
    }

    /// Whether the output of a command ends in the log.
    fn reaches_log(&self, part: &Part) -> bool {
        let mut part = part;
        // Each turn goes further right or outwards.
        for _ in 0..MOST_STEPS {
            if part.output == Output::Elsewhere {
                return false;
            }
            let next = match part.reader {
                Some(reader) => match self.parts.get(reader) {
                    Some(reader) if reader.group_end.is_none() && self.is_any_of(reader, &PASSERS) => reader,
                    _ => return false,
                },
                None => match part.group.and_then(|group| self.parts.get(group)) {
                    Some(group) => group,
                    None => return true,
                },
            };
            part = next;
        }
        false
    }

    /// The command inside `$( )` that a byte of a command stands in.
    fn substitution(&self, part: &Part, at: usize) -> Option<Range<usize>> {
        let bytes = self.text.as_bytes();
        let mut from = part.whole.start;
        while from < at {
            let rest = bytes.get(from..part.whole.end)?;
            if rest.starts_with(b"${{") {
                from = end_of_expression(bytes, from);
            } else if rest.starts_with(b"$(") && !rest.starts_with(b"$((") {
                let end = end_of_substitution(bytes, from).min(part.whole.end);
                if (from + 2..end).contains(&at) {
                    return Some(from + 2..end.saturating_sub(1).max(from + 2));
                }
                from = end;
            } else if rest.starts_with(b"`") {
                let end = memchr::memchr(b'`', rest.get(1..)?).map_or(part.whole.end, |length| from + 1 + length);
                if (from + 1..end).contains(&at) {
                    return Some(from + 1..end);
                }
                from = end + 1;
            } else {
                from += if rest.starts_with(b"\\") { 2 } else { 1 };
            }
        }
        None
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
