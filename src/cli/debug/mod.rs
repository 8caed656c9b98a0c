//! `forgehand debug [JOB]`: what happened to a job, what is wrong with it, why it failed, and how to run the step that failed again.

mod findings;
mod look;
mod reproduce;
mod show;

use clap::Args;
use serde::Serialize;

use self::findings::Finding;
use self::look::Seen;
use self::reproduce::Reproduction;
use super::{Verdict, render};
use crate::config::Locations;
use crate::executor::evidence::Evidence;
use crate::state::{JobRecord, Transition};

/// Most jobs in the list.
const MOST: usize = 20;

/// Arguments of `forgehand debug`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Without JOB: the last jobs that failed, run, or have something wrong with them. Nothing is changed; it works beside a \
                  running agent and without one.\n\nExamples:\n  forgehand debug\n  forgehand debug 4711\n  forgehand debug 3f2a91c0/2   \
                  job 2 of the run 3f2a91c0 of `forgehand exec`\n  forgehand debug build        the newest job of that name that failed"
)]
pub struct DebugArgs {
    /// The job: its number at the forge, its key, its name; of `forgehand exec`: RUN or RUN/NUMBER.
    job: Option<String>,
    /// Print one JSON object: `jobs`, each with all that is known of it.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    jobs: Vec<JobReport<'a>>,
}

#[derive(Serialize)]
struct JobReport<'a> {
    /// By what `forgehand debug` finds it again.
    job: &'a str,
    /// The local run it is of.
    run: Option<&'a crate::local::ledger::RunRecord>,
    record: &'a JobRecord,
    attempt: u32,
    findings: &'a [Finding],
    exit: Option<Exit<'a>>,
    timeline: &'a [Transition],
    evidence: Option<&'a Evidence>,
    reproduce: Option<&'a Reproduction>,
}

#[derive(Serialize)]
struct Exit<'a> {
    code: i32,
    meaning: &'a str,
    advice: &'a str,
}

impl<'a> JobReport<'a> {
    fn of(job: &'a Seen) -> Self {
        Self {
            job: &job.name,
            run: job.run.as_ref().map(|run| &run.record),
            record: &job.record,
            attempt: job.attempt(),
            findings: &job.findings,
            exit: job.exit.as_ref().map(|(code, explained)| Exit {
                code: *code,
                meaning: &explained.meaning,
                advice: explained.advice,
            }),
            timeline: &job.details.transitions,
            evidence: job.evidence.as_ref(),
            reproduce: job.reproduction.as_ref(),
        }
    }
}

/// Runs `forgehand debug`.
pub fn run(args: &DebugArgs, locations: &Locations) -> Result<Verdict, miette::Report> {
    let sources = match look::sources(locations) {
        Ok(sources) => sources,
        Err(error) => return Ok(render::failed(&error, Verdict::Environment)),
    };
    let chosen = match &args.job {
        Some(job) => look::find(&sources, job)?,
        None => look::recent(&sources)?,
    };
    if let (Some(job), true) = (&args.job, chosen.is_empty()) {
        let message = format!("job `{job}` is not known here; `forgehand debug` lists those that are");
        return Ok(render::failed(&message, Verdict::Failed));
    }
    let mut jobs = Vec::new();
    for (source, record) in chosen {
        let seen = look::see(source, record, locations)?;
        if args.job.is_some() || seen.is_of_interest() {
            jobs.push(seen);
        }
        if jobs.len() == MOST {
            break;
        }
    }
    if args.json {
        return Ok(render::json(&Report { version: 1, jobs: jobs.iter().map(JobReport::of).collect() }));
    }
    let now = jiff::Timestamp::now();
    if args.job.is_none() {
        if jobs.is_empty() {
            eprintln!("note: no job failed, runs, or has something wrong with it");
            return Ok(Verdict::Success);
        }
        return Ok(render::result(&show::list(&jobs, now)));
    }
    let shown: Vec<String> = jobs.iter().map(|job| show::job(job, now)).collect();
    Ok(render::result(&shown.join("\n")))
}
