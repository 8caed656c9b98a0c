//! The definition with what its jobs and steps inherit written out, as YAML. Values stay as they are written, so that no secret can
//! show.

use serde_yaml::{Mapping, Value};

use super::model::{DEFAULT_IMAGE, Environment, Job, Pipeline, Step};
use crate::parser::document::yaml::to_yaml;
use crate::parser::document::{Node, Schema};

/// The pipeline of a document, resolved: variables from the outside in, images, folders, limits and tries of each step. `only`: these
/// jobs alone; empty: all.
pub fn expand(root: &Node, pipeline: &Pipeline, only: &[String]) -> Option<String> {
    let Value::Mapping(mut all) = to_yaml(root, Schema::Core) else { return None };
    all.remove("global_env");
    all.insert("timeout".into(), pipeline.timeout.into());
    let jobs = all.get_mut("jobs")?.as_mapping_mut()?;
    jobs.retain(|key, _| only.is_empty() || key.as_str().is_some_and(|key| only.iter().any(|name| name == key)));
    for (key, written) in jobs.iter_mut() {
        let job = pipeline.jobs.iter().find(|job| key.as_str() == Some(job.name.as_str()));
        if let (Some(job), Some(written)) = (job, written.as_mapping_mut()) {
            resolve_job(written, job, pipeline);
        }
    }
    serde_yaml::to_string(&Value::Mapping(all)).ok()
}

fn resolve_job(written: &mut Mapping, job: &Job, pipeline: &Pipeline) {
    written.insert("name".into(), job.name.as_str().into());
    written.insert("timeout".into(), job.timeout.into());
    let tries = job.retry_count.unwrap_or(pipeline.retry_policy.max_attempts.saturating_sub(1));
    written.insert("retry_count".into(), tries.into());
    written.remove("environment");
    let inherited: Environment =
        pipeline.global_env.iter().chain(&job.environment).map(|(name, value)| (name.clone(), value.clone())).collect();
    let steps = written.get_mut("steps").and_then(Value::as_sequence_mut);
    for (written, step) in steps.into_iter().flatten().zip(&job.steps) {
        if let Some(written) = written.as_mapping_mut() {
            resolve_step(written, step, job, &inherited);
        }
    }
}

fn resolve_step(written: &mut Mapping, step: &Step, job: &Job, inherited: &Environment) {
    let image = step.image.as_deref().or(job.image.as_deref()).unwrap_or(DEFAULT_IMAGE);
    written.insert("image".into(), image.into());
    let environment = inherited.iter().chain(&step.environment);
    let environment: Mapping = environment.map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect();
    if !environment.is_empty() {
        written.insert("environment".into(), environment.into());
    }
    written.insert("working_directory".into(), step.working_directory.as_str().into());
    written.insert("timeout".into(), step.timeout.into());
    written.insert("retry_count".into(), step.retry_count.into());
    written.insert("continue_on_failure".into(), step.continue_on_failure.into());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::document::{FileId, Limits, Merge, Options, read as read_document};
    use crate::parser::native::{Given, read};

    #[test]
    fn a_step_shows_what_it_inherits_and_its_own_counts_most() {
        let text = "name: p\nglobal_env: {A: '1', B: '1'}\njobs:\n  build:\n    environment: {B: '2', C: '2'}\n    image: \
                    alpine\n    steps:\n      - {name: s, script: make, environment: {C: '3'}}\n";
        let pipeline = read("forgehand.yml", text, &Given::default()).value.unwrap();
        let options = Options { merge: Merge::Standard, limits: Limits::default() };
        let root = read_document(FileId(0), text, options).unwrap().remove(0);
        let shown: Value = serde_yaml::from_str(&expand(&root, &pipeline, &[]).unwrap()).unwrap();
        let step = &shown["jobs"]["build"]["steps"][0];
        assert_eq!(step["environment"], serde_yaml::from_str::<Value>("{A: '1', B: '2', C: '3'}").unwrap());
        assert_eq!(step["image"], Value::from("alpine"));
        assert_eq!(step["working_directory"], Value::from("/workspace"));
        assert_eq!(step["timeout"], Value::from(1800));
        assert_eq!(shown["jobs"]["build"]["timeout"], Value::from(3600));
    }
}
