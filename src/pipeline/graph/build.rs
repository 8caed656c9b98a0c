//! A definition as a graph.

use std::collections::{HashMap, HashSet};

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};

use super::cycle;
use super::problem::GraphProblem;
use crate::pipeline::{PipelineDefinition, Waits};

/// A job by its place in the definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobIndex(pub usize);

/// A node: a job, or the line between a stage and the next, which all jobs of the one reach and all of the other leave
/// from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Job(JobIndex),
    /// Before the stage of this number.
    Before(usize),
}

/// Who waits for whom. Without cycles; edges point from what is waited for to what waits.
#[derive(Clone, Debug)]
pub struct JobGraph {
    names: Vec<String>,
    stages: Vec<String>,
    pub(super) graph: DiGraph<Node, ()>,
    /// Nodes so that each comes after all it waits for.
    pub(super) order: Vec<NodeIndex>,
}

impl JobGraph {
    /// The graph of a definition, and what is clumsy in it.
    ///
    /// # Errors
    /// All that makes it impossible, in the order of the file; clumsy things stand among it.
    pub fn build(definition: &PipelineDefinition) -> Result<(Self, Vec<GraphProblem>), Vec<GraphProblem>> {
        let mut problems = Vec::new();
        let graph = connect(definition, &mut problems);
        let order = petgraph::algo::toposort(&graph, None);
        let order = match order {
            Ok(order) => order,
            Err(_) => {
                problems.extend(cycle::shortest(definition, &graph));
                return Err(problems);
            }
        };
        if problems.iter().any(GraphProblem::is_error) {
            return Err(problems);
        }
        let names = definition.jobs.iter().map(|job| job.name.clone()).collect();
        let stages = definition.stages.clone();
        Ok((Self { names, stages, graph, order }, problems))
    }

    /// How many jobs there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// A job's name.
    pub fn name(&self, job: JobIndex) -> &str {
        self.names.get(job.0).map_or("", String::as_str)
    }

    /// The name of the stage of this number.
    pub(super) fn stage(&self, at: usize) -> &str {
        self.stages.get(at).map_or("", String::as_str)
    }

    /// All jobs in the order of the file.
    pub fn jobs(&self) -> impl Iterator<Item = JobIndex> + use<> {
        (0..self.names.len()).map(JobIndex)
    }

    /// The jobs that a job waits for directly, each once, in the order of the file.
    pub fn needs(&self, job: JobIndex) -> Vec<JobIndex> {
        self.neighbours(job, Direction::Incoming)
    }

    /// The jobs that wait for a job directly.
    pub fn dependents(&self, job: JobIndex) -> Vec<JobIndex> {
        self.neighbours(job, Direction::Outgoing)
    }

