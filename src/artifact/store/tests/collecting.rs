//! Collections: what goes takes nothing with it that somebody counts on.

use std::time::Duration;

use super::super::alone::Patience;
use super::*;
use crate::artifact::retention::Withdrawal;

/// What is kept under this name goes with the next collection.
fn let_go(bench: &Bench, kept: &Kept) {
    assert!(bench.store.forget_name(&member(), &kept.key, Withdrawal::NotTaken).unwrap());
}

fn packs(bench: &Bench) -> usize {
    super::super::disk::fanned(&bench.store.home(&member()).packs()).unwrap().len()
}

#[test]
fn an_unchanged_file_whose_list_outlived_its_chunks_is_stored_again() {
    let bench = Bench::new();
    let (tree, other) = (bench.folder("tree"), bench.folder("other"));
    let mut content = noise(6 << 20, 1);
    fs::write(tree.join("x"), &content).unwrap();
    let first = bench.put(&member(), "first", &tree);
    // The second pack has the new list, a chunk, and much that will be needed by others.
    content[0] ^= 1;
    fs::write(tree.join("x"), &content).unwrap();
    let large = noise(16 << 20, 2);
    fs::write(tree.join("y"), &large).unwrap();
    settle();
    let second = bench.put(&member(), "second", &tree);
    fs::write(other.join("y"), &large).unwrap();
    let kept = bench.put(&member(), "kept", &other);
    assert_eq!(packs(&bench), 3);
    let_go(&bench, &first);
    let_go(&bench, &second);
    bench.collect();
    assert_eq!(packs(&bench), 2, "the chunks go, and the list stays in a pack that is needed");

    let again = bench.put(&member(), "again", &tree);
    assert_eq!(again.put.id, second.put.id);
    assert!(again.put.new_bytes > 5 << 20, "{} bytes", again.put.new_bytes);
    for (id, expected) in [(again.put.id, &tree), (kept.put.id, &other)] {
        let out = tempfile::tempdir_in(bench.temp.path()).unwrap();
        bench.get(&member(), &id, out.path()).unwrap();
        assert_eq!(state(out.path()), state(expected));
    }
}

#[test]
fn an_unchanged_file_whose_list_is_damaged_is_stored_again_with_it() {
    let week = std::time::Duration::from_secs(7 * 24 * 3600);
    let mut is_seen = [false; 2];
    // Whichever of the two packs comes first: that goes by their ids, which are as good as dice.
    for seed in 1..=100 {
        let bench = Bench::new();
        let tree = bench.folder("tree");
        let content = noise(2 << 20, seed);
        fs::write(tree.join("x"), &content).unwrap();
        settle();
        let kept = bench.put(&member(), "a", &tree);
        bench.store.verify(&Verifying::default(), &Progress::default()).unwrap();
        let damaged = flip_list(&bench, &content);
        bench.put(&member(), "a", &tree);
        let packs = super::super::disk::fanned(&bench.store.home(&member()).packs()).unwrap();
        let is_first = packs.first() == Some(&damaged);
        let is_served = |name: &str| {
            let out = bench.folder(name);
            bench.get(&member(), &kept.put.id, &out).unwrap();
            assert_eq!(state(&out), state(&tree), "of {seed} {name}");
        };
        bench.collect();
        // What it comes upon; behind a whole copy of the list it is the weekly reading that finds it.
        assert_eq!(bench.store.is_scrub_due(week).unwrap(), is_first, "of {seed}: everything is to be looked at soon");
        is_served("after a collection");
        let verified = bench.store.verify(&Verifying::default(), &Progress::default()).unwrap();
        assert!(verified.damaged_packs.len() <= 1);
        bench.collect();
        is_served("after it was looked at");
        is_seen[usize::from(is_first)] = true;
        if is_seen == [true; 2] {
            return;
        }
    }
    panic!("both orders of two packs: {is_seen:?}");
}

/// Changes a bit of the list of the file that has this content: the pack that it lies in.
fn flip_list(bench: &Bench, content: &[u8]) -> PathBuf {
    let catalog = bench.store.catalog(&bench.store.home(&member())).unwrap();
    let found = catalog.find(&ObjectId::of(content)).unwrap();
    assert_eq!(found.record.kind, super::super::pack::Kind::List);
    // The list does not compress: it lies there as it is.
    let mut bytes = fs::read(&found.pack.path).unwrap();
    let chunk = ObjectId::of(&content[..first_chunk(content)]);
    let at = bytes.windows(32).position(|some| some == chunk.as_bytes());
    bytes[at.unwrap()] ^= 1;
    fs::write(&found.pack.path, bytes).unwrap();
    found.pack.path.clone()
}

