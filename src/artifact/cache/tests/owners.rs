//! Who may read, change and learn of what: every trust of an attacker against every trust of a victim, in the same project, in
//! another one and at another forge. The attackers know everything: keys, ids, contents, job keys.

use std::collections::BTreeMap;

use super::*;
use crate::artifact::retention::Expiry;
use crate::artifact::store::{Files, Keep, Listed, Progress, PutOptions, What};

/// A pair of owners that are not the same.
struct Cell {
    attacker: Owner,
    victim: Owner,
    label: String,
    /// Design, section 8: inside a project, what is trusted as much or more.
    may_read: bool,
}

const TRUSTS: [Trust; 3] = [Trust::Protected, Trust::Member, Trust::Fork];

fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for victim_trust in TRUSTS {
        let victim = owner("1", victim_trust);
        for attacker_trust in TRUSTS {
            let same = owner("1", attacker_trust);
            let elsewhere = Owner { forge: ForgeInstance::new("https://other.example.com"), ..same.clone() };
            for (place, attacker) in
                [("same project", same), ("other project", owner("2", attacker_trust)), ("other forge", elsewhere)]
            {
                if attacker == victim {
                    continue;
                }
                let may_read = place == "same project"
                    && matches!(
                        (attacker_trust, victim_trust),
                        (Trust::Fork, Trust::Member | Trust::Protected) | (Trust::Member, Trust::Protected)
                    );
                let label = format!("{attacker_trust}, {place}, against {victim_trust}");
                cells.push(Cell { attacker, victim: victim.clone(), label, may_read });
            }
        }
    }
    assert_eq!(cells.len(), 24);
    cells
}

/// What a victim keeps, and what an attacker knows of it.
struct Known {
    files: TempDir,
    cache: ObjectId,
    artifact: ObjectId,
    job: JobKey,
}

const KEY: &str = "deps-linux";
const NAME: &str = "release";
/// Bytes of a tree.
const LENGTH: u32 = 9000;

fn content() -> String {
    noise(77, LENGTH)
}

/// What the victim keeps. Made long ago, so that whoever puts it a second time need not read it.
fn files() -> TempDir {
    aged(&content())
}

fn aged(content: &str) -> TempDir {
    let files = tree(content);
    let file = fs::File::options().write(true).open(files.path().join("f")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000)).unwrap();
    files
}

impl Shelf {
    fn keep(&self, owner: &Owner, name: &str, tree: &Path) -> store::Kept {
        let keep = Keep {
            owner,
            what: What::Artifact { name: Some(name.to_owned()) },
            root: &dir(tree),
            files: Files::Everything,
            options: PutOptions { owners: true, ..PutOptions::default() },
            expires: Expiry::None,
            producer: None,
            job: None,
            pipeline: None,
            origin: None,
            metadata: BTreeMap::new(),
            interrupt: Interrupt::default(),
            progress: &Progress::default(),
        };
        self.store.put(&keep).unwrap()
    }

    /// The victim keeps a cache and an artifact, has pinned one and holds the other.
    fn furnish(&self, victim: &Owner, files: TempDir) -> Known {
        stored(&self.save(victim, KEY, files.path()));
        let artifact = self.keep(victim, NAME, files.path()).put.id;
        let known = Known { cache: self.tree_of(victim, KEY), artifact, job: job_of(victim, "queued"), files };
        self.store.pin(victim, known.cache).unwrap();
        self.store.hold(victim, &known.job, &[known.artifact], &Interrupt::default()).unwrap();
        known
    }

    /// Everything that can be seen of what an owner keeps: in the index, and on disk.
    fn belongings(&self, owner: &Owner) -> (Vec<Listed>, BTreeMap<PathBuf, Vec<u8>>) {
        let files = self.files(&owner.slug()).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        (self.store.list(Some(owner)).unwrap(), files)
    }

    fn by_keys(&self, reader: &Owner, wanted: Wanted) -> Option<String> {
        let into = tempfile::tempdir().unwrap();
        match self.restore_into(reader, &[wanted], into.path()) {
            Restored::Hit(_) => Some(fs::read_to_string(into.path().join("f")).unwrap()),
            Restored::Miss { remarks } => {
                assert_eq!(remarks, [], "a miss tells of something");
                assert_eq!(fs::read_dir(into.path()).unwrap().count(), 0, "a miss left something");
                None
            }
        }
    }

    fn by_name(&self, reader: &Owner, name: String) -> Option<String> {
        let found = self.store.find(reader, &store::Wanted::Named(name)).unwrap()?;
        self.by_id(&found.info.owner, &found.info.content_hash)
    }

    fn by_id(&self, keeper: &Owner, id: &ObjectId) -> Option<String> {
        let into = tempfile::tempdir().unwrap();
        let got = self.store.restore(keeper, id, &dir(into.path()), &Progress::default(), &Interrupt::default());
        let content = fs::read_to_string(into.path().join("f")).ok();
        assert_eq!(got.is_ok(), content.is_some(), "{got:?}");
        content
    }
}

type ReadAttack = fn(&Shelf, &Owner, &Known) -> Option<String>;

