//! Downstream pipelines.

use std::sync::Arc;

use smol_str::SmolStr;

use super::Name;
use crate::parser::document::{Node, Span};

/// `trigger`.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// Where it stands.
    pub span: Span,
    /// What is started.
    pub target: TriggerTarget,
    /// depend or mirror: the job has the state of what it started.
    pub strategy: Option<SmolStr>,
    /// Whether the job's variables go along (they do).
    pub forward_yaml_variables: Option<bool>,
    /// Whether the pipeline's variables go along (they do not).
    pub forward_pipeline_variables: Option<bool>,
    /// Inputs, as written.
    pub inputs: Option<Node>,
    /// As written.
    pub node: Node,
}

/// What a trigger starts.
#[derive(Clone, Debug)]
pub enum TriggerTarget {
    /// Another project's pipeline.
    Project {
        /// The project.
        project: Name,
        /// Its branch.
        branch: Option<SmolStr>,
    },
    /// A child pipeline of these files, merged.
    Include(Arc<[TriggerInclude]>),
}

/// A file of a child pipeline.
#[derive(Clone, Debug)]
pub struct TriggerInclude {
    /// Where it stands.
    pub span: Span,
    /// Which.
    pub source: IncludeSource,
    /// Inputs for it, as written.
    pub inputs: Option<Node>,
    /// As written.
    pub node: Node,
}

/// Where an included file comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IncludeSource {
    /// The project.
    Local(SmolStr),
    /// Another address.
    Remote(SmolStr),
    /// GitLab's own.
    Template(SmolStr),
    /// A component.
    Component(SmolStr),
    /// A job's artifact.
    Artifact {
        /// The path in it.
        path: SmolStr,
        /// The job.
        job: SmolStr,
    },
    /// Another project.
    Project {
        /// It.
        project: SmolStr,
        /// Its files.
        files: Arc<[SmolStr]>,
        /// Its ref.
        reference: Option<SmolStr>,
    },
}
