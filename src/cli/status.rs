//! `forgehand status`: what the agent does now.

use clap::Args;
use serde::Serialize;

use super::{Verdict, block_on, render};
use crate::agent::board::{Activity, AgentStatus, RegistrationStatus};
use crate::agent::control::{Answer, Client, Command, ControlError};
use crate::config::Locations;
use crate::state::{JobPhase, JobRecord, Journal, StateDir};

/// Most jobs of the past that are shown.
const RECENT: u32 = 20;

/// Arguments of `forgehand status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Print one JSON object: `agent` (null when none runs) and `recent`, the last jobs.
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct StatusReport {
    version: u32,
    agent: Option<AgentStatus>,
    recent: Vec<JobRecord>,
}

/// Runs `forgehand status`. Works beside a running agent and without one.
pub fn run(args: &StatusArgs, locations: &Locations) -> Result<Verdict, miette::Report> {
    let dir = StateDir::at(&locations.state_dir);
    let agent = match ask(&dir) {
        Ok(agent) => agent,
        Err(error) => return Ok(render::failed(&error, Verdict::Environment)),
    };
    let recent = match recent(&dir)? {
        Ok(recent) => recent,
        Err(error) => return Ok(render::failed(&error, Verdict::Environment)),
    };
    if args.json {
        return Ok(render::json(&StatusReport { version: 1, agent, recent }));
    }
    Ok(render::result(&text(agent.as_ref(), &recent, &dir, jiff::Timestamp::now())))
}

