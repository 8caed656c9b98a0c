//! Artifacts between jobs of one machine: restored from its store, with the forge as the truth.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use forgehand::emulator::{Endpoint, JobSpec, JobView};
use serde_json::{Value, json};

use crate::support::agent::said;
use crate::support::{Agent, AgentOptions, TestForge};

const JOB_LIMIT: Duration = Duration::from_secs(60);

fn job(agent: &Agent, project: u64, name: &str, script: &[&str], more: Value) -> JobSpec {
    let mut spec = JobSpec { runner: Some(agent.runner), ..JobSpec::script(project, name, script) };
    let (Some(overlay), Value::Object(more)) = (spec.overlay.as_object_mut(), more) else { panic!("objects") };
    overlay.extend(more);
    spec
}

/// Runs the job to its end; the job and its log.
fn run(forge: &TestForge, agent: &mut Agent, spec: JobSpec) -> (JobView, String) {
    let id = forge.queue(spec).expect("the job is queued");
    let ended = agent.wait_until(JOB_LIMIT, "the job ends", || forge.job(id).filter(|job| job.has_ended()));
    (ended, String::from_utf8_lossy(&forge.log(id)).into_owned())
}

fn archive() -> Value {
    json!({ "artifacts": [{
        "name": "", "untracked": false, "paths": ["out/"], "exclude": [], "when": "on_success",
        "expire_in": "1 week", "artifact_type": "archive", "artifact_format": "zip",
    }] })
}

/// A job that leaves files, and the number of the project.
fn make(forge: &TestForge, agent: &mut Agent) -> u64 {
    let project = forge.case_project("team/kept");
    let script = ["mkdir out", "echo made > out/file", "ln -s file out/link", "chmod 750 out/file"];
    let (made, log) = run(forge, agent, job(agent, project, "make", &script, archive()));
    assert_eq!(made.state, "success", "{log}");
    project
}

fn use_it(forge: &TestForge, agent: &mut Agent, project: u64) -> String {
    let script = ["cat out/link", "stat -c %a out/file"];
    let needs = json!({ "dependencies": ["make"] });
    let (used, log) = run(forge, agent, job(agent, project, "use", &script, needs));
    assert_eq!(used.state, "success", "{log}\nthe agent wrote:\n{}", agent.output());
    assert_eq!(forge.job_log(used.id).output("step_script"), ["made", "750"]);
    log
}

fn downloads(forge: &TestForge) -> usize {
    forge.requests().iter().filter(|request| request.endpoint == Endpoint::DownloadArtifact).count()
}

/// The files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn owners(agent: &Agent) -> PathBuf {
    agent.state_dir().join("store/owners")
}

#[test]
fn a_job_gets_what_another_left_on_this_machine_without_asking_the_forge() {
    let forge = TestForge::start();
    let mut agent = Agent::start(&forge, AgentOptions::default().without_network());
    let project = make(&forge, &mut agent);
    let log = use_it(&forge, &mut agent, project);
    assert!(log.contains("Restored artifacts of make from this machine"), "{log}");
    assert_eq!(downloads(&forge), 0);
    let listed = agent.forgehand(&["store", "ls", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap_or_else(|_| panic!("{}", said(&listed)));
    assert_eq!(listed[0]["job"], "make", "{listed}");
    assert_eq!(listed[0]["lineage"]["consumers"].as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(listed[0]["reference_count"], 0, "what the job held is given back: {listed}");
    assert!(listed[0]["expires_at"].is_string(), "{listed}");
    agent.stop();
    agent.assert_nothing_left();
    forge.assert_no_violations();
}

#[test]
fn what_is_lost_or_damaged_here_comes_from_the_forge() {
    let forge = TestForge::start();
    let mut agent = Agent::start(&forge, AgentOptions::default().without_network());
    let project = make(&forge, &mut agent);
    for path in files(&owners(&agent)).iter().filter(|path| path.components().any(|part| part.as_os_str() == "packs")) {
        let mut bytes = fs::read(path).expect("a pack");
        // Behind the header, where the frames are.
        bytes[40] ^= 1;
        bytes[44] ^= 1;
        fs::write(path, bytes).expect("a pack");
    }
    let log = use_it(&forge, &mut agent, project);
    assert!(log.contains("what is kept of them on this machine cannot be used"), "{log}");
    assert_eq!(downloads(&forge), 1);
    fs::remove_dir_all(owners(&agent)).expect("the store can be emptied");
    let log = use_it(&forge, &mut agent, project);
    assert!(!log.contains("from this machine"), "{log}");
    assert_eq!(downloads(&forge), 2);
    agent.stop();
    agent.assert_nothing_left();
    forge.assert_no_violations();
}
