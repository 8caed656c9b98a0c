//! What the forge does while the agent is away.

use std::time::Duration;

use forgehand::emulator::{Endpoint, FaultAction, FaultRule};

use super::{LIMIT, LINES, assert_no_violations, assert_succeeds, lines, queue, start, wait_end, wait_log};

#[test]
fn a_job_cancelled_while_its_agent_is_away_ends_tidily() {
    let (forge, mut agent, project) = start(1);
    let job = queue(&forge, project, "0.2");
    wait_log(&forge, &mut agent, job, "line 5\n");
    agent.kill9();
    assert!(forge.cancel(job));
    agent.run();
    let ended = wait_end(&forge, &mut agent, job);
    let text = forge.job_log(job).text;
    assert_eq!(ended.state, "canceled", "{text}");
    let printed = lines(&text, "line");
    assert_eq!(printed, (1..=printed.len() as u32).collect::<Vec<_>>());
    assert!(printed.len() < LINES as usize);
    assert_eq!(lines(&text, "after").len(), 10, "the after-script runs: {text}");
    assert_no_violations(&forge);
    agent.assert_nothing_left();
}

#[test]
fn a_job_cancelled_at_once_while_its_agent_is_away_leaves_nothing() {
    let (forge, mut agent, project) = start(1);
    let job = queue(&forge, project, "0.2");
    wait_log(&forge, &mut agent, job, "line 5\n");
    agent.kill9();
    assert!(forge.force_cancel(job));
    assert!(super::container(&forge, job).is_some());
    agent.run();
    agent.assert_nothing_left();
    // The next job finds the slot free.
    let next = queue(&forge, project, "0.002");
    assert_succeeds(&forge, &mut agent, next);
}

#[test]
fn an_agent_started_again_outlasts_a_forge_that_answers_500() {
    let (forge, mut agent, project) = start(1);
    let job = queue(&forge, project, "0.05");
    wait_log(&forge, &mut agent, job, "line 10\n");
    agent.kill9();
    let rules = [Endpoint::RequestJob, Endpoint::UpdateJob, Endpoint::PatchTrace]
        .map(|endpoint| forge.fail(FaultRule::all(endpoint, FaultAction::status(500))));
    agent.run();
    // Its own end does not wait for the forge.
    let state = agent.state_dir();
    agent.wait_until(LIMIT, "the job ends here", || {
        let log = std::fs::read(super::local_log(&state, job)?).ok()?;
        log.windows(13).any(|part| part == b"Job succeeded").then_some(())
    });
    rules.into_iter().for_each(|rule| forge.heal(rule));
    assert_succeeds(&forge, &mut agent, job);
    assert_no_violations(&forge);
    agent.assert_nothing_left();
}

#[test]
fn a_job_delivered_twice_runs_once() {
    let (forge, mut agent, project) = start(2);
    let job = queue(&forge, project, "0.03");
    wait_log(&forge, &mut agent, job, "line 5\n");
    forge.redeliver(job);
    agent.wait_until(LIMIT, "the second delivery", || forge.job(job).filter(|job| job.deliveries == 2));
    agent.kill9();
    forge.redeliver(job);
    agent.run();
    agent.wait_until(LIMIT, "the third delivery", || forge.job(job).filter(|job| job.deliveries == 3));
    assert_succeeds(&forge, &mut agent, job);
    // Once more after its end: it hears its last word again, and nothing runs.
    agent.assert_nothing_left();
    forge.redeliver(job);
    agent.wait_until(LIMIT, "the fourth delivery", || forge.job(job).filter(|job| job.deliveries == 4));
    agent.wait_until(Duration::from_secs(20), "it is told again", || said_again(&forge, job).then_some(()));
    assert!(super::container(&forge, job).is_none());
    assert!(super::faults(&forge, &forge.job(job).unwrap()).is_empty());
    assert_no_violations(&forge);
    agent.assert_nothing_left();
}

/// Whether the last word was said more than once.
fn said_again(forge: &crate::support::TestForge, job: u64) -> bool {
    let said = |request: &forgehand::emulator::RecordedRequest| {
        request.endpoint == Endpoint::UpdateJob && request.job() == Some(job) && request.json()["state"] == "success"
    };
    forge.requests().iter().filter(|request| said(request)).count() > 1
}
