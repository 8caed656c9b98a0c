//! The lines of a drawing: few enough to be read, and to be drawn.

use petgraph::Direction;
use petgraph::graph::NodeIndex;

use crate::pipeline::graph::build::{JobGraph, JobIndex, Node, node};

/// Lines from each job of a stage to each of the next are drawn up to this number; beyond it they meet in a point.
const DRAWN: usize = 16;

/// What a line begins or ends at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Job(JobIndex),
    /// A place in [`Wires::points`].
    Point(usize),
}

/// Where the jobs before a stage meet, and the jobs that wait for them part.
#[derive(Clone, Debug)]
pub(super) struct Point {
    /// The stage before it.
    pub stage: String,
    /// The jobs that lead to it.
    pub from: Vec<JobIndex>,
    /// The jobs that wait for it.
    pub to: Vec<JobIndex>,
}

/// All lines of a drawing, linear in jobs and needs.
#[derive(Clone, Debug, Default)]
pub(super) struct Wires {
    /// Points between stages.
    pub points: Vec<Point>,
    /// For each job what leads to it, in the order of the file.
    to: Vec<Vec<End>>,
}

impl Wires {
    pub(super) fn of(graph: &JobGraph) -> Self {
        let mut wires = Self { points: Vec::new(), to: vec![Vec::new(); graph.len()] };
        for job in graph.jobs() {
            let mut needs: Vec<JobIndex> = jobs_at(graph, node(job), Direction::Incoming).collect();
            needs.sort_unstable();
            needs.dedup();
            wires.add(job, needs.into_iter().map(End::Job));
        }
        for line in graph.graph.node_indices() {
            if let Some(Node::Before(stage)) = graph.graph.node_weight(line) {
                wires.connect(graph, line, *stage);
            }
        }
        wires
    }

    /// What leads to a job.
    pub(super) fn to(&self, job: JobIndex) -> &[End] {
        self.to.get(job.0).map_or(&[], Vec::as_slice)
    }

    /// Every line.
    pub(super) fn all(&self) -> impl Iterator<Item = (End, End)> + '_ {
        let into_points = self.points.iter().enumerate();
        let into_points =
            into_points.flat_map(|(at, point)| point.from.iter().map(move |job| (End::Job(*job), End::Point(at))));
        let into_jobs = self.to.iter().enumerate();
        into_points.chain(into_jobs.flat_map(|(at, ends)| ends.iter().map(move |end| (*end, End::Job(JobIndex(at))))))
    }

    fn add(&mut self, job: JobIndex, ends: impl Iterator<Item = End>) {
        if let Some(list) = self.to.get_mut(job.0) {
            list.extend(ends);
        }
    }

    /// The lines across the border before a stage.
    fn connect(&mut self, graph: &JobGraph, line: NodeIndex, stage: usize) {
        let to: Vec<JobIndex> = jobs_at(graph, line, Direction::Outgoing).collect();
        if to.is_empty() {
            return;
        }
        let from = last_before(graph, line);
        if from.len() * to.len() <= DRAWN {
            for job in to {
                self.add(job, from.iter().copied().map(End::Job));
            }
            return;
        }
        for job in &to {
            self.add(*job, std::iter::once(End::Point(self.points.len())));
        }
        let stage = stage.checked_sub(1).map(|before| graph.stage(before).to_owned()).unwrap_or_default();
        self.points.push(Point { stage, from, to });
    }
}

fn jobs_at(graph: &JobGraph, at: NodeIndex, direction: Direction) -> impl Iterator<Item = JobIndex> + '_ {
    graph.graph.neighbors_directed(at, direction).filter_map(|next| match graph.graph.node_weight(next) {
        Some(Node::Job(job)) => Some(*job),
        _ => None,
    })
}

/// The border that a border or a job stands behind.
fn border_before(graph: &JobGraph, at: NodeIndex) -> Option<NodeIndex> {
    let mut before = graph.graph.neighbors_directed(at, Direction::Incoming);
    before.find(|next| matches!(graph.graph.node_weight(*next), Some(Node::Before(_))))
}

/// The jobs whose end is the end of all before a border: back to the first stage where one waits for whole stages itself.
fn last_before(graph: &JobGraph, line: NodeIndex) -> Vec<JobIndex> {
    let mut found = Vec::new();
    let mut at = Some(line);
    while let Some(line) = at {
        let stage: Vec<JobIndex> = jobs_at(graph, line, Direction::Incoming).collect();
        let is_last = stage.iter().any(|job| border_before(graph, node(*job)).is_some());
        found.extend(stage);
        at = if is_last { None } else { border_before(graph, line) };
    }
    found.sort_unstable();
    found
}
