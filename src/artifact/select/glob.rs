//! Globs as GitLab's users write them: `*`, `**`, `?`, `[a-z]`, `[!a]`, `{a,b}`, `\` before a character that means itself.
//!
//! A pattern is split at its slashes. `**` alone between slashes stands for any number of folders, none included, so that
//! `a/**` is `a` too; inside a name it is a `*`. Names are bytes; where they are UTF-8 a character counts as one.
//! (protocols: GitLab 6.2.)

/// Alternatives that one pattern's braces may make, so that `{a,b}{a,b}…` cannot use up memory.
const MAX_ALTERNATIVES: usize = 1024;

/// A pattern that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    /// `[` without `]`, or nothing between them.
    #[error("a `[` has no closing `]` or nothing before it")]
    Class,
    /// `{` without `}`.
    #[error("a `{{` has no closing `}}`")]
    Brace,
    /// `\` at the end.
    #[error("it ends in a `\\` that escapes nothing")]
    Escape,
    /// Braces that multiply too far.
    #[error("its braces make more than {MAX_ALTERNATIVES} alternatives")]
    TooMany,
}

/// A pattern, read.
#[derive(Clone, Debug)]
pub struct Glob {
    alternatives: Vec<Vec<Segment>>,
    /// For each alternative without wildcards, the names to look for.
    plain: Vec<Option<Vec<Segment>>>,
}

/// One part of a pattern between slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// `**`: any number of folders.
    AnyFolders,
    /// A name without wildcards.
    Name(Vec<u8>),
    /// A name with wildcards.
    Wild(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Any,
    One,
    Char(u32),
    Class { negated: bool, ranges: Vec<(u32, u32)> },
}

impl Glob {
    /// Reads a pattern relative to the work tree. Empty segments and `.` are dropped; `..` matches nothing.
    pub fn parse(pattern: &str) -> Result<Self, GlobError> {
        let chars: Vec<char> = pattern.chars().collect();
        let mut texts = Vec::new();
        expand_braces(chars, &mut texts)?;
        let alternatives = texts.iter().map(|text| parse_segments(text)).collect::<Result<_, _>>()?;
        let plain = texts.iter().map(|text| plain_names(text)).collect();
        Ok(Self { alternatives, plain })
    }

    /// Whether `path`, relative with `/` between names, is one that the pattern means.
    pub fn matches(&self, path: &[u8]) -> bool {
        let names: Vec<&[u8]> = path.split(|b| *b == b'/').filter(|n| !n.is_empty() && *n != b".").collect();
        self.alternatives.iter().any(|segments| match_segments(segments, &names))
    }

    /// Whether the tree itself is meant when it is called `.`.
    pub(super) fn matches_tree(&self) -> bool {
        self.alternatives.iter().any(|segments| match_segments(segments, &[b"."]))
    }

    /// Whether `name`, taken as one name even where it is empty or `.`, is meant. An empty pattern means the empty name.
    pub(super) fn matches_name(&self, name: &[u8]) -> bool {
        self.alternatives.iter().any(|segments| match segments.as_slice() {
            [] => name.is_empty(),
            [segment] => segment.matches(name),
            _ => false,
        })
    }

    /// Whether braces make several patterns of it.
    pub(super) fn has_choices(&self) -> bool {
        self.alternatives.len() > 1
    }

    /// What to look for in a tree: the segments of each alternative, and whether it is a mere path.
    pub(super) fn searches(&self) -> impl Iterator<Item = (&[Segment], bool)> {
        self.alternatives.iter().zip(&self.plain).map(|(wild, plain)| match plain {
            Some(names) => (names.as_slice(), true),
            None => (wild.as_slice(), false),
        })
    }
}