/// Ways to get at the victim's content. The last two do not ask who may read whom: they must never work.
const READS: [(&str, ReadAttack); 9] = [
    ("the key", |shelf, attacker, _| shelf.by_keys(attacker, exact(KEY))),
    ("the beginning of the key", |shelf, attacker, _| shelf.by_keys(attacker, Wanted::Prefix(b"deps-".to_vec()))),
    ("the beginning of every key", |shelf, attacker, _| shelf.by_keys(attacker, Wanted::Prefix(Vec::new()))),
    ("the name", |shelf, attacker, _| shelf.by_name(attacker, NAME.to_owned())),
    ("the id", |shelf, attacker, known| shelf.by_name(attacker, known.artifact.to_string())),
    ("the beginning of the id", |shelf, attacker, known| {
        shelf.by_name(attacker, known.artifact.to_string()[..12].to_owned())
    }),
    ("the id of a cache", |shelf, attacker, known| shelf.by_name(attacker, known.cache.to_string())),
    ("the id, among its own", |shelf, attacker, known| shelf.by_id(attacker, &known.artifact)),
    ("the id, pinned before", |shelf, attacker, known| {
        shelf.store.pin(attacker, known.cache).unwrap();
        shelf.store.hold(attacker, &known.job, &[known.cache], &Interrupt::default()).unwrap();
        shelf.by_id(attacker, &known.cache)
    }),
];

#[test]
fn nobody_reads_what_is_not_for_him() {
    for cell in cells() {
        let shelf = Shelf::new(ROOMY);
        let known = shelf.furnish(&cell.victim, files());
        for (number, (attack, run)) in READS.iter().enumerate() {
            let before = shelf.belongings(&cell.victim);
            let expected = (cell.may_read && number < READS.len() - 2).then(content);
            assert!(run(&shelf, &cell.attacker, &known) == expected, "{}: by {attack}", cell.label);
            if expected.is_none() {
                assert!(shelf.belongings(&cell.victim) == before, "{}: {attack} left a trace", cell.label);
            }
        }
    }
}

type WriteAttack = fn(&Shelf, &Owner, &Known);

/// Ways to change what the victim finds, or to have it removed.
const WRITES: [(&str, WriteAttack); 7] = [
    ("other content under the key", |shelf, attacker, _| {
        stored(&shelf.save(attacker, KEY, tree("evil").path()));
        assert_eq!(shelf.finds(attacker, KEY).as_deref(), Some("evil"), "its own comes first");
    }),
    ("the same content under the key", |shelf, attacker, known| {
        stored(&shelf.save(attacker, KEY, known.files.path()));
    }),
    ("other content under the name", |shelf, attacker, _| {
        shelf.keep(attacker, NAME, tree("evil").path());
    }),
    ("taking the pin away", |shelf, attacker, known| {
        assert!(!shelf.store.unpin(attacker, &known.cache).unwrap());
    }),
    ("ending the job that holds it", |shelf, attacker, known| {
        assert!(!shelf.store.release(attacker, &known.job, ReferenceCause::JobFailed).unwrap());
    }),
    ("pins and references of its own", |shelf, attacker, known| {
        for tree in [known.cache, known.artifact] {
            shelf.store.pin(attacker, tree).unwrap();
            shelf.store.hold(attacker, &known.job, &[tree], &Interrupt::default()).unwrap();
            assert!(shelf.store.unpin(attacker, &tree).unwrap());
        }
        assert!(shelf.store.release(attacker, &known.job, ReferenceCause::JobFailed).unwrap());
    }),
    ("filling the store", |shelf, attacker, _| {
        let kept = (100..108).map(|seed| shelf.save(attacker, &format!("f{seed}"), tree(&noise(seed, LENGTH)).path()));
        assert!(kept.filter(|saved| matches!(saved, Saved::Stored { .. })).count() > 0);
    }),
];

#[test]
fn nobody_changes_what_another_keeps() {
    let size = size_of(LENGTH);
    for cell in cells() {
        // So little room that filling it drives somebody out. Neither a pin nor a job keeps the second cache.
        let limits = store::Limits { total_bytes: size * 9 / 2, project_bytes: size * 9 / 2, ..ROOMY };
        let shelf = Shelf::new(limits);
        let known = shelf.furnish(&cell.victim, files());
        stored(&shelf.save(&cell.victim, "unprotected", tree(&noise(78, LENGTH)).path()));
        for (attack, run) in WRITES {
            let before = shelf.belongings(&cell.victim);
            run(&shelf, &cell.attacker, &known);
            assert!(shelf.belongings(&cell.victim) == before, "{}: {attack}", cell.label);
            assert_eq!(shelf.finds(&cell.victim, KEY), Some(content()), "{}: {attack}", cell.label);
            assert_eq!(shelf.by_name(&cell.victim, NAME.to_owned()), Some(content()), "{}: {attack}", cell.label);
        }
    }
}

