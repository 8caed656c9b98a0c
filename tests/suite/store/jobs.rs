//! How long artifacts of jobs stay, and what jobs hold.

use std::collections::BTreeMap;

use forgehand::emulator::{Endpoint, FaultAction, FaultRule, JobSpec};
use serde_json::{Value, json};

use super::audit_of;
use crate::kept_artifacts::{JOB_LIMIT, archive, job, run};
use crate::support::agent::said;
use crate::support::{Agent, AgentOptions, TestForge, wait_until};

/// An agent whose store has these settings, with nothing in grace.
fn start(config: &str) -> (TestForge, Agent, u64) {
    let forge = TestForge::start();
    let config = format!("[store]\ngrace = \"0s\"\n{config}");
    let agent = Agent::start(&forge, AgentOptions { config, ..AgentOptions::default() }.without_network());
    let project = forge.case_project("team/kept");
    (forge, agent, project)
}

/// [`archive`] of another name and time.
fn named(name: &str, expire_in: &str) -> Value {
    let mut artifacts = archive();
    artifacts["artifacts"][0]["name"] = name.into();
    artifacts["artifacts"][0]["expire_in"] = expire_in.into();
    artifacts
}

/// A job that leaves a file that is another in each.
fn leaves(agent: &Agent, project: u64, name: &str, artifacts: &Value) -> JobSpec {
    job(agent, project, name, &["mkdir out", "echo $CI_JOB_ID > out/file"], artifacts.clone())
}

fn succeed(forge: &TestForge, agent: &mut Agent, spec: JobSpec) -> u64 {
    let (ended, log) = run(forge, agent, spec);
    assert_eq!(ended.state, "success", "{log}\nthe agent wrote:\n{}", agent.output());
    ended.id
}

fn store(agent: &Agent, words: &[&str]) -> Value {
    let output = agent.forgehand(&[&["store"], words, &["--json"]].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)))
}

/// What a collection decides: by the job's number the policy, the rule, and whether it goes.
fn decided(agent: &Agent, words: &[&str]) -> BTreeMap<u64, (String, String, bool)> {
    let collected = store(agent, words);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let decision = |one: &Value| {
        let job = text(&one["name"]).split_once('/').and_then(|(job, _)| job.parse().ok()).unwrap();
        (job, (text(&one["policy"]), text(&one["rule"]), one["deletes"] == true))
    };
    collected["decisions"].as_array().unwrap().iter().map(decision).collect()
}

fn audit(agent: &Agent) -> Vec<Value> {
    audit_of(&agent.state_dir().join("store"))
}

/// The causes for which a job's references changed.
fn causes(agent: &Agent) -> Vec<String> {
    let lines = audit(agent);
    let causes = lines.iter().filter(|line| line["event"] == "reference_change" && line["job"].is_string());
    causes.map(|line| line["cause"].as_str().unwrap().to_owned()).collect()
}

const POLICIES: &str = r#"
[[store.retention]]
name = "tests"
pattern = "^test-"
max_artifacts_per_pipeline = 2

[[store.retention]]
name = "releases"
pattern = "^release-[0-9]+$"
max_artifacts_per_pipeline = 1
priority = 10
"#;

#[test]
fn policies_go_by_the_names_in_the_pipeline_and_count_its_runs() {
    let (forge, mut agent, project) = start(POLICIES);
    let (unnamed, release) = (named("", ""), named("release-$CI_JOB_ID", ""));
    let mut made = |name: &str, artifacts: &Value, git_ref: &str| {
        let spec = JobSpec { git_ref: git_ref.to_owned(), ..leaves(&agent, project, name, artifacts) };
        succeed(&forge, &mut agent, spec)
    };
    // Each of them is a pipeline of its own.
    let tests: Vec<u64> = (0..3).map(|_| made("test-unit", &unnamed, "")).collect();
    let other_job = made("test-load", &unnamed, "");
    let other_ref = made("test-unit", &unnamed, "v1.0");
    let releases: Vec<u64> = (0..2).map(|_| made("pack", &release, "")).collect();
    let build = made("build", &unnamed, "");
    let decisions = decided(&agent, &["gc", "--dry-run"]);
    let of = |job: u64| decisions.get(&job).map(|(policy, rule, goes)| (policy.as_str(), rule.as_str(), *goes));
    assert_eq!(of(tests[0]), Some(("tests", "max_count", true)), "{decisions:?}");
    for job in [tests[1], tests[2], other_job, other_ref] {
        assert_eq!(of(job), Some(("tests", "within_policy", false)), "{job}: {decisions:?}");
    }
    assert_eq!(of(releases[0]), Some(("releases", "max_count", true)), "{decisions:?}");
    assert_eq!(of(releases[1]), Some(("releases", "within_policy", false)), "{decisions:?}");
    assert_eq!(of(build), Some(("", "recent", false)), "{decisions:?}");
    let plan = agent.forgehand(&["store", "gc", "--dry-run"]);
    assert!(said(&plan).contains(&format!("delete  {}/artifacts.zip of test-unit (", tests[0])), "{}", said(&plan));
    decided(&agent, &["gc"]);
    let left = decided(&agent, &["gc"]);
    assert_eq!(
        left.keys().copied().collect::<Vec<_>>(),
        [tests[1], tests[2], other_job, other_ref, releases[1], build]
    );
    agent.stop();
    agent.assert_nothing_left();
    forge.assert_no_violations();
}

