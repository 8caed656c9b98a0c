//! What nobody needs goes from the store that machines share, and what somebody needs stays for all of them.
//!
//! How old something is there is what the server says of its objects: the times of its files.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::{House, noise, seen};
use crate::support::agent::said;
use crate::support::s3::S3Server;
use crate::support::wait_until;

const HOUR: u64 = 3600;
pub(super) const A_DAY: u64 = 24 * HOUR;

/// Has an object been written so many seconds ago.
pub(super) fn date_back(object: &Path, seconds: u64) {
    let then = SystemTime::now() - Duration::from_secs(seconds);
    File::options().write(true).open(object).unwrap().set_modified(then).unwrap();
}

/// A server whose objects go a day after their last use, and what machines have to know of it.
pub(super) fn server() -> (S3Server, String) {
    let server = S3Server::start();
    let config = format!("{}keep_days = 1\n", server.config());
    (server, config)
}

/// Keeps a file that nothing else is like, and tells of it: its record and its packs.
pub(super) fn share(server: &S3Server, house: &House, name: &str, more: &[&str]) -> (PathBuf, Vec<PathBuf>) {
    let tree = house.folder(name);
    let seed = name.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(31) + u64::from(byte));
    fs::write(tree.join("file"), noise(50_000, seed)).unwrap();
    let before = server.objects("/records/");
    house.ends_with(0, &[&["put", tree.to_str().unwrap(), "--name", name], more].concat());
    let mut records = server.objects("/records/");
    records.retain(|record| !before.contains(record));
    let [record] = &records[..] else { panic!("{name}: one record: {records:?}") };
    (record.clone(), packs_of(record))
}

/// The objects of the packs that a record names.
fn packs_of(record: &Path) -> Vec<PathBuf> {
    let told: Value = serde_json::from_str(fs::read_to_string(record).unwrap().lines().next().unwrap()).unwrap();
    let packs = told["record"]["packs"].as_array().unwrap().iter();
    let folder = record.parent().unwrap().with_file_name("packs");
    let packs: Vec<PathBuf> = packs.map(|pack| folder.join(pack["id"].as_str().unwrap())).collect();
    assert!(!packs.is_empty() && packs.iter().all(|pack| pack.is_file()), "{packs:?}");
    packs
}

/// Where it is noted of packs that nobody needs them.
fn marks(server: &S3Server) -> BTreeSet<String> {
    server.objects("/condemned/").iter().map(|mark| base(mark)).collect()
}

