//! Findings for people: the source with a caret, drawn by miette.

use std::fmt;

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
    out
}

/// One finding in one line: `file:line:column: error: message`.
pub fn line(diagnostic: &Diagnostic, sources: &Sources) -> String {
    let (span, word) = (diagnostic.span, word(diagnostic.severity));
    format!("{}:{}:{}: {word}: {}", sources.name(span.file), span.line, span.column, diagnostic.message)
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
    source: Option<Named<'a>>,
    labels: Vec<LabeledSpan>,
}

impl<'a> Finding<'a> {
    fn new(diagnostic: &'a Diagnostic, sources: &'a Sources) -> Self {
        let source = sources.get(diagnostic.span.file).map(Named);
        let range = |span: Span| SourceSpan::from(sources.range(span));
        let mut labels = vec![LabeledSpan::new_primary_with_span(None, range(diagnostic.span))];
        // A picture shows one file; places in others are told in the help.
        let here = diagnostic.related.iter().filter(|(span, _)| span.file == diagnostic.span.file);
        labels.extend(here.map(|(span, why)| LabeledSpan::new_with_span(Some(why.clone()), range(*span))));
        Self { diagnostic, source, labels }
    }
}

impl fmt::Debug for Finding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.message)
    }
}

impl fmt::Display for Finding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.message)
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

/// A file with its name.
struct Named<'a>(&'a SourceFile);

impl SourceCode for Named<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn miette::SpanContents<'a> + 'a>, MietteError> {
        // miette reads a text from its first byte for each finding: only the lines around this one are shown to it.
        let lines = self.0.lines();
        let first = self.0.line_of(span.offset()).saturating_sub(before + 1);
        let from = lines.get(first).copied().unwrap_or(0);
        let last = self.0.line_of(span.offset().saturating_add(span.len())) + after + 2;
        let to = lines.get(last).copied().unwrap_or(self.0.text.len());
        let window = self.0.text.get(from..to).ok_or(MietteError::OutOfBounds)?;
        let here = SourceSpan::from((span.offset() - from, span.len()));
        let contents = window.read_span(&here, before, after)?;
        Ok(Box::new(miette::MietteSpanContents::new_named(
            self.0.name.to_string(),
            contents.data(),
            SourceSpan::from((from + contents.span().offset(), contents.span().len())),
            first + contents.line(),
            contents.column(),
            contents.line_count(),
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Code;
    use super::*;

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
}
