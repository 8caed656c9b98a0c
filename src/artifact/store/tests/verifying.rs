//! What is said of whether things are whole: while nobody looked, while somebody looks, and after.

use super::super::looking::Looking;
use super::super::{disk, session};
use super::*;

fn known(store: &Store) -> Verification {
    let listed = store.list(None).unwrap();
    store.verifications().unwrap().of(&listed[0].info)
}

fn all() -> Verifying {
    Verifying::default()
}

fn verify(bench: &Bench) -> Verified {
    bench.store.verify(&all(), &Progress::default()).unwrap()
}

/// A store that keeps one file of this content, which does not compress.
fn keeping(content: &[u8]) -> (Bench, Kept) {
    let bench = Bench::in_memory();
    let tree = bench.folder("tree");
    fs::write(tree.join("file"), content).unwrap();
    let kept = bench.put(&member(), "name", &tree);
    (bench, kept)
}

/// Changes a bit of the content in its pack, and tells what is there now.
fn damage(bench: &Bench, content: &[u8]) -> Vec<u8> {
    for path in disk::fanned(&bench.store.home(&member()).packs()).unwrap() {
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(64).position(|some| some == &content[..64]) {
            bytes[at] ^= 1;
            fs::write(path, bytes).unwrap();
        }
    }
    let mut changed = content.to_vec();
    changed[0] ^= 1;
    changed
}

#[test]
fn what_nobody_looked_at_is_pending_and_again_after_it_was_mended() {
    let content = noise(50 << 10, 1);
    let (bench, kept) = keeping(&content);
    let pending = Verification::pending(kept.put.id);
    assert_eq!(known(&bench.store), pending);
    let verified = verify(&bench).kept.remove(0).2;
    assert_eq!((verified.result, verified.calculated), (VerificationResult::Valid, Some(kept.put.id)));
    assert_eq!(known(&bench.store), verified);
    damage(&bench, &content);
    assert!(!verify(&bench).is_sound());
    bench.put(&member(), "name", &bench.temp.path().join("tree"));
    assert_eq!(known(&bench.store), pending);
}

#[test]
fn what_is_damaged_is_told_by_the_hash_of_what_is_there() {
    let content = noise(50 << 10, 1);
    for notices in ["a look at everything", "a look at one tree", "a restore"] {
        let (bench, kept) = keeping(&content);
        let there = ObjectId::of(&damage(&bench, &content));
        let id = kept.put.id;
        let result = match notices {
            "a look at everything" => bench.store.verify(&all(), &Progress::default()).map(drop),
            "a look at one tree" => {
                bench.store.verify(&Verifying { only: Some(id), ..all() }, &Progress::default()).map(drop)
            }
            _ => bench.get(&member(), &id, &bench.folder("out")).map(drop),
        };
        assert_eq!(result.is_err(), notices == "a restore");
        let found = known(&bench.store);
        assert_eq!((found.result, found.expected), (VerificationResult::Corrupted, id), "{notices}");
        assert_eq!((found.object, found.calculated), (Some(ObjectId::of(&content)), Some(there)), "{notices}");
        // It has been put aside; nobody has it, and nobody was asked for it.
        for _ in 0..5 {
            verify(&bench);
        }
        let found = known(&bench.store);
        assert_eq!((found.result, found.retry_count), (VerificationResult::Missing, 0), "{notices}");
        assert_eq!((found.object, found.calculated), (Some(ObjectId::of(&content)), None), "{notices}");
    }
}

