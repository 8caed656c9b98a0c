//! One collects at a time: whoever comes second says so, removes nothing, and keeps nobody from working.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::{FlockOperation, flock};

use super::aged::{DAY, age, names, put, removed};
use super::{House, ordinary, seen};
use crate::support::agent::said;
use crate::support::wait_until;

/// The right to collect, as another process has it: docs/store.md.
fn right(house: &House) -> File {
    let file = File::options().write(true).open(house.store().join("collector")).unwrap();
    flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    file
}

/// A store with something that goes and something that stays.
fn furnished() -> House {
    let house = House::new();
    put(&house, "old", 200_000, &[]);
    put(&house, "young", 3000, &[]);
    age(&house, &[("old", (40 * DAY, 40 * DAY))]);
    house
}

/// What is kept, byte by byte.
fn packs_and_records(house: &House) -> Vec<super::Seen> {
    seen(&house.store().join("owners"))
}

#[test]
fn who_comes_second_says_so_and_removes_nothing_and_others_go_on() {
    let house = furnished();
    let held = right(&house);
    let before = packs_and_records(&house);
    for arguments in [&["gc"][..], &["gc", "--json"], &["gc", "--dry-run"]] {
        let refused = house.ends_with(3, arguments);
        assert!(said(&refused).contains("another process is collecting"), "{}", said(&refused));
        assert!(refused.stdout.is_empty(), "nothing that a script takes for a result: {}", said(&refused));
    }
    assert_eq!(packs_and_records(&house), before);
    assert_eq!(removed(&house), [] as [serde_json::Value; 0]);
    // Who keeps, restores or verifies something does not wait for whoever collects.
    let tree = ordinary(&house.path("tree"), 1);
    house.put(&tree, "new");
    assert_eq!(house.got("new"), seen(&tree));
    assert_eq!(house.got("young"), seen(&house.path("young")));
    house.ends_with(0, &["verify"]);
    drop(held);
    assert_eq!(house.json(&["gc"])["deleted"], 1);
    assert_eq!(names(&house), ["new", "young"].map(str::to_owned).into());
    assert_eq!(removed(&house).len(), 1);
}

/// A process that has the right to collect, and holds it until it is killed.
fn holder(house: &House) -> Child {
    let begun = house.path("begun");
    let script = format!("touch {}; exec sleep 300", begun.display());
    let mut command = Command::new("flock");
    command.arg("--nonblock").arg("--no-fork").arg(house.store().join("collector")).args(["sh", "-c", &script]);
    let child = command.stdin(Stdio::null()).spawn().unwrap();
    wait_until(super::LIMIT, "it has the right", || begun.exists().then_some(()));
    child
}

#[test]
fn the_right_to_collect_of_one_that_was_killed_is_free_at_once() {
    let house = furnished();
    let mut other = holder(&house);
    house.ends_with(3, &["gc"]);
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(house.json(&["gc"])["deleted"], 1);
    assert_eq!(names(&house), ["young".to_owned()].into());
}

#[test]
fn of_many_that_collect_at_the_same_time_each_does_it_or_says_so_and_nothing_goes_twice() {
    let house = House::new();
    let old: Vec<String> = (0..12).map(|number| format!("old-{number}")).collect();
    for name in &old {
        put(&house, name, 30_000, &[]);
    }
    put(&house, "young", 3000, &[]);
    age(&house, &old.iter().map(|name| (name.as_str(), (40 * DAY, 40 * DAY))).collect::<Vec<_>>());
    let start = || house.command(&["gc", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let running: Vec<Child> = (0..6).map(|_| start()).collect();
    let outputs: Vec<_> = running.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    let mut deleted = 0;
    for output in &outputs {
        match output.status.code() {
            Some(0) => {
                let collected: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
                deleted += collected["deleted"].as_u64().unwrap();
            }
            Some(3) => assert!(said(output).contains("another process is collecting"), "{}", said(output)),
            _ => panic!("{}: {}", output.status, said(output)),
        }
    }
    assert_eq!(deleted, old.len() as u64, "each is removed by one");
    assert_eq!(removed(&house).len(), old.len(), "and told once");
    assert_eq!(names(&house), ["young".to_owned()].into());
    assert_eq!(house.got("young"), seen(&house.path("young")));
    house.ends_with(0, &["verify"]);
    assert_no_leftovers(&house.store().join("sessions"));
}

fn assert_no_leftovers(folder: &Path) {
    let left: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}
