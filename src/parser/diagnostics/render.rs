//! Findings for people: the source with a caret, drawn by miette.

use std::fmt;
use std::ops::Range;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, SourceCode, SourceSpan};

use super::{Diagnostic, Diagnostics, Severity};
use crate::parser::document::{SourceFile, Sources, Span};

/// How findings look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// With colours.
    pub color: bool,
    /// Columns there are.
    pub width: usize,
}

/// All findings, one after the other, each with its source.
pub fn all(diagnostics: &Diagnostics, sources: &Sources, look: Look) -> String {
    let theme = if look.color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler =
        GraphicalReportHandler::new_themed(theme).with_width(look.width).with_context_lines(1).with_links(false);
    let mut out = String::new();
    for diagnostic in diagnostics.iter() {
        let finding = Finding::new(diagnostic, sources);
        // Writing to a text does not fail; what the handler cannot draw is told plainly.
        if handler.render_report(&mut out, &finding).is_err() {
            out.push_str(&line(diagnostic, sources));
        }
        out.push('\n');
    }
    defused(out)
}

/// A text for a terminal that does no more there than be read: of control characters only ends of lines, tabs and colours are left.
/// What is told holds names and lines of a file that somebody else wrote.
fn defused(text: String) -> String {
    let is_bad = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(is_bad) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find(is_bad) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let color = color_at(from);
        match color {
            Some(color) => out.push_str(color),
            None => out.push('\u{fffd}'),
        }
        rest = from.get(color.map_or(from.chars().next().map_or(1, char::len_utf8), str::len)..).unwrap_or_default();
    }
    out + rest
}

/// The change of colour that a text begins with.
fn color_at(text: &str) -> Option<&str> {
    let inside = text.strip_prefix("\u{1b}[")?;
    let end = inside.find(|c: char| !(c.is_ascii_digit() || c == ';'))?;
    inside.get(end..)?.starts_with('m').then(|| text.get(..end + 3)).flatten()
}

/// One finding in one line: `file:line:column: error: message`.
pub fn line(diagnostic: &Diagnostic, sources: &Sources) -> String {
    let (span, word) = (diagnostic.span, word(diagnostic.severity));
    format!("{}:{}:{}: {word}: {}", sources.name(span.file), span.line, span.column, diagnostic.told())
}

/// The word for a severity.
pub fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

/// A finding in miette's terms.
struct Finding<'a> {
    diagnostic: &'a Diagnostic,
    source: Option<Shown<'a>>,
    labels: Vec<LabeledSpan>,
}

/// What is shown of a file.
struct Shown<'a> {
    of: Of<'a>,
    /// The byte at which the mark begins, and its column in characters (miette counts bytes).
    mark: usize,
    column: usize,
}

enum Of<'a> {
    Whole(&'a SourceFile),
    Part(Part),
}

/// Lines of one mark; of a longer one the first is shown.
const MOST_LINES: u32 = 8;
/// Bytes of a line that is shown whole.
const LONGEST_LINE: usize = 300;
/// Bytes around a mark in a longer line.
const AROUND: usize = 80;

impl<'a> Finding<'a> {
    fn new(diagnostic: &'a Diagnostic, sources: &'a Sources) -> Self {
        let range = |span: Span| {
            let range = sources.range(span);
            let first =
                |text: &str| range.start + text.get(range.clone()).and_then(|text| text.find('\n')).unwrap_or(0);
            match sources.get(span.file) {
                Some(file) if span.end_line > span.line + MOST_LINES => range.start..first(&file.text),
                _ => range,
            }
        };
        let mark = range(diagnostic.span);
        let column = usize::try_from(diagnostic.span.column).unwrap_or(1).saturating_sub(1);
        let file = sources.get(diagnostic.span.file);
        if let Some((part, mark)) = file.and_then(|file| Part::of(file, &mark, diagnostic.span)) {
            let source = Some(Shown { of: Of::Part(part), mark: mark.offset(), column });
            return Self { diagnostic, source, labels: vec![LabeledSpan::new_primary_with_span(None, mark)] };
        }
        let source = file.map(|file| Shown { of: Of::Whole(file), mark: mark.start, column });
        let range = |span: Span| SourceSpan::from(range(span));
        let mut labels = vec![LabeledSpan::new_primary_with_span(None, range(diagnostic.span))];
        // A picture shows one file; places in others are told in the help.
        let here = diagnostic.related.iter().filter(|(span, _)| span.file == diagnostic.span.file);
        labels.extend(here.map(|(span, why)| LabeledSpan::new_with_span(Some(why.clone()), range(*span))));
        Self { diagnostic, source, labels }
    }
}

