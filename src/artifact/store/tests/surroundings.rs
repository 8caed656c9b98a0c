//! What the machine does to a store, and jobs to the trees that are put: full disks, lost permissions, several at work, files of every kind
//! and name, and files that change.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::process::Command;

use super::*;
use crate::artifact::retention::{Cycle, Policies};

/// A file system of its own, in memory.
struct Mount {
    folder: tempfile::TempDir,
}

impl Mount {
    /// `None`, with the reason in the output: only root may mount.
    fn new(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mount = Self { folder };
        let arguments = ["-t", "tmpfs", "-o", options, "tmpfs"];
        if !Command::new("mount").args(arguments).arg(mount.folder.path()).status().is_ok_and(|done| done.success()) {
            eprintln!("skipped: this test has to mount a file system, and may not");
            return None;
        }
        Some(mount)
    }

    fn bench(&self) -> Bench {
        let seconds = Arc::new(AtomicI64::new(jiff::Timestamp::now().as_second()));
        let limits = Limits { reserve_bytes: 0, ..Limits::default() };
        let store = open(&self.folder.path().join("store"), limits, None, &seconds).unwrap();
        // Trees lie elsewhere.
        Bench { temp: tempfile::tempdir().unwrap(), seconds, store }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}

#[test]
fn a_disk_that_is_full_at_any_byte_loses_nothing() {
    let Some(mount) = Mount::new("size=4m") else { return };
    let bench = mount.bench();
    let (old, new) = (bench.folder("old"), bench.folder("new"));
    fs::write(old.join("f"), noise(200 << 10, 1)).unwrap();
    let kept = bench.put(&member(), "name", &old).put.id;
    for n in 0..60_u64 {
        fs::write(new.join(format!("{n}")), noise(9 << 10, n + 2)).unwrap();
    }
    let filler = mount.folder.path().join("filler");
    let (mut refused, mut done) = (0, 0);
    // From a disk that is as good as full to one that is large enough.
    for free in (0..240).map(|pages| pages * 4096) {
        let space = rustix::fs::statvfs(mount.folder.path()).unwrap();
        let all = (space.f_bavail * space.f_frsize) as usize;
        fs::write(&filler, vec![1; all.saturating_sub(free)]).unwrap();
        let put = bench.try_put(&member(), "name", &new);
        let out = tempfile::tempdir().unwrap();
        match put {
            Ok(kept) => {
                done += 1;
                bench.get(&member(), &kept.put.id, out.path()).unwrap();
                assert!(state(out.path()) == state(&new), "{free} bytes");
            }
            Err(error) => {
                refused += 1;
                use crate::pipeline::FailureCategory;
                assert_eq!(error.category(), FailureCategory::Resource, "{free} bytes: {error:?}");
                bench.get(&member(), &kept, out.path()).unwrap_or_else(|error| panic!("{free} bytes: {error:?}"));
                assert!(state(out.path()) == state(&old), "{free} bytes");
            }
        }
        fs::remove_file(&filler).unwrap();
        if done == 3 {
            break;
        }
    }
    assert!(refused > 50 && done == 3, "{refused} {done}");
    assert!(bench.store.verify(&Verifying::default(), &Progress::default()).unwrap().is_sound());
    assert_eq!(fs::read_dir(mount.folder.path().join("store/sessions")).unwrap().count(), 0);
}

#[test]
fn a_disk_without_a_free_byte_is_cleaned_up_all_the_same() {
    let Some(mount) = Mount::new("size=24m") else { return };
    let mut bench = mount.bench();
    let tree = bench.folder("tree");
    fs::write(tree.join("f"), noise(6 << 20, 1)).unwrap();
    bench.put(&member(), "name", &tree);
    fs::write(tree.join("f"), noise(1 << 20, 2)).unwrap();
    let wanted = bench.put(&member(), "other", &tree).put.id;
    bench.store.pin(&member(), wanted).unwrap();
    let space = rustix::fs::statvfs(mount.folder.path()).unwrap();
    fs::write(mount.folder.path().join("filler"), vec![1; (space.f_bavail * space.f_frsize) as usize]).unwrap();
    bench.pass(25 * 3600);
    bench.store = open(&mount.folder.path().join("store"), bench.store.limits, None, &bench.seconds).unwrap();
    assert!(matches!(
        bench.try_put(&member(), "more", &tree),
        Err(StoreError::Refused(_) | StoreError::NoSpace { .. })
    ));

    let collected = bench.store.collect(&Collection {
        policies: &Policies::default(),
        cycle: Cycle::default(),
        is_dry_run: false,
        elapsed: None,
        interrupt: Interrupt::default(),
    });
    let collected = collected.unwrap().unwrap();
    assert_eq!(collected.deleted, 1, "{:#?}", collected.plan);
    assert!(collected.freed > 5 << 20, "{}", collected.freed);
    fs::write(tree.join("f"), noise(1 << 20, 3)).unwrap();
    bench.put(&member(), "more", &tree);
    assert!(mount.folder.path().join("store/ballast").exists(), "there is room again to put by");
}

/// Does something as a user who owns nothing. Only root can; anybody else is one already.
fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: this test has to become another user, and may not");
        return None;
    }
    let nobody = rustix::thread::Uid::from_raw(65534);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // Of this thread, and of those it starts.
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            work()
        });
        Some(thread.join().unwrap())
    })
}

