//! Which jobs are left out before anything runs.

use std::collections::HashMap;

use super::super::condition::Condition;
use super::super::plan::Planned;
use super::{Run, scene::Scene};

use crate::pipeline::{JobGroup, PipelineDefinition, PlannedJob, Waits};

/// A plan without the jobs that never run.
#[derive(Clone, Debug, Default)]
pub struct Foreseen {
    /// What may run.
    pub planned: Planned,
    /// What never does, in the order of the file.
    pub left_out: Vec<LeftOut>,
    /// Jobs whose condition cannot be evaluated, by their place in the file, and why.
    pub problems: Vec<(usize, String)>,
}

/// A job that never runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its name as it would have been planned.
    pub name: String,
    /// The place of its job in [`Pipeline::jobs`](super::Pipeline::jobs).
    pub job: usize,
    /// Why, one sentence.
    pub reason: String,
}

impl Run {
    /// The plan without the jobs whose condition is false whatever becomes of the others, and without those that wait for such and do
    /// not ask for results. What stays waits for what stays.
    pub fn foresee(&self, mut planned: Planned) -> Foreseen {
        let mut foreseen = Foreseen::default();
        let mut reasons: HashMap<String, String> = HashMap::new();
        for (job, leg) in planned.definition.jobs.iter().zip(&planned.legs) {
            let condition = self.conditions.get(leg.job).and_then(Option::as_ref).and_then(|known| known.as_ref().ok());
            let Some(condition) = condition else { continue };
            let scene = Scene::new(self, leg, None);
            match self.holds(condition, &scene) {
                _ if scene.open.get() => {}
                Ok(true) => {}
                Ok(false) => {
                    reasons.insert(job.name.clone(), self.is_false(leg));
                }
                Err(problem) => foreseen.problems.push((leg.job, problem)),
            }
        }
        foreseen.problems.dedup();
        if !reasons.is_empty() {
            self.spread(&planned, &mut reasons);
        }
        let (jobs, legs) = (std::mem::take(&mut planned.definition.jobs), planned.legs);
        foreseen.planned.definition = PipelineDefinition { jobs: Vec::new(), ..planned.definition };
        for (mut job, leg) in jobs.into_iter().zip(legs) {
            if let Some(reason) = reasons.get(&job.name) {
                foreseen.left_out.push(LeftOut { name: job.name, job: leg.job, reason: reason.clone() });
                continue;
            }
            if let Waits::Jobs(needs) = &mut job.waits {
                needs.retain(|need| !reasons.contains_key(need));
            }
            foreseen.planned.definition.jobs.push(job);
            foreseen.planned.legs.push(leg);
        }
        without_empty_groups(&mut foreseen.planned.definition.jobs, &mut foreseen.planned.definition.groups);
        foreseen
    }

    /// What waits for a job of which no leg runs does not run either, unless it asks for results.
    fn spread(&self, planned: &Planned, reasons: &mut HashMap<String, String>) {
        let jobs = &planned.definition.jobs;
        let mut waiting: HashMap<usize, Vec<usize>> = HashMap::new();
        let by_name: HashMap<&str, usize> =
            self.pipeline.jobs.iter().enumerate().map(|(at, job)| (job.name.as_str(), at)).collect();
        for (at, job) in self.pipeline.jobs.iter().enumerate() {
            for need in &job.depends_on {
                if let Some(needed) = by_name.get(need.name.as_str()) {
                    waiting.entry(*needed).or_default().push(at);
                }
            }
        }
        let mut legs_of: HashMap<usize, Vec<&PlannedJob>> = HashMap::new();
        jobs.iter().zip(&planned.legs).for_each(|(job, leg)| legs_of.entry(leg.job).or_default().push(job));
        let is_gone = |legs: &[&PlannedJob], reasons: &HashMap<String, String>| {
            !legs.is_empty() && legs.iter().all(|leg| reasons.contains_key(&leg.name))
        };
        let mut open: Vec<usize> =
            legs_of.iter().filter(|(_, legs)| is_gone(legs, reasons)).map(|(job, _)| *job).collect();
        open.sort_unstable();
        while let Some(gone) = open.pop() {
            let name = self.pipeline.jobs.get(gone).map_or("", |job| job.name.as_str());
            for at in waiting.remove(&gone).unwrap_or_default() {
                let condition = self.conditions.get(at).and_then(Option::as_ref).and_then(|known| known.as_ref().ok());
                if condition.is_some_and(Condition::asks_for_results) {
                    continue;
                }
                let legs = legs_of.get(&at).map(Vec::as_slice).unwrap_or_default();
                for leg in legs {
                    reasons
                        .entry(leg.name.clone())
                        .or_insert_with(|| format!("it waits for `{name}`, which is left out"));
                }
                open.push(at);
            }
        }
    }
}

/// A group of which no job is left goes, and the places in the list with it.
fn without_empty_groups(jobs: &mut [PlannedJob], groups: &mut Vec<JobGroup>) {
    let mut used = vec![false; groups.len()];
    jobs.iter().filter_map(|job| job.group).for_each(|at| used.get_mut(at).into_iter().for_each(|used| *used = true));
    let mut place = Vec::with_capacity(groups.len());
    let mut kept = 0;
    for used in &used {
        place.push(kept);
        kept += usize::from(*used);
    }
    let mut uses = used.iter();
    groups.retain(|_| uses.next().copied().unwrap_or(false));
    for job in jobs {
        job.group = job.group.and_then(|at| place.get(at).copied());
    }
}
