//! A pipeline to the model's jobs.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::model::{Axis, AxisValues, Combination, Job, Matrix, Pipeline};
use crate::parser::document::Span;
use crate::parser::expression::{Budget, Object, Value, from_json};
use crate::parser::variables::{Hierarchy, Resolver, Segment, Source, Style, Text, VariableError};
use crate::pipeline::{JobGroup, PipelineDefinition, PlannedJob, RetryRule, StartCondition, Waits};

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

/// What keeps a pipeline from being planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanProblem {
    /// The place of the job in [`Pipeline::jobs`].
    pub job: usize,
    /// Where it stands in the file.
    pub span: Span,
    /// What it is.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Plans a pipeline: a job for each combination of its matrix, called `job (a, b)`. A job that waits for one with a matrix waits for
/// all its legs. `hierarchy`: the variables of all jobs ([`Run::hierarchy`](super::run::Run::hierarchy)).
///
/// # Errors
/// The jobs whose matrix cannot be taken apart, and why.
pub fn plan(pipeline: &Pipeline, hierarchy: &Hierarchy) -> Result<Planned, Vec<PlanProblem>> {
    let mut planned = Planned::default();
    planned.definition.name.clone_from(&pipeline.name);
    planned.definition.timeout = Some(Duration::from_secs(pipeline.timeout.into()));
    planned.definition.limits = pipeline.limits.request();
    let mut legs_of: HashMap<&str, Vec<String>> = HashMap::new();
    let mut jobs = Vec::with_capacity(pipeline.jobs.len());
    let mut problems = Vec::new();
    for (at, job) in pipeline.jobs.iter().enumerate() {
        let combinations = match &job.matrix {
            Some(matrix) => combinations(matrix, job, hierarchy).unwrap_or_else(|(span, message, help)| {
                problems.push(PlanProblem { job: at, span, message, help });
                Vec::new()
            }),
            None => vec![Combination::new()],
        };
        let names = combinations.iter().map(|values| leg_name(&job.name, values)).collect();
        legs_of.insert(&job.name, names);
        jobs.push(combinations);
    }
    if !problems.is_empty() {
        return Err(problems);
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
        resources: job.resources.request(),
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

/// Where something is wrong, what, and what to do about it.
pub(super) type Wrong = (Span, String, Option<String>);

/// All combinations of the axes, without those excluded, and those included after them.
fn combinations(matrix: &Matrix, job: &Job, hierarchy: &Hierarchy) -> Result<Vec<Combination>, Wrong> {
    let mut all = vec![Combination::new()];
    for axis in &matrix.axes {
        let values = axis_values(axis, job, hierarchy).map_err(|(message, help)| (axis.span, message, help))?;
        if let Some(twice) = twice(&values) {
            let message = format!("the axis `{}` has the value `{twice}` twice", axis.name);
            return Err((axis.span, message, Some("remove one of them: both would make the same job".to_owned())));
        }
        if all.len().saturating_mul(values.len()) > MAX_LEGS {
            let message = format!("the matrix has more than {MAX_LEGS} combinations");
            return Err((axis.span, message, Some("take values away, or make it several jobs".to_owned())));
        }
        let extend = |combination: &Combination| {
            let with = |value: &String| {
                let mut combination = combination.clone();
                combination.push((axis.name.clone(), value.clone()));
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
    let mut names: HashSet<String> = all.iter().map(|values| leg_name("", values)).collect();
    // What is there already is not added again.
    let added = matrix.include.iter().filter(|added| !added.is_empty() && names.insert(leg_name("", added)));
    all.extend(added.cloned().collect::<Vec<_>>());
    if all.is_empty() {
        let message = "`exclude` takes every combination of the matrix away".to_owned();
        return Err((matrix.span, message, Some("leave one, or remove the job".to_owned())));
    }
    Ok(all)
}

/// What is wrong with a matrix that is all written out.
pub(super) fn impossible(matrix: &Matrix) -> Option<Wrong> {
    let literal = |axis: &Axis| matches!(&axis.values, AxisValues::Values(values) if !values.iter().any(|value| value.contains("${")));
    if matrix.exclude.is_empty() && matrix.axes.len() < 2 || !matrix.axes.iter().all(literal) {
        return None;
    }
    // Values that come twice are told where they stand.
    let job = Job::bare("", matrix.span);
    combinations(matrix, &job, &Hierarchy::new()).err().filter(|(_, message, _)| !message.ends_with(" twice"))
}

/// The first value that comes a second time.
fn twice(values: &[String]) -> Option<&String> {
    let mut seen = HashSet::with_capacity(values.len());
    values.iter().find(|value| !seen.insert(value.as_str()))
}

fn axis_values(axis: &Axis, job: &Job, hierarchy: &Hierarchy) -> Result<Vec<String>, (String, Option<String>)> {
    let text = match &axis.values {
        AxisValues::Values(values) if !values.iter().any(|value| value.contains("${")) => return Ok(values.clone()),
        AxisValues::Values(values) => {
            let hierarchy = with_job(hierarchy, job);
            return values.iter().map(|value| resolved(value, &hierarchy)).collect();
        }
        AxisValues::Expression(text) => text,
    };
    let name = &axis.name;
    let hierarchy = with_job(hierarchy, job);
    let nothing = Object::default();
    let parsed = Text::parse(text, Style::Value).map_err(first)?;
    let resolver = Resolver::new(&hierarchy, &nothing, false, Budget::default());
    let value = match parsed.segments.as_slice() {
        [Segment::Expr { expr, .. }] => resolver.evaluate(expr).map_err(|error| first(vec![error]))?,
        [Segment::Reference { .. }] => resolver.resolve(&parsed).map_err(first)?.into(),
        _ => return Err((format!("the axis `{name}` is a list, or one expression that makes a list"), None)),
    };
    // A list as JSON in a variable is one too.
    let value = match &value {
        Value::Text(text) => serde_json::from_str(text).map_or_else(|_| value.clone(), |json| from_json(&json)),
        _ => value,
    };
    let help = || Some("make a list of it: `${{ env.NAME.split(',') }}`, or write the values out".to_owned());
    match value.as_array() {
        Some([]) => Err((format!("the axis `{name}` is empty: `{text}` makes a list without values"), help())),
        Some(items) if items.iter().all(Value::is_primitive) => {
            Ok(items.iter().map(|item| item.to_text().to_string()).collect())
        }
        Some(_) => {
            Err((format!("the axis `{name}` is a list of single values, and `{text}` makes lists in it"), help()))
        }
        None => Err((format!("the axis `{name}` is a list, and `{text}` makes {}", value.kind()), help())),
    }
}

/// The variables of a job.
fn with_job(hierarchy: &Hierarchy, job: &Job) -> Hierarchy {
    let mut hierarchy = hierarchy.clone();
    for (name, value) in &job.environment {
        hierarchy.set(Source::Job, name.as_str(), value.as_str());
    }
    hierarchy
}

fn resolved(text: &str, hierarchy: &Hierarchy) -> Result<String, (String, Option<String>)> {
    let nothing = Object::default();
    let parsed = Text::parse(text, Style::Value).map_err(first)?;
    Resolver::new(hierarchy, &nothing, false, Budget::default()).resolve(&parsed).map_err(first)
}

fn first(errors: Vec<VariableError>) -> (String, Option<String>) {
    errors.into_iter().next().map(|error| (error.message, error.help)).unwrap_or_default()
}
