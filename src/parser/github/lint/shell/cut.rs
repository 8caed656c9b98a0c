//! A script, cut into commands.

use std::ops::Range;

use super::{GroupEnd, Output, Part, Script};

/// Goes through a script once.
pub(super) struct Cutter<'a> {
    script: Script<'a>,
    at: usize,
    /// Groups that are open.
    groups: Vec<usize>,
    /// The command or group that is being read, or was read last on this line.
    current: Option<usize>,
    /// What pipes into the next command.
    writer: Option<usize>,
    /// Here-documents that begin on the next line: who reads it, its end, whether tabs before that are passed over.
    awaited: Vec<(usize, String, bool)>,
}

impl<'a> Cutter<'a> {
    /// Cuts a script.
    pub(super) fn cut(text: &'a str) -> Script<'a> {
        let script = Script { text, parts: Vec::new(), documents: Vec::new() };
        let mut cutter = Self { script, at: 0, groups: Vec::new(), current: None, writer: None, awaited: Vec::new() };
        while cutter.at < text.len() {
            cutter.step();
        }
        cutter.script
    }

    fn rest(&self) -> &'a [u8] {
        self.script.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn step(&mut self) {
        let rest = self.rest();
        match rest {
            [b' ' | b'\t' | b'\r', ..] => self.at += 1,
            [b'\\' | b'`', b'\n', ..] => self.at += 2,
            [b'\n', ..] => self.line_end(),
            [b'#', ..] => self.at += memchr::memchr(b'\n', rest).unwrap_or(rest.len()),
            [b'|', b'|', ..] | [b'&', b'&', ..] => self.separator(2),
            [b'&', b'>', ..] => self.redirection(true, 1),
            [b'|', ..] => {
                self.writer = self.current.take();
                self.at += if rest.starts_with(b"|&") { 2 } else { 1 };
            }
            [b';', ..] | [b'&', ..] => self.separator(1),
            // `f() {`: nothing is in it.
            [b'(', b')', ..] => self.separator(2),
            [b'(', ..] => {
                self.open(GroupEnd::Bracket);
                self.at += 1;
            }
            [b')', ..] => {
                self.close(GroupEnd::Bracket);
                self.at += 1;
            }
            // Process substitution: what stands in it goes to whoever opens the file.
            [b'<' | b'>', b'(', ..] => self.at = end_of_substitution(self.script.text.as_bytes(), self.at),
            [b'<', b'<', b'<', ..] => self.at += 3,
            [b'<', b'<', ..] => self.document(),
            [b'<', ..] => self.at += 1,
            [b'>', ..] => self.redirection(true, 0),
            [digit @ b'0'..=b'9', b'>', ..] => self.redirection(*digit == b'1', 1),
            _ => self.word(),
        }
    }

    fn separator(&mut self, length: usize) {
        (self.current, self.writer) = (None, None);
        self.at += length;
    }

    fn line_end(&mut self) {
        self.at += 1;
        // After `|` the command may stand on the next line.
        self.current = None;
        for (reader, end, passes_tabs) in std::mem::take(&mut self.awaited) {
            let from = self.at;
            while self.at < self.script.text.len() {
                let rest = self.rest();
                let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                let line = rest.get(..length).unwrap_or_default();
                let is_end = if passes_tabs { line.trim_ascii() } else { line.trim_ascii_end() } == end.as_bytes();
                let line_at = self.at;
                self.at += length + 1;
                if is_end {
                    self.script.documents.push((reader, from..line_at));
                    break;
                }
            }
        }
    }

    /// `<<END`, `<<-'END'`.
    fn document(&mut self) {
        self.at += 2;
        let passes_tabs = self.rest().starts_with(b"-");
        let rest = self.script.text.get(self.at..).unwrap_or("").trim_start_matches(['-', ' ']);
        let begin = self.script.text.len() - rest.len();
        let length =
            rest.find(|c: char| c.is_whitespace() || matches!(c, ';' | '|' | '>' | '&' | ')')).unwrap_or(rest.len());
        let end = rest.get(..length).unwrap_or("").replace(['\'', '"', '\\'], "");
        self.at = begin + length;
        if let Some(reader) = self.current.filter(|_| !end.is_empty()) {
            self.awaited.push((reader, end, passes_tabs));
        }
    }

    /// `>`, which `offset` bytes stand before, and its target.
    fn redirection(&mut self, is_output: bool, offset: usize) {
        self.at += offset + 1;
        let trimmed = self.script.text.get(self.at..).unwrap_or("").trim_start_matches(['>', '|', ' ']);
        self.at = self.script.text.len() - trimmed.len();
        let target = self.word_end();
        let to = self.script.text.get(self.at..target).unwrap_or("").trim_matches('"');
        let is_log =
            ["&1", "&2", "/dev/stderr", "/dev/stdout", "/dev/tty", "/proc/self/fd/1", "/proc/self/fd/2"].contains(&to);
        self.at = target.max(self.at + usize::from(to.is_empty()));
        if let Some(part) = self.current.and_then(|at| self.script.parts.get_mut(at)).filter(|_| is_output && !is_log) {
            part.output = Output::Elsewhere;
        }
    }

    fn word(&mut self) {
        let end = self.word_end().max(self.at + 1);
        let word = self.at..end;
        let text = self.script.text.get(word.clone()).unwrap_or("");
        let is_first = self.current.is_none();
        self.at = end;
        match text {
            "{" | "if" | "for" | "while" | "until" | "case" | "select" if is_first => {
                self.open(GroupEnd::Word);
                if text != "{" {
                    self.add_word(word);
                }
            }
            "}" | "fi" | "done" | "esac" if is_first => self.close(GroupEnd::Word),
            _ => self.add_word(word),
        }
    }

    fn add_word(&mut self, word: Range<usize>) {
        let at = match self.current.filter(|at| self.script.parts.get(*at).is_some_and(|part| part.group_end.is_none()))
        {
            Some(at) => at,
            None => self.part(word.clone(), None),
        };
        if let Some(part) = self.script.parts.get_mut(at) {
            part.whole.end = word.end;
            part.words.push(word);
        }
        self.current = Some(at);
    }

    fn part(&mut self, whole: Range<usize>, group_end: Option<GroupEnd>) -> usize {
        let at = self.script.parts.len();
        if let Some(writer) = self.writer.take().and_then(|writer| self.script.parts.get_mut(writer)) {
            writer.reader = Some(at);
        }
        let group = self.groups.last().copied();
        self.script.parts.push(Part {
            words: Vec::new(),
            whole,
            group_end,
            group,
            output: Output::Inherited,
            reader: None,
        });
        at
    }

    fn open(&mut self, end: GroupEnd) {
        let at = self.part(self.at..self.at, Some(end));
        self.groups.push(at);
        self.current = None;
    }

    /// What follows a group's end belongs to the group. A `)` that ends none stands behind the pattern of a `case`.
    fn close(&mut self, end: GroupEnd) {
        self.writer = None;
        let open = self.groups.last().and_then(|at| self.script.parts.get(*at)).and_then(|group| group.group_end);
        self.current = if open == Some(end) { self.groups.pop() } else { None };
    }

    /// Where the word ends that begins here.
    fn word_end(&self) -> usize {
        let bytes = self.script.text.as_bytes();
        let (mut at, mut quote) = (self.at, None);
        while let Some(byte) = bytes.get(at) {
            match (byte, quote) {
                (b'$', _) if bytes.get(at..at + 3) == Some(b"${{") => {
                    at = end_of_expression(bytes, at);
                    continue;
                }
                (b'$', None | Some(b'"')) if bytes.get(at + 1) == Some(&b'(') => {
                    at = end_of_substitution(bytes, at);
                    continue;
                }
                (b'\\', None | Some(b'"')) => at += 1,
                (b'\'' | b'"' | b'`', None) => {
                    // A quote that closes nothing in the script is an apostrophe.
                    let rest = bytes.get(at + 1..).unwrap_or_default();
                    if memchr::memchr(*byte, rest).is_some() {
                        quote = Some(*byte);
                    }
                }
                (byte, Some(open)) if *byte == open => quote = None,
                // A call in another language: its brackets are no groups.
                (b'(', None) if at > self.at && bytes.get(at + 1) != Some(&b')') => {
                    at = end_of_substitution(bytes, at - 1);
                    continue;
                }
                (b' ' | b'\t' | b'\r' | b'\n' | b';' | b'|' | b'(' | b')' | b'<' | b'>', None) => return at,
                (b'&', None) if at > self.at => return at,
                _ => {}
            }
            at += 1;
        }
        bytes.len().min(at)
    }
}

/// Behind the `}}` of the expression that begins here.
pub(super) fn end_of_expression(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    memchr::memmem::find(rest, b"}}").map_or(bytes.len(), |length| from + length + 2)
}

/// Behind the `)` of the `$(` that begins here.
pub(super) fn end_of_substitution(bytes: &[u8], from: usize) -> usize {
    let (mut depth, mut at, mut quote) = (0_usize, from + 1, None);
    while let Some(byte) = bytes.get(at) {
        match (byte, quote) {
            (b'$', _) if bytes.get(at..at + 3) == Some(b"${{") => {
                at = end_of_expression(bytes, at);
                continue;
            }
            (b'\\', None | Some(b'"')) => at += 1,
            (b'\'' | b'"', None) => quote = Some(*byte),
            (byte, Some(open)) if *byte == open => quote = None,
            (b'(', None) => depth += 1,
            (b')', None) => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}