fn first_chunk(content: &[u8]) -> usize {
    super::super::chunks::Cutting::default().cut(content, true)[0].end
}

#[test]
fn only_damage_is_taken_for_damage_when_packs_are_copied() {
    use super::super::collect::repack;
    use super::super::pack::files::Trouble;
    use super::super::verify::{Checker, Look};

    let bench = Bench::new();
    let tree = bench.folder("tree");
    mixed(&tree);
    let kept = bench.put(&member(), "a", &tree);
    let home = bench.store.home(&member());
    let [path] = &super::super::disk::fanned(&home.packs()).unwrap()[..] else { panic!("one pack") };
    let aside = bench.temp.path().join("aside");
    let look = |target: &Path| {
        let work = bench.store.begin(&Interrupt::default()).unwrap();
        let catalog = bench.store.catalog(&home).unwrap();
        fs::rename(path, &aside).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
        let packs: Vec<_> = catalog.packs().iter().collect();
        let copied = repack::copy(&bench.store, &home, &work.session, &packs, |_, _| true);
        let look = Checker::new(&catalog).unwrap().reading(u64::MAX).look(&kept.put.id);
        fs::remove_file(path).unwrap();
        fs::rename(&aside, path).unwrap();
        (copied.map(|copied| copied.left_out.into_values().collect::<Vec<_>>()), look)
    };
    // A circle of links: the system cannot say anything about the file.
    let (copied, verification) = look(path);
    assert!(copied.is_err_and(|error| !error.is_damage()));
    assert!(verification.is_err_and(|error| !error.is_damage()));
    // Where there is no memory, reading this is an I/O error.
    let (copied, verification) = look(Path::new("/proc/self/mem"));
    assert_eq!(copied.unwrap(), [Trouble::Unreadable]);
    assert!(matches!(verification, Ok(Look::Differs { .. })), "{verification:?}");
    let out = bench.folder("out");
    bench.get(&member(), &kept.put.id, &out).unwrap();
    assert_eq!(state(&out), state(&tree));
}

#[test]
fn what_the_disk_did_not_give_back_is_never_removed() {
    let bench = Bench::new();
    let tree = bench.folder("tree");
    mixed(&tree);
    bench.put(&member(), "a", &tree);
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(30 * 24 * 3600);
    let [damaged, unread] = ["pack", "pack.unread"].map(|name| bench.root().join("damaged").join(name));
    for path in [&damaged, &unread] {
        fs::write(path, "x").unwrap();
        fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
    }
    bench.collect();
    assert!(!damaged.exists() && unread.exists());
}

#[test]
fn a_collection_keeps_a_pack_of_which_it_could_not_copy_what_is_needed() {
    let bench = Bench::new();
    let (tree, part) = (bench.folder("tree"), bench.folder("part"));
    let small = noise(50 << 10, 1);
    fs::write(tree.join("large"), noise(4 << 20, 2)).unwrap();
    fs::write(tree.join("small"), &small).unwrap();
    fs::write(part.join("small"), &small).unwrap();
    let whole = bench.put(&member(), "whole", &tree);
    bench.put(&member(), "part", &part);
    let home = bench.store.home(&member());
    let pack = bench.store.catalog(&home).unwrap().find(&ObjectId::of(&small)).unwrap().pack.path.clone();
    let mut bytes = fs::read(&pack).unwrap();
    let at = bytes.windows(64).position(|some| some == &small[..64]).unwrap();
    bytes[at] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let_go(&bench, &whole);
    bench.collect();
    assert!(pack.exists(), "what is damaged in it is still needed");
}

