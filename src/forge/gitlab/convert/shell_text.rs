//! Names and globs as the official helper expands them: like a shell between double quotes, without running anything.
//! (protocols: GitLab 6.2.)

use crate::pipeline::Variables;

/// How deep a default may hold another expansion.
const DEPTH: usize = 8;

/// `text` with `$NAME`, `${NAME}`, `${NAME:-default}` (also `-`, `:+`, `+`) replaced, and `\` taken from before `$`, `\` and
/// `` ` ``. `None`: it asks for more (a command, arithmetic, a pattern), and stays as it is.
pub(super) fn expand(text: &str, variables: &Variables) -> Option<String> {
    expand_at(text, variables, 0)
}

fn expand_at(text: &str, variables: &Variables, depth: usize) -> Option<String> {
    if depth > DEPTH {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['$', '\\', '`']) {
        out.push_str(&rest[..at]);
        let special = &rest[at..=at];
        rest = &rest[at + 1..];
        match special {
            "`" => return None,
            "\\" => match rest.chars().next() {
                Some(c @ ('$' | '\\' | '`')) => {
                    out.push(c);
                    rest = &rest[1..];
                }
                _ => out.push('\\'),
            },
            _ => rest = after_dollar(rest, &mut out, variables, depth)?,
        }
    }
    out.push_str(rest);
    Some(out)
}

/// Expands what follows a dollar sign into `out`; gives back what follows that.
fn after_dollar<'t>(rest: &'t str, out: &mut String, variables: &Variables, depth: usize) -> Option<&'t str> {
    if let Some(inner) = rest.strip_prefix('{') {
        let end = closing(inner)?;
        braces(&inner[..end], out, variables, depth)?;
        return Some(&inner[end + 1..]);
    }
    if rest.starts_with('(') {
        return None;
    }
    let name = name_at(rest);
    if name.is_empty() {
        match rest.chars().next() {
            // Positional and special parameters are empty; the official helper has none either.
            Some('*' | '#' | '@' | '!' | '?' | '-' | '$' | '0'..='9') => return Some(&rest[1..]),
            _ => out.push('$'),
        }
    }
    out.push_str(&variables.value(name));
    Some(&rest[name.len()..])
}

fn braces(inner: &str, out: &mut String, variables: &Variables, depth: usize) -> Option<()> {
    let name = name_at(inner);
    if name.is_empty() {
        return None;
    }
    let operation = &inner[name.len()..];
    let value = variables.value(name);
    let is_set = variables.get(name).is_some();
    let (wants_text, word) = match operation.strip_prefix(':') {
        Some(operation) => (true, operation),
        None => (false, operation),
    };
    let counts = if wants_text { !value.is_empty() } else { is_set };
    let mut characters = word.chars();
    let chosen = match characters.next() {
        None if !wants_text => value,
        Some('-' | '=') if counts => value,
        Some('+') if !counts => String::new(),
        Some('-' | '=' | '+') => expand_at(characters.as_str(), variables, depth + 1)?,
        _ => return None,
    };
    out.push_str(&chosen);
    Some(())
}

/// Where the brace that is open at the beginning of `text` closes.
fn closing(text: &str) -> Option<usize> {
    let mut open = 1_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(at);
        }
    }
    None
}

fn name_at(text: &str) -> &str {
    let end = text.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    if text.starts_with(|c: char| c.is_ascii_digit()) { "" } else { &text[..end] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Variable;

    #[test]
    fn names_and_defaults_are_expanded_and_nothing_is_run() {
        let list = vec![Variable::plain("A", "a"), Variable::plain("EMPTY", "")];
        let variables = Variables::new(list, None);
        for (text, want) in [
            ("x-$A-${A}", Some("x-a-a")),
            ("${NONE:-d}${EMPTY:-e}${EMPTY-f}", Some("de")),
            ("${NONE:-${A}b}", Some("ab")),
            ("${A:+yes}${NONE:+no}", Some("yes")),
            (r"\$A \x", Some(r"$A \x")),
            ("100$", Some("100$")),
            ("$NONE!", Some("!")),
            ("**/*.{a,b}", Some("**/*.{a,b}")),
            ("$(id)", None),
            ("`id`", None),
            ("${A##*/}", None),
            ("${A", None),
            ("$((1))", None),
        ] {
            assert_eq!(expand(text, &variables).as_deref(), want, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r"[$\\{}`:+A-C\-ü(]{0,40}") {
            let _ = expand(&text, &Variables::default());
        }
    }
}
