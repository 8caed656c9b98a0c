//! From a file to what is wanted of it.

use std::sync::Arc;

use super::compose::{self, ComposeContext, Composed, Given, IncludeVariable, Remote};
use super::config::model::{IncludeSource, TriggerInclude, TriggerTarget};
use super::config::{self, Completeness, Configuration};
use super::pipeline::context::Source;
use super::pipeline::scope::Shared;
use super::pipeline::variables::Variable;
use super::pipeline::{Pipeline, PipelineContext, codes, create};
use crate::parser::diagnostics::{Checked, Diagnostic, Diagnostics};
use crate::parser::document::Files;
use crate::parser::expression::gitlab::Lookup;

/// How a file is read.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Values of the root file's inputs, as text.
    pub inputs: Vec<(String, String)>,
    /// What to do about includes that cannot be had.
    pub unavailable: compose::Unavailable,
    /// The forge's limits.
    pub limits: compose::ForgeLimits,
}

/// A configuration that was put together and checked.
#[derive(Debug)]
pub struct Loaded {
    /// The tree.
    pub composed: Composed,
    /// What it says.
    pub configuration: Arc<Configuration>,
}

/// Levels of child pipelines that the server starts below a pipeline.
const DEEPEST_CHILD: u32 = 2;

/// Reads and checks the configuration at `path`. No rule is evaluated but those of includes.
pub fn check(
    path: &str,
    files: &dyn Files,
    remote: &dyn Remote,
    options: &LoadOptions,
    context: &PipelineContext,
) -> Checked<Loaded> {
    let compose_context = compose_context(options, context, false);
    checked(compose::compose(path, files, remote, &compose_context))
}

fn checked(composed: Checked<Composed>) -> Checked<Loaded> {
    let Checked { value, mut diagnostics, sources } = composed;
    let loaded = value.and_then(|composed| {
        let completeness = if composed.incomplete { Completeness::Part } else { Completeness::Whole };
        let configuration = config::check_as(&composed.root, completeness, &mut diagnostics)?;
        Some(Loaded { composed, configuration: Arc::new(configuration) })
    });
    Checked { value: loaded, diagnostics, sources }
}

/// The pipeline that `context` creates from the configuration at `path`, child pipelines in it. No value where the
/// configuration has errors.
pub fn load(
    path: &str,
    files: &dyn Files,
    remote: &dyn Remote,
    options: &LoadOptions,
    context: &PipelineContext,
) -> Checked<Pipeline> {
    let Checked { value, mut diagnostics, sources } = check(path, files, remote, options, context);
    if diagnostics.has_errors() {
        return Checked { value: None, diagnostics, sources };
    }
    let pipeline = value.map(|loaded| {
        let mut pipeline = create(loaded.configuration, Arc::new(context.clone()), files, &mut diagnostics);
        children(&mut pipeline, files, remote, options, 1, &mut diagnostics);
        pipeline
    });
    Checked { value: pipeline, diagnostics, sources }
}

/// What includes and inputs can see.
pub fn compose_context(options: &LoadOptions, context: &PipelineContext, is_child: bool) -> ComposeContext {
    let shared = Shared::new(context, Vec::new());
    let variable = |variable: &Variable| {
        (variable.key.to_string(), IncludeVariable { value: variable.value.to_string(), masked: variable.masked })
    };
    ComposeContext {
        variables: shared.under.iter().chain(&shared.over).map(variable).collect(),
        inputs: options.inputs.iter().map(|(name, value)| (name.clone(), Given::Text(value.clone()))).collect(),
        changes: context.changes.changed(),
        is_child,
        unavailable: options.unavailable,
        limits: options.limits,
    }
}

