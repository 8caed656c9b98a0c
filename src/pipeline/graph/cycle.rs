//! The shortest cycle of each knot of jobs that wait for each other.
//!
//! Components are found by Kosaraju's algorithm: petgraph's keeps its own stack, where its Tarjan would call itself once for each
//! job of a chain.

use std::collections::{HashMap, HashSet, VecDeque};

use petgraph::graph::{DiGraph, NodeIndex};

use super::build::{JobIndex, Node};
use super::problem::GraphProblem;
use crate::pipeline::PipelineDefinition;

/// Searches begun in one knot at most, and jobs that all of them after the first look at together: a cycle of a knot of
/// thousands is found from any of its jobs, the very shortest need not be.
const SEARCHES: usize = 200;
const LOOKED_AT: usize = 200_000;

/// One cycle for each knot, the shortest that the search finds.
pub(super) fn shortest(definition: &PipelineDefinition, graph: &DiGraph<Node, ()>) -> Vec<GraphProblem> {
    let mut cycles: Vec<Vec<JobIndex>> = petgraph::algo::kosaraju_scc(graph)
        .into_iter()
        .filter(|knot| knot.len() > 1)
        .filter_map(|knot| shortest_of(graph, &knot))
        .map(|cycle| jobs_of(graph, &cycle))
        .collect();
    cycles.sort_by_key(|cycle| cycle.first().copied());
    let name = |job: &JobIndex| definition.jobs.get(job.0).map(|job| job.name.clone()).unwrap_or_default();
    cycles.iter().map(|cycle| GraphProblem::Cycle { jobs: cycle.iter().map(name).collect() }).collect()
}

fn shortest_of(graph: &DiGraph<Node, ()>, knot: &[NodeIndex]) -> Option<Vec<NodeIndex>> {
    let members: HashSet<NodeIndex> = knot.iter().copied().collect();
    let mut starts = knot.to_vec();
    starts.sort_unstable();
    let mut best: Option<Vec<NodeIndex>> = None;
    let mut left = LOOKED_AT;
    for start in starts.into_iter().take(SEARCHES) {
        let longest = best.as_ref().map_or(usize::MAX, Vec::len);
        let (cycle, looked_at) = cycle_through(graph, &members, start, longest);
        best = cycle.or(best);
        left = left.saturating_sub(looked_at);
        if left == 0 || best.as_ref().is_some_and(|best| best.len() == 2) {
            break;
        }
    }
    best
}

/// The shortest cycle through `start`, if it is shorter than `longest`: breadth first, back along the edges, so that the
/// path reads as "waits for". With it the number of jobs that were looked at.
fn cycle_through(
    graph: &DiGraph<Node, ()>,
    members: &HashSet<NodeIndex>,
    start: NodeIndex,
    longest: usize,
) -> (Option<Vec<NodeIndex>>, usize) {
    let mut came_from: HashMap<NodeIndex, NodeIndex> = HashMap::new();
    let mut open = VecDeque::from([(start, 1)]);
    while let Some((at, length)) = open.pop_front() {
        if length >= longest {
            break;
        }
        for next in graph.neighbors_directed(at, petgraph::Direction::Incoming).filter(|next| members.contains(next)) {
            if next == start {
                let mut cycle = vec![at];
                while let Some(before) = cycle.last().and_then(|last| came_from.get(last)) {
                    cycle.push(*before);
                }
                cycle.reverse();
                return (Some(cycle), came_from.len());
            }
            came_from.entry(next).or_insert_with(|| {
                open.push_back((next, length + 1));
                at
            });
        }
    }
    (None, came_from.len())
}

/// The jobs of a cycle, without the lines between stages, beginning with the first of the file.
fn jobs_of(graph: &DiGraph<Node, ()>, cycle: &[NodeIndex]) -> Vec<JobIndex> {
    let mut jobs: Vec<JobIndex> = cycle
        .iter()
        .filter_map(|node| match graph.node_weight(*node) {
            Some(Node::Job(job)) => Some(*job),
            _ => None,
        })
        .collect();
    let first = jobs.iter().enumerate().min_by_key(|(_, job)| **job).map_or(0, |(at, _)| at);
    jobs.rotate_left(first);
    jobs
}
