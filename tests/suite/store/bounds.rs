//! Bounds that the configuration sets: of what one collection removes, and of what a project and its forks may take.

use std::fs;

use serde_json::{Value, json};

use super::{House, noise};
use crate::kept_artifacts::{job, run};
use crate::runner_cache::cache;
use crate::support::{Agent, AgentOptions, TestForge, wait_until};

#[test]
fn a_collection_removes_as_many_as_it_may_and_the_next_goes_on() {
    let house = House::with("[store]\ngrace = \"0s\"\nmax_deletions = 2\n");
    for number in 0..5 {
        let tree = house.folder(&number.to_string());
        fs::write(tree.join("file"), noise(10_000, number)).unwrap();
        house.ends_with(0, &["put", tree.to_str().unwrap(), "--name", &format!("short-{number}"), "--expire", "1s"]);
    }
    house.put(&house.folder("0"), "stays");
    let expired = |listed: &Value| {
        let ends = |one: &Value| one["expires_at"].as_str().is_none_or(|at| at.parse().is_ok_and(is_past));
        listed.as_array().unwrap().iter().all(ends)
    };
    wait_until(super::LIMIT, "all of them expire", || expired(&house.json(&["ls"])).then_some(()));
    for (deleted, left) in [(2, 4), (2, 2), (1, 1), (0, 1)] {
        let planned = house.json(&["gc", "--dry-run"]);
        let planned = planned["decisions"].as_array().unwrap();
        assert_eq!(planned.iter().filter(|one| one["deletes"] == true).count(), deleted);
        assert_eq!(planned.len(), deleted + left, "each is decided on: {planned:?}");
        assert_eq!(house.json(&["gc"])["deleted"], deleted);
        assert_eq!(house.json(&["ls"]).as_array().unwrap().len(), left);
    }
    assert_eq!(house.json(&["ls"])[0]["name"], "stays");
    house.ends_with(0, &["verify"]);
}

fn is_past(at: jiff::Timestamp) -> bool {
    at < jiff::Timestamp::now()
}

/// An agent whose projects may take 12 MiB each.
struct Bounded {
    forge: TestForge,
    agent: Agent,
}

impl Bounded {
    fn new() -> Self {
        let forge = TestForge::start();
        let config = "[store]\nmax_project_size = \"12MiB\"\n".to_owned();
        let agent = Agent::start(&forge, AgentOptions { config, ..AgentOptions::default() }.without_network());
        Self { forge, agent }
    }

    /// A job that keeps a cache of so many bytes of its own: its log.
    fn keep(&mut self, project: u64, who: Value, key: &str, bytes: usize) -> String {
        let fill = format!("mkdir -p deps; head -c {bytes} /dev/urandom > deps/file");
        let mut more = json!({ "cache": [cache(key, "push")] });
        more.as_object_mut().unwrap().extend(who.as_object().unwrap().clone());
        let keep = job(&self.agent, project, "keep", &[&fill], more);
        let (ended, log) = run(&self.forge, &mut self.agent, keep);
        assert_eq!(ended.state, "success", "{log}");
        log
    }

    /// The keys of what is kept.
    fn kept(&self) -> Vec<String> {
        let listed = self.agent.forgehand(&["store", "ls", "--json"]);
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
        let mut names: Vec<String> =
            listed.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap_or_default().to_owned()).collect();
        names.sort();
        names
    }

    fn leave(mut self) {
        self.agent.stop();
        self.agent.assert_nothing_left();
        self.forge.assert_no_violations();
    }
}

fn protected() -> Value {
    json!({ "git_info": { "protected": true } })
}

fn member() -> Value {
    json!({ "git_info": { "protected": false } })
}

fn fork() -> Value {
    json!({
        "git_info": { "protected": false },
        "variables": [{ "key": "CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "value": "999999" }],
    })
}

fn assert_refused(log: &str, words: &[&str]) {
    let told = log.lines().find(|line| line.contains("WARNING: ") && line.contains("the cache was not kept: "));
    let told = told.unwrap_or_else(|| panic!("it is refused: {log}"));
    assert!(words.iter().all(|word| told.contains(word)), "{words:?}: {told}");
}

#[test]
fn all_jobs_of_a_project_together_keep_within_its_quota() {
    let mut house = Bounded::new();
    let (project, other) = (house.forge.case_project("team/full"), house.forge.case_project("team/other"));
    assert!(house.keep(project, protected(), "protected", 5_000_000).contains("Created cache"));
    // Alone it would fit, and of what others keep nothing makes way.
    let log = house.keep(project, member(), "member-large", 8_000_000);
    assert_refused(&log, &["the project's quota", "store.max_project_size"]);
    assert!(house.keep(project, member(), "member", 5_000_000).contains("Created cache"));
    assert!(house.keep(other, member(), "other", 8_000_000).contains("Created cache"));
    let kept = house.kept();
    assert_eq!(kept.len(), 3, "{kept:?}");
    for (key, name) in ["member", "other", "protected"].into_iter().zip(&kept) {
        assert!(name.contains(key), "{kept:?}");
    }
    house.leave();
}

#[test]
fn forks_get_half_of_their_projects_quota() {
    let mut house = Bounded::new();
    let project = house.forge.case_project("team/forked");
    let log = house.keep(project, fork(), "fork-large", 8_000_000);
    assert_refused(&log, &["the forks' half of the project's quota", "store.max_project_size"]);
    assert!(house.keep(project, fork(), "fork", 4_000_000).contains("Created cache"));
    // For others there is room for it.
    assert!(house.keep(project, member(), "member-large", 8_000_000).contains("Created cache"));
    // Full as it is, the fork's own makes way for another of the fork's, and nothing else does.
    assert!(house.keep(project, fork(), "fork-again", 3_000_000).contains("Created cache"));
    let kept = house.kept();
    let has = |key: &str| kept.iter().any(|name| name.contains(key));
    assert!(has("fork-again") && has("member-large") && kept.len() == 2, "{kept:?}");
    house.leave();
}