#[test]
fn an_artifact_stays_as_long_as_its_job_says() {
    let (forge, mut agent, project) = start("");
    let short = leaves(&agent, project, "short", &named("", "1 second"));
    let short = succeed(&forge, &mut agent, short);
    let long = leaves(&agent, project, "long", &named("", "never"));
    let long = succeed(&forge, &mut agent, long);
    let listed = store(&agent, &["ls"]);
    let of = |job: &str| listed.as_array().unwrap().iter().find(|one| one["job"] == job).unwrap().clone();
    assert_eq!((&of("long")["kept_for_ever"], &of("long")["expires_at"]), (&true.into(), &Value::Null), "{listed}");
    let expires: jiff::Timestamp = of("short")["expires_at"].as_str().unwrap().parse().unwrap();
    wait_until(JOB_LIMIT, "it expires", || (jiff::Timestamp::now() > expires).then_some(()));
    let decisions = decided(&agent, &["gc"]);
    assert_eq!((decisions[&short].1.as_str(), decisions[&short].2), ("expired", true));
    assert!(!decisions[&long].2, "{decisions:?}");
    let gone: Vec<Value> = audit(&agent).into_iter().filter(|line| line["event"] == "artifact_deletion").collect();
    assert_eq!((gone.len(), &gone[0]["name"]), (1, &format!("{short}/artifacts.zip").into()), "{gone:?}");
    assert_eq!(store(&agent, &["ls"]).as_array().unwrap().len(), 1);
    // Taken back by hand, it goes as the policies say.
    assert!(agent.forgehand(&["store", "unpin", &format!("{long}/artifacts.zip")]).status.success());
    assert_eq!(store(&agent, &["ls"])[0]["kept_for_ever"], false);
    agent.stop();
    agent.assert_nothing_left();
    forge.assert_no_violations();
}

/// The reference count of the only thing that is kept, as a collection would see it.
fn references(agent: &Agent) -> u64 {
    store(agent, &["ls"])[0]["reference_count"].as_u64().unwrap()
}

/// What happens to a job while it uses what another left, and the words of the audit for its end.
fn given_back(name: &str, script: &[&str], meddle: impl FnOnce(&TestForge, &mut Agent, u64), cause: &str, state: &str) {
    let (forge, mut agent, project) = start("");
    let make = leaves(&agent, project, "make", &named("", ""));
    succeed(&forge, &mut agent, make);
    let spec = job(&agent, project, name, script, json!({ "dependencies": ["make"] }));
    let id = forge.queue(spec).expect("the job is queued");
    agent.wait_until(JOB_LIMIT, "the job holds it", || forge.log_contains(id, "Restored artifacts").then_some(()));
    meddle(&forge, &mut agent, id);
    let ended = agent.wait_until(JOB_LIMIT, "the job ends", || forge.job(id).filter(|job| job.has_ended()));
    assert_eq!(ended.state, state, "{}", forge.job_log(id).text);
    wait_until(JOB_LIMIT, "it is given back", || (references(&agent) == 0).then_some(()));
    assert_eq!(causes(&agent), ["job_queued", cause]);
    agent.stop();
    agent.assert_nothing_left();
    forge.assert_no_violations();
}

#[test]
fn a_job_that_fails_gives_back_what_it_held() {
    given_back("fails", &["cat out/file", "exit 1"], |_, _, _| {}, "job_failed", "failed");
}

#[test]
fn a_job_that_is_cancelled_gives_back_what_it_held() {
    let cancel = |forge: &TestForge, agent: &mut Agent, id: u64| {
        agent.wait_until(JOB_LIMIT, "it runs", || forge.log_contains(id, "it runs").then_some(()));
        assert_eq!(references(agent), 1);
        assert!(forge.cancel(id));
    };
    given_back("cancelled", &["echo it \"runs\"", "sleep 300"], cancel, "job_cancelled", "canceled");
}