#[test]
fn where_nothing_may_be_written_nothing_is_taken_and_all_is_given() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::in_memory();
    let (old, new, out) = (bench.folder("old"), bench.folder("new"), bench.folder("out"));
    mixed(&old);
    fs::write(new.join("f"), noise(200 << 10, 2)).unwrap();
    let kept = bench.put(&member(), "old", &old).put.id;
    fs::set_permissions(bench.temp.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&out, fs::Permissions::from_mode(0o777)).unwrap();
    let Some(put) = as_nobody(|| bench.try_put(&member(), "new", &new)) else { return };
    let denied = std::io::ErrorKind::PermissionDenied;
    assert!(matches!(&put, Err(StoreError::File { source, .. }) if source.kind() == denied), "{put:?}");
    as_nobody(|| bench.get(&member(), &kept, &out)).unwrap().unwrap();
    assert_eq!(state(&out), state(&old));

    // Nor can be read what may not be.
    let packs = bench.store.home(&member()).packs();
    fs::set_permissions(&packs, fs::Permissions::from_mode(0o700)).unwrap();
    let again = bench.folder("again");
    fs::set_permissions(&again, fs::Permissions::from_mode(0o777)).unwrap();
    let got = as_nobody(|| bench.get(&member(), &kept, &again)).unwrap();
    assert!(matches!(&got, Err(StoreError::File { source, .. }) if source.kind() == denied), "{got:?}");
    assert_eq!(fs::read_dir(&again).unwrap().count(), 0);

    // Given back, all is as before.
    fs::set_permissions(&packs, fs::Permissions::from_mode(0o755)).unwrap();
    bench.put(&member(), "new", &new);
    assert!(bench.store.verify(&Verifying::default(), &Progress::default()).unwrap().is_sound());
}