impl fmt::Debug for Finding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.told())
    }
}

impl fmt::Display for Finding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.told())
    }
}

impl std::error::Error for Finding<'_> {}

impl miette::Diagnostic for Finding<'_> {
    fn code<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        Some(Box::new(self.diagnostic.code.0))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
            Severity::Note => miette::Severity::Advice,
        })
    }

    fn help<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        self.diagnostic.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display + 'b>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }
}

impl SourceCode for Shown<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn miette::SpanContents<'a> + 'a>, MietteError> {
        let is_mark = before == 0 && span.offset() == self.mark;
        let (contents, name, offset, line) = match &self.of {
            Of::Part(part) => (part.text.read_span(span, before, after)?, part.name.clone(), 0, part.line),
            Of::Whole(file) => {
                // miette reads a text from its first byte for each finding: only the lines around this one are shown to it.
                let lines = file.lines();
                let first = file.line_of(span.offset()).saturating_sub(before + 1);
                let from = lines.get(first).copied().unwrap_or(0);
                let last = file.line_of(span.offset().saturating_add(span.len())) + after + 2;
                let to = lines.get(last).copied().unwrap_or(file.text.len());
                let window = file.text.get(from..to).ok_or(MietteError::OutOfBounds)?;
                let here = SourceSpan::from((span.offset() - from, span.len()));
                (window.read_span(&here, before, after)?, file.name.to_string(), from, first)
            }
        };
        Ok(Box::new(miette::MietteSpanContents::new_named(
            name,
            contents.data(),
            SourceSpan::from((offset + contents.span().offset(), contents.span().len())),
            line + contents.line(),
            if is_mark { self.column } else { contents.column() },
            contents.line_count(),
        )))
    }
}

/// The surroundings of a mark in a line that is too long to be shown.
struct Part {
    name: String,
    text: String,
    /// Lines before it.
    line: usize,
}

