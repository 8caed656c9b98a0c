//! Expressions: one engine for the language of GitHub's workflows and for the native one, and GitLab's `rules:if` beside it.
//!
//! - [`parse`] turns text into an [`Expr`], [`evaluate`] that into a [`Value`], with names and host functions from a [`Context`]
//!   and within a [`Budget`]. An expression does no I/O but `hashFiles`, which reads through a [`FileHasher`] that is handed in.
//! - [`Template`]: text with `${{ }}` in it, parsed once and evaluated many times.
//! - [`analysis`]: what an expression uses, and its type where that can be known without running it. [`origins`]: whose text its
//!   value is made of.
//! - [`gitlab`]: `rules:if`. [`regex`]: the patterns of GitLab's files.
//! - [`eval_json`]: text and JSON in, JSON out.
//!
//! Source of GitHub's rules: actions/languageservices and actions/runner, and their test data.

pub mod analysis;
mod budget;
mod compare;
mod error;
mod evaluate;
mod format;
mod functions;
pub mod gitlab;
mod hash_files;
mod json;
mod lexer;
mod methods;
mod number;
mod object;
pub mod origins;
mod parser;
pub mod regex;
mod template;
mod tree;
mod value;

pub use budget::Budget;
pub use error::{ErrorKind, ExprError};
pub use evaluate::{Context, StatusCheck, evaluate};
pub use functions::{FUNCTIONS, Signature};
pub use hash_files::{FileHasher, hash_files};
pub use json::{eval_json, eval_json_among, eval_json_within, from_json, to_json};
pub use number::{number_to_text, text_to_number};
pub use object::Object;
pub use parser::{Names, Scope, parse, parse_in};
pub use template::{Part, Template, TemplateError};
pub use tree::{Binary, Expr, Node, NodeKind};
pub use value::Value;

/// Whose language it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// GitHub's, as Gitea and Forgejo have it too.
    GitHub,
    /// Ours: GitHub's with arithmetic, and operations on text and lists.
    Native,
}

#[cfg(test)]
mod tests;
