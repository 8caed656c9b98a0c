//! Variables of the native language: `${NAME}` and what can be done with it.
//!
//! - [`Text`]: text with references, parsed once. [`Hierarchy`]: where values come from, the first source that has one wins.
//! - [`Resolver`]: text to its value, through variables that refer to variables, with cycles, depth and size under control.
//!
//! In [`Style::Script`] only what a shell cannot know is replaced (`${{ }}`, `${secrets.X}`, `${matrix.x}`): plain `${NAME}` is the
//! shell's, which has the variables in its environment.

mod hierarchy;
mod resolve;
mod syntax;

use std::ops::Range;

pub use hierarchy::{Hierarchy, Source};
pub use resolve::{Resolved, Resolver};
pub use syntax::{Operation, Segment, Style, Text};

/// What is wrong with a reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct VariableError {
    /// What is wrong, by kind.
    pub kind: VariableErrorKind,
    /// The bytes of the text that it is about.
    pub at: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// What is wrong, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VariableErrorKind {
    /// A reference that is not closed, or written wrong.
    Syntax,
    /// No source has it.
    Undefined,
    /// `${V:?why}` and no source has it.
    Required,
    /// It refers to itself.
    Cycle,
    /// References inside references, beyond the limit, or a value that is too large.
    Limit,
    /// A secret where none may stand.
    Secret,
    /// An expression that is wrong or cannot be evaluated.
    Expression,
}

impl VariableError {
    fn new(kind: VariableErrorKind, at: Range<usize>, message: impl Into<String>) -> Self {
        Self { kind, at, message: message.into(), help: None }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

#[cfg(test)]
mod tests;
