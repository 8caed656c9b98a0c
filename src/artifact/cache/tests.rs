use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use cap_std::ambient_authority;
use tempfile::TempDir;

use super::*;
use crate::artifact::select;
use crate::pipeline::definition::FileSelection;
use crate::pipeline::{ForgeInstance, ProjectId, Trust};

struct Shelf {
    temp: TempDir,
    store: LocalCache,
    seconds: Arc<AtomicI64>,
}

const ROOMY: CacheSettings = CacheSettings { total_bytes: 1 << 30, project_bytes: 1 << 30, reserve_bytes: 0 };

impl Shelf {
    fn new(settings: CacheSettings) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let seconds = Arc::new(AtomicI64::new(1_800_000_000));
        let ticking = seconds.clone();
        // Every look at the clock is a second later.
        let clock: Clock =
            Arc::new(move || jiff::Timestamp::from_second(ticking.fetch_add(1, Ordering::Relaxed)).unwrap());
        let store = LocalCache::open(temp.path(), settings, clock).unwrap();
        Self { temp, store, seconds }
    }

    fn save(&self, owner: &Owner, key: &str, tree: &Path) -> Saved {
        let job = JobKey::of(&owner.forge, &crate::pipeline::JobId::new("1"), key);
        let request = SaveRequest {
            owner,
            key: key.as_bytes(),
            job: &job,
            level: Level::Default,
            interrupt: Interrupt::default(),
        };
        self.store.save(&request, &dir(tree), &everything(tree)).unwrap()
    }

    fn restore_into(&self, owner: &Owner, keys: &[Wanted], tree: &Path) -> Restored {
        self.try_restore(owner, keys, tree, Limits::default()).unwrap()
    }

    fn try_restore(&self, owner: &Owner, keys: &[Wanted], tree: &Path, limits: Limits) -> Result<Restored, CacheError> {
        let staging = tempfile::tempdir().unwrap();
        let request =
            RestoreRequest { owner, keys, staging: &dir(staging.path()), limits, interrupt: Interrupt::default() };
        self.store.restore(&request, &dir(tree))
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

    fn files(&self, part: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut todo = vec![self.temp.path().join("projects")];
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
    assert_eq!((hit.key.as_slice(), &hit.writer, hit.entries, hit.bytes), (b"k".as_slice(), &member, 1, 4));
    assert_eq!(hit.job, JobKey::of(&member.forge, &crate::pipeline::JobId::new("1"), "k"));
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
    assert_eq!(shelf.files("/entries/").len(), 8);
    assert_eq!(shelf.finds(&member, "../../../../tmp/x").as_deref(), Some("../../../../tmp/x"));
    assert!(matches!(shelf.save(&member, &"k".repeat(100_000), tree("").path()), Saved::Refused(_)));
}

/// Who reads what whom wrote: every pair of trusts, in the same project, another project, another forge.
#[test]
fn entries_are_read_downwards_within_a_project_only() {
    let trusts = [Trust::Fork, Trust::Member, Trust::Protected];
    for writer_trust in trusts {
        let shelf = Shelf::new(ROOMY);
        stored(&shelf.save(&owner("1", writer_trust), "k", tree("theirs").path()));
        for reader_trust in trusts {
            let same = owner("1", reader_trust);
            let may = writer_trust >= reader_trust;
            assert_eq!(shelf.finds(&same, "k").is_some(), may, "{reader_trust} reads {writer_trust}");
            assert_eq!(shelf.finds(&owner("2", reader_trust), "k"), None, "another project");
            let elsewhere = Owner { forge: ForgeInstance::new("https://other.example.com"), ..same };
            assert_eq!(shelf.finds(&elsewhere, "k"), None, "another forge");
        }
    }
}

#[test]
fn a_fork_changes_its_own_copy_only() {
    let shelf = Shelf::new(ROOMY);
    let (fork, member, protected) = (owner("1", Trust::Fork), owner("1", Trust::Member), owner("1", Trust::Protected));
    shelf.save(&protected, "k", tree("good").path());
    shelf.save(&fork, "k", tree("evil").path());
    assert_eq!(shelf.finds(&protected, "k").as_deref(), Some("good"));
    assert_eq!(shelf.finds(&member, "k").as_deref(), Some("good"));
    assert_eq!(shelf.finds(&fork, "k").as_deref(), Some("evil"), "its own comes first");
}

#[test]
fn a_record_moved_to_another_owner_is_not_believed() {
    let shelf = Shelf::new(ROOMY);
    let (fork, protected) = (owner("1", Trust::Fork), owner("1", Trust::Protected));
    shelf.save(&fork, "k", tree("evil").path());
    let home = shelf.files("/fork/entries/")[0].parent().unwrap().parent().unwrap().to_owned();
    fs::rename(&home, home.parent().unwrap().join("protected")).unwrap();
    assert_eq!(shelf.finds(&protected, "k"), None);
}

#[test]
fn equal_content_is_kept_once_for_each_owner_and_never_across() {
    let shelf = Shelf::new(ROOMY);
    let (one, two) = (owner("1", Trust::Member), owner("2", Trust::Member));
    let files = tree("same");
    shelf.save(&one, "a", files.path());
    shelf.save(&one, "b", files.path());
    assert_eq!(shelf.files("/objects/").len(), 1);
    shelf.save(&two, "a", files.path());
    assert_eq!(shelf.files("/objects/").len(), 2);
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
    assert_eq!(shelf.files("/objects/").len(), 1, "the old object is gone");
}

#[test]
fn nothing_to_keep_is_nothing_kept() {
    let shelf = Shelf::new(ROOMY);
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(shelf.save(&owner("1", Trust::Member), "k", empty.path()), Saved::Nothing);
    assert!(shelf.files("").is_empty());
}

#[test]
fn a_damaged_archive_is_put_aside_before_the_tree_is_touched() {
    let shelf = Shelf::new(ROOMY);
    let member = owner("1", Trust::Member);
    for bit in [0, 700, 3] {
        stored(&shelf.save(&member, "k", tree(&noise(bit, 1000)).path()));
        let object = &shelf.files("/objects/")[0];
        let file = fs::File::options().read(true).write(true).open(object).unwrap();
        let at = u64::from(bit) % file.metadata().unwrap().len();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();

        let into = tempfile::tempdir().unwrap();
        let Restored::Miss { remarks } = shelf.restore_into(&member, &[exact("k")], into.path()) else { panic!() };
        assert!(remarks[0].text.contains("damaged"), "{remarks:?}");
        assert_eq!(fs::read_dir(into.path()).unwrap().count(), 0);
        assert!(shelf.files("").is_empty(), "put aside");
    }
    stored(&shelf.save(&member, "k", tree("again").path()));
    assert_eq!(shelf.finds(&member, "k").as_deref(), Some("again"));
}

#[test]
fn a_damaged_or_cut_record_is_a_miss() {
    let shelf = Shelf::new(ROOMY);
    let member = owner("1", Trust::Member);
    stored(&shelf.save(&member, "k", tree("x").path()));
    let path = shelf.files("/entries/")[0].clone();
    let good = fs::read(&path).unwrap();
    for at in (0..good.len() - 1).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 4;
        for bytes in [bad.as_slice(), &good[..at]] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(shelf.finds(&member, "k"), None, "at {at}");
        }
    }
    fs::write(&path, &good).unwrap();
    assert_eq!(shelf.finds(&member, "k").as_deref(), Some("x"));
}