fn ask(dir: &StateDir) -> Result<Option<AgentStatus>, ControlError> {
    let mut status = None;
    let asked = Client::ask(dir, &Command::Status, |answer| {
        if let Answer::Status { status: told } = answer {
            status = Some(*told);
        }
    });
    match asked {
        Ok(()) => Ok(status),
        Err(ControlError::NoAgent { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn recent(dir: &StateDir) -> Result<Result<Vec<JobRecord>, crate::state::JournalError>, miette::Report> {
    let journal = match Journal::open_to_read(dir, jiff::Timestamp::now) {
        Ok(Some(journal)) => journal,
        Ok(None) => return Ok(Ok(Vec::new())),
        Err(error) => return Ok(Err(error)),
    };
    block_on(journal.recent(RECENT))
}

fn text(agent: Option<&AgentStatus>, recent: &[JobRecord], dir: &StateDir, now: jiff::Timestamp) -> String {
    let mut text = match agent {
        Some(agent) => running(agent, now),
        None => format!("No agent runs with the state directory {}.\n", dir.root().display()),
    };
    let is_shown = |record: &&JobRecord| agent.is_none_or(|agent| agent.jobs.iter().all(|job| job.key != record.key));
    let rows: Vec<Vec<String>> = recent.iter().filter(is_shown).map(|record| past(record, now)).collect();
    if !rows.is_empty() {
        text += "\nLast jobs:\n";
        text += &render::table(&["JOB", "NAME", "PROJECT", "REGISTRATION", "STATUS", "AGO", "TOOK"], &rows);
    }
    text
}

fn running(agent: &AgentStatus, now: jiff::Timestamp) -> String {
    let figures = agent.capacity;
    let mut text = format!(
        "The agent (process {}, forgehand {}) is {} for {}: {} of {} jobs running, {} waiting.\n",
        agent.pid,
        agent.forgehand,
        agent.state,
        render::since(agent.since, now),
        figures.running,
        figures.concurrent,
        figures.waiting
    );
    let registrations: Vec<Vec<String>> = agent.registrations.iter().map(|one| registration(one, now)).collect();
    if registrations.is_empty() {
        text += "It serves nothing: add a registration with `forgehand register`.\n";
    } else {
        text += "\n";
        text += &render::table(&["REGISTRATION", "HEALTH", "HEARD", "POLLS"], &registrations);
    }
    let jobs = agent.jobs.iter().map(|job| {
        vec![
            render::plain(&job.id),
            render::plain(&job.name),
            render::plain(&job.project),
            job.registration.clone(),
            job.stage.clone(),
            render::since(job.stage_since, now),
            render::since(job.since, now),
        ]
    });
    let jobs: Vec<Vec<String>> = jobs.collect();
    if !jobs.is_empty() {
        text += "\n";
        text += &render::table(&["JOB", "NAME", "PROJECT", "REGISTRATION", "STAGE", "FOR", "HERE FOR"], &jobs);
    }
    text
}

fn registration(one: &RegistrationStatus, now: jiff::Timestamp) -> Vec<String> {
    let health = match (&one.last_error, one.is_unhealthy) {
        (_, true) => "refused: ".to_owned() + &render::plain(one.last_error.as_deref().unwrap_or_default()),
        (Some(error), false) => "failing: ".to_owned() + &render::plain(error),
        (None, false) => "ok".to_owned(),
    };
    let heard = one.last_contact.map_or("never".to_owned(), |then| render::since(then, now) + " ago");
    let polls = one.polls.iter().map(|poll| activity(poll.activity)).collect::<Vec<_>>().join(", ");
    vec![one.name.clone(), health, heard, polls]
}

fn activity(activity: Activity) -> &'static str {
    match activity {
        Activity::WaitingForSlot => "waiting for a free slot",
        Activity::Resting => "resting",
        Activity::Asking => "asking",
        Activity::TakingJob => "taking a job",
        Activity::Pausing => "pausing",
        Activity::BackingOff => "waiting after a failure",
    }
}

fn past(record: &JobRecord, now: jiff::Timestamp) -> Vec<String> {
    let status = match record.phase {
        JobPhase::Acknowledged => record.status.to_string(),
        // Owed to the forge: the next agent goes on with it.
        phase => format!("{} ({phase})", record.status),
    };
    let took = record.started_at.zip(record.ended_at);
    vec![
        render::plain(record.id.as_str()),
        render::plain(&record.name),
        render::plain(&record.project_path),
        record.registration.clone(),
        status,
        render::since(record.ended_at.unwrap_or(record.accepted_at), now),
        took.map_or("-".to_owned(), |(from, to)| render::since(from, to)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::board::Board;
    use crate::agent::capacity::Figures;
    use crate::state::journal::tests_support::{assignment, journal, noon};

    fn agent() -> AgentStatus {
        let board = Board::new(noon);
        board.set_registrations(["main"].into_iter());
        let _lane = board.lane("main", 0);
        board.job(&assignment("42", "t"), "main").stage("get_sources");
        AgentStatus {
            version: 1,
            pid: 7,
            forgehand: "0.1.0".into(),
            since: noon(),
            state: "serving".into(),
            capacity: Figures { concurrent: 4, running: 1, waiting: 0 },
            registrations: board.registrations(),
            jobs: board.jobs(),
        }
    }

    #[test]
    fn status_shows_the_agent_its_registrations_and_its_jobs() {
        let now = noon() + jiff::SignedDuration::from_secs(83);
        let shown = text(Some(&agent()), &[], &StateDir::at("/s"), now);
        insta::assert_snapshot!(shown, @r"
        The agent (process 7, forgehand 0.1.0) is serving for 1m 23s: 1 of 4 jobs running, 0 waiting.

        REGISTRATION  HEALTH  HEARD  POLLS
        main          ok      never  waiting for a free slot

        JOB  NAME      PROJECT        REGISTRATION  STAGE        FOR     HERE FOR
        42   build 42  group/project  main          get_sources  1m 23s  1m 23s
        ");
    }

    #[tokio::test]
    async fn without_an_agent_the_journal_tells_the_last_jobs() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path());
        journal.accept(&assignment("42", "t"), "main").await.unwrap();
        let recent = journal.recent(10).await.unwrap();
        let shown = text(None, &recent, &StateDir::at("/s"), noon());
        insta::assert_snapshot!(shown, @r"
        No agent runs with the state directory /s.

        Last jobs:
        JOB  NAME      PROJECT        REGISTRATION  STATUS              AGO  TOOK
        42   build 42  group/project  main          pending (accepted)  0s   -
        ");
    }
}
