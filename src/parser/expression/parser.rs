//! Tokens to a tree.
//!
//! Operators wait on a stack of our own, not on that of the machine: ten thousand opening parentheses are no trouble.

use std::ops::Range;

use smol_str::SmolStr;

use super::error::{ErrorKind, ExprError};
use super::functions::{self, Signature};
use super::lexer::{Lexer, Previous, Token, TokenKind};
use super::tree::{Binary, Expr, Node, NodeKind};
use super::{Dialect, Value, methods};

/// Characters an expression may have.
const MAX_LENGTH: usize = 21_000;
/// Levels of operators an expression of GitHub may have.
const MAX_DEPTH: u16 = 50;
/// Levels of operators a native expression may have.
const MAX_DEPTH_NATIVE: u16 = 200;

/// What may be used where the expression stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope<'a> {
    /// The named values.
    pub names: Names<'a>,
    /// The functions; `None`: all that the dialect knows.
    pub functions: Option<&'a [Signature]>,
}

/// Which named values there are.
#[derive(Clone, Copy, Debug, Default)]
pub enum Names<'a> {
    /// Any: whether they exist is seen when it is evaluated.
    #[default]
    Any,
    /// These, whatever their case.
    Only(&'a [&'a str]),
}

/// Parses an expression that may use any named value and every function of the dialect.
///
/// # Errors
/// The first thing that is wrong, in the order of the text.
pub fn parse(text: &str, dialect: Dialect) -> Result<Expr, ExprError> {
    parse_in(text, dialect, Scope::default())
}

/// Parses an expression where only some named values and functions may be used.
///
/// # Errors
/// The first thing that is wrong, in the order of the text.
pub fn parse_in(text: &str, dialect: Dialect, scope: Scope<'_>) -> Result<Expr, ExprError> {
    if text.len() > MAX_LENGTH && text.chars().count() > MAX_LENGTH {
        let message = format!("Exceeded max expression length {MAX_LENGTH}");
        return Err(ExprError::new(ErrorKind::TooLong, 0, 0, message));
    }
    let mut parser = Parser { text, dialect, scope, operands: Vec::new(), operators: Vec::new(), last: None };
    let mut lexer = Lexer::new(text, dialect);
    while let Some(token) = lexer.next() {
        let at = token.at.clone();
        match parser.take(token, lexer.previous) {
            Ok(previous) => lexer.previous = previous,
            // As in GitHub's editor, what is no token at all is reported before what may not be used.
            Err(error) => return Err(parser.first_unknown(&mut lexer, at).unwrap_or(error)),
        }
        parser.last = Some(at);
    }
    let root = parser.finish(lexer.previous)?;
    Ok(Expr { text: text.into(), dialect, root })
}

/// What waits for its right side or its end.
enum Operator {
    Not(usize),
    Minus(usize),
    Binary(Binary),
    And,
    Or,
    /// `(`.
    Group,
    /// `[`.
    Index,
    /// A call: its beginning, its function, and how many operands there were before its arguments.
    Call {
        start: usize,
        name: Range<usize>,
        function: Signature,
        base: usize,
    },
    /// A native call on a value.
    Method {
        name: SmolStr,
        base: usize,
        at: Range<usize>,
    },
}

impl Operator {
    /// How tightly it binds; 0 for opening signs.
    fn binds(&self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Binary(binary) => binary_binds(*binary),
            Self::Not(_) | Self::Minus(_) => 7,
            Self::Group | Self::Index | Self::Call { .. } | Self::Method { .. } => 0,
        }
    }
}

fn binary_binds(binary: Binary) -> u8 {
    match binary {
        Binary::Equal | Binary::NotEqual => 3,
        Binary::Greater | Binary::GreaterOrEqual | Binary::Less | Binary::LessOrEqual => 4,
        Binary::Add | Binary::Subtract => 5,
        Binary::Multiply | Binary::Divide | Binary::Remainder => 6,
    }
}

struct Parser<'a> {
    text: &'a str,
    dialect: Dialect,
    scope: Scope<'a>,
    operands: Vec<Node>,
    operators: Vec<Operator>,
    last: Option<Range<usize>>,
}

