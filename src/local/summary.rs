//! What is said after a run: a line a job, the critical path, where the artifacts are.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::events::{Line, covered, seconds};
use super::live::text::{columns, pad, tame};
use super::run::Report;
use crate::pipeline::graph::{Durations, JobGraph};
use crate::pipeline::schedule::PipelineEnd;

/// The summary as text.
pub fn of(report: &Report, jobs: &[Line]) -> String {
    let mut text = String::from("\n");
    let width = jobs.iter().map(|line| columns(&tame(&line.job, false))).max().unwrap_or(0);
    for line in jobs {
        let why = line.reason.as_ref().map(|reason| format!("  {}", tame(reason, false))).unwrap_or_default();
        let job = pad(&tame(&line.job, false), width);
        // Writing to a text does not fail.
        let coverage = covered(line.coverage);
        let _ = writeln!(text, "{:<9} {job} {:>7}{coverage}{why}", line.status.to_string(), seconds(line.took));
    }
    let end = match report.end {
        PipelineEnd::Success => "success",
        PipelineEnd::Failed => "failed",
        PipelineEnd::Cancelled => "cancelled",
    };
    if let Some(path) = critical_path(report, jobs) {
        let _ = writeln!(text, "critical path: {path}");
    }
    let _ = writeln!(text, "pipeline {end} in {}", seconds(report.took));
    for folder in &report.artifacts {
        let _ = writeln!(text, "artifacts: {}", folder.display());
    }
    text
}

/// The chain of jobs that decided how long it took, where more than one job ran.
fn critical_path(report: &Report, jobs: &[Line]) -> Option<String> {
    let took: HashMap<&str, Duration> = jobs.iter().map(|line| (line.job.as_str(), line.took)).collect();
    let definition = &report.definition;
    let (graph, _) = JobGraph::build(definition).ok()?;
    let of = |name: &str| took.get(name).copied().unwrap_or_default();
    let known = definition.jobs.iter().map(|job| Some(of(&job.name))).collect();
    let path = graph.critical_path(&Durations { known, guess: Duration::ZERO });
    let ran = path.jobs.iter().map(|job| graph.name(*job)).filter(|name| !of(name).is_zero());
    let named: Vec<String> = ran.map(|name| format!("{} {}", tame(name, false), seconds(of(name)))).collect();
    (named.len() > 1).then(|| format!("{} ({})", named.join(" -> "), seconds(path.total)))
}
