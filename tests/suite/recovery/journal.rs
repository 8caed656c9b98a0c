//! The state directory: who may use it, and what an agent does that finds it damaged or emptied.

use super::{LIMIT, assert_no_violations, container, queue, start, wait_end, wait_log};
use crate::support::wait_until;

#[test]
fn a_second_agent_does_not_start_over_the_same_state() {
    let (_forge, agent, _project) = start(1);
    wait_until(LIMIT, "the first one serves", || agent.output().contains("the agent serves").then_some(()));
    let second = agent.forgehand(&["run"]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success());
    assert!(said.contains(&agent.pid().as_raw_nonzero().to_string()), "it names the first one's process: {said}");
}

#[test]
fn what_a_killed_agent_left_is_removed_although_nobody_knows_the_job_any_more() {
    let (forge, mut agent, project) = start(1);
    let job = queue(&forge, project, "0.5");
    wait_log(&forge, &mut agent, job, "line 2\n");
    agent.kill9();
    assert!(!agent.docker_leftovers().is_empty());
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let _ = std::fs::remove_file(agent.state_dir().join(name));
    }
    std::fs::remove_dir_all(agent.state_dir().join("jobs")).unwrap();
    agent.run();
    agent.assert_nothing_left();
}

#[test]
fn a_job_whose_journal_is_damaged_fails_and_does_not_run_again() {
    let (forge, mut agent, project) = start(1);
    let job = queue(&forge, project, "0.5");
    wait_log(&forge, &mut agent, job, "line 2\n");
    agent.kill9();
    std::fs::write(agent.state_dir().join("state.db"), "this is no database").unwrap();
    for name in ["state.db-wal", "state.db-shm"] {
        let _ = std::fs::remove_file(agent.state_dir().join(name));
    }
    agent.run();
    let ended = wait_end(&forge, &mut agent, job);
    let text = forge.job_log(job).text;
    assert_eq!((ended.state, ended.failure_reason.as_deref()), ("failed", Some("runner_system_failure")), "{text}");
    assert!(text.contains("line 2\n") && text.contains("the runner's journal was damaged"), "{text}");
    assert_eq!(text.matches("line 1\n").count(), 1, "it did not run again: {text}");
    agent.assert_nothing_left();
    assert!(container(&forge, job).is_none());
    assert_no_violations(&forge);
}
