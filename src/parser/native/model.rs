//! The types of the language. The JSON Schema is generated from them.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::forms as form;

use crate::parser::document::Span;
use crate::pipeline::ResourceRequest;

/// Variables by name.
pub type Environment = BTreeMap<String, String>;

/// A pipeline: jobs, and what they have in common.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Pipeline {
    /// What people call it.
    #[schemars(with = "form::Filled")]
    pub name: String,
    /// The jobs by name.
    #[schemars(with = "form::Named<Job>")]
    pub jobs: Vec<Job>,
    /// Variables of all jobs.
    #[schemars(with = "Option<form::Variables>")]
    pub global_env: Environment,
    /// Seconds that the whole may take.
    #[schemars(default = "pipeline_timeout", with = "form::Whole<1, { u32::MAX }>")]
    pub timeout: u32,
    /// How often jobs are tried that do not say so themselves.
    #[schemars(with = "Option<RetryPolicy>")]
    pub retry_policy: RetryPolicy,
    /// What every job gives away that does not say so itself.
    pub artifacts: Option<Artifacts>,
    /// What starts it; without any, everything does.
    #[schemars(with = "Option<Vec<Trigger>>")]
    pub triggers: Vec<Trigger>,
    /// What is known of variables that are given from outside.
    #[schemars(with = "Option<Declared>")]
    pub variables: Vec<Variable>,
    /// What the machine has for all jobs together.
    #[schemars(with = "Option<Resources>")]
    pub limits: Resources,
}

/// A variable that may be given from outside, `--var NAME=VALUE`.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, extend("not" = {"required": ["default", "required"]}))]
pub struct Variable {
    /// Its name: its key.
    #[schemars(skip)]
    pub name: String,
    /// Where that stands.
    #[schemars(skip)]
    pub span: Span,
    /// What it is for.
    #[schemars(with = "Option<form::Scalar>")]
    pub description: Option<String>,
    /// Whether a run needs a value.
    #[schemars(default, with = "form::Truth")]
    pub required: bool,
    /// Its value where no source has one.
    #[schemars(with = "Option<form::Scalar>")]
    pub default: Option<String>,
    /// A regular expression that its whole value matches.
    #[schemars(with = "Option<form::Scalar>")]
    pub format: Option<String>,
}

fn pipeline_timeout() -> u32 {
    PIPELINE_TIMEOUT
}

/// Seconds that a pipeline may take by default.
pub const PIPELINE_TIMEOUT: u32 = 7_200;
/// Seconds that a job may take by default, and at most.
pub const JOB_TIMEOUT: u32 = 3_600;
/// Seconds that a step may take by default, and at most.
pub const STEP_TIMEOUT: u32 = 1_800;
/// The image of steps by default.
pub const DEFAULT_IMAGE: &str = "ubuntu:20.04";
/// The action that gets the sources.
pub const CHECKOUT: &str = "checkout";
/// The actions that steps may have in place of commands.
pub const ACTIONS: [&str; 1] = [CHECKOUT];
/// Where steps work by default.
pub const WORKSPACE: &str = "/workspace";

/// How often a job is tried.
#[derive(Clone, Copy, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RetryPolicy {
    /// Tries in all.
    #[schemars(with = "form::Whole<1, 6>")]
    pub max_attempts: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_attempts: 1 }
    }
}

/// Files that are given away.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Artifacts {
    /// What they are called.
    #[schemars(with = "Option<form::Filled>")]
    pub name: Option<String>,
    /// Globs relative to the workspace.
    #[schemars(with = "form::Paths")]
    pub paths: Vec<String>,
    /// Globs of what is left out.
    #[schemars(with = "Option<form::Paths>")]
    pub exclude: Vec<String>,
    /// How long they are kept: `7 days`.
    #[schemars(with = "Option<form::Length>")]
    pub expire_in: Option<String>,
    /// After which results.
    #[schemars(default)]
    pub when: ArtifactsWhen,
}

/// After which results artifacts are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub enum ArtifactsWhen {
    /// After success.
    #[default]
    OnSuccess,
    /// After failure.
    OnFailure,
    /// In both cases.
    Always,
}

/// What starts a pipeline.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = trigger_rules)]
pub struct Trigger {
    /// What happened.
    pub event: Event,
    /// Globs of branches; none: all.
    #[schemars(with = "Option<form::SomeTexts>")]
    pub branches: Vec<String>,
    /// Globs of tags; none: all.
    #[schemars(with = "Option<form::SomeTexts>")]
    pub tags: Vec<String>,
    /// Globs of changed files; none: all.
    #[schemars(with = "Option<form::SomeTexts>")]
    pub paths: Vec<String>,
    /// When, for `schedule`: five fields.
    pub cron: Option<String>,
}

