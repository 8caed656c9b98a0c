//! The patterns of `branches`, `tags`, `paths` and their `-ignore` forms.
//!
//! `*` is any characters but `/`, `**` any at all, `?` makes what stands before it optional, `+` lets it come again, `[]` is one of
//! some characters, `!` in front takes matches away again, a backslash takes the meaning away. The whole name has to match, in its case.
//! `**/` at the beginning or after a slash stands for no folder, too.
//! Source: GitHub's documentation of workflow syntax, "Filter pattern cheat sheet".

use std::fmt;

use regex::{Regex, RegexBuilder};

/// A pattern that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the pattern `{}` is not one: {}", self.pattern, self.problem)
    }
}

/// One pattern, compiled.
#[derive(Clone, Debug)]
struct Pattern {
    regex: Regex,
    /// Takes away what earlier ones matched.
    is_negative: bool,
}

/// The patterns of one filter, in order.
#[derive(Clone, Debug)]
pub struct Patterns {
    list: Vec<Pattern>,
}

/// The largest compiled pattern, in bytes.
const REGEX_LIMIT: usize = 1 << 20;

impl Patterns {
    /// Compiles them; all that are wrong are told.
    pub fn compile<S: AsRef<str>>(patterns: &[S]) -> Result<Self, Vec<PatternError>> {
        let mut list = Vec::with_capacity(patterns.len());
        let mut errors = Vec::new();
        for pattern in patterns {
            match compile(pattern.as_ref()) {
                Ok(pattern) => list.push(pattern),
                Err(problem) => errors.push(PatternError { pattern: pattern.as_ref().to_owned(), problem }),
            }
        }
        if errors.is_empty() { Ok(Self { list }) } else { Err(errors) }
    }

    /// Whether a name is meant: the last pattern that matches it decides.
    pub fn matches(&self, name: &str) -> bool {
        let last = self.list.iter().rev().find(|pattern| pattern.regex.is_match(name));
        last.is_some_and(|pattern| !pattern.is_negative)
    }

    /// Whether one of the names is meant: `branches`, `tags` (of the one ref), `paths`.
    pub fn match_any<S: AsRef<str>>(&self, names: &[S]) -> bool {
        names.iter().any(|name| self.matches(name.as_ref()))
    }

    /// Whether all of the names are to be ignored: `branches-ignore`, `tags-ignore`, `paths-ignore`. A negative pattern in such a filter
    /// ignores all that it does not match, which is why the documentation advises against one.
    pub fn ignore_all<S: AsRef<str>>(&self, names: &[S]) -> bool {
        let is_ignored =
            |name: &str| self.list.iter().any(|pattern| pattern.regex.is_match(name) != pattern.is_negative);
        !self.list.is_empty() && names.iter().all(|name| is_ignored(name.as_ref()))
    }
}

fn compile(pattern: &str) -> Result<Pattern, String> {
    let (is_negative, text) = match pattern.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let regex = RegexBuilder::new(&translate(text)?).size_limit(REGEX_LIMIT).build();
    Ok(Pattern { regex: regex.map_err(|_| "it is too large".to_owned())?, is_negative })
}

/// The pattern as a regular expression.
fn translate(pattern: &str) -> Result<String, String> {
    let chars: Vec<char> = pattern.chars().collect();
    let mut out = String::with_capacity(pattern.len() + 16);
    out.push_str("^(?s:");
    let mut at = 0;
    // Whether something stands before that `?` and `+` can be about.
    let mut is_item = false;
    while let Some(&c) = chars.get(at) {
        at += 1;
        match c {
            '*' if chars.get(at) == Some(&'*') => {
                at += 1;
                let begins = at == 2 || chars.get(at.wrapping_sub(3)) == Some(&'/');
                if begins && chars.get(at) == Some(&'/') {
                    at += 1;
                    out.push_str("(?:.*/)?");
                } else {
                    out.push_str(".*");
                }
                is_item = false;
            }
            '*' => {
                out.push_str("[^/]*");
                is_item = false;
            }
            '?' | '+' => {
                if !is_item {
                    return Err(format!("`{c}` has nothing before it"));
                }
                out.push(c);
                is_item = false;
            }
            '[' => {
                at = class(&chars, at, &mut out)?;
                is_item = true;
            }
            '\\' => {
                let next = chars.get(at).ok_or("a backslash ends it")?;
                at += 1;
                push_literal(&mut out, *next);
                is_item = true;
            }
            other => {
                push_literal(&mut out, other);
                is_item = true;
            }
        }
    }
    out.push_str(")$");
    Ok(out)
}

