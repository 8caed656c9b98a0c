//! Trees of every kind, in and out again.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};

use rustix::fs::{AtFlags, CWD, Mode, Timespec, Timestamps};

use super::{House, noise, ordinary, seen};
use crate::support::agent::said;

#[test]
fn what_is_put_comes_out_as_it_was_by_name_id_and_beginning_of_the_id() {
    for house in House::open_and_locked() {
        let tree = ordinary(&house.path("tree"), 1);
        let id = house.put(&tree, "app-1.2.0");
        for what in ["app-1.2.0", &id, &id[..8], &id[..20].to_ascii_uppercase()] {
            assert_eq!(house.got(what), seen(&tree), "{what}");
        }
        let info = house.json(&["info", "app-1.2.0"]);
        assert_eq!((&info["content_hash"], &info["name"]), (&id.as_str().into(), &"app-1.2.0".into()));
        assert_eq!(info["size"], 64 * 1024 * 2 + 2 + 700_000 + 3000 + 31 * 5000);
        assert_eq!(house.json(&["ls"]).as_array().unwrap().len(), 1);
    }
}

#[test]
fn names_of_any_bytes_come_back() {
    for house in House::open_and_locked() {
        let tree = house.folder("tree");
        let long = [b'x'; 255];
        let names: [&[u8]; 14] = [
            b"\xff\xfe\x80",
            b"new\nline",
            b"-rf",
            b" ",
            b"trailing ",
            b"...",
            b"a\\b",
            b"*?[]{}",
            b"\x01\x1b[31m",
            b"e\xcc\x81",
            b"\xc3\xa9",
            b".hidden",
            b"CON",
            &long,
        ];
        for name in names {
            fs::write(tree.join(OsStr::from_bytes(name)), name).unwrap();
            let folder = tree.join("folders").join(OsStr::from_bytes(name));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(OsStr::from_bytes(name)), "x").unwrap();
        }
        house.put(&tree, "names");
        assert_eq!(house.got("names"), seen(&tree));
    }
}

#[test]
fn paths_as_long_as_the_system_takes_come_back_and_longer_ones_are_told_of() {
    let house = House::new();
    let tree = house.folder("tree");
    let mut dir = cap_std::fs::Dir::open_ambient_dir(&tree, cap_std::ambient_authority()).unwrap();
    // 20 folders of 200 bytes and a separator: 4020 bytes.
    for _ in 0..20 {
        let name = "d".repeat(200);
        dir.create_dir(&name).unwrap();
        dir = dir.open_dir(&name).unwrap();
    }
    dir.write("f".repeat(75), "4095 bytes").unwrap();
    house.put(&tree, "deep");
    let got = house.got("deep");
    assert_eq!(got.iter().map(|one| one.path.len()).max(), Some(4095));
    assert_eq!(got, seen(&tree));

    dir.write("g".repeat(76), "4096 bytes").unwrap();
    let output = house.ends_with(0, &["put", tree.to_str().unwrap(), "--name", "deeper"]);
    assert!(said(&output).contains("warning: ") && said(&output).contains("too long"), "{}", said(&output));
    assert_eq!(house.got("deeper").iter().map(|one| one.path.len()).max(), Some(4095));
}

