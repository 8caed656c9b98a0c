//! Things that are old. Records and the time are written by hand, in the format that docs/store.md tells: whoever wants to know what
//! becomes of something in a month does not wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{House, files_below, noise};

pub(super) const DAY: i64 = 24;

/// How old something is: hours since it was put, and since it was used.
pub(super) type Age = (i64, i64);

fn ago(hours: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_hours(hours)
}

/// What an envelope holds, whose checksum has to be right.
fn opened(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    let (sum, record) = text.trim_end().strip_prefix("{\"sha256\":\"").unwrap().split_once("\",\"record\":").unwrap();
    let record = record.strip_suffix('}').unwrap();
    assert_eq!(sum, hex::encode(Sha256::digest(record)), "{}", path.display());
    serde_json::from_str(record).unwrap()
}

fn seal(path: &Path, record: &Value) {
    let record = record.to_string();
    let sum = hex::encode(Sha256::digest(&record));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("{{\"sha256\":\"{sum}\",\"record\":{record}}}\n")).unwrap();
}

/// What is kept by a name: where its record is, and what it says.
fn kept(house: &House) -> BTreeMap<String, (PathBuf, Value)> {
    let files = files_below(&house.store()).into_iter().filter(|path| path.to_string_lossy().contains("/records/"));
    let kept = files.map(|path| (opened(&path), path)).filter(|(record, _)| record["kept"].is_object());
    let name = |record: &Value| record["kept"]["what"]["artifact"]["name"].as_str().unwrap().to_owned();
    kept.map(|(record, path)| (name(&record), (path, record))).collect()
}

/// Has the index go by the records: as after somebody who was killed before he could tell it of them. What it did not have counts as
/// used when its record says that it was put.
fn tell_index(house: &House) {
    let left = house.store().join("sessions/left");
    fs::create_dir_all(&left).unwrap();
    house.ends_with(0, &["ls"]);
    assert!(!left.exists(), "somebody has seen to what was left");
}

/// Removes the index: when what was used is forgotten.
pub(super) fn forget_index(house: &House) {
    for path in files_below(&house.store()).iter().filter(|path| path.to_string_lossy().contains("/index.db")) {
        fs::remove_file(path).unwrap();
    }
}

/// Has things been put, and used last, so long ago. What their `--expire` says begins then, too.
pub(super) fn age(house: &House, ages: &[(&str, Age)]) {
    // A collection that finds nothing of today and no time that was noted before takes today for a clock that is wrong.
    house.ends_with(0, &["gc"]);
    let kept = kept(house);
    let things: Vec<_> = ages.iter().map(|(name, age)| (name, kept[*name].clone(), *age)).collect();
    for (_, (path, _), _) in &things {
        fs::remove_file(path).unwrap();
    }
    forget_index(house);
    house.ends_with(0, &["ls"]);
    let write = |hours: fn(Age) -> i64| {
        for (_, (path, record), age) in &things {
            let mut record = record.clone();
            let info = &mut record["kept"];
            let then = ago(hours(*age));
            let made: Timestamp = info["created_at"].as_str().unwrap().parse().unwrap();
            if let Some(at) = info["expires"].get_mut("at") {
                let until: Timestamp = at.as_str().unwrap().parse().unwrap();
                *at = (until - made.duration_until(then).abs()).to_string().into();
            }
            info["created_at"] = then.to_string().into();
            seal(path, &record);
        }
        tell_index(house);
    };
    // What it learns of now counts as used when it was put; that stays when the record says that it was put earlier.
    write(|(_, used)| used);
    write(|(made, _)| made);
    let listed = house.json(&["ls"]);
    for (name, _, (made, used)) in &things {
        let one = listed.as_array().unwrap().iter().find(|one| one["name"] == ***name).unwrap();
        for (key, hours) in [("created_at", made), ("last_accessed", used)] {
            let at: Timestamp = one[key].as_str().unwrap().parse().unwrap();
            let passed = at.duration_until(Timestamp::now());
            assert!(
                (passed - SignedDuration::from_hours(*hours)).abs() < SignedDuration::from_mins(30),
                "{key}: {one}"
            );
        }
    }
}

/// Has a job need something that is kept.
pub(super) fn refer(house: &House, job: &str, name: &str) {
    let (beside, record) = kept(house).remove(name).unwrap();
    let info = &record["kept"];
    let parts = [b"reference", job.as_bytes()];
    let key = parts
        .iter()
        .fold(Sha256::new(), |hash, part| hash.chain_update((part.len() as u64).to_le_bytes()).chain_update(part));
    let key = hex::encode(key.finalize());
    let records = beside.ancestors().nth(3).unwrap();
    let reference = json!({ "reference": {
        "holder": job, "trees": [info["content_hash"]], "owner": info["owner"], "created_at": Timestamp::now().to_string(),
    } });
    seal(&records.join(&key[..2]).join(&key[2..4]).join(format!("{key}.json")), &reference);
    tell_index(house);
    let one = house.json(&["info", name]);
    assert_eq!(one["reference_count"], 1, "{one}");
}

/// Has the last collection have had a clock that was so many hours ahead of ours.
pub(super) fn shift_time(house: &House, hours: i64) {
    let path = house.store().join("time");
    let mut time = opened(&path);
    let mut count = 0;
    for value in time.as_object_mut().unwrap().values_mut() {
        if let Some(at) = value.as_str().and_then(|text| text.parse::<Timestamp>().ok()) {
            *value = (at + SignedDuration::from_hours(hours)).to_string().into();
            count += 1;
        }
    }
    assert!(count > 0, "{time}");
    seal(&path, &time);
}

/// Keeps a tree that nothing else is like.
pub(super) fn put(house: &House, name: &str, bytes: usize, more: &[&str]) {
    let tree = house.folder(name);
    let seed = name.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(31) + u64::from(byte));
    fs::write(tree.join("file"), noise(bytes, seed)).unwrap();
    house.ends_with(0, &[&["put", tree.to_str().unwrap(), "--name", name], more].concat());
}

/// By name: the policy, the rule, and whether it goes.
pub(super) fn decided(house: &House, arguments: &[&str]) -> BTreeMap<String, (Option<String>, String, bool)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let decision = |one: &Value| {
        let rule = text(&one["rule"]).unwrap();
        (text(&one["name"]).unwrap(), (text(&one["policy"]), rule, one["deletes"].as_bool().unwrap()))
    };
    house.json(arguments)["decisions"].as_array().unwrap().iter().map(decision).collect()
}

/// The names of what is to go, in order, with the rules.
pub(super) fn going(house: &House) -> Vec<(String, String)> {
    let plan = house.json(&["gc", "--dry-run"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let gone = plan["decisions"].as_array().unwrap().iter().filter(|one| one["deletes"] == true);
    gone.map(|one| (text(&one["name"]), text(&one["rule"]))).collect()
}

/// The names of what is kept.
pub(super) fn names(house: &House) -> BTreeSet<String> {
    let listed = house.json(&["ls"]);
    listed.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

/// What the audit says went.
pub(super) fn removed(house: &House) -> Vec<Value> {
    house.audit().into_iter().filter(|line| line["event"] == "artifact_deletion").collect()
}
