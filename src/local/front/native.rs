//! `forgehand.yml`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Expand, Planned, codes, graph_of};
use crate::local::choice::{self, Choice};
use crate::local::project::{PipelineFile, Project};
use crate::local::request::Request;
use crate::local::surroundings::Surroundings;
use crate::parser::diagnostics::{Checked, Diagnostic, Diagnostics, did_you_mean};
use crate::parser::document::{FileId, Limits, Merge, Options, Span, read as read_document};
use crate::parser::native::model::Event;
use crate::parser::native::run::{Run, Values};
use crate::parser::native::start::{EVENTS, Occasion, start};
use crate::parser::native::{self, Given, Pipeline, expand as expanded, inspect, plan as plan_jobs};
use crate::pipeline::{PipelineDefinition, PlannedJob, Waits};

/// The file by itself, its dependencies among what is checked.
pub(super) fn lint(_: &Project, file: &PipelineFile) -> Checked<()> {
    let Checked { value, diagnostics, sources } = checked(file, &Given::default());
    Checked { value: value.map(drop), diagnostics, sources }
}

/// The jobs of the run that the request starts.
pub(super) fn plan(project: &Project, file: &PipelineFile, request: &Request) -> Checked<Planned> {
    let surroundings = Surroundings::of(project, request);
    let Checked { value, mut diagnostics, sources } = begin(file, &surroundings);
    let Some(begun) = value else { return Checked { value: None, diagnostics, sources } };
    let pipeline = Arc::clone(begun.run.pipeline());
    let mut notes = Vec::new();
    let planned = match begun.refused {
        Some(reason) => {
            notes.push(format!("{} does not start: {reason}", file.path));
            native::Planned::default()
        }
        None => {
            let foreseen = begun.run.foresee(begun.planned);
            for (job, problem) in foreseen.problems {
                let Some(job) = pipeline.jobs.get(job) else { continue };
                let message = format!("job `{}`: `conditional`: {problem}", job.name);
                diagnostics.push(Diagnostic::error(codes::UNEVALUATED, job.conditional_span, message));
            }
            notes.extend(foreseen.left_out.iter().map(|out| format!("job `{}` is left out: {}", out.name, out.reason)));
            foreseen.planned
        }
    };
    let mut planned = planned;
    planned.definition.name.clone_from(&pipeline.name);
    let place = places(&pipeline, &planned);
    let details = details(&pipeline, &planned);
    let details = Box::new(move |_: &PipelineDefinition| details.clone());
    let value = Planned { definition: planned.definition, place, details, notes };
    Checked { value: Some(value), diagnostics, sources }
}

/// A run that is about to begin.
#[derive(Debug)]
pub struct Begun {
    /// All jobs, those that conditions may yet leave out among them; none where `refused`.
    pub planned: native::Planned,
    /// What decides and works out the rest, job by job and step by step.
    pub run: Run,
    /// Why the event does not start the pipeline, one sentence.
    pub refused: Option<String>,
}

impl Begun {
    /// Leaves only the jobs that were asked for.
    ///
    /// # Errors
    /// A name or a value that no job has.
    pub fn narrow(&mut self, choice: &Choice<'_>) -> Result<(), String> {
        let native::Planned { definition, legs } = &mut self.planned;
        let row = |job: usize| -> Vec<(&str, &str)> {
            let values = legs.get(job).map(|leg| leg.values.as_slice()).unwrap_or_default();
            values.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
        };
        let kept = choice.among(definition, row)?;
        let mut keeps = kept.iter();
        legs.retain(|_| keeps.next().copied().unwrap_or(false));
        choice::keep(definition, &kept);
        Ok(())
    }
}

/// The run that the surroundings' request starts. A value is there only where there is no error.
pub fn begin_native(file: &PipelineFile, surroundings: &Surroundings) -> Checked<Begun> {
    match super::no_text(file) {
        Some(finding) => super::refused(file, finding),
        None => begin(file, surroundings),
    }
}

