//! Text to tokens.
//!
//! What a sign means depends on the token before it: `.5` is a number at the beginning and an error after a name, `*` is a
//! wildcard after a dot. So the lexer knows what it gave out last.

use std::ops::Range;

use super::{Binary, Dialect, Value};

/// A token and its place.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub at: Range<usize>,
    pub kind: TokenKind,
}

/// What a token is.
#[derive(Clone, Debug)]
pub(super) enum TokenKind {
    /// `(` of a group.
    Open,
    /// `(` after a function's name.
    OpenCall,
    Close,
    OpenIndex,
    CloseIndex,
    Comma,
    Dot,
    /// `*` after a dot or a bracket.
    All,
    Literal(Value),
    /// A name after a dot.
    Member,
    /// A name with `(` after it.
    Function,
    /// Another name.
    Name,
    Not,
    /// Native: `-` before an operand.
    Minus,
    And,
    Or,
    Binary(Binary),
    /// None of these.
    Unknown,
}

/// What was given out last, as far as it decides what may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Previous {
    /// Nothing, an operator, an opening sign, a comma: an operand must follow.
    WantsOperand,
    /// `(` after a function's name: an operand or `)`.
    OpenCall,
    /// A name of a function: `(` must follow.
    Function,
    /// `.`: a name or `*`.
    Dot,
    /// `[`: an operand or `*`.
    OpenIndex,
    /// The end of an operand that has no members: a literal.
    Literal,
    /// The end of an operand that may have members.
    Operand,
}

pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    dialect: Dialect,
    pub previous: Previous,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str, dialect: Dialect) -> Self {
        Self { text, at: 0, dialect, previous: Previous::WantsOperand }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn native(&self) -> bool {
        self.dialect == Dialect::Native
    }

    /// The next token; `None` at the end. The caller checks whether it may follow, and sets `previous`.
    pub(super) fn next(&mut self) -> Option<Token> {
        self.at += self.rest().len() - self.rest().trim_start().len();
        let start = self.at;
        let rest = self.rest();
        let first = rest.chars().next()?;
        let (length, kind) = match first {
            '(' if self.previous == Previous::Function => (1, TokenKind::OpenCall),
            '(' => (1, TokenKind::Open),
            ')' => (1, TokenKind::Close),
            '[' => (1, TokenKind::OpenIndex),
            ']' => (1, TokenKind::CloseIndex),
            ',' => (1, TokenKind::Comma),
            '\'' => self.string(rest, '\''),
            '"' if self.native() => self.string(rest, '"'),
            '!' | '=' | '<' | '>' | '&' | '|' => sign(rest),
            '*' | '/' | '%' | '+' | '-' if self.native() && self.after_operand() => arithmetic(first),
            '*' => (1, self.star()),
            '.' if self.previous == Previous::Operand || (self.native() && self.previous == Previous::Literal) => {
                (1, TokenKind::Dot)
            }
            '-' if self.native() && !starts_number(rest) => (1, TokenKind::Minus),
            '.' | '+' | '-' | '0'..='9' => self.number(rest),
            _ => self.word(rest),
        };
        self.at = start + length;
        Some(Token { at: start..self.at, kind })
    }

    fn after_operand(&self) -> bool {
        matches!(self.previous, Previous::Literal | Previous::Operand)
    }

    fn star(&self) -> TokenKind {
        match self.previous {
            Previous::Dot | Previous::OpenIndex => TokenKind::All,
            _ => TokenKind::Unknown,
        }
    }

    /// Text in quotes; a quote inside is written twice.
    fn string(&self, rest: &str, quote: char) -> (usize, TokenKind) {
        let body = rest.get(1..).unwrap_or("");
        let mut value = String::new();
        let mut from = 0;
        while let Some(found) = body.get(from..).and_then(|rest| rest.find(quote)) {
            let end = from + found;
            value.push_str(body.get(from..end).unwrap_or(""));
            from = end + 1;
            if !body.get(from..).is_some_and(|rest| rest.starts_with(quote)) {
                return (from + 1, TokenKind::Literal(value.into()));
            }
            value.push(quote);
            from += 1;
        }
        (rest.len(), TokenKind::Unknown)
    }

    fn number(&self, rest: &str) -> (usize, TokenKind) {
        let native = self.native();
        let mut before = ' ';
        let end = rest.char_indices().find(|(at, c)| {
            // `1e-5` holds a sign that is no operator.
            let exponent_sign = matches!(c, '+' | '-') && matches!(before, 'e' | 'E') && !rest.starts_with("0x");
            before = *c;
            let operator = native && *at > 0 && !exponent_sign && matches!(c, '+' | '-' | '*' | '/' | '%');
            operator || (is_boundary(*c) && *c != '.')
        });
        let length = end.map_or(rest.len(), |(at, _)| at);
        let number = super::text_to_number(rest.get(..length).unwrap_or(""));
        let kind = if number.is_nan() { TokenKind::Unknown } else { TokenKind::Literal(Value::Number(number)) };
        (length, kind)
    }

    fn word(&self, rest: &str) -> (usize, TokenKind) {
        let native = self.native();
        let end = rest.char_indices().skip(1).find(|(at, c)| {
            let operator = match c {
                '+' | '*' | '/' | '%' | '"' | '\'' => native,
                // In the native language a dash belongs to a name only between two characters of it.
                '-' => {
                    native
                        && !rest
                            .get(at + 1..)
                            .is_some_and(|rest| rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
                }
                _ => false,
            };
            operator || is_boundary(*c)
        });
        let length = end.map_or(rest.len(), |(at, _)| at);
        let word = rest.get(..length).unwrap_or("");
        let is_name = word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let kind = if !is_name {
            TokenKind::Unknown
        } else if self.previous == Previous::Dot {
            TokenKind::Member
        } else if let Some(value) = keyword(word) {
            TokenKind::Literal(value)
        } else if rest.get(length..).is_some_and(|rest| rest.trim_start().starts_with('(')) {
            TokenKind::Function
        } else {
            TokenKind::Name
        };
        (length, kind)
    }
}

fn keyword(word: &str) -> Option<Value> {
    Some(match word {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "null" => Value::Null,
        "NaN" => Value::Number(f64::NAN),
        "Infinity" => Value::Number(f64::INFINITY),
        _ => return None,
    })
}

fn sign(rest: &str) -> (usize, TokenKind) {
    let two = [
        ("==", TokenKind::Binary(Binary::Equal)),
        ("!=", TokenKind::Binary(Binary::NotEqual)),
        (">=", TokenKind::Binary(Binary::GreaterOrEqual)),
        ("<=", TokenKind::Binary(Binary::LessOrEqual)),
        ("&&", TokenKind::And),
        ("||", TokenKind::Or),
    ];
    if let Some((_, kind)) = two.into_iter().find(|(sign, _)| rest.starts_with(sign)) {
        return (2, kind);
    }
    match rest.as_bytes().first() {
        Some(b'!') => (1, TokenKind::Not),
        Some(b'>') => (1, TokenKind::Binary(Binary::Greater)),
        Some(b'<') => (1, TokenKind::Binary(Binary::Less)),
        // A lone `=`, `&` or `|` is reported with what is written right after it.
        _ => {
            let end = rest.char_indices().skip(1).find(|(_, c)| is_boundary(*c));
            (end.map_or(rest.len(), |(at, _)| at), TokenKind::Unknown)
        }
    }
}

fn arithmetic(sign: char) -> (usize, TokenKind) {
    let binary = match sign {
        '+' => Binary::Add,
        '-' => Binary::Subtract,
        '*' => Binary::Multiply,
        '/' => Binary::Divide,
        _ => Binary::Remainder,
    };
    (1, TokenKind::Binary(binary))
}

/// Whether a sign begins a number: `-1`, `-.5`, `-Infinity`.
fn starts_number(rest: &str) -> bool {
    let body = rest.get(1..).unwrap_or("");
    body.starts_with(|c: char| c.is_ascii_digit() || c == '.') || body.starts_with("Infinity")
}

fn is_boundary(c: char) -> bool {
    matches!(c, '(' | ')' | '[' | ']' | ',' | '.' | '!' | '>' | '<' | '=' | '&' | '|') || c.is_whitespace()
}