/// Everything that an attacker sees who tries to find out whether somebody has this content.
fn answers(shelf: &Shelf, cell: &Cell, known: &Known) -> Vec<String> {
    let attacker = &cell.attacker;
    let mut seen = Vec::new();
    let mut see = |answer: &dyn std::fmt::Debug| seen.push(format!("{answer:?}"));
    if !cell.may_read {
        see(&shelf.by_keys(attacker, exact(KEY)));
        see(&shelf.by_keys(attacker, Wanted::Prefix(b"d".to_vec())));
        see(&shelf.by_name(attacker, known.artifact.to_string()));
    }
    let into = tempfile::tempdir().unwrap();
    let (progress, none) = (Progress::default(), Interrupt::default());
    let denied = shelf.store.restore(attacker, &known.artifact, &dir(into.path()), &progress, &none);
    see(&denied.map_err(|error| error.to_string()));
    see(&shelf.store.unpin(attacker, &known.cache).unwrap());
    see(&shelf.store.release(attacker, &known.job, ReferenceCause::JobFailed).unwrap());
    // The known content, then the same again: how much is new, whether it is up to date, what is remarked.
    for key in [KEY, KEY, "other"] {
        see(&shelf.save(attacker, key, known.files.path()));
    }
    see(&shelf.keep(attacker, NAME, known.files.path()));
    // How much room that took: what goes for the next ones.
    for seed in 50..54 {
        see(&shelf.save(attacker, &format!("{seed}"), aged(&noise(seed, LENGTH)).path()));
    }
    see(&shelf
        .store
        .list(Some(attacker))
        .unwrap()
        .iter()
        .map(|listed| (listed.info.stored_size, listed.last_accessed, listed.references))
        .collect::<Vec<_>>());
    seen
}

#[test]
fn nobody_learns_what_another_keeps() {
    // An owner's room is so small that the attacker notices every byte that is or is not counted as his.
    let limits = store::Limits { owner_bytes: size_of(LENGTH) * 5 / 2, ..ROOMY };
    for cell in cells() {
        let with = Shelf::ticking(limits, 0);
        let known = with.furnish(&cell.victim, files());
        let without = Shelf::ticking(limits, 0);
        let (with, without) = (answers(&with, &cell, &known), answers(&without, &cell, &known));
        assert_eq!(with, without, "{}", cell.label);
    }
}

#[test]
fn a_pin_on_anothers_tree_keeps_nothing() {
    let limits = store::Limits { owner_bytes: size_of(LENGTH) * 5 / 2, ..ROOMY };
    for cell in cells() {
        let shelf = Shelf::new(limits);
        let (attacker, victim) = (&cell.attacker, &cell.victim);
        for (seed, key) in (0..).zip(["a", "b"]) {
            stored(&shelf.save(victim, key, tree(&noise(seed, LENGTH)).path()));
        }
        let tree_of_a = shelf.tree_of(victim, "a");
        shelf.store.pin(attacker, tree_of_a).unwrap();
        shelf.store.hold(attacker, &job_of(attacker, "j"), &[tree_of_a], &Interrupt::default()).unwrap();
        stored(&shelf.save(victim, "c", tree(&noise(2, LENGTH)).path()));
        assert_eq!(shelf.finds(victim, "a"), None, "{}", cell.label);
        // Nor does it stand in the way of the one who has it.
        for seed in 3..6 {
            stored(&shelf.save(attacker, &format!("{seed}"), tree(&noise(seed, LENGTH)).path()));
        }
    }
}

#[test]
fn forks_never_take_all_of_their_projects_room() {
    let size = size_of(LENGTH);
    let shelf = Shelf::new(store::Limits { project_bytes: size * 9 / 2, ..ROOMY });
    let (fork, member) = (owner("1", Trust::Fork), owner("1", Trust::Member));
    for seed in 0..8 {
        stored(&shelf.save(&fork, &format!("f{seed}"), tree(&noise(seed, LENGTH)).path()));
    }
    for (seed, key) in (20..).zip(["a", "b"]) {
        stored(&shelf.save(&member, key, tree(&noise(seed, LENGTH)).path()));
    }
    assert!(shelf.finds(&member, "a").is_some() && shelf.finds(&member, "b").is_some());
    assert!(shelf.stored_bytes() <= size * 9 / 2, "the project's quota holds");
}

#[test]
fn a_record_moved_to_another_owner_is_not_believed() {
    let shelf = Shelf::new(ROOMY);
    let (fork, protected) = (owner("1", Trust::Fork), owner("1", Trust::Protected));
    shelf.save(&fork, KEY, tree("evil").path());
    let owners = shelf.temp.path().join("owners");
    fs::rename(owners.join(fork.slug()), owners.join(protected.slug())).unwrap();
    assert_eq!(shelf.finds(&protected, KEY), None);
    fs::remove_file(shelf.temp.path().join("index.db")).unwrap();
    let clock: Clock = Arc::new(|| jiff::Timestamp::UNIX_EPOCH);
    let again = LocalCache::new(Arc::new(Store::open(shelf.temp.path(), ROOMY, None, clock).unwrap()));
    let shelf = Shelf { caches: again, ..shelf };
    assert_eq!(shelf.finds(&protected, KEY), None, "also where the index is made anew");
}
