//! The audit: what the operator can account for afterwards.

use std::fs;

use serde_json::Value;

use super::{House, noise, ordinary, seen};
use crate::support::wait_until;

/// `event/cause or rule` of each line, without decisions to keep.
fn told(lines: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kept = |line: &&Value| line["event"] != "policy_evaluation" || line["decision"] == "delete";
    let detail = |line: &Value| if line["cause"].is_string() { text(&line["cause"]) } else { text(&line["rule"]) };
    lines.iter().filter(kept).map(|line| format!("{}/{}", text(&line["event"]), detail(line))).collect()
}

#[test]
fn pins_decisions_and_deletions_leave_a_line_each_and_nothing_else_does() {
    let house = House::with("[store]\ngrace = \"0s\"\n");
    let tree = house.folder("short");
    fs::write(tree.join("file"), noise(100_000, 1)).unwrap();
    house.ends_with(0, &["put", "short", "--name", "short", "--expire", "1s"]);
    let id = house.json(&["info", "short"])["content_hash"].as_str().unwrap().to_owned();
    house.put(&ordinary(&house.path("young"), 2), "young");
    assert_eq!(told(&house.audit()), Vec::<String>::new());
    house.ends_with(0, &["pin", "short"]);
    house.ends_with(0, &["unpin", "short"]);
    let pins = house.audit();
    assert_eq!(told(&pins), ["reference_change/pinned", "reference_change/unpinned"]);
    for (line, delta) in pins.iter().zip([1, -1]) {
        assert_eq!((line["artifact"].as_str(), line["delta"].as_i64()), (Some(&*id), Some(delta)), "{line}");
        assert!(line["at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok() && line["job"].is_null(), "{line}");
    }
    let expires: jiff::Timestamp = house.json(&["info", "short"])["expires_at"].as_str().unwrap().parse().unwrap();
    wait_until(super::LIMIT, "it expires", || (jiff::Timestamp::now() > expires).then_some(()));
    house.ends_with(0, &["gc", "--dry-run"]);
    assert_eq!(house.audit(), pins, "only said");
    house.ends_with(0, &["gc"]);
    let lines = house.audit();
    assert_eq!(told(&lines)[2..], ["policy_evaluation/expired", "artifact_deletion/expired"], "{lines:?}");
    let gone = lines.iter().find(|line| line["event"] == "artifact_deletion").unwrap();
    assert_eq!((gone["name"].as_str(), gone["artifact"].as_str()), (Some("short"), Some(&*id)));
    assert!(gone["size"].as_u64().unwrap() > 50_000 && gone["reason"].as_str().unwrap().len() > 5, "{gone}");
    let young = lines.iter().find(|line| line["name"] == "young").unwrap();
    assert_eq!((young["decision"].as_str(), young["rule"].as_str()), (Some("keep"), Some("recent")));
    house.ends_with(0, &["gc"]);
    assert_eq!(house.audit(), lines, "the same decision again is no news");
    assert_eq!(house.got("young"), seen(&house.path("young")));
}
