//! `forgehand plan`: the jobs that an event makes of a pipeline file, in their order.

use clap::Args;
use miette::IntoDiagnostic;
use serde_json::{Map, Value, json};

use super::pipeline_args::{FileArgs, RequestArgs};
use super::{GlobalArgs, Verdict, pipelines};
use crate::config::Locations;
use crate::local::front::{self, Plan};
use crate::pipeline::Waits;
use crate::pipeline::graph::{Durations, JobIndex};

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
    let Some(plan) = pipelines::read(&args.file, &args.request, locations, global, front::plan) else {
        return Ok(Verdict::BadInput);
    };
    for note in &plan.notes {
        eprintln!("note: {note}");
    }
    if let Some(job) = &args.blast {
        return Ok(blast(&plan, job));
    }
    match args.json {
        true => println!("{}", serde_json::to_string(&as_json(&plan)).into_diagnostic()?),
        false => print!("{}", as_text(&plan)),
    }
    Ok(Verdict::Success)
}

fn blast(plan: &Plan, job: &str) -> Verdict {
    let Some(index) = plan.graph.jobs().find(|index| plan.graph.name(*index) == job) else {
        eprintln!("error: there is no job `{job}`");
        return Verdict::BadInput;
    };
    for hit in plan.graph.blast_radius(index) {
        println!("{}", plan.graph.name(hit));
    }
    Verdict::Success
}

fn as_json(plan: &Plan) -> Value {
    let graph = &plan.graph;
    let names = |jobs: &[JobIndex]| jobs.iter().map(|job| json!(graph.name(*job))).collect::<Vec<Value>>();
    let durations = Durations::equal();
    let levels: Vec<Value> = graph.levels().iter().map(|level| json!(names(level))).collect();
    let mut jobs = Map::new();
    for (index, planned) in graph.jobs().zip(&plan.definition.jobs) {
        let mut job = match plan.details.get(&planned.name) {
            Some(Value::Object(details)) => details.clone(),
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
        jobs.insert(planned.name.clone(), Value::Object(job));
    }
    json!({
        "levels": levels,
        "critical_path": names(&graph.critical_path(&durations).jobs),
        "parallelism": graph.parallelism(&durations),
        "jobs": jobs,
    })
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
            let _ = writeln!(out, "  {}{stage}", graph.name(*job));
        }
    }
    let path = graph.critical_path(&Durations::equal());
    if !path.jobs.is_empty() {
        let names: Vec<&str> = path.jobs.iter().map(|job| graph.name(*job)).collect();
        let _ = writeln!(out, "critical path: {}", names.join(" -> "));
        let _ = writeln!(out, "parallelism: {:.2}", graph.parallelism(&Durations::equal()));
    }
    out
}
