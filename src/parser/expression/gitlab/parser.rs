//! Tokens to a tree, by the order of operators that GitLab has: `!`, then comparisons, `&&`, `||`.

use std::ops::Range;

use super::lexer::{Token, tokens};
use super::{ErrorKind, ExprError, Node, NodeKind, Operator, error};

/// What waits for its sides.
#[derive(Clone, Debug)]
enum Waiting {
    Operator(Operator),
    Not,
    Open,
}

/// How early an operator is taken; the smaller, the earlier.
fn rank(waiting: &Waiting) -> u8 {
    match waiting {
        Waiting::Not => 0,
        Waiting::Operator(Operator::And) => 2,
        Waiting::Operator(Operator::Or) => 3,
        Waiting::Operator(_) => 1,
        Waiting::Open => u8::MAX,
    }
}

pub(super) fn parse(text: &str) -> Result<Node, ExprError> {
    let mut parser = Parser { values: Vec::new(), waiting: Vec::new() };
    for (token, at) in tokens(text)? {
        parser.take(token, at)?;
    }
    parser.finish(text)
}

struct Parser {
    values: Vec<Node>,
    waiting: Vec<(Waiting, Range<usize>)>,
}

impl Parser {
    fn take(&mut self, token: Token, at: Range<usize>) -> Result<(), ExprError> {
        match token {
            Token::Value(kind) => self.values.push(Node { at, kind }),
            Token::Open => self.waiting.push((Waiting::Open, at)),
            Token::Not => self.waiting.push((Waiting::Not, at)),
            Token::Operator(operator) => {
                let new = Waiting::Operator(operator);
                while self.waiting.last().is_some_and(|(top, _)| rank(top) <= rank(&new)) {
                    self.reduce()?;
                }
                self.waiting.push((new, at));
            }
            Token::Close => loop {
                match self.waiting.last() {
                    Some((Waiting::Open, _)) => {
                        self.waiting.pop();
                        break;
                    }
                    Some(_) => self.reduce()?,
                    None => {
                        return Err(error(ErrorKind::UnexpectedSymbol, at, "this parenthesis closes none"));
                    }
                }
            },
        }
        Ok(())
    }

    fn reduce(&mut self) -> Result<(), ExprError> {
        let Some((operator, at)) = self.waiting.pop() else { return Ok(()) };
        let missing = |at: Range<usize>, what: &str| error(ErrorKind::UnexpectedSymbol, at, what);
        let node = match operator {
            Waiting::Open => return Err(missing(at, "this parenthesis is never closed")),
            Waiting::Not => {
                let side = self.values.pop().ok_or_else(|| missing(at.clone(), "`!` has nothing after it"))?;
                Node { at: at.start..side.at.end.max(at.end), kind: NodeKind::Not(Box::new(side)) }
            }
            Waiting::Operator(operator) => {
                let nothing = || missing(at.clone(), "the operator has nothing on one of its sides");
                let right = self.values.pop().ok_or_else(nothing)?;
                let left = self.values.pop().ok_or_else(nothing)?;
                let whole = left.at.start.min(at.start)..right.at.end.max(at.end);
                Node { at: whole, kind: NodeKind::Binary(operator, Box::new(left), Box::new(right)) }
            }
        };
        self.values.push(node);
        Ok(())
    }

    fn finish(mut self, text: &str) -> Result<Node, ExprError> {
        while !self.waiting.is_empty() {
            self.reduce()?;
        }
        match (self.values.pop(), self.values.pop()) {
            (Some(only), None) => Ok(only),
            (Some(last), Some(_)) => {
                Err(error(ErrorKind::UnexpectedSymbol, last.at, "an operator is missing before this value"))
            }
            _ => Err(error(ErrorKind::UnexpectedEnd, 0..text.len(), "the expression is empty")),
        }
    }
}
