//! Where jobs are found, and all that is known of one.

use std::path::PathBuf;

use super::super::block_on;
use super::findings::{self, Finding, Sandbox, World};
use super::reproduce::{self, Files, Reproduction};
use crate::config::{Locations, Overrides};
use crate::executor::evidence::Evidence;
use crate::executor::sandbox::SandboxRecord;
use crate::executor::sandbox::docker;
use crate::local::ledger::{self, KnownRun, SHORT};
use crate::pipeline::exit_code::{self, Explained};
use crate::pipeline::{JobOutcome, JobStatus};
use crate::state::{JobDetails, JobRecord, Journal, JournalError, Moved, StateDir, StateLock, evidence};

/// Jobs of the agent, and of each run, that are looked at.
const RECENT: u32 = 100;
/// The beginning of a run's id has to be so long to mean it.
const SHORTEST: usize = 4;

/// A journal and whose it is.
pub struct Source {
    journal: Journal,
    run: Option<KnownRun>,
    is_alive: bool,
}

/// What is known of a job.
pub struct Seen {
    /// The journal's line.
    pub record: JobRecord,
    /// By what it is found again.
    pub name: String,
    /// The local run it is of; `None`: the agent's.
    pub run: Option<KnownRun>,
    /// What the journal knows besides.
    pub details: JobDetails,
    /// What was written down when it failed.
    pub evidence: Option<Evidence>,
    /// Its container now.
    pub sandbox: Sandbox,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Its exit code, explained.
    pub exit: Option<(i32, Explained)>,
    /// How to run the step that failed again.
    pub reproduction: Option<Reproduction>,
}

impl Seen {
    /// Which try it is.
    pub fn attempt(&self) -> u32 {
        let first = self.details.transitions.iter().find_map(|line| match line.moved {
            Moved::Accepted { attempt, .. } => Some(attempt),
            _ => None,
        });
        first.unwrap_or(1)
    }

    /// Whether somebody looks for it.
    pub fn is_of_interest(&self) -> bool {
        let is_open = findings::is_open(self.record.phase, self.run.is_some());
        is_open || self.record.status == JobStatus::Failed || !self.findings.is_empty()
    }
}

/// The agent's journal, where there is one, and those of local runs, the newest first. A run whose journal cannot be read is
/// left out.
pub fn sources(locations: &Locations) -> Result<Vec<Source>, JournalError> {
    let dir = StateDir::at(&locations.state_dir);
    let mut all = Vec::new();
    if let Some(journal) = Journal::open_to_read(&dir, jiff::Timestamp::now)? {
        let is_alive = matches!(StateLock::holder(&dir), Ok(Some(_)));
        all.push(Source { journal, run: None, is_alive });
    }
    for run in ledger::runs(&locations.state_dir) {
        match Journal::open_to_read(&run.dir, jiff::Timestamp::now) {
            Ok(Some(journal)) => all.push(Source { journal, is_alive: run.is_alive, run: Some(run) }),
            Ok(None) => {}
            Err(error) => eprintln!("note: the run {} cannot be looked at: {error}", run.record.id),
        }
    }
    Ok(all)
}

/// The jobs that `name` means: a job's number or key, `RUN/NUMBER`, a run (its failed jobs), or the name of a job, the newest that
/// failed.
pub fn find<'s>(sources: &'s [Source], name: &str) -> Result<Vec<(&'s Source, JobRecord)>, miette::Report> {
    for source in sources {
        let found = match &source.run {
            None => ask(source.journal.find(name))?,
            Some(run) => of_run(source, run, name)?,
        };
        match &source.run {
            None if !found.is_empty() => return Ok(found.into_iter().take(1).map(|job| (source, job)).collect()),
            Some(_) if !found.is_empty() => return Ok(found.into_iter().map(|job| (source, job)).collect()),
            _ => {}
        }
    }
    let mut named = Vec::new();
    for source in sources {
        let of_name = ask(source.journal.recent(RECENT))?.into_iter().filter(|job| job.name == name);
        named.extend(of_name.map(|job| (source, job)));
    }
    named.sort_by_key(|(_, job)| std::cmp::Reverse(job.accepted_at));
    let failed = named.iter().position(|(_, job)| job.status == JobStatus::Failed).unwrap_or(0);
    Ok(named.into_iter().skip(failed).take(1).collect())
}

fn of_run(source: &Source, run: &KnownRun, name: &str) -> Result<Vec<JobRecord>, miette::Report> {
    let (id, job) = name.split_once('/').map_or((name, None), |(id, job)| (id, Some(job)));
    if id.len() < SHORTEST || !run.record.id.starts_with(id) {
        // A key belongs to one job of all.
        return Ok(ask(source.journal.find(name))?.into_iter().filter(|job| job.key.as_str() == name).collect());
    }
    match job {
        Some(job) => Ok(ask(source.journal.find(job))?.into_iter().take(1).collect()),
        None => {
            let all = ask(source.journal.recent(RECENT))?;
            let is_failed = |job: &JobRecord| job.status == JobStatus::Failed;
            let any_failed = all.iter().any(is_failed);
            Ok(all.into_iter().rev().filter(|job| !any_failed || is_failed(job)).collect())
        }
    }
}

