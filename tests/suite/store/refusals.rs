//! What is wrong is told, by text and exit code, and nothing is touched.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use super::{House, files_below, flip, newer, ordinary, seen, stdout};
use crate::support::agent::said;
use crate::support::wait_until;

/// Everything in a folder, or that there is none.
fn state(path: &Path) -> Option<Vec<super::Seen>> {
    path.is_dir().then(|| seen(path))
}

#[test]
fn the_destination_must_be_absent_or_empty() {
    let house = House::new();
    let tree = ordinary(&house.path("tree"), 1);
    house.put(&tree, "a");
    let get = |code: i32, dest: &Path| house.ends_with(code, &["get", "a", dest.to_str().unwrap()]);
    let full = house.folder("full");
    fs::write(full.join("mine"), "mine").unwrap();
    let before = seen(&full);
    assert!(said(&get(2, &full)).contains("not empty"));
    assert_eq!(seen(&full), before);
    let file = house.path("file");
    fs::write(&file, "mine").unwrap();
    get(2, &file);
    assert_eq!(fs::read(&file).unwrap(), b"mine");

    get(0, &house.folder("empty"));
    get(0, &house.path("absent"));
    get(0, &house.path("far/below/absent"));
    house.ends_with(0, &["get", "a", "relative"]);
    for name in ["empty", "absent", "far/below/absent", "relative"] {
        assert_eq!(seen(&house.path(name)), seen(&tree), "{name}");
    }
    let here = house.folder("here");
    let output = house.command(&["get", "a", "."]).current_dir(&here).output().unwrap();
    assert_eq!((output.status.code(), seen(&here)), (Some(0), seen(&tree)), "{}", said(&output));
    symlink(house.folder("there"), house.path("linked")).unwrap();
    get(0, &house.path("linked"));
    assert_eq!(seen(&house.path("there")), seen(&tree), "a link to an empty folder stays a link");
    assert!(house.path("linked").is_symlink());
    let odd = house.path("").join(std::ffi::OsStr::from_bytes(b"o\xff"));
    let arguments: [&std::ffi::OsStr; 4] = ["get".as_ref(), "a".as_ref(), odd.as_ref(), "--json".as_ref()];
    let printed: serde_json::Value = serde_json::from_slice(&house.ends_with(0, &arguments).stdout).unwrap();
    assert!(printed["path"].as_str().unwrap().ends_with("o\u{fffd}"));
    assert_eq!(seen(&odd), seen(&tree));
    let link = house.path("link");
    symlink("nowhere", &link).unwrap();
    let refused = house.run(&["get", "a", link.to_str().unwrap()]);
    assert!(!refused.status.success(), "nothing is restored through a link that leads nowhere");
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("nowhere"));
    assert!(!house.path("nowhere").exists());
    assert_no_leftovers(&house);
}