    /// Neighbours, through lines between stages.
    fn neighbours(&self, job: JobIndex, direction: Direction) -> Vec<JobIndex> {
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        let mut open = vec![node(job)];
        while let Some(at) = open.pop() {
            for next in self.graph.neighbors_directed(at, direction) {
                match self.graph.node_weight(next) {
                    Some(Node::Job(job)) => found.push(*job),
                    Some(Node::Before(_)) if seen.insert(next) => open.push(next),
                    _ => {}
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// Jobs are added first, so that their place is their node.
pub(super) fn node(job: JobIndex) -> NodeIndex {
    NodeIndex::new(job.0)
}

/// So many names are compared one by one; more are looked up.
const FEW: usize = 12;

/// Nodes and edges, without those that `problems` tells of.
fn connect(definition: &PipelineDefinition, problems: &mut Vec<GraphProblem>) -> DiGraph<Node, ()> {
    let jobs = &definition.jobs;
    let mut graph = DiGraph::with_capacity(jobs.len() + definition.stages.len(), jobs.len() * 2);
    let mut by_name: HashMap<&str, JobIndex> = HashMap::with_capacity(jobs.len());
    for (at, job) in jobs.iter().enumerate() {
        graph.add_node(Node::Job(JobIndex(at)));
        if by_name.insert(&job.name, JobIndex(at)).is_some() {
            problems.push(GraphProblem::SameName { job: job.name.clone() });
        }
    }
    let uses_stages = jobs.iter().any(|job| job.waits == Waits::EarlierStages);
    if uses_stages {
        connect_stages(definition, &mut graph);
    }
    for (at, job) in jobs.iter().enumerate() {
        let needs = job.named_needs();
        // Few are compared one by one.
        let mut seen = HashSet::with_capacity(if needs.len() > FEW { needs.len() } else { 0 });
        for (nth, need) in needs.iter().enumerate() {
            let is_new = match needs.len() > FEW {
                true => seen.insert(need.as_str()),
                false => !needs.iter().take(nth).any(|before| before == need),
            };
            if !is_new {
                problems.push(GraphProblem::Duplicate { job: job.name.clone(), need: need.clone() });
            } else if *need == job.name {
                problems.push(GraphProblem::OfItself { job: job.name.clone() });
            } else if let Some(needed) = by_name.get(need.as_str()) {
                graph.add_edge(node(*needed), node(JobIndex(at)), ());
            } else {
                problems.push(unknown(definition, &job.name, need));
            }
        }
    }
    redundant(definition, &by_name, problems);
    graph
}

/// A line before each stage: the jobs of the stage before lead to it, those that wait for earlier stages leave from it.
fn connect_stages(definition: &PipelineDefinition, graph: &mut DiGraph<Node, ()>) {
    let stages: HashMap<&str, usize> =
        definition.stages.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
    let lines: Vec<NodeIndex> = (0..=definition.stages.len()).map(|at| graph.add_node(Node::Before(at))).collect();
    for pair in lines.windows(2) {
        if let [before, after] = pair {
            graph.add_edge(*before, *after, ());
        }
    }
    for (at, job) in definition.jobs.iter().enumerate() {
        let Some(stage) = stages.get(job.stage.as_str()) else { continue };
        // `lines` has one more than there are stages.
        graph.add_edge(node(JobIndex(at)), lines[stage + 1], ());
        if job.waits == Waits::EarlierStages {
            graph.add_edge(lines[*stage], node(JobIndex(at)), ());
        }
    }
}

fn unknown(definition: &PipelineDefinition, job: &str, need: &str) -> GraphProblem {
    // A flood of unknown names in a big pipeline must not cost its square.
    const COMPARED: usize = 500;
    let names = || definition.jobs.iter().map(|job| job.name.as_str()).filter(|name| *name != job).take(COMPARED);
    let distance = |name: &str| strsim::damerau_levenshtein(&need.to_lowercase(), &name.to_lowercase());
    let allowed = (need.chars().count() / 3).max(2);
    let near = match need.len() {
        0..=100 => {
            names().map(|name| (distance(name), name)).filter(|(far, _)| *far <= allowed).min_by_key(|near| near.0)
        }
        _ => None,
    };
    // A name that has hardly a letter in common is not meant.
    let near = near.filter(|(far, name)| *far < name.chars().count()).map(|(_, name)| name.to_owned());
    let known = names().map(str::to_owned).collect();
    GraphProblem::Unknown { job: job.to_owned(), need: need.to_owned(), near, known }
}

/// Names in a list that another name of the same list waits for directly. Deeper ones are not looked for: the check stays
/// linear in the length of the lists.
fn redundant(definition: &PipelineDefinition, by_name: &HashMap<&str, JobIndex>, problems: &mut Vec<GraphProblem>) {
    /// Together the lists of a job's needs may be long; beyond this it is nobody's slip of the pen.
    const LONGEST: usize = FEW;
    for job in &definition.jobs {
        let needs = job.named_needs();
        if needs.len() < 2 || needs.len() > LONGEST {
            continue;
        }
        // A job that waits for itself, or names another twice, has that told already.
        let is_first = |at: usize, need: &String| !needs.iter().take(at).any(|before| before == need);
        let own = needs.iter().enumerate().filter(|(at, need)| **need != job.name && is_first(*at, need));
        for (_, through) in own {
            let Some(other) = by_name.get(through.as_str()).and_then(|at| definition.jobs.get(at.0)) else { continue };
            for need in other.named_needs().iter().take(LONGEST) {
                let is_known = || by_name.contains_key(need.as_str());
                if need != through && needs.contains(need) && *need != job.name && is_known() {
                    let (job, need, through) = (job.name.clone(), need.clone(), through.clone());
                    problems.push(GraphProblem::Redundant { job, need, through });
                }
            }
        }
    }
}