#[test]
fn collectors_writers_and_menders_at_once_lose_nothing() {
    let bench = Bench::in_memory();
    let kept = bench.folder("kept");
    fs::write(kept.join("f"), noise(300 << 10, 1)).unwrap();
    let id = bench.put(&member(), "kept", &kept).put.id;
    let trees: Vec<PathBuf> = (0..3).map(|n| bench.folder(&format!("tree{n}"))).collect();
    let others: Vec<Store> =
        (0..3).map(|_| open(&bench.root(), bench.store.limits, None, &bench.seconds).unwrap()).collect();
    let begun = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for (n, tree) in trees.iter().enumerate() {
            let (bench, begun) = (&bench, &begun);
            scope.spawn(move || {
                for round in 0..12 {
                    // Some of it is common to all, so that packs are shared, copied and dropped.
                    for part in 0..4 {
                        fs::write(tree.join(format!("{part}")), noise(20 << 10, (part * 100 + round % 3) as u64))
                            .unwrap();
                    }
                    fs::write(tree.join("own"), noise(5000, (1000 + n * 100 + round) as u64)).unwrap();
                    let kept = bench.put(&member(), &format!("name{n}"), tree);
                    let out = tempfile::tempdir().unwrap();
                    bench.get(&member(), &kept.put.id, out.path()).unwrap();
                    assert!(state(out.path()) == state(tree));
                    begun.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for store in &others[..2] {
            let begun = &begun;
            scope.spawn(move || {
                while begun.load(Ordering::Relaxed) < 36 {
                    // As good as a collection that finds much to be removed: everything that nobody holds by name.
                    let _ = store.make_room(&member(), 1, &Interrupt::default()).unwrap();
                    std::thread::yield_now();
                }
            });
        }
        scope.spawn(|| {
            while begun.load(Ordering::Relaxed) < 36 {
                let verified = others[2].verify(&Verifying::default(), &Progress::default()).unwrap();
                assert!(verified.is_sound(), "{verified:?}");
            }
        });
    });
    let out = bench.folder("out");
    bench.get(&member(), &id, &out).unwrap();
    assert_eq!(state(&out), state(&kept));
    for found in bench.store.list(None).unwrap() {
        let out = tempfile::tempdir().unwrap();
        bench.get(&member(), &found.info.content_hash, out.path()).unwrap();
    }
    assert!(bench.store.verify(&Verifying::default(), &Progress::default()).unwrap().is_sound());
}

#[test]
fn files_that_change_while_they_are_read_are_one_tree_all_the_same() {
    let bench = Bench::in_memory();
    let tree = bench.folder("tree");
    let sizes = [1000_usize, 70 << 10, 3 << 20];
    for (n, size) in sizes.iter().enumerate() {
        fs::write(tree.join(format!("{n}")), noise(*size, n as u64 + 1)).unwrap();
    }
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0_u64.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                for (n, size) in sizes.iter().enumerate() {
                    let path = tree.join(format!("{n}"));
                    let file = fs::File::options().write(true).create(true).truncate(false).open(&path).unwrap();
                    file.write_all_at(&noise(500, round), round * 997 % *size as u64).unwrap();
                    match round % 7 {
                        0 => file.set_len(*size as u64 / 2).unwrap(),
                        3 => file.set_len(*size as u64 + 5000).unwrap(),
                        5 => fs::remove_file(&path).unwrap(),
                        _ => {}
                    }
                }
            }
        });
        let mut told = 0;
        for round in 0..30 {
            let kept = bench.put(&member(), &format!("{round}"), &tree);
            told += kept.put.remarks.len();
            let out = tempfile::tempdir().unwrap();
            let got = bench.get(&member(), &kept.put.id, out.path()).unwrap();
            assert_eq!((got.entries, got.bytes), (kept.put.entries, kept.put.bytes));
            // What came out is what is called by this id.
            let again = bench.put(&member(), "again", out.path());
            assert_eq!(again.put.id, kept.put.id);
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(told > 0, "nobody was told");
    });
    assert!(bench.store.verify(&Verifying::default(), &Progress::default()).unwrap().is_sound());
}

