//! A reader of plain `.gitlab-ci.yml` files: what the demo and most tests need, and a clear refusal of the rest.
//!
//! [`file`]: text to [`file::PlainPipeline`]; [`node`]: YAML values that know where they stand; [`plan`]: which job waits
//! for which; [`overlay`]: a job as the payload has it. The whole language is not read here.

pub mod file;
pub mod node;
pub mod overlay;
pub mod plan;

use super::repository::{self, RepositoryError};
use super::world::World;
use super::world::job::JobSpec;
use super::world::pipeline::Pipeline;

/// The file that is read.
pub const FILE: &str = ".gitlab-ci.yml";

/// Why no pipeline came of a file.
#[derive(Debug, thiserror::Error)]
pub enum CiError {
    /// Git did not give the file.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// It is not YAML.
    #[error("{FILE}: {0}")]
    Yaml(#[from] serde_yaml::Error),
    /// It says something that does not fit.
    #[error("{FILE}: {place}: {problem}")]
    Content {
        /// Where, by keywords.
        place: String,
        /// What.
        problem: String,
    },
}

/// Reads the file at `git_ref` and queues its jobs. Blocking.
pub fn create_pipeline(world: &World, project: u64, git_ref: &str) -> Result<u64, CiError> {
    let repository = {
        let know = world.know();
        let project = know.projects.get(&project).ok_or(RepositoryError::UnknownProject(project))?;
        project.repository.clone()
    };
    let sha = repository::resolve(&repository, git_ref)?;
    let plain = file::read(&repository::read_file(&repository, &sha, FILE)?)?;
    let definition = plan::plan(&plain)?;
    let id = world.know().next_id();
    repository::set_ref(&repository, &format!("refs/pipelines/{id}"), &sha)?;
    let mut pipeline = Pipeline {
        id,
        project,
        git_ref: git_ref.to_owned(),
        sha,
        definition: definition.clone(),
        jobs: Default::default(),
    };
    for planned in &definition.jobs {
        let Some(job) = plain.jobs.iter().find(|job| job.name == planned.name) else { continue };
        let spec = JobSpec {
            stage: job.stage.clone(),
            git_ref: git_ref.to_owned(),
            pipeline: Some(id),
            allow_failure: job.allow_failure,
            runs_when: job.runs_when,
            // All are held until the pipeline is complete; then those that wait for nobody go.
            held: true,
            ..JobSpec::new(project, &job.name, overlay::overlay(&plain, job))
        };
        pipeline.jobs.insert(job.name.clone(), world.queue(spec)?);
    }
    let mut know = world.know();
    know.pipelines.insert(id, pipeline);
    know.advance(id);
    drop(know);
    world.changed();
    Ok(id)
}
