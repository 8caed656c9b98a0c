//! What goes without a collection is in the audit all the same.

use super::*;
use crate::artifact::retention::Withdrawal;

/// The deletions of the audit: rule and name.
fn deletions(bench: &Bench) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    lines(bench).iter().map(|line| (text(&line["rule"]), text(&line["name"]))).collect()
}

fn lines(bench: &Bench) -> Vec<serde_json::Value> {
    let mut lines = Vec::new();
    for path in super::super::disk::names(&bench.root().join("audit")).unwrap() {
        let text = fs::read_to_string(path).unwrap();
        lines.extend(text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()));
    }
    lines.retain(|line| line["event"] == "artifact_deletion");
    lines
}

#[test]
fn a_name_that_is_forgotten_leaves_one_line() {
    let bench = Bench::new();
    let tree = bench.folder("tree");
    fs::write(tree.join("file"), "x").unwrap();
    let kept = bench.put(&member(), "1/out.zip", &tree);
    assert!(bench.store.forget_name(&member(), &kept.key, Withdrawal::NotTaken).unwrap());
    assert!(!bench.store.forget_name(&member(), &kept.key, Withdrawal::NotTaken).unwrap());
    assert_eq!(deletions(&bench), [("not_taken".to_owned(), "1/out.zip".to_owned())]);
}

#[test]
fn a_cache_that_another_takes_the_place_of_leaves_one_line() {
    let bench = Bench::new();
    let tree = bench.folder("tree");
    let put = |content: &str| {
        fs::write(tree.join("file"), content).unwrap();
        bench.try_put_as(&member(), What::cache(b"deps"), &tree).unwrap()
    };
    put("one");
    bench.try_put_as(&member(), What::cache(b"deps"), &tree).unwrap();
    assert_eq!(deletions(&bench), []);
    put("another");
    assert_eq!(deletions(&bench), [("replaced".to_owned(), "deps".to_owned())]);
}

#[test]
fn what_was_damaged_when_it_went_is_told_and_everything_is_looked_at() {
    let bench = Bench::new();
    let contents = [noise(50 << 10, 1), noise(50 << 10, 2)];
    for (name, content) in ["whole", "damaged"].iter().zip(&contents) {
        fs::write(bench.folder(name).join("file"), content).unwrap();
        bench.put(&member(), name, &bench.folder(name));
    }
    bench.store.verify(&Verifying::default(), &Progress::default()).unwrap();
    for path in super::super::disk::fanned(&bench.store.home(&member()).packs()).unwrap() {
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(64).position(|some| some == &contents[1][..64]) {
            bytes[at] ^= 1;
            fs::write(path, bytes).unwrap();
        }
    }
    let years = std::time::Duration::from_secs(1000 * 24 * 3600);
    assert!(!bench.store.is_scrub_due(years).unwrap());
    bench.pass(31 * 24 * 3600);
    // What the clock jumped over is no part of the grace.
    for _ in 0..4 {
        bench.pass(20 * 3600);
        bench.collect();
    }
    let told: std::collections::BTreeMap<String, Option<String>> = lines(&bench)
        .iter()
        .map(|line| (line["name"].as_str().unwrap().to_owned(), line["corrupted"].as_str().map(str::to_owned)))
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told["whole"], None);
    let object = ObjectId::of(&contents[1]).to_string();
    assert!(told["damaged"].as_ref().is_some_and(|how| how.contains(&object)), "{told:?}");
    assert!(bench.store.is_scrub_due(years).unwrap(), "others may share what is damaged");
}
