//! What an agent does for its store without being asked. It begins with that a minute after its start.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::aged::{DAY, age, names, put};
use super::tidied::{A_DAY, date_back, next_turn, server, share, withdrawn};
use super::{House, flip, ordinary, seen};
use crate::kept_artifacts::{JOB_LIMIT, archive, job, run};
use crate::support::{Agent, AgentOptions, TestForge};

/// The minute that an agent leaves its store alone at first, and what it does then.
const LIMIT: Duration = Duration::from_secs(150);

/// An agent with the store of a house. `more`: further text of its configuration.
fn options(house: &House, more: &str) -> AgentOptions {
    let config = format!("[store]\ndir = \"{}\"\ngrace = \"0s\"\n{more}", house.store().display());
    AgentOptions { config, ..AgentOptions::default() }.without_network()
}

/// The lines of the audit of this kind.
fn told(house: &House, event: &str) -> Vec<Value> {
    house.audit().into_iter().filter(|line| line["event"] == event).collect()
}

/// A job that holds what another left, and whose agent is killed meanwhile.
fn killed_at_work(forge: &TestForge, agent: &mut Agent) {
    let project = forge.case_project("team/kept");
    let make = job(agent, project, "make", &["mkdir out", "echo made > out/file"], archive());
    let (made, log) = run(forge, agent, make);
    assert_eq!(made.state, "success", "{log}");
    let uses = job(agent, project, "use", &["echo it \"runs\"", "sleep 300"], json!({ "dependencies": ["make"] }));
    let id = forge.queue(uses).expect("the job is queued");
    agent.wait_until(JOB_LIMIT, "it runs", || forge.log_contains(id, "it runs").then_some(()));
    agent.kill9();
}

/// Has the next agent know nothing of the jobs of the one before.
fn forget_jobs(agent: &Agent) {
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let _ = fs::remove_file(agent.state_dir().join(name));
    }
    fs::remove_dir_all(agent.state_dir().join("jobs")).unwrap();
}

#[test]
fn an_agent_removes_gives_back_and_tidies_up_without_being_asked() {
    let house = House::new();
    let (server, config) = server();
    let forge = TestForge::start();
    let mut agent = Agent::start(&forge, options(&house, &config));
    killed_at_work(&forge, &mut agent);
    let held = || {
        let listed = house.json(&["ls"]);
        listed.as_array().unwrap().iter().filter_map(|one| one["reference_count"].as_u64()).sum::<u64>()
    };
    assert_eq!(held(), 1, "one that is killed gives nothing back");
    put(&house, "old", 100_000, &[]);
    put(&house, "expired", 3000, &["--expire", "10 days"]);
    put(&house, "young", 3000, &[]);
    age(&house, &[("old", (40 * DAY, 40 * DAY)), ("expired", (11 * DAY, 2 * DAY))]);
    // Another machine has left something in the shared store that nobody used for long.
    let elsewhere = House::with(&config);
    let (unused, _) = share(&server, &elsewhere, "unused", &[]);
    share(&server, &elsewhere, "used", &[]);
    date_back(&unused, 2 * A_DAY);
    assert_eq!((held(), told(&house, "artifact_deletion")), (1, Vec::new()));

    forget_jobs(&agent);
    // Nobody has been at it lately, however long the first agent took.
    next_turn(&server);
    agent.run();

    let log = agent.stderr_file();
    let said = |text: &str| fs::read_to_string(&log).unwrap().contains(text).then_some(());
    agent.wait_until(LIMIT, "the shared store is tidied up", || said("tidied up the shared store"));
    assert!(said("cleaned up the store").is_some() && !unused.exists(), "{}", agent.output());
    assert_eq!(withdrawn(&house.audit()), [("unused".to_owned(), "unused".to_owned())]);
    let gone: Vec<_> =
        told(&house, "artifact_deletion").into_iter().filter(|line| line["shared_store"].is_null()).collect();
    let mut gone: Vec<_> =
        gone.iter().map(|line| (line["name"].as_str().unwrap(), line["rule"].as_str().unwrap())).collect();
    gone.sort_unstable();
    assert_eq!(gone, [("expired", "expired"), ("old", "old")]);
    let left = names(&house);
    assert!(left.contains("young") && left.len() == 2, "what is young stays, and so does what the job left: {left:?}");
    assert_eq!(house.got("young"), seen(&house.path("young")));
    assert_eq!(held(), 0, "nobody will ever say that the job is over");
    let given_back = told(&house, "reference_change").pop().unwrap();
    assert_eq!((&given_back["cause"], &given_back["delta"]), (&"job_cancelled".into(), &(-1).into()), "{given_back}");
    assert_eq!(House::with(&config).got("used"), seen(&elsewhere.path("used")));
    agent.stop();
    agent.assert_nothing_left();
}

/// A store that was read through so many days ago, and in which something is damaged since.
fn read_days_ago(days: i64) -> House {
    let house = House::new();
    house.put(&ordinary(&house.path("tree"), 1), "site");
    house.ends_with(0, &["verify"]);
    let index = house.store().join("index.db");
    let index = rusqlite::Connection::open(index).unwrap();
    let earlier = format!("UPDATE facts SET value = value - {} WHERE name = 'scrubbed'", days * 24 * 3600);
    assert_eq!(index.execute(&earlier, []).unwrap(), 1, "it is known when everything was read last");
    let large = house.packs().into_iter().max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    flip(&large, fs::metadata(&large).unwrap().len() as usize / 2);
    house
}

#[test]
fn an_agent_reads_its_store_through_when_that_was_last_done_a_week_ago() {
    let forge = TestForge::start();
    let (due, fresh) = (read_days_ago(8), read_days_ago(6));
    let mut finds = Agent::registered(&forge, options(&due, ""));
    let mut waits = Agent::registered(&forge, options(&fresh, ""));
    let collected = told(&fresh, "policy_evaluation").len();
    waits.run();
    finds.run();
    let output = finds.stderr_file();
    finds.wait_until(LIMIT, "the damage is found", || {
        fs::read_to_string(&output).unwrap().contains("something in the store is damaged").then_some(())
    });
    let one = due.json(&["info", "site"]);
    assert_eq!(one["verification"]["result"], "corrupted", "{one}");
    assert_eq!(fs::read_dir(due.store().join("damaged")).unwrap().count(), 1, "what is damaged is put aside");
    // The other began before, has seen to its store as well, and has not read it.
    waits.wait_until(LIMIT, "it has collected", || (told(&fresh, "policy_evaluation").len() > collected).then_some(()));
    let one = fresh.json(&["info", "site"]);
    assert_eq!(one["verification"]["result"], "valid", "{one}");
    // The same once more is a new look away from being whole.
    due.put(&due.path("tree"), "site");
    assert_eq!(due.got("site"), seen(&due.path("tree")));
    finds.stop();
    waits.stop();
}
