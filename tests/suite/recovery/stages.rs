//! Killed in each stage of a job.

use forgehand::emulator::{Endpoint, FaultAction, FaultRule, JobSpec};
use serde_json::json;

use super::{assert_no_violations, assert_succeeds, kill_when_logged, queue, start, wait_end};
use crate::support::TestForge;

#[test]
fn a_job_goes_on_in_whichever_stage_its_agent_is_killed() {
    let (forge, mut agent, project) = start(1);
    for words in [
        "Preparing the \"docker\" executor",
        "Running on ",
        "Getting source from",
        "Checking cache for",
        "Executing \"step_script\"",
        "line 1\n",
        "line 120\n",
        "Running after script",
        "after 10\n",
        "Saving cache",
        "Uploading artifacts",
        "Uploaded artifacts",
        "Job succeeded",
    ] {
        let job = queue(&forge, project, "0.002");
        kill_when_logged(&mut agent, job, words);
        agent.run();
        eprintln!("killed at {words:?}");
        assert_succeeds(&forge, &mut agent, job);
    }
    assert_no_violations(&forge);
    agent.assert_nothing_left();
}

/// Kills the agent while the forge holds a request about `endpoint` (the `nth`), then lets the forge answer again.
fn killed_while_held(nth: u32, endpoint: Endpoint, action: FaultAction) {
    let (forge, mut agent, project) = start(1);
    let rule = forge.fail(FaultRule::nth(nth, endpoint, action));
    let job = queue(&forge, project, "0.002");
    agent.wait_until(super::LIMIT, "the request", || was_spoiled(&forge, endpoint).then_some(()));
    agent.kill9();
    forge.heal(rule);
    agent.run();
    assert_succeeds(&forge, &mut agent, job);
    assert_no_violations(&forge);
    agent.assert_nothing_left();
}

fn was_spoiled(forge: &TestForge, endpoint: Endpoint) -> bool {
    forge.requests().iter().any(|request| request.endpoint == endpoint && request.faulted)
}

#[test]
fn killed_while_the_repository_is_fetched() {
    killed_while_held(1, Endpoint::Git, FaultAction::Hang);
}

#[test]
fn killed_while_an_artifact_is_uploaded() {
    killed_while_held(1, Endpoint::UploadArtifact, FaultAction::Hang);
}

#[test]
fn killed_when_the_artifact_was_taken_and_the_answer_lost() {
    killed_while_held(1, Endpoint::UploadArtifact, FaultAction::ServeThenReset);
}

#[test]
fn killed_while_the_forge_is_told_that_the_job_begins() {
    killed_while_held(1, Endpoint::UpdateJob, FaultAction::Hang);
}

#[test]
fn killed_during_the_last_word() {
    killed_while_held(2, Endpoint::UpdateJob, FaultAction::Hang);
}

#[test]
fn killed_when_the_last_word_was_taken_and_the_answer_lost() {
    killed_while_held(2, Endpoint::UpdateJob, FaultAction::ServeThenReset);
}

#[test]
fn killed_while_the_image_starts_the_container_is_made_anew() {
    let (forge, mut agent, project) = start(1);
    let mut spec: JobSpec = super::numbered(project, "slow entrypoint", "0.002");
    spec.overlay["image"] = json!({ "name": "case/bash:1", "entrypoint": ["/bin/sh", "-c", "echo entry-spoke; sleep 2; exec \"$@\"", "--"] });
    let job = forge.queue(spec).unwrap();
    let first = agent.wait_until(super::LIMIT, "a container", || super::container(&forge, job));
    agent.kill9();
    agent.run();
    let second = agent.wait_until(super::LIMIT, "another container", || {
        super::container(&forge, job).filter(|second| *second != first)
    });
    assert_ne!(first, second);
    assert_succeeds(&forge, &mut agent, job);
    assert_eq!(forge.job_log(job).text.matches("entry-spoke").count(), 1 /* its echo is not shown */);
    assert_no_violations(&forge);
    agent.assert_nothing_left();
}

#[test]
fn what_the_entrypoint_said_is_shown_although_the_agent_that_heard_it_is_gone() {
    let (forge, mut agent, project) = start(1);
    let mut spec: JobSpec = super::numbered(project, "entrypoint", "0.002");
    spec.overlay["image"] = json!({ "name": "case/entry:1" });
    let job = forge.queue(spec).unwrap();
    kill_when_logged(&mut agent, job, "Getting source from");
    agent.run();
    assert_succeeds(&forge, &mut agent, job);
    assert_eq!(forge.job_log(job).text.matches("entrypoint-ran\n").count(), 1);
    assert_no_violations(&forge);
    agent.assert_nothing_left();
}

#[test]
fn a_failed_step_is_no_less_failed_after_a_restart() {
    let (forge, mut agent, project) = start(1);
    let commands = ["echo begun", "sleep 2", "echo over", "exit 37"];
    let job = forge.queue(JobSpec::script(project, "fails", &commands)).unwrap();
    super::wait_log(&forge, &mut agent, job, " begun\n");
    agent.kill9();
    agent.run();
    let ended = wait_end(&forge, &mut agent, job);
    assert_eq!(
        (ended.state, ended.failure_reason.as_deref(), ended.exit_code),
        ("failed", Some("script_failure"), Some(37))
    );
    let text = forge.job_log(job).text;
    for line in ["\nbegun\n", "\nover\n", "Job failed: "] {
        assert_eq!(text.matches(line).count(), 1, "{text}");
    }
    assert_no_violations(&forge);
    agent.assert_nothing_left();
}