/// Writes each choice of the first brace out and goes on with what follows, until none is left.
fn expand_braces(pattern: Vec<char>, out: &mut Vec<Vec<char>>) -> Result<(), GlobError> {
    let mut todo = vec![pattern];
    while let Some(text) = todo.pop() {
        match first_brace(&text)? {
            None => out.push(text),
            Some((open, commas, close)) => {
                let mut from = open + 1;
                let mut made = Vec::new();
                for to in commas.into_iter().chain([close]) {
                    made.push([&text[..open], &text[from..to], &text[close + 1..]].concat());
                    from = to + 1;
                }
                todo.extend(made.into_iter().rev()); // the first choice comes out first
            }
        }
        if out.len() + todo.len() > MAX_ALTERNATIVES {
            return Err(GlobError::TooMany);
        }
    }
    Ok(())
}

/// Where the first brace opens, its commas, and where it closes.
fn first_brace(text: &[char]) -> Result<Option<(usize, Vec<usize>, usize)>, GlobError> {
    let mut open = None;
    let (mut depth, mut commas, mut at) = (0_usize, Vec::new(), 0);
    while at < text.len() {
        match text[at] {
            '\\' => at += 1,
            '[' => at = class_end(text, at)?,
            '{' => {
                open = open.or(Some(at));
                depth += 1;
            }
            ',' if depth == 1 => commas.push(at),
            '}' if depth > 0 => {
                depth -= 1;
                if let (0, Some(open)) = (depth, open) {
                    return Ok(Some((open, commas, at)));
                }
            }
            _ => {}
        }
        at += 1;
    }
    if open.is_some() { Err(GlobError::Brace) } else { Ok(None) }
}

/// The position of the `]` that closes the `[` at `open`.
fn class_end(text: &[char], open: usize) -> Result<usize, GlobError> {
    let mut at = open + 1;
    if matches!(text.get(at), Some('!' | '^')) {
        at += 1;
    }
    let first = at;
    while let Some(c) = text.get(at) {
        match c {
            ']' if at > first => return Ok(at),
            ']' => return Err(GlobError::Class),
            '\\' => at += 2,
            _ => at += 1,
        }
    }
    Err(GlobError::Class)
}

/// The names of a path without wildcards; `None` where it has some. In a mere path `\` is taken only from before a
/// character that would be a wildcard: elsewhere it is part of a name.
fn plain_names(text: &[char]) -> Option<Vec<Segment>> {
    let mut path = String::with_capacity(text.len());
    let mut rest = text.iter().copied().peekable();
    while let Some(c) = rest.next() {
        match c {
            '*' | '?' | '[' | '{' => return None,
            '\\' => match rest.next() {
                Some(escaped @ ('*' | '?' | '[' | ']' | '{' | '}')) => path.push(escaped),
                Some(other) => path.extend(['\\', other]),
                None => path.push('\\'),
            },
            c => path.push(c),
        }
    }
    let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
    Some(names.map(|name| Segment::Name(name.as_bytes().to_vec())).collect())
}

fn parse_segments(text: &[char]) -> Result<Vec<Segment>, GlobError> {
    let mut segments: Vec<Segment> = Vec::new();
    for part in text.split(|c| *c == '/') {
        match part {
            [] | ['.'] => {}
            ['*', '*'] if segments.last() == Some(&Segment::AnyFolders) => {}
            ['*', '*'] => segments.push(Segment::AnyFolders),
            _ => segments.push(parse_name(part)?),
        }
    }
    Ok(segments)
}

fn parse_name(part: &[char]) -> Result<Segment, GlobError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < part.len() {
        match part[at] {
            '*' => {
                if tokens.last() != Some(&Token::Any) {
                    tokens.push(Token::Any);
                }
            }
            '?' => tokens.push(Token::One),
            '[' => {
                let end = class_end(part, at)?;
                tokens.push(parse_class(&part[at + 1..end])?);
                at = end;
            }
            '\\' => {
                at += 1;
                tokens.push(Token::Char(u32::from(*part.get(at).ok_or(GlobError::Escape)?)));
            }
            c => tokens.push(Token::Char(u32::from(c))),
        }
        at += 1;
    }
    let literal: Option<String> =
        tokens.iter().map(|t| if let Token::Char(c) = t { char::from_u32(*c) } else { None }).collect();
    Ok(match literal {
        Some(name) => Segment::Name(name.into_bytes()),
        None => Segment::Wild(tokens),
    })
}

