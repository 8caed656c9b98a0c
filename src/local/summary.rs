//! What is said after a run: a line a job, the critical path, where the artifacts are.

use std::fmt::Write as _;

use super::events::{Line, seconds};
use super::run::Report;
use crate::pipeline::schedule::PipelineEnd;

/// The summary as text.
pub fn of(report: &Report, jobs: &[Line]) -> String {
    let mut text = String::from("\n");
    let width = jobs.iter().map(|line| line.job.chars().count()).max().unwrap_or(0);
    for line in jobs {
        let why = line.reason.as_ref().map(|reason| format!("  {reason}")).unwrap_or_default();
        // Writing to a text does not fail.
        let _ = writeln!(text, "{:<9} {:<width$} {:>7}{why}", line.status.to_string(), line.job, seconds(line.took));
    }
    let end = match report.end {
        PipelineEnd::Success => "success",
        PipelineEnd::Failed => "failed",
        PipelineEnd::Cancelled => "cancelled",
    };
    let _ = writeln!(text, "pipeline {end} in {}", seconds(report.took));
    for folder in &report.artifacts {
        let _ = writeln!(text, "artifacts: {}", folder.display());
    }
    text
}
