//! What goes without a collection is in the audit all the same.

use super::*;
use crate::artifact::retention::Withdrawal;

/// The deletions of the audit: rule and name.
fn deletions(bench: &Bench) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for path in super::super::disk::names(&bench.root().join("audit")).unwrap() {
        let text = fs::read_to_string(path).unwrap();
        lines.extend(text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()));
    }
    lines.retain(|line| line["event"] == "artifact_deletion");
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    lines.iter().map(|line| (text(&line["rule"]), text(&line["name"]))).collect()
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
