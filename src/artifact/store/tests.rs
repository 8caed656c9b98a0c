//! The store as a whole: what goes in comes out, whatever happens to it in between.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use cap_std::fs::Dir;

use super::*;
use crate::artifact::Interrupt;
use crate::artifact::retention::Expiry;
use crate::pipeline::{ForgeInstance, Owner, ProjectId, Trust};

mod audit;
mod collecting;
mod concurrent;
mod faults;
mod newest;
mod second;
mod surroundings;
mod verifying;

/// A store in a folder of its own, whose clock stands unless it is moved.
struct Bench {
    temp: tempfile::TempDir,
    seconds: Arc<AtomicI64>,
    store: Store,
}

fn owner(project: &str, trust: Trust) -> Owner {
    Owner { forge: ForgeInstance::new("https://forge.example"), project: ProjectId::new(project), trust }
}

fn member() -> Owner {
    owner("1", Trust::Member)
}

fn dir(path: &Path) -> Dir {
    Dir::open_ambient_dir(path, cap_std::ambient_authority()).unwrap()
}

impl Bench {
    fn new() -> Self {
        Self::with(Limits { reserve_bytes: 0, ..Limits::default() }, None)
    }

    fn with(limits: Limits, key: Option<StoreKey>) -> Self {
        Self::at(tempfile::tempdir().unwrap(), limits, key)
    }

    /// Everything is synced: in memory, where that can be had, it takes a tenth of the time.
    fn in_memory() -> Self {
        let temp = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self::at(temp, Limits { reserve_bytes: 0, ..Limits::default() }, None)
    }

    fn at(temp: tempfile::TempDir, limits: Limits, key: Option<StoreKey>) -> Self {
        let start = jiff::Timestamp::now().as_second();
        let seconds = Arc::new(AtomicI64::new(start));
        let store = open(&temp.path().join("store"), limits, key, &seconds).unwrap();
        Self { temp, seconds, store }
    }

