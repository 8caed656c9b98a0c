//! What a run would be, without running it.

use std::collections::HashMap;
use std::sync::Arc;

use smol_str::SmolStr;

use super::playbook::JobId;
use super::{Conclusion, Leg, Naming, Playbook, Trouble};
use crate::parser::document::Span;
use crate::parser::github::contexts::Run;
use crate::parser::github::events::{RunFacts, StartProblem, Started, start, told};
use crate::parser::github::workflow::model::Workflow;
use crate::pipeline::PipelineDefinition;
use crate::pipeline::definition::{MayFail, PlannedJob, StartCondition, Waits};

/// What an event makes of a workflow.
#[derive(Clone, Debug, Default)]
pub struct Planned {
    /// The jobs. Those that are known never to run are not among them; those that cannot be made are.
    pub definition: PipelineDefinition,
    /// Why there are none, where the event does not start the workflow.
    pub note: Option<String>,
    /// What cannot be made, or evaluated before the run.
    pub troubles: Vec<Trouble>,
    /// Jobs that are known never to run: name and reason.
    pub left_out: Vec<(String, String)>,
    /// Where the jobs stand, in their own files, by name.
    pub places: HashMap<SmolStr, Span>,
    /// The names that were given.
    pub naming: Naming,
}

/// The run of a workflow that an event starts; the reason where it starts none.
///
/// # Errors
/// The event would start it, and what it brings is wrong.
pub fn begin(workflow: Arc<Workflow>, facts: RunFacts) -> Result<Result<Arc<Run>, String>, Vec<StartProblem>> {
    let whole = |problem: String| vec![StartProblem::from(problem)];
    let facts = told(facts).map_err(whole)?;
    match start(&workflow, &facts)? {
        Started::No(reason) => Ok(Err(reason)),
        Started::Yes(start) => Ok(Ok(Arc::new(Run::new(workflow, facts, &start).map_err(whole)?))),
    }
}

/// The jobs that the facts' event makes of a workflow. Nothing is executed: conditions that ask for results are taken to hold, a
/// matrix that comes from outputs stays one job.
pub fn plan(workflow: Arc<Workflow>, facts: RunFacts) -> Result<Planned, Vec<StartProblem>> {
    let run = match begin(workflow, facts)? {
        Ok(run) => run,
        Err(reason) => return Ok(Planned { note: Some(reason), ..Planned::default() }),
    };
    let mut playbook = Playbook::rehearsal(Arc::clone(&run));
    let mut planned = Planned::default();
    planned.definition.name = run.workflow_name().to_owned();
    let jobs = run.root_scope().workflow.jobs.len();
    planned.definition.jobs.reserve(jobs);
    planned.places.reserve(jobs);
    let mut groups = HashMap::new();
    let (mut failed, mut left_out) = (Vec::new(), Vec::new());
    playbook.rehearse(
        |playbook, id| {
            if let Some(leg) = playbook.take_leg(id) {
                add(&mut planned, &mut groups, leg, playbook);
            }
        },
        |never| match never.conclusion {
            Conclusion::Failure => {
                failed.push(Trouble { job: never.name, span: None, fault: never.reason.into() });
            }
            _ => left_out.push((never.name, never.reason)),
        },
    );
    (planned.troubles, planned.left_out) = (failed, left_out);
    let (naming, troubles) = playbook.into_findings();
    planned.naming = naming;
    planned.troubles.extend(troubles);
    Ok(planned)
}

/// Places of groups in the definition by the jobs that they come from.
type Groups = HashMap<JobId, usize>;

fn add(planned: &mut Planned, groups: &mut Groups, leg: Leg, playbook: &Playbook) {
    let definition = &mut planned.definition;
    let group = leg.strategy.filter(|(_, _, total)| *total > 1).and_then(|_| playbook.group_of(leg.id));
    let group = group.map(|(job, group)| {
        *groups.entry(job).or_insert_with(|| {
            definition.groups.push(group);
            definition.groups.len() - 1
        })
    });
    planned.places.extend(leg.span.map(|span| (SmolStr::new(&leg.name), span)));
    definition.jobs.push(PlannedJob {
        name: leg.name,
        waits: Waits::Jobs(leg.needs),
        start: if playbook.has_condition(leg.id) { StartCondition::Decided } else { StartCondition::OnSuccess },
        may_fail: if leg.continue_on_error { MayFail::Always } else { MayFail::Never },
        timeout: Some(leg.timeout),
        resource_group: leg.concurrency.map(|concurrency| concurrency.group),
        group,
        ..PlannedJob::default()
    });
}