#[test]
fn a_missing_archive_is_a_miss_and_falls_back() {
    let shelf = Shelf::new(ROOMY);
    let member = owner("1", Trust::Member);
    shelf.save(&member, "k", tree("one").path());
    fs::remove_file(&shelf.files("/objects/")[0]).unwrap();
    shelf.save(&member, "fallback", tree("two").path());
    let into = tempfile::tempdir().unwrap();
    let hit = shelf.restore_into(&member, &[exact("k"), exact("fallback")], into.path());
    assert!(matches!(hit, Restored::Hit(hit) if hit.remarks[0].text.contains("missing")));
    stored(&shelf.save(&member, "k", tree("one").path()));
}

#[test]
fn the_longest_unused_go_first() {
    let size = stored(&Shelf::new(ROOMY).save(&owner("1", Trust::Member), "k", tree(&noise(1, 9000)).path()));
    let shelf = Shelf::new(CacheSettings { total_bytes: size * 7 / 2, ..ROOMY });
    let (one, two) = (owner("1", Trust::Member), owner("2", Trust::Member));
    for (seed, (owner, key)) in [(&one, "a"), (&two, "b"), (&one, "c")].into_iter().enumerate() {
        stored(&shelf.save(owner, key, tree(&noise(seed as u32, 9000)).path()));
    }
    assert!(shelf.finds(&one, "a").is_some(), "used now: b is the oldest");
    stored(&shelf.save(&one, "d", tree(&noise(9, 9000)).path()));
    assert_eq!(shelf.finds(&two, "b"), None);
    for key in ["a", "c", "d"] {
        assert!(shelf.finds(&one, key).is_some(), "{key}");
    }
    assert_eq!(shelf.files("/objects/").len(), 3);
}

