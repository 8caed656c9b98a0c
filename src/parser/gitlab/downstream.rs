//! Child pipelines: those that jobs with `trigger: include` start.

use std::sync::Arc;

use serde_json::{Value, json};

use super::compose::{self, Remote, Unavailable};
use super::config::model::{Trigger, TriggerInclude, TriggerTarget};
use super::load::{LoadOptions, checked, compose_context};
use super::pipeline::context::Source;
use super::pipeline::job_variables::of_trigger;
use super::pipeline::response::to_json;
use super::pipeline::variables::{Collection, Expansion, Variable};
use super::pipeline::{CreatedJob, Pipeline, PipelineContext, codes, create, of_file};
use crate::parser::diagnostics::{Checked, Diagnostic, Diagnostics, Severity};
use crate::parser::document::Files;

/// Levels of child pipelines that the server starts below a pipeline.
pub const DEEPEST: u32 = 2;

/// What a child pipeline is read with.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    /// The project's files.
    pub files: &'a dyn Files,
    /// Files from elsewhere, artifacts of jobs among them.
    pub remote: &'a dyn Remote,
    /// How files are read. Inputs are the trigger's own.
    pub options: &'a LoadOptions,
}

/// Creates the children that can be made before any job has run; what cannot is a note.
pub(super) fn create_children(pipeline: &mut Pipeline, reading: Reading<'_>, diagnostics: &mut Diagnostics) {
    children(pipeline, reading, 1, diagnostics);
}

fn children(pipeline: &mut Pipeline, reading: Reading<'_>, depth: u32, diagnostics: &mut Diagnostics) {
    let configuration = pipeline.configuration.clone();
    let is_bridge =
        |job: &&CreatedJob| configuration.jobs.as_slice().get(job.source).is_some_and(|job| job.is_bridge());
    let jobs: Vec<CreatedJob> = pipeline.jobs.iter().filter(is_bridge).cloned().collect();
    for created in jobs {
        let Some(trigger) = pipeline.source(&created).and_then(|job| job.trigger()).cloned() else { continue };
        if matches!(trigger.target, TriggerTarget::Project { .. }) {
            continue;
        }
        let mut found = Diagnostics::new();
        let child = child(pipeline, &created, reading, Place { depth, reports: &[] }, &mut found);
        match child {
            Ok(mut child) => {
                if depth < DEEPEST {
                    children(&mut child, reading, depth + 1, &mut found);
                }
                for finding in found {
                    let message = format!("in the child pipeline of `{}`: {}", created.name, finding.message);
                    diagnostics.push(Diagnostic { span: trigger.span, message, related: Vec::new(), ..finding });
                }
                pipeline.children.insert(created.name.clone(), child);
            }
            Err(problem) => {
                let message = format!("the child pipeline of `{}` cannot be made: {problem}", created.name);
                diagnostics.push(Diagnostic::note(codes::CHILD, trigger.span, message));
            }
        }
    }
}

/// Where a child pipeline begins.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// How many pipelines are above it.
    pub depth: u32,
    /// The variables of the reports that the job that starts it is given.
    pub reports: &'a [Variable],
}

/// The child that a job starts now. What is found in it goes to `found`; the places are those of its own files.
///
/// # Errors
/// Why there is none, a sentence.
pub fn child(
    pipeline: &Pipeline,
    created: &CreatedJob,
    reading: Reading<'_>,
    place: Place<'_>,
    found: &mut Diagnostics,
) -> Result<Pipeline, String> {
    if place.depth > DEEPEST {
        return Err("the server starts two levels of child pipelines, and this is a third".to_owned());
    }
    let source = pipeline.source(created);
    let Some((job, trigger)) = source.and_then(|job| Some((job, job.trigger()?.clone()))) else {
        return Err("the job starts nothing".to_owned());
    };
    let TriggerTarget::Include(includes) = &trigger.target else {
        return Err("it is a pipeline of another project".to_owned());
    };
    let known = of_trigger(pipeline, created, job, place.reports);
    let context = child_context(pipeline, created, &trigger, &known, place.reports);
    let options = LoadOptions { inputs: Vec::new(), unavailable: Unavailable::Error, ..reading.options.clone() };
    let (known, _circle) = known.sort_and_expand_all(Expansion::FULL);
    let text = root_text(includes, &trigger, &known).to_string();
    let name = format!("trigger of {}", created.name);
    let compose_context = compose_context(&options, &context, true);
    let composed = compose::compose_bytes(&name, text.as_bytes(), reading.files, reading.remote, &compose_context);
    let Checked { value, diagnostics, .. } = checked(composed);
    if let Some(error) = diagnostics.iter().find(|found| found.severity == Severity::Error) {
        return Err(error.message.clone());
    }
    let loaded = value.ok_or("its configuration is empty")?;
    let child = create(loaded.configuration, Arc::new(context), reading.files, found);
    match found.iter().find(|found| found.severity == Severity::Error) {
        Some(error) => Err(error.message.clone()),
        None => Ok(child),
    }
}

/// The configuration of a child: it includes what the trigger names, as on the server.
///
/// Source: gitlabhq `app/models/ci/bridge.rb`, `yaml_for_downstream`.
fn root_text(includes: &[TriggerInclude], trigger: &Trigger, known: &Collection) -> Value {
    let is_alone = includes.len() == 1;
    let all = includes.iter().map(|include| {
        let mut item = expanded(to_json(&include.node), known);
        if let Some(inputs) = trigger.inputs.as_ref().filter(|_| is_alone && include.inputs.is_none()) {
            if item.is_string() {
                let word = if item.as_str().is_some_and(|text| text.contains("://")) { "remote" } else { "local" };
                item = json!({ word: item });
            }
            item["inputs"] = expanded(to_json(inputs), known);
        }
        item
    });
    json!({ "include": all.collect::<Vec<_>>() })
}

fn expanded(value: Value, known: &Collection) -> Value {
    let how = Expansion { keep_undefined: true, ..Expansion::FULL };
    match value {
        Value::String(text) => Value::String(known.expand_text(&text, how).into_owned()),
        Value::Array(items) => items.into_iter().map(|item| expanded(item, known)).collect(),
        Value::Object(entries) => {
            Value::Object(entries.into_iter().map(|(key, value)| (key, expanded(value, known))).collect())
        }
        other => other,
    }
}

/// What a child pipeline is created for: the parent's commit and ref, and the variables that the trigger hands down. Their
/// references are replaced once; what is left in the values is the child's.
///
/// Source: gitlabhq `lib/gitlab/ci/variables/downstream/generator.rb`.
fn child_context(
    pipeline: &Pipeline,
    created: &CreatedJob,
    trigger: &Trigger,
    known: &Collection,
    reports: &[Variable],
) -> PipelineContext {
    let mut context = (*pipeline.context).clone();
    context.source = Source::ParentPipeline;
    // Every trigger that is meant for it hands it down by this name; here it is known anyway.
    let mut handed = vec![Variable::public("PARENT_PIPELINE_ID", context.ids.id.to_string())];
    if trigger.forward_yaml_variables != Some(false)
        && let Some(job) = pipeline.source(created)
    {
        handed.extend(of_file(&pipeline.shared, job, created));
    }
    if trigger.forward_pipeline_variables == Some(true) {
        let outside = &context.variables;
        handed.extend(reports.iter().chain(&outside.pipeline).chain(&outside.schedule).cloned());
    }
    for variable in handed.iter_mut().filter(|variable| !variable.raw) {
        variable.value = known.expand_text(&variable.value, Expansion::FULL).into();
    }
    context.variables.pipeline = handed;
    context.variables.schedule = Vec::new();
    context
}