/// Reads, checks and plans; what the event refuses has no jobs.
fn begin(file: &PipelineFile, surroundings: &Surroundings) -> Checked<Begun> {
    let occasion = match occasion(surroundings) {
        Ok(occasion) => occasion,
        Err(finding) => return super::refused(file, finding),
    };
    let request = &surroundings.request;
    let given = Given { runtime: request.variables.clone(), system: system(surroundings, &occasion) };
    let Checked { value, mut diagnostics, sources } = checked(file, &given);
    let Some(pipeline) = value.filter(|_| !diagnostics.has_errors()).map(Arc::new) else {
        return Checked { value: None, diagnostics, sources };
    };
    let values = Values {
        runtime: given.runtime,
        system: given.system,
        secrets: request.secrets.clone(),
        image: None,
        event: Some(occasion.event),
        git_ref: surroundings.full_ref(),
        commit: surroundings.commit().sha,
    };
    let run = Run::new(Arc::clone(&pipeline), &values);
    let changes = surroundings.changes();
    let changed = || changes.pushed();
    let of_file = Occasion {
        event: occasion.event,
        branch: occasion.branch.as_deref(),
        tag: occasion.tag.as_deref(),
        changed: &changed,
    };
    if let Err(reason) = start(&pipeline, &of_file) {
        let begun = Begun { planned: native::Planned::default(), run, refused: Some(reason) };
        return Checked { value: Some(begun), diagnostics, sources };
    }
    for (span, message, help) in run.missing() {
        diagnostics.push(Diagnostic::error(codes::UNSET, span, message).help(help));
    }
    if diagnostics.has_errors() {
        return Checked { value: None, diagnostics, sources };
    }
    let value = match plan_jobs(&pipeline, run.hierarchy()) {
        Ok(planned) => Some(Begun { planned, run, refused: None }),
        Err(problems) => {
            for problem in problems {
                let job = pipeline.jobs.get(problem.job).map_or("", |job| job.name.as_str());
                let message = format!("job `{job}`: {}", problem.message);
                diagnostics.push(Diagnostic::error(codes::UNEVALUATED, problem.span, message).maybe_help(problem.help));
            }
            None
        }
    };
    Checked { value, diagnostics, sources }
}

/// What happened, in the words of the request and the checkout.
struct Happened {
    event: Event,
    /// The branch that triggers are asked about.
    branch: Option<String>,
    tag: Option<String>,
    /// What `BRANCH_NAME` says.
    name: String,
}

fn occasion(surroundings: &Surroundings) -> Result<Happened, Diagnostic> {
    let full_ref = surroundings.full_ref();
    let tag = full_ref.strip_prefix("refs/tags/").map(str::to_owned);
    let branch = full_ref.strip_prefix("refs/heads/").map(str::to_owned);
    let word = surroundings.request.event.as_deref().unwrap_or("push");
    let Some((_, event)) = EVENTS.iter().find(|(name, _)| *name == word) else {
        let names = EVENTS.iter().map(|(name, _)| *name);
        let listed = names.clone().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let help = did_you_mean(word, names).unwrap_or_else(|| format!("the events are {listed}"));
        let message = format!("there is no event `{word}` in this language");
        return Err(Diagnostic::error(codes::BAD_REQUEST, Span::start_of(FileId::default()), message).help(help));
    };
    let event = if *event == Event::Push && tag.is_some() { Event::Tag } else { *event };
    let name = branch.clone().or_else(|| tag.clone()).unwrap_or(full_ref);
    let branch = match event {
        Event::MergeRequest => Some(surroundings.default_branch().to_owned()),
        _ => branch,
    };
    Ok(Happened { event, branch, tag, name })
}