/// The inside of `[…]`.
fn parse_class(inside: &[char]) -> Result<Token, GlobError> {
    let negated = matches!(inside.first(), Some('!' | '^'));
    let mut rest = inside.iter().copied().skip(usize::from(negated)).peekable();
    let mut ranges = Vec::new();
    while let Some(c) = rest.next() {
        let low = if c == '\\' { rest.next().ok_or(GlobError::Escape)? } else { c };
        let mut ahead = rest.clone();
        let high = match (ahead.next(), ahead.next()) {
            (Some('-'), Some('\\')) => Some(ahead.next().ok_or(GlobError::Escape)?),
            (Some('-'), Some(high)) => Some(high),
            _ => None,
        };
        if high.is_some() {
            rest = ahead;
        }
        ranges.push((u32::from(low), u32::from(high.unwrap_or(low))));
    }
    Ok(Token::Class { negated, ranges })
}

/// Whether the segments cover all the names. A failed match goes back to the last `**` only: an earlier one could not
/// do better, so the work is at most segments times names.
fn match_segments(segments: &[Segment], names: &[&[u8]]) -> bool {
    let (mut s, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match segments.get(s) {
            Some(Segment::AnyFolders) => {
                s += 1;
                retry = Some((s, n));
                continue;
            }
            None if n == names.len() => return true,
            Some(segment) if names.get(n).is_some_and(|name| segment.matches(name)) => {
                s += 1;
                n += 1;
                continue;
            }
            _ => {}
        }
        match retry {
            Some((after, from)) if from < names.len() => {
                retry = Some((after, from + 1));
                (s, n) = (after, from + 1);
            }
            _ => return false,
        }
    }
}

impl Segment {
    /// Whether this one name is meant. `**` means any.
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        match self {
            Segment::AnyFolders => true,
            Segment::Name(literal) => literal == name,
            Segment::Wild(tokens) => match_tokens(tokens, name),
        }
    }
}

fn match_tokens(tokens: &[Token], name: &[u8]) -> bool {
    let (mut t, mut at) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if tokens.get(t) == Some(&Token::Any) {
            t += 1;
            retry = Some((t, at));
            continue;
        }
        match (tokens.get(t), character(name, at)) {
            (None, None) => return true,
            (Some(token), Some((c, length))) if token.is(c) => {
                t += 1;
                at += length;
                continue;
            }
            _ => {}
        }
        match retry.and_then(|(after, from)| Some((after, from + character(name, from)?.1))) {
            Some((after, from)) => {
                retry = Some((after, from));
                (t, at) = (after, from);
            }
            None => return false,
        }
    }
}

