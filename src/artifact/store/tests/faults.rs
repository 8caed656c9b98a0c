//! What breaks a store, and what has to hold all the same: nothing wrong is served, what is damaged is found, the same content again
//! mends it, and what is whole is restored as before.

use std::collections::BTreeMap;
use std::ops::Range;

use super::*;

/// A tree with an object of each kind: a file with a list, small files, a manifest.
fn small(root: &Path, seed: u64) {
    fs::create_dir_all(root.join("d/empty")).unwrap();
    fs::write(root.join("cut"), [noise(100 << 10, seed), b"text ".repeat(40_000)].concat()).unwrap();
    for n in 0..20_u64 {
        fs::write(root.join(format!("d/{n}")), format!("{seed} {n}\n").repeat(n as usize)).unwrap();
    }
    std::os::unix::fs::symlink("d/1", root.join("link")).unwrap();
}

/// Random numbers, the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }

    fn within(&mut self, range: &Range<usize>) -> usize {
        range.start + self.below(range.len())
    }
}

/// The parts of a pack, as docs and `pack` have the format.
fn parts(pack: &[u8]) -> BTreeMap<&'static str, Vec<Range<usize>>> {
    let number = |at: usize, bytes: usize| pack[at..at + bytes].iter().rev().fold(0, |n, b| n << 8 | usize::from(*b));
    let trailer = pack.len() - 48;
    let (frames, objects, length) = (number(trailer, 4), number(trailer + 4, 4), number(trailer + 8, 8));
    let footer = trailer - length;
    assert_eq!(length, frames * 20 + objects * 48);
    let mut parts: BTreeMap<&'static str, Vec<Range<usize>>> = BTreeMap::new();
    for (part, place) in [("header", 0..32), ("footer", footer..trailer), ("trailer", trailer..pack.len())] {
        parts.entry(part).or_default().push(place);
    }
    for object in 0..objects {
        let record = footer + frames * 20 + object * 48;
        let kind = ["data", "list", "tree", "segment"][usize::from(pack[record + 44])];
        let frame = footer + number(record + 32, 4) * 20;
        let (start, stored) = (number(frame, 8), number(frame + 8, 4));
        parts.entry(kind).or_default().push(start..start + stored);
    }
    parts
}

/// Where in a store something is.
type Spot = (PathBuf, Range<usize>);