/// Which keys belong to which event.
fn trigger_rules(schema: &mut schemars::Schema) {
    let is = |event: &str| serde_json::json!({"properties": {"event": {"const": event}}, "required": ["event"]});
    let absent = |key: &str| serde_json::json!({"not": {"required": [key]}});
    let rules = serde_json::json!([
        {"if": is("schedule"), "then": {"required": ["cron"]}, "else": absent("cron")},
        {"if": is("tag"), "then": absent("branches"), "else": absent("tags")},
    ]);
    schema.insert("allOf".to_owned(), rules);
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub enum Event {
    /// A branch was pushed.
    Push,
    /// A tag was pushed.
    Tag,
    /// A merge or pull request was opened or changed.
    MergeRequest,
    /// Its time has come.
    Schedule,
    /// Somebody said so.
    Manual,
}

impl Event {
    /// Its name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Event::Push => "push",
            Event::Tag => "tag",
            Event::MergeRequest => "merge_request",
            Event::Schedule => "schedule",
            Event::Manual => "manual",
        }
    }
}

/// A job.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Job {
    /// Its name: the same as its key, and mostly left out.
    #[schemars(with = "Option<form::Scalar>")]
    pub name: String,
    /// Where its key stands.
    #[schemars(skip)]
    pub span: Span,
    /// Its steps.
    #[schemars(length(min = 1))]
    pub steps: Vec<Step>,
    /// Names of jobs that must have succeeded before.
    #[schemars(with = "Option<form::Names>")]
    pub depends_on: Vec<Need>,
    /// What it gives away; in place of the pipeline's.
    pub artifacts: Option<Artifacts>,
    /// Its variables.
    #[schemars(with = "Option<form::Variables>")]
    pub environment: Environment,
    /// Seconds that it may take.
    #[schemars(default = "job_timeout", with = "form::Whole<1, JOB_TIMEOUT>")]
    pub timeout: u32,
    /// How often it is tried again; in place of the pipeline's `retry_policy`.
    #[schemars(with = "Option<form::Whole<0, 5>>")]
    pub retry_count: Option<u32>,
    /// An expression that says whether it runs.
    #[schemars(with = "Option<form::Scalar>")]
    pub conditional: Option<String>,
    /// Where that stands.
    #[schemars(skip)]
    pub conditional_span: Span,
    /// The image of its steps that name none.
    #[schemars(with = "Option<form::Image>")]
    pub image: Option<String>,
    /// Run once for each combination.
    #[schemars(with = "Option<form::Combinations>")]
    pub matrix: Option<Matrix>,
    /// What it asks of the machine.
    #[schemars(with = "Option<Resources>")]
    pub resources: Resources,
    /// Containers that run beside it.
    #[schemars(with = "Option<Vec<ServiceForm>>")]
    pub services: Vec<Service>,
    /// Folders that are kept for the next run.
    #[schemars(with = "Option<CacheForm>")]
    pub cache: Vec<Cache>,
    /// Where it deploys to.
    pub deployment: Option<Deployment>,
    /// Seconds that it is expected to take, until it has been seen.
    #[schemars(with = "Option<form::Whole<1, { u32::MAX }>>")]
    pub estimated_duration: Option<u32>,
}

impl Job {
    /// A job of which nothing but its name is known.
    pub(super) fn bare(name: &str, span: Span) -> Self {
        Self {
            name: name.to_owned(),
            span,
            steps: Vec::new(),
            depends_on: Vec::new(),
            artifacts: None,
            environment: Environment::new(),
            timeout: JOB_TIMEOUT,
            retry_count: None,
            conditional: None,
            conditional_span: span,
            image: None,
            matrix: None,
            resources: Resources::default(),
            services: Vec::new(),
            cache: Vec::new(),
            deployment: None,
            estimated_duration: None,
        }
    }
}

fn job_timeout() -> u32 {
    JOB_TIMEOUT
}

/// A job that another waits for.
#[derive(Clone, Debug)]
pub struct Need {
    /// Its name.
    pub name: String,
    /// Where that stands.
    pub span: Span,
}

/// A step.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, extend("oneOf" = [{"required": ["script"]}, {"required": ["action"]}]))]
pub struct Step {
    /// Its name, unique in its job.
    #[schemars(with = "form::Filled")]
    pub name: String,
    /// Commands; exactly one of `script` and `action` is there.
    #[schemars(with = "Option<form::Script>")]
    pub script: Vec<String>,
    /// What is done in place of commands.
    #[schemars(with = "Option<form::Filled>")]
    pub action: Option<String>,
    /// Its image.
    #[schemars(with = "Option<form::Image>")]
    pub image: Option<String>,
    /// Its variables.
    #[schemars(with = "Option<form::Variables>")]
    pub environment: Environment,
    /// Where it works.
    #[schemars(default = "workspace", with = "form::Folder")]
    pub working_directory: String,
    /// Seconds that it may take.
    #[schemars(default = "step_timeout", with = "form::Whole<1, STEP_TIMEOUT>")]
    pub timeout: u32,
    /// How often it is tried again.
    #[schemars(default, with = "form::Whole<0, 3>")]
    pub retry_count: u32,
    /// Whether the steps after it run all the same when it fails.
    #[schemars(default, with = "form::Truth")]
    pub continue_on_failure: bool,
}

