//! Several machines with a bucket in common.

use std::fs;

use super::{House, noise, ordinary, seen, stdout};
use crate::support::agent::said;
use crate::support::s3::S3Server;

#[test]
fn what_one_machine_keeps_another_restores() {
    let server = S3Server::start();
    let (one, other) = (House::with(&server.config()), House::with(&server.config()));
    let tree = ordinary(&one.path("tree"), 1);
    fs::write(tree.join("large"), noise(5 << 20, 2)).unwrap();
    let id = one.put(&tree, "site");
    assert_eq!(one.json(&["stats"])["shared"]["waiting"], 0);
    assert!(!server.objects("/packs/").is_empty());
    assert_eq!(other.got("site"), seen(&tree));
    // It is here now.
    drop(server);
    assert_eq!(other.got(&id[..12]), seen(&tree));
    assert_eq!(other.json(&["info", "site"])["content_hash"], id.as_str());
}

#[test]
fn what_is_damaged_here_is_had_again_from_there() {
    let server = S3Server::start();
    let house = House::with(&server.config());
    let tree = ordinary(&house.path("tree"), 1);
    fs::write(tree.join("large"), noise(1 << 20, 2)).unwrap();
    house.put(&tree, "site");
    let large = house.packs().into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&large).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&large, bytes).unwrap();
    assert_eq!(house.got("site"), seen(&tree));
    // All packs are gone: `verify` has them again.
    house.packs().iter().for_each(|path| fs::remove_file(path).unwrap());
    house.ends_with(0, &["verify"]);
    assert_eq!(house.got("site"), seen(&tree));
}

#[test]
fn without_the_server_everything_is_kept_here_and_told_later() {
    let server = S3Server::start();
    let config = server.config();
    let house = House::with(&config.replace("127.0.0.1", "127.0.0.2"));
    let tree = ordinary(&house.path("tree"), 1);
    let output = house.ends_with(0, &["put", tree.to_str().unwrap(), "--name", "site"]);
    assert!(said(&output).contains("other machines find it later"), "{}", said(&output));
    assert_eq!(house.json(&["stats"])["shared"]["waiting"], 1);
    assert_eq!(house.got("site"), seen(&tree));
    let unknown = house.ends_with(3, &["get", "nothing", "dest"]);
    assert!(said(&unknown).contains("s3://ci-bucket/team"), "{}", said(&unknown));
    assert!(server.objects("").is_empty());
    // The server is there again: the next that keeps something tells of both.
    house.configure(&config);
    fs::write(tree.join("more"), "more").unwrap();
    house.put(&tree, "more");
    assert_eq!(server.objects("/records/").len(), 2);
    assert_eq!(House::with(&config).got("site").len() + 1, seen(&tree).len());
}

#[test]
fn wrong_credentials_are_told_and_never_shown() {
    let server = S3Server::start();
    let house = House::with(&server.config().replace("EXAMPLEKEY", "WRONG-KEY"));
    let tree = ordinary(&house.path("tree"), 1);
    let output = house.ends_with(0, &["put", tree.to_str().unwrap()]);
    let text = said(&output);
    assert!(text.contains("SignatureDoesNotMatch") && !text.contains("WRONG-KEY"), "{text}");
    assert!(!stdout(&house.ends_with(0, &["stats"])).contains("WRONG-KEY"));
}

#[test]
fn figures_are_what_prometheus_reads() {
    let server = S3Server::start();
    let house = House::with(&server.config());
    house.put(&ordinary(&house.path("tree"), 1), "site");
    let figures = stdout(&house.ends_with(0, &["stats", "--metrics"]));
    let value = |name: &str| figures.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    assert_eq!(value("forgehand_store_artifacts "), Some(1), "{figures}");
    assert_eq!(value("forgehand_store_shared_waiting "), Some(0), "{figures}");
    let stored = house.json(&["stats"])["total_bytes"].as_u64();
    assert_eq!(value("forgehand_store_stored_bytes "), stored, "{figures}");
    let owner = "forgehand_store_owner_used_bytes{forge=\"local\",project=\"local\",trust=\"protected\"} ";
    assert_eq!(value(owner), stored, "{figures}");
    for line in figures.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.rsplit_once(' ').is_some_and(|(_, value)| value.parse::<f64>().is_ok()), "{line}");
    }
}
