//! A parsed expression.

use std::ops::Range;

use smol_str::SmolStr;

use super::{Dialect, Value};

/// A parsed expression.
#[derive(Clone, Debug)]
pub struct Expr {
    /// The text it was parsed from; offsets count in it.
    pub text: SmolStr,
    /// Whose language it is.
    pub dialect: Dialect,
    /// Its root; `None` for blank text, which is null.
    pub root: Option<Node>,
}

/// A node and its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// The bytes of the text it is made from.
    pub at: Range<usize>,
    /// What it is.
    pub kind: NodeKind,
    /// Levels of nodes from here down, this one included.
    pub(super) depth: u16,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum NodeKind {
    /// A value as it is written.
    Literal(Value),
    /// A named value: `github`.
    Name(SmolStr),
    /// A member: `a.b` or `a[b]`.
    Index(Box<Node>, Box<Node>),
    /// All members: `a.*` or `a[*]`.
    All(Box<Node>),
    /// A call of a function; the name in the case of its definition.
    Call(&'static str, Vec<Node>),
    /// Native: a call on a value, `a.split(',')`.
    Method(Box<Node>, SmolStr, Vec<Node>),
    /// `!a`.
    Not(Box<Node>),
    /// Native: `-a`.
    Minus(Box<Node>),
    /// Two sides and what joins them.
    Binary(Binary, Box<Node>, Box<Node>),
    /// `a && b && c`.
    And(Vec<Node>),
    /// `a || b || c`.
    Or(Vec<Node>),
}

/// What joins two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is its symbol's name")]
pub enum Binary {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Binary {
    /// As it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

impl Node {
    pub(super) fn new(at: Range<usize>, kind: NodeKind) -> Self {
        let depth = 1 + kind.children().map(|child| child.depth).max().unwrap_or(0);
        Self { at, kind, depth }
    }

    /// The nodes right below.
    pub fn children(&self) -> impl Iterator<Item = &Node> {
        self.kind.children()
    }
}

impl NodeKind {
    fn children(&self) -> impl Iterator<Item = &Node> {
        let (one, two, many): (Option<&Node>, Option<&Node>, &[Node]) = match self {
            Self::Literal(_) | Self::Name(_) => (None, None, &[]),
            Self::All(a) | Self::Not(a) | Self::Minus(a) => (Some(a), None, &[]),
            Self::Index(a, b) | Self::Binary(_, a, b) => (Some(a), Some(b), &[]),
            Self::Method(a, _, many) => (Some(a), None, many),
            Self::Call(_, many) | Self::And(many) | Self::Or(many) => (None, None, many),
        };
        one.into_iter().chain(two).chain(many)
    }
}
