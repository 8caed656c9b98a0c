//! The parts of a job, in the order in which they run.

use serde::{Deserialize, Serialize};

/// A part of a job. Its name stands in logs, the journal and metrics; its section in the forge's UI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Network, images, services, container, shim.
    PrepareSandbox,
    /// What the steps find in their environment.
    PrepareEnvironment,
    /// The work tree.
    GetSources,
    /// Folders kept from earlier jobs.
    RestoreCache,
    /// Files of earlier jobs of the pipeline.
    DownloadArtifacts,
    /// The job's own commands.
    Steps,
    /// The commands that run whatever became of the others.
    AfterSteps,
    /// Folders kept for later jobs.
    SaveCache,
    /// Files for the forge and later jobs.
    UploadArtifacts,
    /// Tools for later jobs.
    SaveTools,
    /// Secrets out of the workspace.
    CleanUp,
}

impl Stage {
    /// All of them in order.
    pub const ORDER: [Stage; 11] = [
        Stage::PrepareSandbox,
        Stage::PrepareEnvironment,
        Stage::GetSources,
        Stage::RestoreCache,
        Stage::DownloadArtifacts,
        Stage::Steps,
        Stage::AfterSteps,
        Stage::SaveCache,
        Stage::UploadArtifacts,
        Stage::SaveTools,
        Stage::CleanUp,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Stage::PrepareSandbox => "prepare_sandbox",
            Stage::PrepareEnvironment => "prepare_environment",
            Stage::GetSources => "get_sources",
            Stage::RestoreCache => "restore_cache",
            Stage::DownloadArtifacts => "download_artifacts",
            Stage::Steps => "steps",
            Stage::AfterSteps => "after_steps",
            Stage::SaveCache => "save_cache",
            Stage::UploadArtifacts => "upload_artifacts",
            Stage::SaveTools => "save_tools",
            Stage::CleanUp => "clean_up",
        }
    }

    /// Whether it runs when the job stands like this.
    ///
    /// The rules are the forge's users': what fails before the steps keeps them from running, but what there is to
    /// save after a failure is saved; when the time is up, or the forge has given the job up, nothing more happens.
    /// (protocols: GitLab runner 9.10.)
    pub fn runs(self, so_far: &Standing) -> bool {
        match self {
            Stage::CleanUp => true,
            _ if so_far.is_over => false,
            Stage::PrepareSandbox
            | Stage::PrepareEnvironment
            | Stage::GetSources
            | Stage::RestoreCache
            | Stage::DownloadArtifacts
            | Stage::Steps => !so_far.has_failed,
            Stage::AfterSteps => so_far.steps_began,
            Stage::SaveCache | Stage::UploadArtifacts => so_far.sandbox_was_ready,
            // Tools of a job that failed may be what it failed for.
            Stage::SaveTools => !so_far.has_failed && so_far.steps_began,
        }
    }
}

/// What the stages so far mean for those to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// A stage failed.
    pub has_failed: bool,
    /// Nothing more is to happen: the job's time is up, its forge aborted it, or its place was never ready.
    pub is_over: bool,
    /// The first stage ended well.
    pub sandbox_was_ready: bool,
    /// The job's own commands began.
    pub steps_began: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages(standing: Standing) -> Vec<Stage> {
        Stage::ORDER.into_iter().filter(|stage| stage.runs(&standing)).collect()
    }

    #[test]
    fn after_a_failure_before_the_steps_only_what_can_be_saved_is_saved() {
        let standing = Standing { has_failed: true, sandbox_was_ready: true, ..Standing::default() };
        assert_eq!(stages(standing), [Stage::SaveCache, Stage::UploadArtifacts, Stage::CleanUp]);
    }

    #[test]
    fn after_failed_steps_the_after_step_runs() {
        let standing = Standing { has_failed: true, sandbox_was_ready: true, steps_began: true, is_over: false };
        assert_eq!(stages(standing), [Stage::AfterSteps, Stage::SaveCache, Stage::UploadArtifacts, Stage::CleanUp]);
    }

    #[test]
    fn when_it_is_over_only_secrets_are_removed() {
        let standing = Standing { is_over: true, has_failed: true, sandbox_was_ready: true, steps_began: true };
        assert_eq!(stages(standing), [Stage::CleanUp]);
    }
}