/// The characters between brackets; the place behind them.
fn class(chars: &[char], begin: usize, out: &mut String) -> Result<usize, String> {
    let length = chars.get(begin..).and_then(|rest| rest.iter().position(|c| *c == ']'));
    let length = length.ok_or("`[` has no `]`")?;
    let inside = chars.get(begin..begin + length).unwrap_or_default();
    if inside.is_empty() {
        return Err("nothing stands between `[` and `]`".into());
    }
    let mut at = 0;
    out.push('[');
    while let Some(&first) = inside.get(at) {
        match (inside.get(at + 1), inside.get(at + 2)) {
            (Some('-'), Some(&last)) => {
                if first > last {
                    return Err(format!("the range `{first}-{last}` goes backwards"));
                }
                push_literal(out, first);
                out.push('-');
                push_literal(out, last);
                at += 3;
            }
            _ => {
                push_literal(out, first);
                at += 1;
            }
        }
    }
    out.push(']');
    Ok(begin + length + 1)
}

fn push_literal(out: &mut String, c: char) {
    if c.is_ascii_punctuation() {
        out.push('\\');
    }
    out.push(c);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(list: &[&str]) -> Patterns {
        Patterns::compile(list).unwrap()
    }

    #[test]
    fn the_table_of_the_documentation() {
        for (pattern, good, bad) in [
            ("feature/*", "feature/my-branch", "feature/a/b"),
            ("feature/**", "feature/beta-a/my-branch", "other"),
            ("*", "main", "a/b"),
            ("**", "all/the/branches", ""),
            ("*feature", "ver-10-feature", "feature-1"),
            ("v2*", "v2.9", "v1"),
            ("v[12].[0-9]+.[0-9]+", "v2.10.1", "v3.1.0"),
            ("*.jsx?", "page.js", "page.jsxx"),
            ("**/README.md", "README.md", "README.mdx"),
            ("docs/**/*.md", "docs/README.md", "doc/README.md"),
            ("**/docs/**", "docs/hello.md", "docx/hello"),
            ("a\\*b", "a*b", "axb"),
            ("**.js", "src/js/app.js", "app.ts"),
        ] {
            assert!(patterns(&[pattern]).matches(good), "{pattern} {good}");
            if !bad.is_empty() {
                assert!(!patterns(&[pattern]).matches(bad), "{pattern} {bad}");
            }
        }
    }

    #[test]
    fn the_last_match_decides() {
        let all = patterns(&["releases/**", "!releases/**-alpha"]);
        assert!(all.matches("releases/10"));
        assert!(!all.matches("releases/beta/3-alpha"));
        assert!(patterns(&["*.md", "!README.md", "README*"]).matches("README.md"));
    }

    #[test]
    fn a_file_that_is_not_ignored_is_enough() {
        let ignored = patterns(&["docs/**"]);
        assert!(ignored.ignore_all(&["docs/a", "docs/b"]));
        assert!(!ignored.ignore_all(&["docs/a", "src/b"]));
        assert!(!Patterns::compile::<&str>(&[]).unwrap().ignore_all(&["x"]));
    }

    #[test]
    fn what_is_no_pattern_is_told() {
        let errors = Patterns::compile(&["[a", "ok", "?x", "[]", "[z-a]", "a\\"]).unwrap_err();
        assert_eq!(errors.len(), 5);
        assert!(errors[0].to_string().contains("`[` has no `]`"));
    }

    #[test]
    fn the_corpus_agrees() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpus/github/patterns/filter_patterns.json");
        let Ok(text) = std::fs::read_to_string(path) else {
            eprintln!("note: no corpus");
            return;
        };
        let cases: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        let texts = |value: &serde_json::Value| -> Vec<String> {
            value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        for case in &cases {
            let patterns = Patterns::compile(&texts(&case["patterns"])).unwrap();
            let inputs = texts(&case["inputs"]);
            // A filter without patterns is none: nothing is skipped and nothing ignored.
            let skips = !patterns.list.is_empty() && !patterns.match_any(&inputs);
            assert_eq!(skips, case["act_skip"], "{}", case["name"]);
            assert_eq!(patterns.ignore_all(&inputs), case["act_filter"], "{}", case["name"]);
        }
    }
}