fn files_below(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn flip(path: &Path, bit: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[bit / 8] ^= 1 << (bit % 8);
    fs::write(path, bytes).unwrap();
}

/// A store that keeps two trees in two packs, to be damaged in copies.
struct Patient {
    bench: Bench,
    tree: PathBuf,
    other: PathBuf,
    id: ObjectId,
    other_id: ObjectId,
    /// The pack of the first.
    pack: PathBuf,
    tries: usize,
}

impl Patient {
    fn new() -> Self {
        let bench = Bench::in_memory();
        let (tree, other) = (bench.folder("tree"), bench.folder("other"));
        small(&tree, 1);
        small(&other, 2);
        let id = bench.put(&member(), "tree", &tree).put.id;
        let pack = files_below(&bench.store.home(&member()).packs()).remove(0);
        let other_id = bench.put(&member(), "other", &other).put.id;
        Self { bench, tree, other, id, other_id, pack, tries: 0 }
    }

    /// Where the file of the healthy store is in a copy of it, and the copy.
    fn damaged_copy(&mut self, file: &Path, bit: usize) -> PathBuf {
        self.tries += 1;
        let root = self.bench.temp.path().join(format!("copy{}", self.tries));
        copy(&self.bench.root(), &root);
        flip(&root.join(file.strip_prefix(self.bench.root()).unwrap()), bit);
        root
    }

    fn open(&self, root: &Path) -> Result<Bench, StoreError> {
        let store = open(root, self.bench.store.limits, None, &self.bench.seconds)?;
        let temp = tempfile::tempdir_in(self.bench.temp.path()).unwrap();
        Ok(Bench { temp, seconds: self.bench.seconds.clone(), store })
    }

    /// The tree `id` is what `tree` is, or not restored.
    fn is_served(&self, bench: &Bench, id: &ObjectId, tree: &Path) -> bool {
        let out = tempfile::tempdir_in(self.bench.temp.path()).unwrap();
        match bench.get(&member(), id, out.path()) {
            Ok(_) => {
                assert!(state(out.path()) == state(tree), "something else was restored");
                true
            }
            Err(error) => {
                assert!(error.is_damage(), "{error:?}");
                false
            }
        }
    }

    fn is_sound(&self, bench: &Bench) -> bool {
        bench.store.verify(&Verifying::default(), &Progress::default()).unwrap().is_sound()
    }

    /// Damages one bit of a part of the pack, and looks at what the store makes of it: whoever notices first.
    fn suffer(&mut self, file: &Path, bit: usize, what: &str) {
        let label = format!("{what}: bit {bit}");
        // A restore notices.
        let root = self.damaged_copy(file, bit);
        let bench = self.open(&root).unwrap();
        let served = self.is_served(&bench, &self.id, &self.tree);
        self.recover(&bench, &label);
        fs::remove_dir_all(root).unwrap();

        // A look at everything notices.
        let root = self.damaged_copy(file, bit);
        let bench = self.open(&root).unwrap();
        let found = !self.is_sound(&bench);
        assert!(found || served, "{label}: not restored, and not found either");
        self.recover(&bench, &label);
        fs::remove_dir_all(root).unwrap();
    }

    fn recover(&self, bench: &Bench, label: &str) {
        assert!(self.is_served(bench, &self.other_id, &self.other), "{label}: the rest");
        assert_eq!(bench.put(&member(), "tree", &self.tree).put.id, self.id, "{label}");
        assert!(self.is_served(bench, &self.id, &self.tree), "{label}: put again, and not mended");
        // A pack that was of no use to anybody is put aside by the first look at everything.
        assert!(self.is_sound(bench) || self.is_sound(bench), "{label}: mended, and not sound");
    }
}

#[test]
fn a_bit_of_a_pack_never_goes_unnoticed() {
    let mut patient = Patient::new();
    let pack = patient.pack.clone();
    let parts = parts(&fs::read(&pack).unwrap());
    assert_eq!(parts.len(), 7, "{parts:?}");
    let mut dice = Dice(4);
    for (what, places) in &parts {
        for _ in 0..10 {
            let place = &places[dice.below(places.len())];
            let bit = dice.within(place) * 8 + dice.below(8);
            patient.suffer(&pack, bit, what);
        }
    }
}

#[test]
fn a_pack_that_is_cut_or_gone_is_noticed() {
    let mut patient = Patient::new();
    let pack = patient.pack.clone();
    let length = fs::metadata(&pack).unwrap().len();
    for left in [Some(0), Some(1), Some(31), Some(79), Some(80), Some(length / 2), Some(length - 1), None] {
        let root = patient.damaged_copy(&pack, 0);
        let file = root.join(pack.strip_prefix(patient.bench.root()).unwrap());
        match left {
            Some(left) => fs::File::options().write(true).open(&file).unwrap().set_len(left).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let bench = patient.open(&root).unwrap();
        assert!(!patient.is_served(&bench, &patient.id, &patient.tree), "{left:?}");
        assert!(!patient.is_sound(&bench), "{left:?}");
        patient.recover(&bench, &format!("{left:?}"));
    }
}

fn spots(patient: &Patient, part: &str) -> Vec<Spot> {
    let found: Vec<PathBuf> = files_below(&patient.bench.root());
    let found = found.into_iter().filter(|path| path.to_str().unwrap().contains(part));
    found.map(|path| (path.clone(), 0..fs::metadata(&path).unwrap().len() as usize)).collect()
}

fn named(name: &str) -> Wanted {
    Wanted::Named(name.to_owned())
}

#[test]
fn a_bit_of_a_record_is_put_right_or_told() {
    let mut patient = Patient::new();
    let mut dice = Dice(5);
    for (path, range) in spots(&patient, "/records/") {
        for _ in 0..8 {
            let bit = dice.within(&range) * 8 + dice.below(8);
            let root = patient.damaged_copy(&path, bit);
            let bench = patient.open(&root).unwrap();
            for (name, id) in [("tree", patient.id), ("other", patient.other_id)] {
                let found = bench.store.find(&member(), &named(name)).unwrap().map(|found| found.info.content_hash);
                assert_eq!(found, Some(id), "the index has it");
            }
            assert!(patient.is_sound(&bench));
            drop(bench);
            let file = root.join(path.strip_prefix(patient.bench.root()).unwrap());
            let read = |path: &Path| record::from_bytes::<record::Record>(&fs::read(path).unwrap());
            assert!(read(&file).is_some() && read(&file) == read(&path), "written again");
            fs::remove_dir_all(root).unwrap();

            // The index is lost as well: nobody knows any more what was kept.
            let root = patient.damaged_copy(&path, bit);
            fs::remove_file(root.join("index.db")).unwrap();
            let bench = patient.open(&root).unwrap();
            let found = ["tree", "other"].map(|name| bench.store.find(&member(), &named(name)).unwrap());
            // A bit can make a hexadecimal digit a capital: then nothing was damaged.
            let lost = found.iter().filter(|found| found.is_none()).count();
            assert!(lost <= 1);
            assert_eq!(patient.is_sound(&bench), lost == 0);
            patient.bench.pass(400 * 24 * 3600);
            let collected = bench.collect();
            patient.bench.pass(-400 * 24 * 3600);
            assert_eq!(collected.lost_records, lost);
            assert!(lost == 0 || collected.deleted == 0, "nothing goes while a record is lost");
            if lost == 1 {
                assert!(patient.is_served(&bench, &patient.id, &patient.tree), "its objects are still there");
                bench.put(&member(), "tree", &patient.tree);
                bench.put(&member(), "other", &patient.other);
                assert!(patient.is_sound(&bench), "put again, and still lost");
            }
            fs::remove_dir_all(root).unwrap();
        }
    }
}

#[test]
fn a_bit_of_the_index_changes_no_content() {
    let mut patient = Patient::new();
    // Everything in one file, as after a clean end.
    let index = patient.bench.root().join("index.db");
    rusqlite::Connection::open(&index).unwrap().pragma_update(None, "wal_checkpoint", "TRUNCATE").unwrap();
    let length = fs::metadata(&index).unwrap().len() as usize;
    let mut dice = Dice(6);
    for _ in 0..80 {
        let bit = dice.below(length) * 8 + dice.below(8);
        let root = patient.damaged_copy(&index, bit);
        let label = format!("bit {bit}");
        let bench = patient.open(&root).unwrap_or_else(|error| panic!("{label}: {error:?}"));
        for (name, id) in [("tree", patient.id), ("other", patient.other_id)] {
            if let Ok(Some(found)) = bench.store.find(&member(), &named(name)) {
                assert_eq!(found.info.content_hash, id, "{label}");
            }
        }
        assert!(patient.is_served(&bench, &patient.id, &patient.tree), "{label}: the index was needed");
        // A look at everything puts it right.
        bench.store.verify(&Verifying::default(), &Progress::default()).unwrap_or_else(|e| panic!("{label}: {e:?}"));
        for (name, id) in [("tree", patient.id), ("other", patient.other_id)] {
            let found = bench.store.find(&member(), &named(name)).unwrap_or_else(|error| panic!("{label}: {error:?}"));
            assert_eq!(found.map(|found| found.info.content_hash), Some(id), "{label}: {name}");
        }
        assert!(patient.is_sound(&bench), "{label}");
        fs::remove_dir_all(root).unwrap();
    }
}

#[test]
fn an_index_that_says_something_else_is_not_believed() {
    for lie in [
        "DELETE FROM kept",
        "DELETE FROM held",
        "UPDATE kept SET name = 'tree'",
        "UPDATE kept SET tree = (SELECT max(tree) FROM kept)",
        "UPDATE kept SET record = (SELECT max(record) FROM kept)",
        "UPDATE kept SET record = replace(record, 'tree', 'other')",
        "UPDATE kept SET record = '{}'",
        "UPDATE usage SET bytes = 0",
        "UPDATE kept SET owner = '0123456789abcdef'",
        "INSERT INTO kept SELECT owner, 'ff' || substr(key, 3), 'invented', tree, created_at, last_accessed, record FROM kept",
        "DROP TABLE kept",
    ] {
        let patient = Patient::new();
        patient.bench.store.pin(&member(), patient.id).unwrap();
        let index = patient.bench.root().join("index.db");
        rusqlite::Connection::open(index).unwrap().execute_batch(lie).unwrap();
        for (name, id) in [("tree", patient.id), ("other", patient.other_id), ("invented", patient.id)] {
            if let Ok(Some(found)) = patient.bench.store.find(&member(), &named(name)) {
                assert!(name != "invented" && found.info.content_hash == id, "{lie}: {name} is {:?}", found.info);
            }
        }
        // Nothing is removed on its word: one is pinned, the other in grace.
        if let Ok(Some(collected)) = patient.bench.try_collect() {
            assert_eq!(collected.deleted, 0, "{lie}");
        }
        assert!(patient.is_served(&patient.bench, &patient.id, &patient.tree), "{lie}");
        assert!(patient.is_served(&patient.bench, &patient.other_id, &patient.other), "{lie}");
        patient.bench.store.verify(&Verifying::default(), &Progress::default()).unwrap();
        for (name, id) in [("tree", Some(patient.id)), ("other", Some(patient.other_id)), ("invented", None)] {
            let found = patient.bench.store.find(&member(), &named(name)).unwrap();
            assert_eq!(found.map(|found| found.info.content_hash), id, "{lie}: {name}");
        }
        let listed = patient.bench.store.list(None).unwrap();
        assert_eq!(listed.iter().map(|listed| listed.references).sum::<u32>(), 1, "{lie}");
    }
}

impl Bench {
    pub(super) fn collect(&self) -> Collected {
        self.try_collect().unwrap().unwrap()
    }

    fn try_collect(&self) -> Result<Option<Collected>, StoreError> {
        self.collect_within(super::super::alone::Patience::COLLECTION)
    }

    pub(super) fn collect_within(
        &self,
        patience: super::super::alone::Patience,
    ) -> Result<Option<Collected>, StoreError> {
        let policies = crate::artifact::retention::Policies::default();
        let how = Collection {
            policies: &policies,
            cycle: Default::default(),
            is_dry_run: false,
            elapsed: None,
            interrupt: Interrupt::default(),
        };
        self.store.collect_within(&how, patience)
    }
}

#[test]
fn a_bit_of_what_was_seen_changes_no_tree() {
    let mut patient = Patient::new();
    let mut dice = Dice(7);
    // Files that have just been made prove nothing yet.
    while spots(&patient, "/seen/").len() < 2 {
        patient.bench.put(&member(), "tree", &patient.tree);
        patient.bench.put(&member(), "other", &patient.other);
    }
    for (path, range) in spots(&patient, "/seen/") {
        // More than a bit: the last file is said to be another one that the store knows.
        let good = fs::read(&path).unwrap();
        let id = good.len() - 64..good.len() - 32;
        let known = ObjectId::of(&fs::read(patient.tree.join("d/1")).unwrap());
        let mut lie = good.clone();
        lie[id].copy_from_slice(known.as_bytes());
        fs::write(&path, lie).unwrap();
        assert_eq!(patient.bench.put(&member(), "tree", &patient.tree).put.id, patient.id);
        assert_eq!(patient.bench.put(&member(), "other", &patient.other).put.id, patient.other_id);
        fs::write(&path, good).unwrap();
        for _ in 0..40 {
            let root = patient.damaged_copy(&path, dice.within(&range) * 8 + dice.below(8));
            let bench = patient.open(&root).unwrap();
            assert_eq!(bench.put(&member(), "tree", &patient.tree).put.id, patient.id);
            assert_eq!(bench.put(&member(), "other", &patient.other).put.id, patient.other_id);
            assert!(patient.is_served(&bench, &patient.id, &patient.tree));
            fs::remove_dir_all(root).unwrap();
        }
    }
}

#[test]
fn a_bit_of_the_small_files_is_survived() {
    let mut patient = Patient::new();
    // Makes `time`.
    patient.bench.collect();
    for (part, files) in [("store/format", 2), ("store/time", 1), ("/owner.json", 1)] {
        let spots = spots(&patient, part);
        assert_eq!(spots.len(), files, "{part}");
        let mut dice = Dice(8);
        for (path, range) in spots.iter().cycle().take(40) {
            let bit = dice.within(range) * 8 + dice.below(8);
            let root = patient.damaged_copy(path, bit);
            let label = format!("{part}: bit {bit}");
            let bench = patient.open(&root).unwrap_or_else(|error| panic!("{label}: {error}"));
            assert!(patient.is_served(&bench, &patient.id, &patient.tree), "{label}");
            assert_eq!(bench.collect().deleted, 0, "{label}");
            let owners = || bench.store.stats().unwrap().room.owners.into_keys().collect::<Vec<Owner>>();
            assert!(owners().iter().all(|owner| *owner == member()), "{label}: {:?}", owners());
            bench.put(&member(), "again", &patient.tree);
            assert_eq!(owners(), [member()], "{label}");
            drop(bench);
            fs::remove_dir_all(root).unwrap();
        }
    }
}
