//! Told to stop while a job runs.

use forgehand::emulator::{Endpoint, FaultAction, FaultRule};
use rustix::process::Signal;

use super::{LIMIT, LINES, assert_no_violations, assert_succeeds, lines, queue, start, wait_log};

#[test]
fn told_to_stop_the_agent_finishes_its_job_and_ends_with_0() {
    let (forge, mut agent, project) = start(1);
    let job = queue(&forge, project, "0.02");
    wait_log(&forge, &mut agent, job, "line 5\n");
    agent.terminate();
    let waits = queue(&forge, project, "0.002");
    let status = agent.wait_exit(LIMIT);
    assert_eq!(status.code(), Some(0), "{}", agent.output());
    let ended = forge.job(job).unwrap();
    assert_eq!(super::faults(&forge, &ended), Vec::<String>::new());
    assert_eq!(forge.job(waits).unwrap().state, "pending", "it takes no more jobs");
    agent.assert_nothing_left();
    agent.run();
    assert_succeeds(&forge, &mut agent, waits);
    assert_no_violations(&forge);
}

#[test]
fn a_forge_that_does_not_take_the_last_word_does_not_keep_the_agent_from_ending() {
    let (forge, mut agent, project) = start(1);
    let job = queue(&forge, project, "0.02");
    wait_log(&forge, &mut agent, job, "line 5\n");
    let rule = forge.fail(FaultRule::all(Endpoint::UpdateJob, FaultAction::status(500)));
    agent.terminate();
    let status = agent.wait_exit(LIMIT);
    assert_eq!(status.code(), Some(0), "{}", agent.output());
    assert_eq!(forge.job(job).unwrap().state, "running", "its end is still to be told");
    agent.assert_nothing_left();
    forge.heal(rule);
    agent.run();
    assert_succeeds(&forge, &mut agent, job);
    assert_no_violations(&forge);
}

#[test]
fn told_twice_it_cancels_its_job_which_ends_tidily() {
    let (forge, mut agent, project) = start(1);
    let job = queue(&forge, project, "0.2");
    wait_log(&forge, &mut agent, job, "line 5\n");
    agent.terminate();
    crate::support::wait_until(LIMIT, "it drains", || agent.output().contains("no more jobs are taken").then_some(()));
    agent.terminate();
    agent.wait_exit(LIMIT);
    let ended = forge.job(job).unwrap();
    let text = forge.job_log(job).text;
    assert_eq!((ended.state, ended.failure_reason.as_deref()), ("failed", Some("runner_interrupted")), "{text}");
    let printed = lines(&text, "line");
    assert_eq!(printed, (1..=printed.len() as u32).collect::<Vec<_>>());
    assert!(printed.len() < LINES as usize);
    assert_no_violations(&forge);
    agent.assert_nothing_left();
}

#[test]
fn told_to_hand_over_it_ends_at_once_and_the_next_agent_goes_on() {
    let (forge, mut agent, project) = start(1);
    let job = queue(&forge, project, "0.05");
    wait_log(&forge, &mut agent, job, "line 5\n");
    agent.signal(Signal::USR1);
    let status = agent.wait_exit(LIMIT);
    assert_eq!(status.code(), Some(0), "{}", agent.output());
    assert!(super::container(&forge, job).is_some(), "the job runs on");
    agent.run();
    assert_succeeds(&forge, &mut agent, job);
    assert_no_violations(&forge);
    agent.assert_nothing_left();
}
