//! What a job notices of its caches.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use cap_std::ambient_authority;
use tempfile::TempDir;

use super::*;
use crate::artifact::retention::ReferenceCause;
use crate::artifact::select;
use crate::artifact::store::{self, Clock, ObjectId, Store};
use crate::pipeline::definition::FileSelection;
use crate::pipeline::{ForgeInstance, JobId, ProjectId, Trust};

mod owners;

struct Shelf {
    temp: TempDir,
    store: Arc<Store>,
    caches: LocalCache,
}

const ROOMY: store::Limits =
    store::Limits { total_bytes: 1 << 30, project_bytes: 1 << 30, owner_bytes: 1 << 30, reserve_bytes: 0 };

impl Shelf {
    /// Every look at the clock is a second later.
    fn new(limits: store::Limits) -> Self {
        Self::ticking(limits, 1)
    }

    fn ticking(limits: store::Limits, tick: i64) -> Self {
        // Everything is synced: in memory, where that can be had, this takes a tenth of the time.
        let temp = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let seconds = AtomicI64::new(1_800_000_000);
        let clock: Clock =
            Arc::new(move || jiff::Timestamp::from_second(seconds.fetch_add(tick, Ordering::Relaxed)).unwrap());
        let store = Arc::new(Store::open(temp.path(), limits, None, clock).unwrap());
        Self { temp, caches: LocalCache::new(store.clone()), store }
    }

    fn save(&self, owner: &Owner, key: &str, tree: &Path) -> Saved {
        let job = job_of(owner, key);
        let request = SaveRequest {
            owner,
            key: key.as_bytes(),
            job: &job,
            style: CacheStyle::default(),
            interrupt: Interrupt::default(),
        };
        self.caches.save(&request, &dir(tree), &everything(tree)).unwrap()
    }

    fn restore_into(&self, owner: &Owner, keys: &[Wanted], tree: &Path) -> Restored {
        self.try_restore(owner, keys, tree, Limits::default()).unwrap()
    }

    fn try_restore(&self, owner: &Owner, keys: &[Wanted], tree: &Path, limits: Limits) -> Result<Restored, CacheError> {
        let staging = tempfile::tempdir().unwrap();
        let job = job_of(owner, "reader");
        let (dir_of_staging, interrupt) = (dir(staging.path()), Interrupt::default());
        let style = CacheStyle::default();
        let request = RestoreRequest { owner, job: &job, keys, staging: &dir_of_staging, limits, style, interrupt };
        self.caches.restore(&request, &dir(tree))
    }

    /// The content of the file `f` that a job finds under the key, if any.
    fn finds(&self, owner: &Owner, key: &str) -> Option<String> {
        let into = tempfile::tempdir().unwrap();
        match self.restore_into(owner, &[exact(key)], into.path()) {
            Restored::Hit(_) => Some(fs::read_to_string(into.path().join("f")).unwrap()),
            Restored::Miss { .. } => {
                assert_eq!(fs::read_dir(into.path()).unwrap().count(), 0, "a miss left something");
                None
            }
        }
    }

    /// The id of the tree that the owner keeps under the key.
    fn tree_of(&self, owner: &Owner, key: &str) -> ObjectId {
        let wanted = store::Wanted::Exact(key.as_bytes().to_vec());
        self.store.find(owner, &wanted).unwrap().unwrap().info.content_hash
    }

    /// The files of the store whose paths have this in them.
    fn files(&self, part: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut todo = vec![self.temp.path().join("owners")];
        while let Some(folder) = todo.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    todo.push(path);
                } else if path.to_str().unwrap().contains(part) {
                    found.push(path);
                }
            }
        }
        found
    }

    fn stored_bytes(&self) -> u64 {
        self.files("/packs/").iter().map(|path| fs::metadata(path).unwrap().len()).sum()
    }

    fn audit(&self) -> String {
        let months = fs::read_dir(self.temp.path().join("audit")).unwrap();
        months.map(|month| fs::read_to_string(month.unwrap().path()).unwrap()).collect()
    }
}

fn job_of(owner: &Owner, name: &str) -> JobKey {
    JobKey::of(&owner.forge, &JobId::new("1"), name)
}

