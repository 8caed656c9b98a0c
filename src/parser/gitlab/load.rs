//! From a file to what is wanted of it.

use std::sync::Arc;

use super::compose::{self, ComposeContext, Composed, Given, IncludeVariable, Remote};
use super::config::{self, Completeness, Configuration};
use super::downstream::{self, Reading};
use super::pipeline::scope::Shared;
use super::pipeline::variables::Variable;
use super::pipeline::{Pipeline, PipelineContext, circles, create};
use crate::parser::diagnostics::Checked;
use crate::parser::document::Files;

/// How a file is read.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Values of the root file's inputs, as text.
    pub inputs: Vec<(String, String)>,
    /// What to do about includes that cannot be had.
    pub unavailable: compose::Unavailable,
    /// Which event the rules of includes are asked for.
    pub event: compose::Event,
    /// The forge's limits.
    pub limits: compose::ForgeLimits,
    /// The root file's YAML, where it was read before.
    pub ahead: Option<compose::ReadAhead>,
}

/// A configuration that was put together and checked.
#[derive(Debug)]
pub struct Loaded {
    /// The tree.
    pub composed: Composed,
    /// What it says.
    pub configuration: Arc<Configuration>,
}

/// Reads and checks the configuration at `path`. No rule is evaluated but those of includes.
pub fn check(
    path: &str,
    files: &dyn Files,
    remote: &dyn Remote,
    options: &LoadOptions,
    context: &PipelineContext,
) -> Checked<Loaded> {
    let mut checked = read(path, files, remote, options, context);
    if let Some(loaded) = &checked.value {
        circles::check(&loaded.configuration, &mut checked.diagnostics);
    }
    checked
}

fn read(
    path: &str,
    files: &dyn Files,
    remote: &dyn Remote,
    options: &LoadOptions,
    context: &PipelineContext,
) -> Checked<Loaded> {
    let compose_context = compose_context(options, context, false);
    checked(compose::compose(path, files, remote, &compose_context))
}

pub(super) fn checked(composed: Checked<Composed>) -> Checked<Loaded> {
    let Checked { value, mut diagnostics, sources } = composed;
    let loaded = value.and_then(|composed| {
        let completeness = if composed.incomplete { Completeness::Part } else { Completeness::Whole };
        let configuration = config::check_as(&composed.known(), completeness, &mut diagnostics)?;
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
    let Checked { value, mut diagnostics, sources } = read(path, files, remote, options, context);
    if diagnostics.has_errors() {
        return Checked { value: None, diagnostics, sources };
    }
    let pipeline = value.map(|loaded| {
        let mut pipeline = create(loaded.configuration, Arc::new(context.clone()), files, &mut diagnostics);
        downstream::create_children(&mut pipeline, Reading { files, remote, options }, &mut diagnostics);
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
        event: options.event,
        limits: options.limits,
        ahead: options.ahead.clone(),
    }
}
