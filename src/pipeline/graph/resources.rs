//! What jobs ask for against what there is.

use super::build::{JobGraph, JobIndex};

/// What a job asks of its machine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Resources {
    /// Processor cores.
    pub cpus: f64,
    /// Bytes of memory.
    pub memory: u64,
}

/// What does not fit.
#[derive(Clone, Debug, PartialEq)]
pub enum ResourceConflict {
    /// One job alone asks for more than there is.
    TooBig {
        /// The job.
        job: JobIndex,
    },
    /// Jobs of one level ask for more than there is together: they will wait for each other.
    Hotspot {
        /// The level, from 0.
        level: usize,
        /// What its jobs ask for together.
        asked: Resources,
    },
}

impl JobGraph {
    /// What the jobs of each level ask for together.
    pub fn demand(&self, asks: &[Resources]) -> Vec<Resources> {
        let of = |job: &JobIndex| asks.get(job.0).copied().unwrap_or_default();
        let sum =
            |a: Resources, b: Resources| Resources { cpus: a.cpus + b.cpus, memory: a.memory.saturating_add(b.memory) };
        self.levels().iter().map(|jobs| jobs.iter().map(of).fold(Resources::default(), sum)).collect()
    }

    /// What does not fit into `limit`.
    pub fn conflicts(&self, asks: &[Resources], limit: Resources) -> Vec<ResourceConflict> {
        let exceeds = |asked: &Resources| asked.cpus > limit.cpus || asked.memory > limit.memory;
        let too_big = self.jobs().filter(|job| asks.get(job.0).is_some_and(exceeds));
        let mut found: Vec<ResourceConflict> = too_big.map(|job| ResourceConflict::TooBig { job }).collect();
        let demand = self.demand(asks).into_iter().enumerate().filter(|(_, asked)| exceeds(asked));
        found.extend(demand.map(|(level, asked)| ResourceConflict::Hotspot { level, asked }));
        found
    }
}