fn exact(key: &str) -> Wanted {
    Wanted::Exact(key.as_bytes().to_vec())
}

fn owner(project: &str, trust: Trust) -> Owner {
    Owner { forge: ForgeInstance::new("https://gitlab.example.com"), project: ProjectId::new(project), trust }
}

fn dir(path: &Path) -> Dir {
    Dir::open_ambient_dir(path, ambient_authority()).unwrap()
}

fn everything(root: &Path) -> Selection {
    let files = FileSelection { paths: vec!["**".into()], ..FileSelection::default() };
    select::select(&dir(root), "/p", &files, Vec::new()).unwrap()
}

/// A tree with one file.
fn tree(content: &str) -> TempDir {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("f"), content).unwrap();
    temp
}

/// Text that compresses to the same size whatever the seed: six random bits a byte.
fn noise(seed: u32, length: u32) -> String {
    let mut state = u64::from(seed) * 7919 + 0x9e37_79b9_7f4a_7c15;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(b'0' + (state >> 58) as u8)
        })
        .collect()
}

fn stored(saved: &Saved) -> u64 {
    match saved {
        Saved::Stored { stored_bytes, .. } => *stored_bytes,
        other => panic!("not stored: {other:?}"),
    }
}

#[test]
fn the_next_job_finds_what_the_first_kept_and_learns_who_wrote_it() {
    let shelf = Shelf::new(ROOMY);
    let member = owner("1", Trust::Member);
    stored(&shelf.save(&member, "k", tree("kept").path()));
    assert_eq!(shelf.finds(&member, "k").as_deref(), Some("kept"));
    assert_eq!(shelf.finds(&member, "other"), None);

    let into = tempfile::tempdir().unwrap();
    let Restored::Hit(hit) = shelf.restore_into(&member, &[exact("no"), exact("k")], into.path()) else { panic!() };
    assert_eq!(
        (hit.key.as_slice(), hit.writer.as_ref(), hit.entries, hit.bytes),
        (b"k".as_slice(), Some(&member), 1, 4)
    );
    assert_eq!(hit.job, Some(job_of(&member, "k")));
}

#[test]
fn keys_are_tried_in_their_order() {
    let shelf = Shelf::new(ROOMY);
    let member = owner("1", Trust::Member);
    shelf.save(&member, "fallback", tree("old").path());
    let into = tempfile::tempdir().unwrap();
    let keys = [exact("main"), exact("fallback")];
    assert!(matches!(shelf.restore_into(&member, &keys, into.path()), Restored::Hit(hit) if hit.key == b"fallback"));
    shelf.save(&member, "main", tree("new").path());
    assert!(matches!(shelf.restore_into(&member, &keys, into.path()), Restored::Hit(hit) if hit.key == b"main"));
}

#[test]
fn a_prefix_means_the_newest_of_its_keys() {
    let shelf = Shelf::new(ROOMY);
    let member = owner("1", Trust::Member);
    for key in ["cargo-2", "cargo-1", "npm-9"] {
        shelf.save(&member, key, tree(key).path());
    }
    let into = tempfile::tempdir().unwrap();
    let wanted = [exact("cargo-3"), Wanted::Prefix(b"cargo-".to_vec())];
    assert!(matches!(shelf.restore_into(&member, &wanted, into.path()), Restored::Hit(hit) if hit.key == b"cargo-1"));
}

#[test]
fn keys_are_bytes_and_never_paths() {
    let shelf = Shelf::new(ROOMY);
    let member = owner("1", Trust::Member);
    let long = "k".repeat(5000);
    for key in ["", "..", "../../../../tmp/x", "/etc/passwd", "a/b", "a\nb", &long, "\u{1f980}"] {
        stored(&shelf.save(&member, key, tree(key).path()));
    }
    assert_eq!(shelf.files("/records/").len(), 8);
    assert_eq!(shelf.finds(&member, "../../../../tmp/x").as_deref(), Some("../../../../tmp/x"));
    assert!(matches!(shelf.save(&member, &"k".repeat(100_000), tree("").path()), Saved::Refused(_)));
}

