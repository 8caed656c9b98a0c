//! Services whose output is shown, in a job whose agent is killed.

use forgehand::emulator::JobSpec;
use serde_json::json;

use super::{assert_no_violations, lines, wait_end, wait_log};
use crate::support::{Agent, AgentOptions, TestForge};

#[test]
fn what_a_service_says_neither_doubles_nor_tears_the_lines_of_a_step() {
    let forge = TestForge::start();
    let project = forge.case_project("group/recovery");
    let mut agent = Agent::start(&forge, AgentOptions::default());
    let say = "i=0; while :; do i=$((i+1)); echo heard $i; sleep 0.05; done";
    let overlay = json!({
        "steps": [{ "name": "script", "timeout": 3600, "when": "on_success", "allow_failure": false,
                    "script": ["for i in $(seq 1 120); do echo \"line $i\"; sleep 0.05; done"] }],
        "services": [{ "name": "case/bash:1", "alias": "talker", "command": ["bash", "-c", say] }],
        "variables": [{ "key": "CI_DEBUG_SERVICES", "value": "true", "public": true },
                      { "key": "GIT_STRATEGY", "value": "none", "public": true }],
    });
    let job = forge.queue(JobSpec::new(project, "talk", overlay)).expect("the job is queued");
    wait_log(&forge, &mut agent, job, "line 20\n");
    agent.kill9();
    agent.run();
    let ended = wait_end(&forge, &mut agent, job);
    let log = forge.job_log(job).text;
    assert_eq!(ended.state, "success", "{log}");
    assert_eq!(lines(&log, "line"), (1..=120).collect::<Vec<_>>(), "{log}");
    let heard: Vec<u32> = log
        .lines()
        .filter_map(|line| {
            line.split_once("talker] heard ")?.1.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        })
        .collect();
    assert!(heard.first() == Some(&1) && heard.len() > 40, "{heard:?}");
    assert!(heard.windows(2).all(|pair| pair[0] < pair[1]), "each once, in order: {heard:?}");
    assert_no_violations(&forge);
    agent.assert_nothing_left();
}
