//! A pipeline as it runs: what is decided and worked out only then.
//!
//! How it is called:
//!
//! 1. [`Run::new`] once, from the [`Pipeline`] and the [`Values`] of this run; [`super::plan`] for its jobs, with
//!    [`Run::hierarchy`].
//! 2. [`Run::foresee`], for `plan`: the jobs without those whose `conditional` is false whatever the others do.
//! 3. Whenever a job has ended, [`Ended::add`] under its name in the file (`Pipeline::jobs[leg.job].name`), each leg of a matrix
//!    by itself.
//! 4. [`Run::decide`] for a job whose start is [`StartCondition::Decided`](crate::pipeline::StartCondition::Decided), once all that
//!    it waits for has ended.
//! 5. [`Run::job`] when it starts: image, services, caches, artifacts, deployment, variables.
//! 6. [`Run::step`] right before each step: commands, image, variables, folder, limits.
//!
//! The variables that these answer with are those of the process, weaker sources among them; they are masked where a secret went into
//! one. Commands, images and names never hold a secret: that is an error.

mod decide;
mod ended;
mod foresee;
mod scene;
mod settings;

use std::sync::Arc;

pub use decide::Decision;
pub use ended::{Ended, LegEnd};
pub use foresee::{Foreseen, LeftOut};
pub use settings::{JobSettings, ServiceSettings, StepSettings};

use super::condition::{Condition, conditions};
use super::declared;
use super::model::{DEFAULT_IMAGE, Event, Pipeline};
use crate::parser::document::Span;
use crate::parser::expression::{Object, Value};
use crate::parser::variables::{Hierarchy, Source, VariableError};
use crate::pipeline::Secret;

/// What a run is given.
#[derive(Clone, Debug, Default)]
pub struct Values {
    /// `--var`.
    pub runtime: Vec<(String, String)>,
    /// Variables of the machine: `CI`, `BUILD_NUMBER`, `BRANCH_NAME`.
    pub system: Vec<(String, String)>,
    /// `--secret`.
    pub secrets: Vec<(String, Secret)>,
    /// The image of steps for which neither step nor job names one; `None`: the language's.
    pub image: Option<String>,
    /// What started it.
    pub event: Option<Event>,
    /// The full ref, `refs/heads/main`.
    pub git_ref: String,
    /// The commit.
    pub commit: String,
}

/// A run of a pipeline.
#[derive(Debug)]
pub struct Run {
    pipeline: Arc<Pipeline>,
    /// Of all jobs: what is given, `global_env`, the machine's.
    base: Hierarchy,
    secrets: Object,
    about: Object,
    image: String,
    conditions: Vec<Option<Result<Condition, String>>>,
}

/// What members `pipeline` has.
pub const ABOUT: [&str; 5] = ["name", "event", "ref", "commit", "number"];

impl Run {
    /// A run of a pipeline with these values.
    pub fn new(pipeline: Arc<Pipeline>, values: &Values) -> Self {
        let mut base = Hierarchy::new();
        let sources = [(Source::System, &values.system), (Source::Runtime, &values.runtime)];
        for (source, (name, value)) in
            sources.iter().flat_map(|(source, list)| list.iter().map(move |pair| (*source, pair)))
        {
            base.set(source, name.as_str(), value.as_str());
        }
        for (name, value) in &pipeline.global_env {
            base.set(Source::Global, name.as_str(), value.as_str());
        }
        for variable in &pipeline.variables {
            if let Some(value) = &variable.default {
                base.set(Source::Default, variable.name.as_str(), value.as_str());
            }
        }
        let secrets = values.secrets.iter().map(|(name, value)| (name.as_str(), Value::from(value.expose())));
        let about = [
            pipeline.name.as_str(),
            values.event.map_or("", Event::name),
            &values.git_ref,
            &values.commit,
            base.get("BUILD_NUMBER").unwrap_or_default(),
        ];
        let about = Object::exact(ABOUT.into_iter().zip(about.map(Value::from)));
        let conditions = conditions(&pipeline);
        let image = values.image.clone().unwrap_or_else(|| DEFAULT_IMAGE.to_owned());
        Self { secrets: Object::exact(secrets), pipeline, base, about, image, conditions }
    }

    /// Names the image of steps for which neither step nor job names one.
    pub fn set_image(&mut self, image: &str) {
        image.clone_into(&mut self.image);
    }

    /// What the run lacks: declared variables that need a value and have none; where each stands, what is wrong, what to do.
    pub fn missing(&self) -> Vec<(Span, String, String)> {
        declared::missing(&self.pipeline.variables, |name| {
            [Source::Runtime, Source::Global, Source::System].into_iter().any(|source| self.base.has(source, name))
        })
    }

    /// The pipeline.
    pub fn pipeline(&self) -> &Arc<Pipeline> {
        &self.pipeline
    }

    /// The variables that all jobs have.
    pub fn hierarchy(&self) -> &Hierarchy {
        &self.base
    }
}

/// What cannot be worked out of a job or step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", told(.problems))]
pub struct RunError {
    /// Each problem and the key it is about.
    pub problems: Vec<(String, VariableError)>,
}

fn told(problems: &[(String, VariableError)]) -> String {
    let one = |(key, error): &(String, VariableError)| match &error.help {
        Some(help) => format!("`{key}`: {} ({help})", error.message),
        None => format!("`{key}`: {}", error.message),
    };
    problems.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests;
