//! Text to tokens.

use std::ops::Range;
use std::sync::OnceLock;

use super::{ErrorKind, ExprError, NodeKind, Operator, Pattern, error};

/// A token.
#[derive(Clone, Debug)]
pub(super) enum Token {
    Value(NodeKind),
    Operator(Operator),
    Not,
    Open,
    Close,
}

/// Tokens an expression may have.
const MOST: usize = 100;

/// All tokens and their places.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, Range<usize>)>, ExprError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or("");
        at += rest.len() - rest.trim_start().len();
        let rest = text.get(at..).unwrap_or("");
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        if tokens.len() >= MOST {
            return Err(error(
                ErrorKind::TooLong,
                at..text.len(),
                format!("the expression has more than {MOST} tokens"),
            ));
        }
        let (length, token) = match token(rest) {
            Some((length, Some(token))) => (length, token),
            Some((length, None)) => {
                let pattern = rest.get(..length).unwrap_or("");
                let problem = Pattern::slashed(pattern).err().map(|error| error.0).unwrap_or_default();
                let message = format!("`{pattern}` is not a regular expression: {problem}");
                return Err(error(ErrorKind::UnexpectedSymbol, at..at + length, message));
            }
            None => return Err(unknown(rest, first, at)),
        };
        tokens.push((token, at..at + length));
        at += length;
    }
}

/// The token at the beginning and its length; no token for a pattern that is wrong.
fn token(rest: &str) -> Option<(usize, Option<Token>)> {
    let fixed = [
        ("(", Token::Open),
        (")", Token::Close),
        ("null", Token::Value(NodeKind::Null)),
        ("==", Token::Operator(Operator::Equal)),
        ("=~", Token::Operator(Operator::Match)),
        ("!=", Token::Operator(Operator::NotEqual)),
        ("!~", Token::Operator(Operator::NoMatch)),
        ("&&", Token::Operator(Operator::And)),
        ("||", Token::Operator(Operator::Or)),
        ("!", Token::Not),
        ("true", Token::Value(NodeKind::Bool(true))),
        ("false", Token::Value(NodeKind::Bool(false))),
    ];
    if let Some((text, token)) = fixed.into_iter().find(|(text, _)| rest.starts_with(text)) {
        return Some((text.len(), Some(token)));
    }
    match rest.as_bytes().first()? {
        b'$' => variable(rest),
        b'"' | b'\'' => string(rest),
        b'/' => pattern(rest),
        _ => None,
    }
}

fn variable(rest: &str) -> Option<(usize, Option<Token>)> {
    let body = rest.get(1..)?;
    if let Some(inner) = body.strip_prefix("[[") {
        let (inner, _) = inner.split_once("]]")?;
        let name = inner.trim().strip_prefix("inputs.")?;
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let token = Token::Value(NodeKind::Input(name.into()));
        return is_name.then_some((inner.len() + "$[[]]".len(), Some(token)));
    }
    let end = body.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(body.len());
    let name = body.get(..end).filter(|name| !name.is_empty())?;
    Some((end + 1, Some(Token::Value(NodeKind::Variable(name.into())))))
}

fn string(rest: &str) -> Option<(usize, Option<Token>)> {
    let quote = rest.chars().next()?;
    let body = rest.get(1..)?;
    let end = body.find(quote)?;
    let text = body.get(..end).filter(|text| !text.contains('\n'))?;
    Some((end + 2, Some(Token::Value(NodeKind::Text(text.into())))))
}

fn pattern(rest: &str) -> Option<(usize, Option<Token>)> {
    static FORM: OnceLock<Option<regex::Regex>> = OnceLock::new();
    let form = FORM.get_or_init(|| regex::Regex::new(r"^/(?:[^/]|\\/)+[^\\]/[ismU]*").ok());
    let found = form.as_ref()?.find(rest)?;
    let token = Pattern::slashed(found.as_str()).ok().map(|pattern| Token::Value(NodeKind::Pattern(pattern)));
    Some((found.end(), token))
}

fn unknown(rest: &str, first: char, at: usize) -> ExprError {
    let length = match first {
        '"' | '\'' | '/' => rest.len(),
        _ => rest.find(char::is_whitespace).unwrap_or(rest.len()),
    };
    let word = rest.get(..length).unwrap_or("");
    let message = match first {
        '=' => "a single `=` compares nothing: write `==` or `=~`".to_owned(),
        '&' => "a single `&` joins nothing: write `&&`".to_owned(),
        '|' => "a single `|` joins nothing: write `||`".to_owned(),
        '"' | '\'' => "the quote is never closed".to_owned(),
        '$' if word.starts_with("${") => format!("`{word}`: a variable is written without braces here: `$NAME`"),
        '/' => format!(
            "`{word}` is not a pattern: it has at least two characters between slashes, those inside written `\\/`"
        ),
        _ => format!(
            "`{word}` is nothing that an expression knows: text stands in quotes, a variable is written `$NAME`"
        ),
    };
    let length = if matches!(first, '=' | '&' | '|') { 1 } else { length };
    error(ErrorKind::UnexpectedSymbol, at..at + length, message)
}
