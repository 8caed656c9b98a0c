//! GitLab's `rules:if`: comparisons of variables, text and patterns.
//!
//! Source of the rules: `lib/gitlab/ci/pipeline/expression` of gitlabhq/gitlabhq, and its tests. An empty text is true where two
//! sides are joined (Ruby's truth), and false as the result of the whole.

mod evaluate;
mod lexer;
mod parser;

use std::borrow::Cow;
use std::ops::Range;

use smol_str::SmolStr;

pub use evaluate::{By, Lookup, Value};

use super::regex::Pattern;
use super::{ErrorKind, ExprError};

/// A parsed expression.
#[derive(Clone, Debug)]
pub struct Expr {
    root: Node,
}

/// A node and its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// The bytes of the text it is made from.
    pub at: Range<usize>,
    /// What it is.
    pub kind: NodeKind,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum NodeKind {
    /// `null`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// Text in quotes.
    Text(SmolStr),
    /// `/pattern/i`.
    Pattern(Pattern),
    /// `$NAME`.
    Variable(SmolStr),
    /// `$[[ inputs.name ]]`.
    Input(SmolStr),
    /// `!a`.
    Not(Box<Node>),
    /// Two sides.
    Binary(Operator, Box<Node>, Box<Node>),
}

/// What joins two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is its symbol's name")]
pub enum Operator {
    Equal,
    NotEqual,
    Match,
    NoMatch,
    And,
    Or,
}

/// Parses an expression.
///
/// # Errors
/// What is wrong first.
pub fn parse(text: &str) -> Result<Expr, ExprError> {
    parser::parse(text).map(|root| Expr { root })
}

impl Expr {
    /// Whether it holds: what is nothing, false or blank text does not.
    pub fn truth(&self, lookup: &dyn Lookup) -> bool {
        self.evaluate(lookup).is_present()
    }

    /// Its value.
    pub fn evaluate<'a>(&'a self, lookup: &'a dyn Lookup) -> Value<'a> {
        evaluate::node(&self.root, lookup)
    }

    /// Its root.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The variables it uses and where, in the order of the text.
    pub fn variables(&self) -> Vec<(&str, Range<usize>)> {
        let mut found = Vec::new();
        walk(&self.root, &mut |node| {
            if let NodeKind::Variable(name) = &node.kind {
                found.push((name.as_str(), node.at.clone()));
            }
        });
        found
    }

    /// The inputs it uses and where, in the order of the text.
    pub fn inputs(&self) -> Vec<(&str, Range<usize>)> {
        let mut found = Vec::new();
        walk(&self.root, &mut |node| {
            if let NodeKind::Input(name) = &node.kind {
                found.push((name.as_str(), node.at.clone()));
            }
        });
        found
    }
}

/// The number of tokens is limited, so that this may call itself.
fn walk<'a>(node: &'a Node, visit: &mut dyn FnMut(&'a Node)) {
    visit(node);
    match &node.kind {
        NodeKind::Not(side) => walk(side, visit),
        NodeKind::Binary(_, left, right) => {
            walk(left, visit);
            walk(right, visit);
        }
        _ => {}
    }
}

/// Evaluates text with the keys of a JSON object as its variables and those of its `inputs` as inputs, for `forgehand eval` and
/// tests. What is neither text nor null counts as its JSON.
///
/// # Errors
/// What is wrong with the text; an input that is not there.
pub fn eval_json(text: &str, context: &serde_json::Value) -> Result<serde_json::Value, ExprError> {
    let expr = parse(text)?;
    let lookup = JsonLookup { variables: context, inputs: context.get("inputs").unwrap_or(&serde_json::Value::Null) };
    if let Some((name, at)) = expr.inputs().into_iter().find(|(name, _)| lookup.input(name).is_none()) {
        let message = format!("there is no input `{name}`: inputs are the keys of the context's `inputs`");
        return Err(error(ErrorKind::UnknownName, at, message));
    }
    Ok(match expr.evaluate(&lookup) {
        Value::Null => serde_json::Value::Null,
        Value::Bool(truth) => truth.into(),
        Value::Text(text) => text.into_owned().into(),
        Value::Pattern(_) => true.into(),
    })
}

struct JsonLookup<'a> {
    variables: &'a serde_json::Value,
    inputs: &'a serde_json::Value,
}

impl Lookup for JsonLookup<'_> {
    fn variable(&self, name: &str) -> Option<Cow<'_, str>> {
        match self.variables.get(name)? {
            serde_json::Value::Null => None,
            serde_json::Value::String(text) => Some(Cow::Borrowed(text.as_str())),
            other => Some(Cow::Owned(other.to_string())),
        }
    }

    fn input(&self, name: &str) -> Option<Cow<'_, str>> {
        match self.inputs.get(name)? {
            serde_json::Value::Null => Some(Cow::Borrowed("")),
            serde_json::Value::String(text) => Some(Cow::Borrowed(text.as_str())),
            other => Some(Cow::Owned(other.to_string())),
        }
    }
}

fn error(kind: ErrorKind, at: Range<usize>, message: impl Into<String>) -> ExprError {
    ExprError::new(kind, at.start, at.len(), message)
}
