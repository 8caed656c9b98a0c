//! What holds back a job that could start: its group's `max-parallel`, and its resource group.

use std::collections::{HashMap, VecDeque};

use super::JobIndex;
use crate::pipeline::PipelineDefinition;

/// Who holds which place, and who waits for one, in the order in which they asked.
#[derive(Debug, Default)]
pub struct Claims {
    kinds: Vec<Kind>,
    of_job: Vec<Vec<usize>>,
}

/// One group or resource group.
#[derive(Debug)]
struct Kind {
    free: usize,
    waiting: VecDeque<JobIndex>,
}

impl Claims {
    /// All places free.
    pub fn new(definition: &PipelineDefinition) -> Self {
        let mut claims = Claims { kinds: Vec::new(), of_job: vec![Vec::new(); definition.jobs.len()] };
        let mut groups = HashMap::new();
        let mut resources = HashMap::new();
        for (index, job) in definition.jobs.iter().enumerate() {
            let limit = job.group.and_then(|group| Some((group, definition.groups.get(group)?.max_parallel?)));
            if let Some((group, limit)) = limit {
                let kind = *groups.entry(group).or_insert_with(|| claims.add(limit));
                claims.of_job[index].push(kind); // in range: `of_job` is as long as `jobs`
            }
            if let Some(name) = job.resource_group.as_deref() {
                let kind = *resources.entry(name).or_insert_with(|| claims.add(1));
                claims.of_job[index].push(kind);
            }
        }
        claims
    }

    fn add(&mut self, limit: usize) -> usize {
        self.kinds.push(Kind { free: limit.max(1), waiting: VecDeque::new() });
        self.kinds.len() - 1
    }

    /// Takes all places that a job needs; else it stands in line for the first that is missing, and holds none.
    pub fn take(&mut self, job: JobIndex) -> bool {
        let wanted = self.of_job.get(job.0).cloned().unwrap_or_default();
        for kind in &wanted {
            if let Some(kind) = self.kinds.get_mut(*kind).filter(|kind| kind.free == 0) {
                kind.waiting.push_back(job);
                return false;
            }
        }
        for kind in wanted {
            if let Some(kind) = self.kinds.get_mut(kind) {
                kind.free -= 1;
            }
        }
        true
    }

    /// A job that held its places is over. Those that hold theirs now, and can start.
    pub fn give_back(&mut self, job: JobIndex) -> Vec<JobIndex> {
        let kinds = self.of_job.get(job.0).cloned().unwrap_or_default();
        for kind in &kinds {
            if let Some(kind) = self.kinds.get_mut(*kind) {
                kind.free += 1;
            }
        }
        let mut granted = Vec::new();
        for kind in kinds {
            // One that meets another full group stands in that line from now on, so this one gets shorter each time.
            while let Some(next) =
                self.kinds.get_mut(kind).filter(|kind| kind.free > 0).and_then(|kind| kind.waiting.pop_front())
            {
                if self.take(next) {
                    granted.push(next);
                }
            }
        }
        granted
    }

    /// A job that stood in line does not wait any more.
    pub fn forget(&mut self, job: JobIndex) {
        for kind in self.of_job.get(job.0).cloned().unwrap_or_default() {
            if let Some(kind) = self.kinds.get_mut(kind) {
                kind.waiting.retain(|waiting| *waiting != job);
            }
        }
    }
}
