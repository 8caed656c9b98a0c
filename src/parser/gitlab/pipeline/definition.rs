//! A created pipeline as the model that plans and schedules know.

use smol_str::SmolStr;

use super::super::config::model::{self, AllowFailure, When};
use super::create::{CreatedJob, Pipeline};
use crate::pipeline::definition::{JobGroup, MayFail, PlannedJob, RetryRule, StartCondition};
use crate::pipeline::outcome::FailureReason;
use crate::pipeline::{PipelineDefinition, Waits};

impl Pipeline {
    /// The pipeline as plans and schedules know it: jobs in the order of their stages, then of the file.
    pub fn to_definition(&self) -> PipelineDefinition {
        let stages: Vec<String> = self.configuration.stages.iter().map(|stage| stage.value.to_string()).collect();
        let place: std::collections::HashMap<&str, usize> =
            stages.iter().enumerate().map(|(at, stage)| (stage.as_str(), at)).collect();
        let mut groups = Groups::default();
        let mut jobs: Vec<(usize, PlannedJob)> = Vec::with_capacity(self.jobs.len());
        for job in &self.jobs {
            let Some(source) = self.source(job) else { continue };
            let stage = place.get(source.stage.value.as_str()).copied().unwrap_or(usize::MAX);
            jobs.push((stage, self.planned(job, source, &mut groups)));
        }
        jobs.sort_by_key(|(stage, _)| *stage);
        let used: std::collections::HashSet<usize> = jobs.iter().map(|(stage, _)| *stage).collect();
        let jobs = jobs.into_iter().map(|(_, job)| job).collect();
        let used = |at: usize| used.contains(&at);
        let stages = stages.into_iter().enumerate().filter(|(at, _)| used(*at)).map(|(_, stage)| stage).collect();
        let name = self.name.clone().unwrap_or_else(|| self.context.config_path.clone());
        let fail_fast = self.auto_cancel.on_job_failure.as_deref() == Some("all");
        PipelineDefinition { name, stages, jobs, groups: groups.list, fail_fast, ..PipelineDefinition::default() }
    }

    fn planned(&self, job: &CreatedJob, source: &model::Job, groups: &mut Groups) -> PlannedJob {
        let waits = match &job.needs {
            Some(needs) => Waits::Jobs(needs.iter().map(|need| need.name.to_string()).collect()),
            None => Waits::EarlierStages,
        };
        let resource_group = self.scope(job).and_then(|scope| scope.resource_group());
        PlannedJob {
            name: job.name.to_string(),
            stage: source.stage.value.to_string(),
            waits,
            start: start(job),
            may_fail: match &job.allow_failure {
                AllowFailure::Is(false) => MayFail::Never,
                AllowFailure::Is(true) => MayFail::Always,
                AllowFailure::ExitCodes(codes) => {
                    MayFail::ExitCodes(codes.iter().filter_map(|code| i32::try_from(*code).ok()).collect())
                }
            },
            retry: source.retry.as_deref().map(retry).unwrap_or_default(),
            timeout: source.timeout.as_ref().and_then(|timeout| timeout.duration),
            group: job.instance.as_ref().map(|_| groups.of(job.source, &source.name)),
            resource_group,
            ..PlannedJob::default()
        }
    }
}

/// Instances of one job stand together, so the last group is the only one that can be meant.
#[derive(Default)]
struct Groups {
    list: Vec<JobGroup>,
    last: Option<usize>,
}

impl Groups {
    fn of(&mut self, source: usize, name: &SmolStr) -> usize {
        if self.last != Some(source) {
            self.last = Some(source);
            self.list.push(JobGroup { name: name.to_string(), fail_fast: false, max_parallel: None });
        }
        self.list.len().saturating_sub(1)
    }
}

fn start(job: &CreatedJob) -> StartCondition {
    match job.when {
        When::OnSuccess | When::Never => StartCondition::OnSuccess,
        When::OnFailure => StartCondition::OnFailure,
        When::Always => StartCondition::Always,
        When::Manual => StartCondition::Manual { blocks: job.allow_failure == AllowFailure::Is(false) },
        When::Delayed => {
            StartCondition::Delayed(job.start_in.as_ref().and_then(|start_in| start_in.duration).unwrap_or_default())
        }
    }
}

fn retry(retry: &model::Retry) -> RetryRule {
    let always = retry.when.iter().any(|when| when == "always");
    let on = if always { Vec::new() } else { retry.when.iter().flat_map(|when| reasons(when)).copied().collect() };
    let exit_codes = retry.exit_codes.iter().filter_map(|code| i32::try_from(*code).ok()).collect();
    RetryRule { max: retry.max, on, exit_codes }
}

/// What GitLab's words for failures are here.
fn reasons(when: &str) -> &'static [FailureReason] {
    use FailureReason as Reason;
    match when {
        "script_failure" => &[Reason::ScriptFailure],
        "runner_system_failure" | "unknown_failure" | "api_failure" | "data_integrity_failure" => {
            &[Reason::RunnerSystemFailure, Reason::ImagePullFailure, Reason::RunnerExternalDependencyFailure]
        }
        "job_execution_timeout" | "stuck_or_timeout_failure" => &[Reason::JobExecutionTimeout],
        "runner_unsupported" | "missing_dependency_failure" | "runner_configuration_error" => {
            &[Reason::RunnerConfigurationError]
        }
        "runner_external_dependency_failure" => &[Reason::RunnerExternalDependencyFailure],
        "image_pull_failure" => &[Reason::ImagePullFailure],
        // Something that never happens here; a rule without reasons would mean all.
        _ => &[Reason::JobCanceled],
    }
}
