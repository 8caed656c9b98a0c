//! The jobs of a `forgehand.yml`: what its rules decide, in the words of the loop that runs pipelines and of the engine.
//!
//! [`job`]: one of them in the words of the model. [`steps`]: its steps, worked out one after the other.

pub mod job;
pub mod steps;
mod unhonoured;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use self::job::NativeJob;
use self::steps::NativeSteps;
use super::house::Sandbox;
use super::reporter::Shelf;
use super::surroundings::Surroundings;
use super::worker::{JobSteps, LocalEnd, LocalJob, LocalWork};
use crate::executor::pipeline::JobEnd as _;
use crate::executor::pipeline::fixed::Language;
use crate::parser::native::run::{Decision, Ended, LegEnd, Run};
use crate::parser::native::{Leg, Planned};
use crate::pipeline::schedule::{JobIndex, Schedule};
use crate::pipeline::{JobOutcome, JobStatus, PipelineDefinition};

/// A pipeline's jobs and what they are made from.
pub struct NativeJobs {
    run: Arc<Run>,
    /// By their places in the definition.
    legs: Vec<Leg>,
    ends: Vec<Option<LegEnd>>,
    /// Jobs whose condition cannot be evaluated: why.
    undecided: HashMap<usize, String>,
    project_path: String,
    project: u32,
    shelf: Shelf,
    sandbox: Sandbox,
    secrets: Vec<crate::pipeline::Secret>,
}

impl NativeJobs {
    /// The jobs of a run. `image`: of steps for which neither step nor job names one.
    pub fn new(
        planned: Planned,
        mut run: Run,
        surroundings: &Surroundings,
        image: Option<&str>,
        shelf: Shelf,
        sandbox: Sandbox,
    ) -> (PipelineDefinition, Self) {
        if let Some(image) = image {
            run.set_image(image);
        }
        let jobs = Self {
            run: Arc::new(run),
            ends: vec![None; planned.legs.len()],
            legs: planned.legs,
            undecided: HashMap::new(),
            project_path: surroundings.project_path(),
            project: surroundings.project_id(),
            shelf,
            sandbox,
            secrets: surroundings.request.secrets.iter().map(|(_, value)| value.clone()).collect(),
        };
        (planned.definition, jobs)
    }

    /// How long the whole may take.
    pub fn timeout(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.run.pipeline().timeout.into())
    }

    fn name_of(&self, leg: &Leg) -> &str {
        self.run.pipeline().jobs.get(leg.job).map_or("", |job| job.name.as_str())
    }

    /// How the jobs ended that have.
    fn ended(&self) -> Ended {
        let mut ended = Ended::default();
        let present: HashSet<usize> = self.legs.iter().map(|leg| leg.job).collect();
        let left_out = self.run.pipeline().jobs.iter().enumerate().filter(|(at, _)| !present.contains(at));
        for (_, job) in left_out {
            // Somebody asked for the others alone: as if it had gone well.
            ended.add(&job.name, LegEnd { status: JobStatus::Success, artifacts: 0 });
        }
        for (leg, end) in self.legs.iter().zip(&self.ends) {
            if let Some(end) = end {
                ended.add(self.name_of(leg), *end);
            }
        }
        ended
    }

    /// The places of all jobs that this one waits for, also through others, the first ones first.
    fn ancestors(&self, job: usize) -> Vec<usize> {
        let jobs = &self.run.pipeline().jobs;
        let by_name: HashMap<&str, usize> = jobs.iter().enumerate().map(|(at, job)| (job.name.as_str(), at)).collect();
        let mut seen = HashSet::new();
        let mut open: Vec<usize> = self.legs.get(job).map(|leg| leg.job).into_iter().collect();
        while let Some(at) = open.pop() {
            let needs = jobs.get(at).map(|job| job.depends_on.as_slice()).unwrap_or_default();
            open.extend(needs.iter().filter_map(|need| by_name.get(need.name.as_str())).filter(|at| seen.insert(**at)));
        }
        (0..self.legs.len()).filter(|at| self.legs.get(*at).is_some_and(|leg| seen.contains(&leg.job))).collect()
    }

    /// What a job is told about those whose artifacts it should be given.
    fn remarks(&self, job: usize) -> Vec<String> {
        let name = |at| self.legs.get(at).map_or("", |leg| self.name_of(leg));
        self.ancestors(job).into_iter().filter_map(|at| self.shelf.remark(&id(at).to_string(), name(at))).collect()
    }

    fn work(&self, index: usize) -> Result<LocalWork, String> {
        if let Some(problem) = self.undecided.get(&index) {
            return Err(format!("`conditional`: {problem}"));
        }
        let leg = self.legs.get(index).cloned().ok_or("it is no job of this pipeline")?;
        let ended = self.ended();
        let settings = self.run.job(&leg, &ended).map_err(|error| error.to_string())?;
        let given = self.ancestors(index).into_iter().filter_map(|at| {
            let (name, size) = self.shelf.of(&id(at).to_string()).archive.map(|(_, name, size)| (name, size))?;
            let of = self.legs.get(at).map(|leg| self.name_of(leg).to_owned()).unwrap_or_default();
            Some(job::Given { id: id(at), job: of, file_name: name, size })
        });
        let given = given.collect();
        let steps = NativeSteps::new(Arc::clone(&self.run), leg.clone(), ended, &settings.image, self.sandbox);
        let timeout = self.run.pipeline().jobs.get(leg.job).map_or(3600, |job| job.timeout);
        Ok(LocalWork::Steps(JobSteps::Native(Box::new(NativeJob {
            settings,
            given,
            timeout: std::time::Duration::from_secs(timeout.into()),
            secrets: self.secrets.clone(),
            steps: Arc::new(Mutex::new(steps)),
        }))))
    }
}

/// The number of the job at a place, from 1.
fn id(place: usize) -> usize {
    place + 1
}

impl Language for NativeJobs {
    type Job = LocalJob;
    type End = LocalEnd;

    fn decide(&mut self, job: usize, schedule: &Schedule) -> Result<(), String> {
        // What never ran is heard of by nobody else.
        for at in 0..self.legs.len() {
            let status = schedule.status(JobIndex(at)).filter(|status| *status == JobStatus::Skipped);
            if let Some(end) = self.ends.get_mut(at).filter(|end| end.is_none()) {
                *end = status.map(|status| LegEnd { status, artifacts: 0 });
            }
        }
        let Some(leg) = self.legs.get(job) else { return Ok(()) };
        match self.run.decide(leg, &self.ended()) {
            Ok(Decision::Runs) => Ok(()),
            Ok(Decision::Skipped(reason)) => Err(reason),
            Err(problem) => {
                self.undecided.insert(job, problem);
                Ok(())
            }
        }
    }

    fn make(&mut self, job: usize) -> LocalJob {
        LocalJob {
            id: id(job),
            work: self.work(job).unwrap_or_else(LocalWork::Refused),
            remarks: self.remarks(job),
            project_path: self.project_path.clone(),
            project: self.project,
        }
    }

    fn hear(&mut self, job: usize, end: &LocalEnd) {
        let status = match end.outcome() {
            JobOutcome::Success => JobStatus::Success,
            JobOutcome::Failed(_) => JobStatus::Failed,
            JobOutcome::Cancelled => JobStatus::Cancelled,
        };
        let artifacts = u64::try_from(self.shelf.of(&id(job).to_string()).files).unwrap_or(u64::MAX);
        if let Some(end) = self.ends.get_mut(job) {
            *end = Some(LegEnd { status, artifacts });
        }
    }
}
