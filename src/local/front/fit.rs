//! Whether a pipeline fits into its time and its machine.

use std::time::Duration;

use super::PlaceIn;
use crate::parser::diagnostics::{Diagnostic, Diagnostics};
use crate::parser::document::{FileId, Span};
use crate::parser::native::codes;
use crate::pipeline::PipelineDefinition;
use crate::pipeline::graph::resources::{Excess, ResourceConflict};
use crate::pipeline::graph::{Durations, JobGraph, JobIndex};

/// Names shown of a list.
const SHOWN: usize = 6;

/// Says which times and requests do not fit. A job that can never run is an error, all else a warning.
pub(super) fn check(
    definition: &PipelineDefinition,
    graph: &JobGraph,
    place: &PlaceIn<'_>,
    diagnostics: &mut Diagnostics,
) {
    let at = |job: JobIndex| place(graph.name(job), None).unwrap_or(Span::start_of(FileId::default()));
    if let Some(limit) = definition.timeout {
        let finding = |(job, message, help)| Diagnostic::warning(codes::TIMELINE, at(job), message).help(help);
        late(definition, graph, limit).into_iter().for_each(|late| diagnostics.push(finding(late)));
    }
    let asks: Vec<_> = definition.jobs.iter().map(|job| job.resources).collect();
    for conflict in graph.conflicts(&asks, &definition.limits) {
        diagnostics.push(match conflict {
            ResourceConflict::TooBig { job, excess } => {
                let message = format!("job `{}` asks for {}: it can never run", graph.name(job), told(&excess));
                let help = "ask for less in its `resources`, or raise `limits`";
                Diagnostic::error(codes::RESOURCES, at(job), message).help(help)
            }
            ResourceConflict::Hotspot { jobs, excess, .. } => {
                let message =
                    format!("{} may run at the same time and ask for {}", names(graph, &jobs, ", "), told(&excess));
                let help = "they will wait for each other; let one depend on another, ask for less, or raise `limits`";
                let first = jobs.first().copied().unwrap_or(JobIndex(0));
                Diagnostic::warning(codes::RESOURCES, at(first), message).help(help)
            }
        });
    }
}

/// The chain that takes longer than the pipeline may, by the estimates alone.
fn late(definition: &PipelineDefinition, graph: &JobGraph, limit: Duration) -> Option<(JobIndex, String, String)> {
    let durations = Durations { guess: Duration::ZERO, ..Durations::estimated(definition) };
    if !durations.are_known() {
        return None;
    }
    let path = graph.critical_path(&durations);
    let first_late = graph.infeasible(&durations, limit).into_iter().next()?;
    let chain: Vec<JobIndex> = path.jobs.into_iter().filter(|job| !durations.of(*job).is_zero()).collect();
    let takes = path.total.as_secs();
    let message = format!(
        "{} take {takes} seconds one after the other by their estimates, and the pipeline is ended after {}",
        names(graph, &chain, " -> "),
        limit.as_secs()
    );
    let help = format!("raise the pipeline's `timeout` to {takes} at least, or let jobs run beside each other");
    Some((first_late.job, message, help))
}

fn told(excess: &[Excess]) -> String {
    excess.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn names(graph: &JobGraph, jobs: &[JobIndex], between: &str) -> String {
    let shown: Vec<String> = jobs.iter().take(SHOWN).map(|job| format!("`{}`", graph.name(*job))).collect();
    let more = jobs.len().saturating_sub(SHOWN);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", shown.join(between))
}