#[test]
fn what_is_no_file_is_left_out_and_told() {
    let bench = Bench::in_memory();
    let tree = bench.folder("tree");
    rustix::fs::mknodat(rustix::fs::CWD, tree.join("fifo"), rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    fs::write(tree.join("file"), "x").unwrap();
    let kept = bench.put(&member(), "a", &tree);
    let told: Vec<&str> = kept.put.remarks.iter().map(|remark| remark.text.as_str()).collect();
    assert!(told.len() == 2 && told.iter().any(|text| text.starts_with("fifo: left out")), "{told:?}");
    let out = bench.folder("out");
    assert_eq!(bench.get(&member(), &kept.put.id, &out).unwrap().entries, 1);
}

#[test]
fn hard_links_come_out_as_files_of_their_own() {
    let bench = Bench::in_memory();
    let tree = bench.folder("tree");
    fs::write(tree.join("one"), noise(100 << 10, 1)).unwrap();
    fs::hard_link(tree.join("one"), tree.join("other")).unwrap();
    let kept = bench.put(&member(), "a", &tree);
    assert!(kept.put.new_bytes < 110 << 10, "the content is kept once");
    let out = bench.folder("out");
    bench.get(&member(), &kept.put.id, &out).unwrap();
    assert_eq!(state(&out), state(&tree));
    // Whoever changes one in a job changes no other.
    assert_eq!(fs::metadata(out.join("one")).unwrap().nlink(), 1);
}

#[test]
fn a_sparse_file_stays_small() {
    let bench = Bench::in_memory();
    let tree = bench.folder("tree");
    let file = fs::File::create(tree.join("sparse")).unwrap();
    file.set_len(1 << 30).unwrap();
    file.write_all_at(b"in the middle", 500 << 20).unwrap();
    let kept = bench.put(&member(), "a", &tree);
    assert!(kept.put.new_bytes < 1 << 20, "{} new bytes", kept.put.new_bytes);
    let out = bench.folder("out");
    bench.get(&member(), &kept.put.id, &out).unwrap();
    let restored = fs::File::open(out.join("sparse")).unwrap();
    let status = restored.metadata().unwrap();
    assert!(status.len() == 1 << 30 && status.blocks() * 512 < 4 << 20, "{} blocks", status.blocks());
    let mut middle = [0; 13];
    restored.read_exact_at(&mut middle, 500 << 20).unwrap();
    assert_eq!(&middle, b"in the middle");
}

#[test]
fn names_are_any_bytes() {
    let bench = Bench::in_memory();
    let tree = bench.folder("tree");
    let name = |bytes: &[u8]| tree.join(std::ffi::OsStr::from_bytes(bytes));
    for byte in (1..=255_u8).filter(|byte| *byte != b'/' && *byte != b'.') {
        fs::write(name(&[byte]), [byte]).unwrap();
    }
    for bytes in [
        &b"..."[..],
        b".a",
        b"a\nERROR: b",
        b"\xff\xfe\xfd",
        "\u{202e}gnp.exe".as_bytes(),
        b"-rf",
        b"a\\b",
        &[b'n'; 255],
    ] {
        fs::write(name(bytes), bytes).unwrap();
    }
    let kept = bench.put(&member(), "a", &tree);
    assert_eq!((kept.put.entries, kept.put.remarks.len()), (253 + 8, 0));
    let out = bench.folder("out");
    bench.get(&member(), &kept.put.id, &out).unwrap();
    assert_eq!(state(&out), state(&tree));
}

#[test]
fn a_path_as_long_as_the_system_takes_is_kept_and_a_longer_one_told() {
    let bench = Bench::in_memory();
    let (tree, out) = (bench.folder("tree"), bench.folder("out"));
    let long = "d".repeat(255);
    // 15 folders with their slashes are 3840 bytes, one more makes them 4041. No call takes such a path at once.
    let names: Vec<&str> = std::iter::repeat_n(long.as_str(), 15).chain([&long[..200]]).collect();
    let mut folder = dir(&tree);
    for name in &names {
        folder.create_dir(name).unwrap();
        folder = folder.open_dir(name).unwrap();
    }
    // The limit of 4096 counts a zero at the end.
    folder.write(&long[..54], "4095").unwrap();
    folder.create_dir("e".repeat(54)).unwrap();
    folder.write(&long[..55], "4096").unwrap();
    let kept = bench.put(&member(), "a", &tree);
    let told: Vec<usize> = kept.put.remarks.iter().map(|remark| remark.text.find(": left out").unwrap()).collect();
    assert_eq!((kept.put.entries, told), (18, vec![4096]));
    assert_eq!(bench.get(&member(), &kept.put.id, &out).unwrap().entries, 18);
    let restored = names.iter().fold(dir(&out), |folder, name| folder.open_dir(name).unwrap());
    assert_eq!(restored.read_to_string(&long[..54]).unwrap(), "4095");
    assert!(restored.open_dir("e".repeat(54)).is_ok());
}

#[test]
fn a_second_collector_leaves_it_to_the_first() {
    let bench = Bench::in_memory();
    let policies = crate::artifact::retention::Policies::default();
    let how = Collection {
        policies: &policies,
        cycle: Default::default(),
        is_dry_run: false,
        elapsed: None,
        interrupt: Interrupt::default(),
    };
    let first = session::collector(&bench.store.layout).unwrap();
    assert!(first.is_some());
    assert!(bench.store.collect(&how).unwrap().is_none());
    drop(first);
    assert!(bench.store.collect(&how).unwrap().is_some());
}
