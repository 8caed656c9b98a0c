//! A pipeline that was created, with all that has to be asked of git, so that nothing blocks when its jobs are handed out.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use smol_str::SmolStr;

use super::files::RepositoryFiles;
use super::response;
use crate::emulator::repository::{self, RepositoryError};
use crate::emulator::world::World;
use crate::emulator::world::job::Commit;
use crate::emulator::world::project::Project;
use crate::parser::gitlab::pipeline::context::PipelineIds;
use crate::parser::gitlab::pipeline::scope::Shared;
use crate::parser::gitlab::pipeline::{self, PipelineContext};
use crate::pipeline::PipelineDefinition;
use crate::pipeline::schedule::{Schedule, ScheduleError};

/// A created pipeline and those that its jobs start.
#[derive(Debug)]
pub struct Blueprint {
    /// Its jobs, and what they are made of.
    pub pipeline: pipeline::Pipeline,
    /// Which job waits for which.
    pub definition: PipelineDefinition,
    /// Its commit, as jobs have it.
    pub commit: Commit,
    /// The caches of jobs that have some, by their names.
    pub caches: HashMap<SmolStr, Value>,
    /// The pipelines that its jobs start, by the jobs' names.
    pub children: HashMap<SmolStr, Arc<Blueprint>>,
}

impl Blueprint {
    /// Makes the refs of the pipeline and its children, and computes what depends on files. Blocking.
    ///
    /// The inner error: the jobs wait for each other.
    pub fn draw(
        world: &World,
        project: &Project,
        files: &RepositoryFiles,
        mut pipeline: pipeline::Pipeline,
    ) -> Result<Result<Self, ScheduleError>, RepositoryError> {
        let bare = &project.repository;
        let definition = pipeline.to_definition();
        if let Err(unfit) = Schedule::new(definition.clone(), &|_| false) {
            return Ok(Err(unfit));
        }
        let id = pipeline.context.ids.id;
        repository::set_ref(bare, &format!("refs/pipelines/{id}"), files.sha())?;
        let mut children = HashMap::new();
        for (name, child) in std::mem::take(&mut pipeline.children) {
            let id = world.know().next_id();
            // One that does not fit is as if it had not been made: the job that starts it fails.
            if let Ok(child) = Self::draw(world, project, files, numbered(child, id))? {
                children.insert(name, Arc::new(child));
            }
        }
        let title = pipeline.context.commit.as_ref().and_then(|commit| commit.message.lines().next());
        let commit = Commit {
            sha: files.sha().to_owned(),
            title: title.unwrap_or_default().to_owned(),
            is_tag: pipeline.context.git_ref.is_tag(),
            tag_v1: String::new(),
        };
        let caches = response::caches(&pipeline, files);
        Ok(Ok(Self { pipeline, definition, commit, caches, children }))
    }

    /// Its id.
    pub fn id(&self) -> u64 {
        self.pipeline.context.ids.id
    }
}

/// A child pipeline under its own number: it was made under its parent's.
fn numbered(mut child: pipeline::Pipeline, id: u64) -> pipeline::Pipeline {
    let ids = PipelineIds { id, iid: id, created_at: child.context.ids.created_at.clone() };
    let context = PipelineContext { ids, ..(*child.context).clone() };
    child.shared = Arc::new(Shared::new(&context, child.shared.root.clone()));
    child.context = Arc::new(context);
    child
}
