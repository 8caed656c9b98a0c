//! What a run would be, without running it.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Conclusion, Leg, LegEnd, Move, Playbook};
use crate::parser::github::contexts::Run;
use crate::parser::github::events::{RunFacts, Started, start};
use crate::parser::github::workflow::model::Workflow;
use crate::pipeline::PipelineDefinition;
use crate::pipeline::definition::{JobGroup, MayFail, PlannedJob, StartCondition, Waits};

/// What an event makes of a workflow.
#[derive(Clone, Debug, Default)]
pub struct Planned {
    /// The jobs. Those that are known never to run are not among them.
    pub definition: PipelineDefinition,
    /// Why there are none, where the event does not start the workflow.
    pub note: Option<String>,
    /// Jobs whose own values cannot be evaluated: name and problem.
    pub problems: Vec<(String, String)>,
}

/// The run of a workflow that an event starts; the reason where it starts none.
pub fn begin(workflow: Arc<Workflow>, facts: RunFacts) -> Result<Result<Arc<Run>, String>, String> {
    match start(&workflow, &facts)? {
        Started::No(reason) => Ok(Err(reason)),
        Started::Yes(start) => {
            Run::new(workflow, facts, &start).map(|run| Ok(Arc::new(run))).map_err(|error| error.to_string())
        }
    }
}

/// The jobs that the facts' event makes of a workflow. Nothing is executed: conditions that ask for results are taken to hold, a
/// matrix that comes from outputs stays one job.
pub fn plan(workflow: Arc<Workflow>, facts: RunFacts) -> Result<Planned, String> {
    let run = match begin(workflow, facts)? {
        Ok(run) => run,
        Err(reason) => return Ok(Planned { note: Some(reason), ..Planned::default() }),
    };
    let mut playbook = Playbook::rehearsal(Arc::clone(&run));
    let mut planned = Planned::default();
    let mut groups = HashMap::new();
    planned.definition.name = run.workflow_name().to_owned();
    let mut moves = std::collections::VecDeque::from(playbook.start());
    while let Some(next) = moves.pop_front() {
        match next {
            Move::Start(id) => {
                if let Some(leg) = playbook.leg(id) {
                    add(&mut planned.definition, leg, &playbook, &mut groups);
                }
                moves.extend(playbook.ended(id, LegEnd::without_steps(Conclusion::Success)));
            }
            Move::Never(never) if never.conclusion == Conclusion::Failure => {
                planned.problems.push((never.name, never.reason))
            }
            Move::Never(_) | Move::Cancel { .. } => {}
        }
    }
    Ok(planned)
}

/// Adds a leg; `groups`: where the matrices known so far stand among the definition's.
fn add(definition: &mut PipelineDefinition, leg: &Leg, playbook: &Playbook, groups: &mut HashMap<JobGroup, usize>) {
    let group = leg.strategy.and_then(|(_, _, total)| (total > 1).then(|| playbook.group_of(leg.id))).flatten();
    let group = group.map(|group: JobGroup| {
        *groups.entry(group).or_insert_with_key(|group| {
            definition.groups.push(group.clone());
            definition.groups.len() - 1
        })
    });
    definition.jobs.push(PlannedJob {
        name: leg.name.clone(),
        waits: Waits::Jobs(leg.needs.clone()),
        start: if playbook.has_condition(leg.id) { StartCondition::Decided } else { StartCondition::OnSuccess },
        may_fail: if leg.continue_on_error { MayFail::Always } else { MayFail::Never },
        timeout: Some(leg.timeout),
        resource_group: leg.concurrency.as_ref().map(|concurrency| concurrency.group.clone()),
        group,
        ..PlannedJob::default()
    });
}
