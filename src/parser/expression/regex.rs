//! The patterns of GitLab's files: RE2's language, and Ruby's where GitLab uses that.
//!
//! Both are matched by crates whose language differs from RE2's in details; a pattern is translated first. What RE2 lacks
//! (looking around, back-references, atomic groups) is refused, as there. RE2 patterns take time linear in the text.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A pattern that can be matched. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pattern(Arc<Compiled>);

#[derive(Debug)]
enum Compiled {
    Linear(regex::Regex),
    Ruby(fancy_regex::Regex),
}

/// A pattern that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(pub String);

/// How a pattern is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    Raw,
    Slashed,
    Ruby,
}

impl Pattern {
    /// A pattern of RE2 as it is.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn raw(pattern: &str) -> Result<Self, PatternError> {
        remembered(Form::Raw, pattern)
    }

    /// A pattern between slashes, with flags `i`, `m`, `s`, `U` after them: `/^v\d+$/i`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn slashed(pattern: &str) -> Result<Self, PatternError> {
        remembered(Form::Slashed, pattern)
    }

    /// A pattern of Ruby, as `changes:regexp` and `exists:regexp` have it: looking around is allowed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn ruby(pattern: &str) -> Result<Self, PatternError> {
        remembered(Form::Ruby, pattern)
    }

    /// Whether text is written like a pattern between slashes, right or wrong.
    pub fn looks_slashed(text: &str) -> bool {
        split_slashed(text).is_some()
    }

    /// Whether it is found anywhere in `text`. A pattern of Ruby that takes too long is not found.
    pub fn is_match(&self, text: &str) -> bool {
        match &*self.0 {
            Compiled::Linear(regex) => regex.is_match(text),
            Compiled::Ruby(regex) => regex.is_match(text).unwrap_or(false),
        }
    }

    /// The regular expression, where it is one of linear time.
    pub fn linear(&self) -> Option<&regex::Regex> {
        match &*self.0 {
            Compiled::Linear(regex) => Some(regex),
            Compiled::Ruby(_) => None,
        }
    }
}

/// Patterns of different texts that are kept; a pipeline with more of them compiles some again.
const REMEMBERED: usize = 1_024;

type Known = HashMap<(Form, Box<str>), Result<Pattern, PatternError>>;

/// The same pattern stands in a thousand jobs: it is compiled once.
fn remembered(form: Form, pattern: &str) -> Result<Pattern, PatternError> {
    static KNOWN: OnceLock<Mutex<Known>> = OnceLock::new();
    // The table holds whole entries only, so that one left by a thread that died is as good.
    let lock = || KNOWN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let key = (form, Box::from(pattern));
    if let Some(known) = lock().get(&key) {
        return known.clone();
    }
    let compiled = compile(form, pattern);
    let mut known = lock();
    if known.len() >= REMEMBERED {
        known.clear();
    }
    known.insert(key, compiled.clone());
    compiled
}

/// Bytes that a compiled pattern may take.
const SIZE_LIMIT: usize = 4 << 20;
/// Bytes that a pattern may have.
const LENGTH_LIMIT: usize = 16 << 10;

fn compile(form: Form, pattern: &str) -> Result<Pattern, PatternError> {
    if pattern.len() > LENGTH_LIMIT {
        return Err(PatternError(format!("the pattern is longer than {LENGTH_LIMIT} bytes")));
    }
    let compiled = match form {
        Form::Ruby => Compiled::Ruby(ruby(pattern)?),
        Form::Raw => Compiled::Linear(linear(pattern)?),
        Form::Slashed => {
            let Some((body, flags)) = split_slashed(pattern) else {
                let problem = "a pattern stands between slashes, with the flags i, m, s and U after them";
                return Err(PatternError(problem.to_owned()));
            };
            let body = body.replace("\\/", "/");
            Compiled::Linear(linear(&if flags.is_empty() { body } else { format!("(?{flags}){body}") })?)
        }
    };
    Ok(Pattern(Arc::new(compiled)))
}

/// `/body/flags` taken apart.
fn split_slashed(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('/')?;
    let (body, flags) = inner.rsplit_once('/')?;
    flags.bytes().all(|flag| b"ismU".contains(&flag)).then_some((body, flags))
}

