//! `hashFiles`: which files, in which order, and what of them.
//!
//! Source of the rules: actions/runner's hashFiles and actions/toolkit's glob. The digest is that of the files' digests, one after
//! the other, in the order of a walk that takes the names of each folder by their bytes.

use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// The files of a workspace.
pub trait FileHasher {
    /// The paths of all files, relative to the workspace, with `/`.
    ///
    /// # Errors
    /// Why they cannot be listed.
    fn files(&self) -> Result<Arc<[String]>, String>;

    /// The SHA-256 of a file's content; `None` for a link to a folder, which counts as none.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn sha256(&self, path: &str) -> Result<Option<[u8; 32]>, String>;

    /// The workspace's own path, as expressions know it: patterns may begin with it.
    fn workspace(&self) -> Option<&str> {
        None
    }
}

/// The digest of the files that patterns match, in hexadecimal; empty where they match none.
///
/// # Errors
/// What cannot be listed or read, and patterns that go up by `..`.
pub fn hash_files<'a>(patterns: impl IntoIterator<Item = &'a str>, files: &dyn FileHasher) -> Result<String, String> {
    let lines = patterns.into_iter().flat_map(str::lines);
    let workspace = files.workspace();
    let patterns = lines.filter_map(|line| Pattern::parse(line, workspace).transpose());
    let patterns: Vec<Pattern> = patterns.collect::<Result<_, _>>()?;
    let all = files.files()?;
    let mut matched: Vec<(usize, Vec<&str>, &str)> = Vec::new();
    let starts = starts(&patterns);
    for path in all.iter() {
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
        let start = starts.iter().position(|start| names.starts_with(start));
        if let Some(start) = start.filter(|_| is_matched(&patterns, &names)) {
            matched.push((start, names, path));
        }
    }
    matched.sort();
    let (mut digest, mut any) = (Sha256::new(), false);
    for (_, _, path) in &matched {
        if let Some(hash) = files.sha256(path)? {
            digest.update(hash);
            any = true;
        }
    }
    if !any {
        return Ok(String::new());
    }
    let mut text = String::with_capacity(64);
    for byte in digest.finalize() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// Later patterns change what earlier ones said.
fn is_matched(patterns: &[Pattern], names: &[&str]) -> bool {
    patterns.iter().fold(false, |matched, pattern| match (pattern.negated, matched) {
        (false, false) => pattern.matches(names),
        (true, true) => !pattern.matches(names),
        _ => matched,
    })
}

/// Where the walk begins, in order: the folder of each pattern that lies in no other's.
fn starts(patterns: &[Pattern]) -> Vec<Vec<&str>> {
    let literal = |pattern: &'_ Pattern| -> usize {
        pattern.names.iter().take_while(|name| matches!(name, Name::Literal(_))).count()
    };
    let mut all: Vec<Vec<&str>> = Vec::new();
    for pattern in patterns.iter().filter(|pattern| !pattern.negated) {
        let names = pattern.names.iter().take(literal(pattern)).filter_map(|name| match name {
            Name::Literal(text) => Some(text.as_str()),
            _ => None,
        });
        let names: Vec<&str> = names.collect();
        if !all.contains(&names) {
            all.push(names);
        }
    }
    let known = all.clone();
    all.retain(|start| !known.iter().any(|other| other.len() < start.len() && start.starts_with(other)));
    all
}

/// One line of patterns.
struct Pattern {
    negated: bool,
    names: Vec<Name>,
    /// It ends with `/`, and matches what is below a folder only.
    folder: bool,
}

/// One name of a pattern's path.
enum Name {
    /// Exactly this.
    Literal(String),
    /// With wildcards.
    Glob(Vec<Piece>),
    /// `**`: any folders.
    Any,
}

