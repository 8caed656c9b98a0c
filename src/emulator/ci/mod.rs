//! Pipelines of the embedded forge: from a repository's `.gitlab-ci.yml` at a commit, by the same front end that `lint`, `plan` and
//! `exec` ask ([`crate::parser::gitlab`]).
//!
//! - [`context`]: what the pipeline is created for. [`files`], [`elsewhere`]: the files of its commit, and of other projects here.
//! - [`blueprint`]: the pipeline and its child pipelines, with all that has to be asked of git.
//! - [`response`]: one of its jobs as a runner is handed it; [`identity`]: the tokens of `id_tokens`.
//!
//! What becomes of a pipeline is [`super::world::pipeline`]'s. Not here: pipelines of other projects that a job triggers
//! (the job fails with `downstream_pipeline_creation_failed`), templates and addresses of the outside world.

pub mod blueprint;
pub mod context;
pub mod elsewhere;
pub mod files;
pub mod identity;
pub mod response;

use std::sync::Arc;

use blueprint::Blueprint;
use files::RepositoryFiles;

use super::repository::{self, RepositoryError};
use super::world::World;
use super::world::pipeline::Pipeline;
use crate::parser::diagnostics::{Checked, Severity, render};
use crate::parser::gitlab::compose::Unavailable;
use crate::parser::gitlab::pipeline::context::Source;
use crate::parser::gitlab::{LoadOptions, load};

/// The file that is read.
pub const FILE: &str = ".gitlab-ci.yml";

/// What a pipeline is asked for with.
#[derive(Clone, Debug)]
pub struct PipelineRequest {
    /// The branch or tag.
    pub git_ref: String,
    /// What happened.
    pub source: Source,
    /// The commit of the branch before a push; `None`: the parent.
    pub before: Option<String>,
    /// Variables of the pipeline.
    pub variables: Vec<(String, String)>,
    /// Values of the file's `spec:inputs`.
    pub inputs: Vec<(String, String)>,
}

impl PipelineRequest {
    /// A push to this branch or tag.
    pub fn push(git_ref: impl Into<String>) -> Self {
        Self { git_ref: git_ref.into(), source: Source::Push, before: None, variables: Vec::new(), inputs: Vec::new() }
    }
}

/// Why there is no pipeline. A file with errors is no reason: it makes a pipeline that has failed.
#[derive(Debug, thiserror::Error)]
pub enum CiError {
    /// Git did not give what was asked.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// There is no file.
    #[error("{git_ref} has no {FILE}: commit one")]
    NoFile {
        /// The branch or tag.
        git_ref: String,
    },
    /// Nothing is to run: rules that do not hold.
    #[error("no pipeline is created: {0}")]
    Nothing(String),
}

/// Reads the file at the request's ref and queues the jobs that the request creates. Blocking.
///
/// A file with errors makes a pipeline that has failed and says them.
pub fn create_pipeline(world: &World, project: u64, request: &PipelineRequest) -> Result<u64, CiError> {
    let project = world.know().projects.get(&project).cloned().ok_or(RepositoryError::UnknownProject(project))?;
    let sha = repository::resolve(&project.repository, &request.git_ref)?;
    let files = Arc::new(RepositoryFiles::new(project.repository.clone(), sha.clone()));
    if !files.has(FILE)? {
        return Err(CiError::NoFile { git_ref: request.git_ref.clone() });
    }
    let id = world.know().next_id();
    let context = context::of(world, &project, request, &files, id)?;
    let elsewhere = elsewhere::Elsewhere::new(world);
    let options =
        LoadOptions { inputs: request.inputs.clone(), unavailable: Unavailable::Error, ..LoadOptions::default() };
    let Checked { value, diagnostics, sources } = load(FILE, &*files, &elsewhere, &options, &context);
    let mut errors: Vec<String> = diagnostics
        .iter()
        .filter(|one| one.severity == Severity::Error)
        .map(|one| render::line(one, &sources))
        .collect();
    let mut pipeline = Pipeline::new(id, project.id, request.git_ref.clone(), sha);
    if errors.is_empty()
        && let Some(made) = value
    {
        if made.jobs.is_empty() {
            let notes = diagnostics.iter().filter(|one| one.severity == Severity::Note);
            let why: Vec<&str> = notes.map(|one| one.message.as_str()).collect();
            return Err(CiError::Nothing(why.join("; ")));
        }
        match Blueprint::draw(world, &project, &files, made)? {
            Ok(blueprint) => pipeline.blueprint = Some(Arc::new(blueprint)),
            Err(unfit) => errors.push(format!("{FILE}: {unfit}")),
        }
    }
    pipeline.errors = errors;
    world.know().open(pipeline);
    world.changed();
    Ok(id)
}
