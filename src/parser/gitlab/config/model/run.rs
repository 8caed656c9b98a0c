//! How a job runs: its lines, when, how long, how often, for which environment.

use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

use super::Name;
use crate::parser::document::{Node, Span};

/// Lines of a script, nested lists flattened. Empty: written as an empty list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The lines.
    pub lines: Arc<[SmolStr]>,
    /// Where they stand.
    pub span: Span,
}

/// `allow_failure`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowFailure {
    /// It may, or not.
    Is(bool),
    /// With these exit codes it may.
    ExitCodes(Arc<[i64]>),
}

/// `when`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// All before it went well.
    OnSuccess,
    /// One before it failed.
    OnFailure,
    /// In any case.
    Always,
    /// When somebody starts it.
    Manual,
    /// After a while.
    Delayed,
    /// Not at all (rules).
    Never,
}

impl When {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnSuccess => "on_success",
            Self::OnFailure => "on_failure",
            Self::Always => "always",
            Self::Manual => "manual",
            Self::Delayed => "delayed",
            Self::Never => "never",
        }
    }
}

/// A stretch of time as it is written, and how long it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeout {
    /// As written: `1h 30m`.
    pub text: SmolStr,
    /// How long; `None`: never ends (`expire_in: never`).
    pub duration: Option<Duration>,
    /// Where it stands.
    pub span: Span,
}

/// `retry`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often at most.
    pub max: u32,
    /// After which failures; empty: nothing is said, after any.
    pub when: Vec<SmolStr>,
    /// After which exit codes.
    pub exit_codes: Vec<i64>,
    /// Where it stands.
    pub span: Span,
}

/// `environment`.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Its name, variables in it.
    pub name: Name,
    /// Its address.
    pub url: Option<SmolStr>,
    /// start, prepare, stop, verify, access; start where nothing is said.
    pub action: SmolStr,
    /// The job that stops it.
    pub on_stop: Option<Name>,
    /// When it is stopped.
    pub auto_stop_in: Option<Timeout>,
    /// production, staging, testing, development, other.
    pub deployment_tier: Option<SmolStr>,
    /// `kubernetes`, as written.
    pub kubernetes: Option<Node>,
    /// As written.
    pub node: Node,
}

/// `hooks`.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    /// Lines before the sources are fetched.
    pub pre_get_sources_script: Option<Script>,
}

/// One of `id_tokens`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdToken {
    /// The variable.
    pub name: Name,
    /// For whom.
    pub audience: Arc<[SmolStr]>,
}
