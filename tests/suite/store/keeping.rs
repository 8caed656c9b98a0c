//! How long things stay.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use super::{House, noise, ordinary, seen, stdout};
use crate::support::agent::said;
use crate::support::wait_until;

const LIMIT: Duration = Duration::from_secs(30);
/// Nothing is in grace.
const NO_GRACE: &str = "[store]\ngrace = \"0s\"\n";

/// Keeps a tree of a megabyte for a moment only.
fn put_for_a_moment(house: &House, name: &str, seed: u64) {
    let tree = house.folder(name);
    fs::write(tree.join("file"), noise(1 << 20, seed)).unwrap();
    house.ends_with(0, &["put", tree.to_str().unwrap(), "--name", name, "--expire", "1s"]);
}

/// Waits until a thing may go.
fn wait_expired(house: &House, name: &str) {
    wait_until(LIMIT, "it expires", || {
        let plan = stdout(&house.ends_with(0, &["gc", "--dry-run"]));
        plan.lines().any(|line| !line.starts_with("keep") && line.contains(name)).then_some(())
    });
}

fn names(house: &House) -> Vec<String> {
    let listed = house.json(&["ls"]);
    let mut names: Vec<String> =
        listed.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap_or("-").to_owned()).collect();
    names.sort();
    names
}

#[test]
fn what_has_expired_goes_with_its_bytes_and_a_dry_run_only_says_so() {
    let house = House::with(NO_GRACE);
    put_for_a_moment(&house, "short", 1);
    let tree = ordinary(&house.path("tree"), 2);
    house.put(&tree, "young");
    house.ends_with(0, &["put", tree.to_str().unwrap(), "--name", "held", "--expire", "30 days"]);
    wait_expired(&house, "short");
    let (before, packs) = (names(&house), house.packs());
    let plan = stdout(&house.ends_with(0, &["gc", "--dry-run"]));
    assert_eq!(plan.lines().count(), 3, "every decision is explained: {plan}");
    assert_eq!((names(&house), house.packs()), (before, packs));
    let used = || house.json(&["stats"])["total_bytes"].as_u64().unwrap();
    let full = used();
    let collected = house.json(&["gc"]);
    assert_eq!((&collected["deleted"], &collected["dry_run"]), (&1.into(), &false.into()));
    assert_eq!(names(&house), ["held", "young"]);
    assert!(used() + (1 << 20) <= full, "{full} bytes became {}", used());
    house.ends_with(1, &["get", "short", "dest"]);
    assert_eq!(house.got("held"), seen(&tree));
    house.ends_with(0, &["verify"]);
}

#[test]
fn what_is_pinned_stays_until_it_is_unpinned() {
    let house = House::with(NO_GRACE);
    put_for_a_moment(&house, "pinned", 1);
    put_for_a_moment(&house, "loose", 2);
    house.ends_with(0, &["pin", "pinned"]);
    house.ends_with(0, &["pin", "pinned"]);
    assert!(house.json(&["info", "pinned"])["reference_count"].as_u64().unwrap() >= 1);
    wait_expired(&house, "loose");
    house.ends_with(0, &["gc"]);
    assert_eq!(names(&house), ["pinned"]);
    assert_eq!(house.got("pinned"), seen(&house.path("pinned")));
    house.ends_with(0, &["unpin", "pinned"]);
    let again = house.ends_with(0, &["unpin", "pinned"]);
    assert!(said(&again).contains("was not pinned"), "{}", said(&again));
    wait_expired(&house, "pinned");
    house.ends_with(0, &["gc"]);
    assert_eq!((names(&house), house.packs().len()), (Vec::<String>::new(), 0));
}

#[test]
fn what_was_kept_for_ever_can_be_let_go() {
    let house = House::with(NO_GRACE);
    let tree = super::ordinary(&house.path("tree"), 1);
    house.ends_with(0, &["put", tree.to_str().unwrap(), "--name", "endless", "--expire", "never"]);
    assert!(!said(&house.ends_with(0, &["unpin", "endless"])).contains("not pinned"));
    assert!(said(&house.ends_with(0, &["unpin", "endless"])).contains("not pinned"));
    assert_eq!(house.json(&["info", "endless"])["kept_for_ever"], false);
    assert_eq!(house.got("endless"), seen(&tree));
}

#[test]
fn what_was_used_a_moment_ago_is_in_grace_whatever_else_holds() {
    let house = House::new();
    put_for_a_moment(&house, "used", 1);
    let expires: jiff::Timestamp = house.json(&["info", "used"])["expires_at"].as_str().unwrap().parse().unwrap();
    wait_until(LIMIT, "it expires", || (jiff::Timestamp::now() > expires).then_some(()));
    let plan = stdout(&house.ends_with(0, &["gc", "--dry-run"]));
    assert!(plan.starts_with("keep") && plan.contains("grace"), "{plan}");
    house.ends_with(0, &["gc"]);
    assert_eq!(names(&house), ["used"]);
}

#[test]
fn what_was_put_last_under_a_name_is_what_the_name_means() {
    let house = House::new();
    let (a, b) = (ordinary(&house.path("a"), 1), ordinary(&house.path("b"), 2));
    let first = house.put(&a, "x");
    house.put(&b, "x");
    assert_eq!(house.got("x"), seen(&b));
    assert_eq!(house.put(&a, "x"), first);
    assert_eq!(house.got("x"), seen(&a));
    assert_eq!(house.json(&["ls"])[0]["content_hash"], first.as_str());
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(house.store().join(format!("index.db{suffix}")));
    }
    assert_eq!(house.got("x"), seen(&a));
}

