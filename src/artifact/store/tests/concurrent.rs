//! Several at work with one store.

use std::sync::atomic::AtomicBool;

use super::*;

#[test]
fn what_is_kept_while_the_index_is_made_anew_is_found() {
    let bench = Bench::in_memory();
    let folder = bench.folder("tree");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let other = open(&bench.root(), Limits { reserve_bytes: 0, ..Limits::default() }, None, &bench.seconds);
            let (other, is_over) = (other.unwrap(), &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    other.index_anew().unwrap();
                }
            });
        }
        let mut missing = Vec::new();
        for n in 0..100 {
            fs::write(folder.join("file"), noise(10, n)).unwrap();
            bench.put(&member(), &n.to_string(), &folder);
            if bench.store.list(Some(&member())).unwrap().len() as u64 != n + 1 {
                missing.push(n);
            }
        }
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(missing, Vec::<u64>::new(), "something was not listed after these");
    });
}

#[test]
fn what_gave_way_while_the_index_is_made_anew_does_not_come_back() {
    let bench = Bench::in_memory();
    let folder = bench.folder("tree");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = open(&bench.root(), Limits { reserve_bytes: 0, ..Limits::default() }, None, &bench.seconds);
        let (other, is_over) = (other.unwrap(), &is_over);
        scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                other.index_anew().unwrap();
            }
        });
        let mut stale = Vec::new();
        for n in 0..100_u64 {
            fs::write(folder.join("file"), noise(10, n)).unwrap();
            let id = bench.try_put_as(&member(), What::cache(b"key"), &folder).unwrap().put.id;
            let found = bench.store.find(&member(), &Wanted::Exact(b"key".to_vec())).unwrap();
            if found.is_none_or(|found| found.info.content_hash != id) {
                stale.push(n);
            }
        }
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(stale, Vec::<u64>::new());
    });
}

#[test]
fn everything_is_read_again_when_the_last_time_is_long_ago_whoever_did_it() {
    let week = std::time::Duration::from_secs(7 * 24 * 3600);
    let bench = Bench::new();
    let folder = bench.folder("tree");
    fs::write(folder.join("file"), "x").unwrap();
    let id = bench.put(&member(), "name", &folder).put.id;
    assert!(bench.store.is_scrub_due(week).unwrap(), "nobody ever read it");
    bench.store.verify(&Verifying::default(), &Progress::default()).unwrap();
    bench.pass(6 * 24 * 3600);
    let other = open(&bench.root(), Limits::default(), None, &bench.seconds).unwrap();
    assert!(!other.is_scrub_due(week).unwrap());
    bench.pass(24 * 3600);
    other.verify(&Verifying { only: Some(id), ..Verifying::default() }, &Progress::default()).unwrap();
    assert!(other.is_scrub_due(week).unwrap(), "one tree is not everything");
}

/// Another process.
fn neighbour(bench: &Bench) -> Store {
    open(&bench.root(), Limits { reserve_bytes: 0, ..Limits::default() }, None, &bench.seconds).unwrap()
}

fn names(store: &Store) -> std::collections::BTreeSet<String> {
    store.list(None).unwrap().into_iter().filter_map(|one| one.info.what.text().map(str::to_owned)).collect()
}

#[test]
fn whoever_has_the_index_open_that_another_makes_anew_goes_on_with_the_new_one() {
    let bench = Bench::in_memory();
    let folder = bench.folder("tree");
    fs::write(folder.join("file"), "x").unwrap();
    bench.put(&member(), "before", &folder);
    let other = neighbour(&bench);
    let found = bench.store.find(&member(), &Wanted::Named("before".to_owned())).unwrap().unwrap();
    for round in 0..3 {
        // Whoever finds it damaged makes it anew, while the other is between two steps of his work.
        other.index().unwrap().note_damage();
        other.heal().unwrap();
        bench.pass(3600);
        bench.store.used(&found, None).unwrap();
        let seen = other.find(&member(), &Wanted::Named("before".to_owned())).unwrap().unwrap();
        assert_eq!(seen.last_accessed.as_second(), bench.seconds.load(Ordering::Relaxed), "round {round}");
        bench.put(&member(), &format!("{round}"), &folder);
        let all: std::collections::BTreeSet<String> =
            (0..=round).map(|n| n.to_string()).chain(["before".to_owned()]).collect();
        assert_eq!([names(&other), names(&neighbour(&bench)), names(&bench.store)], [all.clone(), all.clone(), all]);
    }
}

#[test]
fn an_index_that_is_gone_is_made_anew_by_whoever_notices() {
    let bench = Bench::in_memory();
    let folder = bench.folder("tree");
    fs::write(folder.join("file"), "x").unwrap();
    bench.put(&member(), "before", &folder);
    let other = neighbour(&bench);
    fs::remove_file(bench.root().join("index.db")).unwrap();
    bench.put(&member(), "after", &folder);
    let all: std::collections::BTreeSet<String> = ["after", "before"].map(str::to_owned).into();
    assert_eq!([names(&bench.store), names(&other), names(&neighbour(&bench))], [all.clone(), all.clone(), all]);
}

#[test]
fn an_index_that_nobody_came_to_fill_is_filled_by_the_next() {
    let bench = Bench::in_memory();
    let folder = bench.folder("tree");
    fs::write(folder.join("file"), "x").unwrap();
    bench.put(&member(), "name", &folder);
    {
        // As one does that is killed before it has read the records.
        let (index, is_new) = super::super::index::Index::open(&bench.root().join("index.db")).unwrap();
        assert!(!is_new);
        index.note_damage();
        let (_, is_new) = super::super::index::Index::open(&bench.root().join("index.db")).unwrap();
        assert!(is_new);
    }
    assert_eq!(names(&bench.store).len(), 1);
    assert_eq!(names(&neighbour(&bench)).len(), 1);
}

#[test]
fn however_many_make_the_index_anew_nothing_that_is_kept_meanwhile_is_lost() {
    let bench = Bench::in_memory();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (other, is_over) = (neighbour(&bench), &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    other.index().unwrap().note_damage();
                    other.heal().unwrap();
                }
            });
        }
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let (store, folder) = (neighbour(&bench), bench.folder(&format!("tree{writer}")));
                scope.spawn(move || {
                    let bench = Bench { temp: tempfile::tempdir().unwrap(), seconds: Arc::default(), store };
                    for n in 0..30 {
                        fs::write(folder.join("file"), noise(10, n)).unwrap();
                        bench.put(&member(), &format!("{writer}-{n}"), &folder);
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(names(&bench.store).len(), 60);
    assert!(!bench.root().join("index.db.damaged").exists() || names(&neighbour(&bench)).len() == 60);
}