fn linear(pattern: &str) -> Result<regex::Regex, PatternError> {
    let translated = translate(pattern)?;
    let built = regex::RegexBuilder::new(&translated).size_limit(SIZE_LIMIT).nest_limit(200).build();
    built.map_err(|error| PatternError(short(&error.to_string())))
}

fn ruby(pattern: &str) -> Result<fancy_regex::Regex, PatternError> {
    // In Ruby `^` and `$` are always at lines.
    let built = fancy_regex::RegexBuilder::new(&format!("(?m:{pattern})"))
        .backtrack_limit(100_000)
        .delegate_size_limit(SIZE_LIMIT)
        .build();
    // A pattern that closes our group is wrong by itself.
    let alone = fancy_regex::Regex::new(pattern);
    alone.and(built).map_err(|error| PatternError(short(&error.to_string())))
}

/// The last line of the crate's message, which says what is wrong; those before repeat the pattern.
fn short(message: &str) -> String {
    message.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned()
}

/// How often RE2 repeats something by a number.
const MOST_TIMES: u64 = 1000;

/// RE2's language to that of the crate `regex`.
fn translate(pattern: &str) -> Result<String, PatternError> {
    let mut translated = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    // Whether a repetition has just ended: RE2 refuses another one on top of it, which the crate takes.
    let mut is_repeated = false;
    while let Some(c) = rest.chars().next() {
        let tail = rest.get(c.len_utf8()..).unwrap_or("");
        let was_repeated = std::mem::take(&mut is_repeated);
        rest = match c {
            '*' | '+' | '?' | '{' if c != '{' || is_repetition(tail) => {
                let (operator, tail) = repetition(rest);
                if operator
                    .split(|c: char| !c.is_ascii_digit())
                    .any(|count| count.parse().is_ok_and(|count: u64| count > MOST_TIMES))
                {
                    return Err(PatternError(format!("`{operator}` repeats more than {MOST_TIMES} times")));
                }
                if was_repeated {
                    return Err(PatternError(format!("`{operator}` repeats what is repeated already")));
                }
                is_repeated = true;
                translated.push_str(operator);
                tail
            }
            '\\' => escape(tail, false, &mut translated)?,
            '[' => class(tail, &mut translated)?,
            '{' => {
                translated.push_str("\\{");
                tail
            }
            '(' if tail.starts_with('?') => {
                check_group(tail)?;
                translated.push_str("(?");
                tail.get(1..).unwrap_or("")
            }
            other => {
                translated.push(other);
                tail
            }
        };
    }
    Ok(translated)
}

/// A repetition, with the `?` that makes it lazy, and what follows it.
fn repetition(text: &str) -> (&str, &str) {
    let end = if text.starts_with('{') { text.find('}').map_or(text.len(), |at| at + 1) } else { 1 };
    let end = if text.get(end..).is_some_and(|rest| rest.starts_with('?')) { end + 1 } else { end };
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// `2}`, `2,}`, `2,3}`.
fn is_repetition(tail: &str) -> bool {
    let Some((inner, _)) = tail.split_once('}') else { return false };
    let (from, to) = inner.split_once(',').unwrap_or((inner, "0"));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    !from.is_empty() && digits(from) && digits(to)
}

/// Refuses flags that RE2 does not have; what it lacks else the crate lacks too.
fn check_group(tail: &str) -> Result<(), PatternError> {
    let flags: String = tail.chars().skip(1).take_while(|c| c.is_ascii_alphabetic() || *c == '-').collect();
    let is_name = tail.starts_with("?P") || tail.starts_with("?<");
    match flags.chars().find(|flag| !"imsU-".contains(*flag)) {
        Some(flag) if !is_name => Err(PatternError(format!("unknown flag `{flag}` of a group"))),
        _ => Ok(()),
    }
}

/// What follows a backslash; returns the rest.
fn escape<'a>(tail: &'a str, in_class: bool, out: &mut String) -> Result<&'a str, PatternError> {
    let Some(c) = tail.chars().next() else { return Err(PatternError("a backslash at the end".to_owned())) };
    let after = tail.get(c.len_utf8()..).unwrap_or("");
    match (c, in_class) {
        ('d', true) => out.push_str("0-9"),
        ('w', true) => out.push_str("0-9A-Za-z_"),
        ('s', true) => out.push_str("\\t\\n\\f\\r "),
        ('d', false) => out.push_str("[0-9]"),
        ('w', false) => out.push_str("[0-9A-Za-z_]"),
        ('s', false) => out.push_str("[\\t\\n\\f\\r ]"),
        ('D', _) => out.push_str("[^0-9]"),
        ('W', _) => out.push_str("[^0-9A-Za-z_]"),
        ('S', _) => out.push_str("[^\\t\\n\\f\\r ]"),
        ('b', false) => out.push_str("(?-u:\\b)"),
        ('Q', false) => return Ok(quoted(after, out)),
        ('p' | 'P' | 'x', _) if after.starts_with('{') => {
            let (name, rest) = after.get(1..).and_then(|after| after.split_once('}')).unwrap_or((after, ""));
            let (name, is_other) = name.strip_prefix('^').map_or((name, false), |name| (name, c != 'x'));
            let c = if !is_other {
                c
            } else if c == 'p' {
                'P'
            } else {
                'p'
            };
            let _ = write!(out, "\\{c}{{{name}}}");
            return Ok(rest);
        }
        ('C', false) => out.push_str("(?s:.)"),
        // One digit alone names a group, which RE2 cannot look back at.
        ('0', _) | ('1'..='7', _) if c == '0' || after.starts_with(|c: char| c.is_digit(8)) => {
            let digits: String = after.chars().take(2).take_while(|c| c.is_digit(8)).collect();
            let code = u32::from_str_radix(&format!("{c}{digits}"), 8).unwrap_or(0);
            // Writing to a string cannot fail.
            let _ = write!(out, "\\x{{{code:x}}}");
            return Ok(after.get(digits.len()..).unwrap_or(""));
        }
        ('<' | '>', _) => out.push(c),
        _ => {
            out.push('\\');
            out.push(c);
        }
    }
    Ok(after)
}