impl Token {
    fn is(&self, c: u32) -> bool {
        match self {
            Token::Any | Token::One => true,
            Token::Char(own) => *own == c,
            Token::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

/// The character at `at` and its length. A byte that is not UTF-8 is a character of its own, beyond Unicode.
fn character(name: &[u8], at: usize) -> Option<(u32, usize)> {
    let rest = name.get(at..).filter(|rest| !rest.is_empty())?;
    if rest[0].is_ascii() {
        return Some((u32::from(rest[0]), 1));
    }
    let longest = rest.len().min(4);
    let decoded = (2..=longest).find_map(|n| std::str::from_utf8(&rest[..n]).ok()).and_then(|s| s.chars().next());
    Some(match decoded {
        Some(c) => (u32::from(c), c.len_utf8()),
        None => (0x0011_0000 + u32::from(rest[0]), 1),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is(pattern: &str, path: &str) -> bool {
        Glob::parse(pattern).unwrap().matches(path.as_bytes())
    }

    #[test]
    fn wildcards_stay_within_a_name() {
        for (pattern, path, want) in [
            ("*.log", "a.log", true),
            ("*.log", ".log", true),
            ("*.log", "d/a.log", false),
            ("x?.log", "x1.log", true),
            ("x?.log", "x10.log", false),
            ("?", "\u{fc}", true),
            ("d/*", "d", false),
            ("d/*", "d/e/f", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("*", ".hidden", true),
        ] {
            assert_eq!(is(pattern, path), want, "{pattern} {path}");
        }
    }

    #[test]
    fn two_stars_are_any_folders_or_none() {
        for (pattern, path, want) in [
            ("**", "a/b/c", true),
            ("a/**", "a", true),
            ("a/**", "a/b/c", true),
            ("a/**", "ab", false),
            ("a/**/*.log", "a/1.log", true),
            ("a/**/*.log", "a/b/c/3.log", true),
            ("a/**/b/**/c", "a/b/b/x/c", true),
            ("**/x", "x", true),
            ("o/**/*", "o", false),
            ("o/**/*", "o/1", true),
            ("a**c/d", "abbc/d", true),
            ("a**c", "a/c", false),
        ] {
            assert_eq!(is(pattern, path), want, "{pattern} {path}");
        }
    }

    #[test]
    fn classes_braces_and_escapes() {
        for (pattern, path, want) in [
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[a-]", "-", true),
            (r"[\]]", "]", true),
            ("[\u{e0}-\u{ff}]", "\u{fc}", true),
            ("m.{xml,json}", "m.json", true),
            ("m.{xml,json}", "m.txt", false),
            ("{a,b/{c,d}}/e", "b/d/e", true),
            ("{a,}b", "b", true),
            ("{a/**,c}/x", "a/q/r/x", true),
            (r"\*.txt", "*.txt", true),
            (r"\*.txt", "a.txt", false),
            (r"\{a,b\}", "{a,b}", true),
            ("a}", "a}", true),
            ("[{]a,b[}]", "{a,b}", true),
        ] {
            assert_eq!(is(pattern, path), want, "{pattern} {path}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        assert_eq!(Glob::parse("[a").unwrap_err(), GlobError::Class);
        assert_eq!(Glob::parse("[]a]").unwrap_err(), GlobError::Class);
        assert_eq!(Glob::parse("{a,b").unwrap_err(), GlobError::Brace);
        assert_eq!(Glob::parse("a\\").unwrap_err(), GlobError::Escape);
        assert_eq!(Glob::parse(&"{a,b}".repeat(40)).unwrap_err(), GlobError::TooMany);
    }

    #[test]
    fn a_name_that_is_not_utf8_has_characters_too() {
        assert!(Glob::parse("a?.txt").unwrap().matches(b"a\xff.txt"));
        assert!(Glob::parse("*.txt").unwrap().matches(b"\xff\xfe.txt"));
        assert!(!Glob::parse("[a-z].txt").unwrap().matches(b"\xff.txt"));
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let pattern = format!("{}b", "a*".repeat(50));
        assert!(!is(&pattern, &"a".repeat(3000)));
        let folders = format!("{}b", "**/a/".repeat(50));
        assert!(!is(&folders, &"a/".repeat(1000)));
    }

    proptest! {
        #[test]
        fn no_pattern_panics(pattern in "[a-b*?\\[\\]{},\\\\!^/.-]{0,24}", path in "[ab/.\\-]{0,16}") {
            if let Ok(glob) = Glob::parse(&pattern) {
                glob.matches(path.as_bytes());
            }
        }

        #[test]
        fn an_escaped_name_means_itself(name in "[a-c*?{},!^\\[\\]\\\\-]{1,12}") {
            prop_assume!(name != "." && name != "..");
            let escaped: String = name.chars().flat_map(|c| ['\\', c]).collect();
            prop_assert!(Glob::parse(&escaped).unwrap().matches(name.as_bytes()));
        }
    }
}