#[test]
fn a_project_has_its_own_quota() {
    let size = stored(&Shelf::new(ROOMY).save(&owner("1", Trust::Member), "k", tree(&noise(1, 9000)).path()));
    let shelf = Shelf::new(CacheSettings { project_bytes: size * 5 / 2, ..ROOMY });
    let (one, two) = (owner("1", Trust::Member), owner("2", Trust::Member));
    stored(&shelf.save(&two, "k", tree(&noise(7, 9000)).path()));
    for (seed, key) in ["a", "b", "c"].into_iter().enumerate() {
        stored(&shelf.save(&one, key, tree(&noise(seed as u32, 9000)).path()));
    }
    assert_eq!(shelf.finds(&one, "a"), None);
    assert!(shelf.finds(&two, "k").is_some(), "the other project is left alone");

    let Saved::Refused(remark) = shelf.save(&one, "big", tree(&noise(3, 40_000)).path()) else { panic!() };
    assert!(remark.text.contains("quota"), "{remark:?}");
    assert!(shelf.finds(&one, "c").is_some());
}

#[test]
fn a_fork_cannot_drive_out_the_projects_caches() {
    let size = stored(&Shelf::new(ROOMY).save(&owner("1", Trust::Member), "k", tree(&noise(1, 9000)).path()));
    let shelf = Shelf::new(CacheSettings { project_bytes: size * 5 / 2, ..ROOMY });
    let (fork, protected) = (owner("1", Trust::Fork), owner("1", Trust::Protected));
    stored(&shelf.save(&protected, "p", tree(&noise(1, 9000)).path()));
    for seed in 2..6 {
        stored(&shelf.save(&fork, &format!("f{seed}"), tree(&noise(seed, 9000)).path()));
    }
    assert!(shelf.finds(&protected, "p").is_some());
    stored(&shelf.save(&protected, "q", tree(&noise(8, 9000)).path()));
    assert!(matches!(shelf.save(&fork, "f", tree(&noise(9, 9000)).path()), Saved::Refused(_)));
    stored(&shelf.save(&protected, "r", tree(&noise(10, 9000)).path()));
}

