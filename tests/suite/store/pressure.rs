//! What happens as the quota gets full: nothing before it has to, and what to do is said when nothing more is taken.

use std::fs;

use serde_json::Value;

use super::aged::{Age, DAY, age, going, names, put};
use super::{House, noise, seen};
use crate::support::agent::said;

/// Bytes of the quota; nothing is in grace.
const QUOTA: u64 = 10 << 20;
const CONFIG: &str = "[store]\nmax_size = \"10MiB\"\nmax_owner_size = \"10MiB\"\ngrace = \"0s\"\n";

fn used(house: &House) -> u64 {
    house.json(&["stats"])["quota"]["used"].as_u64().unwrap()
}

/// Keeps so much that the quota is `per_cent` full.
fn fill(house: &House, name: &str, per_cent: u64) {
    let tree = house.folder(name);
    // Room for what comes on top of content: half of the per cent.
    let wanted = QUOTA / 1000 * (per_cent * 10 + 5);
    fs::write(tree.join("file"), noise((wanted - used(house)) as usize, per_cent)).unwrap();
    house.put(&tree, name);
    let full = used(house) * 100 / QUOTA;
    assert_eq!(full, per_cent, "{name}");
}

/// The level, and for each name the rule and whether it goes.
fn decided(house: &House, arguments: &[&str]) -> (String, Vec<(String, String, bool)>) {
    let collected = house.json(arguments);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let decision = |one: &Value| (text(&one["name"]), text(&one["rule"]), one["deletes"].as_bool().unwrap());
    (text(&collected["pressure"]), collected["decisions"].as_array().unwrap().iter().map(decision).collect())
}

#[test]
fn levels_set_in_one_after_the_other_and_what_is_young_goes_at_95_per_cent_only() {
    let house = House::with(CONFIG);
    for (name, per_cent, level) in [("a", 50, "low"), ("b", 81, "yellow"), ("c", 91, "orange")] {
        fill(&house, name, per_cent);
        let (pressure, decisions) = decided(&house, &["gc"]);
        assert_eq!(pressure, level);
        assert!(decisions.iter().all(|(_, rule, goes)| !goes && rule == "recent"), "{per_cent} %: {decisions:?}");
    }
    house.ends_with(0, &["pin", "a"]);
    fill(&house, "d", 96);
    let (pressure, decisions) = decided(&house, &["gc", "--dry-run"]);
    assert_eq!(pressure, "red");
    let rule = |name: &str| decisions.iter().find(|one| one.0 == name).map(|one| (one.1.as_str(), one.2));
    assert_eq!(rule("a"), Some(("pinned", false)), "{decisions:?}");
    assert_eq!(rule("b"), Some(("emergency", true)), "the longest unused goes first: {decisions:?}");
    assert_eq!(rule("d"), Some(("relieved", false)), "no more than has to: {decisions:?}");
    decided(&house, &["gc"]);
    house.ends_with(1, &["info", "b"]);
    assert_eq!(house.got("d"), seen(&house.path("d")));
    let (pressure, decisions) = decided(&house, &["gc"]);
    assert_eq!((pressure.as_str(), decisions.len()), ("low", 3), "{decisions:?}");
}

#[test]
fn from_98_per_cent_on_nothing_new_is_taken_and_what_to_do_is_said() {
    let house = House::with(CONFIG);
    fill(&house, "a", 60);
    fill(&house, "b", 98);
    assert_eq!(decided(&house, &["gc", "--dry-run"]).0, "critical");
    let tree = house.folder("new");
    fs::write(tree.join("file"), "new").unwrap();
    let refused = house.ends_with(3, &["put", "new", "--name", "new"]);
    for part in ["quota of the store is 98", "forgehand store gc --dry-run", "store.max_size"] {
        assert!(said(&refused).contains(part), "{part}: {}", said(&refused));
    }
    house.ends_with(1, &["info", "new"]);
    assert_eq!(house.got("a"), seen(&house.path("a")), "what is there is given");
    let alerts = || house.audit().into_iter().filter(|line| line["event"] == "storage_alert").collect::<Vec<_>>();
    house.ends_with(0, &["gc"]);
    let [alert] = &alerts()[..] else { panic!("one alert: {:?}", alerts()) };
    assert_eq!(alert["pressure"], "critical");
    assert!(alert["actions"].as_array().unwrap().contains(&"new_artifacts_refused".into()), "{alert}");
    house.put(&tree, "new");
    assert_eq!(house.got("new"), seen(&tree));
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, rule)| ((*name).to_owned(), (*rule).to_owned())).collect()
}

#[test]
fn periods_get_shorter_the_fuller_it_is() {
    let house = House::with(CONFIG);
    // Periods of 72 hours and 7 days: a quarter less is 54 and 126 hours, half is 36 and 84.
    let all: [(&str, Age); 7] = [
        ("due", (10 * DAY, 73)),
        ("a-quarter", (10 * DAY, 55)),
        ("old-a-quarter", (40 * DAY, 127)),
        ("a-half", (10 * DAY, 37)),
        ("old-a-half", (40 * DAY, 85)),
        ("old-used", (40 * DAY, 30)),
        ("young", (7 * DAY - 1, 7 * DAY - 1)),
    ];
    for (name, _) in &all {
        put(&house, name, 1000, &[]);
    }
    age(&house, &all);
    fill(&house, "half", 50);
    assert_eq!(going(&house), pairs(&[("due", "aging")]));
    fill(&house, "fuller", 81);
    let quarter = [("due", "aging"), ("old-a-quarter", "old"), ("a-quarter", "aging")];
    assert_eq!(going(&house), pairs(&quarter));
    fill(&house, "full", 91);
    let half = [("old-a-half", "old"), ("a-half", "aging"), ("old-used", "size")];
    assert_eq!(going(&house), pairs(&[&quarter[..], &half[..]].concat()));
    house.ends_with(0, &["gc"]);
    assert_eq!(names(&house), ["full", "fuller", "half", "young"].map(str::to_owned).into());
}

#[test]
fn from_90_per_cent_on_the_largest_go_first_until_there_is_room() {
    let house = House::with(CONFIG);
    // All of them were used within half of their period; the smaller the longer ago.
    let all: [(&str, usize, Age); 5] = [
        ("large", 2_400_000, (10 * DAY, 20)),
        ("middle", 1_200_000, (10 * DAY, 25)),
        ("small", 600_000, (10 * DAY, 30)),
        ("pinned", 2_500_000, (40 * DAY, 40 * DAY)),
        ("young", 2_600_000, (6 * DAY, 6 * DAY)),
    ];
    for (name, bytes, _) in &all {
        put(&house, name, *bytes, &[]);
    }
    house.ends_with(0, &["pin", "pinned"]);
    age(&house, &all.map(|(name, _, age)| (name, age)));
    assert_eq!(going(&house), []);
    fill(&house, "full", 91);
    assert_eq!(going(&house), pairs(&[("large", "size")]));
    let (_, planned) = decided(&house, &["gc"]);
    for name in ["middle", "small"] {
        let rule = planned.iter().find(|one| one.0 == name).map(|one| one.1.as_str());
        assert_eq!(rule, Some("relieved"), "{planned:?}");
    }
    assert_eq!(names(&house), ["full", "middle", "pinned", "small", "young"].map(str::to_owned).into());
    // Full again, the next in size goes.
    fill(&house, "fuller", 92);
    assert_eq!(going(&house), pairs(&[("middle", "size")]));
}
