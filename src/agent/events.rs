//! What happens to jobs, for the agent's own log. The board hears the same through [`super::board::JobLine::tell`].

use tracing::{debug, info};

use crate::pipeline::{FlowEvent, JobFailure, JobOutcome};

/// Writes an event to the log. Job, correlation id and registration stand in the span that it happens in.
pub(super) fn log(event: &FlowEvent) {
    match event {
        FlowEvent::JobAssigned { name, .. } => info!(name, "job assigned"),
        FlowEvent::JobStatusChanged { from, to, .. } => info!(%from, %to, "job status changed"),
        FlowEvent::StageStarted { stage, .. } => debug!(stage, "stage began"),
        FlowEvent::StageFinished { stage, ok, took, .. } => info!(stage, ok, took_ms = took.as_millis(), "stage ended"),
        FlowEvent::JobFinished { outcome, .. } => finished(outcome),
    }
}

fn finished(outcome: &JobOutcome) {
    match outcome {
        JobOutcome::Success => info!(outcome = "success", "job finished; its forge knows"),
        JobOutcome::Failed(JobFailure { reason, exit_code, message }) => {
            info!(outcome = "failed", %reason, exit_code, why = message, "job finished; its forge knows");
        }
        JobOutcome::Cancelled => info!(outcome = "cancelled", "job finished; its forge knows"),
    }
}
