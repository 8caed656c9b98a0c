//! What a configuration can ask for while it is put together.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ahead::ReadAhead;
use super::codes;
use crate::parser::diagnostics::Diagnostic;
use crate::parser::document::Span;

/// The surroundings of a configuration: what `include` paths, `include:rules` and inputs can see.
#[derive(Clone, Debug, Default)]
pub struct ComposeContext {
    /// The variables that exist before a configuration is read: predefined, project, group, instance, pipeline and schedule
    /// variables. None of the configuration's own.
    pub variables: BTreeMap<String, IncludeVariable>,
    /// The values of the root file's `spec:inputs`, by name.
    pub inputs: BTreeMap<String, Given>,
    /// The files that this pipeline's commits changed; `None` where that is not known, and `changes` holds.
    pub changes: Option<Arc<[String]>>,
    /// Whether this is the configuration of a child pipeline, which may include a job's artifact.
    pub is_child: bool,
    /// What to do about an include that cannot be had.
    pub unavailable: Unavailable,
    /// Which event the rules of includes are asked for.
    pub event: Event,
    /// The forge's limits.
    pub limits: ForgeLimits,
    /// The root file's YAML, where it was read before.
    pub ahead: Option<ReadAhead>,
}

/// A variable that includes can see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncludeVariable {
    /// Its value.
    pub value: String,
    /// Whether it is a secret: never shown in messages, and not to be put into the configuration's text.
    pub masked: bool,
}

impl From<&str> for IncludeVariable {
    fn from(value: &str) -> Self {
        Self { value: value.to_owned(), masked: false }
    }
}

/// The value of an input.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// Of a command line: read as the input's type has it.
    Text(String),
    /// Typed already.
    Value(serde_json::Value),
}

/// What to do about an include that cannot be had because nothing is fetched, or the network does not give it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unavailable {
    /// A note, and on without it: `lint`, `plan`.
    #[default]
    Note,
    /// An error: `exec`.
    Error,
}

/// Which event a configuration is put together for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Event {
    /// The one that the variables tell of.
    #[default]
    This,
    /// Any: what rules leave out here, another event has (`lint`).
    Any,
}

/// The limits that GitLab sets. Where they are exceeded the server refuses; here it is a warning, as they can be configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForgeLimits {
    /// Includes of one configuration, nested ones too.
    pub includes: usize,
    /// Bytes of one file.
    pub file_bytes: usize,
    /// Bytes of all files together.
    pub total_bytes: usize,
    /// Levels of one file.
    pub depth: usize,
    /// Whether exceeding them is an error.
    pub enforced: bool,
}

impl Default for ForgeLimits {
    fn default() -> Self {
        Self { includes: 150, file_bytes: 2 << 20, total_bytes: 300 << 20, depth: 100, enforced: false }
    }
}

impl ForgeLimits {
    /// The finding that one of them is exceeded.
    pub(super) fn exceeded(&self, span: Span, message: String) -> Diagnostic {
        match self.enforced {
            true => Diagnostic::error(codes::LIMIT, span, message),
            false => Diagnostic::warning(codes::LIMIT, span, message)
                .help("an administrator can set the limit; with the default the server refuses the configuration"),
        }
    }
}
