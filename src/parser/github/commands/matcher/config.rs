//! What a problem matcher's file says.

use regex::{Regex, RegexBuilder};
use serde::Deserialize;

/// A matcher.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// Its name.
    pub owner: String,
    /// The severity where no pattern finds one.
    pub severity: Option<String>,
    /// The project file where no pattern finds one.
    pub from_path: Option<String>,
    /// Its patterns, one a line of output.
    pub patterns: Vec<Pattern>,
}

/// A pattern and which of its groups is what.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// The expression.
    pub regex: Regex,
    /// The last pattern matches again and again.
    pub is_loop: bool,
    /// Group of the severity.
    pub severity: Option<usize>,
    /// Group of the file.
    pub file: Option<usize>,
    /// Group of the line.
    pub line: Option<usize>,
    /// Group of the column.
    pub column: Option<usize>,
    /// Group of the code.
    pub code: Option<usize>,
    /// Group of the message.
    pub message: Option<usize>,
    /// Group of the project file.
    pub from_path: Option<usize>,
}

/// What is wrong with a matcher's file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatcherProblem {
    /// It is no such file.
    #[error("the file is not a problem matcher: {0}")]
    Syntax(String),
    /// A rule is broken.
    #[error("problem matcher `{owner}`: {problem}")]
    Rule {
        /// Whose.
        owner: String,
        /// Which.
        problem: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileText {
    #[serde(default)]
    problem_matcher: Vec<MatcherText>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MatcherText {
    #[serde(default)]
    owner: String,
    severity: Option<String>,
    from_path: Option<String>,
    #[serde(default)]
    pattern: Vec<PatternText>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PatternText {
    #[serde(default)]
    regexp: String,
    #[serde(default, rename = "loop")]
    is_loop: bool,
    severity: Option<i64>,
    file: Option<i64>,
    line: Option<i64>,
    column: Option<i64>,
    code: Option<i64>,
    message: Option<i64>,
    from_path: Option<i64>,
}

/// The largest compiled expression, in bytes.
const REGEX_LIMIT: usize = 1 << 20;

/// The matchers of a file.
pub fn parse(text: &str) -> Result<Vec<Matcher>, MatcherProblem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let file: FileText = serde_json::from_str(text).map_err(|error| MatcherProblem::Syntax(error.to_string()))?;
    let mut matchers: Vec<Matcher> = Vec::with_capacity(file.problem_matcher.len());
    for text in file.problem_matcher {
        let owner = text.owner.clone();
        let matcher = check(text).map_err(|problem| MatcherProblem::Rule { owner: owner.clone(), problem })?;
        if matchers.iter().any(|known| known.owner.eq_ignore_ascii_case(&matcher.owner)) {
            return Err(MatcherProblem::Rule { owner, problem: "the owner is named twice".into() });
        }
        matchers.push(matcher);
    }
    Ok(matchers)
}

fn check(text: MatcherText) -> Result<Matcher, String> {
    if text.owner.trim().is_empty() {
        return Err("`owner` is missing".into());
    }
    let severity = text.severity.filter(|severity| !severity.is_empty());
    if let Some(severity) = &severity
        && super::Level::named(severity).is_none()
    {
        return Err(format!("`severity` is `{severity}`; it may be error, warning or notice"));
    }
    if text.pattern.is_empty() {
        return Err("`pattern` is missing: at least one is needed".into());
    }
    let count = text.pattern.len();
    let mut patterns = Vec::with_capacity(count);
    for (at, pattern) in text.pattern.iter().enumerate() {
        let is_last = at + 1 == count;
        if pattern.is_loop && (!is_last || count == 1) {
            return Err("`loop` may stand on the last of several patterns only".into());
        }
        if pattern.is_loop && pattern.message.is_none() {
            return Err("a pattern with `loop` must set `message`".into());
        }
        patterns.push(compile(pattern)?);
    }
    once(&patterns)?;
    Ok(Matcher { owner: text.owner, severity, from_path: text.from_path, patterns })
}

fn compile(text: &PatternText) -> Result<Pattern, String> {
    let regex = RegexBuilder::new(&text.regexp)
        .size_limit(REGEX_LIMIT)
        .build()
        .map_err(|error| format!("the expression `{}` cannot be used: {error}", text.regexp))?;
    let groups = regex.captures_len();
    let group = |name: &str, value: Option<i64>| match value {
        None => Ok(None),
        Some(value) => match usize::try_from(value) {
            Ok(value) if value < groups => Ok(Some(value)),
            _ => Err(format!("`{name}` is {value}; the expression has the groups 0 to {}", groups - 1)),
        },
    };
    Ok(Pattern {
        is_loop: text.is_loop,
        severity: group("severity", text.severity)?,
        file: group("file", text.file)?,
        line: group("line", text.line)?,
        column: group("column", text.column)?,
        code: group("code", text.code)?,
        message: group("message", text.message)?,
        from_path: group("fromPath", text.from_path)?,
        regex,
    })
}

/// Each property is set by one pattern at most, and the message by one.
fn once(patterns: &[Pattern]) -> Result<(), String> {
    type Group = fn(&Pattern) -> Option<usize>;
    let properties: [(&str, Group); 7] = [
        ("severity", |pattern| pattern.severity),
        ("file", |pattern| pattern.file),
        ("line", |pattern| pattern.line),
        ("column", |pattern| pattern.column),
        ("code", |pattern| pattern.code),
        ("message", |pattern| pattern.message),
        ("fromPath", |pattern| pattern.from_path),
    ];
    for (name, property) in properties {
        match patterns.iter().filter(|pattern| property(pattern).is_some()).count() {
            0 if name == "message" => return Err("no pattern sets `message`".into()),
            0 | 1 => {}
            _ => return Err(format!("`{name}` is set by more than one pattern")),
        }
    }
    Ok(())
}
