//! Pipelines: their jobs as rows of this server, moved by [`Schedule`].
//!
//! Everything here happens under the lock of [`Knowledge`]; what git has to be asked for is in the [`Blueprint`] already. Retries
//! begin at once, as on the real server: the schedule's pauses are those of a local run.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use super::job::{Job, JobSpec, JobView, Waiting};
use super::trace::Trace;
use super::{Knowledge, World, random_text};
use crate::emulator::ci::blueprint::Blueprint;
use crate::parser::gitlab::pipeline::CreatedJob;
use crate::pipeline::schedule::{JobIndex, Move, NeverRan, Schedule};
use crate::pipeline::{FailureReason, JobChange, JobFailure, JobOutcome, JobStatus, StartCondition};

/// A pipeline.
#[derive(Debug)]
pub struct Pipeline {
    /// Its id.
    pub id: u64,
    /// Its project.
    pub project: u64,
    /// The branch or tag it runs for.
    pub git_ref: String,
    /// Its commit.
    pub sha: String,
    /// What is wrong with its file: it has failed and has no jobs.
    pub errors: Vec<String>,
    /// What it runs.
    pub blueprint: Option<Arc<Blueprint>>,
    /// The job that started it.
    pub parent: Option<u64>,
    run: Option<Run>,
}

/// A pipeline under way.
#[derive(Debug)]
struct Run {
    schedule: Schedule,
    /// The rows of the definition's jobs, in its order; of one that is tried again the newest.
    jobs: Vec<u64>,
}

/// Where a pipeline stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipelineStatus {
    /// Something is still to come.
    Running,
    /// It waits for somebody to start a job.
    Manual,
    /// All that counts ended well.
    Success,
    /// A job failed that may not, or the file is wrong.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

/// How a pipeline looks from outside at one moment.
#[derive(Clone, Debug)]
pub struct PipelineView {
    /// Its id.
    pub id: u64,
    /// Where it stands.
    pub status: PipelineStatus,
    /// What is wrong with its file.
    pub errors: Vec<String>,
    /// Its jobs in the order of their stages, then of the file; of one that was tried again the last try.
    pub jobs: Vec<JobView>,
}

/// A job that goes on by the clock.
#[derive(Clone, Copy, Debug)]
pub struct Timer {
    at: Instant,
    pipeline: u64,
    job: JobIndex,
}

impl Pipeline {
    /// One without jobs.
    pub fn new(id: u64, project: u64, git_ref: String, sha: String) -> Self {
        Self { id, project, git_ref, sha, errors: Vec::new(), blueprint: None, parent: None, run: None }
    }

    /// The pipeline that the job `parent` of this one starts.
    fn child(&self, blueprint: Arc<Blueprint>, parent: u64) -> Self {
        let id = blueprint.id();
        let new = Self::new(id, self.project, self.git_ref.clone(), self.sha.clone());
        Self { blueprint: Some(blueprint), parent: Some(parent), ..new }
    }

    fn row(&self, job: JobIndex) -> Option<u64> {
        self.run.as_ref()?.jobs.get(job.0).copied()
    }
}

/// Moves, each with its pipeline.
type Moves = Vec<(u64, Move)>;

impl Knowledge {
    /// Takes a pipeline in and begins it.
    pub fn open(&mut self, pipeline: Pipeline) {
        let moves = self.begin(pipeline);
        self.carry_out(moves);
    }

    /// How pipeline `id` looks now.
    pub fn pipeline_view(&self, id: u64) -> Option<PipelineView> {
        let pipeline = self.pipelines.get(&id)?;
        let jobs = self.rows(pipeline).map(Job::view).collect();
        Some(PipelineView { id, status: self.status(pipeline), errors: pipeline.errors.clone(), jobs })
    }

    /// What a job was made from, and the rows of its pipeline by name. `None`: it is in no pipeline of a file.
    pub fn made_from(&self, job: &Job) -> Option<(&Blueprint, HashMap<&str, u64>)> {
        let pipeline = self.pipelines.get(&job.spec.pipeline?)?;
        let blueprint = pipeline.blueprint.as_deref()?;
        let names = blueprint.definition.jobs.iter().map(|job| job.name.as_str());
        Some((blueprint, names.zip(pipeline.run.as_ref()?.jobs.iter().copied()).collect()))
    }

    /// What follows from the end of job `id`: its pipeline goes on.
    pub fn after_end(&mut self, id: u64) {
        let moves = self.ended(id);
        self.carry_out(moves);
    }

