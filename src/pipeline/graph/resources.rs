//! What jobs ask for against what there is.

use std::fmt;

use super::build::{JobGraph, JobIndex};
use crate::pipeline::ResourceRequest;

/// Processors, memory and disk: asked for by some jobs together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Thousandths of a processor.
    pub cpu_millis: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of disk.
    pub disk: u64,
}

impl Demand {
    /// With what another job asks for.
    #[must_use]
    pub fn and(self, ask: &ResourceRequest) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_add(ask.cpu_millis.unwrap_or(0)),
            memory: self.memory.saturating_add(ask.memory.unwrap_or(0)),
            disk: self.disk.saturating_add(ask.disk.unwrap_or(0)),
        }
    }

    /// Whether nothing is asked for.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// What of it is more than there is.
    pub fn beyond(&self, limit: &ResourceRequest) -> Vec<Excess> {
        let amounts = [
            (Kind::Cpu, self.cpu_millis, limit.cpu_millis),
            (Kind::Memory, self.memory, limit.memory),
            (Kind::Disk, self.disk, limit.disk),
        ];
        let excess = |(kind, asked, limit): (Kind, u64, Option<u64>)| {
            limit.filter(|limit| asked > *limit).map(|limit| Excess { kind, asked, limit })
        };
        amounts.into_iter().filter_map(excess).collect()
    }
}

/// What there is of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Processors, in thousandths.
    Cpu,
    /// Bytes of memory.
    Memory,
    /// Bytes of disk.
    Disk,
}

/// More than there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// Of what.
    pub kind: Kind,
    /// How much is asked for.
    pub asked: u64,
    /// How much there is.
    pub limit: u64,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            Kind::Cpu => "processors",
            Kind::Memory => "of memory",
            Kind::Disk => "of disk",
        };
        write!(f, "{} {what}, and there are {}", amount(self.kind, self.asked), amount(self.kind, self.limit))
    }
}

/// An amount as people write it: `1.5`, `4 GB`, `512 MiB`.
pub fn amount(kind: Kind, value: u64) -> String {
    const UNITS: [(&str, u64); 8] = [
        ("TB", 1_000_000_000_000),
        ("TiB", 1 << 40),
        ("GB", 1_000_000_000),
        ("GiB", 1 << 30),
        ("MB", 1_000_000),
        ("MiB", 1 << 20),
        ("kB", 1_000),
        ("KiB", 1 << 10),
    ];
    if kind == Kind::Cpu {
        let text = format!("{}.{:03}", value / 1_000, value % 1_000);
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let whole = UNITS.iter().filter(|(_, size)| value.is_multiple_of(*size) && value > 0);
    match whole.max_by_key(|(_, size)| *size) {
        Some((unit, size)) => format!("{} {unit}", value / size),
        None => format!("{value} bytes"),
    }
}

/// What does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceConflict {
    /// One job alone asks for more than there is: it can never run.
    TooBig {
        /// The job.
        job: JobIndex,
        /// What it asks too much of.
        excess: Vec<Excess>,
    },
    /// Jobs of one level ask for more than there is together: they will wait for each other.
    Hotspot {
        /// The level, from 0.
        level: usize,
        /// Those of its jobs that ask for what there is too little of.
        jobs: Vec<JobIndex>,
        /// What they ask too much of.
        excess: Vec<Excess>,
    },
}

impl JobGraph {
    /// What the jobs of each level ask for together. `asks`: by the jobs' places in the definition.
    pub fn demand(&self, asks: &[ResourceRequest]) -> Vec<Demand> {
        let sum = |jobs: &Vec<JobIndex>| {
            jobs.iter().filter_map(|job| asks.get(job.0)).fold(Demand::default(), |sum, ask| sum.and(ask))
        };
        self.levels().iter().map(sum).collect()
    }

    /// What does not fit into `limit`.
    pub fn conflicts(&self, asks: &[ResourceRequest], limit: &ResourceRequest) -> Vec<ResourceConflict> {
        let alone =
            |job: JobIndex| asks.get(job.0).map(|ask| Demand::default().and(ask).beyond(limit)).unwrap_or_default();
        let too_big = self.jobs().map(|job| (job, alone(job))).filter(|(_, excess)| !excess.is_empty());
        let mut found: Vec<ResourceConflict> =
            too_big.map(|(job, excess)| ResourceConflict::TooBig { job, excess }).collect();
        for (level, (jobs, asked)) in self.levels().into_iter().zip(self.demand(asks)).enumerate() {
            let excess = asked.beyond(limit);
            let of = |ask: &ResourceRequest, kind| match kind {
                Kind::Cpu => ask.cpu_millis,
                Kind::Memory => ask.memory,
                Kind::Disk => ask.disk,
            };
            let asks_for_it = |job: &JobIndex| {
                let ask = asks.get(job.0);
                ask.is_some_and(|ask| excess.iter().any(|excess| of(ask, excess.kind).is_some_and(|asked| asked > 0)))
            };
            let jobs: Vec<JobIndex> = jobs.into_iter().filter(asks_for_it).collect();
            if jobs.len() > 1 {
                found.push(ResourceConflict::Hotspot { level, jobs, excess });
            }
        }
        found
    }
}