#[test]
fn what_did_not_change_is_not_written_again() {
    let shelf = Shelf::new(ROOMY);
    let member = owner("1", Trust::Member);
    let files = tree("one");
    stored(&shelf.save(&member, "k", files.path()));
    assert_eq!(shelf.save(&member, "k", files.path()), Saved::UpToDate);

    // The restored files are the same ones.
    let into = tempfile::tempdir().unwrap();
    shelf.restore_into(&member, &[exact("k")], into.path());
    assert_eq!(shelf.save(&member, "k", into.path()), Saved::UpToDate);

    // Same size and time, other content: only the content tells.
    let before = fs::metadata(files.path().join("f")).unwrap().modified().unwrap();
    fs::write(files.path().join("f"), "two").unwrap();
    fs::File::options().write(true).open(files.path().join("f")).unwrap().set_modified(before).unwrap();
    stored(&shelf.save(&member, "k", files.path()));
    assert_eq!(shelf.finds(&member, "k").as_deref(), Some("two"));
}

#[test]
fn nothing_to_keep_is_nothing_kept() {
    let shelf = Shelf::new(ROOMY);
    let (empty, member) = (tempfile::tempdir().unwrap(), owner("1", Trust::Member));
    assert_eq!(shelf.save(&member, "k", empty.path()), Saved::Nothing);
    assert!(shelf.files("").is_empty());

    // What was there when the files were selected is gone when they are read.
    stored(&shelf.save(&member, "k", tree("kept").path()));
    let gone = tree("gone");
    let (root, selection) = (dir(gone.path()), everything(gone.path()));
    fs::remove_file(gone.path().join("f")).unwrap();
    let job = job_of(&member, "k");
    let request = SaveRequest {
        owner: &member,
        key: b"k",
        job: &job,
        style: CacheStyle::default(),
        interrupt: Interrupt::default(),
    };
    assert_eq!(shelf.caches.save(&request, &root, &selection).unwrap(), Saved::Nothing);
    assert_eq!(shelf.finds(&member, "k").as_deref(), Some("kept"));
}

#[test]
fn a_restored_tree_counts_as_unchanged_with_all_its_folders() {
    let shelf = Shelf::new(ROOMY);
    let member = owner("1", Trust::Member);
    let files = tempfile::tempdir().unwrap();
    fs::create_dir_all(files.path().join("target/debug/deps")).unwrap();
    fs::write(files.path().join("target/debug/deps/lib"), "x").unwrap();
    fs::write(files.path().join("target/debug/prog"), "y").unwrap();
    stored(&shelf.save(&member, "k", files.path()));
    let into = tempfile::tempdir().unwrap();
    // A checkout has made some of the folders before.
    fs::create_dir_all(into.path().join("target/debug")).unwrap();
    assert!(matches!(shelf.restore_into(&member, &[exact("k")], into.path()), Restored::Hit(_)));
    assert_eq!(shelf.save(&member, "k", into.path()), Saved::UpToDate);
}

#[test]
fn another_key_of_the_same_content_costs_nothing_and_another_project_pays_for_itself() {
    let shelf = Shelf::new(ROOMY);
    let (one, two) = (owner("1", Trust::Member), owner("2", Trust::Member));
    let files = tree(&noise(1, 100_000));
    let first = stored(&shelf.save(&one, "a", files.path()));
    assert_eq!(stored(&shelf.save(&one, "b", files.path())), 0);
    assert_eq!(stored(&shelf.save(&two, "a", files.path())), first);
}

/// Flips a bit in the middle of the only pack there is.
fn damage(shelf: &Shelf) {
    let packs = shelf.files("/packs/");
    assert_eq!(packs.len(), 1);
    let mut bytes = fs::read(&packs[0]).unwrap();
    // The first frame lies behind the header.
    bytes[100] ^= 1;
    fs::write(&packs[0], bytes).unwrap();
}

