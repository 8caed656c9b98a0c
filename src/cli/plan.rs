//! `forgehand plan`: the jobs that an event makes of a pipeline file, in their order.

use clap::Args;
use miette::IntoDiagnostic;
use serde_json::{Map, Value, json};

use super::pipeline_args::{FileArgs, RequestArgs};
use super::{GlobalArgs, Verdict, pipelines, render};
use crate::config::Locations;
use crate::local::front::Plan;
use crate::pipeline::graph::resources::{Demand, Excess, Kind, ResourceConflict, amount};
use crate::pipeline::graph::{Durations, JobIndex};
use crate::pipeline::{PlannedJob, ResourceRequest, Waits};

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    request: RequestArgs,
    /// One JSON object on standard output: levels, critical_path, parallelism, jobs.
    #[arg(long)]
    json: bool,
    /// Also what depends on this job, and would not run when it fails.
    #[arg(long, value_name = "JOB")]
    blast: Option<String>,
}

/// Prints the plan. Nothing is executed.
pub fn run(args: &PlanArgs, locations: &Locations, global: &GlobalArgs) -> Result<Verdict, miette::Report> {
    let Some(read) = pipelines::plan(&args.file, &args.request, locations, global) else {
        return Ok(Verdict::BadInput);
    };
    let plan = read.value;
    for note in &plan.notes {
        eprintln!("note: {note}");
    }
    if let Some(job) = &args.blast {
        return Ok(blast(&plan, job));
    }
    let text = match args.json {
        true => serde_json::to_string(&as_json(&plan)).into_diagnostic()? + "\n",
        false => render::plain_lines(&as_text(&plan)),
    };
    let verdict = pipelines::print(&text, read.bytes);
    // The process ends: a big plan is not taken apart piece by piece before that.
    std::mem::forget(plan);
    Ok(verdict)
}

fn blast(plan: &Plan, job: &str) -> Verdict {
    let Some(index) = plan.graph.jobs().find(|index| plan.graph.name(*index) == job) else {
        eprintln!("error: there is no job `{job}`");
        return Verdict::BadInput;
    };
    let hit = plan.graph.blast_radius(index).into_iter().map(|hit| format!("{}\n", plan.graph.name(hit)));
    render::result(&render::plain_lines(&hit.collect::<String>()))
}

fn as_json(plan: &Plan) -> Value {
    let graph = &plan.graph;
    let names = |jobs: &[JobIndex]| jobs.iter().map(|job| json!(graph.name(*job))).collect::<Vec<Value>>();
    let durations = Durations::estimated(&plan.definition);
    let levels: Vec<Value> = graph.levels().iter().map(|level| json!(names(level))).collect();
    let mut jobs = Map::new();
    let mut details = (plan.details)(&plan.definition);
    for (index, planned) in graph.jobs().zip(&plan.definition.jobs) {
        let mut job = match details.get_mut(&planned.name) {
            Some(Value::Object(details)) => std::mem::take(details),
            _ => Map::new(),
        };
        if !planned.stage.is_empty() {
            job.insert("stage".to_owned(), json!(planned.stage));
        }
        // Jobs that wait for whole stages name nobody: a thousand behind a thousand others would be a million names.
        let needs = match planned.waits {
            Waits::Jobs(_) => json!(names(&graph.needs(index))),
            Waits::EarlierStages => Value::Null,
        };
        job.entry("needs").or_insert(needs);
        expectations(planned, &mut job);
        jobs.insert(planned.name.clone(), Value::Object(job));
    }
    let path = graph.critical_path(&durations);
    let mut all = json!({
        "levels": levels,
        "critical_path": names(&path.jobs),
        "parallelism": graph.parallelism(&durations),
        "jobs": jobs,
    });
    if durations.are_known() {
        all["estimated_duration"] = json!(path.total.as_secs());
    }
    if let Some(timeout) = plan.definition.timeout {
        all["timeout"] = json!(timeout.as_secs());
    }
    if let Some(resources) = resources_json(plan) {
        all["resources"] = resources;
    }
    all
}

/// What a job is expected to take and asks for, as far as that is known.
fn expectations(planned: &PlannedJob, job: &mut Map<String, Value>) {
    if let Some(estimate) = planned.estimate {
        job.insert("estimated_duration".to_owned(), json!(estimate.as_secs()));
    }
    if planned.resources != ResourceRequest::default() {
        job.insert("resource_requirements".to_owned(), request_json(&planned.resources));
    }
    if let Some(timeout) = planned.timeout {
        job.entry("timeout").or_insert(json!(timeout.as_secs()));
    }
}