#[test]
fn what_was_kept_by_a_clock_that_was_wrong_is_from_now_and_its_grace_ends() {
    const DAY: i64 = 24 * 3600;
    let bench = Bench::new();
    let folder = bench.folder("tree");
    fs::write(folder.join("file"), "x").unwrap();
    bench.collect();
    bench.pass(300 * DAY);
    bench.put(&member(), "wrong", &folder);
    bench.pass(60);
    fs::write(folder.join("file"), "y").unwrap();
    let last = bench.put(&member(), "wrong", &folder).put.id;
    bench.pass(-300 * DAY - 60);
    let age = |bench: &Bench| {
        let listed = bench.store.list(Some(&member())).unwrap();
        let now = jiff::Timestamp::from_second(bench.seconds.load(Ordering::Relaxed)).unwrap();
        let latest = listed[0].last_accessed.max(listed[0].info.created_at);
        now.duration_since(latest).as_secs()
    };
    assert!(age(&bench) < -299 * DAY);
    // The clock is agreed on from the second time on.
    for _ in 0..3 {
        bench.pass(DAY);
        bench.collect();
    }
    assert!((0..3 * DAY).contains(&age(&bench)), "{}", age(&bench));
    let found = bench.store.find(&member(), &Wanted::Named("wrong".to_owned())).unwrap().unwrap();
    assert_eq!(found.info.content_hash, last, "what was put last is what the name means");
    // Of 31 days, and not used for as long.
    bench.pass(31 * DAY);
    for _ in 0..3 {
        bench.pass(3600);
        bench.collect();
    }
    assert_eq!(bench.store.list(Some(&member())).unwrap(), []);
}

/// Has a collection decide that something goes, and wait; then somebody who was at work before comes to need it. Tells whether it is kept.
fn is_kept_when(needs: impl FnOnce(&Bench, &super::super::opened::Work, &Kept)) -> bool {
    use super::super::session;
    let bench = Bench::in_memory();
    let tree = bench.folder("tree");
    fs::write(tree.join("file"), "x").unwrap();
    let kept = bench.put(&member(), "name", &tree);
    bench.store.pin(&member(), kept.put.id).unwrap();
    bench.pass(31 * 24 * 3600);
    // What the clock jumped over is no part of the grace.
    for _ in 0..4 {
        bench.pass(20 * 3600);
        assert_eq!(bench.collect().deleted, 0);
    }
    bench.store.unpin(&member(), &kept.put.id).unwrap();
    let store = open(&bench.root(), bench.store.limits, None, &bench.seconds).unwrap();
    let collector = Bench { temp: tempfile::tempdir().unwrap(), seconds: Arc::clone(&bench.seconds), store };
    let work = bench.store.begin(&Interrupt::default()).unwrap();
    std::thread::scope(|scope| {
        let collecting = scope.spawn(|| collector.collect().deleted);
        let stopped = Interrupt::default();
        stopped.raise();
        // As soon as it wants to be alone, nobody begins to work.
        while session::share(&bench.store.layout, &stopped).is_ok() {
            assert!(!collecting.is_finished(), "it had nothing to remove");
            std::thread::yield_now();
        }
        needs(&bench, &work, &kept);
        drop(work);
        let deleted = collecting.join().unwrap();
        assert_eq!(bench.store.list(None).unwrap().len() as u64 + deleted, 1);
        deleted == 0
    })
}

#[test]
fn what_somebody_has_come_to_need_since_a_collection_began_stays() {
    use super::super::record::{self, Pin, Record, Reference};
    let pin = |kept: &Kept| Record::Pin(Pin { tree: kept.put.id, owner: member(), created_at: jiff::Timestamp::now() });
    let reference = |kept: &Kept| {
        let holder = crate::pipeline::JobKey::of(&member().forge, &crate::pipeline::JobId::new("1"), "token");
        Record::Reference(Reference {
            holder,
            trees: vec![kept.put.id],
            owner: member(),
            created_at: jiff::Timestamp::now(),
            agent: None,
        })
    };
    assert!(!is_kept_when(|_, _, _| {}));
    assert!(is_kept_when(|bench, work, kept| bench.store.write_record(work, &pin(kept)).unwrap()));
    assert!(is_kept_when(|bench, work, kept| bench.store.write_record(work, &reference(kept)).unwrap()));
    assert!(is_kept_when(|bench, _, kept| {
        let slug = member().slug();
        bench.store.index().unwrap().touch(&slug, &kept.key, bench.store.now()).unwrap();
    }));
    // Killed between the record and the index: its folder is left.
    for record in [&pin as &dyn Fn(&Kept) -> Record, &reference] {
        assert!(is_kept_when(|bench, _, kept| {
            let dead = bench.root().join("sessions/dead");
            fs::create_dir(&dead).unwrap();
            fs::write(dead.join("lock"), "").unwrap();
            let record = record(kept);
            let path = bench.store.record_path(&bench.store.home(&member()), &record.key());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, record::to_bytes(&record).unwrap()).unwrap();
        }));
    }
}

