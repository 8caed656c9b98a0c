//! Patterns of `changes` and `exists`: Ruby's `File.fnmatch` with path names, names with a leading dot, and braces.

use regex::Regex;

/// A pattern, ready to be asked.
#[derive(Debug)]
pub enum Pattern {
    /// This path.
    Exact(String),
    /// Any path that ends like this.
    Suffix(String),
    /// What a regular expression matches; `None`: nothing.
    Glob(Option<Regex>),
}

/// More alternatives than these are not looked at.
const MOST_ALTERNATIVES: usize = 1_024;

impl Pattern {
    /// Reads a pattern.
    pub fn new(glob: &str) -> Self {
        if !glob.contains(['*', '?', '[', '{', '\\']) {
            return Self::Exact(glob.to_owned());
        }
        let mut parts: Vec<String> = Vec::new();
        braces(glob, &mut parts);
        let parts: Vec<String> = parts.iter().map(|glob| translate(glob)).collect();
        Self::Glob(Regex::new(&format!("^(?s:{})$", parts.join("|"))).ok())
    }

    /// Reads a pattern of `exists`, where `**/*.x` means any path that ends with `.x`.
    pub fn of_exists(glob: &str) -> Self {
        let rest = glob.strip_prefix("**/*").unwrap_or(glob);
        let is_exact = !rest.contains(['*', '?', '[', '{']);
        match rest.len() < glob.len() && rest.starts_with('.') && !rest.contains('/') && is_exact {
            true => Self::Suffix(rest.to_owned()),
            false => Self::new(glob),
        }
    }

    /// Whether it matches a path.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == path,
            Self::Suffix(suffix) => path.ends_with(suffix.as_str()),
            Self::Glob(regex) => regex.as_ref().is_some_and(|regex| regex.is_match(path)),
        }
    }
}

/// The texts that braces stand for. Braces within braces count; one without its partner is just a sign.
fn braces(first: &str, out: &mut Vec<String>) {
    let mut waiting = vec![first.to_owned()];
    while let Some(glob) = waiting.pop() {
        match outermost(&glob) {
            Some((before, inside, after)) if waiting.len() + out.len() < MOST_ALTERNATIVES => {
                waiting.extend(alternatives(inside).rev().map(|part| format!("{before}{part}{after}")));
            }
            Some(_) => {}
            None => out.push(glob),
        }
    }
}

fn outermost(glob: &str) -> Option<(&str, &str, &str)> {
    let begin = glob.find('{')?;
    let mut depth = 0usize;
    let mut escaped = false;
    for (at, c) in glob.char_indices().skip_while(|(at, _)| *at < begin) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some((glob.get(..begin)?, glob.get(begin + 1..at)?, glob.get(at + 1..)?));
                }
            }
            _ => {}
        }
    }
    None
}

fn alternatives(inside: &str) -> impl DoubleEndedIterator<Item = &str> {
    let mut parts = Vec::new();
    let (mut depth, mut begin) = (0usize, 0);
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&inside[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inside[begin..]);
    parts.into_iter()
}

/// A pattern without braces as a regular expression.
fn translate(glob: &str) -> String {
    let mut out = String::new();
    let mut rest = glob;
    let mut at_segment = true;
    while let Some(c) = rest.chars().next() {
        if at_segment && rest.starts_with("**/") {
            out.push_str("(?:[^/]+/)*");
            rest = rest.trim_start_matches("**/");
            continue;
        }
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
        at_segment = c == '/';
        match c {
            '*' => {
                out.push_str("[^/]*");
                rest = rest.trim_start_matches('*');
            }
            '?' => out.push_str("[^/]"),
            '[' => match class(rest) {
                Some((class, after)) => {
                    out.push_str(&class);
                    rest = after;
                }
                // A bracket that is never closed matches nothing.
                None => return r"[^\s\S]".to_owned(),
            },
            '\\' => {
                let next = rest.chars().next().unwrap_or('\\');
                out.push_str(&regex::escape(next.encode_utf8(&mut [0; 4])));
                rest = rest.get(next.len_utf8()..).unwrap_or_default();
            }
            _ => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    out
}

/// The characters between brackets, and what follows them.
fn class(rest: &str) -> Option<(String, &str)> {
    let (inside, after) = rest.split_once(']')?;
    let (negated, inside) = match inside.strip_prefix(['!', '^']) {
        Some(inside) => (true, inside),
        None => (false, inside),
    };
    let mut out = String::from(if negated { "[^/" } else { "[" });
    for c in inside.chars() {
        if c != '-' && !c.is_alphanumeric() {
            out.push('\\');
        }
        out.push(c);
    }
    out.push(']');
    Some((out, after))
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn paths_as_ruby_matches_them() {
        for (glob, path, want) in [
            ("*.md", "a.md", true),
            ("*.md", "d/a.md", false),
            ("**/*.md", "a.md", true),
            ("**/*.md", "d/.e/a.md", true),
            ("**.md", "d/a.md", false),
            ("d/**/*", "d/e/f", true),
            ("d/**", "d/e/f", false),
            ("d/**/*", "d", false),
            ("*", ".hidden", true),
            ("a.{rb,{py,js}}", "a.js", true),
            ("[ab]?.c", "bz.c", true),
            ("[!ab].c", "c.c", true),
            ("[!ab].c", "a.c", false),
            ("a\\*", "a*", true),
            ("a[", "a[", false),
            ("a{b", "a{b", true),
        ] {
            assert_eq!(Pattern::new(glob).matches(path), want, "{glob} {path}");
        }
    }
}
