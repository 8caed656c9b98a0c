//! What a job does, and after which outcome.

/// One script of a job, run in one shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineStep {
    /// Its name, `script`, `after_script`, `release`.
    pub name: String,
    /// What it is among the job's steps.
    pub kind: StepKind,
    /// The commands, each a line or a block of lines, echoed before they run.
    pub commands: Vec<String>,
}

/// What a step is among the steps of its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// Part of the job: the first that fails ends the job's steps.
    Main,
    /// Runs after the others whatever became of them, with its own time limit; its failure does not fail the job
    /// unless `fails_job`.
    After {
        /// `AFTER_SCRIPT_IGNORE_ERRORS=false`.
        fails_job: bool,
    },
}

/// On which results of the steps something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum When {
    /// Only after success.
    #[default]
    OnSuccess,
    /// Only after failure.
    OnFailure,
    /// In both cases.
    Always,
}

impl When {
    /// Whether it is due after steps that ended like this.
    pub fn is_due(self, success: bool) -> bool {
        match self {
            When::OnSuccess => success,
            When::OnFailure => !success,
            When::Always => true,
        }
    }
}