#[test]
fn modes_times_symlinks_and_empty_folders_come_back() {
    for house in House::open_and_locked() {
        let tree = house.folder("tree");
        for mode in [0o000, 0o400, 0o644, 0o755, 0o777, 0o4755, 0o2755] {
            let path = tree.join(format!("{mode:o}"));
            fs::write(&path, format!("{mode:o}")).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        }
        for mode in [0o500, 0o700, 0o1777] {
            let path = house.folder(&format!("tree/folders/{mode:o}"));
            fs::write(path.join("inside"), "x").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        }
        house.folder("tree/empty/empty");
        for (name, target) in [
            ("to-file", "644"),
            ("to-folder", "folders"),
            ("broken", "no such thing"),
            ("out", "/etc/passwd"),
            ("up", "../../.."),
        ] {
            symlink(target, tree.join(name)).unwrap();
        }
        symlink(OsStr::from_bytes(b"\xff\n"), tree.join("bytes")).unwrap();
        for (name, seconds, nanos) in [
            ("400", 0, 1),
            ("644", -1_000_000_000, 999_999_999),
            ("755", 4_000_000_000, 0),
            ("to-file", 86_400, 5),
            ("empty", 1, 2),
        ] {
            let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
            let times = Timestamps { last_access: time, last_modification: time };
            rustix::fs::utimensat(CWD, tree.join(name), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
        house.put(&tree, "modes");
        assert_eq!(house.got("modes"), seen(&tree));
        // Nobody becomes somebody else by restoring.
        let dest = house.path("dest");
        house.ends_with(0, &["get", "modes", dest.to_str().unwrap()]);
        assert_eq!(fs::metadata(dest.join("4755")).unwrap().mode() & 0o7777, 0o755);
    }
}

#[test]
fn sparse_files_come_back_and_take_no_more_room() {
    for house in House::open_and_locked() {
        let tree = house.folder("tree");
        let file = File::create(tree.join("sparse")).unwrap();
        file.write_all_at(&noise(100_000, 1), 64 << 20).unwrap();
        file.set_len(256 << 20).unwrap();
        drop(file);
        house.put(&tree, "sparse");
        let dest = house.path("dest");
        house.ends_with(0, &["get", "sparse", dest.to_str().unwrap()]);
        assert_eq!(seen(&dest), seen(&tree));
        let took = fs::metadata(dest.join("sparse")).unwrap().blocks() * 512;
        assert!(took < 4 << 20, "{took} bytes on disk");
        let stored: u64 = house.packs().iter().map(|pack| fs::metadata(pack).unwrap().len()).sum();
        assert!(stored < 1 << 20, "{stored} bytes stored");
    }
}

#[test]
fn hard_links_become_files_and_pipes_are_told_of() {
    for house in House::open_and_locked() {
        let tree = house.folder("tree");
        fs::write(tree.join("one"), noise(500_000, 1)).unwrap();
        fs::hard_link(tree.join("one"), tree.join("two")).unwrap();
        let linked = seen(&tree);
        rustix::fs::mknodat(CWD, tree.join("pipe"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        drop(std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap());
        let output = house.ends_with(0, &["put", tree.to_str().unwrap(), "--name", "links"]);
        let text = said(&output);
        assert!(
            ["pipe", "socket"]
                .iter()
                .all(|name| text.lines().any(|line| line.starts_with("warning: ") && line.contains(name))),
            "{text}"
        );
        assert_eq!(house.got("links"), linked);
        let dest = house.path("dest");
        house.ends_with(0, &["get", "links", dest.to_str().unwrap()]);
        assert_eq!(fs::metadata(dest.join("one")).unwrap().nlink(), 1, "a job must not change one through the other");
        let stored: u64 = house.packs().iter().map(|pack| fs::metadata(pack).unwrap().len()).sum();
        assert!(stored < 600_000, "the same content is kept once, not in {stored} bytes");
    }
}

#[test]
fn what_may_not_be_read_is_told_of() {
    let house = House::new();
    let tree = house.folder("tree");
    for name in ["locked", "listed"] {
        fs::create_dir(tree.join(name)).unwrap();
        fs::write(tree.join(name).join("inside"), "x").unwrap();
    }
    fs::write(tree.join("file"), "x").unwrap();
    let forbid = |locked: u32, listed: u32| {
        for (name, mode) in [("locked", locked), ("listed", listed)] {
            fs::set_permissions(tree.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    forbid(0, 0o444);
    // Root may read everything, unless it has not the capability.
    let program = house.command(&["put", ".", "--name", "some"]);
    let mut command = std::process::Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        command.args(["--bounding-set", "-dac_override,-dac_read_search"]);
    }
    command.arg(program.get_program()).args(program.get_args()).current_dir(&tree);
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().unwrap();
    forbid(0o755, 0o755);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for name in ["locked", "listed"] {
        assert!(text.lines().any(|line| line.starts_with("warning: ") && line.contains(name)), "{name}: {text}");
    }
    let paths: Vec<_> = house.got("some").into_iter().map(|one| String::from_utf8(one.path).unwrap()).collect();
    assert_eq!(paths, ["file", "listed", "locked"]);
}

#[test]
fn single_files_and_several_paths_keep_their_names() {
    let house = House::new();
    let tree = ordinary(&house.path("tree"), 1);
    let path = |name: &str| tree.join(name).to_str().unwrap().to_owned();
    house.ends_with(0, &["put", &path("whole"), "--name", "file"]);
    let names =
        |what: &str| house.got(what).into_iter().map(|one| String::from_utf8(one.path).unwrap()).collect::<Vec<_>>();
    assert_eq!(names("file"), ["whole"]);
    house.ends_with(0, &["put", &path("one"), &path("src"), "--name", "both"]);
    assert_eq!(names("both"), ["one", "src", "src/deep", "src/deep/x", "src/large", "src/text"]);
    house.ends_with(2, &["put", &path("one"), &path("src/text")]);
    house.ends_with(2, &["put", &path("absent")]);
}

#[test]
fn what_is_put_again_costs_nothing_and_a_changed_byte_costs_a_chunk() {
    for house in House::open_and_locked() {
        let tree = house.folder("tree");
        fs::write(tree.join("file"), noise(8 << 20, 1)).unwrap();
        let put = || house.json(&["put", tree.to_str().unwrap(), "--name", "a"]);
        let first = put();
        assert!(first["new_bytes"].as_u64().unwrap() >= 8 << 20);
        let packs = house.packs();
        let again = put();
        assert_eq!(
            (&again["id"], &again["new_bytes"], &again["is_up_to_date"]),
            (&first["id"], &0.into(), &true.into())
        );
        assert_eq!(house.packs(), packs);
        let file = File::options().write(true).open(tree.join("file")).unwrap();
        file.write_all_at(b"x", 4 << 20).unwrap();
        let third = put();
        assert_ne!(third["id"], first["id"]);
        // A chunk has 256 KiB at most; the byte may lie where two meet. Lists and manifests are small.
        assert!(third["new_bytes"].as_u64().unwrap() < 600_000, "{third}");
        assert_eq!(house.got("a"), seen(&tree));
        assert_eq!(house.got(first["id"].as_str().unwrap()).len(), 1, "what it was is still there");
    }
}
