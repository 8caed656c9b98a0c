//! What holds back a job that could start: its group's `max-parallel`, its resource group, and what there is of the machine for
//! all jobs together.

use std::collections::{HashMap, VecDeque};

use super::JobIndex;
use crate::pipeline::{PipelineDefinition, ResourceRequest};

/// Who holds how much of what, and who waits for it, in the order in which they asked.
#[derive(Debug, Default)]
pub struct Claims {
    lines: Vec<Line>,
    of_job: Vec<Vec<Claim>>,
    /// Lines whose first may have what it waits for.
    freed: Vec<usize>,
}

/// What there is of something, and who waits for it.
#[derive(Debug)]
struct Line {
    free: u64,
    waiting: VecDeque<JobIndex>,
}

/// What a job takes of something while it runs.
#[derive(Clone, Copy, Debug)]
struct Claim {
    line: usize,
    amount: u64,
}

impl Claims {
    /// Everything free.
    pub fn new(definition: &PipelineDefinition) -> Self {
        let mut claims = Claims { of_job: vec![Vec::new(); definition.jobs.len()], ..Claims::default() };
        let machine =
            amounts(&definition.limits).map(|there_is| there_is.map(|there_is| (claims.add(there_is), there_is)));
        let mut groups = HashMap::new();
        let mut resources = HashMap::new();
        for (index, job) in definition.jobs.iter().enumerate() {
            let mut of_job = Vec::new();
            let limit = job.group.and_then(|group| Some((group, definition.groups.get(group)?.max_parallel?)));
            if let Some((group, limit)) = limit {
                let line = *groups.entry(group).or_insert_with(|| claims.add(limit.max(1) as u64));
                of_job.push(Claim { line, amount: 1 });
            }
            if let Some(name) = job.resource_group.as_deref() {
                let line = *resources.entry(name).or_insert_with(|| claims.add(1));
                of_job.push(Claim { line, amount: 1 });
            }
            for (there_is, asked) in machine.iter().zip(amounts(&job.resources)) {
                if let (Some((line, there_is)), Some(asked)) = (there_is, asked) {
                    // One that asks for more than there is has everything to itself.
                    of_job.push(Claim { line: *line, amount: asked.min(*there_is) });
                }
            }
            claims.of_job[index] = of_job; // in range: `of_job` is as long as `jobs`
        }
        claims
    }

    fn add(&mut self, free: u64) -> usize {
        self.lines.push(Line { free, waiting: VecDeque::new() });
        self.lines.len() - 1
    }

    /// Takes all that a job needs; else it stands in line for the first that is missing, and holds nothing. Nobody is
    /// overtaken: one that asks for much would wait for ever behind many that ask for little.
    pub fn take(&mut self, job: JobIndex) -> bool {
        self.take_as(job, None)
    }

    /// A job that held what it needs is over.
    pub fn give_back(&mut self, job: JobIndex) {
        for claim in self.of_job.get(job.0).into_iter().flatten() {
            if let Some(line) = self.lines.get_mut(claim.line) {
                line.free += claim.amount;
                self.freed.push(claim.line);
            }
        }
    }

    /// A job that stood in line does not wait any more.
    pub fn forget(&mut self, job: JobIndex) {
        for claim in self.of_job.get(job.0).into_iter().flatten() {
            if let Some(line) = self.lines.get_mut(claim.line) {
                line.waiting.retain(|waiting| *waiting != job);
                self.freed.push(claim.line);
            }
        }
    }

    /// Those that waited, hold what they need now, and can start.
    pub fn granted(&mut self) -> Vec<JobIndex> {
        let mut granted = Vec::new();
        for line in std::mem::take(&mut self.freed) {
            // One that meets another line stands in that from now on, so this one gets shorter each time.
            while let Some(next) = self.first_of(line) {
                if self.take_as(next, Some(line)) {
                    granted.push(next);
                }
            }
        }
        granted
    }

    /// Takes the first out of a line that has enough for it.
    fn first_of(&mut self, index: usize) -> Option<JobIndex> {
        let line = self.lines.get_mut(index)?;
        let asked = self.of_job.get(line.waiting.front()?.0)?.iter().find(|claim| claim.line == index)?.amount;
        if asked <= line.free { line.waiting.pop_front() } else { None }
    }

    /// `first_of`: the line whose first this job was.
    fn take_as(&mut self, job: JobIndex, first_of: Option<usize>) -> bool {
        let Some(claims) = self.of_job.get(job.0) else { return true };
        for claim in claims {
            let Some(line) = self.lines.get_mut(claim.line) else { continue };
            let is_its_turn = line.waiting.is_empty() || first_of == Some(claim.line);
            if line.free < claim.amount || !is_its_turn {
                line.waiting.push_back(job);
                return false;
            }
        }
        for claim in claims {
            if let Some(line) = self.lines.get_mut(claim.line) {
                line.free -= claim.amount; // it was enough a moment ago
            }
        }
        true
    }
}

fn amounts(request: &ResourceRequest) -> [Option<u64>; 3] {
    [request.cpu_millis, request.memory, request.disk]
}