fn base(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// It is a machine's turn again.
pub(super) fn next_turn(server: &S3Server) {
    for begun in server.objects("tidy/begun") {
        date_back(&begun, 13 * HOUR);
    }
}

/// What a machine removes there.
fn tidy(server: &S3Server, house: &House) -> Value {
    next_turn(server);
    let shared = house.json(&["gc"])["shared"].clone();
    assert!(shared.is_object(), "it was this machine's turn: {shared}");
    shared
}

/// What the audit of a machine says went from there: name and rule.
pub(super) fn withdrawn(lines: &[Value]) -> Vec<(String, String)> {
    let gone = lines.iter().filter(|line| line["event"] == "artifact_deletion" && line["shared_store"].is_string());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    gone.inspect(|line| assert_eq!(line["shared_store"], "s3://ci-bucket/team"))
        .map(|line| (text(&line["name"]), text(&line["rule"])))
        .collect()
}

#[test]
fn what_nobody_used_for_keep_days_goes_and_all_else_stays_for_every_machine() {
    let (server, config) = server();
    let [one, two] = [(); 2].map(|()| House::with(&config));
    let (unused, its_packs) = share(&server, &one, "unused", &[]);
    let (used, used_packs) = share(&server, &one, "used", &[]);
    let (for_ever, _) = share(&server, &one, "for-ever", &["--expire", "never"]);
    for object in [&server.objects("/packs/")[..], &[unused.clone(), for_ever.clone()]].concat() {
        date_back(&object, 100 * A_DAY);
    }
    // Not yet as long as that.
    date_back(&used, A_DAY - HOUR);
    let shared = tidy(&server, &two);
    assert_eq!((&shared["records"], &shared["packs"]), (&1.into(), &0.into()), "{shared}");
    assert_eq!(withdrawn(&two.audit()), [("unused".to_owned(), "unused".to_owned())]);
    assert!(!unused.exists() && used.exists() && for_ever.exists());
    // Its packs are marked, and no others, however old they are.
    assert_eq!(marks(&server), its_packs.iter().map(|pack| base(pack)).collect());
    assert!(its_packs.iter().all(|pack| pack.exists()));

    // Whoever comes next, on whatever machine, has half a day to wait.
    for house in [&one, &two] {
        assert_eq!(house.json(&["gc"])["shared"], Value::Null);
    }
    // A fresh mark says nothing: somebody may just be counting on the pack.
    let shared = tidy(&server, &one);
    assert_eq!((&shared["records"], &shared["packs"]), (&0.into(), &0.into()), "{shared}");
    assert!(its_packs.iter().all(|pack| pack.exists()));

    let bytes: u64 = its_packs.iter().map(|pack| fs::metadata(pack).unwrap().len()).sum();
    server.objects("/condemned/").iter().for_each(|mark| date_back(mark, 2 * HOUR));
    let shared = tidy(&server, &two);
    let packs = its_packs.len();
    assert_eq!((&shared["packs"], &shared["freed_bytes"]), (&packs.into(), &bytes.into()), "{shared}");
    assert!(its_packs.iter().all(|pack| !pack.exists()) && marks(&server).is_empty());
    assert!(used_packs.iter().all(|pack| pack.exists()));

    for machine in [two, House::with(&config)] {
        for name in ["used", "for-ever"] {
            assert_eq!(machine.got(name), seen(&one.path(name)), "{name}");
        }
        machine.ends_with(1, &["get", "unused", "dest"]);
    }
    // The machine that kept it has it still.
    assert_eq!(one.got("unused"), seen(&one.path("unused")));
    assert_eq!(withdrawn(&one.audit()), []);
}

#[test]
fn what_has_expired_goes_by_the_time_of_the_server_s_objects() {
    let (server, config) = server();
    let [one, two] = [(); 2].map(|()| House::with(&config));
    let (short, _) = share(&server, &one, "short", &["--expire", "1s"]);
    share(&server, &one, "long", &["--expire", "3 days"]);
    let expires: jiff::Timestamp = one.json(&["info", "short"])["expires_at"].as_str().unwrap().parse().unwrap();
    wait_until(super::LIMIT, "it expires", || (jiff::Timestamp::now() > expires).then_some(()));
    // `keep_days` says nothing of what has a date.
    server.objects("/records/").iter().for_each(|record| date_back(record, 2 * A_DAY));
    assert_eq!(tidy(&server, &two)["records"], 1);
    assert!(!short.exists());
    assert_eq!(withdrawn(&two.audit()), [("short".to_owned(), "expired".to_owned())]);
    assert_eq!(House::with(&config).got("long"), seen(&one.path("long")));
}

#[test]
fn a_pack_that_is_marked_stays_when_somebody_needs_it_again() {
    let (server, config) = server();
    let [one, two] = [(); 2].map(|()| House::with(&config));
    let (record, packs) = share(&server, &one, "first", &[]);
    assert_eq!(two.got("first"), seen(&one.path("first")));
    packs.iter().chain([&record]).for_each(|object| date_back(object, 2 * A_DAY));
    tidy(&server, &one);
    assert_eq!(marks(&server).len(), packs.len());
    let marks_then = server.objects("/condemned/");
    // A machine that has the pack keeps its content under another name.
    let kept = two.ends_with(0, &["put", one.path("first").to_str().unwrap(), "--name", "again"]);
    assert_eq!(
        said(&kept).lines().count(),
        1,
        "the shared store was told, so there is nothing to say: {}",
        said(&kept)
    );
    let [again] = &server.objects("/records/")[..] else { panic!("{:?}", server.objects("/records/")) };
    assert_eq!(packs_of(again), packs);
    // Even where the mark is there all the same, and old: somebody was slow.
    for mark in &marks_then {
        fs::write(mark, "").unwrap();
        date_back(mark, 2 * HOUR);
    }
    packs.iter().for_each(|pack| date_back(pack, 2 * A_DAY));
    assert_eq!(tidy(&server, &one)["packs"], 0);
    assert!(marks(&server).is_empty(), "it is needed");
    assert_eq!(House::with(&config).got("again"), seen(&one.path("first")));
}

#[test]
fn where_a_record_cannot_be_read_no_pack_of_its_owner_goes() {
    let (server, config) = server();
    let [one, two] = [(); 2].map(|()| House::with(&config));
    let (unused, its_packs) = share(&server, &one, "unused", &[]);
    let (damaged, _) = share(&server, &one, "damaged", &[]);
    its_packs.iter().chain([&unused]).for_each(|object| date_back(object, 2 * A_DAY));
    tidy(&server, &two);
    server.objects("/condemned/").iter().for_each(|mark| date_back(mark, 2 * HOUR));
    let whole = fs::read(&damaged).unwrap();
    super::flip(&damaged, whole.len() / 2);
    assert_eq!(tidy(&server, &two)["packs"], 0);
    assert!(its_packs.iter().all(|pack| pack.exists()), "the record may need them");
    assert!(damaged.exists(), "what cannot be read is not for this machine to remove");
    fs::write(&damaged, whole).unwrap();
    assert_eq!(tidy(&server, &two)["packs"], its_packs.len());
    assert_eq!(House::with(&config).got("damaged"), seen(&one.path("damaged")));
}

#[test]
fn a_pack_whose_record_is_still_to_come_is_left_alone_for_a_day() {
    let (server, config) = server();
    let [one, two] = [(); 2].map(|()| House::with(&config));
    let (record, packs) = share(&server, &one, "slow", &[]);
    let told = fs::read(&record).unwrap();
    fs::remove_file(&record).unwrap();
    tidy(&server, &two);
    assert_eq!(marks(&server), BTreeSet::new());
    packs.iter().for_each(|pack| date_back(pack, A_DAY + HOUR));
    tidy(&server, &two);
    assert_eq!(marks(&server).len(), packs.len());
    // The record came after all: the packs are needed, and not marked any more.
    fs::write(&record, told).unwrap();
    server.objects("/condemned/").iter().for_each(|mark| date_back(mark, 2 * HOUR));
    assert_eq!(tidy(&server, &two)["packs"], 0);
    assert_eq!(marks(&server), BTreeSet::new());
    assert_eq!(House::with(&config).got("slow"), seen(&one.path("slow")));
}