/// Creates the pipelines that jobs start from files of this project.
fn children(
    pipeline: &mut Pipeline,
    files: &dyn Files,
    remote: &dyn Remote,
    options: &LoadOptions,
    depth: u32,
    diagnostics: &mut Diagnostics,
) {
    let configuration = pipeline.configuration.clone();
    let jobs: Vec<_> = pipeline
        .jobs
        .iter()
        .filter(|job| configuration.jobs.as_slice().get(job.source).is_some_and(|job| job.is_bridge()))
        .cloned()
        .collect();
    for created in jobs {
        let Some(trigger) = pipeline.source(&created).and_then(|job| job.trigger()).cloned() else { continue };
        let TriggerTarget::Include(includes) = &trigger.target else { continue };
        let Some(path) = local_path(includes) else {
            let message = format!(
                "the pipeline that `{}` starts is not made here: its files are not in this project",
                created.name
            );
            diagnostics.push(Diagnostic::note(codes::CHILD, trigger.span, message));
            continue;
        };
        if depth > DEEPEST_CHILD {
            let message = format!(
                "`{}` starts a child pipeline of a child of a child: the server starts two levels",
                created.name
            );
            diagnostics.push(Diagnostic::error(codes::CHILD, trigger.span, message));
            continue;
        }
        let Some(scope) = pipeline.scope(&created) else { continue };
        let path = scope.expand(&path);
        let context = child_context(pipeline, &created, &trigger);
        let mut child_options = LoadOptions { inputs: Vec::new(), ..options.clone() };
        if let Some(inputs) = includes.iter().find_map(|include| include.inputs.as_ref()).or(trigger.inputs.as_ref()) {
            child_options.inputs = given(inputs, &scope);
        }
        let compose_context = compose_context(&child_options, &context, true);
        let Checked { value, diagnostics: found, .. } =
            checked(compose::compose(path.trim_start_matches('/'), files, remote, &compose_context));
        if let Some(error) = found.iter().find(|found| found.severity == crate::parser::diagnostics::Severity::Error) {
            let message =
                format!("the child pipeline of `{}`, `{path}`, cannot be made: {}", created.name, error.message);
            diagnostics.push(Diagnostic::note(codes::CHILD, trigger.span, message));
            continue;
        }
        let Some(loaded) = value else { continue };
        let mut found = Diagnostics::new();
        let mut child = create(loaded.configuration, Arc::new(context), files, &mut found);
        children(&mut child, files, remote, options, depth + 1, &mut found);
        for finding in found {
            let message = format!("in the child pipeline of `{}`: {}", created.name, finding.message);
            diagnostics.push(Diagnostic { span: trigger.span, message, related: Vec::new(), ..finding });
        }
        pipeline.children.insert(created.name.clone(), child);
    }
}

/// The one local file of a child pipeline.
fn local_path(includes: &[TriggerInclude]) -> Option<String> {
    match includes {
        [TriggerInclude { source: IncludeSource::Local(path), .. }] => Some(path.to_string()),
        _ => None,
    }
}

fn given(
    inputs: &crate::parser::document::Node,
    scope: &super::pipeline::scope::JobScope<'_>,
) -> Vec<(String, String)> {
    let entries = inputs.as_mapping().map(|mapping| mapping.entries()).unwrap_or_default();
    let named = entries.iter().filter_map(|entry| {
        let key = entry.key.as_scalar()?.text.to_string();
        let value = match entry.value.as_scalar() {
            Some(scalar) => scope.expand(&scalar.text),
            None => super::pipeline::response::to_json(&entry.value).to_string(),
        };
        Some((key, value))
    });
    named.collect()
}

/// What a child pipeline is created for: the parent's commit and ref, and the variables that the trigger hands down.
fn child_context(
    pipeline: &Pipeline,
    created: &super::pipeline::CreatedJob,
    trigger: &super::config::model::Trigger,
) -> PipelineContext {
    let mut context = (*pipeline.context).clone();
    let parent = context.ids.id;
    context.source = Source::ParentPipeline;
    let mut handed: Vec<Variable> = Vec::new();
    if trigger.forward_pipeline_variables == Some(true) {
        handed.extend(context.variables.pipeline.iter().cloned());
    }
    if trigger.forward_yaml_variables != Some(false)
        && let Some((scope, job)) = pipeline.scope(created).zip(pipeline.source(created))
    {
        let own =
            job.variables.iter().chain(&created.rule_variables).flat_map(|list| list.list.iter().map(Variable::from));
        let root = pipeline.shared.root.iter().filter(|variable| job.inherit.variables.has(&variable.key)).cloned();
        for mut variable in root.chain(own) {
            if !variable.raw {
                variable.value = scope.expand(&variable.value).into();
            }
            handed.push(variable);
        }
    }
    handed.push(Variable::public("PARENT_PIPELINE_ID", parent.to_string()));
    debug_assert!(pipeline.shared.variable("CI").is_some());
    context.variables.pipeline = handed;
    context
}