/// The last jobs of all, the newest first.
pub fn recent(sources: &[Source]) -> Result<Vec<(&Source, JobRecord)>, miette::Report> {
    let mut all = Vec::new();
    for source in sources {
        all.extend(ask(source.journal.recent(RECENT))?.into_iter().map(|job| (source, job)));
    }
    all.sort_by_key(|(_, job)| std::cmp::Reverse(job.accepted_at));
    Ok(all)
}

fn ask<T>(question: impl Future<Output = Result<T, JournalError>>) -> Result<T, miette::Report> {
    block_on(question)?.map_err(|error| miette::miette!("{error}"))
}

/// Everything about one job.
pub fn see(source: &Source, record: JobRecord, locations: &Locations) -> Result<Seen, miette::Report> {
    let details = ask(source.journal.details(&record.key))?;
    let dir = source.journal.dir();
    let found = evidence::read(dir, &record.key).unwrap_or_else(|error| {
        eprintln!("note: what was kept of job {} cannot be read: {error}", record.id);
        None
    });
    let is_open = findings::is_open(record.phase, source.run.is_some());
    let sandbox = match &details.sandbox {
        Some(SandboxRecord::Docker { container, .. }) if is_open && details.outcome.is_none() => {
            block_on(container_now(container, &record, source, locations))?
        }
        _ => Sandbox::Unasked,
    };
    let last_output = std::fs::metadata(dir.job_log(&record.key)).and_then(|log| log.modified()).ok();
    let boot_id = crate::state::boot_id().ok();
    let world = World {
        now: jiff::Timestamp::now(),
        is_alive: source.is_alive,
        is_run: source.run.is_some(),
        sandbox: &sandbox,
        last_output: last_output.and_then(|at| jiff::Timestamp::try_from(at).ok()),
        boot_id: boot_id.as_deref(),
    };
    let findings = findings::of(&record, &details, &world);
    let name = match &source.run {
        Some(run) => format!("{}/{}", run.record.id.chars().take(SHORT).collect::<String>(), record.id),
        None => record.id.to_string(),
    };
    let reproduction = found.as_ref().and_then(|found| {
        let (launcher, script) = (evidence::launcher(dir, &record.key), evidence::script(dir, &record.key));
        let (launcher, script) = (absolute(launcher), absolute(script));
        let checkout = source.run.as_ref().map(|run| run.record.project.as_path());
        let short: String = record.key.as_str().chars().filter(char::is_ascii_alphanumeric).take(12).collect();
        reproduce::of(found, &Files { launcher: &launcher, script: &script, checkout, name: &short })
    });
    let exit = exit_of(&details, found.as_ref());
    Ok(Seen { record, name, run: source.run.clone(), details, evidence: found, sandbox, findings, exit, reproduction })
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// The exit code of the step that failed, or of the job.
fn exit_of(details: &JobDetails, evidence: Option<&Evidence>) -> Option<(i32, Explained)> {
    let of_step = evidence.and_then(|found| found.step.as_ref()).and_then(|step| step.ending.code());
    let of_job = match &details.outcome {
        Some(JobOutcome::Failed(failure)) => failure.exit_code,
        _ => None,
    };
    let code = of_step.or(of_job)?;
    Some((code, exit_code::explain(code, evidence.map(findings::circumstances).unwrap_or_default())))
}

async fn container_now(container: &str, record: &JobRecord, source: &Source, locations: &Locations) -> Sandbox {
    let config = crate::config::load(&locations.config_file, &Overrides::none()).ok();
    let registration =
        config.iter().flat_map(|config| &config.registrations).find(|one| one.name == record.registration);
    let host =
        registration.filter(|_| source.run.is_none()).and_then(|one| one.docker.host.as_ref()).map(ToString::to_string);
    match docker::evidence::stands(host.as_deref(), container).await {
        Ok(Some(state)) if state.is_running => Sandbox::Runs,
        Ok(Some(state)) if state.oom_killed => Sandbox::Gone("it was ended at its memory limit".to_owned()),
        Ok(Some(state)) => match (state.exit_code, state.error) {
            (_, Some(error)) => Sandbox::Gone(error),
            (Some(code), None) => Sandbox::Gone(format!("it ended with exit code {code}")),
            // Made, and about to start.
            (None, None) => Sandbox::Unasked,
        },
        Ok(None) => Sandbox::Gone("the engine does not know it any more".to_owned()),
        Err(error) => Sandbox::Unknown(error.to_string()),
    }
}
