//! What a GitLab configuration says, typed.
//!
//! Defaults are applied: a job holds what it inherits from `default:` and the top of the file. Everything is shared, so that a
//! [`Job`] is cheap to clone. Keywords that no one evaluates before a runner sees the job stay
//! [`Node`](crate::parser::document::Node)s.
//!
//! - `job`: jobs and what they inherit. `decide`: rules, `only` and `except`. `needs`, `trigger`: what jobs wait for and start.
//! - `container`, `files`, `run`, `variables`: what jobs run in, keep, do and see.

mod container;
mod decide;
mod files;
mod job;
mod needs;
mod run;
mod trigger;
mod variables;

use std::collections::HashMap;
use std::sync::Arc;

use smol_str::SmolStr;

use super::Completeness;
use crate::parser::document::Span;

pub use container::{Image, Service};
pub use decide::{Changes, Condition, Exists, Policy, Rule};
pub use files::{Artifacts, Cache, CacheKey, Report};
pub use job::{Defaults, Inherit, Inherited, Job, JobKind};
pub use needs::{MatrixRow, Need, NeedWhat, Parallel};
pub use run::{AllowFailure, Environment, Hooks, IdToken, Retry, Script, Timeout, When};
pub use trigger::{IncludeSource, Trigger, TriggerInclude, TriggerTarget};
pub use variables::{JobInput, Variable, Variables};

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

/// A name or a text and where it stands.
pub type Name = Spanned<SmolStr>;

/// A whole configuration. Hidden jobs are gone.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The stages in order, `.pre` first and `.post` last.
    pub stages: Arc<[Name]>,
    /// When there is a pipeline at all.
    pub workflow: Workflow,
    /// The variables of all jobs.
    pub variables: Arc<Variables>,
    /// What jobs inherit; it is in them already.
    pub defaults: Arc<Defaults>,
    /// The jobs in the order of the file.
    pub jobs: Jobs,
    /// Whether there are more, in an include that is left out.
    pub completeness: Completeness,
}

/// Jobs in the order of the file, found by name.
#[derive(Clone, Debug, Default)]
pub struct Jobs {
    list: Vec<Job>,
    index: HashMap<SmolStr, usize>,
}

impl Jobs {
    /// Of these; a name that comes twice means the last.
    pub fn new(list: Vec<Job>) -> Self {
        let index = list.iter().enumerate().map(|(at, job)| (job.name.clone(), at)).collect();
        Self { list, index }
    }

    /// The job of this name.
    pub fn get(&self, name: &str) -> Option<&Job> {
        self.position(name).and_then(|at| self.list.get(at))
    }

    /// The place of the job of this name in the order of the file.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// Them in order.
    pub fn as_slice(&self) -> &[Job] {
        &self.list
    }

    /// Them in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Job> {
        self.list.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl<'a> IntoIterator for &'a Jobs {
    type Item = &'a Job;
    type IntoIter = std::slice::Iter<'a, Job>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

/// `workflow`.
#[derive(Clone, Debug, Default)]
pub struct Workflow {
    /// The name of the pipeline, variables in it.
    pub name: Option<Name>,
    /// When there is a pipeline; `None`: always.
    pub rules: Option<Arc<[Rule]>>,
    /// What cancels the pipeline.
    pub auto_cancel: Option<AutoCancel>,
}

/// `auto_cancel`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AutoCancel {
    /// conservative, interruptible, none.
    pub on_new_commit: Option<SmolStr>,
    /// all, none.
    pub on_job_failure: Option<SmolStr>,
}