    fn pass(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    fn root(&self) -> PathBuf {
        self.temp.path().join("store")
    }

    fn folder(&self, name: &str) -> PathBuf {
        let path = self.temp.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn put(&self, owner: &Owner, name: &str, tree: &Path) -> Kept {
        self.try_put(owner, name, tree).unwrap()
    }

    fn try_put(&self, owner: &Owner, name: &str, tree: &Path) -> Result<Kept, StoreError> {
        self.try_put_as(owner, What::Artifact { name: Some(name.to_owned()) }, tree)
    }

    fn try_put_as(&self, owner: &Owner, what: What, tree: &Path) -> Result<Kept, StoreError> {
        self.store.put_shared(&Keep {
            owner,
            what,
            root: &dir(tree),
            files: Files::Everything,
            options: PutOptions::default(),
            expires: Expiry::None,
            producer: None,
            job: None,
            pipeline: None,
            origin: None,
            metadata: Default::default(),
            interrupt: Interrupt::default(),
            progress: &Progress::default(),
        })
    }

    fn get(&self, owner: &Owner, id: &ObjectId, into: &Path) -> Result<Got, StoreError> {
        self.store.restore(owner, id, &dir(into), &Progress::default(), &Interrupt::default())
    }

    /// Bytes of all files below a folder of the store.
    fn stored(&self) -> u64 {
        fn sum(path: &Path) -> u64 {
            fs::read_dir(path).map_or(0, |entries| {
                entries
                    .map(|entry| entry.unwrap())
                    .map(|e| if e.path().is_dir() { sum(&e.path()) } else { e.metadata().unwrap().len() })
                    .sum()
            })
        }
        sum(&self.root().join("owners"))
    }
}

fn open(root: &Path, limits: Limits, key: Option<StoreKey>, seconds: &Arc<AtomicI64>) -> Result<Store, StoreError> {
    let seconds = Arc::clone(seconds);
    let clock = move || jiff::Timestamp::from_second(seconds.load(Ordering::Relaxed)).unwrap();
    Store::open(root, limits, key, Arc::new(clock))
}

/// Bytes without a pattern, the same for the same seed.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A tree with something of everything.
fn mixed(root: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::create_dir_all(root.join("bin/empty")).unwrap();
    fs::create_dir_all(root.join("lib")).unwrap();
    fs::write(root.join("bin/large"), noise(3 << 20, 1)).unwrap();
    fs::write(root.join("bin/middle"), noise(100 << 10, 2)).unwrap();
    fs::write(root.join("bin/tool"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("bin/tool"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(root.join("lib/nothing"), "").unwrap();
    fs::write(root.join("lib/holes"), vec![0; 2 << 20]).unwrap();
    for n in 0..300 {
        fs::write(root.join(format!("lib/m{n}.js")), format!("module.exports = {n};\n").repeat(n % 50)).unwrap();
    }
    std::os::unix::fs::symlink("../bin/tool", root.join("lib/link")).unwrap();
    std::os::unix::fs::symlink("/nowhere", root.join("dangling")).unwrap();
    use std::os::unix::ffi::OsStrExt as _;
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"caf\xe9 \n")), "x").unwrap();
}

/// Paths, kinds, modes, times and contents of a tree.
fn state(root: &Path) -> Vec<String> {
    fn visit(path: &Path, root: &Path, out: &mut Vec<String>) {
        use std::os::unix::fs::MetadataExt as _;
        let mut names: Vec<PathBuf> = fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).collect();
        names.sort();
        for path in names {
            let status = fs::symlink_metadata(&path).unwrap();
            let content = match status.file_type() {
                kind if kind.is_symlink() => format!("{:?}", fs::read_link(&path).unwrap()),
                kind if kind.is_file() => ObjectId::of(&fs::read(&path).unwrap()).to_string(),
                _ => String::new(),
            };
            let (mode, time) = (status.mode(), (status.mtime(), status.mtime_nsec()));
            out.push(format!("{:?} {mode:o} {time:?} {content}", path.strip_prefix(root).unwrap()));
            if status.is_dir() {
                visit(&path, root, out);
            }
        }
    }
    let mut out = Vec::new();
    visit(root, root, &mut out);
    out
}

#[test]
fn what_goes_in_comes_out() {
    let bench = Bench::new();
    let tree = bench.folder("tree");
    mixed(&tree);
    let kept = bench.put(&member(), "mixed", &tree);
    assert!(kept.put.remarks.is_empty(), "{:?}", kept.put.remarks);
    let out = bench.folder("out");
    let got = bench.get(&member(), &kept.put.id, &out).unwrap();
    assert_eq!(state(&out), state(&tree));
    assert_eq!((got.entries, got.bytes), (kept.put.entries, kept.put.bytes));
    use std::os::unix::fs::MetadataExt as _;
    assert!(fs::metadata(out.join("lib/holes")).unwrap().blocks() < 2048, "long holes stay holes");
}

#[test]
fn the_same_again_writes_nothing() {
    let bench = Bench::new();
    let tree = bench.folder("tree");
    mixed(&tree);
    let first = bench.put(&member(), "mixed", &tree);
    let before = bench.stored();
    let second = bench.put(&member(), "mixed", &tree);
    assert_eq!((second.put.id, second.put.new_bytes, second.is_up_to_date), (first.put.id, 0, true));
    let copy = bench.folder("copy");
    bench.get(&member(), &first.put.id, &copy).unwrap();
    let third = bench.put(&member(), "mixed", &copy);
    assert_eq!((third.put.id, third.put.new_bytes), (first.put.id, 0), "another folder with the same files");
    // What was seen is no content: it may be written once for each folder.
    let seen =
        |path: &Path| fs::read_dir(path).map_or(0, |list| list.map(|e| e.unwrap().metadata().unwrap().len()).sum());
    let all_seen: u64 = seen(&bench.store.home(&member()).seen());
    assert!(bench.stored() <= before + all_seen);
}

#[test]
fn a_changed_byte_costs_a_chunk() {
    let bench = Bench::new();
    let tree = bench.folder("tree");
    let mut content = noise(20 << 20, 3);
    fs::write(tree.join("large"), &content).unwrap();
    bench.put(&member(), "a", &tree);
    content.insert(10 << 20, 7);
    fs::write(tree.join("large"), &content).unwrap();
    let kept = bench.put(&member(), "b", &tree);
    assert!(kept.put.new_bytes < 600 << 10, "{} new bytes", kept.put.new_bytes);
}

/// Later than a tick of the clock, files prove to be unchanged.
fn settle() {
    let settled = std::time::Instant::now() + std::time::Duration::from_millis(300);
    while std::time::Instant::now() < settled {
        std::thread::yield_now();
    }
}

#[test]
fn what_is_encrypted_shows_no_names_and_unchanged_files_are_known_all_the_same() {
    let key = StoreKey::parse(&[7; 32]).unwrap();
    let bench = Bench::with(Limits { reserve_bytes: 0, ..Limits::default() }, Some(key));
    let tree = bench.folder("tree");
    fs::write(tree.join("a-name-nobody-may-read"), "x").unwrap();
    settle();
    bench.put(&member(), "a", &tree);
    let seen = || {
        let files = super::disk::names(&bench.store.home(&member()).seen()).unwrap();
        files.iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>()
    };
    let before = seen();
    assert_eq!(before.len(), 1);
    assert!(!before[0].windows(6).any(|some| some == b"nobody"));
    bench.put(&member(), "a", &tree);
    assert_eq!(seen(), before, "it was read again, and nothing was new");
}

#[test]
fn a_lost_chunk_comes_back_when_the_unchanged_file_is_put_again() {
    let bench = Bench::new();
    let tree = bench.folder("tree");
    fs::write(tree.join("large"), noise(3 << 20, 1)).unwrap();
    settle();
    let kept = bench.put(&member(), "a", &tree);
    let [pack] = &super::disk::fanned(&bench.store.home(&member()).packs()).unwrap()[..] else { panic!("one pack") };
    let mut bytes = fs::read(pack).unwrap();
    bytes[1 << 20] ^= 1;
    fs::write(pack, bytes).unwrap();
    assert!(bench.get(&member(), &kept.put.id, &bench.folder("out")).is_err());
    bench.put(&member(), "a", &tree);
    let out = bench.folder("other");
    bench.get(&member(), &kept.put.id, &out).unwrap();
    assert_eq!(state(&out), state(&tree));
}

#[test]
fn what_is_refused_leaves_the_room_that_was_there() {
    let limits = Limits { owner_bytes: 4 << 20, reserve_bytes: 0, ..Limits::default() };
    let bench = Bench::with(limits, None);
    let (large, small) = (bench.folder("large"), bench.folder("small"));
    fs::write(large.join("file"), noise(8 << 20, 1)).unwrap();
    fs::write(small.join("file"), noise(3 << 20, 2)).unwrap();
    for _ in 0..2 {
        assert!(matches!(bench.try_put(&member(), "large", &large), Err(StoreError::Quota { .. })));
        assert_eq!(bench.stored(), 0);
    }
    bench.put(&member(), "small", &small);
}

#[test]
fn folders_that_are_not_kept_are_made_for_what_is_in_them_and_told() {
    let bench = Bench::new();
    let tree = bench.folder("tree");
    fs::create_dir_all(tree.join("a/b")).unwrap();
    fs::write(tree.join("a/b/file"), "content").unwrap();
    let mut unnamed = crate::artifact::Unnamed::default();
    unnamed.add(b"a");
    let kept = bench.store.put(&Keep {
        owner: &member(),
        what: What::Artifact { name: None },
        root: &dir(&tree),
        files: Files::Unpacked(&unnamed),
        options: PutOptions::default(),
        expires: Expiry::None,
        producer: None,
        job: None,
        pipeline: None,
        origin: None,
        metadata: Default::default(),
        interrupt: Interrupt::default(),
        progress: &Progress::default(),
    });
    let kept = kept.unwrap();
    assert_eq!(kept.put.entries, 2);
    let into = bench.folder("into");
    let got = bench.get(&member(), &kept.put.id, &into).unwrap();
    assert_eq!(fs::read_to_string(into.join("a/b/file")).unwrap(), "content");
    assert_eq!(got.unnamed, unnamed);
}

#[test]
fn what_is_wanted_whole_has_no_record_where_something_is_left_out() {
    use crate::artifact::select::{Entry, EntryKind, Selection};

    let bench = Bench::new();
    let tree = bench.folder("tree");
    fs::write(tree.join("there"), "content").unwrap();
    let entries = ["gone", "there"].map(|path| Entry { path: path.into(), kind: EntryKind::File });
    let selection = Selection { entries: entries.into(), tree_itself: false, remarks: Vec::new() };
    let put = |whole| {
        bench.store.put(&Keep {
            owner: &member(),
            what: What::Artifact { name: Some("name".to_owned()) },
            root: &dir(&tree),
            files: Files::Selected(&selection),
            options: PutOptions { whole, ..PutOptions::default() },
            expires: Expiry::None,
            producer: None,
            job: None,
            pipeline: None,
            origin: None,
            metadata: Default::default(),
            interrupt: Interrupt::default(),
            progress: &Progress::default(),
        })
    };
    let Err(error @ StoreError::NotWhole { .. }) = put(true) else { panic!("something was left out") };
    assert!(error.to_string().contains("gone"), "{error}");
    assert_eq!(bench.store.list(None).unwrap(), []);
    assert_eq!(put(false).unwrap().put.entries, 1);
    fs::write(tree.join("gone"), "and back").unwrap();
    assert_eq!(put(true).unwrap().put.entries, 2);
}