#[test]
fn a_damaged_cache_is_told_of_and_leaves_the_tree_as_it_was() {
    let shelf = Shelf::new(ROOMY);
    let member = owner("1", Trust::Member);
    let files = tree(&noise(1, 1000));
    stored(&shelf.save(&member, "k", files.path()));
    damage(&shelf);
    let into = tempfile::tempdir().unwrap();
    let Restored::Miss { remarks } = shelf.restore_into(&member, &[exact("k")], into.path()) else { panic!() };
    assert!(
        remarks[0].text.starts_with("cache k: not restored: ") && remarks[0].text.contains("damaged"),
        "{remarks:?}"
    );
    assert_eq!(fs::read_dir(into.path()).unwrap().count(), 0);

    // The same files again mend it.
    shelf.save(&member, "k", files.path());
    assert_eq!(shelf.finds(&member, "k"), Some(noise(1, 1000)));
}

#[test]
fn behind_a_damaged_cache_the_next_one_is_tried() {
    let (fork, member) = (owner("1", Trust::Fork), owner("1", Trust::Member));
    // The own one is damaged: the project's serves, then a fallback key.
    for (keeper, other) in [(&member, "k"), (&fork, "fallback")] {
        let shelf = Shelf::new(ROOMY);
        stored(&shelf.save(&fork, "k", tree(&noise(1, 1000)).path()));
        damage(&shelf);
        stored(&shelf.save(keeper, other, tree("good").path()));
        let into = tempfile::tempdir().unwrap();
        let restored = shelf.restore_into(&fork, &[exact("k"), exact("fallback")], into.path());
        let Restored::Hit(hit) = restored else { panic!("{restored:?}") };
        assert_eq!((hit.key.as_slice(), hit.writer.as_ref()), (other.as_bytes(), Some(keeper)));
        assert!(hit.remarks[0].text.contains("damaged"), "{:?}", hit.remarks);
        assert_eq!(fs::read_to_string(into.path().join("f")).unwrap(), "good");
    }
}

#[test]
fn of_a_prefix_the_next_newest_stands_in_for_a_damaged_one() {
    let shelf = Shelf::new(ROOMY);
    let member = owner("1", Trust::Member);
    stored(&shelf.save(&member, "cargo-1", tree("older").path()));
    let before = shelf.files("/packs/");
    stored(&shelf.save(&member, "cargo-2", tree("newer").path()));
    let newer = shelf.files("/packs/").into_iter().find(|path| !before.contains(path)).unwrap();
    fs::remove_file(newer).unwrap();
    let into = tempfile::tempdir().unwrap();
    let restored = shelf.restore_into(&member, &[Wanted::Prefix(b"cargo-".to_vec())], into.path());
    assert!(
        matches!(&restored, Restored::Hit(hit) if hit.key == b"cargo-1" && hit.remarks[0].text.contains("missing"))
    );
    assert_eq!(fs::read_to_string(into.path().join("f")).unwrap(), "older");
}

#[test]
fn a_damaged_record_is_believed_by_nobody() {
    let shelf = Shelf::new(ROOMY);
    let member = owner("1", Trust::Member);
    stored(&shelf.save(&member, "k", tree("x").path()));
    let path = shelf.files("/records/")[0].clone();
    let good = fs::read(&path).unwrap();
    for at in (0..good.len() - 1).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 4;
        for bytes in [bad.as_slice(), &good[..at]] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(shelf.finds(&member, "k").as_deref(), Some("x"), "at {at}: the index has it");
            assert_eq!(fs::read(&path).unwrap(), good, "written again");
        }
    }
}

/// Bytes that a cache of so much noise takes.
fn size_of(length: u32) -> u64 {
    stored(&Shelf::new(ROOMY).save(&owner("1", Trust::Member), "k", tree(&noise(1, length)).path()))
}