impl Part {
    /// The part, and where the mark is in it; `None` where the lines are short enough.
    fn of(file: &SourceFile, mark: &Range<usize>, span: Span) -> Option<(Self, SourceSpan)> {
        let text: &str = &file.text;
        let before = text.get(..mark.start)?;
        let begin = before.rfind('\n').map_or(0, |at| at + 1);
        let shown_from = before.get(..begin.saturating_sub(1))?.rfind('\n').map_or(0, |at| at + 1);
        let mut ends = text.get(mark.end..)?.match_indices('\n').map(|(at, _)| mark.end + at);
        let first_end = ends.next().unwrap_or(text.len());
        let shown_to = ends.next().unwrap_or(text.len());
        if text.get(shown_from..shown_to)?.lines().all(|line| line.len() <= LONGEST_LINE) {
            return None;
        }
        let line_end = text.get(mark.start..)?.find('\n').map_or(text.len(), |at| mark.start + at).min(first_end);
        let from = text.ceil_char_boundary(mark.start.saturating_sub(AROUND).max(begin));
        let to = text.floor_char_boundary((mark.start + 2 * AROUND).min(line_end)).max(mark.start);
        let (front, back) = (if from > begin { "…" } else { "" }, if to < line_end { "…" } else { "" });
        let part = text.get(from..to)?;
        let start = front.len() + mark.start - from;
        let length = mark.end.min(to) - mark.start;
        let line = usize::try_from(span.line).unwrap_or(1).saturating_sub(1);
        let part = Self { name: file.name.to_string(), text: format!("{front}{part}{back}"), line };
        Some((part, SourceSpan::from(start..start + length)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Code;
    use super::*;

    #[test]
    fn nothing_of_a_file_commands_the_terminal() {
        let mut sources = Sources::new();
        let file = sources.add("ci.yml", "a\u{1b}]0;x\u{7}: 1\n");
        let mut all_of = Diagnostics::new();
        let span = Span::start_of(file);
        all_of.push(Diagnostic::error(Code("x/y"), span, "job `a\u{1b}[2J\u{9b}31m` is odd").help("no\r\u{8}"));
        for color in [false, true] {
            let shown = all(&all_of, &sources, Look { color, width: 120 });
            assert!(!shown.contains(['\u{7}', '\u{8}', '\r', '\u{9b}']) && !shown.contains("\u{1b}[2J"), "{shown:?}");
            assert!(!shown.contains("\u{1b}]") && shown.contains("is odd"), "{shown:?}");
            assert_eq!(shown.contains("\u{1b}["), color, "{shown:?}");
        }
    }

    #[test]
    fn a_finding_shows_its_line_its_mark_and_its_help() {
        let mut sources = Sources::new();
        let file = sources.add("ci.yml", "a: 1\njob:\n  scirpt: echo ü\n  stage: x\n");
        let span = Span { file, line: 3, column: 3, end_line: 3, end_column: 9 };
        let mut all_of = Diagnostics::new();
        all_of.push(
            Diagnostic::error(Code("gitlab/unknown-key"), span, "job `job` has the unknown key `scirpt`")
                .help("did you mean `script`?"),
        );
        let text = all(&all_of, &sources, Look { color: false, width: 100 });
        for part in ["gitlab/unknown-key", "ci.yml:3:3", "scirpt: echo ü", "did you mean `script`?"] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert_eq!(
            line(all_of.iter().next().unwrap(), &sources),
            "ci.yml:3:3: error: job `job` has the unknown key `scirpt`"
        );
    }

    #[test]
    fn a_picture_of_a_late_line_has_its_number_and_its_neighbours() {
        let text: String = (1..=3_000).map(|line| format!("key-{line}: ü\r\n")).collect();
        let mut sources = Sources::new();
        let file = sources.add("ci.yml", text.as_str());
        let mut all_of = Diagnostics::new();
        for line in [1, 2_000, 3_000] {
            let span = Span { file, line, column: 1, end_line: line, end_column: 5 };
            all_of.push(Diagnostic::error(Code("x"), span, "wrong"));
        }
        let text = all(&all_of, &sources, Look { color: false, width: 100 });
        for part in [
            "ci.yml:2000:1",
            "1999 │ key-1999: ü",
            "2000 │ key-2000: ü",
            "2001 │ key-2001: ü",
            "1 │ key-1: ü",
            "3000 │ key-3000: ü",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(!text.contains("key-2002") && !text.contains("key-1998"), "{text}");
    }

    #[test]
    fn of_a_long_line_the_part_around_the_mark_is_shown() {
        let mut sources = Sources::new();
        let line = format!("job: {{script: [{}], scirpt: x, tags: [{}]}}", "y, ".repeat(60_000), "ü, ".repeat(60_000));
        let file = sources.add("ci.yml", format!("a: 1\n{line}\nb: 2\n"));
        let column = u32::try_from(line.find("scirpt").unwrap()).unwrap() + 1;
        let mark = |line, column, end_line, end_column| Span { file, line, column, end_line, end_column };
        let short = sources.add("short.yml", "ü, ü, scirpt: x\n");
        let mut all_of = Diagnostics::new();
        let span = Span { file: short, line: 1, column: 7, end_line: 1, end_column: 13 };
        all_of.push(Diagnostic::error(Code("gitlab/unknown-key"), span, "no such key"));
        assert!(all(&all_of, &sources, Look { color: false, width: 100 }).contains("short.yml:1:7"));
        for span in [mark(2, column, 2, column + 6), mark(2, 1, 2, 4), mark(1, 1, 3, 5), mark(2, 1, 2, 400_000)] {
            let mut all_of = Diagnostics::new();
            all_of.push(Diagnostic::error(Code("gitlab/unknown-key"), span, "no such key"));
            let text = all(&all_of, &sources, Look { color: false, width: 100 });
            let place = format!("ci.yml:{}:{}", span.line, span.column);
            assert!(text.contains(&place), "{place} is missing in\n{text}");
            assert!(text.len() < 2_000, "{} bytes", text.len());
        }
    }
}
