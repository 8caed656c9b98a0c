//! A job of a pipeline as a runner is handed it: the front end's response, and what only this server knows.

use std::collections::HashMap;

use serde_json::{Value, json};
use smol_str::SmolStr;

use super::context::now;
use super::files::RepositoryFiles;
use super::identity::Claims;
use crate::emulator::payload;
use crate::emulator::world::job::Job;
use crate::emulator::world::project::Project;
use crate::emulator::world::{Knowledge, World};
use crate::parser::document::NoFiles;
use crate::parser::gitlab::pipeline::cache_key::NoHistory;
use crate::parser::gitlab::pipeline::response::{Dependency, JobFacts, wire};
use crate::parser::gitlab::pipeline::variables::Variable;
use crate::parser::gitlab::pipeline::{CreatedJob, Pipeline, dependencies, response};

/// The caches of the jobs that have some: their keys may be made of files. Blocking.
pub fn caches(pipeline: &Pipeline, files: &RepositoryFiles) -> HashMap<SmolStr, Value> {
    let with_caches = |job: &&CreatedJob| {
        pipeline.source(job).is_some_and(|job| job.cache.as_ref().is_some_and(|all| !all.is_empty()))
    };
    let caches = |job: &CreatedJob| {
        let mut response = response(pipeline, job, &JobFacts::default(), files, files);
        (job.name.clone(), response["cache"].take())
    };
    pipeline.jobs.iter().filter(with_caches).map(caches).collect()
}

/// The response for a job of a pipeline. `None`: it is in none that was made from a file.
pub fn build(know: &Knowledge, world: &World, project: &Project, job: &Job) -> Option<Value> {
    let (blueprint, ids) = know.made_from(job)?;
    let pipeline = &blueprint.pipeline;
    let created = pipeline.job(&job.spec.name)?;
    let facts = facts(know, world, project, job, pipeline, created, &ids);
    let mut response = response(pipeline, created, &facts, &NoFiles, &NoHistory);
    response["cache"] = blueprint.caches.get(&created.name).cloned().unwrap_or_else(|| json!([]));
    let server = payload::job_info(job, project);
    if let (Value::Object(info), Value::Object(server)) = (&mut response["job_info"], server) {
        info.extend(server);
    }
    if let Some(Value::Array(variables)) = response.get_mut("variables") {
        variables.extend(id_tokens(world, pipeline, created, job));
    }
    Some(response)
}

fn facts(
    know: &Knowledge,
    world: &World,
    project: &Project,
    job: &Job,
    pipeline: &Pipeline,
    created: &CreatedJob,
    ids: &HashMap<&str, u64>,
) -> JobFacts {
    let named = dependencies(pipeline, created);
    let earlier: Vec<&Job> =
        named.iter().filter_map(|name| know.jobs.get(ids.get(name.as_str())?)).filter(|job| !job.spec.bridge).collect();
    let dependency = |other: &&Job| Dependency {
        id: other.id,
        name: other.spec.name.clone(),
        token: job.token.clone(),
        archive: other.artifact("archive").map(|archive| (archive.filename.clone(), archive.size)),
    };
    let reported = |job: &&Job| job.dotenv.clone();
    JobFacts {
        id: job.id,
        token: job.token.clone(),
        started_at: now(),
        repo_url: payload::repository_url(world, project, &job.token),
        dependencies: earlier.iter().map(dependency).collect(),
        dotenv: earlier.iter().flat_map(reported).map(|(key, value)| Variable::public(key, value)).collect(),
        failure_reasons: payload::FAILURE_REASONS.map(str::to_owned).to_vec(),
    }
}

/// The variables of `id_tokens`.
fn id_tokens(world: &World, pipeline: &Pipeline, created: &CreatedJob, job: &Job) -> Vec<Value> {
    let Some((source, scope)) = pipeline.source(created).zip(pipeline.scope(created)) else { return Vec::new() };
    let tokens = source.id_tokens.iter().flat_map(|tokens| tokens.iter());
    let variable = |token: &crate::parser::gitlab::config::model::IdToken| {
        let audience = token.audience.iter().map(|audience| scope.expand(audience)).collect();
        let environment = source.environment.as_ref().map(|environment| scope.expand(&environment.name.value));
        let claims = Claims { context: &pipeline.context, job: job.id, audience, environment };
        wire(&Variable { raw: true, ..Variable::masked(token.name.value.clone(), world.signer.token(&claims)) })
    };
    tokens.map(variable).collect()
}