#[test]
fn what_is_removed_by_hand_is_gone_unless_somebody_needs_it() {
    let house = House::with(NO_GRACE);
    let (first, second) = (ordinary(&house.path("first"), 1), ordinary(&house.path("second"), 2));
    house.put(&first, "leak");
    house.put(&second, "leak");
    let id = house.put(&second, "other");
    house.ends_with(0, &["pin", "other"]);
    let refused = house.ends_with(1, &["rm", "leak"]);
    assert!(said(&refused).contains("unpin"), "{}", said(&refused));
    assert_eq!(names(&house), ["leak", "leak", "other"], "all or nothing of a name");
    house.ends_with(0, &["unpin", "other"]);
    house.ends_with(0, &["rm", "leak"]);
    assert_eq!(names(&house), ["other"], "older ones of the name, too");
    house.ends_with(1, &["get", "leak", "dest"]);
    assert_eq!(house.got("other"), seen(&second), "what somebody else needs of it stays");
    let full = house.json(&["stats"])["total_bytes"].as_u64().unwrap();
    house.ends_with(0, &["rm", &id]);
    house.ends_with(1, &["rm", "other"]);
    house.ends_with(0, &["gc"]);
    let left = house.json(&["stats"])["total_bytes"].as_u64().unwrap();
    assert_eq!((names(&house).len(), left), (0, 0), "of {full} bytes");
    house.ends_with(0, &["verify"]);
}

#[test]
fn an_unchanged_folder_is_whole_when_it_is_kept_again_after_a_collection() {
    let house = House::with(NO_GRACE);
    let (tree, other) = (house.folder("tree"), house.folder("other"));
    let path = tree.to_str().unwrap();
    let mut content = noise(6 << 20, 1);
    fs::write(tree.join("x"), &content).unwrap();
    house.ends_with(0, &["put", path, "--name", "first", "--expire", "1s"]);
    content[0] ^= 1;
    fs::write(tree.join("x"), &content).unwrap();
    let large = noise(16 << 20, 2);
    fs::write(tree.join("y"), &large).unwrap();
    fs::write(other.join("y"), &large).unwrap();
    // Until the files are old enough to prove that they are unchanged: what was seen of them is written then.
    let seen_files = || {
        let files = super::files_below(&house.store());
        let of_tree = files.into_iter().filter(|path| path.components().any(|part| part.as_os_str() == "seen"));
        of_tree.map(|path| fs::read(path).unwrap()).collect::<Vec<_>>()
    };
    let before = seen_files();
    wait_until(LIMIT, "the files are known", || {
        house.ends_with(0, &["put", path, "--name", "second", "--expire", "1s"]);
        (seen_files() != before).then_some(())
    });
    house.put(&other, "kept");
    wait_expired(&house, "first");
    wait_expired(&house, "second");
    house.ends_with(0, &["gc"]);
    assert_eq!(names(&house), ["kept"]);
    let id = house.put(&tree, "again");
    assert_eq!(house.got(&id), seen(&tree));
    house.ends_with(0, &["verify"]);
}

#[test]
fn a_slow_look_at_everything_keeps_nobody_waiting() {
    let house = House::with(NO_GRACE);
    put_for_a_moment(&house, "short", 1);
    let tree = house.folder("tree");
    fs::write(tree.join("file"), noise(4 << 20, 2)).unwrap();
    house.put(&tree, "tree");
    wait_expired(&house, "short");
    let mut looking = house.command(&["verify", "--rate", "1KiB"]);
    let mut looking = looking.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let files = format!("/proc/{}/fd", looking.id());
    wait_until(LIMIT, "it reads a pack", || {
        let links = fs::read_dir(&files).unwrap().filter_map(|file| fs::read_link(file.unwrap().path()).ok());
        links.into_iter().any(|link| link.to_string_lossy().contains("/packs/")).then_some(())
    });
    let collected = house.run(&["gc", "--json"]);
    let kept = house.run(&["put", tree.to_str().unwrap(), "--name", "other"]);
    let is_over = looking.try_wait().unwrap().is_some();
    looking.kill().unwrap();
    looking.wait().unwrap();
    assert!(!is_over, "it is too fast to be in anybody's way");
    assert!(collected.status.success() && kept.status.success(), "{}{}", said(&collected), said(&kept));
    assert_eq!(names(&house), ["other", "tree"]);
    house.ends_with(0, &["verify"]);
}

#[test]
fn more_packs_than_files_may_be_open_are_no_damage() {
    const PACKS: usize = 120;
    let house = House::new();
    let tree = house.folder("tree");
    let one = house.folder("one");
    for number in 0..PACKS {
        let content = noise(2000, number as u64);
        fs::write(one.join("file"), &content).unwrap();
        fs::write(tree.join(number.to_string()), content).unwrap();
        house.put(&one, &format!("one-{number}"));
    }
    house.put(&tree, "tree");
    assert!(house.packs().len() > PACKS);
    let limited = |arguments: &[&str]| {
        let inner = house.command(arguments);
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "ulimit -n 80 && exec \"$0\" \"$@\""]).arg(inner.get_program()).args(inner.get_args());
        command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = command.current_dir(house.dir.path()).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    };
    let before = house.packs();
    limited(&["verify"]);
    assert_eq!(house.packs(), before);
    limited(&["get", "tree", "dest"]);
    assert_eq!(seen(&house.path("dest")), seen(&tree));
    limited(&["gc"]);
    house.ends_with(0, &["verify"]);
    assert_eq!(house.got("tree"), seen(&tree));
}