    /// When the clock has something to do next.
    pub fn next_timer(&self) -> Option<Instant> {
        self.timers.iter().map(|timer| timer.at).min()
    }

    fn rows<'a>(&'a self, pipeline: &'a Pipeline) -> impl Iterator<Item = &'a Job> {
        pipeline.run.iter().flat_map(|run| &run.jobs).filter_map(|id| self.jobs.get(id))
    }

    fn status(&self, pipeline: &Pipeline) -> PipelineStatus {
        let Some(run) = &pipeline.run else { return PipelineStatus::Failed };
        if !run.schedule.is_over() {
            return PipelineStatus::Running;
        }
        let blocks = |job: &Job| {
            let planned = run.schedule.definition().jobs.iter().find(|planned| planned.name == job.spec.name);
            !job.has_ended() && planned.is_some_and(|job| job.start != StartCondition::Manual { blocks: false })
        };
        let has = |status: JobStatus| self.rows(pipeline).any(|job| job.status() == status && !job.may_fail());
        if has(JobStatus::Failed) {
            PipelineStatus::Failed
        } else if has(JobStatus::Cancelled) {
            PipelineStatus::Cancelled
        } else if self.rows(pipeline).any(blocks) {
            PipelineStatus::Manual
        } else {
            PipelineStatus::Success
        }
    }

    /// Makes the rows of a pipeline; what is to be done first.
    fn begin(&mut self, mut pipeline: Pipeline) -> Moves {
        let id = pipeline.id;
        let mut moves = Vec::new();
        if let Some(blueprint) = pipeline.blueprint.clone() {
            match Schedule::new(blueprint.definition.clone(), &|_| false) {
                Ok(mut schedule) => {
                    let names = blueprint.definition.jobs.iter();
                    let jobs = names.map(|job| self.add_row(&blueprint, &pipeline, &job.name)).collect();
                    moves.extend(schedule.start().into_iter().map(|one| (id, one)));
                    pipeline.run = Some(Run { schedule, jobs });
                }
                Err(unfit) => pipeline.errors.push(unfit.to_string()),
            }
        }
        self.pipelines.insert(id, pipeline);
        moves
    }

    /// A row for the job of this name, held until its time comes.
    fn add_row(&mut self, blueprint: &Blueprint, pipeline: &Pipeline, name: &str) -> u64 {
        let mut spec = JobSpec {
            git_ref: pipeline.git_ref.clone(),
            pipeline: Some(pipeline.id),
            held: true,
            ..JobSpec::new(pipeline.project, name, json!({}))
        };
        if let Some(planned) = blueprint.definition.jobs.iter().find(|job| job.name == name) {
            spec.stage.clone_from(&planned.stage);
            spec.may_fail = planned.may_fail.clone();
        }
        if let Some(created) = blueprint.pipeline.job(name) {
            spec.tags = tags(blueprint, created);
            spec.bridge = blueprint.pipeline.source(created).is_some_and(|job| job.is_bridge());
        }
        let id = self.next_id();
        let trace = Trace::new(self.traces.join(id.to_string()));
        let token = format!("glcbt-64_{}", random_text(20));
        self.jobs.insert(id, Job::new(id, token, spec, blueprint.commit.clone(), trace));
        id
    }

    /// Does what schedules ask for, and what follows from it.
    fn carry_out(&mut self, moves: Moves) {
        let mut open = VecDeque::from(moves);
        while let Some((pipeline, one)) = open.pop_front() {
            open.extend(self.carry_out_one(pipeline, one));
            if open.iter().all(|(other, _)| *other != pipeline) {
                open.extend(self.tell_parent(pipeline));
            }
        }
    }

    fn carry_out_one(&mut self, pipeline: u64, one: Move) -> Moves {
        match one {
            Move::Start { job, attempt } => return self.start(pipeline, job, attempt),
            Move::Wait { job, delay, .. } => {
                let Some(run) = self.run(pipeline) else { return Vec::new() };
                if run.schedule.status(job) == Some(JobStatus::Retry) {
                    return with(pipeline, run.schedule.due(job));
                }
                self.timers.push(Timer { at: Instant::now() + delay, pipeline, job });
                self.wait(pipeline, job, Waiting::Clock);
            }
            Move::Hold(job) => self.wait(pipeline, job, Waiting::Person),
            Move::Decide(job) => {
                return self
                    .run(pipeline)
                    .map(|run| with(pipeline, run.schedule.decided(job, Ok(()))))
                    .unwrap_or_default();
            }
            Move::Never { job, end, .. } => {
                let change = if end == NeverRan::Skipped { JobChange::Skip } else { JobChange::Cancel };
                if let Some(row) = self.row(pipeline, job) {
                    // One that somebody cancelled has its end already.
                    let _ = row.change(change);
                }
            }
            Move::Cancel { job, .. } => {
                let Some(row) = self.row(pipeline, job) else { return Vec::new() };
                if row.ends_tidily() {
                    row.is_canceling = true;
                } else if row.change(JobChange::Cancel).is_ok() {
                    let id = row.id;
                    return self.ended(id);
                }
            }
        }
        Vec::new()
    }

