//! What the graph means for time.

use std::collections::HashSet;
use std::time::Duration;

use petgraph::Direction;
use petgraph::graph::NodeIndex;

use super::build::{JobGraph, JobIndex, Node, node};
use crate::pipeline::PipelineDefinition;

/// How long each job takes: recorded, or estimated by its author, or a common guess.
#[derive(Clone, Debug)]
pub struct Durations {
    /// By the job's place in the definition; `None` where nothing is known.
    pub known: Vec<Option<Duration>>,
    /// For jobs of which nothing is known.
    pub guess: Duration,
}

impl Durations {
    /// Nothing is known: each job counts the same.
    pub fn equal() -> Self {
        Self { known: Vec::new(), guess: Duration::from_secs(1) }
    }

    /// What the definition expects; jobs of which it says nothing take as long as the others on average.
    pub fn estimated(definition: &PipelineDefinition) -> Self {
        let known: Vec<Option<Duration>> = definition.jobs.iter().map(|job| job.estimate).collect();
        let given: Vec<Duration> = known.iter().flatten().copied().collect();
        match u32::try_from(given.len()) {
            Ok(count @ 1..) => {
                let sum = given.iter().fold(Duration::ZERO, |sum, one| sum.saturating_add(*one));
                Self { known, guess: sum / count }
            }
            _ => Self::equal(),
        }
    }

    /// Whether something is known.
    pub fn are_known(&self) -> bool {
        self.known.iter().any(Option::is_some)
    }

    /// How long `job` takes.
    pub fn of(&self, job: JobIndex) -> Duration {
        self.known.get(job.0).copied().flatten().unwrap_or(self.guess)
    }
}

/// The chain of jobs that decides how long the pipeline takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CriticalPath {
    /// The jobs, first to last.
    pub jobs: Vec<JobIndex>,
    /// How long they take one after the other.
    pub total: Duration,
}

/// A job whose limits cannot hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Infeasible {
    /// The job at whose end the pipeline's limit has passed.
    pub job: JobIndex,
    /// When it ends at the earliest.
    pub ends: Duration,
}

impl JobGraph {
    /// Jobs by level (Kahn's algorithm): those of the first wait for nobody, those of each other level for the one before.
    pub fn levels(&self) -> Vec<Vec<JobIndex>> {
        // The level a node may begin in. A line between stages takes no level of its own.
        let mut level = vec![0_usize; self.graph.node_count()];
        let mut levels: Vec<Vec<JobIndex>> = Vec::new();
        for at in &self.order {
            let own = level[at.index()];
            let after = match self.graph.node_weight(*at) {
                Some(Node::Job(job)) => {
                    if levels.len() <= own {
                        levels.resize(own + 1, Vec::new());
                    }
                    levels[own].push(*job);
                    own + 1
                }
                _ => own,
            };
            for next in self.graph.neighbors(*at) {
                level[next.index()] = level[next.index()].max(after);
            }
        }
        levels.iter_mut().for_each(|jobs| jobs.sort_unstable());
        levels
    }

    /// For each job, how many nodes it waits for directly, and the jobs that may start when nothing has run yet.
    pub fn roots(&self) -> Vec<JobIndex> {
        self.levels().into_iter().next().unwrap_or_default()
    }

    /// The chain that takes longest; of equally long ones the one that is first in the file.
    pub fn critical_path(&self, durations: &Durations) -> CriticalPath {
        let mut ends = vec![(Duration::ZERO, None::<NodeIndex>); self.graph.node_count()];
        let mut last: Option<(Duration, NodeIndex)> = None;
        for at in &self.order {
            let before = self
                .graph
                .neighbors_directed(*at, Direction::Incoming)
                .map(|from| (ends[from.index()].0, from))
                .max_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
            let begins = before.map_or(Duration::ZERO, |(end, _)| end);
            let own = match self.graph.node_weight(*at) {
                Some(Node::Job(job)) => durations.of(*job),
                _ => Duration::ZERO,
            };
            let end = begins.saturating_add(own);
            ends[at.index()] = (end, before.map(|(_, from)| from));
            let is_job = matches!(self.graph.node_weight(*at), Some(Node::Job(_)));
            if is_job && last.is_none_or(|(longest, node)| end > longest || end == longest && *at < node) {
                last = Some((end, *at));
            }
        }
        let Some((total, end)) = last else { return CriticalPath::default() };
        let mut jobs = Vec::new();
        let mut next = Some(end);
        while let Some(at) = next {
            if let Some(Node::Job(job)) = self.graph.node_weight(at) {
                jobs.push(*job);
            }
            next = ends[at.index()].1;
        }
        jobs.reverse();
        CriticalPath { jobs, total }
    }

    /// How many jobs run at the same time on average when nothing but the graph holds them back.
    pub fn parallelism(&self, durations: &Durations) -> f64 {
        let work: f64 = self.jobs().map(|job| durations.of(job).as_secs_f64()).sum();
        let path = self.critical_path(durations).total.as_secs_f64();
        if path > 0.0 { work / path } else { 0.0 }
    }

    /// All jobs that cannot run when `job` fails.
    pub fn blast_radius(&self, job: JobIndex) -> Vec<JobIndex> {
        let mut hit = Vec::new();
        let mut seen = HashSet::from([node(job)]);
        let mut open = vec![node(job)];
        while let Some(at) = open.pop() {
            for next in self.graph.neighbors(at) {
                if seen.insert(next) {
                    open.push(next);
                    if let Some(Node::Job(job)) = self.graph.node_weight(next) {
                        hit.push(*job);
                    }
                }
            }
        }
        hit.sort_unstable();
        hit
    }

    /// The jobs that end after the pipeline's time limit even where all run as early as they can.
    pub fn infeasible(&self, durations: &Durations, limit: Duration) -> Vec<Infeasible> {
        let mut ends = vec![Duration::ZERO; self.graph.node_count()];
        let mut found = Vec::new();
        for at in &self.order {
            let incoming = self.graph.neighbors_directed(*at, Direction::Incoming);
            let begins = incoming.map(|from| ends[from.index()]).max().unwrap_or_default();
            let Some(Node::Job(job)) = self.graph.node_weight(*at) else {
                ends[at.index()] = begins;
                continue;
            };
            let end = begins.saturating_add(durations.of(*job));
            ends[at.index()] = end;
            if end > limit {
                found.push(Infeasible { job: *job, ends: end });
            }
        }
        found.sort_by_key(|found| found.job);
        found
    }
}