#[test]
fn where_a_quota_is_full_the_longest_unused_go_first() {
    let size = size_of(9000);
    for limits in [
        store::Limits { total_bytes: size * 7 / 2, ..ROOMY },
        store::Limits { project_bytes: size * 7 / 2, ..ROOMY },
        store::Limits { owner_bytes: size * 7 / 2, ..ROOMY },
    ] {
        let shelf = Shelf::new(limits);
        let one = owner("1", Trust::Member);
        for (seed, key) in (0..).zip(["a", "b", "c"]) {
            stored(&shelf.save(&one, key, tree(&noise(seed, 9000)).path()));
        }
        assert!(shelf.finds(&one, "a").is_some(), "used now: b is the oldest");
        let Saved::Stored { remarks, .. } = shelf.save(&one, "d", tree(&noise(9, 9000)).path()) else { panic!() };
        assert_eq!(remarks, [Remark::note("cache b was removed to make room")]);
        assert_eq!(shelf.finds(&one, "b"), None);
        for key in ["a", "c", "d"] {
            assert!(shelf.finds(&one, key).is_some(), "{key}");
        }
        assert!(shelf.stored_bytes() <= size * 7 / 2, "the quota holds");
        assert_eq!(shelf.audit().matches("artifact_deletion").count(), 1);
    }
}

#[test]
fn room_is_made_for_what_is_larger_than_one_that_goes() {
    let size = size_of(9000);
    let shelf = Shelf::new(store::Limits { owner_bytes: size * 9 / 2, ..ROOMY });
    let one = owner("1", Trust::Member);
    for (seed, key) in (0..).zip(["a", "b", "c", "d"]) {
        stored(&shelf.save(&one, key, tree(&noise(seed, 9000)).path()));
    }
    stored(&shelf.save(&one, "large", tree(&noise(9, 25_000)).path()));
    let left: Vec<&str> =
        ["a", "b", "c", "d", "large"].into_iter().filter(|key| shelf.finds(&one, key).is_some()).collect();
    assert_eq!(left, ["d", "large"]);
}

#[test]
fn an_entry_gives_way_to_its_own_successor() {
    let size = size_of(9000);
    let shelf = Shelf::new(store::Limits { owner_bytes: size * 3 / 2, ..ROOMY });
    let one = owner("1", Trust::Member);
    for seed in 0..4 {
        stored(&shelf.save(&one, "k", tree(&noise(seed, 9000)).path()));
        assert_eq!(shelf.finds(&one, "k"), Some(noise(seed, 9000)));
    }
}

#[test]
fn what_can_never_fit_drives_nothing_out() {
    let size = size_of(9000);
    for limits in [
        store::Limits { project_bytes: size * 5 / 2, ..ROOMY },
        store::Limits { total_bytes: size * 5 / 2, ..ROOMY },
        store::Limits { owner_bytes: size * 5 / 2, ..ROOMY },
    ] {
        let shelf = Shelf::new(limits);
        let one = owner("1", Trust::Member);
        for (seed, key) in (0..).zip(["a", "b"]) {
            stored(&shelf.save(&one, key, tree(&noise(seed, 9000)).path()));
        }
        let before = shelf.files("");
        let Saved::Refused(remark) = shelf.save(&one, "big", tree(&noise(3, 40_000)).path()) else { panic!() };
        assert!(remark.text.contains("quota"), "{remark:?}");
        assert_eq!(shelf.files(""), before, "nothing is left of the attempt");
    }
}

#[test]
fn what_a_job_holds_or_somebody_pinned_stays() {
    let size = size_of(9000);
    let shelf = Shelf::new(store::Limits { owner_bytes: size * 5 / 2, ..ROOMY });
    let one = owner("1", Trust::Member);
    for (seed, key) in (0..).zip(["pinned", "held"]) {
        stored(&shelf.save(&one, key, tree(&noise(seed, 9000)).path()));
    }
    shelf.store.pin(&one, shelf.tree_of(&one, "pinned")).unwrap();
    let job = job_of(&one, "queued");
    shelf.store.hold(&one, &job, &[shelf.tree_of(&one, "held")], &Interrupt::default()).unwrap();
    assert!(matches!(shelf.save(&one, "new", tree(&noise(5, 9000)).path()), Saved::Refused(_)));
    assert!(shelf.finds(&one, "pinned").is_some() && shelf.finds(&one, "held").is_some());

    assert!(shelf.store.release(&one, &job, ReferenceCause::JobFailed).unwrap());
    stored(&shelf.save(&one, "new", tree(&noise(5, 9000)).path()));
    assert_eq!(shelf.finds(&one, "held"), None);
    assert!(shelf.finds(&one, "pinned").is_some());
}

