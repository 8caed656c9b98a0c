//! Who waits for whom.

use std::collections::HashMap;

use super::tally::Tally;
use crate::pipeline::{PipelineDefinition, Waits};

/// Why a definition cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// A need is no job.
    #[error("`{job}` needs `{need}`, which is no job of this pipeline")]
    UnknownNeed {
        /// The job.
        job: String,
        /// What it needs.
        need: String,
    },
    /// Jobs that wait for each other.
    #[error("these jobs wait for each other and none can start: {}", .0.join(", "))]
    Circle(Vec<String>),
    /// A job's stage is none.
    #[error("the stage `{stage}` of `{job}` is no stage of this pipeline")]
    UnknownStage {
        /// The job.
        job: String,
        /// Its stage.
        stage: String,
    },
}

/// What waits: a job, or a stage's end, which all jobs of the stage lead to. A stage is a node so that a thousand jobs behind a
/// thousand others are two thousand edges.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Those that wait for it.
    pub(super) followers: Vec<usize>,
    /// How many it still waits for.
    pub(super) missing: usize,
    /// How those ended that it waited for.
    pub(super) tally: Tally,
}

/// Jobs first, in their order, then stages.
pub(super) fn of(definition: &PipelineDefinition) -> Result<Vec<Node>, ScheduleError> {
    let jobs = &definition.jobs;
    let names: HashMap<&str, usize> = jobs.iter().enumerate().map(|(index, job)| (job.name.as_str(), index)).collect();
    let stages: HashMap<&str, usize> =
        definition.stages.iter().enumerate().map(|(index, stage)| (stage.as_str(), jobs.len() + index)).collect();
    let mut nodes: Vec<Node> = Vec::new();
    nodes.resize_with(jobs.len() + definition.stages.len(), Node::default);
    for stage in 1..definition.stages.len() {
        edge(&mut nodes, jobs.len() + stage - 1, jobs.len() + stage);
    }
    for (index, job) in jobs.iter().enumerate() {
        let stage = stages.get(job.stage.as_str()).copied();
        if let Some(stage) = stage {
            edge(&mut nodes, index, stage);
        }
        match (&job.waits, stage) {
            (Waits::EarlierStages, None) => {
                return Err(ScheduleError::UnknownStage { job: job.name.clone(), stage: job.stage.clone() });
            }
            (Waits::EarlierStages, Some(stage)) if stage > jobs.len() => edge(&mut nodes, stage - 1, index),
            (Waits::EarlierStages, Some(_)) => {}
            (Waits::Jobs(needs), _) => {
                let mut seen = Vec::with_capacity(needs.len());
                for need in needs {
                    let Some(at) = names.get(need.as_str()) else {
                        return Err(ScheduleError::UnknownNeed { job: job.name.clone(), need: need.clone() });
                    };
                    seen.push(*at);
                }
                seen.sort_unstable();
                seen.dedup();
                for at in seen {
                    edge(&mut nodes, at, index);
                }
            }
        }
    }
    in_order(&nodes, definition)?;
    Ok(nodes)
}

fn edge(nodes: &mut [Node], from: usize, to: usize) {
    if let Some(node) = nodes.get_mut(from) {
        node.followers.push(to);
    }
    if let Some(node) = nodes.get_mut(to) {
        node.missing += 1;
    }
}

/// Kahn's algorithm: whether everything can start some day.
fn in_order(nodes: &[Node], definition: &PipelineDefinition) -> Result<(), ScheduleError> {
    let mut missing: Vec<usize> = nodes.iter().map(|node| node.missing).collect();
    let mut ready: Vec<usize> = (0..nodes.len()).filter(|index| missing.get(*index) == Some(&0)).collect();
    let mut seen = 0;
    while let Some(index) = ready.pop() {
        seen += 1;
        for follower in nodes.get(index).map(|node| node.followers.as_slice()).unwrap_or_default() {
            if let Some(missing) = missing.get_mut(*follower) {
                *missing -= 1;
                if *missing == 0 {
                    ready.push(*follower);
                }
            }
        }
    }
    if seen == nodes.len() {
        return Ok(());
    }
    let stuck = definition.jobs.iter().zip(&missing).filter(|(_, missing)| **missing > 0);
    Err(ScheduleError::Circle(stuck.map(|(job, _)| job.name.clone()).take(20).collect()))
}
