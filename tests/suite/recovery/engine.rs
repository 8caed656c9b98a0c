//! What happens in the engine while a job runs, with the agent there or away.

use std::process::Command;

use super::{LINES, assert_no_violations, container, lines, queue, start, wait_end, wait_log};
use crate::support::docker::docker;
use crate::support::{Agent, TestForge};

/// The job failed for `cause`, with its log up to where its container was.
fn assert_lost(forge: &TestForge, agent: &mut Agent, job: u64, cause: &str) {
    let ended = wait_end(forge, agent, job);
    let text = forge.job_log(job).text;
    assert_eq!((ended.state, ended.failure_reason.as_deref()), ("failed", Some("runner_system_failure")), "{text}");
    assert!(text.contains(cause), "no {cause:?} in\n{text}");
    let printed = lines(&text, "line");
    assert!(printed.len() >= 10 && printed.len() < LINES as usize, "{text}");
    assert_eq!(printed, (1..=printed.len() as u32).collect::<Vec<_>>());
    assert_no_violations(forge);
    agent.assert_nothing_left();
}

#[test]
fn a_container_removed_in_mid_step_ends_its_job_with_the_cause() {
    let (forge, mut agent, project) = start(1);
    let job = queue(&forge, project, "0.1");
    wait_log(&forge, &mut agent, job, "line 10\n");
    docker(&["rm", "--force", &container(&forge, job).unwrap()]);
    assert_lost(&forge, &mut agent, job, "the job's container was removed by another program");
}

#[test]
fn a_container_removed_while_the_agent_is_away_ends_its_job_with_the_cause() {
    let (forge, mut agent, project) = start(1);
    let job = queue(&forge, project, "0.1");
    wait_log(&forge, &mut agent, job, "line 10\n");
    agent.kill9();
    docker(&["rm", "--force", &container(&forge, job).unwrap()]);
    agent.run();
    assert_lost(&forge, &mut agent, job, "removed by another program");
}

#[test]
fn a_job_whose_shim_is_killed_ends_with_the_cause() {
    let (forge, mut agent, project) = start(1);
    let job = queue(&forge, project, "0.1");
    wait_log(&forge, &mut agent, job, "line 10\n");
    kill_shim(&container(&forge, job).unwrap());
    assert_lost(&forge, &mut agent, job, "the job's container ended with exit code 137");
}

#[test]
fn a_job_whose_shim_is_killed_while_the_agent_is_away_ends_with_the_cause() {
    let (forge, mut agent, project) = start(1);
    let job = queue(&forge, project, "0.1");
    wait_log(&forge, &mut agent, job, "line 10\n");
    agent.kill9();
    kill_shim(&container(&forge, job).unwrap());
    agent.run();
    assert_lost(&forge, &mut agent, job, "its container has ended with exit code 137");
}

/// The shim is the container's first process.
fn kill_shim(container: &str) {
    let pid = docker(&["inspect", "--format", "{{.State.Pid}}", container]).remove(0);
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
}

#[test]
fn a_step_that_had_ended_counts_although_its_container_is_gone() {
    let (forge, mut agent, project) = start(1);
    let job = queue(&forge, project, "0.002");
    super::kill_when_logged(&mut agent, job, "Uploading artifacts");
    docker(&["rm", "--force", &container(&forge, job).unwrap()]);
    agent.run();
    super::assert_succeeds(&forge, &mut agent, job);
    assert_no_violations(&forge);
    agent.assert_nothing_left();
}
