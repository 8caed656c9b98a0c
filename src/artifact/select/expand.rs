//! Variables in names and patterns, replaced as a shell replaces them inside double quotes.
//!
//! GitLab's users write `${VERSION:-dev}` in `artifacts:name` and in paths, and the runner they know treats the text as
//! a shell would. No command is ever run: what would need one is an error, and the text is then taken as it stands.
//! (protocols: GitLab 6.2.)

use crate::artifact::select::glob::Glob;

/// References inside defaults inside references, so that text cannot use up the stack.
const MAX_NESTING: usize = 32;

/// Why a text could not be expanded. The caller takes the text unchanged and tells the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// `${` without `}`.
    #[error("a `${{` has no closing `}}`")]
    Unclosed,
    /// Something that a shell would run or compute.
    #[error("`{0}` would have to be run by a shell, which is not done here")]
    Command(&'static str),
    /// An expansion that is not known.
    #[error("`${{{0}}}` is not an expansion that is supported here")]
    Unknown(String),
    /// `${NAME:?message}` of a variable that is not set.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The text after the question mark.
        message: String,
    },
    /// Too many levels.
    #[error("more than {MAX_NESTING} expansions inside each other")]
    TooDeep,
}

/// Replaces `$NAME`, `${NAME}`, `${#NAME}`, the defaults `-`, `=`, `+`, `?` (each also with `:`, which counts an empty value as
/// unset), the trimmings `#`, `##`, `%`, `%%`, and `${NAME:offset:length}`. `lookup` gives the value of a variable, `None` when
/// it is not set. A backslash protects `$`, `` ` `` and itself; before anything else it stays, so that globs keep theirs.
pub fn expand_shell(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, ExpandError> {
    Expander { lookup, depth: 0 }.text(text)
}

struct Expander<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    depth: usize,
}