#[test]
fn a_job_whose_agent_is_killed_gives_back_what_it_held() {
    let kill = |forge: &TestForge, agent: &mut Agent, id: u64| {
        agent.wait_until(JOB_LIMIT, "it runs", || forge.log_contains(id, "it runs").then_some(()));
        agent.kill9();
        assert_eq!(references(agent), 1, "the next agent goes on with the job");
        agent.run();
    };
    given_back("killed", &["echo it \"runs\"", "sleep 2", "exit 1"], kill, "job_failed", "failed");
}

/// What went, by the audit: rule and name.
fn deletions(agent: &Agent) -> Vec<(String, String)> {
    let lines = audit(agent);
    let gone = lines.iter().filter(|line| line["event"] == "artifact_deletion");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    gone.map(|line| (text(&line["rule"]), text(&line["name"]))).collect()
}

#[test]
fn what_the_forge_does_not_take_is_forgotten_and_told() {
    let (forge, mut agent, project) = start("");
    forge.fail(FaultRule::all(Endpoint::UploadArtifact, FaultAction::status(413)));
    let make = leaves(&agent, project, "make", &named("", ""));
    let (made, log) = run(&forge, &mut agent, make);
    assert_eq!(made.state, "failed", "{log}");
    assert_eq!(store(&agent, &["ls"]), json!([]));
    assert_eq!(deletions(&agent), [("not_taken".to_owned(), format!("{}/artifacts.zip", made.id))]);
    agent.stop();
    agent.assert_nothing_left();
}

#[test]
fn a_cache_that_another_takes_the_place_of_is_told() {
    let (forge, mut agent, project) = start("");
    let cache = json!({ "cache": [{
        "key": "deps-1", "untracked": false, "policy": "push", "paths": ["deps/"], "when": "on_success", "fallback_keys": [],
    }] });
    for content in ["one", "another"] {
        assert_eq!(deletions(&agent), []);
        let fill = format!("mkdir -p deps; echo {content} > deps/file");
        let fill = job(&agent, project, "fill", &[&fill], cache.clone());
        succeed(&forge, &mut agent, fill);
    }
    let [(rule, name)] = &deletions(&agent)[..] else { panic!("one: {:?}", deletions(&agent)) };
    assert!(rule == "replaced" && name.contains("deps-1"), "{rule} {name}");
    agent.stop();
    agent.assert_nothing_left();
    forge.assert_no_violations();
}

#[test]
fn an_agent_does_not_start_with_a_store_of_a_newer_format_and_leaves_it_alone() {
    let forge = TestForge::start();
    let mut agent = Agent::registered(&forge, AgentOptions::default().without_network());
    store(&agent, &["ls"]);
    let folder = agent.state_dir().join("store");
    let ours = std::fs::read_to_string(folder.join("format")).unwrap();
    std::fs::write(folder.join("format"), super::newer(&ours)).unwrap();
    let before = super::seen(&folder);
    agent.run();
    assert_eq!(agent.wait_exit(JOB_LIMIT).code(), Some(3), "{}", agent.output());
    assert!(agent.output().contains("format 2"), "{}", agent.output());
    assert_eq!(super::seen(&folder), before);
}

#[test]
fn a_job_keeps_one_cache_of_a_key_and_says_that_another_has_it_too() {
    let (forge, mut agent, project) = start("");
    let cache = |path: &str, policy: &str| json!({ "key": "deps", "untracked": false, "policy": policy, "paths": [path], "when": "on_success" });
    let script = ["mkdir one two", "echo 1 > one/file", "echo 2 > two/file"];
    let caches = json!({ "cache": [cache("one/", "push"), cache("two/", "push")] });
    let keep = job(&agent, project, "keep", &script, caches);
    let (kept, log) = run(&forge, &mut agent, keep);
    assert_eq!(kept.state, "success", "{log}");
    assert!(log.contains("Not saving cache deps again: another cache of this job has this key"), "{log}");
    assert!(!log.contains("FATAL") && audit(&agent).iter().all(|line| line["rule"] != "replaced"), "{log}");
    let caches = json!({ "cache": [cache("one/", "pull")] });
    let looks = ["test $(cat one/file) = 1", "test ! -e two"];
    let look = job(&agent, project, "look", &looks, caches);
    succeed(&forge, &mut agent, look);
    agent.stop();
    forge.assert_no_violations();
}
