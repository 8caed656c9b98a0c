//! A pipeline to the model's jobs.

use std::time::Duration;

use super::model::{Axis, Combination, Job, Matrix, Pipeline};
use crate::parser::expression::{Budget, Object, Value, from_json};
use crate::parser::variables::{Hierarchy, Resolver, Segment, Source, Style, Text};
use crate::pipeline::{JobGroup, PipelineDefinition, PlannedJob, ResourceRequest, RetryRule, StartCondition, Waits};

/// A pipeline in the model's words, and what each of its jobs is made from.
#[derive(Clone, Debug, Default)]
pub struct Planned {
    /// The model.
    pub definition: PipelineDefinition,
    /// For each of its jobs, in the same order.
    pub legs: Vec<Leg>,
}

/// What a planned job is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// The place of its job in [`Pipeline::jobs`].
    pub job: usize,
    /// Its values of the matrix; empty without one.
    pub values: Combination,
}

/// Combinations a matrix may have.
const MAX_LEGS: usize = 10_000;

/// Plans a pipeline: a job for each combination of its matrix, called `job (a, b)`. A job that waits for one with a matrix waits for
/// all its legs.
///
/// # Errors
/// The job whose matrix cannot be taken apart, and why.
pub fn plan(pipeline: &Pipeline, hierarchy: &Hierarchy) -> Result<Planned, (String, String)> {
    let mut planned = Planned::default();
    planned.definition.name.clone_from(&pipeline.name);
    let mut legs_of: std::collections::HashMap<&str, Vec<String>> = std::collections::HashMap::new();
    let mut jobs = Vec::with_capacity(pipeline.jobs.len());
    for job in &pipeline.jobs {
        let combinations = match &job.matrix {
            Some(matrix) => combinations(matrix, job, hierarchy).map_err(|problem| (job.name.clone(), problem))?,
            None => vec![Combination::new()],
        };
        let names = combinations.iter().map(|values| leg_name(&job.name, values)).collect();
        legs_of.insert(&job.name, names);
        jobs.push(combinations);
    }
    for (at, (job, combinations)) in pipeline.jobs.iter().zip(jobs).enumerate() {
        let group = job.matrix.as_ref().map(|matrix| {
            planned.definition.groups.push(JobGroup {
                name: job.name.clone(),
                fail_fast: matrix.fail_fast,
                max_parallel: matrix.max_parallel.map(|most| most as usize),
            });
            planned.definition.groups.len() - 1
        });
        let needs = job.depends_on.iter().flat_map(|need| match legs_of.get(need.name.as_str()) {
            Some(names) => names.clone(),
            // The graph says that it is unknown.
            None => vec![need.name.clone()],
        });
        let needs: Vec<String> = needs.collect();
        for values in combinations {
            let name = leg_name(&job.name, &values);
            planned.definition.jobs.push(planned_job(pipeline, job, name, needs.clone(), group));
            planned.legs.push(Leg { job: at, values });
        }
    }
    Ok(planned)
}

fn planned_job(pipeline: &Pipeline, job: &Job, name: String, needs: Vec<String>, group: Option<usize>) -> PlannedJob {
    let start = if job.conditional.is_some() { StartCondition::Decided } else { StartCondition::OnSuccess };
    let max = job.retry_count.unwrap_or(pipeline.retry_policy.max_attempts.saturating_sub(1));
    PlannedJob {
        start,
        retry: RetryRule { max, ..RetryRule::default() },
        timeout: Some(Duration::from_secs(job.timeout.into())),
        group,
        estimate: job.estimated_duration.map(|seconds| Duration::from_secs(seconds.into())),
        resources: ResourceRequest {
            cpu_millis: job.resources.cpu,
            memory: job.resources.memory,
            disk: job.resources.disk,
        },
        ..PlannedJob::new(name, "", Waits::Jobs(needs))
    }
}

fn leg_name(job: &str, values: &Combination) -> String {
    if values.is_empty() {
        return job.to_owned();
    }
    let values: Vec<&str> = values.iter().map(|(_, value)| value.as_str()).collect();
    format!("{job} ({})", values.join(", "))
}

/// All combinations of the axes, without those excluded, and those included after them.
fn combinations(matrix: &Matrix, job: &Job, hierarchy: &Hierarchy) -> Result<Vec<Combination>, String> {
    let mut all = vec![Combination::new()];
    for (axis, values) in &matrix.axes {
        let values = axis_values(axis, values, job, hierarchy)?;
        if all.len().saturating_mul(values.len()) > MAX_LEGS {
            return Err(format!("the matrix has more than {MAX_LEGS} combinations"));
        }
        let extend = |combination: &Combination| {
            let with = |value: &String| {
                let mut combination = combination.clone();
                combination.push((axis.clone(), value.clone()));
                combination
            };
            values.iter().map(with).collect::<Vec<_>>()
        };
        all = all.iter().flat_map(extend).collect();
    }
    if matrix.axes.is_empty() {
        all.clear();
    }
    all.retain(|combination| {
        !matrix.exclude.iter().any(|out| !out.is_empty() && out.iter().all(|pair| combination.contains(pair)))
    });
    all.extend(matrix.include.iter().filter(|added| !added.is_empty()).cloned());
    Ok(all)
}

fn axis_values(axis: &str, values: &Axis, job: &Job, hierarchy: &Hierarchy) -> Result<Vec<String>, String> {
    let text = match values {
        Axis::Values(values) => return Ok(values.clone()),
        Axis::Expression(text) => text,
    };
    let mut hierarchy = hierarchy.clone();
    for (name, value) in &job.environment {
        hierarchy.set(Source::Job, name.as_str(), value.as_str());
    }
    let nothing = Object::default();
    let parsed = Text::parse(text, Style::Value).map_err(|errors| first(&errors))?;
    let [Segment::Expr { expr, .. }] = parsed.segments.as_slice() else {
        return Err(format!("the axis `{axis}` is a list, or one expression that makes a list"));
    };
    let resolver = Resolver::new(&hierarchy, &nothing, false, Budget::default());
    let value = resolver.evaluate(expr).map_err(|error| error.message)?;
    // A list as JSON in a variable is one too.
    let value = match &value {
        Value::Text(text) => serde_json::from_str(text).map_or_else(|_| value.clone(), |json| from_json(&json)),
        _ => value,
    };
    match value.as_array() {
        Some(items) if items.iter().all(Value::is_primitive) => {
            Ok(items.iter().map(|item| item.to_text().to_string()).collect())
        }
        _ => Err(format!("the axis `{axis}` is a list, and `{text}` makes {}", value.kind())),
    }
}

fn first(errors: &[crate::parser::variables::VariableError]) -> String {
    errors.first().map(|error| error.message.clone()).unwrap_or_default()
}