    fn start(&mut self, pipeline: u64, job: JobIndex, attempt: u32) -> Moves {
        if attempt > 1 {
            self.renew(pipeline, job);
        }
        let Some(row) = self.row(pipeline, job) else { return Vec::new() };
        row.spec.held = false;
        row.queued_at = Instant::now();
        let (id, project, only, is_bridge) = (row.id, row.spec.project, row.spec.runner, row.spec.bridge);
        if is_bridge {
            return self.start_child(pipeline, id);
        }
        self.bump_queues(project, only);
        Vec::new()
    }

    /// A new row for another try.
    fn renew(&mut self, pipeline: u64, job: JobIndex) {
        let Some(mut taken) = self.pipelines.remove(&pipeline) else { return };
        if let (Some(blueprint), Some(run)) = (taken.blueprint.clone(), &taken.run)
            && let Some(name) = run.schedule.definition().jobs.get(job.0).map(|job| job.name.clone())
        {
            let id = self.add_row(&blueprint, &taken, &name);
            if let Some(row) = taken.run.as_mut().and_then(|run| run.jobs.get_mut(job.0)) {
                *row = id;
            }
        }
        self.pipelines.insert(pipeline, taken);
    }

    /// The job `id` starts its child pipeline.
    fn start_child(&mut self, pipeline: u64, id: u64) -> Moves {
        let Some(row) = self.jobs.get_mut(&id) else { return Vec::new() };
        let _ = row.change(JobChange::Start);
        let name = row.spec.name.clone();
        let Some(parent) = self.pipelines.get(&pipeline) else { return Vec::new() };
        let Some(blueprint) = &parent.blueprint else { return Vec::new() };
        let Some(child) = blueprint.children.get(name.as_str()) else {
            return self.end_bridge(id, JobChange::Fail, Some("downstream_pipeline_creation_failed"));
        };
        let waits = waits_for_child(blueprint, &name);
        let child = parent.child(child.clone(), id);
        let mut moves = self.begin(child);
        if !waits {
            moves.extend(self.end_bridge(id, JobChange::Succeed, None));
        }
        moves
    }

    fn end_bridge(&mut self, id: u64, change: JobChange, reason: Option<&str>) -> Moves {
        let Some(row) = self.jobs.get_mut(&id) else { return Vec::new() };
        row.failure_reason = reason.map(str::to_owned);
        let _ = row.change(change);
        self.ended(id)
    }

    /// A pipeline that has ended tells the job that waits for it.
    fn tell_parent(&mut self, pipeline: u64) -> Moves {
        let Some(pipeline) = self.pipelines.get(&pipeline) else { return Vec::new() };
        let Some(parent) = pipeline.parent else { return Vec::new() };
        let is_waiting = self.jobs.get(&parent).is_some_and(|job| job.status() == JobStatus::Running);
        match self.status(pipeline) {
            _ if !is_waiting => Vec::new(),
            PipelineStatus::Running | PipelineStatus::Manual => Vec::new(),
            PipelineStatus::Success => self.end_bridge(parent, JobChange::Succeed, None),
            PipelineStatus::Failed => self.end_bridge(parent, JobChange::Fail, Some("script_failure")),
            PipelineStatus::Cancelled => self.end_bridge(parent, JobChange::Cancel, None),
        }
    }

    /// What the schedule says to the end of job `id`.
    fn ended(&mut self, id: u64) -> Moves {
        let Some((pipeline, index)) = self.place(id) else { return Vec::new() };
        let Some(outcome) = self.jobs.get(&id).and_then(outcome) else { return Vec::new() };
        let Some(run) = self.run(pipeline) else { return Vec::new() };
        let mut moves = run.schedule.ended(index, &outcome, 0.5);
        if outcome == JobOutcome::Cancelled {
            // One that had not begun yet.
            moves.extend(run.schedule.cancel_job(index, "somebody cancelled it"));
        }
        // Where something follows, the parent hears after that.
        if moves.is_empty() { self.tell_parent(pipeline) } else { with(pipeline, moves) }
    }

