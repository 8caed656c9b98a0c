//! A bit of any kind of file is another one: that is told, or of no consequence; nobody gets another content, and nothing goes that is to stay.

use std::fs;
use std::path::{Path, PathBuf};

use super::aged::{DAY, age};
use super::{House, files_below, flip, noise, ordinary, seen};
use crate::support::agent::said;

#[test]
fn a_flipped_bit_in_any_file_is_noticed_or_does_no_harm() {
    a_bit_is_flipped(&House::with("[store]\ngrace = \"0s\"\n"));
}

#[test]
fn a_flipped_bit_in_any_file_of_an_encrypted_store_is_noticed_or_does_no_harm() {
    a_bit_is_flipped(&House::locked_with("grace = \"0s\"\n"));
}

/// Two packs, one with whole files and one with files that are cut; old things of which one is pinned and the other kept by its date;
/// what a collection leaves.
fn furnish(house: &House) {
    let (a, b) = (ordinary(&house.path("a"), 1), house.folder("b"));
    fs::write(b.join("cut"), noise(150_000, 2)).unwrap();
    fs::write(b.join("whole"), noise(3000, 3)).unwrap();
    house.put(&a, "a");
    house.ends_with(0, &["put", b.to_str().unwrap(), "--name", "b", "--expire", "60 days"]);
    age(house, &[("a", (40 * DAY, 40 * DAY)), ("b", (40 * DAY, 40 * DAY))]);
    house.ends_with(0, &["pin", "a"]);
    house.ends_with(0, &["gc"]);
}

/// The files, from the store's folder on.
fn files_of(store: &Path) -> Vec<PathBuf> {
    let files: Vec<_> = files_below(store).iter().map(|path| path.strip_prefix(store).unwrap().to_owned()).collect();
    let count = |part: &str| files.iter().filter(|path| path.to_string_lossy().contains(part)).count();
    for (part, least) in [
        ("format", 1),
        ("time", 1),
        ("index.db", 1),
        ("audit/", 1),
        ("owner.json", 1),
        ("/packs/", 2),
        ("/records/", 3),
    ] {
        assert!(count(part) >= least, "{part}: {files:?}");
    }
    files
}

/// Places of a file. Of one that is text, all of which has a checksum or is read as a whole, fewer are enough.
fn places(file: &Path, length: usize) -> Vec<usize> {
    let is_text = file.extension().is_some_and(|end| end == "json" || end == "jsonl");
    let places: &[usize] =
        if is_text { &[9, 40, length / 2] } else { &[0, 9, 40, length / 2, length.saturating_sub(60)] };
    let last = length.checked_sub(1);
    places.iter().copied().filter(|at| *at < length).chain(last).collect()
}

fn a_bit_is_flipped(house: &House) {
    furnish(house);
    let trees = ["a", "b"].map(|name| (name, seen(&house.path(name))));
    let master = house.path("master");
    copy(&house.store(), &master);
    for file in files_of(&master) {
        let length = fs::metadata(master.join(&file)).unwrap().len() as usize;
        for (turn, at) in places(&file, length).into_iter().enumerate() {
            fs::remove_dir_all(house.store()).unwrap();
            copy(&master, &house.store());
            flip(&house.store().join(&file), at);
            let dest = house.path("dest");
            let (name, expected) = &trees[turn % 2];
            let output = house.run(&["get", name, dest.to_str().unwrap()]);
            let what = format!("{} at {at} of {length}, {name}: {}", file.display(), said(&output));
            match output.status.code() {
                Some(0) => assert_eq!(&seen(&dest), expected, "{what}"),
                Some(1 | 3) => assert!(!dest.exists() && !said(&output).is_empty(), "{what}"),
                _ => panic!("{what}"),
            }
            let _ = fs::remove_dir_all(&dest);
            // What is pinned stays, and so does what has a date, by all that a flipped bit makes a collection believe.
            let collected = house.run(&["gc"]);
            assert!(matches!(collected.status.code(), Some(0 | 1 | 3)), "{what}{}", said(&collected));
            assert!(
                !collected.status.success() || said(&collected).contains("removed 0 of "),
                "{what}{}",
                said(&collected)
            );
            let verified = house.run(&["verify"]);
            assert!(matches!(verified.status.code(), Some(0 | 1 | 3)), "{what}{}", said(&verified));
            // The truth is told: what is sound by its own account can be had.
            let (other, expected) = &trees[(turn + 1) % 2];
            if verified.status.success() {
                assert_eq!(&house.got(other), expected, "{what}, {other}");
                let listed = house.json(&["ls"]);
                assert_eq!(listed.as_array().unwrap().len(), 2, "{what}{listed}");
            }
            // Whatever was lost, the store goes on, and what is put again is whole.
            let again = house.run(&["put", house.path(other).to_str().unwrap(), "--name", other]);
            assert!(again.status.success(), "{what}{}", said(&again));
            assert_eq!(&house.got(other), expected, "{what}, {other} again");
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}