/// No folder in which something was being restored is left.
fn assert_no_leftovers(house: &House) {
    let folders = [house.dir.path().to_owned(), house.path("here"), house.path("there"), house.path("empty")];
    let names =
        folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with(".forgehand-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_cannot_be_kept_hides_nothing_that_was() {
    let house = House::new();
    let tree = ordinary(&house.path("tree"), 1);
    house.put(&tree, "a");
    rustix::fs::mknodat(rustix::fs::CWD, house.path("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    for path in ["pipe", "/dev/null"] {
        let refused = house.ends_with(2, &["put", path, "--name", "a"]);
        assert!(said(&refused).contains("cannot be kept"), "{}", said(&refused));
    }
    assert_eq!(house.got("a"), seen(&tree));
    // The kernel takes arguments of up to 128 KiB; each of these bytes is six in a record.
    let long = format!("k={}", "\u{1}".repeat(100_000));
    let wordy = house
        .ends_with(2, &["put", "tree", "--name", "w", "--metadata", &long, "--metadata", &long.replace("k=", "l=")]);
    assert!(said(&wordy).contains("say less"), "{}", said(&wordy));
    house.ends_with(1, &["get", "w", "w"]);
    house.put(&tree, &"n".repeat(100_000));
    assert!(
        stdout(&house.ends_with(0, &["ls"])).contains("nnnn…"),
        "a name without end does not keep others from being listed"
    );
}

#[test]
fn a_lost_record_keeps_everything_until_somebody_deals_with_it() {
    let house = House::with("[store]\ngrace = \"0s\"\n");
    let one = ordinary(&house.path("one"), 1);
    house.put(&one, "one");
    let records =
        || files_below(&house.store()).into_iter().filter(|path| path.to_string_lossy().contains("/records/"));
    let record = records().next().unwrap();
    flip(&record, 20);
    let old = std::time::SystemTime::now() - Duration::from_secs(30 * 24 * 3600);
    fs::File::open(&record).unwrap().set_modified(old).unwrap();
    for index in files_below(&house.store()) {
        if index.to_string_lossy().contains("index.db") {
            fs::remove_file(index).unwrap();
        }
    }
    let packs = house.packs();
    for _ in 0..2 {
        assert!(said(&house.ends_with(0, &["gc"])).contains("nothing was removed"));
    }
    assert_eq!(house.packs(), packs);
    let told = said(&house.ends_with(1, &["verify"]));
    let aside = told.split('`').find(|word| word.ends_with(".json")).unwrap_or_else(|| panic!("{told}"));
    assert!(Path::new(aside).is_file(), "{told}");
    fs::remove_file(aside).unwrap();
    house.ends_with(0, &["verify"]);
}

#[test]
fn an_index_that_is_wrong_hides_nothing() {
    let house = House::new();
    let tree = ordinary(&house.path("tree"), 1);
    house.put(&tree, "one");
    house.put(&tree, "two");
    let change = |statement: &str| {
        let index = rusqlite::Connection::open(house.store().join("index.db")).unwrap();
        index.execute(statement, []).unwrap();
    };
    change("UPDATE kept SET name = 'other' WHERE name = 'one'");
    assert_eq!(house.got("one"), seen(&tree));
    change("DELETE FROM kept");
    assert_eq!(house.got("two"), seen(&tree));
    // Damage is told under all names.
    let pack = house.packs().remove(0);
    flip(&pack, 3_000);
    let told = said(&house.ends_with(1, &["verify"]));
    for name in ["(one)", "(two)"] {
        assert!(told.contains(name), "{told}");
    }
}

#[test]
fn what_is_unknown_is_told_and_the_destination_stays_as_it_was() {
    let house = House::new();
    let (absent, empty) = (house.path("absent"), house.folder("empty"));
    for what in ["no-such-name", &"0".repeat(64), "00000000", ""] {
        for dest in [&absent, &empty] {
            let before = state(dest);
            let output = house.ends_with(1, &["get", what, dest.to_str().unwrap()]);
            assert!(said(&output).contains("nothing is kept under"), "{}", said(&output));
            assert_eq!(state(dest), before);
        }
    }
    for command in ["info", "pin", "unpin", "verify"] {
        house.ends_with(1, &[command, "no-such-name"]);
    }
    assert_no_leftovers(&house);
}

#[test]
fn damage_is_never_served_and_ends_when_the_same_content_is_put_again() {
    House::open_and_locked().iter().for_each(damage_ends_with_the_next_put);
}

fn damage_ends_with_the_next_put(house: &House) {
    let tree = ordinary(&house.path("tree"), 1);
    house.put(&tree, "a");
    let verified = house.ends_with(0, &["verify"]);
    assert!(said(&verified).contains("all sound"), "{}", said(&verified));
    let [pack] = &house.packs()[..] else { panic!("one pack") };
    // In the middle of what does not compress: some file's content.
    flip(pack, 300_000);
    let (absent, empty) = (house.path("absent"), house.folder("empty"));
    for dest in [&absent, &empty] {
        let before = state(dest);
        let output = house.ends_with(1, &["get", "a", dest.to_str().unwrap()]);
        assert!(said(&output).contains("damaged") || said(&output).contains("missing"), "{}", said(&output));
        assert_eq!(state(dest), before);
    }
    assert_no_leftovers(house);
    for _ in 0..5 {
        house.ends_with(1, &["verify"]);
        house.ends_with(1, &["verify", "a"]);
    }
    assert_ne!(house.json(&["info", "a"])["verification"]["result"], "valid");
    house.put(&tree, "a");
    house.ends_with(0, &["verify"]);
    assert_eq!(house.got("a"), seen(&tree));
    assert_eq!(house.json(&["info", "a"])["verification"]["result"], "valid");
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let house = House::new();
    let tree = ordinary(&house.path("tree"), 1);
    house.put(&tree, "a");
    let format = house.store().join("format");
    let ours = fs::read_to_string(&format).unwrap();
    fs::write(&format, newer(&ours)).unwrap();
    let before = seen(&house.store());
    let dest = house.path("dest");
    let commands: [&[&str]; 10] = [
        &["put", "tree"],
        &["get", "a", dest.to_str().unwrap()],
        &["ls"],
        &["info", "a"],
        &["verify"],
        &["pin", "a"],
        &["unpin", "a"],
        &["rm", "a"],
        &["gc"],
        &["stats"],
    ];
    for command in commands {
        let output = house.ends_with(3, command);
        assert!(said(&output).contains("format 2"), "{}", said(&output));
    }
    assert!(!dest.exists());
    assert_eq!(seen(&house.store()), before);
    fs::write(&format, &ours).unwrap();
    assert_eq!(house.got("a"), seen(&tree));
    // One that is damaged is written again by its copy. Where that is no format either, all is left alone.
    let copy = house.store().join("format.copy");
    for damaged in [&format, &copy] {
        fs::write(damaged, "{\"version\":").unwrap();
        assert_eq!(house.got("a"), seen(&tree));
        assert_eq!([&format, &copy].map(|path| fs::read_to_string(path).unwrap()), [&ours, &ours].map(String::clone));
    }
    fs::write(&copy, newer(&ours)).unwrap();
    fs::write(&format, "{\"version\":").unwrap();
    assert!(said(&house.ends_with(3, &["gc"])).contains("format 2"));
    fs::write(&copy, ours.replacen("\"version\":1", "\"version\":0", 1)).unwrap();
    let before = seen(&house.store());
    for command in [&["ls"][..], &["put", "tree"], &["gc"]] {
        let output = house.ends_with(3, command);
        assert!(said(&output).contains("store/format"), "{}", said(&output));
    }
    assert_eq!(seen(&house.store()), before);
}

#[test]
fn a_store_that_was_cut_by_other_numbers_is_read_and_brought_up_to_ours() {
    let house = House::new();
    let tree = ordinary(&house.path("tree"), 1);
    house.put(&tree, "a");
    let format = house.store().join("format");
    let ours = fs::read_to_string(&format).unwrap();
    // Another mean, no chunker, an older version, and none at all.
    let text: serde_json::Value = serde_json::from_str(ours.lines().next().unwrap()).unwrap();
    let mut other = text.clone();
    other["chunker"]["mean"] = 32_768.into();
    let olds = [Some(other.to_string()), Some("{\"version\":1}".to_owned()), Some("{\"version\":0}".to_owned()), None];
    for old in olds {
        match &old {
            Some(old) => fs::write(&format, old).unwrap(),
            None => fs::remove_file(&format).unwrap(),
        }
        assert_eq!(house.got("a"), seen(&tree), "{old:?}");
        assert_eq!(fs::read_to_string(&format).unwrap(), ours, "{old:?}");
        // What is put from now on meets what was there.
        let again = house.json(&["put", tree.to_str().unwrap(), "--name", "b"]);
        assert_eq!(again["new_bytes"], 0, "{old:?}");
        house.ends_with(0, &["verify"]);
    }
}

#[test]
fn an_encrypted_store_shows_nothing_and_opens_with_its_key_only() {
    let house = House::new();
    let key = house.path("key");
    let configured = format!("[store]\nkey_file = \"{}\"\n", key.display());
    house.configure(&configured);
    fs::write(&key, [7; 32]).unwrap();
    let tree = house.folder("tree");
    let secret = "the words that nobody may read ";
    fs::write(tree.join("file-name-that-nobody-may-read"), secret).unwrap();
    fs::write(tree.join("large"), secret.repeat(50_000)).unwrap();
    fs::write(tree.join("noise"), super::noise(300_000, 1)).unwrap();
    // What is unchanged is remembered once the files are older than a tick of the clock.
    wait_until(Duration::from_secs(30), "the files are remembered", || {
        house.put(&tree, "a");
        files_below(&house.store()).iter().any(|path| path.iter().any(|part| part == "seen")).then_some(())
    });
    let noise = super::noise(300_000, 1);
    for path in files_below(&house.store()) {
        let bytes = fs::read(&path).unwrap();
        for plain in [secret.as_bytes(), b"nobody-may-read", &noise[..64], &noise[200_000..200_064]] {
            let holds = bytes.windows(plain.len()).any(|window| window == plain);
            assert!(!holds, "{} holds {:?}", path.display(), String::from_utf8_lossy(plain));
        }
    }
    assert_eq!(house.got("a"), seen(&tree));
    house.ends_with(0, &["verify"]);

    let dest = house.path("dest");
    let wrong = |text: &str, config: &str| {
        house.configure(config);
        let before = seen(&house.store()).into_iter().filter(|one| one.path.starts_with(b"owners")).collect::<Vec<_>>();
        for command in [&["get", "a", dest.to_str().unwrap()][..], &["verify"], &["put", "tree"], &["gc"]] {
            let output = house.ends_with(3, command);
            assert!(said(&output).contains(text), "{text}: {}", said(&output));
        }
        let after = seen(&house.store()).into_iter().filter(|one| one.path.starts_with(b"owners")).collect::<Vec<_>>();
        assert_eq!(after, before);
        assert!(!dest.exists());
    };
    wrong("store.key_file", "");
    fs::write(&key, [8; 32]).unwrap();
    wrong("not with the key that is set", &configured);
    fs::write(&key, "no key").unwrap();
    wrong("is no key", &configured);
    fs::remove_file(&key).unwrap();
    wrong("cannot be read", &configured);
    fs::write(&key, "07".repeat(32) + "\n").unwrap();
    house.configure(&configured);
    assert_eq!(house.got("a"), seen(&tree), "the same key in digits");
}
