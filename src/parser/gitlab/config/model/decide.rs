//! Whether a job is part of a pipeline: `rules`, `only`, `except`.

use std::sync::Arc;

use smol_str::SmolStr;

use super::needs::Need;
use super::run::{Timeout, When};
use super::variables::Variables;
use super::{AutoCancel, Name, Spanned};
use crate::parser::document::Span;
use crate::parser::expression::gitlab::Expr;

/// One of `rules`. What few have is boxed: every job may have several.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where it stands.
    pub span: Span,
    /// Its condition.
    pub condition: Option<Condition>,
    /// Which changed files.
    pub changes: Option<Box<Changes>>,
    /// Which files there are.
    pub exists: Option<Box<Exists>>,
    /// When the job starts.
    pub when: Option<Spanned<When>>,
    /// How long a delayed job waits.
    pub start_in: Option<Box<Timeout>>,
    /// Whether the job may fail.
    pub allow_failure: Option<bool>,
    /// Variables of the job (of all jobs, in workflow rules).
    pub variables: Option<Arc<Variables>>,
    /// What the job waits for.
    pub needs: Option<Arc<[Need]>>,
    /// Whether a newer pipeline may cancel it.
    pub interruptible: Option<bool>,
    /// What cancels the pipeline (workflow rules).
    pub auto_cancel: Option<Box<AutoCancel>>,
}

/// A condition, `$CI_COMMIT_BRANCH == "main"`.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Its text.
    pub text: SmolStr,
    /// It, understood.
    pub expr: Arc<Expr>,
    /// Where it stands.
    pub span: Span,
}

/// `rules:changes`.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Patterns; variables in them.
    pub paths: Arc<[SmolStr]>,
    /// Against what.
    pub compare_to: Option<Name>,
    /// A pattern over whole paths in place of `paths` (feature).
    pub regexp: Option<Name>,
}

/// `rules:exists`.
#[derive(Clone, Debug, Default)]
pub struct Exists {
    /// Patterns; variables in them.
    pub paths: Arc<[SmolStr]>,
    /// In which project.
    pub project: Option<Name>,
    /// In which of its refs.
    pub reference: Option<Name>,
    /// A pattern over whole paths in place of `paths` (feature).
    pub regexp: Option<Name>,
}

/// `only`, `except`.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Names, patterns, keywords. `None`: nothing said (`only`: branches and tags).
    pub refs: Option<Arc<[Name]>>,
    /// Conditions of which one has to hold.
    pub variables: Option<Arc<[Condition]>>,
    /// Patterns of changed files.
    pub changes: Option<Arc<[SmolStr]>>,
    /// `kubernetes: active`.
    pub kubernetes: bool,
}
