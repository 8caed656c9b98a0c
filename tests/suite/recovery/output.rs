//! Output that was given back to the disk before its agent was killed.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use forgehand::emulator::JobSpec;
use serde_json::json;

use super::{assert_no_violations, container, local_log, wait_end};
use crate::support::docker::docker;
use crate::support::{Agent, AgentOptions, TestForge};

/// More than is kept of a step's output, and a little.
const LINES: (u32, u32) = (5_500_000, 5_600_000);

#[test]
fn a_later_agent_goes_on_behind_what_was_given_back() {
    let forge = TestForge::start();
    let project = forge.case_project("group/recovery");
    let options = AgentOptions::default().without_network().env("FORGEHAND_OUTPUT_LIMIT", "1GiB");
    let mut agent = Agent::start(&forge, options);
    let (first, last) = LINES;
    let wait = "while [ ! -e /go ]; do sleep 0.1; done";
    let overlay = json!({
        "steps": [{ "name": "script", "timeout": 3600, "when": "on_success", "allow_failure": false,
                    "script": [format!("seq 1 {first}; {wait}; seq {} {last}", first + 1)] }],
        "variables": [{ "key": "FF_TIMESTAMPS", "value": "false", "public": true },
                      { "key": "GIT_STRATEGY", "value": "none", "public": true }],
    });
    let job = forge.queue(JobSpec::new(project, "much", overlay)).expect("the job is queued");
    let state = agent.state_dir();
    agent.wait_until(super::LIMIT, "the first part is in the log", || {
        let log = local_log(&state, job)?;
        let end = format!("\n{first}\n").into_bytes();
        std::fs::read(log).ok()?.ends_with(&end).then_some(())
    });
    agent.kill9();
    let spool = spool(&state.join("jobs")).expect("the step has one").metadata().expect("it is there");
    assert!(spool.blocks() * 512 < spool.len() / 2, "{} blocks of {} bytes", spool.blocks(), spool.len());
    agent.run();
    let container = container(&forge, job).expect("it runs");
    docker(&["exec", &container, "sh", "-c", "echo >/go"]);
    let ended = wait_end(&forge, &mut agent, job);
    let log = forge.job_log(job).text;
    assert_eq!(ended.state, "success", "{}", log.get(log.len().saturating_sub(2000)..).unwrap_or_default());
    let numbers = log.lines().filter_map(|line| line.trim_end().parse::<u32>().ok());
    let torn = numbers.clone().zip(1..).find(|(seen, expected)| seen != expected);
    assert_eq!((torn, numbers.count()), (None, last as usize), "each line once, in order");
    assert_no_violations(&forge);
    agent.assert_nothing_left();
}

/// The only spool below `folder`.
fn spool(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    entries.flatten().map(|entry| entry.path()).find_map(|path| {
        if path.is_dir() { spool(&path) } else { path.extension().is_some_and(|it| it == "spool").then_some(path) }
    })
}