fn step_timeout() -> u32 {
    STEP_TIMEOUT
}

fn workspace() -> String {
    WORKSPACE.to_owned()
}

/// Combinations of values.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// Where it stands.
    pub span: Span,
    /// Each axis and its values.
    pub axes: Vec<Axis>,
    /// Combinations that are added.
    pub include: Vec<Combination>,
    /// Combinations that are left out.
    pub exclude: Vec<Combination>,
    /// Whether the first failure ends the others.
    pub fail_fast: bool,
    /// How many run at the same time.
    pub max_parallel: Option<u32>,
}

impl Matrix {
    /// A matrix without axes.
    pub(super) fn bare(span: Span) -> Self {
        Self { span, axes: Vec::new(), include: Vec::new(), exclude: Vec::new(), fail_fast: true, max_parallel: None }
    }
}

/// A value for each of some axes, in order.
pub type Combination = Vec<(String, String)>;

/// An axis of a matrix.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Its name.
    pub name: String,
    /// Where its values stand.
    pub span: Span,
    /// They.
    pub values: AxisValues,
}

/// The values of an axis.
#[derive(Clone, Debug)]
pub enum AxisValues {
    /// These.
    Values(Vec<String>),
    /// What an expression makes: `${{ env.TARGETS.split(',') }}`.
    Expression(String),
}

/// What a job asks of the machine.
#[derive(Clone, Debug, Default, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Resources {
    /// Thousandths of a processor; written `2`, `0.5` or `500m`.
    #[schemars(with = "Option<form::Processors>")]
    pub cpu: Option<u64>,
    /// Bytes of memory; written `4GB` or `512MiB`.
    #[schemars(with = "Option<form::Bytes>")]
    pub memory: Option<u64>,
    /// Bytes of disk.
    #[schemars(with = "Option<form::Bytes>")]
    pub disk: Option<u64>,
}

impl Resources {
    /// The same in the model's words.
    pub fn request(&self) -> ResourceRequest {
        ResourceRequest { cpu_millis: self.cpu, memory: self.memory, disk: self.disk }
    }
}

/// A container beside a job.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Service {
    /// Its image.
    #[schemars(with = "form::Image")]
    pub image: String,
    /// The name it is reached by, besides that of its image.
    #[schemars(with = "Option<form::Host>")]
    pub alias: Option<String>,
    /// Its variables.
    #[schemars(with = "Option<form::Variables>")]
    pub environment: Environment,
    /// In place of its image's command.
    #[schemars(with = "Option<form::Texts>")]
    pub command: Vec<String>,
}

/// Folders that are kept under a key.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Cache {
    /// The key.
    #[schemars(with = "form::Filled")]
    pub key: String,
    /// Globs relative to the workspace.
    #[schemars(with = "form::Paths")]
    pub paths: Vec<String>,
    /// Keys to try when nothing is kept under `key`.
    #[schemars(with = "Option<form::Texts>")]
    pub fallback_keys: Vec<String>,
    /// Whether it is restored, saved, or both.
    #[schemars(default)]
    pub policy: CachePolicy,
}

/// What is done with a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub enum CachePolicy {
    /// Restored before, saved after.
    #[default]
    PullPush,
    /// Restored only.
    Pull,
    /// Saved only.
    Push,
}

/// Where a job deploys to.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Deployment {
    /// The name of the environment.
    #[schemars(with = "form::Filled")]
    pub environment: String,
    /// Where it can be seen.
    #[schemars(with = "Option<form::Address>")]
    pub url: Option<String>,
    /// How.
    pub strategy: Option<Strategy>,
}

/// Variables that are declared, by name.
#[derive(JsonSchema)]
#[schemars(inline, extend("propertyNames" = {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "maxLength": 255}))]
#[allow(dead_code, reason = "a form for the schema")]
struct Declared(BTreeMap<String, Variable>);

/// How something is deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub enum Strategy {
    /// One after the other.
    Rolling,
    /// Beside the old one, then all at once.
    BlueGreen,
    /// A part first.
    Canary,
}

/// A service is its image, or all that can be said of it.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "a form for the schema")]
enum ServiceForm {
    Image(#[schemars(with = "form::Image")] String),
    Whole(Service),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "a form for the schema")]
enum CacheForm {
    One(Cache),
    Many(Vec<Cache>),
}