#[test]
fn a_full_disk_is_a_remark_and_leaves_nothing() {
    let shelf = Shelf::new(store::Limits { reserve_bytes: u64::MAX, ..ROOMY });
    let Saved::Refused(remark) = shelf.save(&owner("1", Trust::Member), "k", tree("x").path()) else { panic!() };
    assert!(remark.text.contains("is full"), "{remark:?}");
    assert!(shelf.files("").is_empty());
    assert_eq!(fs::read_dir(shelf.temp.path().join("sessions")).unwrap().count(), 0);
}

#[test]
fn an_interrupted_save_leaves_the_entry_as_it_was() {
    let shelf = Shelf::new(ROOMY);
    let member = owner("1", Trust::Member);
    shelf.save(&member, "k", tree("old").path());
    let interrupt = Interrupt::default();
    interrupt.raise();
    let job = job_of(&member, "t");
    let request = SaveRequest { owner: &member, key: b"k", job: &job, style: CacheStyle::default(), interrupt };
    let new = tree("new one");
    let error = shelf.caches.save(&request, &dir(new.path()), &everything(new.path())).unwrap_err();
    assert!(matches!(error, CacheError::Store(StoreError::Interrupted)));
    assert_eq!(shelf.finds(&member, "k").as_deref(), Some("old"));
    assert_eq!(fs::read_dir(shelf.temp.path().join("sessions")).unwrap().count(), 0);
}

#[test]
fn readers_and_writers_at_once_see_whole_entries() {
    // Room for `k` in all its states, and for some of the others: they come and go all the time.
    let shelf = Shelf::new(store::Limits { owner_bytes: size_of(20_000) * 6, ..ROOMY });
    let member = owner("1", Trust::Member);
    let trees: Vec<TempDir> = (0..3).map(|n| tree(&noise(n, 20_000))).collect();
    let others: Vec<TempDir> = (3..9).map(|n| tree(&noise(n, 20_000))).collect();
    stored(&shelf.save(&member, "k", trees[0].path()));
    std::thread::scope(|scope| {
        for tree in &trees {
            scope.spawn(|| {
                for (round, other) in (0..12).zip(others.iter().cycle()) {
                    shelf.save(&member, "k", tree.path());
                    shelf.save(&member, &format!("other{round}"), other.path());
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..30 {
                    let found = shelf.finds(&member, "k").unwrap();
                    assert!((0..3).any(|n| found == noise(n, 20_000)), "a mixture was restored");
                }
            });
        }
    });
    assert!(shelf.audit().contains("artifact_deletion"), "there was no pressure");
}

#[test]
fn a_cache_that_is_larger_than_allowed_leaves_the_tree_as_it_was() {
    let shelf = Shelf::new(ROOMY);
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir_all(tree.path().join("d/e")).unwrap();
    for name in ["a", "b", "d/e/c"] {
        fs::write(tree.path().join(name), [b'x'; 1000]).unwrap();
    }
    let owner = owner("1", Trust::Member);
    stored(&shelf.save(&owner, "k", tree.path()));
    let into = tempfile::tempdir().unwrap();
    fs::write(into.path().join("b"), "own").unwrap();
    let exactly = Limits { bytes: 3000, entries: 5, path_bytes: 5, depth: 3, ..Limits::default() };
    for (limits, what) in [
        (Limits { bytes: 2999, ..exactly.clone() }, "3000 bytes of content"),
        (Limits { entries: 4, ..exactly.clone() }, "5 entries"),
        (Limits { path_bytes: 4, ..exactly.clone() }, "5 bytes in a path"),
        (Limits { depth: 2, ..exactly.clone() }, "3 names in a path"),
    ] {
        let error = shelf.try_restore(&owner, &[exact("k")], into.path(), limits).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        assert_eq!(fs::read_to_string(into.path().join("b")).unwrap(), "own");
        assert_eq!(fs::read_dir(into.path()).unwrap().count(), 1);
    }
    shelf.try_restore(&owner, &[exact("k")], into.path(), exactly).unwrap();
    assert_eq!(fs::read(into.path().join("b")).unwrap().len(), 1000);
    assert_eq!(fs::read(into.path().join("d/e/c")).unwrap().len(), 1000);
}
