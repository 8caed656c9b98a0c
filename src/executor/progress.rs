//! How far a job has come: what the journal keeps so that the next agent goes on from there.

use serde::{Deserialize, Serialize};

use super::stage::{Stage, Standing};
use crate::pipeline::JobFailure;

/// How far a job has come. Written before the first effect of what it names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// When the job began, milliseconds since 1970: its time limit counts from here, over all agents.
    pub began_ms: u64,
    /// The stage that was begun last.
    pub stage: Stage,
    /// What the stages before mean for those to come.
    pub standing: Standing,
    /// The first failure: it names the job's reason, a later one cannot hide it.
    pub failure: Option<JobFailure>,
    /// What `CI_JOB_STATUS` says to the after-step.
    pub status_word: StatusWord,
    /// The step that was begun last.
    pub step: Option<StepProgress>,
    /// Where the log ended when this stage was begun.
    #[serde(default)]
    pub log_offset: u64,
    /// What the place of the job is called.
    #[serde(default)]
    pub host_name: String,
    /// How often the job was taken over by a later agent.
    #[serde(default)]
    pub restarts: u32,
    /// How long the job may take, milliseconds.
    #[serde(default)]
    pub timeout_ms: u64,
    /// When the first of the main steps began, milliseconds since 1970: their common time limit counts from here.
    pub steps_began_ms: Option<u64>,
    /// For each service of the job, in order: its ports, and where the job finds them at its loopback address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_ports: Vec<Vec<(u16, u16)>>,
}

/// A step that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepProgress {
    /// Its position among the job's steps; its id in the sandbox, too.
    pub index: usize,
    /// Up to here the job's log is final; what follows comes from the step's spool and can be made again.
    pub log_offset: u64,
    /// Where in the spool that output begins: what stands before it is in the log, and its room on the disk was given back.
    #[serde(default)]
    pub spool_offset: u64,
    /// The log takes nothing that comes behind that: room may have been given back there, too.
    #[serde(default)]
    pub is_past_limit: bool,
}

impl StepProgress {
    /// A step that begins now, the log being final up to `log_offset`.
    pub fn begin(index: usize, log_offset: u64) -> Self {
        Self { index, log_offset, spool_offset: 0, is_past_limit: false }
    }
}

/// The job's status in the word that its own commands are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatusWord {
    /// The steps ended well.
    Success,
    /// A step failed.
    Failed,
    /// The forge's user cancelled the job.
    Canceled,
    /// The steps' time was up.
    TimedOut,
}

impl StatusWord {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            StatusWord::Success => "success",
            StatusWord::Failed => "failed",
            StatusWord::Canceled => "canceled",
            StatusWord::TimedOut => "timedout",
        }
    }
}

impl Progress {
    /// A job that begins now.
    pub fn begin(now_ms: u64) -> Self {
        Self {
            began_ms: now_ms,
            stage: Stage::PrepareSandbox,
            standing: Standing::default(),
            failure: None,
            status_word: StatusWord::Success,
            step: None,
            log_offset: 0,
            host_name: String::new(),
            restarts: 0,
            timeout_ms: 0,
            steps_began_ms: None,
            service_ports: Vec::new(),
        }
    }

    /// From where the job's log is made again, the same as before, by an agent that takes the job over; `None` where that
    /// agent adds to all there is, because what it does again need not come out the same.
    pub fn log_is_made_again_from(&self) -> Option<u64> {
        match (self.stage, &self.step) {
            (Stage::Steps | Stage::AfterSteps, Some(step)) => Some(step.log_offset),
            (Stage::Steps | Stage::AfterSteps | Stage::CleanUp, _) => Some(self.log_offset),
            _ => None,
        }
    }

    /// Notes a failure of the stage at hand. The first one names the reason.
    pub fn fail(&mut self, failure: JobFailure) {
        self.standing.has_failed = true;
        if self.status_word == StatusWord::Success {
            self.status_word = StatusWord::Failed;
        }
        self.failure.get_or_insert(failure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_comes_out_the_same_is_made_again() {
        let at = |stage, step| Progress { stage, step, log_offset: 10, ..Progress::begin(0) }.log_is_made_again_from();
        let step = Some(StepProgress::begin(0, 20));
        assert_eq!(at(Stage::Steps, step.clone()), Some(20));
        assert_eq!(at(Stage::AfterSteps, step), Some(20));
        assert_eq!(at(Stage::Steps, None), Some(10));
        assert_eq!(at(Stage::CleanUp, None), Some(10));
        assert_eq!(at(Stage::GetSources, None), None);
        assert_eq!(at(Stage::UploadArtifacts, None), None);
    }
}