#[test]
fn what_is_being_looked_at_is_verifying_for_as_long_as_that_takes() {
    let (bench, kept) = keeping(&noise(50 << 10, 1));
    let interrupt = Interrupt::default();
    let how = Verifying { rate: Some(1), interrupt: interrupt.clone(), ..all() };
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| bench.store.verify(&how, &Progress::default()).map(drop));
        // So slowly that it never ends by itself.
        while known(&bench.store).result != VerificationResult::Verifying {
            std::thread::yield_now();
        }
        interrupt.raise();
        assert!(matches!(looking.join().unwrap(), Err(StoreError::Interrupted)));
    });
    assert_eq!(known(&bench.store), Verification::pending(kept.put.id));
    // Only the one that is looked at.
    let looking = Looking::begin(&bench.store.layout);
    looking.at(&member().slug(), Some(&ObjectId::of(b"another")));
    assert_eq!(known(&bench.store).result, VerificationResult::Pending);
    looking.at(&member().slug(), Some(&kept.put.id));
    assert_eq!(known(&bench.store).result, VerificationResult::Verifying);
}

#[test]
fn nothing_is_verifying_for_ever_when_whoever_looked_was_killed() {
    let (bench, _) = keeping(b"x");
    let dead = bench.root().join("sessions/dead");
    fs::create_dir(&dead).unwrap();
    fs::write(dead.join("lock"), "").unwrap();
    fs::write(dead.join("verifying"), format!("{} \n", member().slug())).unwrap();
    assert_eq!(known(&bench.store).result, VerificationResult::Verifying);
    // Whoever comes next removes it.
    let next = open(&bench.root(), Limits::default(), None, &bench.seconds).unwrap();
    assert_eq!([known(&next).result, known(&bench.store).result], [VerificationResult::Pending; 2]);
}

#[test]
fn a_look_that_cannot_mend_what_it_found_has_noted_it() {
    let content = noise(50 << 10, 1);
    let (bench, kept) = keeping(&content);
    verify(&bench);
    let there = ObjectId::of(&damage(&bench, &content));
    let week = std::time::Duration::from_secs(7 * 24 * 3600);
    assert!(!bench.store.is_scrub_due(week).unwrap());
    let bytes = fs::metadata(&disk::fanned(&bench.store.home(&member()).packs()).unwrap()[0]).unwrap().len();
    let (interrupt, progress) = (Interrupt::default(), Progress::default());
    let collector = session::collector(&bench.store.layout).unwrap();
    let how = Verifying { interrupt: interrupt.clone(), ..all() };
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| bench.store.verify(&how, &progress).map(drop));
        // All has been read; now it waits for the collector.
        while progress.bytes() < bytes {
            std::thread::yield_now();
        }
        interrupt.raise();
        assert!(matches!(looking.join().unwrap(), Err(StoreError::Interrupted)));
    });
    drop(collector);
    let found = known(&bench.store);
    assert_eq!((found.result, found.expected), (VerificationResult::Corrupted, kept.put.id));
    assert_eq!((found.object, found.calculated), (Some(ObjectId::of(&content)), Some(there)));
    assert!(bench.store.is_scrub_due(week).unwrap(), "what was found is still to be dealt with");
}

#[test]
fn how_something_is_stored_is_what_its_frames_say() {
    let bench = Bench::in_memory();
    let stored_as = |files: &[(&str, Vec<u8>)]| {
        let tree = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, content)| fs::write(tree.path().join(name), content).unwrap());
        bench.put(&member(), "name", tree.path());
        let found = bench.store.find(&member(), &Wanted::Named("name".to_owned())).unwrap().unwrap();
        bench.store.compression(&found.info).unwrap()
    };
    let (raw, text) = (noise(300 << 10, 1), b"text ".repeat(60_000));
    assert_eq!(stored_as(&[("file", raw.clone())]), Some(Compression::Raw));
    assert_eq!(stored_as(&[("file", text.clone())]), Some(Compression::Zstd));
    assert_eq!(stored_as(&[("one", raw), ("other", text)]), Some(Compression::Mixed));
    assert_eq!(stored_as(&[("nothing", Vec::new())]), None);
}