impl Expander<'_> {
    fn text(&mut self, text: &str) -> Result<String, ExpandError> {
        if self.depth >= MAX_NESTING {
            return Err(ExpandError::TooDeep);
        }
        self.depth += 1;
        let expanded = self.pieces(text);
        self.depth -= 1;
        expanded
    }

    fn pieces(&mut self, text: &str) -> Result<String, ExpandError> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(['$', '\\', '`']) {
            out.push_str(&rest[..at]);
            let special = rest.as_bytes()[at];
            rest = &rest[at + 1..];
            match special {
                b'`' => return Err(ExpandError::Command("`…`")),
                b'\\' => match rest.chars().next() {
                    Some(c @ ('$' | '`' | '\\')) => {
                        out.push(c);
                        rest = &rest[1..];
                    }
                    Some('\n') => rest = &rest[1..],
                    _ => out.push('\\'),
                },
                _ => rest = self.dollar(rest, &mut out)?,
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    /// What follows a dollar sign; gives back the text after it.
    fn dollar<'t>(&mut self, rest: &'t str, out: &mut String) -> Result<&'t str, ExpandError> {
        if rest.starts_with("((") {
            return Err(ExpandError::Command("$((…))"));
        }
        if rest.starts_with('(') {
            return Err(ExpandError::Command("$(…)"));
        }
        if let Some(inner) = rest.strip_prefix('{') {
            let end = closing_brace(inner).ok_or(ExpandError::Unclosed)?;
            out.push_str(&self.braced(&inner[..end])?);
            return Ok(&inner[end + 1..]);
        }
        let length = name_length(rest);
        if length == 0 {
            // Positional and special parameters are empty here: there is no shell.
            if rest.starts_with(|c: char| c.is_ascii_digit() || "@*#?-!$".contains(c)) {
                return Ok(&rest[1..]);
            }
            out.push('$');
            return Ok(rest);
        }
        out.push_str(&(self.lookup)(&rest[..length]).unwrap_or_default());
        Ok(&rest[length..])
    }

    fn braced(&mut self, inner: &str) -> Result<String, ExpandError> {
        if let Some(name) = inner.strip_prefix('#')
            && name_length(name) == name.len()
            && !name.is_empty()
        {
            return Ok((self.lookup)(name).unwrap_or_default().chars().count().to_string());
        }
        let (name, operation) = inner.split_at(name_length(inner));
        if name.is_empty() {
            return Err(ExpandError::Unknown(inner.to_owned()));
        }
        let value = (self.lookup)(name);
        match operation.as_bytes() {
            [] => Ok(value.unwrap_or_default()),
            [b':', b'-' | b'=' | b'+' | b'?', ..] => {
                self.default(name, value.filter(|v| !v.is_empty()), &operation[1..])
            }
            [b'-' | b'=' | b'+' | b'?', ..] => self.default(name, value, operation),
            [b'#' | b'%', ..] => self.trimmed(value.unwrap_or_default(), operation),
            [b':', ..] => self.slice(&value.unwrap_or_default(), inner, &operation[1..]),
            _ => Err(ExpandError::Unknown(inner.to_owned())),
        }
    }

    /// `-word`, `=word`, `+word`, `?word`. An assignment cannot last here: it is a default.
    fn default(&mut self, name: &str, value: Option<String>, operation: &str) -> Result<String, ExpandError> {
        let word = &operation[1..];
        match (operation.as_bytes()[0], value) {
            (b'+', Some(_)) => self.text(word),
            (b'+', None) => Ok(String::new()),
            (_, Some(value)) => Ok(value),
            (b'?', None) => {
                let message = self.text(word)?;
                let message = if message.is_empty() { "is not set".to_owned() } else { message };
                Err(ExpandError::Required { name: name.to_owned(), message })
            }
            (_, None) => self.text(word),
        }
    }

    /// `#pattern` and `%pattern` take the shortest match away, doubled ones the longest.
    fn trimmed(&mut self, value: String, operation: &str) -> Result<String, ExpandError> {
        let front = operation.starts_with('#');
        let sign = &operation[..1];
        let longest = operation[1..].starts_with(sign);
        let word = self.text(&operation[1 + usize::from(longest)..])?;
        let Some(matches) = whole_text_matcher(&word) else { return Ok(value) };
        let mut cuts: Vec<usize> = value.char_indices().map(|(at, _)| at).chain([value.len()]).collect();
        if front == longest {
            cuts.reverse();
        }
        let cut = cuts.into_iter().find(|at| matches(if front { &value[..*at] } else { &value[*at..] }));
        Ok(match cut {
            Some(at) if front => value[at..].to_owned(),
            Some(at) => value[..at].to_owned(),
            None => value,
        })
    }

    /// `offset` or `offset:length`, in characters; negative ones count from the end.
    fn slice(&mut self, value: &str, inner: &str, numbers: &str) -> Result<String, ExpandError> {
        let unknown = || ExpandError::Unknown(inner.to_owned());
        let numbers = self.text(numbers)?;
        let (offset, length) = match numbers.split_once(':') {
            Some((offset, length)) => (offset, Some(length)),
            None => (numbers.as_str(), None),
        };
        let count = i64::try_from(value.chars().count()).map_err(|_| unknown())?;
        let number = |text: &str| if text.trim().is_empty() { Ok(0) } else { text.trim().parse::<i64>() };
        let from_end = |n: i64| if n < 0 { count.saturating_add(n) } else { n };
        let start = from_end(number(offset).map_err(|_| unknown())?);
        let end = match length {
            None => count,
            Some(length) => match number(length).map_err(|_| unknown())? {
                n if n < 0 => from_end(n),
                n => start.saturating_add(n),
            },
        };
        if start < 0 || start > count || end < start {
            return Ok(String::new());
        }
        let (start, length) = (usize::try_from(start).unwrap_or(0), usize::try_from(end - start).unwrap_or(0));
        Ok(value.chars().skip(start).take(length).collect())
    }
}

