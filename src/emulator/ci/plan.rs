//! Which job waits for which.

use std::collections::{HashMap, HashSet};

use super::CiError;
use super::file::{PlainJob, PlainPipeline};
use crate::pipeline::{PipelineDefinition, PlannedJob, Waits};

/// The jobs in the order of their stages, each with the names of those it waits for.
pub fn plan(pipeline: &PlainPipeline) -> Result<PipelineDefinition, CiError> {
    let mut jobs: Vec<(usize, &PlainJob)> = Vec::new();
    for job in &pipeline.jobs {
        let stage = pipeline.stages.iter().position(|stage| *stage == job.stage).ok_or_else(|| {
            wrong(job, format!("the stage `{}` is none of {}", job.stage, pipeline.stages.join(", ")))
        })?;
        jobs.push((stage, job));
    }
    jobs.sort_by_key(|(stage, _)| *stage);
    let names: HashSet<&str> = pipeline.jobs.iter().map(|job| job.name.as_str()).collect();
    let mut planned = Vec::new();
    for (stage, job) in &jobs {
        check_dependencies(job, &names)?;
        let needs = match &job.needs {
            Some(_) => named_needs(job, &names)?,
            None => jobs.iter().filter(|(other, _)| other < stage).map(|(_, job)| job.name.clone()).collect(),
        };
        planned.push(PlannedJob::new(&job.name, &job.stage, Waits::Jobs(needs)));
    }
    let definition = PipelineDefinition {
        name: super::FILE.to_owned(),
        stages: pipeline.stages.clone(),
        jobs: planned,
        ..PipelineDefinition::default()
    };
    match in_a_circle(&definition) {
        Some(name) => {
            Err(CiError::Content { place: name, problem: "it waits for itself, by way of `needs`".to_owned() })
        }
        None => Ok(definition),
    }
}

fn wrong(job: &PlainJob, problem: String) -> CiError {
    CiError::Content { place: job.name.clone(), problem }
}

fn named_needs(job: &PlainJob, names: &HashSet<&str>) -> Result<Vec<String>, CiError> {
    let mut needs = Vec::new();
    for need in job.needs.iter().flatten() {
        if names.contains(need.job.as_str()) {
            needs.push(need.job.clone());
        } else if !need.optional {
            return Err(wrong(job, format!("it needs `{}`, which is no job of this pipeline", need.job)));
        }
    }
    Ok(needs)
}

fn check_dependencies(job: &PlainJob, names: &HashSet<&str>) -> Result<(), CiError> {
    match job.dependencies.iter().flatten().find(|name| !names.contains(name.as_str())) {
        Some(name) => Err(wrong(job, format!("it depends on `{name}`, which is no job of this pipeline"))),
        None => Ok(()),
    }
}

/// A job that can never start; `None` when all can.
fn in_a_circle(definition: &PipelineDefinition) -> Option<String> {
    let mut waiting: HashMap<&str, HashSet<&str>> = definition
        .jobs
        .iter()
        .map(|job| (job.name.as_str(), job.named_needs().iter().map(String::as_str).collect()))
        .collect();
    loop {
        let Some(free) = waiting.iter().find(|(_, needs)| needs.is_empty()).map(|(name, _)| *name) else {
            // In the order of the file, so that the message is the same each time.
            return definition
                .jobs
                .iter()
                .map(|job| &job.name)
                .find(|name| waiting.contains_key(name.as_str()))
                .cloned();
        };
        waiting.remove(free);
        for needs in waiting.values_mut() {
            needs.remove(free);
        }
    }
}

/// The names of the jobs whose artifacts `job` gets.
pub fn sources_of_artifacts(pipeline: &PlainPipeline, job: &PlainJob) -> Vec<String> {
    if let Some(named) = &job.dependencies {
        return named.clone();
    }
    if let Some(needs) = &job.needs {
        return needs.iter().filter(|need| need.artifacts).map(|need| need.job.clone()).collect();
    }
    let position = |stage: &str| pipeline.stages.iter().position(|known| known == stage);
    let earlier = pipeline.jobs.iter().filter(|other| position(&other.stage) < position(&job.stage));
    earlier.map(|other| other.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::file::read;
    use super::*;

    fn needs_of(text: &str, name: &str) -> Vec<String> {
        let definition = plan(&read(text).unwrap()).unwrap();
        definition.jobs.into_iter().find(|job| job.name == name).unwrap().named_needs().to_vec()
    }

    #[test]
    fn without_needs_a_job_waits_for_all_earlier_stages() {
        let text =
            "stages: [a, b]\nlate: {stage: b, script: x}\none: {stage: a, script: x}\ntwo: {stage: a, script: x}\n";
        assert_eq!(needs_of(text, "late"), ["one", "two"]);
        assert!(needs_of(text, "one").is_empty());
    }

    #[test]
    fn needs_replace_the_order_of_stages() {
        let text = "stages: [a, b]\nlate: {stage: b, script: x, needs: [one, {job: gone, optional: true}]}\n\
                    one: {stage: a, script: x}\ntwo: {stage: a, script: x}\n";
        assert_eq!(needs_of(text, "late"), ["one"]);
    }

    #[test]
    fn a_circle_and_a_missing_job_are_named() {
        let circle = plan(&read("a: {script: x, needs: [b]}\nb: {script: x, needs: [a]}\n").unwrap()).unwrap_err();
        assert!(circle.to_string().contains("a: it waits for itself"), "{circle}");
        let missing = plan(&read("a: {script: x, needs: [c]}\n").unwrap()).unwrap_err();
        assert!(missing.to_string().contains("needs `c`"), "{missing}");
        let stage = plan(&read("a: {script: x, stage: nowhere}\n").unwrap()).unwrap_err();
        assert!(stage.to_string().contains("`nowhere` is none of .pre, build"), "{stage}");
    }
}