#[test]
fn which_jobs_used_something_outlives_the_index() {
    let (bench, _) = keeping(b"x");
    let job = |id: &str| crate::pipeline::JobKey::of(&member().forge, &crate::pipeline::JobId::new(id), "token");
    let found = bench.store.list(None).unwrap().remove(0);
    for id in ["1", "2", "1"] {
        bench.store.used(&found, Some(&job(id))).unwrap();
    }
    let consumers = |store: &Store| store.list(None).unwrap().remove(0).consumers;
    let mut expected: Vec<String> = ["1", "2"].map(|id| job(id).as_str().to_owned()).into();
    expected.sort();
    assert_eq!(consumers(&bench.store), expected);
    fs::remove_file(bench.root().join("index.db")).unwrap();
    assert_eq!(consumers(&bench.store), expected);
    let next = open(&bench.root(), Limits::default(), None, &bench.seconds).unwrap();
    assert_eq!(consumers(&next), expected);
}

#[test]
fn what_another_tree_has_brought_back_is_told_to_be_whole_as_soon_as_it_is_restored() {
    let content = noise(50 << 10, 1);
    let (bench, kept) = keeping(&content);
    damage(&bench, &content);
    assert!(!verify(&bench).is_sound());
    let other = bench.folder("other");
    fs::write(other.join("another name"), &content).unwrap();
    bench.put(&member(), "other", &other);
    let known = || {
        let listed = bench.store.list(None).unwrap();
        let this = listed.iter().find(|listed| listed.info.content_hash == kept.put.id).unwrap();
        bench.store.verifications().unwrap().of(&this.info)
    };
    assert_eq!(known().result, VerificationResult::Corrupted, "nobody looked since");
    bench.get(&member(), &kept.put.id, &bench.folder("out")).unwrap();
    assert_eq!((known().result, known().object), (VerificationResult::Valid, None));
}

#[test]
fn a_slow_look_at_one_tree_keeps_to_its_rate_and_nobody_waiting() {
    use super::super::alone::{Patience, alone};
    let (bench, kept) = keeping(&noise(50 << 10, 1));
    let (interrupt, progress) = (Interrupt::default(), Progress::default());
    let how = Verifying { only: Some(kept.put.id), rate: Some(1), interrupt: interrupt.clone() };
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| bench.store.verify(&how, &progress));
        // What is read first takes hours at this rate.
        while progress.bytes() == 0 {
            assert!(!looking.is_finished(), "it is not kept to its rate");
            std::thread::yield_now();
        }
        assert!(alone(&bench.store.layout, Patience::JOB, &Interrupt::default()).unwrap().is_some());
        assert_eq!(known(&bench.store).result, VerificationResult::Verifying);
        interrupt.raise();
        assert!(matches!(looking.join().unwrap(), Err(StoreError::Interrupted)));
    });
    assert_eq!(known(&bench.store), Verification::pending(kept.put.id));
}

#[test]
fn what_was_read_of_one_tree_is_told_and_only_that_is_read() {
    let content = noise(50 << 10, 1);
    let (bench, kept) = keeping(&content);
    let other = bench.folder("other");
    fs::write(other.join("file"), noise(1 << 20, 2)).unwrap();
    let other = bench.put(&member(), "other", &other);
    let verify = |only| bench.store.verify(&Verifying { only, ..all() }, &Progress::default()).unwrap();
    let verified = verify(Some(kept.put.id));
    // The root of the manifest, its one segment, and the file.
    assert_eq!((verified.objects, verified.kept.len()), (3, 1));
    assert!(verified.is_sound() && (50 << 10..100 << 10).contains(&verified.bytes), "{} bytes", verified.bytes);
    assert!(verify(None).objects > verified.objects);
    // What is wrong with another tree is not looked for; with this one, it is told and put aside.
    damage(&bench, &content);
    assert!(verify(Some(other.put.id)).is_sound());
    let verified = verify(Some(kept.put.id));
    assert_eq!(verified.damaged_packs.len(), 1);
    assert_eq!(verified.kept[0].2.result, VerificationResult::Corrupted);
}