impl Parser<'_> {
    /// Takes a token, and says what it is to the next.
    fn take(&mut self, token: Token, previous: Previous) -> Result<Previous, ExprError> {
        let wants_operand = matches!(previous, Previous::WantsOperand | Previous::OpenCall | Previous::OpenIndex);
        let after_operand = matches!(previous, Previous::Literal | Previous::Operand);
        let has_members = previous == Previous::Operand || (self.dialect == Dialect::Native && after_operand);
        let at = token.at;
        Ok(match token.kind {
            TokenKind::Literal(value) if wants_operand => {
                self.operand(at, NodeKind::Literal(value))?;
                Previous::Literal
            }
            TokenKind::Name if wants_operand => {
                self.name(at)?;
                Previous::Operand
            }
            TokenKind::Function if wants_operand => {
                self.function(at)?;
                Previous::Function
            }
            TokenKind::OpenCall if previous == Previous::Function => Previous::OpenCall,
            TokenKind::Open if self.opens_method(previous) => {
                self.method();
                Previous::OpenCall
            }
            TokenKind::Open if wants_operand => {
                self.operators.push(Operator::Group);
                Previous::WantsOperand
            }
            TokenKind::Close if after_operand || previous == Previous::OpenCall => {
                self.close(at, previous == Previous::OpenCall)?;
                Previous::Operand
            }
            TokenKind::Comma if after_operand => {
                self.reduce_to_open()?;
                if !matches!(self.operators.last(), Some(Operator::Call { .. } | Operator::Method { .. })) {
                    return Err(self.unexpected(at));
                }
                Previous::WantsOperand
            }
            TokenKind::Dot if has_members => Previous::Dot,
            TokenKind::OpenIndex if has_members => {
                self.operators.push(Operator::Index);
                Previous::OpenIndex
            }
            TokenKind::CloseIndex if after_operand => {
                self.close_index(at)?;
                Previous::Operand
            }
            TokenKind::Member if previous == Previous::Dot => {
                let key = self.slice(&at);
                let key = Node::new(at, NodeKind::Literal(key.into()));
                self.index(key)?;
                Previous::Operand
            }
            TokenKind::All if previous == Previous::Dot => {
                self.all(at.end)?;
                Previous::Operand
            }
            TokenKind::All if previous == Previous::OpenIndex => {
                // The bracket closes over a marker that no text can write.
                self.operands.push(Node { at, kind: NodeKind::And(Vec::new()), depth: 1 });
                Previous::Literal
            }
            TokenKind::Not if wants_operand => {
                self.operators.push(Operator::Not(at.start));
                Previous::WantsOperand
            }
            TokenKind::Minus if wants_operand => {
                self.operators.push(Operator::Minus(at.start));
                Previous::WantsOperand
            }
            TokenKind::And if after_operand => self.operator(Operator::And)?,
            TokenKind::Or if after_operand => self.operator(Operator::Or)?,
            TokenKind::Binary(binary) if after_operand => self.operator(Operator::Binary(binary))?,
            _ => return Err(self.unexpected(at)),
        })
    }

    /// The first token after `at` that is none.
    fn first_unknown(&self, lexer: &mut Lexer<'_>, at: Range<usize>) -> Option<ExprError> {
        let mut kind =
            self.slice(&at).starts_with(|c: char| c.is_ascii_alphabetic() || c == '_').then_some(TokenKind::Name)?;
        loop {
            lexer.previous = match kind {
                TokenKind::Unknown => return None,
                TokenKind::Close | TokenKind::CloseIndex | TokenKind::All | TokenKind::Member | TokenKind::Name => {
                    Previous::Operand
                }
                TokenKind::Literal(_) => Previous::Literal,
                TokenKind::Function => Previous::Function,
                TokenKind::Dot => Previous::Dot,
                TokenKind::OpenIndex => Previous::OpenIndex,
                TokenKind::OpenCall => Previous::OpenCall,
                _ => Previous::WantsOperand,
            };
            let token = lexer.next()?;
            if matches!(token.kind, TokenKind::Unknown) {
                return Some(self.unexpected(token.at));
            }
            kind = token.kind;
        }
    }

    /// The end of the text.
    fn finish(mut self, previous: Previous) -> Result<Option<Node>, ExprError> {
        let Some(last) = self.last.clone() else { return Ok(None) };
        if !matches!(previous, Previous::Literal | Previous::Operand) {
            return Err(self.unexpected_end(last));
        }
        self.reduce_to_open()?;
        if !self.operators.is_empty() {
            return Err(self.unexpected_end(last));
        }
        Ok(self.operands.pop())
    }

    fn slice(&self, at: &Range<usize>) -> &str {
        self.text.get(at.clone()).unwrap_or("")
    }

    fn unexpected(&self, at: Range<usize>) -> ExprError {
        let message = format!("Unexpected symbol: '{}'", self.slice(&at));
        ExprError::new(ErrorKind::UnexpectedSymbol, at.start, at.len(), message)
    }

    fn unexpected_end(&self, last: Range<usize>) -> ExprError {
        let message = format!("Unexpected end of expression: '{}'", self.slice(&last));
        ExprError::new(ErrorKind::UnexpectedEnd, last.start, last.len(), message)
    }

    fn operand(&mut self, at: Range<usize>, kind: NodeKind) -> Result<(), ExprError> {
        let node = Node::new(at, kind);
        self.push(node)
    }

    fn push(&mut self, node: Node) -> Result<(), ExprError> {
        let limit = if self.dialect == Dialect::Native { MAX_DEPTH_NATIVE } else { MAX_DEPTH };
        if node.depth > limit {
            let message = format!("Exceeded max expression depth {limit}");
            return Err(ExprError::new(ErrorKind::TooDeep, node.at.start, node.at.len(), message));
        }
        self.operands.push(node);
        Ok(())
    }

    fn name(&mut self, at: Range<usize>) -> Result<(), ExprError> {
        let name = self.slice(&at);
        if let Names::Only(names) = self.scope.names
            && !names.iter().any(|known| super::compare::same_text(known, name))
        {
            let message = format!("Unrecognized named-value: '{name}'");
            return Err(ExprError::new(ErrorKind::UnknownName, at.start, at.len(), message));
        }
        let kind = NodeKind::Name(name.into());
        self.operand(at, kind)
    }

    fn function(&mut self, at: Range<usize>) -> Result<(), ExprError> {
        let name = self.slice(&at);
        let known = self.scope.functions.unwrap_or_else(|| functions::of(self.dialect));
        let Some(function) = known.iter().find(|known| known.name.eq_ignore_ascii_case(name)) else {
            let message = format!("Unrecognized function: '{name}'");
            return Err(ExprError::new(ErrorKind::UnknownFunction, at.start, at.len(), message));
        };
        let operator = Operator::Call { start: at.start, name: at, function: *function, base: self.operands.len() };
        self.operators.push(operator);
        Ok(())
    }

    /// Native: whether `(` stands right after `.name`.
    fn opens_method(&self, previous: Previous) -> bool {
        let Some(last) = &self.last else { return false };
        self.dialect == Dialect::Native
            && previous == Previous::Operand
            && self.operands.last().is_some_and(|node| {
                matches!(&node.kind, NodeKind::Index(_, key) if key.at == *last
                    && methods::arguments(self.slice(last)).is_some())
            })
    }

    /// Makes the member that was just read a call.
    fn method(&mut self) {
        let Some(node) = self.operands.pop() else { return };
        match node.kind {
            NodeKind::Index(target, key) => {
                let name = self.text.get(key.at.clone()).unwrap_or("").into();
                self.operands.push(*target);
                let base = self.operands.len();
                self.operators.push(Operator::Method { name, base, at: key.at });
            }
            kind => self.operands.push(Node { kind, ..node }),
        }
    }

    fn operator(&mut self, operator: Operator) -> Result<Previous, ExprError> {
        while self.operators.last().is_some_and(|top| top.binds() >= operator.binds() && top.binds() > 0) {
            self.reduce()?;
        }
        self.operators.push(operator);
        Ok(Previous::WantsOperand)
    }

    fn reduce_to_open(&mut self) -> Result<(), ExprError> {
        while self.operators.last().is_some_and(|top| top.binds() > 0) {
            self.reduce()?;
        }
        Ok(())
    }

    /// Takes the topmost operator and its sides, and puts back what they make.
    fn reduce(&mut self) -> Result<(), ExprError> {
        let (Some(operator), Some(right)) = (self.operators.pop(), self.operands.pop()) else { return Ok(()) };
        let node = match operator {
            Operator::Not(start) => Node::new(start..right.at.end, NodeKind::Not(Box::new(right))),
            Operator::Minus(start) => Node::new(start..right.at.end, NodeKind::Minus(Box::new(right))),
            Operator::Binary(binary) => {
                let Some(left) = self.operands.pop() else { return Ok(()) };
                let at = left.at.start..right.at.end;
                Node::new(at, NodeKind::Binary(binary, Box::new(left), Box::new(right)))
            }
            Operator::And | Operator::Or => {
                let Some(left) = self.operands.pop() else { return Ok(()) };
                joined(matches!(operator, Operator::And), left, right)
            }
            // These are taken by their closing sign.
            Operator::Group | Operator::Index | Operator::Call { .. } | Operator::Method { .. } => right,
        };
        self.push(node)
    }

    fn close(&mut self, at: Range<usize>, empty: bool) -> Result<(), ExprError> {
        self.reduce_to_open()?;
        match self.operators.pop() {
            Some(Operator::Group) if !empty => Ok(()),
            Some(Operator::Call { start, name, function, base }) => {
                let arguments = self.operands.split_off(base.min(self.operands.len()));
                functions::check_count(&function, arguments.len(), name)?;
                self.operand(start..at.end, NodeKind::Call(function.name, arguments))
            }
            Some(Operator::Method { name, base, at: place }) => {
                let arguments = self.operands.split_off(base.min(self.operands.len()));
                methods::check_count(&name, arguments.len(), place)?;
                let Some(target) = self.operands.pop() else { return Err(self.unexpected(at)) };
                self.operand(target.at.start..at.end, NodeKind::Method(Box::new(target), name, arguments))
            }
            _ => Err(self.unexpected(at)),
        }
    }

    fn close_index(&mut self, at: Range<usize>) -> Result<(), ExprError> {
        self.reduce_to_open()?;
        let Some(Operator::Index) = self.operators.pop() else { return Err(self.unexpected(at)) };
        let Some(key) = self.operands.pop() else { return Err(self.unexpected(at)) };
        if matches!(&key.kind, NodeKind::And(sides) if sides.is_empty()) {
            return self.all(at.end);
        }
        let Some(target) = self.operands.pop() else { return Err(self.unexpected(at)) };
        self.operand(target.at.start..at.end, NodeKind::Index(Box::new(target), Box::new(key)))
    }

    fn index(&mut self, key: Node) -> Result<(), ExprError> {
        let Some(target) = self.operands.pop() else { return Err(self.unexpected(key.at)) };
        self.operand(target.at.start..key.at.end, NodeKind::Index(Box::new(target), Box::new(key)))
    }

    fn all(&mut self, end: usize) -> Result<(), ExprError> {
        let Some(target) = self.operands.pop() else { return Err(self.unexpected(end..end)) };
        self.operand(target.at.start..end, NodeKind::All(Box::new(target)))
    }
}

/// Both sides under one `&&` or `||`; a chain of them is one node, so that it is not deep.
fn joined(and: bool, left: Node, right: Node) -> Node {
    let at = left.at.start..right.at.end;
    let depth = right.depth.saturating_add(1);
    match (and, left.kind) {
        (true, NodeKind::And(mut sides)) => {
            sides.push(right);
            Node { at, kind: NodeKind::And(sides), depth: left.depth.max(depth) }
        }
        (false, NodeKind::Or(mut sides)) => {
            sides.push(right);
            Node { at, kind: NodeKind::Or(sides), depth: left.depth.max(depth) }
        }
        (and, kind) => {
            let sides = vec![Node { kind, at: left.at, depth: left.depth }, right];
            Node::new(at, if and { NodeKind::And(sides) } else { NodeKind::Or(sides) })
        }
    }
}

impl Expr {
    /// The value, if the whole is one literal.
    pub fn literal(&self) -> Option<&Value> {
        match &self.root.as_ref()?.kind {
            NodeKind::Literal(value) => Some(value),
            _ => None,
        }
    }
}
