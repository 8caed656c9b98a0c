//! A pipeline of jobs, as plans and schedules know it.

use std::time::Duration;

use crate::pipeline::outcome::FailureReason;

/// A pipeline: jobs and which of them wait for which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PipelineDefinition {
    /// The name shown to people.
    pub name: String,
    /// The stages in their order; empty in languages without.
    pub stages: Vec<String>,
    /// The jobs in the order of the file.
    pub jobs: Vec<PlannedJob>,
    /// Groups of jobs that came from one matrix; [`PlannedJob::group`] is a place in this list.
    pub groups: Vec<JobGroup>,
    /// How long the whole may take; `None`: the file does not say.
    pub timeout: Option<Duration>,
    /// Whether a job that fails, and may not, ends all the others.
    pub fail_fast: bool,
    /// What there is for all jobs together, as far as the file says.
    pub limits: ResourceRequest,
}

/// A job's place in its pipeline, and when it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlannedJob {
    /// The job's name, unique in its pipeline.
    pub name: String,
    /// The stage it belongs to.
    pub stage: String,
    /// What must have ended before this one may start.
    pub waits: Waits,
    /// On which ends of these it starts.
    pub start: StartCondition,
    /// Its failure does not fail the pipeline, and for those that wait for it counts as an end in success.
    pub may_fail: MayFail,
    /// How often it is tried again.
    pub retry: RetryRule,
    /// How long one try may take; `None`: the language's default.
    pub timeout: Option<Duration>,
    /// Its group, a place in [`PipelineDefinition::groups`].
    pub group: Option<usize>,
    /// Only one job of a resource group runs at a time.
    pub resource_group: Option<String>,
    /// How long it is expected to take: recorded, or written down by its author.
    pub estimate: Option<Duration>,
    /// What it asks of the machine.
    pub resources: ResourceRequest,
}

/// On which ends of those that it waits for a job starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StartCondition {
    /// When none has failed.
    #[default]
    OnSuccess,
    /// When one has failed.
    OnFailure,
    /// In both cases.
    Always,
    /// As [`StartCondition::OnSuccess`], and somebody says so. `blocks`: those that wait for it wait until then; else they go
    /// on without it.
    Manual {
        /// Whether what waits for it waits until somebody starts it.
        blocks: bool,
    },
    /// As [`StartCondition::OnSuccess`], this much later.
    Delayed(Duration),
    /// An expression of the language decides when all have ended, whatever became of them.
    Decided,
}

/// Which failures of a job its pipeline puts up with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MayFail {
    /// None.
    #[default]
    Never,
    /// All.
    Always,
    /// Those with one of these exit codes.
    ExitCodes(Vec<i32>),
}

impl From<bool> for MayFail {
    fn from(may: bool) -> Self {
        if may { MayFail::Always } else { MayFail::Never }
    }
}

impl MayFail {
    /// Whether a failure with this exit code (`None`: not a command's failure) is put up with.
    pub fn covers(&self, exit_code: Option<i32>) -> bool {
        match self {
            MayFail::Never => false,
            MayFail::Always => true,
            MayFail::ExitCodes(codes) => exit_code.is_some_and(|code| codes.contains(&code)),
        }
    }
}

/// How often a failed job is tried again, and after which failures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryRule {
    /// How many times after the first.
    pub max: u32,
    /// After which failures. Empty, and no `exit_codes`: after any.
    pub on: Vec<FailureReason>,
    /// After a command that ended with one of these; beside `on`.
    pub exit_codes: Vec<i32>,
}

impl RetryRule {
    /// Whether a failure for this reason, with this exit code, is worth a try by this rule.
    pub fn covers(&self, reason: FailureReason, exit_code: Option<i32>) -> bool {
        (self.on.is_empty() && self.exit_codes.is_empty())
            || self.on.contains(&reason)
            || exit_code.is_some_and(|code| self.exit_codes.contains(&code))
    }
}

/// Jobs that came from one job of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct JobGroup {
    /// The job's name in the file.
    pub name: String,
    /// The first failure ends the others.
    pub fail_fast: bool,
    /// How many run at the same time; `None`: as many as there is room for.
    pub max_parallel: Option<usize>,
}

/// What a job asks of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResourceRequest {
    /// Thousandths of a processor.
    pub cpu_millis: Option<u64>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of disk.
    pub disk: Option<u64>,
}

impl PlannedJob {
    /// A job that starts when what it waits for ended well, and is tried once.
    pub fn new(name: impl Into<String>, stage: impl Into<String>, waits: Waits) -> Self {
        Self { name: name.into(), stage: stage.into(), waits, ..Self::default() }
    }

    /// The jobs it waits for by name.
    pub fn named_needs(&self) -> &[String] {
        match &self.waits {
            Waits::Jobs(names) => names,
            Waits::EarlierStages => &[],
        }
    }
}

/// What a job waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waits {
    /// The jobs of these names; none: it may start at once.
    Jobs(Vec<String>),
    /// All jobs of earlier stages. Said like this and not by name: a thousand jobs behind a thousand others would be a
    /// million names.
    EarlierStages,
}

impl Default for Waits {
    fn default() -> Self {
        Waits::Jobs(Vec::new())
    }
}
