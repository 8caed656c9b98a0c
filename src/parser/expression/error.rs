//! What can be wrong with an expression.

/// An expression that cannot be understood or evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExprError {
    /// What is wrong, by kind.
    pub kind: ErrorKind,
    /// Where the offending token begins, in bytes of the expression.
    pub offset: usize,
    /// Its length in bytes; 0 at the end of the text.
    pub len: usize,
    /// What is wrong, in GitHub's words where it has some, without the place.
    pub message: String,
}

/// What is wrong, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A token that may not stand there, or is none.
    UnexpectedSymbol,
    /// The text ends too early.
    UnexpectedEnd,
    /// A function that does not exist here.
    UnknownFunction,
    /// A named value that does not exist here.
    UnknownName,
    /// Fewer arguments than the function needs.
    TooFewArguments,
    /// More arguments than the function takes.
    TooManyArguments,
    /// `case` has pairs and a default: an odd number of arguments.
    EvenArguments,
    /// The text is longer than the limit.
    TooLong,
    /// Operators inside operators, beyond the limit.
    TooDeep,
    /// It is well-formed and cannot be evaluated with these values.
    Evaluation,
    /// It takes more steps, memory or time than it may.
    Budget,
}

impl ExprError {
    pub(super) fn new(kind: ErrorKind, offset: usize, len: usize, message: impl Into<String>) -> Self {
        Self { kind, offset, len, message: message.into() }
    }

    /// An error of evaluation of the node at this place.
    pub(super) fn evaluation(at: std::ops::Range<usize>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Evaluation, at.start, at.len(), message)
    }

    /// The place as GitHub counts it: from 1, in characters. `expression` is the text that was parsed.
    pub fn position(&self, expression: &str) -> usize {
        expression.get(..self.offset).map_or(0, |before| before.chars().count()) + 1
    }

    /// The whole message as GitHub writes it: with the place and the expression.
    pub fn official(&self, expression: &str) -> String {
        match self.kind {
            ErrorKind::TooLong | ErrorKind::TooDeep | ErrorKind::Evaluation | ErrorKind::Budget => self.message.clone(),
            _ => format!(
                "{}. Located at position {} within expression: {expression}",
                self.message,
                self.position(expression)
            ),
        }
    }
}
