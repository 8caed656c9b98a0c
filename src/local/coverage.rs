//! The coverage that a job's log tells, found by the pattern of its `coverage:`.
//!
//! Source: gitlabhq `lib/gitlab/ci/config/entry/coverage.rb` and `extract_coverage` in `lib/gitlab/ci/trace/stream.rb`.

use crate::parser::expression::regex::Pattern;

/// What finds the coverage in a line.
#[derive(Clone, Debug)]
pub struct CoveragePattern(Pattern);

impl CoveragePattern {
    /// That of a `coverage:`, a pattern between slashes. Nothing where it is none.
    pub fn new(written: &str) -> Option<Self> {
        let inner = written.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
        Pattern::raw(inner.unwrap_or(written)).ok().map(Self)
    }

    /// The number in the last place of a line that the pattern finds; of a pattern with groups, in its last group.
    pub fn in_line(&self, line: &str) -> Option<f64> {
        let last = self.0.linear()?.captures_iter(line).last()?;
        number(last.get(last.len() - 1)?.as_str())
    }
}

/// The first number of a text: digits, and a part behind a point.
fn number(text: &str) -> Option<f64> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let text = text.get(text.find(|c: char| c.is_ascii_digit())?..)?;
    let whole = digits(text);
    let part = text.get(whole..)?.strip_prefix('.').map_or(0, digits);
    let end = if part > 0 { whole + 1 + part } else { whole };
    text.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cases of GitLab's own specification of `extract_coverage`.
    #[test]
    fn the_last_place_of_a_line_counts_and_its_first_number() {
        let simplecov = "Coverage 1033 / 1051 LOC (98.29%) covered";
        let cases = [
            (r"/\(\d+.\d+\%\) covered/", simplecov, Some(98.29)),
            (r"/\(\d+.\d+\%\) covered/", "No coverage here", None),
            (r"/very covered/", simplecov, None),
            (r"/covered \(\d+.\d+\%\)/", " (98.39%) covered. (98.29%) covered", None),
            (r"/\(\d+.\d+\%\) covered/", " (98.39%) covered. (98.29%) covered", Some(98.29)),
            (r"/\(\d+\%\) covered/", " (100%) covered", Some(100.0)),
            (r"/\((\d+)\%\) covered/", " (65%) covered", Some(65.0)),
            (r"/lines (\d+) of (\d+)/", "lines 5 of 20", Some(20.0)),
            (r"/TOTAL.*\s+(\d+%)$/", "TOTAL      10    2    80%", Some(80.0)),
            (r"/\d+\.\d+%/", "cov: \x1b[32m7.5%\x1b[0m", Some(7.5)),
            (r"/total: .*%/", "total: many%", None),
        ];
        for (pattern, line, coverage) in cases {
            assert_eq!(CoveragePattern::new(pattern).unwrap().in_line(line), coverage, "{pattern} in {line}");
        }
    }
}