/// Of somebody who gives up at once.
const HASTY: Patience =
    Patience { in_all: Duration::from_millis(20), first: Duration::from_millis(5), longest: Duration::from_millis(10) };

#[test]
fn names_that_go_wait_for_the_next_collection_where_others_are_at_work_all_the_time() {
    let bench = Bench::in_memory();
    let tree = bench.folder("tree");
    fs::write(tree.join("file"), noise(100 << 10, 1)).unwrap();
    let kept = bench.put(&member(), "name", &tree);
    bench.store.pin(&member(), kept.put.id).unwrap();
    bench.pass(31 * 24 * 3600);
    // What the clock jumped over is no part of the grace.
    for _ in 0..4 {
        bench.pass(20 * 3600);
        assert!(!bench.collect().is_put_off);
    }
    bench.store.unpin(&member(), &kept.put.id).unwrap();
    let work = bench.store.begin(&Interrupt::default()).unwrap();
    let collected = bench.collect_within(HASTY).unwrap().unwrap();
    assert_eq!((collected.plan.deletions.len(), collected.deleted, collected.is_put_off), (1, 0, true));
    assert_eq!((bench.store.list(None).unwrap().len(), packs(&bench)), (1, 1));
    drop(work);
    let collected = bench.collect();
    assert_eq!((collected.deleted, collected.is_put_off, packs(&bench)), (1, false, 0));
    assert!(collected.freed > 100 << 10);
}

#[test]
fn room_is_given_back_by_the_next_collection_where_others_are_at_work_all_the_time() {
    let bench = Bench::in_memory();
    let (tree, part) = (bench.folder("tree"), bench.folder("part"));
    let small = noise(50 << 10, 1);
    fs::write(tree.join("large"), noise(4 << 20, 2)).unwrap();
    fs::write(tree.join("small"), &small).unwrap();
    fs::write(part.join("small"), &small).unwrap();
    // Another owner's turn comes, too.
    let other = owner("2", Trust::Member);
    for whose in [member(), other.clone()] {
        let whole = bench.put(&whose, "whole", &tree);
        bench.put(&whose, "part", &part);
        assert!(bench.store.forget_name(&whose, &whole.key, Withdrawal::NotTaken).unwrap());
    }
    let work = bench.store.begin(&Interrupt::default()).unwrap();
    let collected = bench.collect_within(HASTY).unwrap().unwrap();
    assert_eq!((collected.freed, collected.is_put_off), (0, true));
    let counted = || bench.store.index().unwrap().usage(None).unwrap();
    let there = || {
        let homes = bench.store.homes().unwrap();
        homes.iter().map(|home| bench.store.catalog_bytes(home).unwrap()).sum::<u64>()
    };
    assert_eq!(counted(), there());
    drop(work);
    let collected = bench.collect();
    assert!(!collected.is_put_off && collected.freed > 8 << 20, "{} bytes", collected.freed);
    assert_eq!(counted(), there());
    for whose in [member(), other] {
        let out = tempfile::tempdir().unwrap();
        let found = bench.store.list(Some(&whose)).unwrap().remove(0);
        bench.get(&whose, &found.info.content_hash, out.path()).unwrap();
        assert_eq!(state(out.path()), state(&part));
    }
}

#[test]
fn whoever_makes_room_for_a_job_gives_up_where_others_are_at_work_all_the_time() {
    let bench = Bench::with(Limits { owner_bytes: 100 << 10, reserve_bytes: 0, ..Limits::default() }, None);
    let tree = bench.folder("tree");
    fs::write(tree.join("file"), noise(50 << 10, 1)).unwrap();
    bench.try_put_as(&member(), What::cache(b"deps"), &tree).unwrap();
    let work = bench.store.begin(&Interrupt::default()).unwrap();
    let make_room = || bench.store.make_room_within(&member(), 60 << 10, HASTY, &Interrupt::default());
    assert!(matches!(make_room(), Err(StoreError::Busy { .. })));
    assert_eq!(bench.store.list(None).unwrap().len(), 1);
    drop(work);
    assert_eq!(make_room().unwrap().names, ["deps"]);
    assert_eq!((bench.store.list(None).unwrap().len(), packs(&bench)), (0, 0));
}
