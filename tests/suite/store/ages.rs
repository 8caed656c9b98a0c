//! What becomes of things with their age: what `gc --dry-run` says, what `gc` removes, and what the audit has of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::aged::{Age, DAY, age, decided, forget_index, going, names, put, refer, removed};
use super::{House, noise, seen};

/// A thing, its age, the policy that finds its name, the rule that decides, and whether it goes.
type Case = (&'static str, Age, Option<&'static str>, &'static str, bool);

/// All is decided as it should be; what goes is all that `gc` removes, and each has a line of the audit.
fn come_true(house: &House, cases: &[Case]) {
    let expected: BTreeMap<String, _> = cases
        .iter()
        .map(|(name, _, policy, rule, goes)| {
            ((*name).to_owned(), (policy.map(str::to_owned), (*rule).to_owned(), *goes))
        })
        .collect();
    let before = (names(house), house.audit().len());
    let planned = decided(house, &["gc", "--dry-run"]);
    for (name, decision) in &expected {
        assert_eq!(planned.get(name), Some(decision), "{name}: {planned:?}");
    }
    assert_eq!(planned.len(), expected.len(), "{planned:?}");
    assert_eq!((names(house), house.audit().len()), before, "only said");

    let goes = |case: &&Case| case.4;
    let total = || house.json(&["stats"])["total_bytes"].as_u64().unwrap();
    let full = total();
    let collected = house.json(&["gc"]);
    assert_eq!(collected["deleted"], cases.iter().filter(goes).count(), "{collected}");
    let stay: BTreeSet<String> = cases.iter().filter(|case| !case.4).map(|case| case.0.to_owned()).collect();
    assert_eq!(names(house), stay);
    assert_eq!(full - total(), collected["freed_bytes"].as_u64().unwrap(), "{collected}");
    let lines = removed(house);
    assert_eq!(lines.len(), cases.iter().filter(goes).count(), "{lines:?}");
    for (name, (made, _), policy, rule, _) in cases.iter().filter(goes) {
        let line = lines.iter().find(|line| line["name"] == *name).unwrap_or_else(|| panic!("{name}: {lines:?}"));
        assert_eq!((line["rule"].as_str(), line["policy"].as_str()), (Some(*rule), *policy), "{line}");
        let hours = line["age_seconds"].as_i64().unwrap() / 3600;
        assert_eq!((hours, line["references"].as_i64()), (*made, Some(0)), "{line}");
    }
    for name in &stay {
        assert_eq!(house.got(name), seen(&house.path(name)), "{name}");
    }
    house.ends_with(0, &["verify"]);
}

fn ages(cases: &[Case]) -> Vec<(&'static str, Age)> {
    cases.iter().map(|case| (case.0, case.1)).collect()
}

#[test]
fn without_a_policy_age_and_use_decide_and_what_is_needed_stays() {
    const WEEK: i64 = 7 * DAY;
    let house = House::new();
    let cases: [Case; 17] = [
        ("young", (WEEK - 1, WEEK - 1), None, "recent", false),
        ("week-used", (WEEK + 1, 71), None, "in_use", false),
        ("week-unused", (WEEK + 1, 73), None, "aging", true),
        ("month-used", (30 * DAY - 1, 71), None, "in_use", false),
        ("month-unused", (30 * DAY - 1, 73), None, "aging", true),
        ("old-used", (30 * DAY + 1, WEEK - 1), None, "in_use", false),
        ("old-unused", (30 * DAY + 1, WEEK + 1), None, "old", true),
        ("ancient-used", (400 * DAY, 25), None, "in_use", false),
        ("week-needed", (20 * DAY, 20 * DAY), None, "referenced", false),
        ("old-needed", (40 * DAY, 40 * DAY), None, "referenced", false),
        ("old-pinned", (40 * DAY, 40 * DAY), None, "pinned", false),
        ("never", (40 * DAY, 40 * DAY), None, "pinned", false),
        // What `--expire` says comes before age and use, and after what is needed and what was used within a day.
        ("expires-later", (31 * DAY, 31 * DAY), None, "expires_later", false),
        ("expired", (11 * DAY, 25), None, "expired", true),
        ("expired-used", (11 * DAY, 23), None, "grace", false),
        ("expired-needed", (11 * DAY, 11 * DAY), None, "referenced", false),
        ("expired-pinned", (11 * DAY, 11 * DAY), None, "pinned", false),
    ];
    for (name, ..) in &cases {
        let expire: &[&str] = match *name {
            "never" => &["--expire", "never"],
            "expires-later" => &["--expire", "32 days"],
            name if name.starts_with("expired") => &["--expire", "10 days"],
            _ => &[],
        };
        put(&house, name, 3000, expire);
    }
    age(&house, &ages(&cases));
    for name in ["old-pinned", "expired-pinned"] {
        house.ends_with(0, &["pin", name]);
    }
    for (job, name) in [("j1", "week-needed"), ("j2", "old-needed"), ("j3", "expired-needed")] {
        refer(&house, job, name);
    }
    come_true(&house, &cases);
}

#[test]
fn when_things_were_used_is_forgotten_with_the_index_and_then_they_count_as_used_now() {
    let house = House::new();
    put(&house, "a", 3000, &[]);
    age(&house, &[("a", (40 * DAY, 40 * DAY))]);
    assert_eq!(going(&house), [("a".to_owned(), "old".to_owned())]);
    forget_index(&house);
    assert_eq!(decided(&house, &["gc"])["a"], (None, "grace".to_owned(), false));
    assert_eq!(house.got("a"), seen(&house.path("a")));
}

const POLICIES: &str = r#"
[[store.retention]]
name = "age"
pattern = "^age-"
max_age_days = 10

[[store.retention]]
name = "unused"
pattern = "unused-.*[0-9]$"
delete_after_days_unused = 5

[[store.retention]]
name = "total"
pattern = "^total-"
max_total_size = 250000

[[store.retention]]
name = "passed"
pattern = "^passed-"
max_age_days = 10
delete_after_days_unused = 8
size_threshold = 150000

[[store.retention]]
name = "below"
pattern = "^below-"
max_age_days = 10
size_threshold = 150000

[[store.retention]]
name = "by-use-only"
pattern = "^by-use-"
max_age_days = 1
delete_after_days_unused = 5
min_references = 0

[[store.retention]]
name = "two-jobs"
pattern = "^two-jobs-"
max_age_days = 1
min_references = 2

[[store.retention]]
name = "long-grace"
pattern = "^long-"
max_age_days = 1
grace_period_hours = 168

[[store.retention]]
name = "short-grace"
pattern = "^short-"
max_age_days = 1
grace_period_hours = 3

[[store.retention]]
name = "low"
pattern = "^(high|equal|plain)-"
max_age_days = 1
priority = -1

[[store.retention]]
name = "high"
pattern = "^high-"
max_age_days = 100
priority = 10

[[store.retention]]
name = "equal"
pattern = "^equal-"
max_age_days = 100
priority = -1

[[store.retention]]
name = "off"
pattern = "^off-"
max_age_days = 1
priority = 100
enabled = false

[[store.retention]]
name = "for-ever"
pattern = "^ever-"
"#;

#[test]
fn each_bound_of_a_policy_has_what_is_beyond_it_go_and_nothing_else() {
    let house = House::with(POLICIES);
    let week = 7 * DAY;
    let cases: [Case; 32] = [
        ("age-over", (10 * DAY + 1, 25), Some("age"), "max_age", true),
        ("age-within", (10 * DAY - 1, 10 * DAY - 1), Some("age"), "within_policy", false),
        ("age-needed", (20 * DAY, 20 * DAY), Some("age"), "referenced", false),
        ("age-pinned", (20 * DAY, 20 * DAY), Some("age"), "pinned", false),
        ("age-promised", (20 * DAY, 20 * DAY), Some("age"), "expires_later", false),
        ("not-age-over", (10 * DAY + 1, 25), None, "in_use", false),
        // A pattern is searched for, unless it says otherwise.
        ("an-unused-over-1", (6 * DAY, 5 * DAY + 1), Some("unused"), "max_unused", true),
        ("an-unused-within-1", (400 * DAY, 5 * DAY - 1), Some("unused"), "within_policy", false),
        ("an-unused-over-x", (6 * DAY, 5 * DAY + 1), None, "recent", false),
        // The longest unused, not the oldest, and no more than has to.
        ("total-oldest", (100 * DAY, 50), Some("total"), "within_policy", false),
        ("total-unused", (3 * DAY, 3 * DAY), Some("total"), "max_total", true),
        ("total-newest", (2 * DAY, 2 * DAY), Some("total"), "within_policy", false),
        ("passed-over", (5 * DAY + 1, 25), Some("passed"), "max_age", true),
        ("passed-within", (5 * DAY - 1, 4 * DAY - 1), Some("passed"), "within_policy", false),
        ("passed-unused", (5 * DAY - 1, 4 * DAY + 1), Some("passed"), "max_unused", true),
        ("below-within", (10 * DAY - 1, 25), Some("below"), "within_policy", false),
        ("below-over", (10 * DAY + 1, 25), Some("below"), "max_age", true),
        ("by-use-old", (400 * DAY, 5 * DAY - 1), Some("by-use-only"), "within_policy", false),
        ("by-use-over", (5 * DAY + 1, 5 * DAY + 1), Some("by-use-only"), "max_unused", true),
        ("two-jobs-none", (2 * DAY, 2 * DAY), Some("two-jobs"), "max_age", true),
        ("two-jobs-one", (2 * DAY, 2 * DAY), Some("two-jobs"), "referenced", false),
        ("long-within", (20 * DAY, week - 1), Some("long-grace"), "grace", false),
        ("long-over", (20 * DAY, week + 1), Some("long-grace"), "max_age", true),
        ("short-within", (20 * DAY, 2), Some("short-grace"), "grace", false),
        ("short-over", (20 * DAY, 4), Some("short-grace"), "max_age", true),
        ("high-within", (99 * DAY, 99 * DAY), Some("high"), "within_policy", false),
        ("high-over", (101 * DAY, 25), Some("high"), "max_age", true),
        // Of equal ones the first in the file.
        ("equal-over", (2 * DAY, 2 * DAY), Some("low"), "max_age", true),
        ("plain-within", (DAY - 1, DAY - 1), Some("low"), "grace", false),
        ("off-over", (6 * DAY, 6 * DAY), None, "recent", false),
        ("ever-old", (400 * DAY, 400 * DAY), Some("for-ever"), "within_policy", false),
        ("nobodys", (8 * DAY, 8 * DAY), None, "aging", true),
    ];
    for (name, ..) in &cases {
        let bytes = if name.starts_with("total-") || name.starts_with("passed-") { 100_000 } else { 3000 };
        let expire: &[&str] = if *name == "age-promised" { &["--expire", "21 days"] } else { &[] };
        put(&house, name, bytes, expire);
    }
    age(&house, &ages(&cases));
    house.ends_with(0, &["pin", "age-pinned"]);
    refer(&house, "j1", "age-needed");
    refer(&house, "j2", "two-jobs-one");
    come_true(&house, &cases);
    // What nobody needs any more goes as its policy says.
    house.ends_with(0, &["unpin", "age-pinned"]);
    age(&house, &[("age-pinned", (20 * DAY, 20 * DAY))]);
    assert_eq!(going(&house), [("age-pinned".to_owned(), "max_age".to_owned())]);
}

#[test]
fn of_one_name_the_newest_so_many_stay() {
    let policy = "[[store.retention]]\nname = \"two\"\npattern = \"^n\"\nmax_artifacts_per_pipeline = 2\n";
    let house = House::with(&format!("[store]\ngrace = \"0s\"\n{policy}"));
    let tree = house.folder("tree");
    let keep = |name: &str, seed: u64| {
        fs::write(tree.join("file"), noise(3000, seed)).unwrap();
        house.put(&tree, name)
    };
    let kept = ["n1", "n1", "n1", "n2", "n2"].into_iter().zip(0..).map(|(name, seed)| keep(name, seed));
    let mut kept: Vec<String> = kept.collect();
    let collected = house.json(&["gc"]);
    let gone = &collected["decisions"][0];
    assert_eq!((&gone["content_hash"], &gone["rule"]), (&kept[0].as_str().into(), &"max_count".into()), "{collected}");
    let listed = house.json(&["ls"]);
    let mut left: Vec<&str> =
        listed.as_array().unwrap().iter().map(|one| one["content_hash"].as_str().unwrap()).collect();
    left.sort_unstable();
    kept.remove(0);
    kept.sort_unstable();
    assert_eq!(left, kept);
}
