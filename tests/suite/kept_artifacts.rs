//! Artifacts between jobs of one machine: restored from its store, with the forge as the truth.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use forgehand::emulator::{Endpoint, JobSpec, JobView};
use serde_json::{Value, json};

use crate::support::agent::said;
use crate::support::s3::S3Server;
use crate::support::{Agent, AgentOptions, TestForge};

pub(crate) const JOB_LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn job(agent: &Agent, project: u64, name: &str, script: &[&str], more: Value) -> JobSpec {
    let mut spec = JobSpec { runner: Some(agent.runner), ..JobSpec::script(project, name, script) };
    let (Some(overlay), Value::Object(more)) = (spec.overlay.as_object_mut(), more) else { panic!("objects") };
    overlay.extend(more);
    spec
}

/// Runs the job to its end; the job and its log.
pub(crate) fn run(forge: &TestForge, agent: &mut Agent, spec: JobSpec) -> (JobView, String) {
    let id = forge.queue(spec).expect("the job is queued");
    let ended = agent.wait_until(JOB_LIMIT, "the job ends", || forge.job(id).filter(|job| job.has_ended()));
    (ended, String::from_utf8_lossy(&forge.log(id)).into_owned())
}

pub(crate) fn archive() -> Value {
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
    use_as(forge, agent, project, json!({}))
}

/// A job that depends on the one that left files.
fn use_as(forge: &TestForge, agent: &mut Agent, project: u64, who: Value) -> String {
    let script = ["cat out/link", "stat -c %a out/file"];
    let mut more = json!({ "dependencies": ["make"] });
    more.as_object_mut().unwrap().extend(who.as_object().expect("an object").clone());
    let (used, log) = run(forge, agent, job(agent, project, "use", &script, more));
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
    assert!(log.contains("what this machine keeps of them cannot be used"), "{log}");
    assert_eq!(downloads(&forge), 1);
    fs::remove_dir_all(owners(&agent)).expect("the store can be emptied");
    let log = use_it(&forge, &mut agent, project);
    assert!(!log.contains("from this machine"), "{log}");
    assert_eq!(downloads(&forge), 2);
    agent.stop();
    agent.assert_nothing_left();
    forge.assert_no_violations();
}