/// A shell pattern, in which `*` also means slashes, as a test of a whole text. `None`: the pattern cannot be read.
fn whole_text_matcher(pattern: &str) -> Option<impl Fn(&str) -> bool> {
    // Slashes are replaced on both sides by a character that cannot be in a variable, so that `*` crosses them.
    let glob = Glob::parse(&hide_structure(pattern)).ok()?;
    Some(move |text: &str| glob.matches_name(text.replace('/', "\u{0}").as_bytes()))
}

fn hide_structure(pattern: &str) -> String {
    match pattern {
        "." => "\\.".to_owned(), // alone it would be a folder's own name
        _ => pattern.replace('/', "\u{0}").replace('{', "\\{").replace('}', "\\}"),
    }
}

/// Where the brace that is open at the start closes.
fn closing_brace(text: &str) -> Option<usize> {
    let (mut depth, mut skip) = (0_usize, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if skip => skip = false,
            '\\' => skip = true,
            '{' if text[..at].ends_with('$') => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// How many bytes at the start are a variable's name.
fn name_length(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lookup(name: &str) -> Option<String> {
        let value = match name {
            "A" => "one",
            "EMPTY" => "",
            "DOT" => "v1.",
            "REF" => "feature/big/thing.tar.gz",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn expanded(text: &str) -> String {
        expand_shell(text, &lookup).unwrap()
    }

    #[test]
    fn references_and_defaults() {
        for (text, want) in [
            ("pkg-$A", "pkg-one"),
            ("${A}x$A-y", "onexone-y"),
            ("$NONE.", "."),
            ("${NONE:-d}", "d"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY-d}", ""),
            ("${NONE-d}", "d"),
            ("${A:-d}", "one"),
            ("${A:+set}${NONE:+set}", "set"),
            ("${NONE:-${EMPTY:-$A}}", "one"),
            ("${#A}", "3"),
            ("a$", "a$"),
            ("$.x", "$.x"),
            ("$1$@x", "x"),
        ] {
            assert_eq!(expanded(text), want, "{text}");
        }
    }

    #[test]
    fn trimmings_and_slices() {
        for (text, want) in [
            ("${REF#*/}", "big/thing.tar.gz"),
            ("${REF##*/}", "thing.tar.gz"),
            ("${REF%.*}", "feature/big/thing.tar"),
            ("${REF%%.*}", "feature/big/thing"),
            ("${REF%.zip}", "feature/big/thing.tar.gz"),
            ("${A#one}", ""),
            ("${DOT%.}", "v1"),
            ("${A:1}", "ne"),
            ("${A:0:2}", "on"),
            ("${A: -2:1}", "n"),
            ("${A:9}", ""),
        ] {
            assert_eq!(expanded(text), want, "{text}");
        }
    }

    #[test]
    fn backslashes_protect_dollars_and_leave_globs_alone() {
        assert_eq!(expanded(r"\$A"), "$A");
        assert_eq!(expanded(r"\\$A"), r"\one");
        assert_eq!(expanded(r"\*.txt \[x\]"), r"\*.txt \[x\]");
    }

    #[test]
    fn nothing_is_ever_run() {
        for text in ["$(id)", "`id`", "$((1+1))", "${NONE:-$(id)}"] {
            assert!(matches!(expand_shell(text, &lookup), Err(ExpandError::Command(_))), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        assert_eq!(expand_shell("${A", &lookup), Err(ExpandError::Unclosed));
        assert!(matches!(expand_shell("${A@Q}", &lookup), Err(ExpandError::Unknown(_))));
        assert!(matches!(expand_shell("${}", &lookup), Err(ExpandError::Unknown(_))));
        let required = expand_shell("${NONE:?give it}", &lookup).unwrap_err();
        assert_eq!(required.to_string(), "NONE: give it");
        let deep = format!("{}x{}", "${N:-".repeat(100), "}".repeat(100));
        assert_eq!(expand_shell(&deep, &lookup), Err(ExpandError::TooDeep));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[A${}:#%/\\\\`(){}+=?*\u{fc}1-]{0,24}") {
            let _ = expand_shell(&text, &lookup);
        }
    }
}
