//! Steps that misbehave: leave processes, fork without end, do not go when told, take all memory, take for ever.

use std::time::Duration;

use forgehand::emulator::JobSpec;
use serde_json::json;

use super::house::{House, several, step};
use crate::support::docker::docker;

#[test]
fn a_step_that_misbehaves_ends_in_its_own_state_only() {
    let options = several()
        .without_network()
        .env("FORGEHAND_DOCKER__PIDS_LIMIT", "200")
        .env("FORGEHAND_DOCKER__MEMORY", "64MiB")
        .env("FORGEHAND_DOCKER__MEMORY_SWAP", "64MiB");
    let mut house = House::with(options);
    let after = |house: &House, commands: &[&str]| {
        house.queue(&[], json!({ "steps": [step("script", commands), after_step(&["echo after-$CI_JOB_STATUS"])] }))
    };
    let daemon = house.queue(
        &["setsid sh -c 'exec </dev/null; trap \"\" TERM HUP; while :; do sleep 1; done' & disown; (nohup sleep 1000 >/dev/null 2>&1 &)", "echo main-is-over"],
        json!({}),
    );
    let bomb = after(
        &house,
        &["echo begin", "bomb() { bomb | bomb & }; bomb; sleep 2; for n in $(seq 300); do sleep 500 & done; wait"],
    );
    let memory = after(&house, &["echo begin", "x=a; while :; do x=$x$x; done"]);
    let child = after(&house, &["tail -c 1G /dev/zero | tail -n 1 | wc -c; echo went-on"]);
    let code = after(&house, &["exit 37"]);
    let signal = after(&house, &["kill -9 $$"]);
    let empty = after(&house, &["exec 1>&- 2>&-; echo nobody-hears"]);

    house.end(daemon).succeeded().said("main-is-over");
    let memory = house.end(memory);
    memory.failed("script_failure").exit_code(137).said("memory limit").said("docker.memory").said("after-failed");
    let child = house.end(child);
    assert!(["success", "failed"].contains(&child.view.state));
    house.end(code).failed("script_failure").exit_code(37).said("after-failed").said("exit code 37");
    house.end(signal).failed("script_failure").exit_code(137).said("after-failed").kept_quiet_about("memory limit");
    let empty = house.end(empty);
    assert!(empty.view.has_ended());
    // It never ends by itself: its user cancels it. The limit keeps it from the machine, the agent and the after-step.
    house.wait_for_output(bomb, "begin");
    house.wait_for_output(bomb, "fork");
    assert!(house.forge.cancel(bomb));
    let bomb = house.end(bomb);
    assert_eq!(bomb.view.state, "canceled", "{}", bomb.log.text);
    bomb.said("after-canceled");
    house.close();
}

#[test]
fn a_step_that_ignores_every_signal_goes_when_its_time_is_up_or_its_user_says_so() {
    let mut house = House::quick();
    let deaf = "trap '' TERM INT HUP; echo deaf; while :; do sleep 1; done";
    let late = json!({ "runner_info": { "timeout": 4 }, "steps": [step("script", &[deaf]), after_step(&["echo after-$CI_JOB_STATUS"])] });
    let late = house.queue(&[], late);
    let limited = json!({
        "variables": [{ "key": "GIT_STRATEGY", "value": "none" }, { "key": "RUNNER_SCRIPT_TIMEOUT", "value": "3s" }],
        "steps": [step("script", &[deaf]), after_step(&["echo after-$CI_JOB_STATUS"])],
    });
    let limited = house.queue(&[], limited);
    let overlay = json!({ "steps": [step("script", &[deaf]), after_step(&["echo after-$CI_JOB_STATUS"])] });
    let cancelled = JobSpec { cancel_on: Some("deaf".to_owned()), ..house.spec(&[], overlay) };
    let cancelled = house.queue_spec(cancelled);
    let forced = house.queue(&[deaf], json!({}));

    house.wait_for_output(forced, "deaf\n");
    assert!(house.forge.force_cancel(forced));
    house.end(late).failed("job_execution_timeout").said("execution took longer than 4s");
    house.end(limited).failed("job_execution_timeout").said("execution took longer than 3s").said("after-timedout");
    let cancelled = house.end(cancelled);
    assert_eq!(cancelled.view.state, "canceled", "{}", cancelled.log.text);
    cancelled.said("after-canceled");
    assert_eq!(house.end(forced).view.state, "canceled");
    let label = format!("label=forgehand.forge={}", house.forge.url());
    house.agent.wait_until(Duration::from_secs(60), "the container of a job that was given up goes", || {
        docker(&["ps", "--all", "--quiet", "--filter", &label]).is_empty().then_some(())
    });
    house.close();
}

fn after_step(commands: &[&str]) -> serde_json::Value {
    json!({ "name": "after_script", "script": commands, "timeout": 300, "when": "always", "allow_failure": true })
}