/// Processors as a number, memory and disk in bytes.
fn request_json(request: &ResourceRequest) -> Value {
    let mut all = Map::new();
    if let Some(millis) = request.cpu_millis {
        all.insert("cpu".to_owned(), processors(millis));
    }
    for (key, bytes) in [("memory", request.memory), ("disk", request.disk)] {
        bytes.into_iter().for_each(|bytes| drop(all.insert(key.to_owned(), json!(bytes))));
    }
    Value::Object(all)
}

fn processors(millis: u64) -> Value {
    if millis.is_multiple_of(1_000) { json!(millis / 1_000) } else { json!(millis as f64 / 1_000.0) }
}

/// What the levels ask for together, against what there is.
fn resources_json(plan: &Plan) -> Option<Value> {
    let asks: Vec<ResourceRequest> = plan.definition.jobs.iter().map(|job| job.resources).collect();
    let demand = plan.graph.demand(&asks);
    let limits = plan.definition.limits;
    if demand.iter().all(Demand::is_nothing) && limits == ResourceRequest::default() {
        return None;
    }
    let level =
        |asked: &Demand| json!({"cpu": processors(asked.cpu_millis), "memory": asked.memory, "disk": asked.disk});
    let names = |jobs: &[JobIndex]| jobs.iter().map(|job| json!(plan.graph.name(*job))).collect::<Vec<Value>>();
    let conflict = |conflict: ResourceConflict| match conflict {
        ResourceConflict::TooBig { job, excess } => {
            json!({"jobs": names(&[job]), "message": excess_text(&excess)})
        }
        ResourceConflict::Hotspot { level, jobs, excess } => {
            json!({"level": level, "jobs": names(&jobs), "message": excess_text(&excess)})
        }
    };
    let conflicts: Vec<Value> = plan.graph.conflicts(&asks, &limits).into_iter().map(conflict).collect();
    let levels: Vec<Value> = demand.iter().map(level).collect();
    Some(json!({"limits": request_json(&limits), "levels": levels, "conflicts": conflicts}))
}

fn excess_text(excess: &[Excess]) -> String {
    excess.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn as_text(plan: &Plan) -> String {
    use std::fmt::Write as _;
    let graph = &plan.graph;
    let mut out = String::new();
    for (number, level) in graph.levels().iter().enumerate() {
        let _ = writeln!(out, "{}", number + 1);
        for job in level {
            let planned = plan.definition.jobs.get(job.0);
            let stage = planned.map(|job| job.stage.as_str()).filter(|stage| !stage.is_empty());
            let stage = stage.map(|stage| format!("  [{stage}]")).unwrap_or_default();
            let expected = planned.map(expected).unwrap_or_default();
            let _ = writeln!(out, "  {}{stage}{expected}", graph.name(*job));
        }
    }
    let durations = Durations::estimated(&plan.definition);
    let path = graph.critical_path(&durations);
    if !path.jobs.is_empty() {
        let names: Vec<&str> = path.jobs.iter().map(|job| graph.name(*job)).collect();
        let takes = if durations.are_known() { format!(" ({})", time(path.total)) } else { String::new() };
        let _ = writeln!(out, "critical path: {}{takes}", names.join(" -> "));
        let _ = writeln!(out, "parallelism: {:.2}", graph.parallelism(&durations));
    }
    let asks: Vec<ResourceRequest> = plan.definition.jobs.iter().map(|job| job.resources).collect();
    for conflict in graph.conflicts(&asks, &plan.definition.limits) {
        if let ResourceConflict::Hotspot { level, excess, .. } = conflict {
            let _ = writeln!(out, "hotspot: level {} asks for {}", level + 1, excess_text(&excess));
        }
    }
    out
}

/// How long a job is expected to take, and what it asks for.
fn expected(job: &PlannedJob) -> String {
    let ask = &job.resources;
    let parts = [
        job.estimate.map(|estimate| format!("about {}", time(estimate))),
        ask.cpu_millis.map(|millis| format!("{} cpu", amount(Kind::Cpu, millis))),
        ask.memory.map(|bytes| format!("{} memory", amount(Kind::Memory, bytes))),
        ask.disk.map(|bytes| format!("{} disk", amount(Kind::Disk, bytes))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!("  ({})", parts.join(", ")) }
}

/// `1h 2m 3s`.
fn time(time: std::time::Duration) -> String {
    let seconds = time.as_secs();
    let parts = [(seconds / 3_600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let parts: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}