/// What the machine gives (docs/native.md, variables).
fn system(_: &Surroundings, occasion: &Happened) -> Vec<(String, String)> {
    let pairs = [("CI", "true"), ("BUILD_NUMBER", "1"), ("BRANCH_NAME", &occasion.name)];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// The pipeline, its dependencies checked; there as far as it can be read.
fn checked(file: &PipelineFile, given: &Given) -> Checked<Pipeline> {
    let Checked { value, mut diagnostics, sources } = inspect(&file.path, &file.text, given);
    if let Some(pipeline) = &value {
        dependencies(pipeline, &mut diagnostics);
    }
    Checked { value, diagnostics, sources }
}

/// Checks who waits for whom, in the names of the file.
fn dependencies(pipeline: &Pipeline, diagnostics: &mut Diagnostics) {
    let planned = |job: &native::model::Job| {
        let needs = job.depends_on.iter().map(|need| need.name.clone()).collect();
        PlannedJob {
            estimate: job.estimated_duration.map(|seconds| Duration::from_secs(seconds.into())),
            resources: job.resources.request(),
            ..PlannedJob::new(job.name.as_str(), "", Waits::Jobs(needs))
        }
    };
    let jobs = pipeline.jobs.iter().map(planned).collect();
    let definition = PipelineDefinition {
        jobs,
        timeout: Some(Duration::from_secs(pipeline.timeout.into())),
        limits: pipeline.limits.request(),
        ..PipelineDefinition::default()
    };
    let place = places_of(pipeline.jobs.iter().map(|job| (job.name.as_str(), job)));
    if let Some(graph) = graph_of(&definition, &*place, diagnostics) {
        super::fit::check(&definition, &graph, &*place, diagnostics);
    }
}

/// The pipeline with its defaults written out. Values stay as they are written, so no secret can show.
pub(super) fn expand(_: &Project, file: &PipelineFile, request: &Request, how: &Expand) -> Checked<String> {
    let given = Given { runtime: request.variables.clone(), system: Vec::new() };
    let Checked { value, mut diagnostics, sources } = checked(file, &given);
    let options = Options { merge: Merge::Standard, limits: Limits::default() };
    let root = read_document(FileId::default(), &file.text, options).ok().and_then(|all| all.into_iter().next());
    let value = value.filter(|_| !diagnostics.has_errors()).zip(root).and_then(|(pipeline, root)| {
        let names = pipeline.jobs.iter().map(|job| job.name.as_str());
        if let Some(unknown) = how.jobs.iter().find(|name| !names.clone().any(|known| known == name.as_str())) {
            diagnostics.push(super::unknown_job(unknown, names));
            return None;
        }
        expanded(&root, &pipeline, &how.jobs)
    });
    Checked { value, diagnostics, sources }
}

/// What there is to say of each job beyond its place.
fn details(pipeline: &Pipeline, planned: &native::Planned) -> Map<String, Value> {
    let detail = |(job, leg): (&PlannedJob, &native::Leg)| {
        let mut all = Map::new();
        let of = pipeline.jobs.get(leg.job)?;
        if !leg.values.is_empty() {
            all.insert("of".to_owned(), json!(of.name));
            all.insert(
                "matrix".to_owned(),
                leg.values.iter().map(|(axis, value)| (axis.clone(), json!(value))).collect(),
            );
        }
        if let Some(condition) = &of.conditional {
            all.insert("conditional".to_owned(), json!(condition));
        }
        Some((job.name.clone(), Value::Object(all)))
    };
    planned.definition.jobs.iter().zip(&planned.legs).filter_map(detail).collect()
}

/// Where jobs and their needs stand, by the names of the legs.
fn places(pipeline: &Pipeline, planned: &native::Planned) -> Box<super::Place> {
    let legs = planned.definition.jobs.iter().zip(&planned.legs);
    places_of(legs.filter_map(|(planned, leg)| Some((planned.name.as_str(), pipeline.jobs.get(leg.job)?))))
}

fn places_of<'a>(named: impl Iterator<Item = (&'a str, &'a native::model::Job)>) -> Box<super::Place> {
    let mut jobs: HashMap<String, (Span, HashMap<String, Span>)> = HashMap::new();
    for (name, job) in named {
        let needs = job.depends_on.iter().map(|need| (need.name.clone(), need.span)).collect();
        jobs.insert(name.to_owned(), (job.span, needs));
    }
    Box::new(move |job, need| {
        let (span, needs) = jobs.get(job)?;
        match need {
            Some(need) => needs.get(need).copied(),
            None => Some(*span),
        }
    })
}

#[cfg(test)]
mod tests;