#[test]
fn a_full_disk_is_a_remark_and_leaves_nothing() {
    let shelf = Shelf::new(CacheSettings { reserve_bytes: u64::MAX, ..ROOMY });
    let Saved::Refused(remark) = shelf.save(&owner("1", Trust::Member), "k", tree("x").path()) else { panic!() };
    assert!(remark.text.contains("is full"), "{remark:?}");
    assert!(shelf.files("").is_empty());
    assert_eq!(fs::read_dir(shelf.temp.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn an_interrupted_save_leaves_the_entry_as_it_was() {
    let shelf = Shelf::new(ROOMY);
    let member = owner("1", Trust::Member);
    shelf.save(&member, "k", tree("old").path());
    let interrupt = Interrupt::default();
    interrupt.raise();
    let job = JobKey::of(&member.forge, &crate::pipeline::JobId::new("2"), "t");
    let request = SaveRequest { owner: &member, key: b"k", job: &job, level: Level::Default, interrupt };
    let new = tree("new one");
    let error = shelf.store.save(&request, &dir(new.path()), &everything(new.path())).unwrap_err();
    assert!(matches!(error, CacheError::Archive { source: ArchiveError::Interrupted, .. }));
    assert_eq!(shelf.finds(&member, "k").as_deref(), Some("old"));
    assert_eq!(fs::read_dir(shelf.temp.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_store_of_a_newer_version_is_left_alone() {
    let shelf = Shelf::new(ROOMY);
    fs::write(shelf.temp.path().join("format"), "{\"version\":99}").unwrap();
    let clock: Clock = Arc::new(|| jiff::Timestamp::UNIX_EPOCH);
    let error = LocalCache::open(shelf.temp.path(), ROOMY, clock).err().unwrap();
    assert!(matches!(error, CacheError::Newer { found: 99, known: 1, .. }));
}

#[test]
fn leftovers_of_dead_writers_go_at_the_start() {
    let shelf = Shelf::new(ROOMY);
    let now = jiff::Timestamp::from_second(shelf.seconds.load(Ordering::Relaxed)).unwrap();
    let place = |name: &str, seconds_ago: u64| {
        let path = shelf.temp.path().join("tmp").join(name);
        let file = fs::File::create(&path).unwrap();
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(now.as_second() as u64 - seconds_ago);
        file.set_modified(at).unwrap();
        path
    };
    let (old, new) = (place("old", 100_000), place("new", 10));
    LocalCache::open(shelf.temp.path(), ROOMY, Arc::new(move || now)).unwrap();
    assert!(!old.exists() && new.exists());
}

#[test]
fn readers_and_writers_at_once_see_whole_entries() {
    let shelf = Shelf::new(CacheSettings { total_bytes: 60_000, ..ROOMY });
    let member = owner("1", Trust::Member);
    let trees: Vec<TempDir> = (0..3).map(|n| tree(&noise(n, 20_000))).collect();
    stored(&shelf.save(&member, "k", trees[0].path()));
    std::thread::scope(|scope| {
        for tree in &trees {
            scope.spawn(|| {
                for round in 0..15 {
                    shelf.save(&member, "k", tree.path());
                    shelf.save(&member, &format!("other{}", round % 4), tree.path());
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..40 {
                    let found = shelf.finds(&member, "k").unwrap();
                    assert!((0..3).any(|n| found == noise(n, 20_000)), "a mixture was restored");
                }
            });
        }
    });
}

#[test]
fn a_cache_that_cannot_be_unpacked_to_its_end_leaves_the_tree_as_it_was() {
    let shelf = Shelf::new(ROOMY);
    let tree = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(tree.path().join(name), [b'x'; 1000]).unwrap();
    }
    let owner = owner("1", Trust::Member);
    assert!(matches!(shelf.save(&owner, "k", tree.path()), Saved::Stored { .. }));
    let into = tempfile::tempdir().unwrap();
    fs::write(into.path().join("b"), "own").unwrap();
    let few = Limits { bytes: 2500, ..Limits::default() };
    assert!(shelf.try_restore(&owner, &[exact("k")], into.path(), few).is_err());
    assert_eq!(fs::read_to_string(into.path().join("b")).unwrap(), "own");
    assert_eq!(fs::read_dir(into.path()).unwrap().count(), 1);
    shelf.try_restore(&owner, &[exact("k")], into.path(), Limits::default()).unwrap();
    assert_eq!(fs::read(into.path().join("b")).unwrap().len(), 1000);
    assert_eq!(fs::read_dir(into.path()).unwrap().count(), 3);
}