/// `\Q...\E`: all of it as it is.
fn quoted<'a>(after: &'a str, out: &mut String) -> &'a str {
    let (text, rest) = after.split_once("\\E").unwrap_or((after, ""));
    out.push_str(&regex::escape(text));
    rest
}

/// What follows `[`; returns the rest. In the crate `regex` classes have inner ones and operators, in RE2 they have not.
fn class<'a>(tail: &'a str, out: &mut String) -> Result<&'a str, PatternError> {
    out.push('[');
    let mut rest = tail;
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    // A bracket right at the beginning is one of the characters.
    if let Some(after) = rest.strip_prefix(']') {
        out.push_str("\\]");
        rest = after;
    }
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or("");
        rest = match c {
            ']' => {
                out.push(']');
                return Ok(after);
            }
            '\\' => escape(after, true, out)?,
            '[' if after.starts_with(':') => match after.find(":]") {
                Some(end) => {
                    out.push('[');
                    out.push_str(after.get(..end + 2).unwrap_or(""));
                    after.get(end + 2..).unwrap_or("")
                }
                None => {
                    out.push_str("\\[");
                    after
                }
            },
            '[' | '&' | '~' => {
                out.push('\\');
                out.push(c);
                after
            }
            '-' if after.starts_with('-') => {
                out.push_str("\\-");
                after
            }
            other => {
                out.push(other);
                after
            }
        };
    }
    Err(PatternError("missing closing `]`".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As RE2 reads them; each was tried with it.
    #[test]
    fn classes_octal_numbers_and_counts_are_those_of_re2() {
        let cases = [
            (r"^\p{L}+$", "aé", Some(true)),
            (r"\p{Lu}", "a", Some(false)),
            (r"\p{^Lu}", "a", Some(true)),
            (r"[^\p{Greek}]", "α", Some(false)),
            (r"\P{Latin}", "α", Some(true)),
            (r"\pN", "1", Some(true)),
            (r"^\x{1F600}$", "\u{1F600}", Some(true)),
            (r"\141", "a", Some(true)),
            (r"[\141]", "a", Some(true)),
            (r"\1", "a", None),
            (r"^\C$", "a", Some(true)),
            (r"a{1000}", "a", Some(false)),
            (r"a{1001}", "a", None),
            (r"a{1,1001}", "a", None),
        ];
        for (pattern, text, matches) in cases {
            assert_eq!(Pattern::raw(pattern).ok().map(|pattern| pattern.is_match(text)), matches, "{pattern}");
        }
    }
}
