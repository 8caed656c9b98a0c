//! Values of a workflow as they are read: literals typed as the schema says, text with `${{ }}` in it parsed.

use std::sync::Arc;

use smol_str::SmolStr;

use crate::parser::document::Span;
use crate::parser::expression::{Expr, Template, number_to_text};

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Token {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub kind: TokenKind,
}

// A big workflow is hundreds of thousands of them.
const _: () = assert!(size_of::<Token>() <= 48);

/// What a value is.
#[derive(Clone, Debug)]
pub enum TokenKind {
    /// Nothing.
    Null,
    /// A truth.
    Bool(bool),
    /// A number.
    Number(f64),
    /// Text without expressions.
    Text(SmolStr),
    /// Text with expressions, or one expression; evaluated later.
    Template(Arc<Template>),
    /// The key `${{ insert }}`: what its value holds comes in here.
    Insert,
    /// A list.
    Sequence(Box<[Token]>),
    /// Keys and values in the order of the file.
    Mapping(Box<[Pair]>),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The key: text, an expression, or [`TokenKind::Insert`].
    pub key: Token,
    /// The value.
    pub value: Token,
}

impl Token {
    /// A text that stands at `span`.
    pub fn text(text: impl Into<SmolStr>, span: Span) -> Self {
        Self { span, kind: TokenKind::Text(text.into()) }
    }

    /// The text, if it is one without expressions.
    pub fn as_text(&self) -> Option<&str> {
        match &self.kind {
            TokenKind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The truth, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self.kind {
            TokenKind::Bool(truth) => Some(truth),
            _ => None,
        }
    }

    /// The number, if it is one.
    pub fn as_number(&self) -> Option<f64> {
        match self.kind {
            TokenKind::Number(number) => Some(number),
            _ => None,
        }
    }

    /// The template, if it has expressions.
    pub fn as_template(&self) -> Option<&Template> {
        match &self.kind {
            TokenKind::Template(template) => Some(template),
            _ => None,
        }
    }

    /// The items, if it is a list.
    pub fn as_sequence(&self) -> Option<&[Token]> {
        match &self.kind {
            TokenKind::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The keys and values, if it has such.
    pub fn as_mapping(&self) -> Option<&[Pair]> {
        match &self.kind {
            TokenKind::Mapping(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// Whether it is evaluated later.
    pub fn is_expression(&self) -> bool {
        matches!(self.kind, TokenKind::Template(_) | TokenKind::Insert)
    }

    /// Whether an expression is in it, or `${{ insert }}`.
    pub fn has_expressions(&self) -> bool {
        // The document's limit on levels bounds the depth of this.
        match &self.kind {
            TokenKind::Template(_) | TokenKind::Insert => true,
            TokenKind::Sequence(items) => items.iter().any(Token::has_expressions),
            TokenKind::Mapping(pairs) => {
                pairs.iter().any(|pair| pair.key.has_expressions() || pair.value.has_expressions())
            }
            _ => false,
        }
    }

    /// Whether it is nothing.
    pub fn is_null(&self) -> bool {
        matches!(self.kind, TokenKind::Null)
    }

    /// The value of a key without expressions, if this has keys and has it.
    pub fn get(&self, key: &str) -> Option<&Token> {
        self.as_mapping()?.iter().find(|pair| pair.key.as_text() == Some(key)).map(|pair| &pair.value)
    }

    /// A literal as text, and a template as it is written; empty for lists, mappings and nothing.
    pub fn source(&self) -> SmolStr {
        match &self.kind {
            TokenKind::Text(text) => text.clone(),
            TokenKind::Template(template) => template.source.clone(),
            TokenKind::Bool(true) => SmolStr::new_static("true"),
            TokenKind::Bool(false) => SmolStr::new_static("false"),
            TokenKind::Number(number) => number_to_text(*number).into(),
            TokenKind::Insert => SmolStr::new_static("${{ insert }}"),
            TokenKind::Null | TokenKind::Sequence(_) | TokenKind::Mapping(_) => SmolStr::default(),
        }
    }

    /// The texts of a list of texts, or the one text; those with expressions are left out.
    pub fn texts(&self) -> impl Iterator<Item = (&SmolStr, Span)> {
        let one = std::slice::from_ref(self);
        self.as_sequence().unwrap_or(one).iter().filter_map(|item| match &item.kind {
            TokenKind::Text(text) => Some((text, item.span)),
            _ => None,
        })
    }

    /// Every template in this value, keys included, with the place of the value that holds it.
    pub fn templates<'a>(&'a self, visit: &mut dyn FnMut(&'a Template, Span)) {
        // The document's limit on levels bounds the depth of this.
        match &self.kind {
            TokenKind::Template(template) => visit(template, self.span),
            TokenKind::Sequence(items) => items.iter().for_each(|item| item.templates(visit)),
            TokenKind::Mapping(pairs) => pairs.iter().for_each(|pair| {
                pair.key.templates(visit);
                pair.value.templates(visit);
            }),
            _ => {}
        }
    }

    /// Every expression in this value, with the place of the value that holds it.
    pub fn exprs<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr, Span)) {
        self.templates(&mut |template, span| template.exprs().for_each(|(expr, _)| visit(expr, span)));
    }
}
