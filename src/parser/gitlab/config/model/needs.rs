//! What a job waits for, and the jobs that `parallel` makes of it.

use std::sync::Arc;

use smol_str::SmolStr;

use super::Name;
use crate::parser::document::Span;

/// One of `needs`.
#[derive(Clone, Debug)]
pub struct Need {
    /// Where it stands.
    pub span: Span,
    /// What is needed.
    pub what: NeedWhat,
    /// Whether its artifacts come along.
    pub artifacts: bool,
    /// Whether it may be absent.
    pub optional: bool,
}

/// What is needed.
#[derive(Clone, Debug)]
pub enum NeedWhat {
    /// A job of this pipeline, or some of its matrix.
    Job {
        /// Its name, or the name of one of its matrix or parallel jobs.
        name: Name,
        /// Which of its matrix; `None`: all.
        matrix: Option<Arc<[MatrixRow]>>,
    },
    /// Artifacts of a job of another pipeline of this project.
    Pipeline {
        /// The job.
        job: Name,
        /// The pipeline's id, mostly `$PARENT_PIPELINE_ID`.
        pipeline: SmolStr,
    },
    /// Artifacts of another project.
    Project {
        /// The job.
        job: Name,
        /// The project.
        project: SmolStr,
        /// Its ref.
        reference: SmolStr,
    },
    /// The state of another project's pipeline (`needs: {pipeline: group/project}`).
    Upstream {
        /// The project.
        project: Name,
    },
}

/// One row of a matrix: what each variable takes, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatrixRow {
    /// Where it stands.
    pub span: Span,
    /// Variables and their values.
    pub variables: Vec<(SmolStr, Vec<SmolStr>)>,
}

/// `parallel`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parallel {
    /// So many.
    Number(u32),
    /// One for each combination.
    Matrix(Arc<[MatrixRow]>),
}