#[test]
fn what_one_job_downloaded_the_next_one_gets_from_this_machine() {
    let forge = TestForge::start();
    let mut agent = Agent::start(&forge, AgentOptions::default().without_network());
    let project = make(&forge, &mut agent);
    agent.forget_artifacts();
    let log = use_it(&forge, &mut agent, project);
    assert!(log.contains("Downloaded artifacts of make"), "{log}");
    assert_eq!(downloads(&forge), 1);
    let listed = agent.forgehand(&["store", "ls", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap_or_else(|_| panic!("{}", said(&listed)));
    assert_eq!((&listed[0]["job"], &listed[0]["lineage"]["producer"]), (&json!("make"), &Value::Null), "{listed}");
    assert_eq!(listed[0]["lineage"]["consumers"].as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(listed[0]["metadata"]["source"], "downloaded from the forge", "{listed}");
    assert_eq!(listed[0]["reference_count"], 0, "{listed}");
    let log = use_it(&forge, &mut agent, project);
    assert!(log.contains("Restored artifacts of make from this machine"), "{log}");
    assert_eq!(downloads(&forge), 1);
    agent.stop();
    agent.assert_nothing_left();
    forge.assert_no_violations();
}

#[test]
fn what_a_forks_job_downloaded_only_forks_get_from_this_machine() {
    let forge = TestForge::start();
    let mut agent = Agent::start(&forge, AgentOptions::default().without_network());
    let project = make(&forge, &mut agent);
    agent.forget_artifacts();
    let fork = json!({
        "git_info": { "protected": false },
        "variables": [{ "key": "CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "value": "999999" }],
    });
    let (member, protected) =
        (json!({ "git_info": { "protected": false } }), json!({ "git_info": { "protected": true } }));
    let restored = "Restored artifacts of make from this machine";
    for (who, is_restored, all) in
        [(&fork, false, 1), (&fork, true, 1), (&protected, false, 2), (&protected, true, 2), (&member, true, 2)]
    {
        let log = use_as(&forge, &mut agent, project, who.clone());
        assert_eq!(log.contains(restored), is_restored, "{who}: {log}");
        assert_eq!(downloads(&forge), all, "{who}");
    }
    agent.stop();
    agent.assert_nothing_left();
    forge.assert_no_violations();
}

/// Two agents of one fleet.
fn fleet(forge: &TestForge, server: &S3Server) -> (Agent, Agent) {
    let options = || AgentOptions { config: server.config(), ..AgentOptions::default().without_network() };
    (Agent::start(forge, options()), Agent::start(forge, options()))
}

#[test]
fn a_job_gets_what_another_machine_left_in_the_bucket_without_asking_the_forge() {
    let (forge, server) = (TestForge::start(), S3Server::start());
    let (mut one, mut other) = fleet(&forge, &server);
    let project = make(&forge, &mut one);
    one.wait_until(JOB_LIMIT, "the bucket is told of it", || (!server.objects("/records/").is_empty()).then_some(()));
    let log = use_it(&forge, &mut other, project);
    assert!(log.contains("Restored artifacts of make from the shared store"), "{log}");
    assert_eq!(downloads(&forge), 0);
    // Without the bucket's objects, and on a machine that has nothing, the forge has it.
    fs::remove_dir_all(server.bucket()).expect("the bucket can be emptied");
    other.forget_artifacts();
    let log = use_it(&forge, &mut other, project);
    assert!(!log.contains("Restored artifacts"), "{log}");
    assert_eq!(downloads(&forge), 1);
    for agent in [&mut one, &mut other] {
        agent.stop();
        agent.assert_nothing_left();
    }
    forge.assert_no_violations();
}

#[test]
fn a_bucket_that_does_not_answer_costs_a_job_a_moment_and_no_artifact() {
    let (forge, mut server) = (TestForge::start(), S3Server::start());
    let config = format!("{}deadline_seconds = 1\nlisting_seconds = 1\n", server.config());
    let options = || AgentOptions { config: config.clone(), ..AgentOptions::default().without_network() };
    let mut one = Agent::start(&forge, options());
    let project = make(&forge, &mut one);
    one.wait_until(JOB_LIMIT, "the bucket is told of it", || (!server.objects("/records/").is_empty()).then_some(()));
    type Meddle = fn(&mut S3Server);
    let ways: [(&str, Meddle); 3] = [
        ("silent about the content", |server| server.be_silent_about("/packs/")),
        ("silent", |server| server.be_silent_about("")),
        ("gone", S3Server::stop),
    ];
    for (number, (how, meddle)) in ways.into_iter().enumerate() {
        // A machine that knows nothing of it: neither the files nor how the bucket does.
        let mut other = Agent::start(&forge, options());
        meddle(&mut server);
        let log = use_it(&forge, &mut other, project);
        assert!(log.contains("Downloaded artifacts of make"), "{how}: {log}");
        assert_eq!(downloads(&forge), number + 1, "{how}");
        assert!(other.output().contains("the shared store cannot be asked"), "{how}: {}", other.output());
        server.speak();
        other.stop();
        other.assert_nothing_left();
    }
    one.stop();
    one.assert_nothing_left();
    forge.assert_no_violations();
}

/// Another byte in the middle of a file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).expect("an object");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("an object");
}

#[test]
fn a_bucket_that_lies_is_told_and_the_forge_has_what_the_job_needs() {
    let (forge, server) = (TestForge::start(), S3Server::start());
    let (mut one, mut other) = fleet(&forge, &server);
    let project = make(&forge, &mut one);
    one.wait_until(JOB_LIMIT, "the bucket is told of it", || (!server.objects("/records/").is_empty()).then_some(()));
    // From here on nobody mends what is there.
    one.stop();
    let (record, pack) = (server.objects("/records/").remove(0), server.objects("/packs/").remove(0));
    let whole = [&record, &pack].map(|path| fs::read(path).expect("an object"));
    type Meddle<'a> = &'a dyn Fn();
    let ways: [(&str, Meddle<'_>, &str); 4] = [
        ("another byte of the content", &|| damage(&pack), "is not the pack of its name"),
        ("half the content", &|| fs::write(&pack, &whole[1][..whole[1].len() / 2]).expect("written"), "is not as long"),
        ("no content", &|| fs::remove_file(&pack).expect("removed"), "is not there, although a record names it"),
        ("another byte of the record", &|| damage(&record), "a record in the shared store is damaged"),
    ];
    for (number, (how, meddle, told)) in ways.into_iter().enumerate() {
        for (path, bytes) in [&record, &pack].into_iter().zip(&whole) {
            fs::write(path, bytes).expect("an object");
        }
        other.forget_artifacts();
        meddle();
        let log = use_it(&forge, &mut other, project);
        assert!(log.contains("Downloaded artifacts of make"), "{how}: {log}");
        assert_eq!(downloads(&forge), number + 1, "{how}");
        assert!(other.output().contains(told), "{how}: {}", other.output());
    }
    other.stop();
    for agent in [&one, &other] {
        agent.assert_nothing_left();
    }
    forge.assert_no_violations();
}

#[test]
fn a_cache_of_one_machine_is_restored_on_another() {
    let (forge, server) = (TestForge::start(), S3Server::start());
    let (mut one, mut other) = fleet(&forge, &server);
    let project = forge.case_project("team/cached");
    let cache = json!({ "cache": [{
        "key": "deps-1", "untracked": false, "policy": "pull-push", "paths": ["deps/"], "when": "on_success",
        "fallback_keys": [],
    }] });
    let fill = job(&one, project, "fill", &["mkdir deps", "echo made > deps/file"], cache.clone());
    let (filled, log) = run(&forge, &mut one, fill);
    assert_eq!(filled.state, "success", "{log}");
    one.wait_until(JOB_LIMIT, "the bucket is told of it", || (!server.objects("/records/").is_empty()).then_some(()));
    let reads = job(&other, project, "use", &["cat deps/file"], cache);
    let (used, log) = run(&forge, &mut other, reads);
    assert_eq!(used.state, "success", "{log}");
    assert_eq!(forge.job_log(used.id).output("step_script"), ["made"]);
    assert!(log.contains("came from the shared store"), "{log}");
    for agent in [&mut one, &mut other] {
        agent.stop();
        agent.assert_nothing_left();
    }
    forge.assert_no_violations();
}
