//! The types of the language. The JSON Schema is generated from them.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use crate::parser::document::Span;

/// Variables by name.
pub type Environment = BTreeMap<String, String>;

/// A pipeline: jobs, and what they have in common.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Pipeline {
    /// What people call it.
    pub name: String,
    /// The jobs by name.
    #[schemars(with = "BTreeMap<String, Job>")]
    pub jobs: Vec<Job>,
    /// Variables of all jobs.
    #[schemars(default)]
    pub global_env: Environment,
    /// Seconds that the whole may take.
    #[schemars(default = "pipeline_timeout", range(min = 1))]
    pub timeout: u32,
    /// How often jobs are tried that do not say so themselves.
    #[schemars(default)]
    pub retry_policy: RetryPolicy,
    /// What every job gives away that does not say so itself.
    pub artifacts: Option<Artifacts>,
    /// What starts it; without any, everything does.
    #[schemars(default)]
    pub triggers: Vec<Trigger>,
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
/// Where steps work by default.
pub const WORKSPACE: &str = "/workspace";

/// How often a job is tried.
#[derive(Clone, Copy, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RetryPolicy {
    /// Tries in all.
    #[schemars(range(min = 1, max = 6))]
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
    pub name: Option<String>,
    /// Globs relative to the workspace.
    #[schemars(length(min = 1))]
    pub paths: Vec<String>,
    /// Globs of what is left out.
    #[schemars(default)]
    pub exclude: Vec<String>,
    /// How long they are kept: `7 days`.
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
#[schemars(deny_unknown_fields)]
pub struct Trigger {
    /// What happened.
    pub event: Event,
    /// Globs of branches; none: all.
    #[schemars(default)]
    pub branches: Vec<String>,
    /// Globs of tags; none: all.
    #[schemars(default)]
    pub tags: Vec<String>,
    /// Globs of changed files; none: all.
    #[schemars(default)]
    pub paths: Vec<String>,
    /// When, for `schedule`: five fields.
    pub cron: Option<String>,
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
    #[schemars(with = "Option<String>")]
    pub name: String,
    /// Where its key stands.
    #[schemars(skip)]
    pub span: Span,
    /// Its steps.
    #[schemars(length(min = 1))]
    pub steps: Vec<Step>,
    /// Names of jobs that must have succeeded before.
    #[schemars(with = "Option<Vec<String>>")]
    pub depends_on: Vec<Need>,
    /// What it gives away; in place of the pipeline's.
    pub artifacts: Option<Artifacts>,
    /// Its variables.
    #[schemars(default)]
    pub environment: Environment,
    /// Seconds that it may take.
    #[schemars(default = "job_timeout", range(min = 1, max = 3600))]
    pub timeout: u32,
    /// How often it is tried again; in place of the pipeline's `retry_policy`.
    #[schemars(range(min = 0, max = 5))]
    pub retry_count: Option<u32>,
    /// An expression that says whether it runs.
    pub conditional: Option<String>,
    /// Where that stands.
    #[schemars(skip)]
    pub conditional_span: Span,
    /// The image of its steps that name none.
    pub image: Option<String>,
    /// Run once for each combination.
    pub matrix: Option<Matrix>,
    /// What it asks of the machine.
    #[schemars(default)]
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
    #[schemars(range(min = 1))]
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
#[schemars(deny_unknown_fields)]
pub struct Step {
    /// Its name, unique in its job.
    pub name: String,
    /// Commands; exactly one of `script` and `action` is there.
    #[schemars(with = "Option<OneOrMany>")]
    pub script: Vec<String>,
    /// What is done in place of commands.
    pub action: Option<String>,
    /// Its image.
    pub image: Option<String>,
    /// Its variables.
    #[schemars(default)]
    pub environment: Environment,
    /// Where it works.
    #[schemars(default = "workspace")]
    pub working_directory: String,
    /// Seconds that it may take.
    #[schemars(default = "step_timeout", range(min = 1, max = 1800))]
    pub timeout: u32,
    /// How often it is tried again.
    #[schemars(default, range(min = 0, max = 3))]
    pub retry_count: u32,
    /// Whether the steps after it run all the same when it fails.
    #[schemars(default)]
    pub continue_on_failure: bool,
}

fn step_timeout() -> u32 {
    STEP_TIMEOUT
}

fn workspace() -> String {
    WORKSPACE.to_owned()
}

/// Combinations of values.
#[derive(Clone, Debug, JsonSchema)]
pub struct Matrix {
    /// Where it stands.
    #[schemars(skip)]
    pub span: Span,
    /// Each axis and its values.
    #[schemars(flatten, with = "BTreeMap<String, AxisForm>")]
    pub axes: Vec<Axis>,
    /// Combinations that are added.
    #[schemars(with = "Option<Vec<BTreeMap<String, serde_json::Value>>>")]
    pub include: Vec<Combination>,
    /// Combinations that are left out.
    #[schemars(with = "Option<Vec<BTreeMap<String, serde_json::Value>>>")]
    pub exclude: Vec<Combination>,
    /// Whether the first failure ends the others.
    #[schemars(default = "yes")]
    pub fail_fast: bool,
    /// How many run at the same time.
    #[schemars(range(min = 1))]
    pub max_parallel: Option<u32>,
}

impl Matrix {
    /// A matrix without axes.
    pub(super) fn bare(span: Span) -> Self {
        Self { span, axes: Vec::new(), include: Vec::new(), exclude: Vec::new(), fail_fast: true, max_parallel: None }
    }
}

fn yes() -> bool {
    true
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
    #[schemars(with = "Option<Quantity>")]
    pub cpu: Option<u64>,
    /// Bytes of memory; written `4GB` or `512MiB`.
    #[schemars(with = "Option<Quantity>")]
    pub memory: Option<u64>,
    /// Bytes of disk.
    #[schemars(with = "Option<Quantity>")]
    pub disk: Option<u64>,
}

/// A container beside a job.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Service {
    /// Its image.
    pub image: String,
    /// The name it is reached by, besides that of its image.
    pub alias: Option<String>,
    /// Its variables.
    #[schemars(default)]
    pub environment: Environment,
    /// In place of its image's command.
    #[schemars(default)]
    pub command: Vec<String>,
}

/// Folders that are kept under a key.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Cache {
    /// The key.
    pub key: String,
    /// Globs relative to the workspace.
    #[schemars(length(min = 1))]
    pub paths: Vec<String>,
    /// Keys to try when nothing is kept under `key`.
    #[schemars(default)]
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
    pub environment: String,
    /// Where it can be seen.
    pub url: Option<String>,
    /// How.
    pub strategy: Option<Strategy>,
}

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

/// How texts are written: one or a list.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "a form for the schema")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "a form for the schema")]
enum AxisForm {
    Expression(String),
    Values(Vec<serde_json::Value>),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "a form for the schema")]
enum ServiceForm {
    Image(String),
    Whole(Service),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "a form for the schema")]
enum CacheForm {
    One(Cache),
    Many(Vec<Cache>),
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "a form for the schema")]
enum Quantity {
    Number(f64),
    Text(String),
}
