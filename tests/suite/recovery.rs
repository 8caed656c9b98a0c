//! A job outlives its agent: killed, told to stop, started again, with a forge and an engine that do not stand still.

mod engine;
mod forge;
mod journal;
mod moments;
mod output;
mod services;
mod stages;
mod stopping;

use std::path::{Path, PathBuf};
use std::time::Duration;

use forgehand::emulator::{JobSpec, JobView};
use serde_json::json;

use crate::support::docker::docker;
use crate::support::{Agent, AgentOptions, TestForge, try_until};

/// The longest anything may take that is waited for.
const LIMIT: Duration = Duration::from_secs(90);
/// What a job's main commands print: `line 1` to this.
const LINES: u32 = 120;
/// What its after-script prints.
const AFTER_LINES: u32 = 10;

/// A forge with one project and an agent whose jobs need no network.
fn start(max_jobs: u32) -> (TestForge, Agent, u64) {
    let forge = TestForge::start();
    let project = forge.case_project("group/recovery");
    let agent = Agent::start(&forge, AgentOptions { max_jobs, ..AgentOptions::default() }.without_network());
    (forge, agent, project)
}

/// A job that uses everything there is: sources, a cache, numbered lines with a pause after each, an after-script, an
/// artifact. What its commands append to stands in the artifact twice if they ran twice.
fn numbered(project: u64, name: &str, pause: &str) -> JobSpec {
    let main = [
        "mkdir -p kept; test -s kept/data || head -c 8000000 /dev/urandom >kept/data".to_owned(),
        format!("for i in $(seq 1 {LINES}); do echo \"line $i\"; echo \"line $i\" >>out.txt; sleep {pause}; done"),
    ];
    let after = format!("for i in $(seq 1 {AFTER_LINES}); do echo \"after $i\"; sleep {pause}; done");
    let step = |name: &str, script: &[String], when: &str| json!({ "name": name, "script": script, "timeout": 3600, "when": when, "allow_failure": name == "after_script" });
    let overlay = json!({
        "steps": [step("script", &main, "on_success"), step("after_script", &[after], "always")],
        "cache": [{ "key": "kept", "paths": ["kept/"], "policy": "pull-push", "when": "on_success", "untracked": false }],
        "artifacts": [{ "name": "out", "paths": ["out.txt"], "when": "on_success", "artifact_type": "archive",
                        "artifact_format": "zip" }],
    });
    JobSpec::new(project, name, overlay)
}

/// Queues such a job.
fn queue(forge: &TestForge, project: u64, pause: &str) -> u64 {
    forge.queue(numbered(project, "numbered", pause)).expect("the job is queued")
}

/// What is wrong with the end of a [`numbered`] job that was to succeed; empty: nothing.
fn faults(forge: &TestForge, job: &JobView) -> Vec<String> {
    let log = forge.job_log(job.id);
    let mut faults = Vec::new();
    if job.state != "success" {
        faults.push(format!("it ended as {} ({:?})", job.state, job.failure_reason));
    }
    for (word, count) in [("line", LINES), ("after", AFTER_LINES)] {
        let printed = lines(&log.text, word);
        if printed != (1..=count).collect::<Vec<_>>() {
            faults.push(format!("`{word}` numbers in its log: {printed:?}"));
        }
    }
    if log.text.matches("Job succeeded").count() != 1 || !log.text.ends_with("Job succeeded\n") {
        faults.push("its log does not end with one `Job succeeded`".to_owned());
    }
    match job.artifact("archive") {
        Some(archive) if lines(&unpacked(&archive.path), "line") == (1..=LINES).collect::<Vec<_>>() => {}
        Some(_) => faults.push("its artifact is not what one run writes".to_owned()),
        None => faults.push("it has no artifact".to_owned()),
    }
    if !faults.is_empty() {
        faults.push(format!("job {}, its log:\n{}", job.id, log.text));
    }
    faults
}

/// Waits for the end of a [`numbered`] job; panics unless all is right with it.
fn assert_succeeds(forge: &TestForge, agent: &mut Agent, id: u64) {
    let job = wait_end(forge, agent, id);
    let faults = faults(forge, &job);
    assert!(faults.is_empty(), "{}\nthe agent wrote:\n{}", faults.join("\n"), agent.output());
}

fn wait_end(forge: &TestForge, agent: &mut Agent, id: u64) -> JobView {
    agent.wait_until(LIMIT, "the job ends", || forge.job(id).filter(JobView::has_ended))
}

/// The numbers in the lines `WORD NUMBER`.
fn lines(text: &str, word: &str) -> Vec<u32> {
    let number = |line: &str| line.trim_end().strip_prefix(word)?.strip_prefix(' ')?.parse().ok();
    text.lines().filter_map(number).collect()
}

/// The only file of an archive.
fn unpacked(archive: &Path) -> String {
    let output = std::process::Command::new("busybox").args(["unzip", "-p"]).arg(archive).output().expect("busybox");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until the job's log at the forge holds `text`.
fn wait_log(forge: &TestForge, agent: &mut Agent, job: u64, text: &str) {
    agent.wait_until(LIMIT, text, || forge.log_contains(job, text).then_some(()));
}

/// The log of a job as the agent keeps it on disk, which is ahead of the forge's.
fn local_log(state: &Path, job: u64) -> Option<PathBuf> {
    let jobs = std::fs::read_dir(state.join("jobs")).ok()?;
    let of_job = |name: &str| name.split('-').next() == Some(&job.to_string());
    let folder = jobs.flatten().find(|entry| entry.file_name().to_str().is_some_and(of_job))?;
    Some(folder.path().join("log")).filter(|log| log.exists())
}

/// Kills the agent as soon as the job's log on its disk holds `text`.
fn kill_when_logged(agent: &mut Agent, job: u64, text: &str) {
    let state = agent.state_dir();
    let logged = try_until(LIMIT, || {
        let log = std::fs::read(local_log(&state, job)?).ok()?;
        log.windows(text.len()).any(|part| part == text.as_bytes()).then_some(())
    });
    assert!(logged.is_some(), "{text:?} is not in the log; the agent wrote:\n{}", agent.output());
    agent.kill9();
}

/// The id of the job's own container.
fn container(forge: &TestForge, job: u64) -> Option<String> {
    let of_forge = format!("label=forgehand.forge={}", forge.url().trim_end_matches('/'));
    let format = "{{.ID}} {{.Label \"forgehand.job\"}}";
    let all = docker(&["ps", "--filter", &of_forge, "--filter", "label=forgehand.job", "--format", format]);
    all.iter().find_map(|line| {
        let (id, key) = line.split_once(' ')?;
        (key.split('-').next() == Some(&job.to_string())).then(|| id.to_owned())
    })
}

/// Fails the test for what a well-made runner does not do. One that was killed before it read an answer may say again what
/// the forge has taken already.
fn assert_no_violations(forge: &TestForge) {
    let said_again = |rule: &str| rule.contains("refused with 403") || rule.contains("is not running");
    let violations: Vec<String> =
        forge.violations().iter().filter(|one| !said_again(&one.rule)).map(ToString::to_string).collect();
    assert!(violations.is_empty(), "the forge complains:\n{}", violations.join("\n"));
}

#[test]
fn all_numbered_lines_arrive_once_and_in_order_after_a_kill_in_mid_step() {
    let (forge, mut agent, project) = start(1);
    let job = queue(&forge, project, "0.03");
    wait_log(&forge, &mut agent, job, "line 20\n");
    agent.kill9();
    agent.run();
    assert_succeeds(&forge, &mut agent, job);
    assert_no_violations(&forge);
    agent.assert_nothing_left();
}
