//! Lengths of time as people write them: `1h 30m`, `2 days`, `3 mins 4 sec`, `1:30`.
//!
//! The rules are those of the chronic_duration library, which GitLab reads them with: a month has 30 days, a year 365.25.

use std::time::Duration;

use super::codes;
use super::model::Timeout;
use super::place::At;
use super::values::{Checker, as_text, is_null};
use crate::parser::document::Node;

/// What else may stand in place of a length.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowed {
    /// `never`.
    pub never: bool,
    /// A variable, `$TTL`.
    pub variable: bool,
    /// The longest there may be.
    pub limit: Option<(Duration, &'static str)>,
}

/// A week.
pub(super) const WEEK: (Duration, &str) = (Duration::from_secs(7 * 86_400), "1 week");
/// A month, the longest a job may run.
pub(super) const MONTH: (Duration, &str) = (Duration::from_secs(2_629_746), "1 month");

impl Checker<'_> {
    /// A length of time.
    pub fn duration(&mut self, node: &Node, at: At<'_>, allowed: Allowed) -> Option<Timeout> {
        if is_null(node) {
            return None;
        }
        let Some(text) = as_text(node) else {
            self.wrong_type(node, at, "a duration in text, like `30 minutes`");
            return None;
        };
        let never = allowed.never && text.eq_ignore_ascii_case("never");
        if never || allowed.variable && text.contains('$') {
            return Some(Timeout { text, duration: None, span: node.span });
        }
        let Some(duration) = parse(&text) else {
            let help = Some("write it like `30 minutes`, `1h 30m` or `2 days`".to_owned());
            self.error_help(
                codes::WRONG_DURATION,
                node.span,
                at,
                format_args!("should be a duration, which `{text}` is not"),
                help,
            );
            return None;
        };
        if let Some((limit, shown)) = allowed.limit
            && duration > limit
        {
            let what = format!("should not exceed {shown}, and `{text}` does");
            self.error(codes::WRONG_DURATION, node.span, at, what);
            return None;
        }
        Some(Timeout { text, duration: Some(duration), span: node.span })
    }
}

/// How long; `None` if it cannot be read or is nothing at all.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let text = text.to_ascii_lowercase();
    let mut total = 0.0;
    let words = words(clock(&text).as_deref().unwrap_or(&text))?;
    for (at, word) in words.iter().enumerate() {
        if let Word::Number(number) = word {
            let unit = match words.get(at + 1) {
                Some(Word::Unit(seconds)) => *seconds,
                _ => 1.0,
            };
            total += number * unit;
        }
    }
    (total > 0.0 && total < 1e12).then(|| Duration::from_secs_f64(total))
}

enum Word {
    Number(f64),
    Unit(f64),
}

/// `1:30` as `1 minutes 30 seconds`: from the right seconds, minutes, hours, days, months, years.
fn clock(text: &str) -> Option<String> {
    let compact: String = text.chars().filter(|c| *c != ' ').collect();
    let parts: Vec<&str> = compact.split(':').collect();
    let (first, rest) = parts.split_first()?;
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if rest.is_empty()
        || rest.len() > 5
        || !is_number(first)
        || !rest.iter().all(|part| part.len() == 2 && is_number(part))
    {
        return None;
    }
    let units = ["seconds", "minutes", "hours", "days", "months", "years"];
    let named = parts.iter().rev().zip(units).map(|(part, unit)| format!("{part} {unit}"));
    let named: Vec<String> = named.collect();
    Some(named.into_iter().rev().collect::<Vec<_>>().join(" "))
}

fn words(text: &str) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() || first == ',' || first == '-' {
            rest = &rest[first.len_utf8()..];
        } else if first.is_ascii_digit() || first == '.' {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            words.push(Word::Number(rest[..end].parse().ok()?));
            rest = &rest[end..];
        } else {
            let end = rest
                .find(|c: char| c.is_ascii_digit() || c == '.' || c.is_whitespace() || c == ',')
                .unwrap_or(rest.len());
            if let Some(word) = word(&rest[..end])? {
                words.push(word);
            }
            rest = &rest[end..];
        }
    }
    if let Some(Word::Unit(_)) = words.first() {
        words.insert(0, Word::Number(1.0));
    }
    Some(words)
}

/// `None`: no such word; `Some(None)`: one that joins others.
fn word(word: &str) -> Option<Option<Word>> {
    let unit = match word {
        "and" | "with" | "plus" => return Some(None),
        "seconds" | "second" | "secs" | "sec" | "s" => 1.0,
        "minutes" | "minute" | "mins" | "min" | "m" => 60.0,
        "hours" | "hour" | "hrs" | "hr" | "h" => 3_600.0,
        "days" | "day" | "dy" | "d" => 86_400.0,
        "weeks" | "week" | "wks" | "wk" | "w" => 7.0 * 86_400.0,
        "months" | "month" | "mos" | "mo" => 30.0 * 86_400.0,
        "years" | "year" | "yrs" | "yr" | "y" => 31_557_600.0,
        number => return spelled(number).map(|number| Some(Word::Number(number))),
    };
    Some(Some(Word::Unit(unit)))
}

fn spelled(word: &str) -> Option<f64> {
    const SMALL: [&str; 21] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
    ];
    const TENS: [&str; 7] = ["thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    let small = SMALL.iter().position(|known| *known == word);
    let tens = || TENS.iter().position(|known| *known == word).map(|at| at * 10 + 30);
    small.or_else(tens).and_then(|number| u32::try_from(number).ok()).map(f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        for (text, seconds) in [
            ("1 Day", Some(86_400)),
            ("30 seconds", Some(30)),
            ("1h 30m", Some(5_400)),
            ("1h30m", Some(5_400)),
            ("2 hrs 20 min", Some(8_400)),
            ("6 mos 1 day", Some(15_638_400)),
            ("47 yrs 6 mos and 4d", Some(1_499_104_800)),
            ("3 weeks and 2 days", Some(1_987_200)),
            ("1m 1s", Some(61)),
            ("10:30", Some(630)),
            ("1:20:51", Some(4_851)),
            ("0.5 hours", Some(1_800)),
            ("day", Some(86_400)),
            ("two weeks", Some(1_209_600)),
            ("100", Some(100)),
            ("0 s", None),
            ("", None),
            ("5 parsecs", None),
            ("something", None),
        ] {
            assert_eq!(parse(text).map(|duration| duration.as_secs()), seconds, "{text}");
        }
    }
}