/// A piece of a name with wildcards.
enum Piece {
    Char(char),
    One,
    Star,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Pattern {
    /// `None` for blank lines, comments, and what lies outside the workspace.
    fn parse(line: &str, workspace: Option<&str>) -> Result<Option<Self>, String> {
        let mut text = line.trim();
        if text.is_empty() || text.starts_with('#') {
            return Ok(None);
        }
        let mut negated = false;
        while let Some(rest) = text.strip_prefix('!') {
            negated = !negated;
            text = rest.trim_start();
        }
        let parts = text.split('/').filter(|name| !name.is_empty());
        if parts.enumerate().any(|(at, name)| name == ".." || (name == "." && at > 0)) {
            return Err(format!(
                "the pattern `{text}` goes by `.` or `..`, which is not allowed: write it from the workspace"
            ));
        }
        if text.starts_with('/') {
            let below = workspace.and_then(|workspace| text.strip_prefix(workspace.trim_end_matches('/')));
            match below.filter(|below| below.is_empty() || below.starts_with('/')) {
                Some(below) => text = below,
                None => return Ok(None),
            }
        } else if text.is_empty() || text.starts_with('~') {
            return Ok(None);
        }
        let names = text.split('/').filter(|name| !name.is_empty() && *name != ".").map(|name| match name {
            "**" => Name::Any,
            name => Name::parse(name),
        });
        Ok(Some(Self { negated, names: names.collect(), folder: text.ends_with('/') }))
    }

    /// Whether a file of this path is matched: by itself or by one of its folders.
    fn matches(&self, path: &[&str]) -> bool {
        let ends_with_any = matches!(self.names.last(), Some(Name::Any));
        let shortest = if self.folder && !ends_with_any { 1 } else { 0 };
        reaches(&self.names, path).iter().enumerate().any(|(used, reached)| {
            // What follows the pattern lies below a folder that it matches.
            *reached && path.len() - used >= shortest
        })
    }
}

/// For each count of names from the start of `path`, whether the pattern matches exactly those.
fn reaches(names: &[Name], path: &[&str]) -> Vec<bool> {
    let mut now = vec![false; path.len() + 1];
    if let Some(first) = now.first_mut() {
        *first = true;
    }
    for name in names {
        let mut next = vec![false; path.len() + 1];
        let mut open = false;
        for (at, reached) in now.iter().enumerate() {
            if matches!(name, Name::Any) {
                open |= *reached;
                if let Some(next) = next.get_mut(at) {
                    *next = open;
                }
            } else if *reached
                && path.get(at).is_some_and(|part| name.matches(part))
                && let Some(next) = next.get_mut(at + 1)
            {
                *next = true;
            }
        }
        now = next;
    }
    now
}

impl Name {
    fn parse(name: &str) -> Self {
        let mut pieces = Vec::new();
        let mut wild = false;
        let mut rest = name.chars();
        while let Some(c) = rest.next() {
            let piece = match c {
                '\\' => Piece::Char(rest.next().unwrap_or('\\')),
                '*' => Piece::Star,
                '?' => Piece::One,
                '[' => match class(rest.as_str()) {
                    Some((length, class)) => {
                        rest = rest.as_str().get(length..).unwrap_or("").chars();
                        class
                    }
                    None => Piece::Char('['),
                },
                other => Piece::Char(other),
            };
            wild |= !matches!(piece, Piece::Char(_));
            pieces.push(piece);
        }
        if wild {
            return Self::Glob(pieces);
        }
        Self::Literal(
            pieces.iter().filter_map(|piece| if let Piece::Char(c) = piece { Some(*c) } else { None }).collect(),
        )
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Literal(text) => text == name,
            Self::Any => true,
            Self::Glob(pieces) => glob(pieces, name),
        }
    }
}

/// `a-z]` and its length in bytes.
fn class(text: &str) -> Option<(usize, Piece)> {
    let body = text.strip_prefix(['!', '^']);
    let negated = body.is_some();
    let body = body.unwrap_or(text);
    let end = body.char_indices().skip(1).find(|(_, c)| *c == ']')?.0;
    let chars: Vec<char> = body.get(..end)?.chars().collect();
    let mut ranges = Vec::new();
    let mut rest = chars.as_slice();
    while let Some((first, tail)) = rest.split_first() {
        match tail {
            ['-', last, tail @ ..] => {
                ranges.push((*first, *last));
                rest = tail;
            }
            _ => {
                ranges.push((*first, *first));
                rest = tail;
            }
        }
    }
    Some((text.len() - body.len() + end + 1, Piece::Class { negated, ranges }))
}

/// Whether pieces match a whole name. Only the last star is ever tried again, so that this is not exponential.
fn glob(pieces: &[Piece], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let (mut piece, mut at) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        let fits = match (pieces.get(piece), name.get(at)) {
            (None, None) => return true,
            (Some(Piece::Star), _) => {
                star = Some((piece + 1, at));
                piece += 1;
                continue;
            }
            (Some(Piece::Char(wanted)), Some(c)) => wanted == c,
            (Some(Piece::One), Some(_)) => true,
            (Some(Piece::Class { negated, ranges }), Some(c)) => {
                ranges.iter().any(|(from, to)| from <= c && c <= to) != *negated
            }
            _ => false,
        };
        if fits {
            piece += 1;
            at += 1;
            continue;
        }
        match star {
            Some((after, from)) if from < name.len() => {
                star = Some((after, from + 1));
                piece = after;
                at = from + 1;
            }
            _ => return false,
        }
    }
}
