//! The job cases: what a GitLab runner is handed and what it must make of it.
//!
//! Those recorded from gitlab-runner (`../shared/corpus/gitlab-jobs`, skipped with a note where it is absent) and our own
//! in the same format (`fixtures/gitlab/cases`). Every case is a project of its own. `FORGEHAND_CASE=text,text` runs only
//! cases whose name contains one of the texts.

mod case;
mod compare;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use forgehand::emulator::JobSpec;

use crate::support::{Agent, AgentOptions, TestForge, forge::root};
use case::Case;

/// The longest a job of a case may take, its image's start included.
const JOB_LIMIT: Duration = Duration::from_secs(120);
/// How many agents work through the cases that need no network.
const AGENTS: usize = 3;

#[test]
fn a_job_ends_as_with_gitlab_runner() {
    let corpus = root().join("../shared/corpus/gitlab-jobs");
    if !corpus.is_dir() {
        eprintln!("note: {} is absent; its cases are skipped", corpus.display());
    }
    run_all(&corpus);
}

#[test]
fn our_own_job_cases_hold() {
    run_all(&root().join("fixtures/gitlab/cases"));
}

fn run_all(folder: &Path) {
    let cases = case::load(folder);
    let count = cases.len();
    if count == 0 {
        return;
    }
    let forge = TestForge::start();
    // Each kind of case has its agents: the job's network is a setting of the agent. One job at a time an agent, since
    // jobs may ask for their number among those running.
    let (networked, lonely): (VecDeque<Case>, VecDeque<Case>) = cases.into_iter().partition(|case| case.network);
    let (networked, lonely) = (Mutex::new(networked), Mutex::new(lonely));
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let (forge, failures) = (&forge, &failures);
        let (networked, lonely) = (&networked, &lonely);
        scope.spawn(move || work(forge, networked, AgentOptions::default, failures));
        for _ in 0..AGENTS {
            scope.spawn(move || work(forge, lonely, || AgentOptions::default().without_network(), failures));
        }
    });
    let failures = failures.into_inner().expect("no thread panicked with it");
    assert!(failures.is_empty(), "{} of {count} cases failed:\n\n{}", failures.len(), failures.join("\n\n"));
    forge.assert_no_violations();
}

/// Works through `cases` with one agent, or a new one where a case has settings of its own.
fn work(
    forge: &TestForge,
    cases: &Mutex<VecDeque<Case>>,
    options: impl Fn() -> AgentOptions,
    failures: &Mutex<Vec<String>>,
) {
    let next = || cases.lock().expect("no thread panicked with it").pop_front();
    let fail = |text: String| failures.lock().expect("no thread panicked with it").push(text);
    let mut usual: Option<Agent> = None;
    while let Some(case) = next() {
        let is_own = !case.environment.is_empty();
        let mut agent = match usual.take() {
            Some(agent) if !is_own => agent,
            kept => {
                usual = kept;
                let mut options = options();
                options.environment.extend(case.environment.clone());
                Agent::start(forge, options)
            }
        };
        match run_case(forge, &mut agent, &case) {
            Ok(problems) if problems.is_empty() => {}
            Ok(problems) => fail(format!("{} ({}):\n{}", case.name, case.about, problems.join("\n"))),
            Err(stuck) => {
                fail(format!("{} ({}): {stuck}", case.name, case.about));
                // Whatever holds it must not hold up the next case.
                continue;
            }
        }
        if is_own {
            end(agent, &case.name, fail);
        } else {
            usual = Some(agent);
        }
    }
    if let Some(agent) = usual {
        end(agent, "after the cases", fail);
    }
}

/// Ends an agent tidily and looks for what it left; a panic becomes a failure among the others.
fn end(mut agent: Agent, when: &str, fail: impl Fn(String)) {
    let ended = catch_unwind(AssertUnwindSafe(|| {
        agent.stop();
        agent.assert_nothing_left();
    }));
    if let Err(panic) = ended {
        let text = panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "it panicked".to_owned());
        fail(format!("the agent, {when}: {text}"));
    }
}

/// Runs the jobs of a case one after the other: what is not as expected; `Err` when a job does not end.
fn run_case(forge: &TestForge, agent: &mut Agent, case: &Case) -> Result<Vec<String>, String> {
    let project = forge.case_project(&format!("team/{}", case.name));
    let mut problems = Vec::new();
    for (job, expected) in case.jobs.iter().zip(&case.expect) {
        let spec = JobSpec {
            runner: Some(agent.runner),
            cancel_on: job.cancel_on.clone(),
            runner_variables: false,
            ..JobSpec::new(project, &job.name, job.response.clone())
        };
        let id = forge.queue(spec).expect("the job is queued");
        let ended = agent
            .try_wait(JOB_LIMIT, || forge.job(id).filter(|job| job.has_ended()))
            .map_err(|why| format!("job `{}` does not end: {why}", job.name))?;
        let wrong = compare::differences(expected, &ended, &forge.job_log(id));
        problems.extend(wrong.into_iter().map(|wrong| format!("  job `{}`: {wrong}", job.name)));
    }
    Ok(problems)
}