    /// The pipeline of a row and its place there. `None`: it is in none, or was replaced by another try.
    fn place(&self, id: u64) -> Option<(u64, JobIndex)> {
        let pipeline = self.jobs.get(&id)?.spec.pipeline?;
        let run = self.pipelines.get(&pipeline)?.run.as_ref()?;
        Some((pipeline, JobIndex(run.jobs.iter().position(|row| *row == id)?)))
    }

    fn run(&mut self, pipeline: u64) -> Option<&mut Run> {
        self.pipelines.get_mut(&pipeline)?.run.as_mut()
    }

    fn row(&mut self, pipeline: u64, job: JobIndex) -> Option<&mut Job> {
        let id = self.pipelines.get(&pipeline)?.row(job)?;
        self.jobs.get_mut(&id)
    }

    fn wait(&mut self, pipeline: u64, job: JobIndex, waiting: Waiting) {
        if let Some(row) = self.row(pipeline, job) {
            row.waiting = waiting;
        }
    }

    /// Lets a job go on that waits for `waiting`.
    fn go_on(&mut self, pipeline: u64, job: JobIndex, waiting: &[Waiting]) -> bool {
        let is_waiting = self
            .row(pipeline, job)
            .is_some_and(|row| row.spec.held && !row.has_ended() && waiting.contains(&row.waiting));
        if is_waiting {
            self.wait(pipeline, job, Waiting::Others);
            let moves = self.run(pipeline).map(|run| run.schedule.due(job)).unwrap_or_default();
            self.carry_out(with(pipeline, moves));
        }
        is_waiting
    }
}

impl World {
    /// Starts a job that waits for a person or the clock. `false`: it does not.
    pub fn play(&self, id: u64) -> bool {
        let mut know = self.know();
        let place = know.place(id);
        let done = place.is_some_and(|(pipeline, job)| know.go_on(pipeline, job, &[Waiting::Person, Waiting::Clock]));
        drop(know);
        self.changed();
        done
    }

    /// Cancels all of a pipeline.
    pub fn cancel_pipeline(&self, id: u64) {
        let mut know = self.know();
        let moves = know.run(id).map(|run| run.schedule.cancel("somebody cancelled the pipeline")).unwrap_or_default();
        know.carry_out(with(id, moves));
        drop(know);
        self.changed();
    }

    /// Lets go on what waited for the clock until now.
    pub fn tick(&self) {
        let mut know = self.know();
        let now = Instant::now();
        let (due, later): (Vec<Timer>, Vec<Timer>) = know.timers.iter().partition(|timer| timer.at <= now);
        know.timers = later;
        for timer in due {
            know.go_on(timer.pipeline, timer.job, &[Waiting::Clock]);
        }
        drop(know);
        self.changed();
    }
}

fn with(pipeline: u64, moves: Vec<Move>) -> Moves {
    moves.into_iter().map(|one| (pipeline, one)).collect()
}

/// How a job ended; `None`: it has not.
fn outcome(job: &Job) -> Option<JobOutcome> {
    match job.status() {
        JobStatus::Success => Some(JobOutcome::Success),
        JobStatus::Cancelled => Some(JobOutcome::Cancelled),
        JobStatus::Failed => {
            let named = job.failure_reason.as_deref().unwrap_or_default();
            // Reasons of newer runners and of this server itself are no script's fault.
            let reason = serde_json::from_value(json!(named)).unwrap_or(FailureReason::RunnerSystemFailure);
            let exit_code = job.exit_code.and_then(|code| i32::try_from(code).ok());
            Some(JobOutcome::Failed(JobFailure { exit_code, ..JobFailure::new(reason, named) }))
        }
        JobStatus::Pending | JobStatus::Running | JobStatus::Retry | JobStatus::Skipped => None,
    }
}

fn tags(blueprint: &Blueprint, created: &CreatedJob) -> Vec<String> {
    let Some((source, scope)) = blueprint.pipeline.source(created).zip(blueprint.pipeline.scope(created)) else {
        return Vec::new();
    };
    source.tags.iter().flat_map(|tags| tags.iter()).map(|tag| scope.expand(&tag.value)).collect()
}

/// Whether the job of this name has the end of the pipeline that it starts.
fn waits_for_child(blueprint: &Blueprint, name: &str) -> bool {
    let source = blueprint.pipeline.job(name).and_then(|created| blueprint.pipeline.source(created));
    source.and_then(|job| job.trigger()).is_some_and(|trigger| trigger.strategy.is_some())
}
